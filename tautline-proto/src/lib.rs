//! The tautline protocol as a sans-I/O state machine.
//!
//! No sockets, no clock, no entropy, no threads, no locks: bytes and `now` go in; messages, datagrams,
//! events and the next deadline come out. The `tautline` crate drives it with real sockets.
#![no_std]

extern crate alloc;

mod drops;
mod message;
mod stats;
mod time;

pub use drops::{DropCounters, DropReason, Drops};
pub use message::{ContentType, Id, MessageRef, MessageType, Priority, UnknownName};
pub use stats::{
    Counter, InboundCounters, InboundStats, PathStats, PeerRxCounters, PeerRxStats, PeerTxCounters,
    PeerTxStats,
};
pub use time::{Instant, Now, WallTime};
