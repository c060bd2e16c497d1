//! Black boxes as files: how one is written (`shared/black_box.rs` does it), and how it is read and run again (the program
//! `tautline incident` does it).
//!
//! A file is an MCAP file (<https://mcap.dev>) without chunks. It holds the rings of both
//! halves, what happened, the statistics of the last seconds, and the settings; never a key.

use std::sync::atomic::{AtomicU64, Ordering};

pub mod read;

/// The names of the channels, and of the records of metadata.
pub(crate) mod names {
    pub(crate) const EVENTS: &str = "/events";
    pub(crate) const STATISTICS: &str = "/statistics";
    pub(crate) const INBOUND: &str = "/ring/inbound";
    pub(crate) const OUTBOUND: &str = "/ring/outbound";
    pub(crate) use crate::mcap::BLACK_BOX as INCIDENT;
    pub(crate) const SETTINGS: &str = "tautline.settings";
    /// Among the facts of the incident: the format of the rings.
    pub(crate) const FORMAT: &str = "format";
}

/// What the driver notes in the ring beside the inputs: the first word of each note, and what the two others are.
pub mod notes {
    /// How long the driver was busy with the datagrams before, in nanoseconds, and how many they were.
    pub const BUSY: u64 = 1;
}

/// How often all black boxes were asked for their files. Order: relaxed; it guards nothing.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// Asks every black box of this process to write its file, a moment later and on its own thread. For signal handlers' threads:
/// it needs no interface.
pub fn write_all() {
    ASKED.fetch_add(1, Ordering::Relaxed);
}

/// Returns how often [`write_all`] was called.
pub(crate) fn asked() -> u64 {
    ASKED.load(Ordering::Relaxed)
}

/// Returns a sum that shows whether a segment of a ring was damaged. It protects from nobody.
pub(crate) fn checksum(segment: &[u8]) -> u64 {
    let add = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let (words, rest) = segment.as_chunks::<8>();
    let sum = words.iter().fold(segment.len() as u64, |sum, word| add(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| add(sum, u64::from(*byte)))
}
