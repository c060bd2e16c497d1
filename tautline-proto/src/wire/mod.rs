//! The two wires: how messages become datagrams, and back.

pub mod classic;
pub mod native;
