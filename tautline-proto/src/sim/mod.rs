//! A simulated world for tests: what real networks do to datagrams, the same again for the same seed.
//!
//! [`Impairments`] say what happens: loss, bursts of it, duplication, reordering, delay, jitter, corruption, a
//! limited rate with a bounded queue, partition. A [`Path`] does that to datagrams in one direction, a
//! [`Network`] between any number of addresses. Both take the time as an argument and hand out datagrams when
//! they are due, as everything in this crate does; `tautline proxy` runs the same paths on real sockets.
//!
//! A [`World`] puts endpoints on such a network, each with a [`Clock`] of its own, in a time that passes only when
//! it is told to: hours of bad days in seconds, with restarts and partitions, for whoever wants to test a loop.
//!
//! ```
//! use core::time::Duration;
//! use tautline_proto::Instant;
//! use tautline_proto::sim::{Impairments, Path, Probability};
//!
//! let loss = Probability::percent(10.0).expect("from 0 to 100");
//! let jitter = Duration::from_millis(5);
//! let mut path = Path::new(Impairments { loss, jitter, ..Impairments::default() }, 7);
//! for ms in 0..1000 {
//!     path.offer(Instant::from_nanos(ms * 1_000_000), &ms.to_be_bytes());
//! }
//! let mut came = 0;
//! while let Some(due) = path.next_timeout() {
//!     came += u64::from(path.poll(due).is_some());
//! }
//! let counts = path.counts();
//! assert_eq!((counts.delivered, counts.offered), (came, came + counts.lost));
//! assert!((50..150).contains(&counts.lost), "about 100 of 1000");
//! ```

mod clock;
mod happening;
mod impairments;
mod network;
mod node;
mod path;
#[cfg(test)]
mod path_tests;
mod quantities;
mod random;
mod world;
#[cfg(test)]
mod world_tests;

pub use clock::{Clock, MOST_DRIFT_PPM};
pub use happening::{Arrival, Happening, Received};
pub use impairments::{BadImpairments, DEFAULT_QUEUE, HELD_AT_MOST, Impairments};
pub use network::{Network, Way};
pub use node::config;
pub use path::{Delivery, MOST_BYTES_IN_FLIGHT, MOST_IN_FLIGHT, Path, PathCounts};
pub use quantities::{BadBitRate, BadProbability, BitRate, Probability};
pub use random::Random;
pub use world::{NodeId, World};
