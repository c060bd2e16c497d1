//! The way of a payload out: encode it, hand it over, number it, and write it to the socket.
//!
//! Called by `interface`, `connection`, `driver`, and by handlers through [`Reply`](reply::Reply).

pub(crate) mod deliveries;
pub(crate) mod failed;
pub(crate) mod gate;
pub(crate) mod handover;
pub(crate) mod job;
pub(crate) mod line;
pub(crate) mod link;
pub(crate) mod receipt;
pub(crate) mod reply;
pub(crate) mod room;
pub(crate) mod sender;
