//! The messages that wait to be written: the driver adds them one by one, and the thread that writes takes all of them at once.
//!
//! The two exchange whole batches. So a message that waits costs the driver one copy, into memory that was used before.

use tautline_proto::MessageRef;

use crate::message::pool::Pool;
use crate::message::{Arrival, Message};
use crate::sync::{Arc, Mutex, lock};

/// The most messages that wait to be written, and the most bytes of their payloads.
const MOST_WAITING: usize = if cfg!(test) { 1_000 } else { 65_536 };
const MOST_WAITING_BYTES: usize = 64 << 20;

/// The memory of so many messages is kept for the next batch, if it is small. The rest goes back to the pool.
const KEPT: usize = 4_096;
const SMALL: usize = 2 * 1024;

/// Messages, and memory for more.
#[derive(Debug, Default)]
pub(super) struct Batch {
    messages: Vec<Message>,
    /// How many of them wait. The others were written: only their memory is of use.
    used: usize,
    bytes: usize,
}

impl Batch {
    /// Returns the messages that wait.
    pub(super) fn messages(&self) -> &[Message] {
        &self.messages[..self.used]
    }

    /// Forgets the messages, and keeps some of their memory.
    pub(super) fn clear(&mut self) {
        self.messages.truncate(KEPT);
        self.messages.retain(|message| message.capacity() <= SMALL);
        (self.used, self.bytes) = (0, 0);
    }

    /// Adds a message. Returns `false` if there is no room.
    #[inline]
    fn add(&mut self, pool: &Arc<Pool>, message: &MessageRef<'_>, arrival: &Arrival) -> bool {
        let bytes = self.bytes + message.payload.len();
        if self.used == MOST_WAITING || bytes > MOST_WAITING_BYTES {
            return false;
        }
        match self.messages.get_mut(self.used) {
            Some(kept) => kept.replace(message, arrival),
            None => self.messages.push(Message::copy(pool, message, *arrival)),
        }
        (self.used, self.bytes) = (self.used + 1, bytes);
        true
    }
}

/// The batch that the driver fills.
///
/// The lock is held while one message is copied, and while two batches change places.
#[derive(Debug)]
pub(super) struct Queue {
    pool: Arc<Pool>,
    batch: Mutex<Batch>,
}

/// What came of a message that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    Waits,
    /// It waits, and the batch is half full now.
    HalfFull,
    /// There was no room.
    Dropped,
}

impl Queue {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, batch: Mutex::default() }
    }

    /// Adds a message.
    #[inline]
    pub(super) fn offer(&self, message: &MessageRef<'_>, arrival: &Arrival) -> Offered {
        let mut batch = lock(&self.batch);
        match batch.add(&self.pool, message, arrival) {
            true if batch.used == MOST_WAITING / 2 => Offered::HalfFull,
            true => Offered::Waits,
            false => Offered::Dropped,
        }
    }

    /// Takes what waits in place of a batch that was [cleared](Batch::clear).
    pub(super) fn exchange(&self, batch: &mut Batch) {
        std::mem::swap(&mut *lock(&self.batch), batch);
    }
}

#[cfg(test)]
mod tests {
    use tautline_proto::ContentType;

    use super::*;
    use crate::tests::fixtures;

    fn queue() -> (Queue, Arc<Pool>) {
        let pool = Arc::new(Pool::new());
        (Queue::new(Arc::clone(&pool)), pool)
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_the_messages_keep_their_order() {
        let (queue, _pool) = queue();
        let mut offered = Vec::new();
        for number in 0..=MOST_WAITING {
            let payload = number.to_le_bytes();
            let message = MessageRef::new(ContentType::Raw, &payload);
            offered.push(queue.offer(&message, &fixtures::arrival()));
        }
        assert_eq!(offered[MOST_WAITING / 2 - 1], Offered::HalfFull);
        assert_eq!(offered.iter().filter(|offered| **offered == Offered::HalfFull).count(), 1);
        assert_eq!(offered[MOST_WAITING], Offered::Dropped);
        let mut batch = Batch::default();
        queue.exchange(&mut batch);
        assert_eq!(batch.messages().len(), MOST_WAITING);
        for (message, number) in batch.messages().iter().zip(0_usize..) {
            assert_eq!(message.payload(), number.to_le_bytes());
        }
    }

    #[test]
    fn waiting_payloads_have_a_bound_in_bytes_and_little_memory_is_kept() {
        let (queue, pool) = queue();
        let large = vec![7; MOST_WAITING_BYTES / 100];
        let message = MessageRef::new(ContentType::Raw, &large);
        let waits = (0..200).filter(|_| queue.offer(&message, &fixtures::arrival()) != Offered::Dropped);
        assert_eq!(waits.count(), 100);
        let mut batch = Batch::default();
        queue.exchange(&mut batch);
        batch.clear();
        assert_eq!((batch.messages.len(), pool.kept()), (0, 0), "each is larger than what is kept");
        let small = fixtures::numbered(1, tautline_proto::Priority::Normal);
        (0..10).for_each(|_| assert_ne!(queue.offer(&small, &fixtures::arrival()), Offered::Dropped));
        queue.exchange(&mut batch);
        batch.clear();
        assert_eq!((batch.messages().len(), batch.messages.len()), (0, 10));
    }
}
