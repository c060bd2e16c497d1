//! The turn: one bounded pass over socket, timers, handlers and inbox. A thread calls it in a loop, or the
//! user does.

mod arrivals;
mod freshness;
mod happened;
mod impaired;
mod outlets;
mod overflow;
pub(crate) mod patience;
mod reading;

use crate::sync::Arc;
use crate::sync::Ordering;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tautline_proto::endpoint::Inbound;
use tautline_proto::{Instant as Steady, Now};

use arrivals::Arrivals;
use freshness::Freshness;
pub(crate) use impaired::Impaired;
use outlets::Held;
use overflow::Overflow;

use crate::config::Streams;
use crate::config::WaitPolicy;
use crate::driver::patience::Patience;
use crate::error::{ConnectError, SendError};
use crate::handlers::Dispatcher;
use crate::machine::fault::SocketFault;
use crate::machine::life::Life;
use crate::machine::socket::{Granted, Socket, Waiter};
use crate::message::borrowed::MessageRef;
use crate::sending::gate::Watch;
use crate::sending::line::Line;
use crate::sending::reply::Reply;
use crate::sending::sender::Sender;
use crate::shared::Shared;
use crate::shared::events::Event;
use crate::sync::log::LineLimit;
use crate::watchdog::Watches;
use tautline_proto::Cause;

/// A turn reads no more once it has read so many datagrams. It may have read some more: those that the kernel handed over
/// together with the last; and after a pause up to 1,024, to find the newest of streams that keep only that.
pub const TURN_BUDGET: usize = 64;

/// The most turns in a row that put the protocol's timers off because more datagrams wait: some thousand datagrams,
/// so that a hiccup is no silence, and a flood stops no heartbeat.
const MAX_PUT_OFF: u32 = 64;

/// How long a turn pauses after an error of the socket that will not go away by itself.
const ERROR_PAUSE: Duration = Duration::from_millis(1);

/// Drives one connection; whoever owns it turns.
pub(crate) struct Turner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) life: Arc<Life>,
    inbound: Inbound,
    socket: Arc<Socket>,
    waiter: Waiter,
    dispatcher: Dispatcher<Reply>,
    buffers: Buffers,
    /// A client's server, and until when it must have answered.
    server: Option<SocketAddr>,
    answer_by: Option<Steady>,
    /// The network said that nobody listens at the server's port.
    refused: bool,
    last_other_wire: Option<Instant>,
    /// For [`Event::PeerUnreachable`] and [`Event::SocketFailed`], which a flood of junk in the log must not hide.
    fault_limit: LineLimit,
    send_failures_seen: u64,
    overflow: Overflow,
    /// For how many turns the protocol's timers have been put off.
    put_off: u32,
    /// Senders left more to write than one turn may.
    unwritten: bool,
    patience: Patience,
    watch: Watch,
    watchdogs: Watches,
    /// When the gate wants to be looked at again.
    watch_at: Option<Instant>,
    /// Whether the kernel may hand over many datagrams at once.
    offload: bool,
    /// The last turn took what it had waited for and did not look for more.
    more_may_wait: bool,
    /// This turn brought messages.
    brought_messages: bool,
    inbox_is_on: bool,
    arrivals: Arrivals,
    freshness: Freshness,
    held: Held,
    impaired: Impaired,
}

/// Where datagrams are read to, and where a classic payload is rewritten. Out of their turner while it reads, because
/// what they hold is looked at while the turner works on.
#[derive(Default)]
struct Buffers {
    datagram: Vec<u8>,
    scratch: Vec<u8>,
}

/// What a new [`Turner`] is made of.
pub(crate) struct Parts<'a> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) life: Arc<Life>,
    pub(crate) inbound: Inbound,
    pub(crate) socket: Arc<Socket>,
    pub(crate) waiter: Waiter,
    pub(crate) server: Option<SocketAddr>,
    pub(crate) answer_by: Option<Steady>,
    pub(crate) wait: WaitPolicy,
    pub(crate) granted: Granted,
    pub(crate) watch: Watch,
    pub(crate) offload: bool,
    pub(crate) inbox_is_on: bool,
    pub(crate) streams: &'a Streams,
    pub(crate) impaired: Impaired,
}

