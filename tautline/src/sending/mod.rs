//! The path of a payload out: encode it, hand it over, number it, and write it to the socket.
//!
//! Called by `interface`, `connection` and `driver`, and by handlers through [`Reply`](reply::Reply). A message passes
//! `sender` (encode), `handover` (one writer at a time), `line` (number and write), and `coalescer` if it shares a
//! datagram. Uses `receiving` for its lanes, and the folders below.

pub(crate) mod coalescer;
pub(crate) mod deliveries;
pub(crate) mod failed;
pub(crate) mod handover;
pub(crate) mod job;
pub(crate) mod line;
pub(crate) mod link;
pub(crate) mod receipt;
pub(crate) mod reply;
pub(crate) mod room;
pub(crate) mod sender;
