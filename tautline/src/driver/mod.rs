//! The turn: one bounded pass over socket, timers, handlers and inbox.
//!
//! The driver's thread calls it in a loop, or the user's own loop does. `connection` makes the [`Turner`] and decides who
//! calls it. A turn reads datagrams ([`reading`]), takes each ([`datagram`]), judges its messages ([`freshness`]), hands them out ([`outlets`]), and
//! reports what the protocol noticed ([`happened`]). [`ownership`] passes on who
//! may send on a stream.

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
mod strangers;
mod told;
mod waiting_strangers;
mod watching;

use crate::sync::Arc;
use crate::sync::Ordering;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tautline_proto::endpoint::{Command, Event as Happened, Inbound};
use tautline_proto::{Instant as Steady, Now};

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
use strangers::{StrangersTime, TimeToAll};
use told::{Looks, Told};
use waiting_strangers::WaitingStrangers;

use crate::config::{Role, Settings, Wire};
use crate::driver::polling::Polling;
use crate::error::{ConnectError, SendError};
use crate::handlers::Dispatcher;
use crate::machine::clock::Clock;
use crate::machine::life::Life;
use crate::machine::socket::{Granted, RECEIVE_BUFFER, Socket, SocketWaiter};
use crate::message::borrowed::MessageRef;
use crate::sending::coalescer::CoalescerWatch;
use crate::sending::line::Line;
use crate::sending::reply::Reply;
use crate::sending::sender::Sender;
use crate::shared::Shared;
use crate::shared::events::Event;
use crate::sync::log::LineLimit;
use crate::watchdog::Watches;
use tautline_proto::Cause;

/// The number of datagrams after which a turn stops reading.
///
/// A turn may read some more: datagrams that the kernel hands over together with the last one, and up to 16,384 after a
/// pause, to find the newest message of streams that keep only the newest.
pub const TURN_BUDGET: usize = 64;

/// The most turns in a row that put the protocol's timers off because more datagrams wait: some thousand datagrams.
///
/// Timers are put off so that a peer does not count as silent while its datagrams wait unread. The number is bounded, so
/// that a flood cannot suppress heartbeats.
const MAX_PUT_OFF: u32 = 64;

/// The most commands of the receiving half that are carried out under one hold of the transmit lock.
const COMMANDS_AT_ONCE: usize = 16;

/// The pause after an error of the socket, so that an error that stays does not take a whole core.
const ERROR_PAUSE: Duration = Duration::from_millis(1);

/// The earlier of two times, as far as there are any. A chain over an array would take four times as long.
#[inline]
fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Drives one connection. Its owner calls [`turn`](Self::turn).
pub(crate) struct Turner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) life: Arc<Life>,
    clock: Clock,
    inbound: Inbound,
    socket: Arc<Socket>,
    waiter: SocketWaiter,
    dispatcher: Dispatcher<Reply>,
    /// Taken out of the turner while it reads, because the turner works on while their contents are borrowed.
    buffers: Option<Box<Buffers>>,
    /// The server that a client calls; `None` at a server, and before the client knows its address.
    server: Option<SocketAddr>,
    /// Where the socket is, and where it may go.
    moving: Moving,
    /// The network reported that nothing listens at the server's port.
    refused: bool,
    /// The server wants another key, or one at all. Until it has accepted this client.
    key_problem: Option<ConnectError>,
    last_other_wire: Option<Instant>,
    /// Limits the events about strangers that were not let in.
    told_strangers: LineLimit,
    /// Limits [`Event::PeerUnreachable`] and [`Event::SocketFailed`]. Apart from the log's limit, so that log lines about a
    /// flood do not hide these events.
    fault_limit: LineLimit,
    send_failures_seen: u64,
    overflow: Overflow,
    /// The number of turns for which the protocol's timers have been put off.
    put_off: u32,
    /// Senders left more to write than one turn writes.
    unwritten: bool,
    acks: WaitingAcks,
    polling: Polling,
    /// When a thread that receives was last seen.
    reader_seen: Option<Steady>,
    watch: CoalescerWatch,
    watchdogs: Watches,
    /// When to look again for messages that are being coalesced.
    watch_at: Option<Steady>,
    /// Whether the kernel may hand over many datagrams at once (UDP GRO).
    offload: bool,
    is_classic: bool,
    /// The last turn read what it had waited for, and did not look for more.
    more_may_wait: bool,
    first_look: FirstLook,
    /// The thread that turns waits for a message: the turn reads no further once there is one, so that what the thread does
    /// not take stays in the kernel.
    leads: bool,
    giving_way: GivingWay,
    /// When the last read had returned.
    read_at: Steady,
    /// The number of datagrams that were read since the socket was empty.
    read_in_a_row: usize,
    /// This turn read messages.
    brought_messages: bool,
    inbox_is_on: bool,
    arrivals: Arrivals,
    freshness: Freshness,
    held: Held,
    rights: Rights,
    claims: OpenClaims,
    looks: Looks,
    told: Told,
    /// It was told that nothing protects a consumer of commands.
    told_unguarded: bool,
    impaired: Impaired,
    strangers: StrangersTime,
    waiting_strangers: WaitingStrangers,
    /// When the protocol began to handle a datagram of a handshake with keys.
    handshake_began: Option<Instant>,
    time_to_all: TimeToAll,
}

