//! The network that a test asked for (`Config::impair`): datagrams are lost, held back or damaged as they are read.
//!
//! Without the feature `sim`, or without the setting, everything passes.

#[cfg(feature = "sim")]
pub(crate) use bad_network::Impaired;
#[cfg(not(feature = "sim"))]
pub(crate) use nothing::Impaired;

#[cfg(feature = "sim")]
mod bad_network {
    use std::collections::HashMap;
    use std::net::SocketAddr;

    use tautline_proto::Instant as Steady;
    use tautline_proto::sim::{Impairments, Path, Random};

    /// The most senders that have a simulated path. The datagrams of further senders pass untouched.
    const MOST_SENDERS: usize = 1024;

    /// A path from each sender.
    #[derive(Debug)]
    pub(crate) struct Impaired(Option<Paths>);

    #[derive(Debug)]
    struct Paths {
        impairments: Impairments,
        seed: u64,
        from: HashMap<SocketAddr, Path>,
    }

    impl Impaired {
        /// What the settings ask for.
        pub(crate) fn new(asked: Option<(Impairments, u64)>) -> Self {
            Self(asked.map(|(impairments, seed)| Paths { impairments, seed, from: HashMap::new() }))
        }

        /// Sends a datagram that was read through the simulated network. Returns `false` if it must be taken as it is.
        #[inline]
        pub(crate) fn take(&mut self, now: Steady, from: SocketAddr, datagram: &[u8]) -> bool {
            self.0.as_mut().is_some_and(|paths| paths.take(now, from, datagram))
        }

        /// The next datagram that has arrived.
        pub(crate) fn poll(&mut self, now: Steady) -> Option<(SocketAddr, Vec<u8>)> {
            let paths = self.0.as_mut()?;
            let next =
                paths.from.iter_mut().filter_map(|(from, path)| Some((path.next_timeout()?, from, path)));
            let (_, from, path) = next.min_by_key(|(due, ..)| *due)?;
            Some((*from, path.poll(now)?.datagram))
        }

        /// When the next one arrives.
        pub(crate) fn next_timeout(&self) -> Option<Steady> {
            self.0.as_ref()?.from.values().filter_map(Path::next_timeout).min()
        }
    }

    impl Paths {
        fn take(&mut self, now: Steady, from: SocketAddr, datagram: &[u8]) -> bool {
            let (number, impairments, seed) = (self.from.len(), self.impairments, self.seed);
            if number >= MOST_SENDERS && !self.from.contains_key(&from) {
                return false;
            }
            let seed = || Random::stream(seed, number as u64).next_u64();
            self.from.entry(from).or_insert_with(|| Path::new(impairments, seed())).offer(now, datagram);
            true
        }
    }
}

#[cfg(not(feature = "sim"))]
mod nothing {
    use std::net::SocketAddr;

    use tautline_proto::Instant as Steady;

    /// Nothing is impaired.
    #[derive(Debug)]
    pub(crate) struct Impaired;

    impl Impaired {
        #[inline]
        pub(crate) const fn take(&self, _: Steady, _: SocketAddr, _: &[u8]) -> bool {
            false
        }

        pub(crate) const fn poll(&self, _: Steady) -> Option<(SocketAddr, Vec<u8>)> {
            None
        }

        pub(crate) const fn next_timeout(&self) -> Option<Steady> {
            None
        }
    }
}
