//! Who gives way when the table of peers is full. docs/protocol.md §5.4.
//!
//! [`PeerTable`](super::peers::PeerTable) keeps the order of the places up to date. `registry` asks who gives way, and
//! remembers who had to. Every question is a look-up: strangers decide how often it is asked.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::hash::Hash;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use hashbrown::HashMap;

use crate::network::Network;
use crate::snapshot::{Reader, Saved, Writer, saved};
use crate::time::Instant;

/// How many lost places are remembered. Beyond it, that of the peer that was established last is forgotten.
const MAX_LOST: usize = 1024;

/// A peer: when it was established, and its slot in the table.
type Seat = (Instant, u32);

const FIRST: Seat = (Instant::from_nanos(0), 0);
const LAST: Seat = (Instant::from_nanos(u64::MAX), u32::MAX);

/// An address as IPv6 writes it (IPv4-mapped, if it is one of IPv4), and the network that its host may have for itself. Both are
/// short: a server has one of each for most of its peers.
type Host = [u8; 16];
type HostNetwork = u64;

fn host_of(ip: IpAddr) -> Host {
    match ip.to_canonical() {
        IpAddr::V4(host) => host.to_ipv6_mapped().octets(),
        IpAddr::V6(host) => host.octets(),
    }
}

fn network_of(host: Host) -> HostNetwork {
    match Network::around(host.into()).address() {
        IpAddr::V4(host) => 0xffff << 32 | HostNetwork::from(host.to_bits()),
        #[allow(clippy::cast_possible_truncation)] // the lower half is zero
        IpAddr::V6(network) => (network.to_bits() >> 64) as HostNetwork,
    }
}

/// How many peers there are in the network of a host, and at the host. The larger crowd gives way first.
type Crowd = (u32, u32);

/// Peers in the order in which they give way.
///
/// Most hosts have one peer, so all hosts share these sets: a set of its own would take a stranger's host 200 bytes.
#[derive(Debug, Default)]
struct Order {
    peers: BTreeSet<(Host, Seat)>,
    /// For each host, in its network: how many peers the host has, and the one here that was established last.
    hosts: BTreeSet<(HostNetwork, u32, Seat)>,
    /// For each network: its crowd, and the peer that gives way. The last one gives way first.
    networks: BTreeSet<(Crowd, Seat)>,
}

impl Order {
    fn rank_of_host(&self, host: Host, of_host: u32) -> Option<(HostNetwork, u32, Seat)> {
        let &(_, last) = self.peers.range((host, FIRST)..=(host, LAST)).next_back()?;
        Some((network_of(host), of_host, last))
    }

    fn rank_of_network(&self, network: HostNetwork, of_network: u32) -> Option<(Crowd, Seat)> {
        let hosts = (network, 0, FIRST)..=(network, u32::MAX, LAST);
        let &(_, of_host, last) = self.hosts.range(hosts).next_back()?;
        Some(((of_network, of_host), last))
    }

    /// Takes the ranks away that follow from the peers of this host. The peers and the counts change next.
    fn leave(&mut self, host: Host, (of_network, of_host): Crowd) {
        let rank = self.rank_of_network(network_of(host), of_network);
        rank.inspect(|rank| _ = self.networks.remove(rank));
        let rank = self.rank_of_host(host, of_host);
        rank.inspect(|rank| _ = self.hosts.remove(rank));
    }

    /// Adds the ranks again.
    fn enter(&mut self, host: Host, (of_network, of_host): Crowd) {
        self.hosts.extend(self.rank_of_host(host, of_host));
        self.networks.extend(self.rank_of_network(network_of(host), of_network));
    }

    fn first(&self) -> Option<(Crowd, Seat)> {
        self.networks.last().copied()
    }
}

/// The peers of each host, in the order in which they give way.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// How many peers each host has, and each network.
    of_hosts: HashMap<Host, u32>,
    of_networks: HashMap<HostNetwork, u32>,
    all: Order,
    silent: Order,
}

impl Places {
    pub(super) fn add(&mut self, host: IpAddr, seat: Seat) {
        self.change(host, |places, host| {
            if places.all.peers.insert((host, seat)) {
                *places.of_hosts.entry(host).or_default() += 1;
                *places.of_networks.entry(network_of(host)).or_default() += 1;
            }
        });
    }