/// Where datagrams are read to, and where a classic payload is rewritten.
struct Buffers {
    datagram: Vec<u8>,
    scratch: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { datagram: vec![0; RECEIVE_BUFFER], scratch: Vec::new() }
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
    pub(crate) fn new(shared: Arc<Shared>, opened: Opened, settings: &Settings) -> Self {
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
        Self {
            shared,
            life,
            clock,
            inbound,
            socket,
            waiter,
            dispatcher,
            buffers: Some(Box::default()),
            server: None,
            moving,
            refused: false,
            key_problem: None,
            last_other_wire: None,
            told_strangers: LineLimit::default(),
            fault_limit: LineLimit::default(),
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
            strangers: StrangersTime::new(now.steady),
            waiting_strangers: WaitingStrangers::default(),
            handshake_began: None,
            time_to_all: TimeToAll::new(now.steady),
        }
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

    /// As [`turn`](Self::turn). A panic ends the connection: one of ours, or of an executor's waker. A panic of a handler is
    /// caught where the handler is called.
    pub(crate) fn turn_quietly(&mut self, wait: Option<Duration>) -> usize {
        let turn = catch_unwind(AssertUnwindSafe(|| self.turn(wait, None)));
        if turn.is_err() && !self.life.is_stopped() {
            self.give_up(Cause::Failed, ConnectError::DriverPanicked);
        }
        turn.unwrap_or(0)
    }

    /// Waits for at most `wait` (`None`: until something is due), then does everything that is due: a bounded number of
    /// datagrams, and every timer. Returns the number of datagrams. With a `wait` of zero, 0 means that none was left.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn turn(&mut self, wait: Option<Duration>, sink: Sink<'_>) -> usize {
        let (now, datagrams) = self.read(wait, sink);
        if self.life.is_orphaned() {
            return datagrams;
        }
        self.look_at_ownership(now.steady);
        #[cfg(feature = "secure")]
        if self.shared.new_keys.are_waiting() {
            self.take_new_keys(now.steady);
        }
        self.act_on_time(now);
        self.settle(now);
        self.acknowledge(now, false);
        self.deliver(now.steady);
        self.look_around(now.steady);
        self.look_at_gate();
        self.finish_sends();
        self.look_at_newcomers(now.steady);
        self.look_at_connecting(now);
        // Last, because these run users' code, which may end this connection.
        if self.shared.requests.have_deadlines() {
            self.shared.requests.expire(self.clock.instant(self.read_at));
        }
        if self.dispatcher.next_deadline().is_some() {
            self.dispatcher.check_deadlines(self.clock.instant(self.read_at));
        }
        self.dispatcher.refresh();
        datagrams
    }

    /// Sends the messages that are being coalesced: the turn is at its end, and waits next.
    fn look_at_gate(&mut self) {
        if std::mem::take(&mut self.brought_messages) {
            self.shared.sender.coalescer_signals.turned();
        }
        let transmit = &self.shared.sender.transmit;
        // If another thread has the line, it is sending. The next look comes soon.
        let again = self.watch.look(|| {
            transmit.exclusively_if_free(Line::flush);
        });
        self.watch_at = again.map(|period| self.clock.steady_now().plus(period));
    }

    /// Acts on the protocol's timers, unless more datagrams wait: a peer whose datagrams are unread is not silent.
    fn act_on_time(&mut self, now: Now) {
        if self.inbound.next_timeout().is_none_or(|due| due > now.steady) {
            return;
        }
        if self.more_may_wait && self.put_off < MAX_PUT_OFF {
            // A timer that is due makes the next turn read at once, without waiting.
            self.put_off += 1;
            return;
        }
        self.inbound.handle_timeout(now);
        // If timers of further peers are still due, they have waited as long: `put_off` stays.
        if self.inbound.next_timeout().is_none_or(|due| due > now.steady) {
            self.put_off = 0;
        }
    }

