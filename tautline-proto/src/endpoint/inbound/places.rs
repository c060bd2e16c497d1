//! Who gives way when the table of peers is full. docs/protocol.md §5.4.
//!
//! [`PeerTable`](super::peers::PeerTable) keeps the order of the places up to date. `registry` asks who gives way, and
//! remembers who had to. Every question is a look-up: strangers decide how often it is asked.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use hashbrown::HashMap;

use crate::snapshot::{Reader, Saved, Writer, saved};
use crate::time::Instant;

/// How many lost places are remembered. Beyond it, that of the peer that was established last is forgotten.
const MAX_LOST: usize = 1024;

/// A peer: when it was established, and its slot in the table.
type Seat = (Instant, u32);

/// The order in which peers give way, the next one last: how many peers its host has, and its seat.
type Rank = (usize, Seat, IpAddr);

/// The peers of each host, in the order in which they give way.
///
/// Most hosts have one peer, so all hosts share their sets: a set of its own would take a stranger's host 200 bytes.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// How many peers each host has.
    counts: HashMap<IpAddr, usize>,
    peers: BTreeSet<(IpAddr, Seat)>,
    silent: BTreeSet<(IpAddr, Seat)>,
    /// For each host, the peer that was established last.
    ranks: BTreeSet<Rank>,
    /// The same among the silent peers.
    silent_ranks: BTreeSet<Rank>,
}

impl Places {
    pub(super) fn add(&mut self, host: IpAddr, seat: Seat) {
        self.change(host, |places, host| {
            if places.peers.insert((host, seat)) {
                *places.counts.entry(host).or_default() += 1;
            }
        });
    }

    pub(super) fn remove(&mut self, host: IpAddr, seat: Seat) {
        self.change(host, |places, host| {
            places.silent.remove(&(host, seat));
            if places.peers.remove(&(host, seat))
                && let Some(count) = places.counts.get_mut(&host)
            {
                *count -= 1;
                if *count == 0 {
                    places.counts.remove(&host);
                }
            }
        });
    }

    pub(super) fn mark_silent(&mut self, host: IpAddr, seat: Seat) {
        self.change(host, |places, host| _ = places.silent.insert((host, seat)));
    }

    pub(super) fn mark_heard(&mut self, host: IpAddr, seat: Seat) {
        self.change(host, |places, host| _ = places.silent.remove(&(host, seat)));
    }

    /// Returns the slot of the silent peer that makes room for one more peer of this host: of the host with most peers, the one
    /// that was established last. A host with more peers than any of them has displaces none.
    pub(super) fn silent_for(&self, newcomer: IpAddr) -> Option<u32> {
        let &(peers, (_, slot), _) = self.silent_ranks.last()?;
        (peers >= self.peers_of(newcomer)).then_some(slot)
    }

    /// Returns the slot of the peer whose place a peer of this host takes back, although that peer is heard: of the host with
    /// most peers, the one that was established last, if it came after `after` and its host has more peers.
    pub(super) fn taken_after(&self, after: Instant, claimant: IpAddr) -> Option<u32> {
        let &(peers, (established, slot), _) = self.ranks.last()?;
        (established >= after && peers > self.peers_of(claimant)).then_some(slot)
    }

    fn peers_of(&self, host: IpAddr) -> usize {
        self.counts.get(&host.to_canonical()).copied().unwrap_or(0)
    }

    fn change(&mut self, host: IpAddr, change: impl FnOnce(&mut Self, IpAddr)) {
        let host = host.to_canonical();
        let [rank, silent_rank] = self.ranks_of(host);
        rank.inspect(|rank| _ = self.ranks.remove(rank));
        silent_rank.inspect(|rank| _ = self.silent_ranks.remove(rank));
        change(self, host);
        let [rank, silent_rank] = self.ranks_of(host);
        self.ranks.extend(rank);
        self.silent_ranks.extend(silent_rank);
    }

    /// Returns the rank of the host's peer that was established last, and of its silent peer that was.
    fn ranks_of(&self, host: IpAddr) -> [Option<Rank>; 2] {
        let peers = self.peers_of(host);
        let seats = (host, (Instant::from_nanos(0), 0))..=(host, (Instant::from_nanos(u64::MAX), u32::MAX));
        [&self.peers, &self.silent]
            .map(|set| set.range(seats.clone()).next_back().map(|&(host, seat)| (peers, seat, host)))
    }

    /// Returns how many peers there are, and how many of them are silent. For tests, because it walks a table.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.counts.values().sum(), self.silent.len())
    }
}

/// The peers that lost their places, and may come back into them.
#[derive(Debug, Default)]
pub(super) struct LostPlaces {
    places: HashMap<SocketAddr, LostPlace>,
    /// When each was lost.
    lost: VecDeque<(Instant, SocketAddr)>,
    /// The same by when their peers were established.
    by_age: BTreeSet<(Instant, SocketAddr)>,
}

/// A peer that was displaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LostPlace {
    pub(super) established: Instant,
    pub(super) displaced: Instant,
}