impl std::fmt::Debug for Turner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turner").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Sees every message of a turn before handlers and inbox do, if anyone wants to.
pub(crate) type Sink<'a> = Option<&'a mut dyn FnMut(&MessageRef<'_>)>;

impl Turner {
    pub(crate) fn new(parts: Parts<'_>) -> Self {
        let Parts {
            shared,
            life,
            inbound,
            socket,
            waiter,
            server,
            answer_by,
            wait,
            granted,
            watch,
            offload,
            inbox_is_on,
            streams,
            impaired,
        } = parts;
        let arrivals = Arrivals::new(shared.clock.now());
        let watchdogs = shared.watchdogs.watches();
        let dispatcher = Dispatcher::new(Arc::clone(&shared.handlers), Arc::clone(&shared.pool));
        Self {
            shared,
            life,
            inbound,
            socket,
            waiter,
            dispatcher,
            buffers: Buffers::default(),
            server,
            answer_by,
            refused: false,
            last_other_wire: None,
            fault_limit: LineLimit::default(),
            send_failures_seen: 0,
            overflow: Overflow::new(granted),
            put_off: 0,
            unwritten: false,
            patience: Patience::new(wait),
            watch,
            watchdogs,
            watch_at: None,
            offload,
            more_may_wait: false,
            brought_messages: false,
            inbox_is_on,
            arrivals,
            freshness: Freshness::new(streams),
            held: Held::default(),
            impaired,
        }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Calls the server, or lets the classic wire be ready.
    pub(crate) fn start(&mut self) {
        let now = self.shared.clock.now();
        if let Some(server) = self.server {
            self.inbound.dial(server, now);
        }
        self.settle(now);
    }

    /// Turns until the connection ends.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _driving = shared.drivers.enter();
        while !self.life.is_stopped() {
            // Handlers' panics end where they are called; this is one of ours, or of an executor's waker.
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn(None, None)));
            if turn.is_err() && !self.life.is_stopped() {
                self.give_up(Cause::Failed, ConnectError::DriverPanicked);
            }
        }
        // Here, still as the driver: what is dropped may be the last handle of a user's handler.
        drop(self);
    }

    /// Waits for at most `wait` (`None`: as long as nothing is due), then does all that is due: a bounded number of
    /// datagrams and every timer. How many datagrams it were; with a `wait` of zero, 0 says that none was left.
    pub(crate) fn turn(&mut self, wait: Option<Duration>, sink: Sink<'_>) -> usize {
        let (now, datagrams) = self.read(wait, sink);
        if self.life.is_orphaned() {
            return datagrams;
        }
        self.act_on_time(now);
        self.settle(now);
        self.deliver(now.steady);
        self.look_at_overflow(now.steady);
        self.look_at_gate();
        self.finish_sends();
        self.check_answer(now.steady);
        // Last, because these run code of the users, which may end this connection.
        let at = self.shared.clock.instant(now.steady);
        if self.shared.requests.have_deadlines() {
            self.shared.requests.expire(at);
        }
        self.dispatcher.check_deadlines(at);
        self.dispatcher.refresh();
        datagrams
    }

    /// Sends what messages wait at the gate: whoever turns is about to wait, or takes its time anyway.
    fn look_at_gate(&mut self) {
        if std::mem::take(&mut self.brought_messages) {
            self.shared.sender.gate_signs.turned();
        }
        let transmit = &self.shared.sender.transmit;
        // Whoever else has the line is sending; the next look is soon.
        let again = self.watch.look(|| {
            transmit.exclusively_if_free(Line::flush);
        });
        self.watch_at = again.map(|period| Instant::now() + period);
    }

    /// Acts on the protocol's timers, unless more datagrams wait: nobody is silent who is only not read yet.
    fn act_on_time(&mut self, now: Now) {
        if self.inbound.next_timeout().is_none_or(|due| due > now.steady) {
            return;
        }
        if self.more_may_wait && self.put_off < MAX_PUT_OFF {
            // What is due lets the next turn read at once, without waiting.
            self.put_off += 1;
            return;
        }
        self.put_off = 0;
        self.inbound.handle_timeout(now);
    }

    /// Sends what is due of the reliable messages, a datagram at a time so that nobody who sends waits for more than one,
    /// and tells what became of them.
    fn deliver(&self, now: Steady) {
        let Sender { transmit, delivery_signs, .. } = &*self.shared.sender;
        let is_due = || delivery_signs.due().is_some_and(|due| due <= now);
        for _ in 0..TURN_BUDGET {
            let others_wait = transmit.is_contended();
            if !is_due() || !transmit.exclusively(|line| line.deliver(now, others_wait)) {
                break;
            }
        }
        self.shared.tell_ended();
    }

    /// When the next turn must be, at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let clock = self.shared.clock;
        let delivery = self.shared.sender.delivery_signs.due();
        let protocol = [self.inbound.next_timeout(), self.answer_by, delivery, self.impaired.next_timeout()];
        let protocol = protocol.into_iter().flatten().min();
        let protocol = protocol.map(|due| clock.instant(due));
        let write_on = self.unwritten.then(Instant::now);
        let requests = &self.shared.requests;
        let requests = if requests.have_deadlines() { requests.next_deadline() } else { None };
        let deadlines = [protocol, self.dispatcher.next_deadline(), requests, write_on, self.watch_at];
        deadlines.into_iter().flatten().min()
    }

    /// Carries everything that the inbound half has to say to where it belongs. Commands first: when an event
    /// tells that a peer is gone, nothing is sent to it any more.
    fn settle(&mut self, now: Now) {
        if !self.inbound.has_news() {
            return;
        }
        while let Some(event) = self.inbound.poll_event(now) {
            self.carry_out_commands(now);
            self.happened(event);
        }
        self.carry_out_commands(now);
        while let Some((to, datagram)) = self.inbound.poll_reply() {
            // Outside any session, so with whichever mark (`dscp`) the socket happens to have.
            if let Err(error) = self.socket.send(&datagram, to) {
                let fault = SocketFault::of_send(&error);
                self.shared.sender.faults.count(fault);
                self.unreachable(Some(to), fault, &error.to_string());
            }
        }
    }

    fn carry_out_commands(&mut self, now: Now) {
        self.shared.peers_so_far.store(self.inbound.peers_so_far(), Ordering::Relaxed);
        while let Some(command) = self.inbound.poll_command() {
            let failed = self.shared.sender.transmit.exclusively(|line| line.command(command, now));
            if let Some(SendError::Refused { to, fault, problem }) = failed {
                self.unreachable(Some(to), fault, &problem);
            }
        }
    }

    /// Writes what senders left to the driver, and makes failures of queued messages known.
    fn finish_sends(&mut self) {
        let Sender { transmit, counters, gate_signs, .. } = &*self.shared.sender;
        let failures = counters.queued.value();
        if std::mem::replace(&mut self.send_failures_seen, failures) != failures
            && let Some(error) = transmit.exclusively(Line::take_report)
        {
            self.shared.status.events.publish(&Event::SendFailed { error });
        }
        // Last, because taking the report may leave something to write too. What that leaves at the gate, nobody has looked at.
        let left = transmit.flush() || gate_signs.need_a_watch();
        self.unwritten = left || counters.queued.value() != failures;
    }

    fn check_answer(&mut self, now: Steady) {
        let (Some(server), Some(answer_by)) = (self.server, self.answer_by) else { return };
        if now >= answer_by {
            self.give_up(Cause::Failed, ConnectError::TimedOut { server, refused: self.refused });
        }
    }

    fn refused_by_server(&mut self) {
        let Some(server) = self.server else { return };
        let error = ConnectError::ServerFull { server };
        if self.answer_by.is_some() {
            self.give_up(Cause::Refused, error);
        } else {
            self.shared.status.fail(Cause::Refused, error);
        }
    }

    /// The connection has failed: nothing is sent or received any more.
    fn give_up(&mut self, cause: Cause, error: ConnectError) {
        self.answer_by = None;
        self.shared.shut_line();
        self.shared.inbox.close();
        self.shared.directory.end();
        self.life.stop();
        self.shared.status.fail(cause, error);
    }
}