    /// Sends what is due of the reliable messages, and publishes their outcomes. Takes the line for one datagram at a time,
    /// so that a sender waits for one datagram at most.
    #[inline]
    fn deliver(&self, now: Steady) {
        if self.delivery_is_due(now) {
            self.deliver_what_is_due(now);
        }
        self.shared.tell_ended();
    }

    #[inline]
    fn delivery_is_due(&self, now: Steady) -> bool {
        self.shared.sender.delivery_signs.due().is_some_and(|due| due <= now)
    }

    #[inline(never)]
    fn deliver_what_is_due(&self, now: Steady) {
        let transmit = &self.shared.sender.transmit;
        for _ in 0..TURN_BUDGET {
            let others_wait = transmit.is_contended();
            if !self.delivery_is_due(now) || !transmit.briefly(|line| line.deliver(now, others_wait)) {
                break;
            }
        }
    }

    /// When the next turn must come, at the latest.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn next_deadline(&self) -> Option<Steady> {
        let protocol = earlier(self.inbound.next_timeout(), self.shared.sender.delivery_signs.due());
        let protocol = earlier(protocol, earlier(self.moving.due(), self.impaired.next_timeout()));
        let goes_on = self.unwritten || !self.waiting_strangers.is_empty();
        let write_on = goes_on.then(|| self.clock.steady_now());
        let requests = &self.shared.requests;
        let requests = if requests.have_deadlines() { requests.next_deadline() } else { None };
        let of_users = earlier(self.dispatcher.next_deadline(), requests).map(|due| self.clock.steady(due));
        let acks = if self.acks.are_waiting() { Some(self.acks.due()) } else { None };
        earlier(earlier(protocol, of_users), earlier(earlier(write_on, self.watch_at), acks))
    }

    /// When the last read had returned.
    pub(crate) const fn read_at(&self) -> Steady {
        self.read_at
    }

    /// A time of the protocol's clock, as users know it.
    pub(crate) fn instant(&self, at: Steady) -> Instant {
        self.clock.instant(at)
    }

    /// Lets the protocol accept the keys that a user has read again, and no others.
    #[cfg(feature = "secure")]
    #[cold]
    fn take_new_keys(&mut self, now: Steady) {
        if let Some(keys) = self.shared.new_keys.take() {
            self.inbound.replace_keys(keys, now);
            if let Some(left_out) = self.may_log() {
                tracing::info!(left_out, "keys were read again");
            }
        }
    }

    /// Carries out the commands of the receiving half, and passes its events on. Commands come first: when an event says
    /// that a peer is gone, nothing is sent to it any more. But a new peer is in the directory before it is told that it is one.
    #[inline]
    fn settle(&mut self, now: Now) {
        if self.inbound.has_news() {
            self.settle_news(now);
        }
    }

    #[inline(never)] // most datagrams bring none
    fn settle_news(&mut self, now: Now) {
        let began = self.handshake_began.take();
        let served = self.inbound.takes_service_of_stranger().then(|| began.unwrap_or_else(Instant::now));
        self.waiting_strangers.was_served |= served.is_some();
        self.carry_out_all(now);
        if let Some(until) = served.and_then(|began| self.strangers.spend(began.elapsed(), now.steady)) {
            self.inbound.refuse_strangers_until(until);
        }
    }

    fn carry_out_all(&mut self, now: Now) {
        while let Some(event) = self.inbound.poll_event(now) {
            if !matches!(event, Happened::Added(_)) {
                self.carry_out_commands(now);
            }
            self.happened(event);
        }
        self.carry_out_commands(now);
        while let Some((to, datagram)) = self.inbound.poll_reply() {
            // These belong to no session. They get the mark (`dscp`) that the socket has at the moment.
            if let Err(error) = self.socket.send(&datagram, to) {
                let fault = self.socket.fault_of_send(&error, to);
                self.shared.sender.faults.count(fault);
                self.unreachable(Some(to), fault, &error.to_string());
            }
        }
    }

    fn carry_out_commands(&mut self, now: Now) {
        self.shared.peers_so_far.store(self.inbound.peers_so_far(), Ordering::Relaxed);
        // Only the driver's own thread surely comes back soon: a leader may leave, and a caller's loop may be slow.
        let comes_back = !self.leads && !self.shared.sender.caller_driven;
        while self.inbound.has_commands() {
            let Self { inbound, shared, acks, .. } = self;
            // Few datagrams for each hold of the lock, so that senders do not wait for long; but several, because a driver that
            // serves many peers would wait for as many senders.
            let failed = shared.sender.transmit.briefly(|line| {
                let commands = std::iter::from_fn(|| inbound.poll_command()).take(COMMANDS_AT_ONCE);
                let carry_out = |command| match command {
                    Command::Acknowledge(peer, base, bitmap) => {
                        // The sender should soon know of a gap.
                        let outlasts = comes_back && bitmap.is_empty();
                        if !acks.lets_wait(outlasts) {
                            return line.command(Command::Acknowledge(peer, base, bitmap), now);
                        }
                        acks.add(peer, outlasts, now.steady);
                        line.command(Command::OweAcknowledgement(peer, base, bitmap), now)
                    }
                    command => line.command(command, now),
                };
                commands.filter_map(carry_out).collect::<Vec<_>>()
            });
            for error in failed {
                if let SendError::Refused { to, fault, problem } = error {
                    self.unreachable(Some(to), fault, &problem);
                }
            }
        }
    }

    /// Sends the acknowledgements that have waited for long enough; at the `end` of reading, all that must not wait for the next turn.
    /// A datagram of the same peer may have taken one along.
    #[inline]
    pub(super) fn acknowledge(&mut self, now: Now, end: bool) {
        if self.acks.are_waiting() {
            self.pay_acknowledgements(now, end);
        }
    }

    #[inline(never)]
    fn pay_acknowledgements(&mut self, now: Now, end: bool) {
        let ends = end && (self.leads || !self.acks.outlast_turn());
        if !ends && !self.acks.are_due(now.steady) {
            return;
        }
        for peer in self.acks.take() {
            self.shared.sender.transmit.briefly(|line| line.command(Command::PayAcknowledgement(peer), now));
        }
    }

    /// Writes what senders left to the driver, and publishes failures of queued messages.
    fn finish_sends(&mut self) {
        let Sender { transmit, counters, coalescer_signals, .. } = &*self.shared.sender;
        let failures = counters.queued.value();
        if std::mem::replace(&mut self.send_failures_seen, failures) != failures
            && let Some(error) = transmit.briefly(Line::take_report)
        {
            self.shared.status.events.publish(&Event::SendFailed { error });
        }
        // Last, because taking the report may leave something to write too, also for coalescing.
        let left = transmit.flush() || coalescer_signals.need_a_watch();
        self.unwritten = left || counters.queued.value() != failures;
    }

    /// Takes no more strangers while what newcomers get takes too much time.
    #[inline]
    fn look_at_newcomers(&mut self, now: Steady) {
        let counters = &self.shared.sender.counters;
        let spent = counters.to_all_ns.value();
        if self.time_to_all.has_grown(spent, now) {
            let listeners = counters.listeners.value();
            let until = self.time_to_all.look(spent, self.inbound.newcomers(), listeners, now);
            until.into_iter().for_each(|until| self.inbound.refuse_strangers_until(until));
        }
    }

    /// Looks for a better place if that is due, and gives up if connecting has taken too long.
    #[inline]
    fn look_at_connecting(&mut self, now: Now) {
        if self.life.take_displaced() && self.server.is_some() {
            self.moving.look_soon(now.steady, true);
        }
        if self.moving.due().is_some_and(|at| at <= now.steady) {
            self.connecting_is_due(now);
        }
    }

    #[cold]
    fn connecting_is_due(&mut self, now: Now) {
        if self.moving.look_is_due(now.steady) {
            self.look_at_place(now);
        }
        if self.moving.answer_is_overdue(now.steady) {
            self.give_up(Cause::Failed, self.not_connected());
        }
    }

    /// Why the interface is not connected in time.
    #[cold]
    fn not_connected(&self) -> ConnectError {
        if let Some(problem) = &self.key_problem {
            return problem.clone();
        }
        match (self.moving.missing(), self.server) {
            (None, Some(server)) => ConnectError::TimedOut { server, refused: self.refused },
            (missing, _) => missing.cloned().unwrap_or(ConnectError::Disconnected),
        }
    }

    fn refused_by_server(&mut self) {
        let Some(server) = self.server else { return };
        let error = ConnectError::ServerFull { server };
        if self.moving.awaits_answer() {
            self.give_up(Cause::Refused, error);
        } else {
            self.shared.status.fail(Cause::Refused, error);
        }
    }

    /// Ends the connection after a failure: nothing is sent or received any more.
    fn give_up(&mut self, cause: Cause, error: ConnectError) {
        self.moving.set_answer_by(None);
        self.shared.shut_line();
        self.shared.inbox.close();
        self.shared.directory.end();
        self.life.stop();
        self.shared.status.fail(cause, error);
    }
}
