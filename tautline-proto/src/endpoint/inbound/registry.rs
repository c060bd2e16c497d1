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
#[cfg(feature = "secure")]
use super::peers::SecuredPeer;
use super::peers::{Away, InboundPeer, PeerTable};
use super::places::{LostPlace, LostPlaces};
use super::rights::NotAllowed;
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
use crate::wire::native::{self, Control, Heartbeat, OwnershipAct, Token};

/// The shortest time between two visits to a peer, so that handling a time-out ends.
const MIN_VISIT_INTERVAL: Duration = Duration::from_micros(100);

/// The shortest time between two answers to a peer's frames about probes, beside the heartbeats.
const MIN_ANSWER_INTERVAL: Duration = Duration::from_millis(10);

/// A client that is not accepted yet repeats its echo after this time, or after the heartbeat interval if that is shorter.
pub(super) const ECHO_INTERVAL: Duration = Duration::from_millis(50);

/// On the classic wire a peer that was heard once gets the messages for all for this time, and one that was heard for longer gets
/// them as long again, up to the liveness time-out. So one forged datagram does not set a stream on somebody.
const FIRST_TRUST: Duration = Duration::from_millis(250);

/// A server's heartbeats to a silent peer come after this time, or after the heartbeat interval if that is longer. There may be as
/// many silent strangers as peers. When the peer is heard again, it gets a heartbeat at once.
const SILENT_HEARTBEAT: Duration = Duration::from_secs(1);

/// The peers, their counters, and what there is to say about them.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) config: EndpointConfig,
    pub(super) peers: PeerTable,
    pub(super) counters: Arc<InboundCounters>,
    pub(super) outputs: Outputs,
    pub(super) not_allowed: NotAllowed,
    /// `None` if no stream has an owner.
    pub(super) owners: Option<Box<Owners>>,
    /// Used by native servers only.
    pub(super) closed: ClosedSessions,
    /// Peers that had to make room in a full table.
    pub(super) lost_places: LostPlaces,
    pub(super) strangers: Strangers,
    /// After how long a silence a peer is visited for the first time.
    first_look: Duration,
    closing: Closing,
    /// The new sizes of paths that the present input has seen, for a black box. The outbound half writes them when it likes, so
    /// they are inputs too.
    pub(super) sizes_seen: Option<Vec<[u64; 2]>>,
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

/// What strangers may cost now.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// Handshakes of strangers are dropped until then.
    pub(super) refused_until: Instant,
    /// Whether the outputs that wait were caused by a stranger.
    pub(super) were_served: bool,
    /// How many peers were admitted since `counted_from`.
    admitted: u32,
    counted_from: Instant,
}

/// A server admits so many strangers in [`ADMISSION_PERIOD`] at most: before it has measured what they cost it.
const MAX_ADMITTED: u32 = 32;
const ADMISSION_PERIOD: Duration = Duration::from_millis(50);

impl Strangers {
    /// Counts one more admission, if one more may come now.
    fn admit(&mut self, now: Instant) -> bool {
        if now.since(self.counted_from) >= ADMISSION_PERIOD {
            (self.counted_from, self.admitted) = (now, 0);
        }
        self.admitted += 1;
        self.admitted <= MAX_ADMITTED
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

/// What a visit to a peer found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visited {
    Nothing,
    /// The peer is this client's server, and it is silent, or the session needs new keys.
    ServerMustBeCalled,
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
            sizes_seen: None,
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
            Verdict::Leap => Err(DropReason::NumberLeap),
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
        let look_at = now.plus(self.first_look);
        self.peers.schedule(id, wanted.map_or(look_at, |at| at.min(look_at)));
        let away = self.peers.mark_heard(id, now);
        if away.is_away() {
            self.came_back(id, away);
        }
        away.is_away()
    }

    #[cold]
    fn came_back(&mut self, id: PeerId, away: Away) {
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
        self.tell_path_size(id);
        self.send_heartbeat_if_due(id, now);
        self.send_claims_if_due(id, now);
        self.watch_liveness(id, now);
        self.peers.grow_up(id);
        self.schedule_visit(id, now);
        let is_secured = self.config.is_secured();
        let calls_server = self.config.role == Role::Client && self.config.wire == WireFormat::Native;
        match self.peers.get(id) {
            Some(peer) if calls_server && (peer.is(Away::SILENT) || is_secured && peer.is(Away::STALE)) => {
                Visited::ServerMustBeCalled
            }
            _ => Visited::Nothing,
        }
    }

