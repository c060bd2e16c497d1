//! A message that was copied out of its datagram.

use alloc::vec::Vec;

use crate::snapshot::saved;
use crate::time::Instant;
use crate::wire::native::MessageFrame;

/// Marks the default id of a reliable message: the id is the delivery number plus this bit. Datagram numbers stay below it.
pub(crate) const RELIABLE_ID: u64 = 1 << 63;

/// Marks the default id of a large best-effort message: the id is the message's number plus this bit. Datagram numbers
/// stay below it.
pub(crate) const LARGE_ID: u64 = 1 << 62;

/// The memory that a kept message, or a piece of one, takes beside its bytes.
pub(super) const BESIDE: usize = 96;

/// A message that was reassembled from fragments, or held back for an earlier one.
#[derive(Debug)]
pub(crate) struct KeptMessage {
    /// Its id, unless an id of its own travelled with it.
    pub(crate) default_id: u64,
    pub(crate) flags: u8,
    pub(crate) body: Vec<u8>,
    /// When its first fragment arrived, or the whole message.
    pub(crate) since: Instant,
}

impl KeptMessage {
    /// Copies a reliable message that arrived in one piece and will be delivered as `number`.
    pub(crate) fn copy(frame: MessageFrame<'_>, number: u64, since: Instant) -> Self {
        Self { default_id: RELIABLE_ID | number, flags: frame.flags, body: frame.body.to_vec(), since }
    }

    pub(crate) fn frame(&self) -> MessageFrame<'_> {
        MessageFrame { flags: self.flags, body: &self.body }
    }
}

saved!(KeptMessage { default_id, flags, body, since });
