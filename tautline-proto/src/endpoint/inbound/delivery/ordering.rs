//! Ordered messages that arrived before the message they must follow.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::kept::KeptMessage;
use crate::snapshot::saved;

/// The ordered messages that are held back, by their delivery numbers.
#[derive(Debug, Default)]
pub(super) struct OrderingBuffer {
    held: BTreeMap<u64, HeldMessage>,
    /// The lengths of all bodies together.
    bytes: usize,
}

#[derive(Debug)]
struct HeldMessage {
    /// The message that must be delivered before this one.
    after: u64,
    message: KeptMessage,
}

impl OrderingBuffer {
    /// Holds message `number` back until message `after` was delivered.
    pub(super) fn hold(&mut self, number: u64, after: u64, message: KeptMessage) {
        self.bytes += message.body.len();
        self.held.insert(number, HeldMessage { after, message });
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.held.contains_key(&number)
    }

    /// Returns each held message together with the message it must follow, lowest number first.
    pub(super) fn waiting(&self) -> Vec<(u64, u64)> {
        self.held.iter().map(|(&number, held)| (number, held.after)).collect()
    }

    pub(super) fn take(&mut self, number: u64) -> Option<KeptMessage> {
        let message = self.held.remove(&number)?.message;
        self.bytes -= message.body.len();
        Some(message)
    }

    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    /// Returns the lengths of all bodies together.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

saved!(OrderingBuffer { held, bytes });
saved!(HeldMessage { after, message });
