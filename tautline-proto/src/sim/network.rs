//! Simulated paths between any number of addresses.

use alloc::collections::BTreeMap;
use core::net::SocketAddr;

use super::impairments::Impairments;
use super::path::{DeliveredDatagram, Path, PathCounts};
use super::random::Random;
use crate::time::Instant;

/// The direction in which a datagram travels. Each direction between two addresses has its own path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Direction {
    /// The sender's address.
    pub from: SocketAddr,
    /// The receiver's address.
    pub to: SocketAddr,
}

/// A network: a [`Path`] for each direction between two addresses, created for the first datagram.
///
/// ```
/// use tautline_proto::Instant;
/// use tautline_proto::sim::{Impairments, Network, Direction};
///
/// let mut network = Network::new(Impairments::default(), 7);
/// let direction = Direction { from: "10.0.0.1:5000".parse()?, to: "10.0.0.2:9000".parse()? };
/// network.send(Instant::from_nanos(0), direction, b"hello");
/// let (arrived, delivery) = network.poll(Instant::from_nanos(0)).expect("nothing delays it");
/// assert_eq!((arrived, delivery.datagram.as_slice()), (direction, b"hello".as_slice()));
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Network {
    default: Impairments,
    seed: u64,
    paths: BTreeMap<Direction, Path>,
}

impl Network {
    /// Creates a network whose paths have these impairments. The same seed and the same datagrams at the same times give the
    /// same result.
    #[must_use]
    pub const fn new(default: Impairments, seed: u64) -> Self {
        Self { default, seed, paths: BTreeMap::new() }
    }

    /// Replaces the impairments of all paths from now on.
    pub fn impair_all(&mut self, impairments: Impairments) {
        self.default = impairments;
        self.paths.values_mut().for_each(|path| path.impair(impairments));
    }

    /// Replaces the impairments of one direction from now on.
    pub fn impair(&mut self, direction: Direction, impairments: Impairments) {
        self.path(direction).impair(impairments);
    }

    /// Sends one datagram. `now` must not go backwards from call to call.
    pub fn send(&mut self, now: Instant, direction: Direction, datagram: &[u8]) {
        self.path(direction).offer(now, datagram);
    }

    /// Returns when the next datagram arrives anywhere.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.paths.values().filter_map(Path::next_timeout).min()
    }

    /// Returns the next datagram that has arrived at `now`, in the order of arrival.
    pub fn poll(&mut self, now: Instant) -> Option<(Direction, DeliveredDatagram)> {
        let next = self
            .paths
            .iter_mut()
            .filter_map(|(direction, path)| Some((path.next_timeout()?, direction, path)));
        let (_, direction, path) = next.min_by_key(|(due, ..)| *due)?;
        Some((*direction, path.poll(now)?))
    }

    /// Returns what happened to the datagrams of each direction so far.
    pub fn counts(&self) -> impl Iterator<Item = (Direction, PathCounts)> {
        self.paths.iter().map(|(direction, path)| (*direction, path.counts()))
    }

    /// Returns what happened to all datagrams.
    #[must_use]
    pub fn total(&self) -> PathCounts {
        let mut total = PathCounts::default();
        self.counts().for_each(|(_, counts)| total.merge(&counts));
        total
    }

    fn path(&mut self, direction: Direction) -> &mut Path {
        // The seed of a path depends on how many paths there were before it, and not on its addresses.
        let number = self.paths.len() as u64;
        let (default, seed) = (self.default, self.seed);
        self.paths
            .entry(direction)
            .or_insert_with(|| Path::new(default, Random::stream(seed, number).next_u64()))
    }
}
