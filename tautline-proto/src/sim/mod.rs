//! A simulated network for tests. It does to datagrams what real networks do, and repeats it exactly for the same seed.
//!
//! [`Impairments`] say what happens: loss, bursts of loss, duplication, reordering, delay, jitter, corruption, a limited rate
//! with a bounded queue, partition. A [`Path`] does this to datagrams in one direction, a [`Network`] between any number of
//! addresses. Both take the time as an argument and return datagrams when they are due. `tautline proxy` runs the same paths
//! on real sockets.
//!
//! A [`World`] puts endpoints on such a network, each with a [`Clock`] of its own. Simulated time passes only when the test
//! says so. So a test runs hours of bad network in seconds, with restarts and partitions.
//!
//! Tests, examples and the `tautline` crate call this module. It may use every other module of the crate.
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
//! let mut arrived = 0;
//! while let Some(due) = path.next_timeout() {
//!     arrived += u64::from(path.poll(due).is_some());
//! }
//! let counts = path.counts();
//! assert_eq!((counts.delivered, counts.offered), (arrived, arrived + counts.lost));
//! assert!((50..150).contains(&counts.lost), "about 100 of 1000");
//! ```

mod clock;
mod event;
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

pub use clock::{Clock, MAX_DRIFT_PPM};
pub use event::{ReceivedDatagram, ReceivedMessage, SimEvent};
pub use impairments::{BadImpairments, DEFAULT_QUEUE, Impairments};
pub use network::{Direction, Network};
pub use node::{BlackBox, config};
pub use path::{DeliveredDatagram, MAX_IN_FLIGHT, Path, PathCounts};
pub use quantities::{BadBitRate, BadProbability, BitRate, Probability};
pub use random::Random;
pub use world::{NodeId, World};
