//! The reliable messages of one peer: each is taken once and acknowledged. docs/protocol.md §7.5.

use alloc::vec::Vec;

use super::kept::{BESIDE, KeptMessage, RELIABLE_ID};
use super::ordering::OrderingBuffer;
use super::reassembly::{Added, Reassembly};
use super::receive_window::ReceiveWindow;
use crate::snapshot::saved;
use crate::time::Instant;
use crate::wire::native::{DELIVERY_WINDOW, DeliveryNumbers, Fragment, MessageFrame};

/// Receives reliable messages and their fragments.
///
/// Invariant: the messages in `ordering` and the fragments in `fragments` were marked in `window`, and are not delivered yet.
#[derive(Debug, Default)]
pub(crate) struct ReliableReceiver {
    window: ReceiveWindow,
    ordering: OrderingBuffer,
    fragments: Reassembly,
    /// Whether something arrived that is not acknowledged yet.
    owes_ack: bool,
    /// Whether something was delivered or settled since the last [`release`](Self::release). Else no held message can go on.
    may_release: bool,
    /// Incomplete messages that the sender has abandoned and that are not counted yet.
    abandoned: u64,
}

/// How many bytes may be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Of one peer's held-back messages, and of its incomplete ones.
    pub(crate) each: usize,
    /// Of this peer's reliable messages, beside everything else that is kept of all peers.
    pub(crate) of_all: usize,
}

/// What happens to a reliable message or a fragment of one.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is a message. Deliver it as this number.
    Deliver(u64),
    /// It was taken before.
    Duplicate,
    /// It is kept for later, and acknowledged.
    Kept,
    /// There is no room for it. It is not acknowledged, so that the sender sends it again.
    NoRoom,
    /// It contradicts earlier fragments of its message.
    Contradiction,
}

impl ReliableReceiver {
    /// Takes a message that arrived in one piece. If it must wait, it needs `room`.
    pub(crate) fn take(
        &mut self,
        numbers: DeliveryNumbers,
        frame: MessageFrame<'_>,
        room: Room,
        now: Instant,
    ) -> Taken {
        self.owes_ack = true;
        let number = self.window.expand(numbers.number);
        if self.window.contains(number) {
            return Taken::Duplicate;
        }
        match self.undelivered_predecessor(number, numbers) {
            Some(_)
                if self.ordering.bytes() + frame.body.len() > room.each
                    || !self.has_room(frame.body.len(), room) =>
            {
                return Taken::NoRoom;
            }
            Some(after) => self.ordering.hold(number, after, KeptMessage::copy(frame, number, now)),
            None => {}
        }
        self.mark(number);
        if self.ordering.contains(number) {
            return Taken::Kept;
        }
        self.may_release = true;
        Taken::Deliver(number)
    }

    /// Takes a fragment. If it completes a message that need not wait for an earlier one, the message is added to `complete`.
    pub(crate) fn take_fragment(
        &mut self,
        fragment: &Fragment<'_>,
        room: Room,
        now: Instant,
        complete: &mut Vec<KeptMessage>,
    ) -> Taken {
        self.owes_ack = true;
        let first = self.window.expand(fragment.numbers.number);
        let number = first + u64::from(fragment.index);
        if self.window.contains(number) {
            return Taken::Duplicate;
        }
        let (total, begins) = (fragment.total as usize, !self.fragments.contains(first));
        if begins && !self.has_room(total, room) {
            return Taken::NoRoom;
        }
        if self.ordering.bytes() + self.fragments.bytes() + total > room.each
            && begins
            && self.undelivered_predecessor(first, fragment.numbers).is_some()
        {
            // Once complete, the message would be held back together with the others.
            return Taken::NoRoom;
        }
        let added = self.fragments.add(first, fragment, room.each, now, &mut Vec::new());
        let (flags, since, body) = match added {
            Added::NoRoom => return Taken::NoRoom,
            Added::Contradiction => return Taken::Contradiction,
            Added::Incomplete => {
                self.mark(number);
                return Taken::Kept;
            }
            Added::Complete(flags, since, body) => (flags, since, body),
        };
        self.mark(number);
        let message = KeptMessage { default_id: RELIABLE_ID | first, flags, body, since };
        match self.undelivered_predecessor(first, fragment.numbers) {
            Some(after) => self.ordering.hold(first, after, message),
            None => {
                self.may_release = true;
                complete.push(message);
            }
        }
        Taken::Kept
    }

