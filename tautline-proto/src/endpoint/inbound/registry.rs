//! The register of peers: adds, removes and watches them, and queues the events and commands that follow.
//!
//! Both wires call it. It knows no frames and no envelopes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::claims::{Claims, Due, Request};
use super::closed_sessions::{ClosedSession, ClosedSessions};
use super::outputs::Outputs;
use super::ownership::Owners;
use super::peers::{InboundPeer, PeerTable};
use crate::drops::DropReason;
use crate::endpoint::command::{Command, OpenPeer};
use crate::endpoint::config::{EndpointConfig, Role, WireFormat};
use crate::endpoint::event::{Event, RemovalReason};
use crate::endpoint::owner::{ClaimError, ClaimOutcome};
use crate::message::StreamId;
use crate::peer::{PeerId, SessionId};
use crate::stats::InboundCounters;
use crate::time::Instant;
use crate::window::{Verdict, Window};
use crate::wire::native::{self, Control, Header, Heartbeat, OwnershipAct, Token};

/// The shortest time between two visits to a peer, so that handling a time-out ends.
const MIN_VISIT_INTERVAL: Duration = Duration::from_micros(100);

/// A client that is not accepted yet repeats its echo after this time, or after the heartbeat interval if that is shorter.
pub(super) const ECHO_INTERVAL: Duration = Duration::from_millis(50);

/// The peers, their counters, and what there is to say about them.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) config: EndpointConfig,
    pub(super) peers: PeerTable,
    pub(super) counters: Arc<InboundCounters>,
    pub(super) outputs: Outputs,
    /// `None` if no stream has an owner.
    pub(super) owners: Option<Box<Owners>>,
    /// Used by native servers only.
    pub(super) closed: ClosedSessions,
    closing: Closing,
}

/// Whether the datagram that is being read has ended its peer's session.
#[derive(Debug, Default)]
enum Closing {
    #[default]
    No,
    /// The caller has not begun to read the peer's last messages.
    AfterReading(PeerId),
    /// The peer's last messages have been read, or are being read.
    Now(PeerId),
}

/// What a visit to a peer found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visited {
    Nothing,
    /// The peer is this client's server, and it is silent.
    ServerIsSilent,
}

impl Registry {
    pub(super) fn new(config: EndpointConfig, peers_before: u32) -> Self {
        let owners = Owners::new(&config.owned, config.wire == WireFormat::Native);
        Self {
            config,
            owners: owners.map(Box::new),
            peers: PeerTable::after(peers_before),
            counters: Arc::default(),
            outputs: Outputs::default(),
            closed: ClosedSessions::default(),
            closing: Closing::No,
        }
    }

