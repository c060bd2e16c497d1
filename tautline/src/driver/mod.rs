//! The turn: one bounded pass over socket, timers, handlers and inbox.
//!
//! The driver's thread calls it in a loop, or the user's own loop does. `connection` makes the [`Turner`] and decides who
//! calls it. A [`turn`] reads datagrams ([`reading`]), takes each ([`datagram`]), judges its messages ([`freshness`]), hands them
//! out ([`outlets`]), carries out what the protocol asks for ([`settling`]), and reports what it noticed ([`happened`]).
//! [`ownership`] passes on who may send on a stream. This file makes the turner, and begins its connection.

mod acks;
mod arrivals;
mod datagram;
mod first_look;
mod freshness;
mod giving_way;
mod happened;
mod impaired;
pub(crate) mod moving;
mod outlets;
mod overflow;
mod ownership;
pub(crate) mod polling;
mod reading;
mod reported;
mod settling;
mod strangers;
mod told;
mod turn;
mod waiting_strangers;
mod watching;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tautline_proto::endpoint::Inbound;
use tautline_proto::{Cause, DropReason, Instant as Steady, Now};

use acks::WaitingAcks;
use arrivals::Arrivals;
use first_look::FirstLook;
use freshness::Freshness;
use giving_way::GivingWay;
use impaired::Impaired;
use moving::Moving;
use outlets::Held;
use overflow::Overflow;
use ownership::{OpenClaims, Rights};
use reported::Reported;
use strangers::TimeToAll;
use told::{Looks, Told};
use waiting_strangers::WaitingStrangers;

use crate::config::{Role, Settings, Wire};
use crate::driver::polling::Polling;
use crate::error::ConnectError;
use crate::handlers::Dispatcher;
use crate::machine::clock::Clock;
use crate::machine::fault::SocketFault;
use crate::machine::life::Life;
use crate::machine::socket::{Arrived, Granted, RECEIVE_BUFFER, Received, Socket, SocketWaiter};
use crate::message::borrowed::MessageRef;
use crate::sending::coalescer::CoalescerWatch;
use crate::sending::reply::Reply;
use crate::shared::Shared;
use crate::sync::Arc;
use crate::sync::log::{LineLimit, Repeats};
use crate::watchdog::Watches;

/// The number of datagrams after which a turn stops reading.
///
/// A turn may read some more: datagrams that the kernel hands over together with the last one, and up to 16,384 after a
/// pause, to find the newest message of streams that keep only the newest.
pub const TURN_BUDGET: usize = 64;

/// The pause after an error of the socket, so that an error that stays does not take a whole core.
const ERROR_PAUSE: Duration = Duration::from_millis(1);

/// Drives one connection. Its owner calls [`turn`](Self::turn).
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(crate) struct Turner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) life: Arc<Life>,
    socket: Arc<Socket>,
    clock: Clock,
    /// When the last read returned.
    read_at: Steady,
    /// Taken out of the turner while it reads, because the turner works on while their contents are borrowed.
    buffers: Option<Box<Buffers>>,
    waiter: SocketWaiter,
    watchdogs: Watches,
    /// The server that a client calls; `None` at a server, and before the client knows its address.
    server: Option<SocketAddr>,
    send_failures_seen: u64,
    /// The number of datagrams that were read since the socket was empty.
    read_in_a_row: usize,
    /// When to look again for messages that are being coalesced.
    watch_at: Option<Steady>,
    /// The number of turns for which the protocol's timers have been put off.
    put_off: u32,
    /// Senders left more to write than one turn writes.
    unwritten: bool,
    /// The last turn read what it had waited for, and did not look for more.
    more_may_wait: bool,
    /// The thread that turns waits for a message: the turn reads no further once there is one, so that what the thread does
    /// not take stays in the kernel.
    leads: bool,
    /// This turn read messages.
    brought_messages: bool,
    inbox_is_on: bool,
    /// Whether the kernel may hand over many datagrams at once (UDP GRO).
    offload: bool,
    is_classic: bool,
    giving_way: GivingWay,
    first_look: FirstLook,
    polling: Polling,
    watch: CoalescerWatch,
    arrivals: Arrivals,
    acks: WaitingAcks,
    looks: Looks,
    time_to_all: TimeToAll,
    /// When the protocol began to handle a datagram of a handshake with keys.
    handshake_began: Option<Instant>,
    waiting_strangers: WaitingStrangers,
    freshness: Freshness,
    dispatcher: Dispatcher<Reply>,
    /// Where the socket is, and where it may go.
    moving: Moving,
    claims: OpenClaims,
    held: Held,
    inbound: Inbound,
    /// When a thread that receives was last seen.
    reader_seen: Option<Steady>,
    /// The newest fault that was reported for a datagram of ours. Kept while a call waits for the server's answer.
    reported: Option<Box<Reported>>,
    /// The server wants another key, or any key at all. `None` again when it has accepted this client.
    key_problem: Option<ConnectError>,
    last_other_wire: Option<Instant>,
    /// Limits the events about strangers that were not let in.
    told_strangers: LineLimit,
    /// Limits [`Event::PeerUnreachable`] and [`Event::SocketFailed`]. The log has a limit of its own, so that log lines about a
    /// flood do not hide these events.
    fault_limit: LineLimit,
    /// Limits the log lines about single datagrams. Strangers can cause them, so they have a limit of their own: otherwise they
    /// would hide the line of a watchdog that trips.
    traffic_log: LineLimit,
    /// The faults of the last minute, each with the address that it keeps us from.
    told_faults: Repeats<(Option<SocketAddr>, SocketFault)>,
    /// The same for datagrams that were dropped, and how many lines about them were left out since the last one.
    told_drops: Repeats<(SocketAddr, DropReason)>,
    drops_not_told: u64,
    overflow: Overflow,
    rights: Rights,
    told: Told,
    /// It was told that nothing protects a consumer of commands.
    told_unguarded: bool,
    impaired: Impaired,
}

