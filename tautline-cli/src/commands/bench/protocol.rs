//! The messages between the two ends of a bench.
//!
//! The serving end sends commands back unchanged and counts data messages. A configuration message is a question. Its
//! answer is a status message with all counts since the serving end started. The measuring end computes differences of
//! the counts, so that any number of runs may follow each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tautline::MessageType;

/// The type that is sent back unchanged.
pub(super) const ECHOED: MessageType = MessageType::Command;
/// The type that is counted.
pub(super) const COUNTED: MessageType = MessageType::Data;
/// The type that asks for the counts.
pub(super) const QUESTION: MessageType = MessageType::Configuration;
/// The type that answers a question.
pub(super) const ANSWER: MessageType = MessageType::Status;

/// The counts of the serving end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The number of data messages of the asking peer that reached the application.
    pub(super) messages: u64,
    /// The time since the last of them, in microseconds. `None` if there was none.
    pub(super) quiet_us: Option<u64>,
    /// Datagrams of the asking peer that never arrived, according to their sequence numbers. `None` without sequence
    /// numbers.
    pub(super) datagrams_lost: Option<u64>,
    /// Datagrams that the kernel dropped because the socket buffer was full. `None` if the kernel does not report them.
    pub(super) kernel_drops: Option<u64>,
    /// Datagrams and messages dropped by the library, by reason.
    pub(super) dropped: BTreeMap<String, u64>,
    /// The CPU time of the serving process, in microseconds.
    pub(super) cpu_us: Option<u64>,
    /// The memory of the serving process.
    pub(super) memory_bytes: Option<u64>,
    /// The port of the raw socket that sends datagrams back, if `--baseline` asked for it.
    pub(super) raw_port: Option<u16>,
    pub(super) version: String,
}
