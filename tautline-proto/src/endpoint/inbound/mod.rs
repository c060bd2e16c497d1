//! The receiving half: checks, peers, windows, timers.

mod accepted;
mod classic;
mod delivery;
mod handshake;
mod native;
mod peers;
mod reassembly;
mod reliable_receiver;
mod token;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::drops::DropReason;
use crate::endpoint::command::{Command, OpenPeer};
use crate::endpoint::config::{EndpointConfig, Role, Start, WireFormat};
use crate::endpoint::event::{Event, RemovalReason};
use crate::path::PeerClock;
use crate::peer::{PeerId, SessionId};
use crate::stats::InboundCounters;
use crate::time::{Instant, Now};
use crate::window::{Verdict, Window};
use crate::wire::native::Token;
use accepted::Contents;
pub use accepted::{Accepted, Messages, Refusals};
use delivery::Sorted;
use handshake::{Closed, Native};
use peers::{Peer, Peers};
use token::Secrets;

/// The receiving half of an endpoint; owned by whoever turns. See the module's head for the calls.
#[derive(Debug)]
pub struct Inbound {
    config: EndpointConfig,
    peers: Peers,
    counters: Arc<InboundCounters>,
    native: Native,
    /// The server that a client calls.
    server: Option<SocketAddr>,
    /// Filled by one datagram or time-out and drained before the next: bounded by what one of them causes.
    events: VecDeque<Event>,
    commands: VecDeque<Command>,
    replies: VecDeque<(SocketAddr, Vec<u8>)>,
    /// What the datagram that is being read has brought.
    sorted: Sorted,
    closing: Closing,
}

/// A visit to a peer is never due again at once, so that handling a time-out ends.
const SHORTEST_WAIT: Duration = Duration::from_micros(100);

/// Whether a peer has said goodbye in the datagram that is being read.
#[derive(Debug, Default)]
enum Closing {
    #[default]
    Nobody,
    /// Its last messages are still to be handed out.
    AfterReading(PeerId),
    Now(PeerId),
}

impl Inbound {
    pub(super) fn new(config: EndpointConfig, start: Start) -> Self {
        Self {
            config,
            peers: Peers::after(start.peers_before),
            counters: Arc::default(),
            native: Native::new(Secrets::new(start.seed)),
            server: None,
            events: VecDeque::new(),
            commands: VecDeque::new(),
            replies: VecDeque::new(),
            sorted: Sorted::default(),
            closing: Closing::Nobody,
        }
    }

    /// How many peers there were so far; the next endpoint's [`Start::peers_before`].
    #[must_use]
    pub fn peers_so_far(&self) -> u32 {
        self.peers.serial()
    }

    /// The counters of everything that reaches the socket.
    #[must_use]
    pub fn counters(&self) -> Arc<InboundCounters> {
        Arc::clone(&self.counters)
    }

    /// Lets a client call its server: on the classic wire the peer is there at once, on the native wire
    /// hellos go out until the server answers.
    pub fn dial(&mut self, server: SocketAddr, now: Now) {
        self.server = Some(server);
        match self.config.wire {
            WireFormat::Classic(_) => {
                self.add_classic_peer(server);
            }
            WireFormat::Native => self.say_hello_anew(now.steady),
        }
    }