    pub(super) fn remove(&mut self, host: IpAddr, seat: Seat) {
        self.change(host, |places, host| {
            places.silent.peers.remove(&(host, seat));
            if places.all.peers.remove(&(host, seat)) {
                take_one(&mut places.of_hosts, host);
                take_one(&mut places.of_networks, network_of(host));
            }
        });
    }

    pub(super) fn mark_silent(&mut self, host: IpAddr, seat: Seat) {
        self.change(host, |places, host| _ = places.silent.peers.insert((host, seat)));
    }

    pub(super) fn mark_heard(&mut self, host: IpAddr, seat: Seat) {
        self.change(host, |places, host| _ = places.silent.peers.remove(&(host, seat)));
    }

    /// Returns the slot of the silent peer that makes room for one more peer of this host: in the network with most peers, of the
    /// host with most peers, the one that was established last. A larger crowd than that displaces none.
    pub(super) fn silent_for(&self, newcomer: IpAddr) -> Option<u32> {
        let (crowd, (_, slot)) = self.silent.first()?;
        (crowd >= self.crowd_of(host_of(newcomer))).then_some(slot)
    }

    /// Returns the slot of the peer whose place a peer of this host takes back, although that peer is heard: of the largest crowd,
    /// the one that was established last, if it came after `after` and the claimant's crowd is smaller.
    pub(super) fn taken_after(&self, after: Instant, claimant: IpAddr) -> Option<u32> {
        let (crowd, (established, slot)) = self.all.first()?;
        (established >= after && crowd > self.crowd_of(host_of(claimant))).then_some(slot)
    }

    fn crowd_of(&self, host: Host) -> Crowd {
        let of_network = self.of_networks.get(&network_of(host)).copied().unwrap_or(0);
        (of_network, self.of_hosts.get(&host).copied().unwrap_or(0))
    }

    fn change(&mut self, host: IpAddr, change: impl FnOnce(&mut Self, Host)) {
        let host = host_of(host);
        let crowd = self.crowd_of(host);
        for order in [&mut self.all, &mut self.silent] {
            order.leave(host, crowd);
        }
        change(self, host);
        let crowd = self.crowd_of(host);
        for order in [&mut self.all, &mut self.silent] {
            order.enter(host, crowd);
        }
    }

    /// Returns how many peers there are, and how many of them are silent. For tests.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.all.peers.len(), self.silent.peers.len())
    }
}

fn take_one<K: Copy + Eq + Hash>(counts: &mut HashMap<K, u32>, of: K) {
    if let Some(count) = counts.get_mut(&of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&of);
        }
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
        assert_eq!((places.count(), places.of_hosts.len(), places.of_networks.len()), ((0, 0), 0, 0));
        for order in [&places.all, &places.silent] {
            assert_eq!((order.peers.len(), order.hosts.len(), order.networks.len()), (0, 0, 0));
        }
    }

    #[test]
    fn a_host_with_many_ipv6_addresses_is_one_crowd() {
        let address = |network: u16, host: u16| IpAddr::from([0xfd00, 0, 0, network, 0, 0, 0, host]);
        let mut places = Places::default();
        let controller = (at(1), 0);
        places.add(address(1, 1), controller);
        for host in 1..=8 {
            places.add(address(2, host), (at(2), host.into()));
        }
        places.mark_silent(address(1, 1), controller);
        assert_eq!(places.silent_for(address(2, 99)), None, "one more address of the crowd");
        assert_eq!(places.silent_for(address(3, 1)), Some(0), "the only silent one");
        places.mark_silent(address(2, 3), (at(2), 3));
        assert_eq!(places.silent_for(address(3, 1)), Some(3), "the crowd gives way first");
        assert_eq!(places.taken_after(at(2), address(1, 2)), Some(8), "of the crowd, whoever came last");
    }

    #[test]
    fn in_one_ipv6_network_the_host_with_most_peers_gives_way() {
        let address = |host: u16| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, host]);
        let mut places = Places::default();
        for slot in 0..4 {
            places.add(address(2), (at(2), slot));
        }
        places.add(address(1), (at(3), 4));
        places.mark_silent(address(1), (at(3), 4));
        assert_eq!(places.silent_for(address(2)), None, "a crowd does not displace its neighbour");
        assert_eq!(places.silent_for(address(3)), Some(4), "the only silent one");
        places.mark_silent(address(2), (at(2), 1));
        assert_eq!(places.silent_for(address(3)), Some(1));
        assert_eq!(places.taken_after(at(2), address(3)), Some(3));
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
