//! The table of the peers of the inbound half: bounded, indexed by address and by session, with one table of timers.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use hashbrown::HashMap;

use super::peer::{Away, InboundPeer};
use super::places::Places;
use crate::peer::{PeerId, SessionId};
use crate::snapshot::{Reader, Saved, Writer};
use crate::time::Instant;

/// A peer is a newcomer until it was heard for this time.
const NEWCOMER: Duration = Duration::from_secs(1);

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
        self.iter().next()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &InboundPeer> {
        self.slots.iter().flatten()
    }

    pub(super) fn any(&self, is_meant: impl Fn(&InboundPeer) -> bool) -> bool {
        self.iter().any(is_meant)
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
        let id = PeerId::new(self.serial, slot);
        self.slots[slot as usize].insert(InboundPeer::new(id, address, session, name, established))
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
        self.iter().filter(|peer| is_meant(peer)).map(|peer| peer.id).collect()
    }

    /// Returns whether every peer has a timer and can fall silent.
    pub(super) fn all_are_watched(&self) -> bool {
        self.iter().all(|peer| peer.wake_at.is_some() && peer.last_heard.is_some())
    }

    /// Checks the invariant. For tests, because it walks all tables.
    ///
    /// # Errors
    ///
    /// The name of the first rule that does not hold.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let living = || self.iter();
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
