//! Unit tests of the modules that `tests/shuttle.rs` builds a second time.
//!
//! They are here and not at the end of those files, because they run on the machine's threads and would be
//! built there as well.

mod fixtures;
mod gate;
mod inbox;
mod message;
mod pool;

pub(crate) use fixtures::{CLASSIC, arrival, classic_datagram, endpoint_config, number_of, numbered, peer};