    /// Takes in one datagram; `None` if it was dropped or has nothing for the user. `scratch` is where a
    /// classic payload is rewritten whose NaN become null; it can be any buffer.
    ///
    /// What was accepted is read by [`messages`](Self::messages), after the commands were carried out: a
    /// new peer can then be answered at once. Before the next datagram, that is: its reliable messages are acknowledged
    /// and do not come again.
    pub fn handle<'a>(
        &mut self,
        now: Now,
        from: SocketAddr,
        datagram: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Option<Accepted<'a>> {
        self.finish_closing(now.steady);
        self.counters.bytes.add(datagram.len() as u64);
        // Each wire's own result is counted, not the common one: that has room for a whole message and is felt when moved.
        match self.config.wire {
            WireFormat::Native => {
                let handled = self.handle_native(now, from, datagram);
                self.tally(from, handled)?.map(Accepted::from)
            }
            WireFormat::Classic(format) => {
                let handled = self.handle_classic(now, from, datagram, format, scratch);
                self.tally(from, handled)
            }
        }
    }

    /// Counts what has become of a datagram.
    #[inline]
    fn tally<T>(&mut self, from: SocketAddr, handled: Result<T, DropReason>) -> Option<T> {
        match handled {
            Ok(accepted) => {
                self.counters.accepted.add(1);
                Some(accepted)
            }
            Err(reason) => {
                self.counters.dropped.count(reason);
                self.events.push_back(Event::Dropped { from, reason });
                None
            }
        }
    }

    /// The messages of an accepted datagram; those that break a rule of their own are counted and skipped.
    pub fn messages<'a>(&'a mut self, accepted: Accepted<'a>) -> Messages<'a> {
        if let Closing::AfterReading(id) = self.closing {
            self.closing = Closing::Now(id);
        }
        let Accepted { peer, contents, .. } = accepted;
        let is_sorted = matches!(&contents, Contents::Native { frames, .. } if !frames.are_messages());
        let Self { sorted, peers, config, counters, .. } = self;
        let peer = peers.get(peer).map(|peer| &*peer);
        Messages::new(contents, is_sorted.then_some(sorted), peer, config, counters)
    }

    /// Counts a message as [`Refusals::count`](super::Refusals::count) does, later.
    pub fn refuse(&self, reason: DropReason) {
        self.counters.messages_dropped.count(reason);
    }

    /// What is known of a peer's wall clock at `now`; `None` before the first measurement, and on the classic wire.
    #[must_use]
    pub fn peer_clock(&mut self, id: PeerId, now: Instant) -> Option<PeerClock> {
        self.peers.get(id).and_then(|peer| peer.path.peer_clock(now))
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Now) {
        self.finish_closing(now.steady);
        self.hello_if_due(now.steady);
        while let Some(peer) = self.peers.pop_due(now.steady) {
            let id = peer.id;
            self.visit(id, now.steady);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let closing = (!matches!(self.closing, Closing::Nobody)).then_some(Instant::from_nanos(0));
        [closing, self.peers.next_timeout(), self.native.next_hello()].into_iter().flatten().min()
    }

    /// Whether there is anything to say: an [event](Self::poll_event), a [command](Self::poll_command) or a
    /// [reply](Self::poll_reply). After most datagrams there is not.
    #[must_use]
    #[inline]
    pub fn has_news(&self) -> bool {
        let says_nothing = self.events.is_empty() && self.commands.is_empty() && self.replies.is_empty();
        !says_nothing || matches!(self.closing, Closing::Now(_))
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self, now: Now) -> Option<Event> {
        if let Closing::Now(_) = self.closing {
            self.finish_closing(now.steady);
        }
        self.events.pop_front()
    }

    /// Whether the tables agree with one another; what is wrong otherwise. For tests and fuzzers: it walks
    /// every table.
    ///
    /// # Errors
    ///
    /// The name of the first rule that does not hold.
    #[doc(hidden)]
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.peers.check()?;
        if self.config.role == Role::Server && !self.peers.all_are_watched() {
            return Err("a server's peer can neither fall silent nor expire");
        }
        let bounded = self.peers.len() <= self.config.max_peers;
        if bounded { Ok(()) } else { Err("more peers than max_peers") }
    }

    /// The next order for the outbound half.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next datagram that belongs to no session, and where it goes.
    pub fn poll_reply(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.replies.pop_front()
    }

    /// Lets the window decide about a datagram's number and counts what it says.
    fn judge(peer: &mut Peer, number: Option<u64>, now: Instant) -> Result<bool, DropReason> {
        let (Some(number), Some(window)) = (number, &mut peer.window) else { return Ok(false) };
        window.expire(now);
        let verdict = window.receive(number, now);
        peer.publish_window();
        match verdict {
            Verdict::New => Ok(false),
            Verdict::Late => Ok(true),
            Verdict::Duplicate => Err(DropReason::Duplicate),
            Verdict::TooOld => Err(DropReason::TooOld),
        }
    }

    /// Records that a valid datagram of `len` bytes came from the peer.
    fn heard(&mut self, id: PeerId, len: usize, now: Instant) {
        let Some(peer) = self.peers.get(id) else { return };
        peer.rx.datagrams.add(1);
        peer.rx.bytes.add(len as u64);
        // Zero means never.
        peer.rx.last_activity_ns.set(now.as_nanos().max(1));
        let wanted = peer.window.as_ref().and_then(Window::next_timeout);
        let liveness_at = now.plus(self.stale_after().unwrap_or(self.config.liveness_timeout));
        self.peers.schedule(id, wanted.map_or(liveness_at, |at| at.min(liveness_at)));
        if self.peers.mark_heard(id, now) {
            self.events.push_back(Event::Heard(id));
            self.native.stop_hello();
        }
    }

    /// Does what is due for one peer and schedules its next visit.
    fn visit(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get(id) else { return };
        if let Some(window) = &mut peer.window {
            window.expire(now);
            peer.publish_window();
        }
        if let Some(kept) = &mut peer.kept {
            kept.expire(now, &self.counters);
        }
        self.send_heartbeat_if_due(id, now);
        if self.watch_liveness(id, now) {
            self.schedule_visit(id, now);
        }
    }

    /// A peer not heard for so long is stale: only where heartbeats say that it lives. docs/protocol.md §7.3.
    fn stale_after(&self) -> Option<Duration> {
        (self.config.wire == WireFormat::Native).then_some(self.config.liveness_timeout / 2)
    }

    /// Notices a peer's silence and what follows from it; whether the peer is still there.
    fn watch_liveness(&mut self, id: PeerId, now: Instant) -> bool {
        let stale_after = self.stale_after();
        let Some(peer) = self.peers.get(id) else { return false };
        let silent_for = peer.silent_for(now);
        if peer.accepted && !peer.stale && stale_after.is_some_and(|after| silent_for >= after) {
            peer.stale = true;
            self.events.push_back(Event::Stale(id));
        }
        if !peer.is_silent() && silent_for >= self.config.liveness_timeout {
            peer.rx.timeouts.add(1);
            self.peers.mark_silent(id);
            self.events.push_back(Event::Silent(id));
        }
        let silent = self.peers.get(id).is_some_and(|peer| peer.is_silent());
        match self.config.role {
            Role::Server if silent && silent_for >= self.config.peer_expiry => {
                self.remove(id, RemovalReason::Expired, now);
                return false;
            }
            // A client never forgets its server.
            Role::Client if silent && self.config.wire == WireFormat::Native => self.say_hello(now),
            _ => {}
        }
        true
    }

    fn schedule_visit(&mut self, id: PeerId, now: Instant) {
        let stale_after = self.stale_after();
        let Some(peer) = self.peers.get(id) else { return };
        let patience = match (peer.is_silent(), self.config.role) {
            (false, _) => stale_after.filter(|_| !peer.stale).or(Some(self.config.liveness_timeout)),
            (true, Role::Server) => Some(self.config.peer_expiry),
            (true, Role::Client) => None,
        };
        let liveness_at = peer.last_heard.zip(patience).map(|(heard, patience)| heard.plus(patience));
        if let Some(at) = [peer.next_visit(), liveness_at].into_iter().flatten().min() {
            self.peers.schedule(id, at.max(now.plus(SHORTEST_WAIT)));
        }
    }

    /// Enters a peer into the tables of both halves.
    fn add_peer(
        &mut self,
        address: SocketAddr,
        session: Option<SessionId>,
        name: &str,
        echo: Option<Token>,
    ) -> &mut Peer {
        let peer = self.peers.add(address, session, name);
        peer.rx.lives.set(1);
        self.events.push_back(Event::Added(peer.handle()));
        self.commands.push_back(Command::Open(OpenPeer {
            id: peer.id,
            address,
            session: session.unwrap_or(SessionId::from_bits(0)),
            tx: Arc::clone(&peer.tx),
            echo,
        }));
        peer
    }

    /// Makes room for one more peer: the one that is silent longest goes, the living are never disturbed.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.peers.len() < self.config.max_peers {
            return true;
        }
        let Some(id) = self.peers.stalest() else { return false };
        self.remove(id, RemovalReason::Expired, now);
        true
    }

    fn remove(&mut self, id: PeerId, reason: RemovalReason, now: Instant) {
        let Some(peer) = self.peers.remove(id) else { return };
        if let Some(window) = &peer.window {
            // Nothing will fill the gaps any more.
            peer.rx.lost.set(window.counts().lost + window.missing());
            peer.rx.missing.set(0);
        }
        if let Some(session) = peer.session
            && self.config.role == Role::Server
        {
            let (address, proven) = (peer.address, peer.proven);
            self.native.remember_closed(Closed { session, address, proven, at: now });
        }
        if let Some(kept) = &peer.kept {
            self.counters.messages_dropped.count_many(DropReason::Incomplete, kept.undelivered());
        }
        self.commands.push_back(Command::Forget(id, reason));
        self.events.push_back(Event::Removed(id, reason));
    }

    /// Ends a session once the messages that came with its goodbye are handed out.
    fn close_after_reading(&mut self, id: PeerId) {
        self.closing = Closing::AfterReading(id);
    }

    fn finish_closing(&mut self, now: Instant) {
        let (Closing::AfterReading(id) | Closing::Now(id)) = core::mem::take(&mut self.closing) else {
            return;
        };
        self.remove(id, RemovalReason::ClosedByPeer, now);
        if self.config.role == Role::Client {
            self.say_hello_anew(now);
        }
    }
}
