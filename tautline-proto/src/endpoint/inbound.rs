//! The receiving half: checks, peers, windows, timers.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::native::Native;
use super::peers::{Peer, Peers};
use super::token::Secrets;
use super::{Command, EndpointConfig, Event, OpenPeer, RemovalReason, Role, Start, WireFormat};
use crate::drops::DropReason;
use crate::message::MessageRef;
use crate::peer::{PeerId, SessionId};
use crate::stats::{InboundCounters, PeerRxCounters};
use crate::time::{Instant, Now};
use crate::window::{Verdict, Window};
use crate::wire::native::{self, Frame, Frames, Token};

/// The receiving half of an endpoint; owned by whoever turns. See the module's head for the calls.
#[derive(Debug)]
pub struct Inbound {
    pub(super) config: EndpointConfig,
    pub(super) peers: Peers,
    pub(super) counters: Arc<InboundCounters>,
    pub(super) native: Native,
    /// The server that a client calls.
    pub(super) server: Option<SocketAddr>,
    /// Filled by one datagram or time-out and drained before the next: bounded by what one of them causes.
    pub(super) events: VecDeque<Event>,
    pub(super) commands: VecDeque<Command>,
    pub(super) replies: VecDeque<(SocketAddr, Vec<u8>)>,
    /// A peer that said goodbye in the datagram being read; removed once its messages are handed out.
    closing: Option<PeerId>,
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
            closing: None,
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
    /// new peer can then be answered at once.
    pub fn handle<'a>(
        &mut self,
        now: Now,
        from: SocketAddr,
        datagram: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Option<Accepted<'a>> {
        self.finish_closing(now.steady);
        self.counters.bytes.add(datagram.len() as u64);
        let handled = match self.config.wire {
            WireFormat::Native => self.handle_native(now, from, datagram),
            WireFormat::Classic(format) => {
                self.handle_classic(now, from, datagram, format, scratch).map(Some)
            }
        };
        match handled {
            Ok(accepted) => {
                self.counters.accepted.add(1);
                accepted
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
        let peer = self.peers.get(accepted.peer);
        let (name, rx) = peer.map_or(("", None), |peer| (peer.name.as_str(), Some(&*peer.rx)));
        Messages { contents: accepted.contents, name, rx, config: &self.config, counters: &self.counters }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Now) {
        self.finish_closing(now.steady);
        self.hello_if_due(now.steady);
        while let Some(peer) = self.peers.pop_due(now.steady) {
            let id = peer.id;
            self.visit(id, now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        [self.peers.next_timeout(), self.native.next_hello()].into_iter().flatten().min()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self, now: Now) -> Option<Event> {
        self.finish_closing(now.steady);
        self.events.pop_front()
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
    pub(super) fn judge(peer: &mut Peer, number: Option<u64>, now: Instant) -> Result<bool, DropReason> {
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
    pub(super) fn heard(&mut self, id: PeerId, len: usize, now: Instant) {
        let Some(peer) = self.peers.get(id) else { return };
        peer.rx.datagrams.add(1);
        peer.rx.bytes.add(len as u64);
        // Zero means never.
        peer.rx.last_activity_ns.set(now.as_nanos().max(1));
        peer.last_heard = Some(now);
        if core::mem::take(&mut peer.silent) {
            self.events.push_back(Event::Heard(id));
            self.native.stop_hello();
        }
        let wanted = peer.window.as_ref().and_then(Window::next_timeout);
        let liveness_at = now.plus(self.config.liveness_timeout);
        self.peers.schedule(id, wanted.map_or(liveness_at, |at| at.min(liveness_at)));
    }

    /// Does what is due for one peer and schedules its next visit.
    fn visit(&mut self, id: PeerId, now: Now) {
        let EndpointConfig { heartbeat_interval, liveness_timeout, peer_expiry, role, .. } = self.config;
        let Some(peer) = self.peers.get(id) else { return };
        if let Some(window) = &mut peer.window {
            window.expire(now.steady);
            peer.publish_window();
        }
        if peer.next_heartbeat.is_some_and(|at| at <= now.steady) {
            let (echo, held) = peer.path.echo(now.steady);
            let heartbeat = native::Heartbeat { echo, held, ..native::Heartbeat::default() };
            self.commands.push_back(Command::Heartbeat(id, heartbeat));
            peer.next_heartbeat = Some(now.steady.plus(heartbeat_interval));
        }
        let silent_for = peer.last_heard.map_or(Duration::ZERO, |heard| now.steady.since(heard));
        if !peer.silent && silent_for >= liveness_timeout {
            peer.silent = true;
            peer.rx.timeouts.add(1);
            self.events.push_back(Event::Silent(id));
        }
        let silent = peer.silent;
        if silent && role == Role::Server && silent_for >= peer_expiry {
            self.remove(id, RemovalReason::Expired, now.steady);
            return;
        }
        let patience = match (silent, role) {
            (false, _) => Some(liveness_timeout),
            (true, Role::Server) => Some(peer_expiry),
            // A client never forgets its server.
            (true, Role::Client) => None,
        };
        let liveness_at = peer.last_heard.zip(patience).map(|(heard, patience)| heard.plus(patience));
        let window_at = peer.window.as_ref().and_then(Window::next_timeout);
        if let Some(at) = [peer.next_heartbeat, liveness_at, window_at].into_iter().flatten().min() {
            self.peers.schedule(id, at);
        }
        if silent && role == Role::Client && self.config.wire == WireFormat::Native {
            self.say_hello(now.steady);
        }
    }

    /// Enters a peer into the tables of both halves.
    pub(super) fn add_peer(
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
    pub(super) fn make_room(&mut self, now: Instant) -> bool {
        if self.peers.len() < self.config.max_peers {
            return true;
        }
        let stalest = self.peers.iter().filter(|peer| peer.silent).min_by_key(|peer| peer.last_heard);
        let Some(id) = stalest.map(|peer| peer.id) else { return false };
        self.remove(id, RemovalReason::Expired, now);
        true
    }

    pub(super) fn remove(&mut self, id: PeerId, reason: RemovalReason, now: Instant) {
        let Some(peer) = self.peers.remove(id) else { return };
        if let Some(window) = &peer.window {
            // Nothing will fill the gaps any more.
            peer.rx.lost.set(window.counts().lost + window.missing());
            peer.rx.missing.set(0);
        }
        if let Some(session) = peer.session {
            self.native.remember_closed(session, now);
        }
        self.commands.push_back(Command::Forget(id));
        self.events.push_back(Event::Removed(id, reason));
    }

    pub(super) fn close_after_reading(&mut self, id: PeerId) {
        self.closing = Some(id);
    }

    fn finish_closing(&mut self, now: Instant) {
        let Some(id) = self.closing.take() else { return };
        self.remove(id, RemovalReason::ClosedByPeer, now);
        if self.config.role == Role::Client {
            self.say_hello_anew(now);
        }
    }
}

/// A datagram that passed every check, its messages not yet read.
#[derive(Debug)]
pub struct Accepted<'a> {
    pub(super) peer: PeerId,
    pub(super) late: bool,
    pub(super) contents: Contents<'a>,
}

#[derive(Debug)]
pub(super) enum Contents<'a> {
    Classic(Option<MessageRef<'a>>),
    Native { frames: Frames<'a>, next_id: u64 },
}

impl Accepted<'_> {
    /// Who sent it.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Whether it came after a newer one.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.late
    }
}

/// The messages of one datagram.
#[derive(Debug)]
pub struct Messages<'a> {
    contents: Contents<'a>,
    name: &'a str,
    rx: Option<&'a PeerRxCounters>,
    config: &'a EndpointConfig,
    counters: &'a InboundCounters,
}

impl<'a> Iterator for Messages<'a> {
    type Item = MessageRef<'a>;

    fn next(&mut self) -> Option<MessageRef<'a>> {
        let message = match &mut self.contents {
            Contents::Classic(message) => message.take(),
            Contents::Native { frames, next_id } => {
                next_valid(frames, self.name, next_id, self.config, self.counters)
            }
        }?;
        if let Some(rx) = self.rx {
            rx.messages.add(1);
        }
        Some(message)
    }
}

/// The next message whose fields and payload pass; the others are counted.
fn next_valid<'a>(
    frames: &mut Frames<'a>,
    name: &'a str,
    next_id: &mut u64,
    config: &EndpointConfig,
    counters: &InboundCounters,
) -> Option<MessageRef<'a>> {
    for frame in frames {
        let Frame::Message(frame) = frame else { continue };
        let id = *next_id;
        *next_id += 1;
        let checked = frame.decode(id, name).and_then(|message| {
            if message.payload.len() > config.max_message_size {
                return Err(DropReason::TooLarge);
            }
            (config.check_payload)(message.content_type, message.payload)?;
            Ok(message)
        });
        match checked {
            Ok(message) => return Some(message),
            Err(reason) => counters.messages_dropped.count(reason),
        }
    }
    None
}
