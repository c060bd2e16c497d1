//! What the two ends of a bench say to each other.
//!
//! Commands are sent back as they are; data are counted; a configuration message is a question, and the answer is
//! a status with all that was counted since the serving end started. The asking end takes differences, so that
//! any number of runs may follow each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tautline::MessageType;

/// Sent back as it is.
pub(super) const ECHOED: MessageType = MessageType::Command;
/// Counted.
pub(super) const COUNTED: MessageType = MessageType::Data;
/// Asks for the counts.
pub(super) const QUESTION: MessageType = MessageType::Configuration;
/// Answers a question.
pub(super) const ANSWER: MessageType = MessageType::Status;

/// What the serving end knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The asking peer's data messages that were handed to the application.
    pub(super) messages: u64,
    /// How long before this answer the last of them was; `None` without any.
    pub(super) quiet_us: Option<u64>,
    /// Datagrams of the asking peer that never came, by their sequence numbers; `None` without numbers.
    pub(super) datagrams_lost: Option<u64>,
    /// Datagrams that the kernel dropped because the socket's buffer was full; `None` where it does not tell.
    pub(super) kernel_drops: Option<u64>,
    /// Datagrams and messages dropped by the library, by reason.
    pub(super) dropped: BTreeMap<String, u64>,
    /// What the serving process used.
    pub(super) cpu_us: Option<u64>,
    pub(super) memory_bytes: Option<u64>,
    /// Where a bare socket sends datagrams back, if it was asked for.
    pub(super) raw_port: Option<u16>,
    pub(super) version: String,
}
