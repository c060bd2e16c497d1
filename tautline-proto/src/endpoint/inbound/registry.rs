//! The register of peers: adds and removes them, and queues the events and commands that follow.
//!
//! Both wires call it. It knows no frames and no envelopes. Its further methods are in `admission` (who may become a peer) and
//! `liveness` (visits to the peers).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint::cold_path;
use core::net::SocketAddr;
use core::time::Duration;

use super::claims::{Claims, Due, Request};
use super::closed_sessions::{ClosedSession, ClosedSessions};
use super::outputs::Outputs;
use super::ownership::Owners;
#[cfg(feature = "secure")]
use super::peer::SecuredPeer;
use super::peer::{Away, InboundPeer};
use super::peers::PeerTable;
use super::places::LostPlaces;
use super::rights::NotAllowed;
use super::strangers::Strangers;
use crate::drops::DropReason;
use crate::endpoint::command::{Command, OpenPeer};
use crate::endpoint::config::{EndpointConfig, Role, WireFormat};
use crate::endpoint::event::{Event, RemovalReason};
use crate::endpoint::owner::{ClaimError, ClaimOutcome};
use crate::message::StreamId;
use crate::peer::{PeerId, SessionId};
use crate::rights::Rights;
#[cfg(feature = "secure")]
use crate::secure::SealKey;
use crate::snapshot::{saved, saved_variants};
use crate::stats::InboundCounters;
use crate::time::Instant;
use crate::window::{Verdict, Window};
use crate::wire::native::{self, Control, OwnershipAct, Token};

/// A client that is not accepted yet repeats its echo after this time, or after the heartbeat interval if that is shorter.
pub(super) const ECHO_INTERVAL: Duration = Duration::from_millis(50);

/// On the classic wire a peer that was heard once gets the messages for all for this time, and one that was heard for longer gets
/// them as long again, up to the liveness time-out. So one forged datagram does not set a stream on somebody.
pub(super) const FIRST_TRUST: Duration = Duration::from_millis(250);

/// The peers, their counters, and what there is to say about them.
#[derive(Debug)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(super) struct Registry {
    closing: Closing,
    pub(super) not_allowed: NotAllowed,
    /// The silence after which a peer is looked at for the first time.
    first_look: Duration,
    pub(super) peers: PeerTable,
    pub(super) counters: Arc<InboundCounters>,
    /// `None` if no stream has an owner.
    pub(super) owners: Option<Box<Owners>>,
    pub(super) outputs: Outputs,
    pub(super) config: EndpointConfig,
    /// Used by native servers only.
    pub(super) closed: ClosedSessions,
    /// Peers that had to make room in a full table.
    pub(super) lost_places: LostPlaces,
    pub(super) strangers: Strangers,
    /// What the present input has seen of the outbound half, for a black box. That half writes it when it likes, so it is an input
    /// too.
    pub(super) seen: SeenList,
}

/// What the outbound half has published of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    /// The size of the path to it.
    Size(PeerId, u64),
    /// The number of the next datagram to it (secured links only).
    #[cfg(feature = "secure")]
    Number(PeerId, u64),
}

/// What the present input has seen.
#[derive(Debug, Default)]
pub(super) struct SeenList {
    list: Vec<Seen>,
    is_kept: bool,
}

impl SeenList {
    /// A list that keeps what is noted. The default list keeps nothing.
    pub(super) fn kept() -> Self {
        Self { list: Vec::with_capacity(16), is_kept: true }
    }

    pub(super) fn note(&mut self, seen: Seen) {
        if self.is_kept {
            self.list.push(seen);
        }
    }

    /// Takes what was noted.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Seen> {
        self.list.drain(..)
    }
}

/// A peer to add.
pub(super) struct Newcomer<'a> {
    pub(super) address: SocketAddr,
    pub(super) session: Option<SessionId>,
    pub(super) name: &'a str,
    pub(super) echo: Option<Token>,
    pub(super) established: Instant,
    /// What it may send to us, and what we may send to it.
    pub(super) rights: Rights,
    pub(super) granted: Rights,
    #[cfg(feature = "secure")]
    pub(super) secured: Option<(SecuredPeer, SealKey)>,
}

impl Newcomer<'_> {
    /// A peer of a plain link, without a name.
    pub(super) const fn new(address: SocketAddr, session: Option<SessionId>, established: Instant) -> Self {
        Self {
            address,
            session,
            name: "",
            echo: None,
            established,
            rights: Rights::ALL,
            granted: Rights::ALL,
            #[cfg(feature = "secure")]
            secured: None,
        }
    }
}