    /// Sends a heartbeat if it is due. A client that is not accepted yet repeats its echo with it.
    pub(super) fn send_heartbeat_if_due(&mut self, id: PeerId, now: Instant) {
        let interval = self.config.heartbeat_interval;
        let Some(peer) = self.peers.get(id) else { return };
        if peer.next_heartbeat.is_none_or(|at| at > now) {
            return;
        }
        peer.next_heartbeat = Some(now.plus(match self.config.role {
            _ if !peer.accepted => interval.min(ECHO_INTERVAL),
            Role::Server if peer.is(Away::SILENT) => interval.max(SILENT_HEARTBEAT),
            _ => interval,
        }));
        // Nothing is probed for a peer that does not answer.
        if peer.accepted && !peer.is(Away::STALE) && !peer.is(Away::SILENT) {
            self.outputs.commands.push_back(Command::Probe(id));
        }
        self.send_heartbeat(id, now);
    }

    fn send_heartbeat(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get(id) else { return };
        let (echo, held) = peer.path.echo(now);
        let heartbeat = Heartbeat { echo, held, ..Heartbeat::default() };
        self.outputs.commands.push_back(Command::Heartbeat(id, heartbeat));
    }

    /// Answers a frame about probes at once, unless another one was answered just now: then the next heartbeat answers it.
    pub(super) fn answer_probe(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get(id).filter(|peer| peer.next_answer <= now) else { return };
        peer.next_answer = now.plus(MIN_ANSWER_INTERVAL);
        self.send_heartbeat(id, now);
    }

