//! The peers of the inbound half, and their table: bounded, indexed by address and by session, with one table of timers.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use hashbrown::HashMap;

use super::claims::Claims;
use super::delivery::DeliveryState;
#[cfg(feature = "secure")]
use super::elsewhere::Move;
#[cfg(feature = "secure")]
use super::keyring::Keyring;
use super::places::Places;
use crate::endpoint::event::PeerHandle;
use crate::path::Path;
use crate::peer::{PeerId, SessionId};
use crate::rights::Rights;
#[cfg(feature = "secure")]
use crate::secure::KeyId;
use crate::snapshot::{Reader, Saved, Writer, saved};
use crate::stats::{PeerRxCounters, PeerTxCounters};
use crate::time::Instant;
use crate::window::{Window, WindowCounts};

/// A peer is a newcomer until it was heard for this time.
const NEWCOMER: Duration = Duration::from_secs(1);

/// A remote end as the inbound half sees it.
#[derive(Debug)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(super) struct InboundPeer {
    pub(super) id: PeerId,
    /// Native only.
    pub(super) session: Option<SessionId>,
    pub(super) address: SocketAddr,
    /// `None` before the first datagram, and if datagrams have no numbers.
    pub(super) window: Option<Window>,
    /// The window's number that stands for the sender's number 0.
    pub(super) numbers_from: u64,
    pub(super) rx: Arc<PeerRxCounters>,
    /// The time from which the silence is measured. `None` on the classic wire until the peer was heard once.
    pub(super) last_heard: Option<Instant>,
    /// The peer's entry in the timer table. Set by [`PeerTable::schedule`].
    wake_at: Option<Instant>,
    /// Cleared by [`take_away`](Self::take_away).
    away: Away,
    /// Whether the link is established. On a server and on the classic wire it is from the start.
    pub(super) accepted: bool,
    /// What it may send to us, and what we may send to it.
    pub(super) rights: Rights,
    /// Its keys (secured links only).
    #[cfg(feature = "secure")]
    pub(super) secured: Option<Box<SecuredPeer>>,
    pub(super) name: String,
    pub(super) path: Path,
    /// Native only; created with the first reliable or large message.
    pub(super) delivery: Option<Box<DeliveryState>>,
    /// How much memory that takes. Set by [`PeerTable::count_kept`].
    kept: usize,
    /// Native only; created with the first claim, release or notice in either direction.
    pub(super) claims: Option<Box<Claims>>,
    pub(super) granted: Rights,
    /// When the token was issued that proved the peer's address (native servers only).
    pub(super) proven: Instant,
    /// Whether the server has sent its name (native clients only).
    pub(super) named: bool,
    /// Whether it counts among the [newcomers](PeerTable::newcomers).
    is_newcomer: bool,
    /// When it came. A peer that comes back into its place keeps the time.
    pub(super) established: Instant,
    /// Since when it has been heard without falling silent.
    pub(super) heard_since: Instant,
    /// Native only.
    pub(super) next_heartbeat: Option<Instant>,
    /// When a frame about probes may be answered at once again (native).
    pub(super) next_answer: Instant,
    /// The size of the largest datagram to it that the last event told of; 0 before the first look.
    pub(super) told_size: u64,
    /// The latest time stamp that was accepted, in seconds (classic). As a number, because senders may count any time.
    pub(super) newest: f64,
    /// The life before the last restart (classic).
    pub(super) former_life: Option<FormerLife>,
    /// The counts that readers see. They rarely change from one datagram to the next, so the comparison saves writes.
    published: (WindowCounts, u64),
    pub(super) tx: Arc<PeerTxCounters>,
}

/// What is known of a peer with a key.
#[cfg(feature = "secure")]
#[derive(Debug)]
pub(super) struct SecuredPeer {
    /// Who it is, by its key.
    pub(super) identity: Arc<str>,
    /// Names the key that it has called with.
    pub(super) key: KeyId,
    /// Opens what it sends.
    pub(super) ring: Keyring,
    /// Where else it was heard last (servers only).
    pub(super) moving: Option<Box<Move>>,
}