/// Whether the datagram that is being read has ended its peer's session.
#[derive(Debug, Default)]
enum Closing {
    #[default]
    No,
    /// The caller has not begun to read the peer's last messages.
    AfterReading(PeerId, RemovalReason),
    /// The peer's last messages have been read, or are being read.
    Now(PeerId, RemovalReason),
}

impl Registry {
    pub(super) fn new(config: EndpointConfig, peers_before: u32) -> Self {
        let owners = Owners::new(&config.owned, config.wire == WireFormat::Native);
        let first_look = match (config.wire, config.role) {
            (WireFormat::Native, _) => config.liveness_timeout / 2,
            (WireFormat::Classic(_), Role::Server) => config.liveness_timeout.min(FIRST_TRUST),
            (WireFormat::Classic(_), Role::Client) => config.liveness_timeout,
        };
        Self {
            first_look,
            config,
            owners: owners.map(Box::new),
            peers: PeerTable::after(peers_before),
            counters: Arc::default(),
            outputs: Outputs::default(),
            not_allowed: NotAllowed::default(),
            closed: ClosedSessions::default(),
            lost_places: LostPlaces::default(),
            strangers: Strangers::default(),
            closing: Closing::No,
            seen: SeenList::default(),
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
        if window.receive_next(number) {
            peer.publish_next();
            return Ok(false);
        }
        Self::judge_closely(peer, number, now)
    }

    #[inline(never)]
    fn judge_closely(peer: &mut InboundPeer, number: u64, now: Instant) -> Result<bool, DropReason> {
        let Some(window) = &mut peer.window else { return Ok(false) };
        window.expire(now);
        let verdict = window.receive(number, now);
        peer.publish_window();
        match verdict {
            Verdict::New => Ok(false),
            Verdict::Late => Ok(true),
            Verdict::Duplicate => Err(DropReason::Duplicate),
            Verdict::TooOld => Err(DropReason::TooOld),
            Verdict::Leap => Err(DropReason::NumberLeap),
        }
    }

    /// Records that a valid datagram of `len` bytes came from the peer. Returns whether the peer had been stale or silent.
    #[inline]
    pub(super) fn heard(&mut self, id: PeerId, len: usize, now: Instant) -> bool {
        let Some(peer) = self.peers.get(id) else { return false };
        peer.rx.datagrams.add(1);
        peer.rx.bytes.add(len as u64);
        // Zero means never.
        peer.rx.last_activity_ns.set(now.as_nanos().max(1));
        let wanted = peer.window.as_ref().and_then(Window::next_timeout);
        let look_at = now.plus(self.first_look);
        let look_at = wanted.map_or(look_at, |at| at.min(look_at));
        peer.last_heard = Some(now);
        let away = peer.take_away();
        // The time of the next look moves seldom: when it has come, the look finds out when the next one is due.
        if !peer.is_visited_by(look_at) {
            cold_path();
            self.peers.schedule(id, look_at);
        }
        if away.is_away() {
            self.came_back(id, away, now);
        }
        away.is_away()
    }

    #[cold]
    fn came_back(&mut self, id: PeerId, away: Away, now: Instant) {
        if away.is(Away::SILENT) {
            self.peers.came_back(id, now);
        }
        if away.is(Away::HUSHED) {
            self.peers.listens_again(id);
            self.outputs.commands.push_back(Command::Heard(id));
        }
        if away.is(Away::SILENT)
            && let Some(peer) = self.peers.get(id)
            && let (Some(at), Some(heard)) = (&mut peer.next_heartbeat, peer.last_heard)
        {
            *at = heard;
            self.peers.schedule(id, heard);
        }
        if away.is(Away::STALE) || away.is(Away::SILENT) {
            self.outputs.events.push_back(Event::Heard(id));
        }
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

    /// Adds a peer here, and tells the outbound half and the driver.
    pub(super) fn add(&mut self, newcomer: Newcomer<'_>) -> &mut InboundPeer {
        let Newcomer { address, session, name, echo, established, rights, granted, .. } = newcomer;
        let peer = self.peers.add(address, session, name, established);
        (peer.rights, peer.granted) = (rights, granted);
        #[cfg(feature = "secure")]
        let sealing = newcomer.secured.map(|(secured, sealing)| {
            peer.secured = Some(Box::new(secured));
            Box::new(sealing)
        });
        peer.rx.lives.set(1);
        self.outputs.events.push_back(Event::Added(peer.handle()));
        self.outputs.commands.push_back(Command::Open(OpenPeer {
            id: peer.id,
            address,
            session: session.unwrap_or(SessionId::from_bits(0)),
            tx: Arc::clone(&peer.tx),
            echo,
            granted,
            #[cfg(feature = "secure")]
            sealing,
        }));
        peer
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
        self.counters.messages_dropped.count_many(DropReason::Incomplete, peer.undelivered());
        self.end_ownership(id, peer.claims);
        self.outputs.commands.push_back(Command::Forget(id, reason));
        self.outputs.events.push_back(Event::Removed(id, reason));
    }

    /// Notes that a peer is at another address now, at which nobody else is, and sends it a heartbeat there.
    #[cfg(feature = "secure")]
    pub(super) fn relocate(&mut self, id: PeerId, to: SocketAddr, now: Instant) {
        let Some(peer) = self.peers.get(id) else { return };
        let from = peer.address;
        peer.next_heartbeat = Some(now);
        self.peers.relocate(id, to);
        // Also at the same address: there is another path to it.
        self.outputs.commands.push_back(Command::Move(id, to));
        if from != to {
            self.outputs.events.push_back(Event::Moved { peer: id, from, to });
        }
        self.send_heartbeat_if_due(id, now, now);
        self.peers.schedule(id, now);
    }

    /// Refuses what an end of our own role has sent: our own datagram has come back to us, or its sender called the wrong end.
    #[inline]
    pub(super) fn check_sender(&self, is_server: bool) -> Result<(), DropReason> {
        let is_ours = is_server == (self.config.role == Role::Server);
        if is_ours { Err(DropReason::Unexpected) } else { Ok(()) }
    }

    /// Queues a datagram outside any session's numbering.
    pub(super) fn reply(&mut self, to: SocketAddr, session: SessionId, control: &Control<'_>) {
        let datagram = self.unnumbered(session, control);
        self.outputs.replies.push_back((to, datagram));
    }

    /// Returns a datagram outside any session's numbering.
    pub(super) fn unnumbered(&self, session: SessionId, control: &Control<'_>) -> Vec<u8> {
        native::unnumbered(session, self.config.role == Role::Server, control)
    }

    /// Notes that the peer's session ends when the messages that came with its close frame have been read.
    pub(super) fn close_after_reading(&mut self, id: PeerId, reason: RemovalReason) {
        self.closing = Closing::AfterReading(id, reason);
    }

    /// Notes that the caller reads the messages of the datagram.
    #[inline]
    pub(super) fn begin_reading(&mut self) {
        if let Closing::AfterReading(id, reason) = self.closing {
            self.closing = Closing::Now(id, reason);
        }
    }

    /// Returns whether a session has to be ended: at the latest before the next datagram.
    pub(super) const fn is_closing(&self) -> bool {
        !matches!(self.closing, Closing::No)
    }

    /// Returns whether a session has ended and its last messages were read.
    #[inline]
    pub(super) const fn can_close_now(&self) -> bool {
        matches!(self.closing, Closing::Now(..))
    }

    /// Returns whether the present input has seen something of the outbound half that a black box needs.
    #[inline]
    pub(super) fn has_seen(&self) -> bool {
        !self.seen.list.is_empty()
    }

    /// Returns whether something waits to be polled.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        !self.outputs.are_empty() | self.can_close_now() | self.not_allowed.is_noted()
    }

    /// Removes the peer whose session has ended, if there is one. Returns whether there was one.
    #[inline]
    pub(super) fn finish_closing(&mut self, now: Instant) -> bool {
        let (Closing::AfterReading(id, reason) | Closing::Now(id, reason)) = self.closing else {
            return false;
        };
        cold_path();
        self.closing = Closing::No;
        self.remove(id, reason, now);
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

impl Drop for Registry {
    /// The endpoint ends. Some messages were acknowledged, and will not be handed out any more. They are counted, as when a peer is
    /// removed.
    fn drop(&mut self) {
        let undelivered = self.peers.iter().map(InboundPeer::undelivered).sum();
        self.counters.messages_dropped.count_many(DropReason::Incomplete, undelivered);
    }
}

saved!(Registry { config, peers, counters, owners, closed, lost_places, strangers, first_look, closing } else {
    // A mark is made when nothing waits to be polled.
    outputs: Outputs::default(),
    not_allowed: NotAllowed::default(),
    seen: SeenList::default(),
});
saved_variants!(Closing { 0 = No, 1 = AfterReading(peer, reason), 2 = Now(peer, reason) });