/// Where datagrams are read to, what the latest read has brought, and where a classic payload is rewritten.
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
struct Buffers {
    datagram: Vec<u8>,
    arrived: Arrived,
    scratch: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { datagram: vec![0; RECEIVE_BUFFER], arrived: Arrived::default(), scratch: Vec::new() }
    }
}

impl Buffers {
    #[inline]
    fn read(&mut self, socket: &Socket) -> Received {
        socket.receive(&mut self.datagram, &mut self.arrived)
    }
}

/// What belongs to one connection alone, as opening it made them.
pub(crate) struct Opened {
    pub(crate) life: Arc<Life>,
    /// Gives time stamps; the sending half has the same.
    pub(crate) clock: Clock,
    pub(crate) inbound: Inbound,
    pub(crate) socket: Arc<Socket>,
    pub(crate) waiter: SocketWaiter,
    pub(crate) moving: Moving,
    /// When connecting must have succeeded; `None` if it does not wait.
    pub(crate) answer_by: Option<Steady>,
    /// The kernel's buffers.
    pub(crate) granted: Granted,
    pub(crate) watch: CoalescerWatch,
    /// Connecting has told that nothing protects a consumer of commands.
    pub(crate) told_unguarded: bool,
}

impl std::fmt::Debug for Turner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turner").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// The caller's function that sees every message of a turn before handlers and inbox do.
pub(crate) type Sink<'a> = Option<&'a mut dyn FnMut(&MessageRef<'_>)>;

impl Turner {
    pub(crate) fn new(shared: Arc<Shared>, opened: Opened, settings: &Settings) -> Box<Self> {
        let Opened {
            life,
            clock,
            inbound,
            socket,
            waiter,
            mut moving,
            answer_by,
            granted,
            watch,
            told_unguarded,
        } = opened;
        moving.set_answer_by(answer_by);
        let now = clock.now();
        let giving_way = GivingWay::new(!shared.sender.caller_driven);
        let arrivals = Arrivals::new(reading::clocks(now.steady));
        let watchdogs = shared.watchdogs.watches();
        let claims = OpenClaims::begin(&shared.ownership, settings.wire);
        let dispatcher = Dispatcher::new(Arc::clone(&shared.handlers), Arc::clone(&shared.pool));
        let mut turner = Box::new(Self {
            shared,
            life,
            clock,
            inbound,
            socket,
            waiter,
            dispatcher,
            buffers: None,
            server: None,
            moving,
            reported: None,
            key_problem: None,
            last_other_wire: None,
            told_strangers: LineLimit::default(),
            fault_limit: LineLimit::default(),
            traffic_log: LineLimit::default(),
            told_faults: Repeats::default(),
            told_drops: Repeats::default(),
            drops_not_told: 0,
            send_failures_seen: 0,
            overflow: Overflow::new(granted),
            put_off: 0,
            unwritten: false,
            acks: WaitingAcks::default(),
            polling: Polling::new(settings.wait),
            reader_seen: None,
            watch,
            watchdogs,
            watch_at: None,
            offload: settings.offload && settings.wire == Wire::Native,
            is_classic: settings.wire == Wire::Classic,
            more_may_wait: false,
            first_look: FirstLook::default(),
            leads: false,
            giving_way,
            read_at: now.steady,
            read_in_a_row: 0,
            brought_messages: false,
            inbox_is_on: settings.inbox_capacity > 0,
            arrivals,
            freshness: Freshness::new(&settings.streams),
            held: Held::default(),
            rights: Rights::default(),
            claims,
            looks: Looks::default(),
            told: Told::default(),
            told_unguarded,
            #[cfg(feature = "sim")]
            impaired: Impaired::new(settings.impair),
            #[cfg(not(feature = "sim"))]
            impaired: Impaired,
            waiting_strangers: WaitingStrangers::default(),
            handshake_began: None,
            time_to_all: TimeToAll::new(now.steady),
        });
        // The buffers are allocated after the turner. So the turner lies beside the other small objects, which then take few pages.
        turner.buffers = Some(Box::default());
        turner
    }

    pub(crate) fn socket(&self) -> Arc<Socket> {
        Arc::clone(&self.socket)
    }

    /// Begins: a client calls its server, if it knows where that is.
    pub(crate) fn start(&mut self) {
        let now = self.clock.now();
        self.moving.begin(now.steady);
        match self.moving.address() {
            Some(address) => {
                self.server = (self.shared.role == Role::Client).then_some(address);
                self.begin_calling(now);
            }
            None => self.tell_missing(None),
        }
    }

    /// The socket is where it should be: from here a client calls its server.
    fn begin_calling(&mut self, now: Now) {
        if self.server.is_none() || self.is_classic {
            self.moving.set_answer_by(None);
            self.shared.status.apply(Cause::Ready);
        }
        if let Some(server) = self.server {
            self.inbound.dial(server, now);
        }
        self.settle(now);
    }
}