impl LostPlaces {
    /// Remembers a peer that has lost its place, and forgets those that lost theirs longer than `kept` ago.
    pub(super) fn remember(&mut self, address: SocketAddr, lost: LostPlace, kept: Duration) {
        self.forget(address);
        while let Some(&(begun, former)) = self.lost.front()
            && lost.displaced.since(begun) > kept
        {
            self.lost.pop_front();
            if self.places.get(&former).is_some_and(|former| former.displaced == begun) {
                self.forget(former);
            }
        }
        if self.lost.len() > 2 * MAX_LOST {
            // At least half of the entries are out of date.
            let places = &self.places;
            self.lost.retain(|(begun, of)| places.get(of).is_some_and(|lost| lost.displaced == *begun));
        }
        self.places.insert(address, lost);
        self.by_age.insert((lost.established, address));
        self.lost.push_back((lost.displaced, address));
        if self.by_age.len() > MAX_LOST
            && let Some((_, youngest)) = self.by_age.pop_last()
        {
            self.places.remove(&youngest);
        }
    }

    /// Returns the place that the peer of this address has lost, not longer ago than `kept`.
    pub(super) fn of(&self, address: SocketAddr, now: Instant, kept: Duration) -> Option<LostPlace> {
        self.places.get(&address).copied().filter(|lost| now.since(lost.displaced) <= kept)
    }

    pub(super) fn forget(&mut self, address: SocketAddr) {
        if let Some(lost) = self.places.remove(&address) {
            self.by_age.remove(&(lost.established, address));
        }
    }
}

saved!(LostPlace { established, displaced });

impl Saved for LostPlaces {
    fn save(&self, out: &mut Writer) {
        self.lost.save(out);
        self.by_age.len().save(out);
        for (established, address) in &self.by_age {
            let displaced = self.places.get(address).map(|lost| lost.displaced);
            ((*established, *address), displaced).save(out);
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let lost = Saved::load(from)?;
        let by_age: Vec<((Instant, SocketAddr), Option<Instant>)> = Vec::load(from)?;
        let mut loaded = Self { lost, ..Self::default() };
        for ((established, address), displaced) in by_age {
            loaded.by_age.insert((established, address));
            loaded.places.insert(address, LostPlace { established, displaced: displaced? });
        }
        Some(loaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn host(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn the_youngest_silent_peer_of_the_host_with_most_peers_gives_way() {
        let mut places = Places::default();
        places.add(host(1), (at(1), 0));
        for slot in 1..=3 {
            places.add(host(2), (at(1 + u64::from(slot)), slot));
        }
        assert_eq!(places.silent_for(host(9)), None, "all are heard");
        places.mark_silent(host(1), (at(1), 0));
        assert_eq!(places.silent_for(host(9)), Some(0), "the only silent one");
        assert_eq!(places.silent_for(host(2)), None, "a crowd does not displace a single peer");
        places.mark_silent(host(2), (at(2), 1));
        places.mark_silent(host(2), (at(3), 2));
        assert_eq!(places.silent_for(host(9)), Some(2));
        assert_eq!(places.silent_for(host(2)), Some(2), "it displaces one of its own");
        places.mark_heard(host(2), (at(3), 2));
        assert_eq!(places.silent_for(host(9)), Some(1));
        for (slot, ms) in [(1, 2), (2, 3), (3, 4)] {
            places.remove(host(2), (at(ms), slot));
        }
        places.remove(host(1), (at(1), 0));
        assert_eq!((places.count(), places.counts.len(), places.ranks.len()), ((0, 0), 0, 0));
    }

    #[test]
    fn among_hosts_with_equally_many_peers_the_youngest_gives_way() {
        let mut places = Places::default();
        for last in 1..=9 {
            places.add(host(last), (at(last.into()), last.into()));
            places.mark_silent(host(last), (at(last.into()), last.into()));
        }
        assert_eq!(places.silent_for(host(99)), Some(9));
    }

    #[test]
    fn a_place_is_taken_back_only_from_a_later_peer_of_a_larger_crowd() {
        let mut places = Places::default();
        for slot in 0..3 {
            places.add(host(2), (at(5), slot));
        }
        places.add(host(3), (at(7), 3));
        assert_eq!(places.taken_after(at(5), host(1)), Some(2));
        assert_eq!(places.taken_after(at(6), host(1)), None, "the crowd was there before");
        assert_eq!(places.taken_after(at(5), host(2)), None, "it is the crowd itself");
    }

    #[test]
    fn lost_places_are_bounded_and_those_of_the_longest_established_stay() {
        let mut places = LostPlaces::default();
        let address = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        let kept = Duration::from_secs(60);
        let displaced =
            |established, displaced| LostPlace { established: at(established), displaced: at(displaced) };
        places.remember(address(1), displaced(1, 1000), kept);
        for port in 2..=5000 {
            places.remember(address(port), displaced(1000 + u64::from(port), 2000), kept);
        }
        assert_eq!((places.places.len(), places.by_age.len()), (MAX_LOST, MAX_LOST));
        assert!(places.lost.len() <= 2 * MAX_LOST + 1, "{}", places.lost.len());
        assert_eq!(places.of(address(1), at(3000), kept), Some(displaced(1, 1000)));
        assert_eq!(places.of(address(1), at(61_001), kept), None, "it is too old");
        places.remember(address(6000), displaced(70_000, 70_000), kept);
        assert_eq!(places.places.len(), 1, "the old ones are forgotten");
    }
}