    /// Lets the window judge a datagram's number, and publishes the counts. Returns whether the datagram is late.
    #[inline]
    pub(super) fn judge(
        peer: &mut InboundPeer,
        number: Option<u64>,
        now: Instant,
    ) -> Result<bool, DropReason> {
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

    /// Records that a valid datagram of `len` bytes came from the peer. Returns whether the peer had been stale or silent.
    pub(super) fn heard(&mut self, id: PeerId, len: usize, now: Instant) -> bool {
        let Some(peer) = self.peers.get(id) else { return false };
        peer.rx.datagrams.add(1);
        peer.rx.bytes.add(len as u64);
        // Zero means never.
        peer.rx.last_activity_ns.set(now.as_nanos().max(1));
        let wanted = peer.window.as_ref().and_then(Window::next_timeout);
        let liveness_at = now.plus(self.stale_after().unwrap_or(self.config.liveness_timeout));
        self.peers.schedule(id, wanted.map_or(liveness_at, |at| at.min(liveness_at)));
        let was_away = self.peers.mark_heard(id, now);
        if was_away {
            self.outputs.events.push_back(Event::Heard(id));
        }
        was_away
    }

    /// Does what is due for one peer, and schedules the next visit.
    pub(super) fn visit(&mut self, id: PeerId, now: Instant) -> Visited {
        let Some(peer) = self.peers.get(id) else { return Visited::Nothing };
        if let Some(window) = &mut peer.window {
            window.expire(now);
            peer.publish_window();
        }
        if let Some(delivery) = &mut peer.delivery {
            delivery.expire(now, &self.counters);
        }
        self.send_heartbeat_if_due(id, now);
        self.send_claims_if_due(id, now);
        self.watch_liveness(id, now);
        self.schedule_visit(id, now);
        let calls_server = self.config.role == Role::Client && self.config.wire == WireFormat::Native;
        match self.peers.get(id) {
            Some(peer) if peer.is_silent() && calls_server => Visited::ServerIsSilent,
            _ => Visited::Nothing,
        }
    }

    /// Sends a heartbeat if it is due. A client that is not accepted yet repeats its echo with it.
    fn send_heartbeat_if_due(&mut self, id: PeerId, now: Instant) {
        let interval = self.config.heartbeat_interval;
        let Some(peer) = self.peers.get(id) else { return };
        if peer.next_heartbeat.is_none_or(|at| at > now) {
            return;
        }
        peer.next_heartbeat =
            Some(now.plus(if peer.accepted { interval } else { interval.min(ECHO_INTERVAL) }));
        let (echo, held) = peer.path.echo(now);
        let heartbeat = Heartbeat { echo, held, ..Heartbeat::default() };
        self.outputs.commands.push_back(Command::Heartbeat(id, heartbeat));
    }

    /// Begins a claim or a release at a peer.
    pub(super) fn ask(
        &mut self,
        id: PeerId,
        act: OwnershipAct,
        stream: StreamId,
        ticket: u64,
        now: Instant,
    ) -> Result<(), ClaimError> {
        if self.config.wire != WireFormat::Native {
            return Err(ClaimError::NeedsNativeWire);
        }
        let peer = self.peers.get(id).ok_or(ClaimError::UnknownPeer)?;
        peer.claims.get_or_insert_default().ask(act, stream, ticket, now)?;
        self.send_claims_if_due(id, now);
        Ok(())
    }

    /// Sends the claim or release that is due.
    pub(super) fn send_claims_if_due(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get(id) else { return };
        let Some(claims) = &mut peer.claims else { return };
        loop {
            match claims.poll(now) {
                Due::Nothing => break,
                Due::Send(frame) => self.outputs.commands.push_back(Command::Ownership(id, frame)),
                Due::GiveUp(Request { ticket, stream, .. }) => {
                    let outcome = ClaimOutcome::Unanswered;
                    self.outputs.events.push_back(Event::ClaimEnded { ticket, peer: id, stream, outcome });
                }
            }
        }
        if let Some(at) = claims.next_timeout() {
            self.peers.schedule(id, at);
        }
    }

    /// Ends what the peer's claims and its streams were waiting for: its session, or its life, is over.
    fn end_ownership(&mut self, id: PeerId, claims: Option<Box<Claims>>) {
        for Request { ticket, stream, .. } in claims.into_iter().flat_map(|claims| claims.unanswered()) {
            let outcome = ClaimOutcome::PeerLost;
            self.outputs.events.push_back(Event::ClaimEnded { ticket, peer: id, stream, outcome });
        }
        self.forget_owner(id);
    }

    /// Notes that a peer, or a former life of it, owns nothing any more.
    pub(super) fn forget_owner(&mut self, id: PeerId) {
        if let Some(owners) = &mut self.owners {
            owners.forget(id, &mut self.outputs);
        }
    }

    /// Returns after how long a silence a peer is stale. Only the native wire has heartbeats that show it.
    /// docs/protocol.md §7.3.
    fn stale_after(&self) -> Option<Duration> {
        (self.config.wire == WireFormat::Native).then_some(self.config.liveness_timeout / 2)
    }

    /// Marks a peer stale or silent when its time has come. A server removes a peer that has expired.
    fn watch_liveness(&mut self, id: PeerId, now: Instant) {
        let stale_after = self.stale_after();
        let Some(peer) = self.peers.get(id) else { return };
        let silent_for = peer.silent_for(now);
        if peer.accepted && !peer.stale && stale_after.is_some_and(|after| silent_for >= after) {
            peer.stale = true;
            self.outputs.events.push_back(Event::Stale(id));
        }
        if !peer.is_silent() && silent_for >= self.config.liveness_timeout {
            peer.rx.timeouts.add(1);
            self.peers.mark_silent(id);
            self.outputs.events.push_back(Event::Silent(id));
        }
        let is_silent = self.peers.get(id).is_some_and(|peer| peer.is_silent());
        // A client never forgets its server.
        if self.config.role == Role::Server && is_silent && silent_for >= self.config.peer_expiry {
            self.remove(id, RemovalReason::Expired, now);
        }
    }

    fn schedule_visit(&mut self, id: PeerId, now: Instant) {
        let stale_after = self.stale_after();
        let Some(peer) = self.peers.get(id) else { return };
        let wait = match (peer.is_silent(), self.config.role) {
            (false, _) => stale_after.filter(|_| !peer.stale).or(Some(self.config.liveness_timeout)),
            (true, Role::Server) => Some(self.config.peer_expiry),
            (true, Role::Client) => None,
        };
        let liveness_at = peer.last_heard.zip(wait).map(|(heard, wait)| heard.plus(wait));
        if let Some(at) = [peer.next_visit(), liveness_at].into_iter().flatten().min() {
            self.peers.schedule(id, at.max(now.plus(MIN_VISIT_INTERVAL)));
        }
    }

    /// Adds a peer here, and tells the outbound half and the driver.
    pub(super) fn add(
        &mut self,
        address: SocketAddr,
        session: Option<SessionId>,
        name: &str,
        echo: Option<Token>,
    ) -> &mut InboundPeer {
        let peer = self.peers.add(address, session, name);
        peer.rx.lives.set(1);
        self.outputs.events.push_back(Event::Added(peer.handle()));
        self.outputs.commands.push_back(Command::Open(OpenPeer {
            id: peer.id,
            address,
            session: session.unwrap_or(SessionId::from_bits(0)),
            tx: Arc::clone(&peer.tx),
            echo,
        }));
        peer
    }

    /// Makes room for one more peer. A full table removes the peer that has been silent for the longest time, and never a
    /// living one. Returns whether there is room.
    pub(super) fn make_room(&mut self, now: Instant) -> bool {
        if self.peers.len() < self.config.max_peers {
            return true;
        }
        let Some(id) = self.peers.longest_silent() else { return false };
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
        if let Some(session) = peer.session
            && self.config.role == Role::Server
        {
            let (address, proven) = (peer.address, peer.proven);
            self.closed.remember(ClosedSession { session, address, proven, at: now });
        }
        if let Some(delivery) = &peer.delivery {
            self.counters.messages_dropped.count_many(DropReason::Incomplete, delivery.undelivered());
        }
        self.end_ownership(id, peer.claims);
        self.outputs.commands.push_back(Command::Forget(id, reason));
        self.outputs.events.push_back(Event::Removed(id, reason));
    }

    /// Queues a datagram outside any session's numbering.
    pub(super) fn reply(&mut self, to: SocketAddr, session: SessionId, control: &Control<'_>) {
        let mut datagram = Vec::new();
        native::begin_datagram(&mut datagram);
        native::write_control(&mut datagram, control);
        let from_server = self.config.role == Role::Server;
        native::seal(&mut datagram, Header { session, sequence: 0, from_server });
        self.outputs.replies.push_back((to, datagram));
    }

    /// Notes that the peer's session ends when the messages that came with its close frame have been read.
    pub(super) fn close_after_reading(&mut self, id: PeerId) {
        self.closing = Closing::AfterReading(id);
    }

    /// Notes that the caller reads the messages of the datagram.
    #[inline]
    pub(super) fn begin_reading(&mut self) {
        if let Closing::AfterReading(id) = self.closing {
            self.closing = Closing::Now(id);
        }
    }

    /// Returns whether a session has to be ended: at the latest before the next datagram.
    pub(super) const fn is_closing(&self) -> bool {
        !matches!(self.closing, Closing::No)
    }

    /// Returns whether a session has ended and its last messages were read.
    #[inline]
    pub(super) const fn can_close_now(&self) -> bool {
        matches!(self.closing, Closing::Now(_))
    }

    /// Removes the peer whose session has ended, if there is one. Returns whether there was one.
    #[inline]
    pub(super) fn finish_closing(&mut self, now: Instant) -> bool {
        let (Closing::AfterReading(id) | Closing::Now(id)) = self.closing else { return false };
        self.closing = Closing::No;
        self.remove(id, RemovalReason::ClosedByPeer, now);
        true
    }

    /// Checks that the tables agree with one another. For tests, because it walks all tables.
    ///
    /// # Errors
    ///
    /// The first rule that does not hold.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        self.peers.check()?;
        self.owners.as_ref().map_or(Ok(()), |owners| owners.check())?;
        if self.config.role == Role::Server && !self.peers.all_are_watched() {
            return Err("a server's peer can neither fall silent nor expire");
        }
        let bounded = self.peers.len() <= self.config.max_peers;
        if bounded { Ok(()) } else { Err("more peers than max_peers") }
    }
}
