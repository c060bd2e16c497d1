//! The two wires: how messages become datagrams, and datagrams become messages again.
//!
//! `endpoint` calls them. All offsets, lengths and field layouts are in this folder. It may use `json` and the crate's root
//! modules, and never the endpoint.

pub mod classic;
pub mod native;
