//! The receiving half: checks, peers, windows, timers.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::native::Native;
use super::peers::{Peer, Peers};
use super::token::Secrets;
use super::{Command, EndpointConfig, Event, OpenPeer, RemovalReason, Role, WireFormat};
use crate::drops::DropReason;
use crate::message::MessageRef;
use crate::peer::{PeerId, SessionId};
use crate::stats::InboundCounters;
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
    pub(super) fn new(config: EndpointConfig, seed: [u8; 16]) -> Self {
        Self {
            config,
            peers: Peers::default(),
            counters: Arc::default(),
            native: Native::new(Secrets::new(seed)),
            server: None,
            events: VecDeque::new(),
            commands: VecDeque::new(),
            replies: VecDeque::new(),
            closing: None,
        }
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

    /// Takes in one datagram and gives its messages. `scratch` is where a classic payload is rewritten whose
    /// NaN become null; it can be any buffer.
    pub fn handle<'a>(
        &'a mut self,
        now: Now,
        from: SocketAddr,
        datagram: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Messages<'a> {
        self.finish_closing(now.steady);
        self.counters.bytes.add(datagram.len() as u64);
        match self.config.wire {
            WireFormat::Native => self.handle_native(now, from, datagram),
            WireFormat::Classic(format) => self.handle_classic(now, from, datagram, format, scratch),
        }
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

    /// Counts a drop and gives the empty result.
    pub(super) fn drop_datagram(&mut self, from: SocketAddr, reason: DropReason) -> Messages<'_> {
        self.counters.dropped.count(reason);
        self.events.push_back(Event::Dropped { from, reason });
        Messages::none(&self.config, &self.counters)
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
    pub(super) fn accept(&mut self, id: PeerId, len: usize, now: Instant) {
        self.counters.accepted.add(1);
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

/// The messages of one datagram.
#[derive(Debug)]
pub struct Messages<'a> {
    source: Source<'a>,
    peer: PeerId,
    late: bool,
    config: &'a EndpointConfig,
    counters: &'a InboundCounters,
    rx: Option<&'a crate::stats::PeerRxCounters>,
}

#[derive(Debug)]
enum Source<'a> {
    Nothing,
    Classic(Option<MessageRef<'a>>),
    Native { frames: Frames<'a>, name: &'a str, next_id: u64 },
}

impl<'a> Messages<'a> {
    pub(super) fn none(config: &'a EndpointConfig, counters: &'a InboundCounters) -> Self {
        let peer = PeerId::none();
        Self { source: Source::Nothing, peer, late: false, config, counters, rx: None }
    }

    pub(super) fn classic(inbound: Parts<'a>, message: MessageRef<'a>, late: bool) -> Self {
        Self::from_parts(inbound, Source::Classic(Some(message)), late)
    }

    pub(super) fn native(inbound: Parts<'a>, frames: Frames<'a>, number: u64, late: bool) -> Self {
        let name = inbound.peer.name.as_str();
        // §4.2: the default message id is the datagram's number and the frame's place in it.
        let next_id = number << super::native::FRAME_INDEX_BITS;
        Self::from_parts(inbound, Source::Native { frames, name, next_id }, late)
    }

    fn from_parts(parts: Parts<'a>, source: Source<'a>, late: bool) -> Self {
        let Parts { peer, config, counters } = parts;
        Self { source, peer: peer.id, late, config, counters, rx: Some(&peer.rx) }
    }

    /// Who sent them; meaningless where there is no message.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Whether they come after a newer datagram.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.late
    }
}

/// What [`Messages`] borrows from the inbound half.
pub(super) struct Parts<'a> {
    pub(super) peer: &'a Peer,
    pub(super) config: &'a EndpointConfig,
    pub(super) counters: &'a InboundCounters,
}

impl<'a> Iterator for Messages<'a> {
    type Item = MessageRef<'a>;

    fn next(&mut self) -> Option<MessageRef<'a>> {
        let message = match &mut self.source {
            Source::Nothing => None,
            Source::Classic(message) => message.take(),
            Source::Native { frames, name, next_id } => {
                next_valid(frames, name, next_id, self.config, self.counters)
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
