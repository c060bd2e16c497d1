//! The tautline protocol as a sans-I/O state machine.
//!
//! Bytes and the time go in. Messages, datagrams, events and the next deadline come out. The crate uses no sockets, clocks,
//! randomness, threads or locks. The `tautline` crate drives it with real sockets.
//!
//! - [`endpoint`] is the protocol of one socket. Start here.
//! - [`wire`] turns messages into datagrams and back.
//! - [`history`] is the rule of streams that keep only their newest messages.
//! - [`silence`] is the rule of watchdogs and latches.
//! - [`json`] checks and writes the JSON text of the classic wire.
//! - [`cycle`] computes the deadlines of a control loop.
//! - `secure` holds keys, the identities that they stand for, and the sealing of datagrams.
//! - `sim` is a simulated network for tests.
//!
//! # Cargo features
//!
//! - `std` lets the CRC use the processor's instructions for it, which are detected at run time.
//! - `secure` adds keys.
//! - `sim` adds the simulated network.
//!
//! None is on by default.
#![no_std]
// Without keys, the parts of the wire that only keys need are not used.
#![cfg_attr(not(feature = "secure"), allow(dead_code, unused_imports))]

extern crate alloc;

mod counter;
pub mod cycle;
mod drops;
pub mod endpoint;
pub mod history;
pub mod json;
mod message;
mod network;
mod path;
mod peer;
mod rights;
mod ring;
#[cfg(feature = "secure")]
pub mod secure;
pub mod silence;
#[cfg(feature = "sim")]
pub mod sim;
mod snapshot;
mod state;
mod stats;
mod time;
pub mod window;
pub mod wire;

pub use counter::Counter;
pub use drops::{DropReason, Drops};
pub use message::{ContentType, Delivery, Id, MessageRef, MessageType, Priority, StreamId, UnknownName};
pub use network::{Network, NetworkError};
pub use path::PeerClock;
pub use peer::{PeerId, SessionId};
pub use rights::Rights;
pub use ring::{Ring, RingContents, RingSegment};
pub use state::{Cause, ConnectionState};
pub use stats::{
    InboundCounters, InboundStats, PathStats, PeerRxCounters, PeerRxStats, PeerTxCounters, PeerTxStats,
};
pub use time::{Instant, Now, Timestamp, WallTime};
pub use window::{Verdict, Window, WindowCounts};