#[cfg(feature = "secure")]
impl SecuredPeer {
    pub(super) fn new(identity: &Arc<str>, key: KeyId, ring: Keyring) -> Self {
        Self { identity: Arc::clone(identity), key, ring, moving: None }
    }
}

/// What is remembered of the time before a restart (classic).
#[derive(Clone, Copy, Debug)]
pub(super) struct FormerLife {
    pub(super) newest: f64,
    pub(super) ended_at: Instant,
}

/// What the silence of a peer has led to so far. One byte, so that a datagram of a peer that is not away costs one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Away(u8);

impl Away {
    /// Heartbeats are overdue (native).
    pub(super) const STALE: Self = Self(1);
    /// It is left out when a message goes to all.
    pub(super) const HUSHED: Self = Self(2);
    /// It was not heard for the liveness time-out. Set by [`PeerTable::mark_silent`].
    pub(super) const SILENT: Self = Self(4);

    pub(super) const fn is(self, state: Self) -> bool {
        self.0 & state.0 != 0
    }

    pub(super) const fn is_away(self) -> bool {
        self.0 != 0
    }
}

impl InboundPeer {
    pub(super) fn handle(&self) -> PeerHandle {
        PeerHandle {
            id: self.id,
            address: self.address,
            session: self.session,
            name: self.name.clone(),
            #[cfg(feature = "secure")]
            identity: self.secured.as_ref().map(|secured| Arc::clone(&secured.identity)),
            #[cfg(not(feature = "secure"))]
            identity: None,
            rights: self.rights,
            granted: self.granted,
            rx: Arc::clone(&self.rx),
            tx: Arc::clone(&self.tx),
        }
    }

    /// Returns whether it is visited at `at` or earlier.
    #[inline]
    pub(super) fn is_visited_by(&self, at: Instant) -> bool {
        self.wake_at.is_some_and(|set| set <= at)
    }

    /// Takes note that it is heard. Returns what its silence had led to.
    #[inline]
    pub(super) const fn take_away(&mut self) -> Away {
        core::mem::replace(&mut self.away, Away(0))
    }

    /// Publishes the number that the window expects next. Its counts are published whenever they change.
    #[inline]
    pub(super) fn publish_next(&self) {
        if let Some(window) = &self.window {
            self.rx.expected_sequence.set(window.next() - self.numbers_from);
        }
    }

    /// Publishes the window's counts to readers.
    pub(super) fn publish_window(&mut self) {
        self.publish_next();
        let Some(window) = &self.window else { return };
        let errors = (window.counts(), window.missing());
        if errors != core::mem::replace(&mut self.published, errors) {
            let (counts, missing) = errors;
            self.rx.lost.set(counts.lost);
            self.rx.probes_lost.set(counts.probes_lost);
            self.rx.late.set(counts.late);
            self.rx.duplicate.set(counts.duplicate);
            self.rx.missing.set(missing);
        }
    }

    pub(super) const fn is(&self, state: Away) -> bool {
        self.away.is(state)
    }

    /// Notes that the peer is stale.
    pub(super) fn mark(&mut self, state: Away) {
        self.away.0 |= state.0;
    }

    /// Its place among those that may have to give way.
    fn seat(&self) -> (Instant, u32) {
        (self.established, self.id.slot_number())
    }

    /// Returns for how long it has been heard without falling silent.
    pub(super) fn heard_for(&self) -> Duration {
        self.last_heard.map_or(Duration::ZERO, |last| last.since(self.heard_since))
    }

