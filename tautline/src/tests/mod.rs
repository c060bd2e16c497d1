//! Unit tests that use several folders, and the scenarios that shuttle runs.

mod coalescer;
pub(crate) mod fixtures;
mod inbox;
mod message;
mod pool;
#[cfg(shuttle)]
mod shuttle;

pub(crate) use fixtures::{
    CLASSIC, arrival, classic_datagram, endpoint_config, number_of, numbered, peer, with_room,
};