    /// Takes the sender's word that it has settled everything below this number.
    pub(crate) fn forward(&mut self, base: u32) {
        self.owes_ack = true;
        let base = self.window.expand(base);
        self.advance_to(base);
    }

    /// Returns how many incomplete messages the sender has abandoned since the last call.
    pub(crate) fn take_abandoned(&mut self) -> u64 {
        core::mem::take(&mut self.abandoned)
    }

    /// Moves held messages that need not wait any more to `complete`, in their order.
    ///
    /// This looks at every held message, of which there may be a window full. Call it once for each datagram, so that a datagram
    /// full of messages costs no more; and it does so only if something was delivered or settled, so that a peer that has many held
    /// back does not make every datagram expensive.
    pub(crate) fn release(&mut self, complete: &mut Vec<KeptMessage>) {
        if !core::mem::take(&mut self.may_release) {
            return;
        }
        for (number, after) in self.ordering.waiting() {
            if self.is_delivered(after) {
                complete.extend(self.ordering.take(number));
            }
        }
    }

    /// Returns how many messages were taken and would be lost if the session ended now.
    pub(crate) fn undelivered(&self) -> u64 {
        self.ordering.count() as u64 + self.fragments.len()
    }

    /// Returns how many bytes of memory its messages take, or may grow to.
    pub(crate) fn kept(&self) -> usize {
        self.ordering.bytes() + self.ordering.count() * BESIDE + self.fragments.kept()
    }

    /// Returns whether one more message of this length can be kept, beside what other peers keep. One message always can.
    fn has_room(&self, len: usize, room: Room) -> bool {
        let kept = self.kept();
        kept == 0 || kept + len + BESIDE <= room.of_all
    }

    /// Returns what to acknowledge, if anything arrived since the last call: the lowest number that has not arrived, and the
    /// bitmap of the numbers after it.
    pub(crate) fn acknowledge(&mut self) -> Option<(u64, Vec<u8>)> {
        core::mem::take(&mut self.owes_ack).then(|| self.window.acknowledgement())
    }

    /// Returns the message that must be delivered before this one, unless it was delivered.
    fn undelivered_predecessor(&self, number: u64, numbers: DeliveryNumbers) -> Option<u64> {
        let after = number.checked_sub(numbers.behind.into()).filter(|_| numbers.behind > 0)?;
        (!self.is_delivered(after)).then_some(after)
    }

    fn is_delivered(&self, message: u64) -> bool {
        self.window.contains(message) && !self.ordering.contains(message) && !self.fragments.contains(message)
    }

    fn mark(&mut self, number: u64) {
        // The sender never has more numbers in use: it has abandoned whatever lies a whole window behind.
        self.advance_to((number + 1).saturating_sub(DELIVERY_WINDOW));
        self.window.mark(number);
    }

    /// Settles everything below `base`.
    fn advance_to(&mut self, base: u64) {
        if base > self.window.base() {
            self.window.advance_to(base);
            self.may_release = true;
            self.abandoned += self.fragments.drop_below(base);
        }
    }
}

saved!(ReliableReceiver { window, ordering, fragments, owes_ack, may_release, abandoned });

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(0);
    const FRAME: MessageFrame<'_> = MessageFrame { flags: 0, body: &[0; 16] };

    fn take(receiver: &mut ReliableReceiver, number: u32, behind: u16) -> Taken {
        let room = Room { each: 1 << 20, of_all: 1 << 20 };
        receiver.take(DeliveryNumbers { number, behind }, FRAME, room, NOW)
    }

    #[test]
    fn held_messages_are_looked_at_only_when_one_of_them_may_go_on() {
        let mut receiver = ReliableReceiver::default();
        let mut released = Vec::new();
        // Each follows the one before, and the first one is missing.
        for number in 1..1_000 {
            assert!(matches!(take(&mut receiver, number, 1), Taken::Kept));
            assert!(!receiver.may_release, "nothing can go on");
            receiver.release(&mut released);
        }
        assert!(matches!(take(&mut receiver, 500, 1), Taken::Duplicate));
        assert!(!receiver.may_release);
        assert!(matches!(take(&mut receiver, 1_010, 0), Taken::Deliver(1_010)));
        assert!(receiver.may_release);
        receiver.release(&mut released);
        assert!(released.is_empty() && !receiver.may_release);
        assert!(matches!(take(&mut receiver, 0, 0), Taken::Deliver(0)));
        receiver.release(&mut released);
        assert_eq!(released.len(), 999);
    }
}