    /// Returns how long the peer has not been heard. Zero if it was never heard (classic).
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        self.last_heard.map_or(Duration::ZERO, |heard| now.since(heard))
    }

    /// Returns how many bytes its incomplete and held-back messages take, as [`PeerTable::kept`] counts them.
    pub(super) const fn kept(&self) -> usize {
        self.kept
    }

    /// Returns when the window, a heartbeat, an incomplete message or a claim needs the next visit.
    pub(super) fn next_visit(&self) -> Option<Instant> {
        let window_at = self.window.as_ref().and_then(Window::next_timeout);
        let delivery_at = self.delivery.as_ref().and_then(|delivery| delivery.next_timeout());
        let claim_at = self.claims.as_ref().and_then(|claims| claims.next_timeout());
        let visits = [self.next_heartbeat, window_at, delivery_at, claim_at, self.moves_at()];
        visits.into_iter().flatten().min()
    }

    /// Returns when it is decided where the peer is.
    fn moves_at(&self) -> Option<Instant> {
        #[cfg(feature = "secure")]
        return self.secured.as_ref()?.moving.as_ref()?.decides_at();
        #[cfg(not(feature = "secure"))]
        None
    }
}

/// All peers. Slots are reused, but ids are not.
///
/// Invariant: `by_address`, `by_session`, `timers` and `places` hold exactly the entries of the peers in
/// `slots`; [`check`](Self::check) tests it.
#[derive(Debug, Default)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(super) struct PeerTable {
    /// The first of the timers.
    first_timer: Option<Instant>,
    /// The slot of the session that was looked up last: most datagrams are of the same peer as the one before.
    latest: u32,
    slots: Vec<Option<InboundPeer>>,
    free: Vec<u32>,
    by_address: HashMap<SocketAddr, u32>,
    by_session: HashMap<SessionId, u32>,
    timers: BTreeSet<(Instant, u32)>,
    /// A full table finds the peer to remove here.
    places: Places,
    /// How many peers came lately and are not hushed.
    newcomers: usize,
    /// The sum of what the peers keep.
    kept: usize,
    serial: u32,
}

impl PeerTable {
    /// An empty table whose ids begin after `serial`.
    pub(super) fn after(serial: u32) -> Self {
        Self { serial, ..Self::default() }
    }

    pub(super) const fn serial(&self) -> u32 {
        self.serial
    }

    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Returns a peer, if there is one. A client has one at most.
    pub(super) fn first(&self) -> Option<&InboundPeer> {
        self.slots.iter().flatten().next()
    }

    pub(super) fn any(&self, is_meant: impl Fn(&InboundPeer) -> bool) -> bool {
        self.slots.iter().flatten().any(is_meant)
    }

    pub(super) fn by_address(&mut self, address: SocketAddr) -> Option<&mut InboundPeer> {
        let slot = *self.by_address.get(&address)?;
        self.slots[slot as usize].as_mut()
    }

    #[inline]
    pub(super) fn by_session(&mut self, session: SessionId) -> Option<&mut InboundPeer> {
        let slot = self.slot_of_session(session)?;
        self.slots[slot].as_mut()
    }

    /// Returns the slot of the peer with this session.
    #[inline]
    pub(super) fn slot_of_session(&mut self, session: SessionId) -> Option<usize> {
        let latest = self.latest as usize;
        match self.slots.get(latest) {
            Some(Some(peer)) if peer.session == Some(session) => Some(latest),
            _ => self.look_up_session(session),
        }
    }

    #[inline(never)]
    fn look_up_session(&mut self, session: SessionId) -> Option<usize> {
        self.latest = *self.by_session.get(&session)?;
        Some(self.latest as usize)
    }

    /// Returns the peer in this slot, which [`slot_of_session`](Self::slot_of_session) has found.
    #[inline]
    pub(super) fn in_slot(&mut self, slot: usize) -> Option<&mut InboundPeer> {
        self.slots.get_mut(slot)?.as_mut()
    }

    #[inline]
    pub(super) fn get(&mut self, id: PeerId) -> Option<&mut InboundPeer> {
        self.slots.get_mut(id.slot())?.as_mut().filter(|peer| peer.id == id)
    }

