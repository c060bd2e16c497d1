//! The tautline protocol as a sans-I/O state machine.
//!
//! No sockets, no clock, no entropy, no threads, no locks: bytes and `now` go in; messages, datagrams,
//! events and the next deadline come out. The `tautline` crate drives it with real sockets.
//!
//! # Cargo features
//!
//! `std` lets the CRC use what the processor offers; `sim` adds a seeded network with its impairments, for
//! tests. None is on by default.
#![no_std]

extern crate alloc;

mod counter;
mod drops;
pub mod endpoint;
pub mod json;
mod message;
mod path;
mod peer;
#[cfg(feature = "sim")]
pub mod sim;
mod state;
mod stats;
mod time;
pub mod window;
pub mod wire;

pub use counter::Counter;
pub use drops::{DropReason, Drops};
pub use message::{ContentType, Delivery, Id, MessageRef, MessageType, Priority, UnknownName};
pub use path::PeerClock;
pub use peer::{PeerId, SessionId};
pub use state::{Cause, ConnectionState};
pub use stats::{
    InboundCounters, InboundStats, PathStats, PeerRxCounters, PeerRxStats, PeerTxCounters, PeerTxStats,
};
pub use time::{Instant, Now, WallTime};
pub use window::{Verdict, Window, WindowCounts};