    /// Tells the user when the size of the path has changed. The outbound half knows it.
    fn tell_path_size(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let size = peer.tx.datagram_size.value();
        let told = core::mem::replace(&mut peer.told_size, size);
        if let Some(seen) = self.sizes_seen.as_mut().filter(|_| told != size) {
            seen.push([id.to_word(), size]);
        }
        if told != size && told != 0 {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            self.outputs.events.push_back(Event::PathSize(id, size));
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

    /// Returns after how long a silence a peer is stale. Only the native wire has heartbeats that show it.
    /// docs/protocol.md §7.3.
    fn stale_after(&self) -> Option<Duration> {
        (self.config.wire == WireFormat::Native).then_some(self.config.liveness_timeout / 2)
    }

    /// Marks a peer stale, hushed or silent when its time has come. A server removes a peer that has expired.
    fn watch_liveness(&mut self, id: PeerId, now: Instant) {
        let stale_after = self.stale_after();
        let Some(peer) = self.peers.get(id) else { return };
        let hushed_after = hushed_after(&self.config, peer);
        let silent_for = peer.silent_for(now);
        if peer.accepted && !peer.is(Away::STALE) && stale_after.is_some_and(|after| silent_for >= after) {
            peer.mark(Away::STALE);
            self.outputs.events.push_back(Event::Stale(id));
        }
        if hushed_after.is_some_and(|after| silent_for >= after) {
            self.hush(id);
        }
        let Some(peer) = self.peers.get(id) else { return };
        if !peer.is(Away::SILENT) && silent_for >= self.config.liveness_timeout {
            peer.rx.timeouts.add(1);
            self.peers.mark_silent(id);
            self.outputs.events.push_back(Event::Silent(id));
        }
        let is_silent = self.peers.get(id).is_some_and(|peer| peer.is(Away::SILENT));
        // A client never forgets its server.
        if self.config.role == Role::Server && is_silent && silent_for >= self.config.peer_expiry {
            self.remove(id, RemovalReason::Expired, now);
        }
    }

    /// Leaves a peer out of messages for all until it is heard again.
    fn hush(&mut self, id: PeerId) {
        if self.peers.hush(id) {
            self.outputs.commands.push_back(Command::Hush(id));
        }
    }

    /// Takes the network's word that nobody listens at this address, if it is a newcomer's: it is hushed. Anybody can forge that
    /// word, so it changes nothing for other peers, nor on a secured link, whose newcomers have shown that they have a key.
    #[cold]
    pub(super) fn unreachable(&mut self, address: SocketAddr) {
        if self.config.role == Role::Server
            && !self.config.is_secured()
            && let Some(id) = self.peers.newcomer_at(address)
        {
            self.hush(id);
        }
    }

    fn schedule_visit(&mut self, id: PeerId, now: Instant) {
        let stale_after = self.stale_after();
        let Some(peer) = self.peers.get(id) else { return };
        let hushed_after = hushed_after(&self.config, peer);
        let wait = match (peer.is(Away::SILENT), self.config.role) {
            (false, _) => {
                let stale_after = stale_after.filter(|_| !peer.is(Away::STALE));
                let hushed_after = hushed_after.filter(|_| !peer.is(Away::HUSHED));
                [stale_after, hushed_after, Some(self.config.liveness_timeout)].into_iter().flatten().min()
            }
            (true, Role::Server) => Some(self.config.peer_expiry),
            (true, Role::Client) => None,
        };
        let liveness_at = peer.last_heard.zip(wait).map(|(heard, wait)| heard.plus(wait));
        if let Some(at) = [peer.next_visit(), liveness_at].into_iter().flatten().min() {
            self.peers.schedule(id, at.max(now.plus(MIN_VISIT_INTERVAL)));
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

    /// As [`make_room`](Self::make_room), but admits only so many strangers at once.
    pub(super) fn admit_newcomer(
        &mut self,
        newcomer: SocketAddr,
        now: Instant,
    ) -> Result<Instant, DropReason> {
        if self.lost_place_of(newcomer, now).is_none() && !self.strangers.admit(now) {
            return Err(DropReason::Overloaded);
        }
        self.make_room(newcomer, now).ok_or(DropReason::PeerTableFull)
    }

    /// Makes room for one more peer. Returns since when it counts as established, or `None` if there is no room.
    ///
    /// In a full table a silent peer makes room. A peer that had to make room comes back into its place, even if the peer that has
    /// it now is heard. [`Places`](super::places::Places) has the rules.
    pub(super) fn make_room(&mut self, newcomer: SocketAddr, now: Instant) -> Option<Instant> {
        let lost = self.lost_place_of(newcomer, now);
        if self.peers.len() >= self.config.max_peers {
            let displaced = self.gives_way(newcomer, lost)?;
            self.displace(displaced, now);
        }
        self.lost_places.forget(newcomer);
        Some(lost.map_or(now, |lost| lost.established))
    }

    /// Returns whether there is room for one more peer, which [`make_room`](Self::make_room) makes.
    #[cfg(feature = "secure")]
    pub(super) fn has_room(&self, newcomer: SocketAddr, now: Instant) -> bool {
        let lost = self.lost_place_of(newcomer, now);
        self.peers.len() < self.config.max_peers || self.gives_way(newcomer, lost).is_some()
    }

    /// Returns the peer of a full table that gives way to this newcomer.
    fn gives_way(&self, newcomer: SocketAddr, lost: Option<LostPlace>) -> Option<PeerId> {
        let host = newcomer.ip();
        let taken = || self.peers.taken_after(lost?.displaced, host);
        self.peers.silent_for(host).or_else(taken)
    }

    fn displace(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get(id) {
            let lost = LostPlace { established: peer.established, displaced: now };
            self.lost_places.remember(peer.address, lost, self.config.peer_expiry);
        }
        self.remove(id, RemovalReason::Displaced, now);
    }

    /// Returns the place that the peer of an address has lost.
    fn lost_place_of(&self, address: SocketAddr, now: Instant) -> Option<LostPlace> {
        self.lost_places.of(address, now, self.config.peer_expiry)
    }

    /// Returns whether a stranger from this address may be served now. If so, what follows counts as the service of a stranger.
    pub(super) fn admit_stranger(&mut self, from: SocketAddr, now: Instant) -> Result<(), DropReason> {
        if !self.config.allows(from.ip()) {
            return Err(DropReason::NotAllowed);
        }
        if now < self.strangers.refused_until && self.lost_place_of(from, now).is_none() {
            return Err(DropReason::Overloaded);
        }
        self.strangers.were_served = true;
        Ok(())
    }

    /// Returns whether the peer of this address had to make room not long ago.
    pub(super) fn was_displaced(&self, address: SocketAddr, now: Instant) -> bool {
        self.lost_place_of(address, now).is_some()
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
        self.send_heartbeat_if_due(id, now);
        self.peers.schedule(id, now);
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

    /// Returns whether something waits to be polled.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        !self.outputs.are_empty() || self.can_close_now() || self.not_allowed.is_noted()
    }

    /// Removes the peer whose session has ended, if there is one. Returns whether there was one.
    #[inline]
    pub(super) fn finish_closing(&mut self, now: Instant) -> bool {
        let (Closing::AfterReading(id, reason) | Closing::Now(id, reason)) = self.closing else {
            return false;
        };
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

/// Returns after how long a silence messages for all leave a peer out. Never on a client, whose only peer is its server; nor
/// on the classic wire if `allow` names the peers, because there a peer may listen without ever sending.
/// docs/protocol.md §5.5, §8.4.
fn hushed_after(config: &EndpointConfig, peer: &InboundPeer) -> Option<Duration> {
    let EndpointConfig { role, wire, liveness_timeout, allow, .. } = config;
    match (role, wire) {
        (Role::Client, _) => None,
        (Role::Server, WireFormat::Native) => Some(*liveness_timeout),
        (Role::Server, WireFormat::Classic(_)) if !allow.is_empty() => None,
        (Role::Server, WireFormat::Classic(_)) => {
            Some(peer.heard_for().clamp(FIRST_TRUST.min(*liveness_timeout), *liveness_timeout))
        }
    }
}

saved!(Registry { config, peers, counters, owners, closed, lost_places, strangers, first_look, closing } else {
    // A mark is made when nothing waits to be polled.
    outputs: Outputs::default(),
    not_allowed: NotAllowed::default(),
    sizes_seen: None,
});
saved!(Strangers { refused_until, admitted, counted_from } else { were_served: false });
saved_variants!(Closing { 0 = No, 1 = AfterReading(peer, reason), 2 = Now(peer, reason) });