    /// Adds a peer. The address and the session must be free.
    pub(super) fn add(
        &mut self,
        address: SocketAddr,
        session: Option<SessionId>,
        name: &str,
        established: Instant,
    ) -> &mut InboundPeer {
        self.serial = self.serial.wrapping_add(1);
        let slot = self.free.pop().unwrap_or_else(|| {
            if self.slots.is_empty() {
                // A client has one peer. Room for more would move the objects behind it to other pages.
                self.slots.reserve_exact(1);
            }
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("max_peers bounds the slots")
        });
        self.by_address.insert(address, slot);
        self.newcomers += 1;
        self.places.add(address.ip(), (established, slot));
        if let Some(session) = session {
            self.by_session.insert(session, slot);
        }
        self.slots[slot as usize].insert(InboundPeer {
            id: PeerId::new(self.serial, slot),
            address,
            session,
            name: name.into(),
            window: None,
            path: Path::default(),
            delivery: None,
            kept: 0,
            claims: None,
            rights: Rights::ALL,
            granted: Rights::ALL,
            #[cfg(feature = "secure")]
            secured: None,
            accepted: false,
            named: false,
            proven: Instant::from_nanos(0),
            away: Away::default(),
            is_newcomer: true,
            established,
            heard_since: established,
            last_heard: None,
            next_heartbeat: None,
            next_answer: Instant::from_nanos(0),
            told_size: 0,
            newest: f64::NEG_INFINITY,
            former_life: None,
            numbers_from: 0,
            published: Default::default(),
            rx: Arc::default(),
            tx: Arc::default(),
            wake_at: None,
        })
    }

    pub(super) fn remove(&mut self, id: PeerId) -> Option<InboundPeer> {
        self.get(id)?;
        let peer = self.slots[id.slot()].take()?;
        let slot = self.by_address.remove(&peer.address)?;
        if let Some(session) = peer.session {
            self.by_session.remove(&session);
        }
        if let Some(wake_at) = peer.wake_at {
            self.timers.remove(&(wake_at, slot));
            self.look_for_first_timer();
        }
        self.places.remove(peer.address.ip(), peer.seat());
        self.newcomers -= usize::from(peer.is_newcomer);
        self.kept -= peer.kept;
        self.free.push(slot);
        Some(peer)
    }

    /// Moves the peer to another address, at which nobody is.
    #[cfg(feature = "secure")]
    pub(super) fn relocate(&mut self, id: PeerId, to: SocketAddr) {
        let Some(peer) = self.get(id) else { return };
        let from = core::mem::replace(&mut peer.address, to);
        let (seat, is_silent) = (peer.seat(), peer.is(Away::SILENT));
        self.by_address.remove(&from);
        self.by_address.insert(to, id.slot_number());
        self.places.remove(from.ip(), seat);
        self.places.add(to.ip(), seat);
        if is_silent {
            self.places.mark_silent(to.ip(), seat);
        }
    }

    /// Notes that a peer that was silent is heard again.
    #[cold]
    pub(super) fn came_back(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.get(id) else { return };
        peer.heard_since = now;
        let (host, seat) = (peer.address.ip(), peer.seat());
        self.places.mark_heard(host, seat);
    }

    /// Returns how many bytes the incomplete and held-back messages of all peers take.
    pub(super) const fn kept(&self) -> usize {
        self.kept
    }

    /// Counts anew what this peer keeps.
    pub(super) fn count_kept(&mut self, id: PeerId) {
        let Some(peer) = self.get(id) else { return };
        let now = peer.delivery.as_ref().map_or(0, |delivery| delivery.kept());
        let before = core::mem::replace(&mut peer.kept, now);
        self.kept = self.kept + now - before;
    }

    /// Marks a peer hushed. Returns whether it was not.
    pub(super) fn hush(&mut self, id: PeerId) -> bool {
        let Some(peer) = self.get(id).filter(|peer| !peer.is(Away::HUSHED)) else { return false };
        peer.mark(Away::HUSHED);
        self.set_newcomer(id, false);
        true
    }

    /// Notes that a hushed peer is heard. If it came lately, it is a newcomer again.
    pub(super) fn listens_again(&mut self, id: PeerId) {
        let is_new = self.get(id).is_some_and(|peer| peer.heard_for() < NEWCOMER);
        self.set_newcomer(id, is_new);
    }

