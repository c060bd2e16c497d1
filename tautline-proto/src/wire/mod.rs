//! The two wires: how messages become datagrams, and datagrams become messages again.
//!
//! `endpoint` calls them. All offsets, lengths and field layouts are in this folder. It may use `json` and the crate's root
//! modules, and never the endpoint.

pub mod classic;
pub mod native;

/// Returns the CRC-32 of these bytes, as native datagrams have it (IEEE 802.3). MCAP files have the same.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    native::crc(bytes)
}
