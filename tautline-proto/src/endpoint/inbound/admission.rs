//! Admits strangers, and makes room for them.
//!
//! `handshake`, `secured` and `classic` ask it. [`Places`](super::places::Places) has the rules of who gives way.

use core::net::SocketAddr;

use super::places::LostPlace;
use super::registry::Registry;
use crate::drops::DropReason;
use crate::endpoint::event::RemovalReason;
use crate::peer::PeerId;
use crate::time::Instant;

impl Registry {
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
}