    /// Counts a newcomer no longer, if it has been heard for long enough.
    pub(super) fn grow_up(&mut self, id: PeerId) {
        if self.get(id).is_some_and(|peer| peer.is_newcomer && peer.heard_for() >= NEWCOMER) {
            self.set_newcomer(id, false);
        }
    }

    fn set_newcomer(&mut self, id: PeerId, is_new: bool) {
        let Some(peer) = self.get(id) else { return };
        let was_new = core::mem::replace(&mut peer.is_newcomer, is_new);
        self.newcomers = self.newcomers + usize::from(is_new) - usize::from(was_new);
    }

    /// Returns how many peers were first heard less than a second ago and get the messages for all.
    pub(super) const fn newcomers(&self) -> usize {
        self.newcomers
    }

    /// Returns the newcomer at this address.
    pub(super) fn newcomer_at(&mut self, address: SocketAddr) -> Option<PeerId> {
        self.by_address(address).filter(|peer| peer.is_newcomer).map(|peer| peer.id)
    }

    pub(super) fn mark_silent(&mut self, id: PeerId) {
        let Some(peer) = self.get(id) else { return };
        peer.mark(Away::SILENT);
        let (host, seat) = (peer.address.ip(), peer.seat());
        self.places.mark_silent(host, seat);
    }

    /// Returns the silent peer that makes room for one more peer of this host.
    pub(super) fn silent_for(&self, newcomer: IpAddr) -> Option<PeerId> {
        self.id_in(self.places.silent_for(newcomer)?)
    }

    /// Returns the peer whose place a peer of this host takes back that lost its own place at `after`.
    pub(super) fn taken_after(&self, after: Instant, claimant: IpAddr) -> Option<PeerId> {
        self.id_in(self.places.taken_after(after, claimant)?)
    }

    fn id_in(&self, slot: u32) -> Option<PeerId> {
        self.slots[slot as usize].as_ref().map(|peer| peer.id)
    }

    /// Makes sure that the peer is visited at `at` or earlier.
    pub(super) fn schedule(&mut self, id: PeerId, at: Instant) {
        let Some(Some(peer)) = self.slots.get_mut(id.slot()) else { return };
        if peer.is_visited_by(at) {
            return;
        }
        let slot = id.slot_number();
        if let Some(later) = peer.wake_at.replace(at) {
            self.timers.remove(&(later, slot));
        }
        self.timers.insert((at, slot));
        self.look_for_first_timer();
    }

    fn look_for_first_timer(&mut self) {
        self.first_timer = self.timers.first().map(|&(at, _)| at);
    }

    /// Returns when the next peer is due for a visit.
    #[inline]
    pub(super) const fn next_timeout(&self) -> Option<Instant> {
        self.first_timer
    }

