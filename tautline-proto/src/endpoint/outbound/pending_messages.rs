//! The reliable messages that are not settled, by the number of their first frame.
//!
//! Messages begin and mostly end in the order of their numbers, so that a queue finds and removes them faster than a tree.

use alloc::collections::VecDeque;

use crate::snapshot::saved;
use crate::time::Instant;

/// A message with frames that are not settled.
#[derive(Debug)]
pub(super) struct PendingMessage {
    pub(super) frames: u64,
    pub(super) unacknowledged: u64,
    pub(super) receipt: u64,
    pub(super) expires: Option<Instant>,
}

/// Invariant: the numbers rise, and the message in front has not ended. A message that ends behind it leaves a hole, so the holes
/// are at most as many as the window has numbers.
#[derive(Debug, Default)]
pub(super) struct PendingMessages {
    queue: VecDeque<(u64, Option<PendingMessage>)>,
}

impl PendingMessages {
    /// Adds a message, whose number is above all others.
    pub(super) fn insert(&mut self, first: u64, message: PendingMessage) {
        self.queue.push_back((first, Some(message)));
    }

    pub(super) fn get_mut(&mut self, first: u64) -> Option<&mut PendingMessage> {
        let place = self.place(first)?;
        self.queue[place].1.as_mut()
    }

    pub(super) fn remove(&mut self, first: u64) -> Option<PendingMessage> {
        let place = self.place(first)?;
        let message = self.queue[place].1.take();
        while self.queue.front().is_some_and(|(_, message)| message.is_none()) {
            self.queue.pop_front();
        }
        message
    }

    /// Returns the receipts of all messages, in the order of their numbers.
    pub(super) fn into_receipts(self) -> impl Iterator<Item = u64> {
        self.queue.into_iter().filter_map(|(_, message)| Some(message?.receipt))
    }

    fn place(&self, first: u64) -> Option<usize> {
        if self.queue.front()?.0 == first {
            return Some(0);
        }
        self.queue.binary_search_by_key(&first, |&(number, _)| number).ok()
    }
}

saved!(PendingMessage { frames, unacknowledged, receipt, expires });
saved!(PendingMessages { queue });

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn messages_end_in_any_order_and_those_before_them_are_found() {
        let mut messages = PendingMessages::default();
        for first in [3, 4, 9, 12] {
            let message = PendingMessage { frames: 1, unacknowledged: 1, receipt: first * 10, expires: None };
            messages.insert(first, message);
        }
        assert_eq!(messages.remove(9).map(|message| message.receipt), Some(90));
        assert!(messages.remove(9).is_none() && messages.get_mut(5).is_none());
        assert_eq!(messages.remove(3).map(|message| message.receipt), Some(30));
        assert_eq!(messages.get_mut(4).map(|message| message.receipt), Some(40));
        assert_eq!(messages.remove(4).map(|message| message.receipt), Some(40));
        assert_eq!(messages.queue.len(), 1, "the hole has gone too");
        assert_eq!(messages.into_receipts().collect::<Vec<_>>(), [120]);
    }
}
