//! Paths between any number of addresses.

use alloc::collections::BTreeMap;
use core::net::SocketAddr;

use super::impairments::Impairments;
use super::path::{Delivery, Path, PathCounts};
use super::random::Random;
use crate::time::Instant;

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// The sender's address.
    pub from: SocketAddr,
    /// The receiver's address.
    pub to: SocketAddr,
}

/// A network: a [`Path`] for each way between two addresses, made when it is first taken.
///
/// ```
/// use tautline_proto::Instant;
/// use tautline_proto::sim::{Impairments, Network, Way};
///
/// let mut network = Network::new(Impairments::default(), 7);
/// let way = Way { from: "10.0.0.1:5000".parse()?, to: "10.0.0.2:9000".parse()? };
/// network.send(Instant::from_nanos(0), way, b"hello");
/// let (came, delivery) = network.poll(Instant::from_nanos(0)).expect("nothing delays it");
/// assert_eq!((came, delivery.datagram.as_slice()), (way, b"hello".as_slice()));
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Network {
    usual: Impairments,
    seed: u64,
    paths: BTreeMap<Way, Path>,
}

impl Network {
    /// A network whose paths have these impairments; the same seed and the same datagrams at the same times give
    /// the same deliveries.
    #[must_use]
    pub const fn new(usual: Impairments, seed: u64) -> Self {
        Self { usual, seed, paths: BTreeMap::new() }
    }

    /// Changes what all paths do to datagrams from now on.
    pub fn impair_all(&mut self, impairments: Impairments) {
        self.usual = impairments;
        self.paths.values_mut().for_each(|path| path.impair(impairments));
    }

    /// Changes what one way does to datagrams from now on.
    pub fn impair(&mut self, way: Way, impairments: Impairments) {
        self.path(way).impair(impairments);
    }

    /// Sends one datagram. `now` must not go back from call to call.
    pub fn send(&mut self, now: Instant, way: Way, datagram: &[u8]) {
        self.path(way).offer(now, datagram);
    }

    /// When the next datagram arrives anywhere.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.paths.values().filter_map(Path::next_timeout).min()
    }

    /// The next datagram that has arrived at `now`, in the order of time.
    pub fn poll(&mut self, now: Instant) -> Option<(Way, Delivery)> {
        let next = self.paths.iter_mut().filter_map(|(way, path)| Some((path.next_timeout()?, way, path)));
        let (_, way, path) = next.min_by_key(|(due, ..)| *due)?;
        Some((*way, path.poll(now)?))
    }

    /// What became of the datagrams of each way taken so far.
    pub fn counts(&self) -> impl Iterator<Item = (Way, PathCounts)> {
        self.paths.iter().map(|(way, path)| (*way, path.counts()))
    }

    /// What became of all datagrams.
    #[must_use]
    pub fn total(&self) -> PathCounts {
        let mut total = PathCounts::default();
        self.counts().for_each(|(_, counts)| total.merge(&counts));
        total
    }

    fn path(&mut self, way: Way) -> &mut Path {
        // A path's seed follows from when it was first taken, not from its addresses.
        let number = self.paths.len() as u64;
        let (usual, seed) = (self.usual, self.seed);
        self.paths.entry(way).or_insert_with(|| Path::new(usual, Random::stream(seed, number).next_u64()))
    }
}