    /// Returns a peer that is due, and clears its timer. The caller schedules it again.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<PeerId> {
        self.pop_first(|at, _| at <= now)
    }

    /// As [`pop_due`](Self::pop_due), but for the peer that is next, if its heartbeat must be sent by `soon`.
    pub(super) fn pop_heartbeat(&mut self, soon: Instant) -> Option<PeerId> {
        self.pop_first(|_, peer| peer.next_heartbeat.is_some_and(|at| at <= soon))
    }

    /// Returns the peer that is next, if that `is_meant`, and clears its timer.
    fn pop_first(&mut self, is_meant: impl FnOnce(Instant, &InboundPeer) -> bool) -> Option<PeerId> {
        let &(at, slot) = self.timers.first()?;
        let peer = self.slots[slot as usize].as_mut().filter(|peer| is_meant(at, peer))?;
        peer.wake_at = None;
        let id = peer.id;
        self.timers.pop_first();
        self.look_for_first_timer();
        Some(id)
    }

    /// Returns the peers that `is_meant` accepts.
    #[cfg(feature = "secure")]
    pub(super) fn ids_of(&self, is_meant: impl Fn(&InboundPeer) -> bool) -> Vec<PeerId> {
        self.slots.iter().flatten().filter(|peer| is_meant(peer)).map(|peer| peer.id).collect()
    }

    /// Returns whether every peer has a timer and can fall silent.
    pub(super) fn all_are_watched(&self) -> bool {
        self.slots.iter().flatten().all(|peer| peer.wake_at.is_some() && peer.last_heard.is_some())
    }

    /// Checks the invariant. For tests, because it walks all tables.
    ///
    /// # Errors
    ///
    /// The name of the first rule that does not hold.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let living = || self.slots.iter().flatten();
        let slot_of = |peer: &InboundPeer| peer.id.slot_number();
        let count = living().count();
        let rules = [
            ("addresses", self.by_address.len() == count),
            ("sessions", self.by_session.len() == living().filter(|peer| peer.session.is_some()).count()),
            ("first timer", self.first_timer == self.timers.iter().map(|&(at, _)| at).min()),
            ("timers", self.timers.len() == living().filter(|peer| peer.wake_at.is_some()).count()),
            ("places", self.places.count() == (count, living().filter(|peer| peer.is(Away::SILENT)).count())),
            ("newcomers", self.newcomers == living().filter(|peer| peer.is_newcomer).count()),
            ("kept bytes", self.kept == living().map(|peer| peer.kept).sum::<usize>()),
            (
                "kept bytes of a peer",
                living().all(|p| p.kept == p.delivery.as_ref().map_or(0, |delivery| delivery.kept())),
            ),
            ("hushed newcomers", !living().any(|peer| peer.is_newcomer && peer.is(Away::HUSHED))),
            ("free slots", self.free.len() + count == self.slots.len()),
            ("address of a peer", living().all(|p| self.by_address.get(&p.address) == Some(&slot_of(p)))),
            (
                "session of a peer",
                living().all(|p| p.session.is_none_or(|s| self.by_session.get(&s) == Some(&slot_of(p)))),
            ),
            (
                "timer of a peer",
                living().all(|p| p.wake_at.is_none_or(|at| self.timers.contains(&(at, slot_of(p))))),
            ),
        ];
        rules.iter().find(|(_, holds)| !holds).map_or(Ok(()), |&(rule, _)| Err(rule))
    }
}

impl Saved for Away {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        u8::load(from).map(Self)
    }
}

#[cfg(feature = "secure")]
saved!(SecuredPeer { identity, key, ring, moving });
saved!(FormerLife { newest, ended_at });
saved!(InboundPeer {
    id, address, session, name, window, path, delivery, kept, claims, rights, granted, accepted, proven, named, away, is_newcomer,
    established, heard_since, last_heard, next_heartbeat, next_answer, told_size, newest, former_life, numbers_from, published,
    rx, wake_at,
    #[cfg(feature = "secure")]
    secured,
} else {
    // The outbound half counts there.
    tx: Arc::default(),
});

impl Saved for PeerTable {
    fn save(&self, out: &mut Writer) {
        let Self { slots, free, serial, .. } = self;
        slots.save(out);
        free.save(out);
        serial.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let (slots, (free, serial)) = Saved::load(from)?;
        let mut table = Self { slots, free, serial, ..Self::default() };
        for peer in table.slots.iter().flatten() {
            let (slot, host) = (peer.id.slot_number(), peer.address.ip());
            table.by_address.insert(peer.address, slot);
            peer.session.map(|session| table.by_session.insert(session, slot));
            peer.wake_at.map(|at| table.timers.insert((at, slot)));
            table.places.add(host, peer.seat());
            if peer.is(Away::SILENT) {
                table.places.mark_silent(host, peer.seat());
            }
            table.newcomers += usize::from(peer.is_newcomer);
            table.kept += peer.kept;
            peer.tx.datagram_size.set(peer.told_size);
        }
        table.look_for_first_timer();
        let is_sound = (0..)
            .zip(&table.slots)
            .all(|(slot, peer)| peer.as_ref().is_none_or(|peer| peer.id.slot() == slot));
        (is_sound && table.check().is_ok()).then_some(table)
    }
}
