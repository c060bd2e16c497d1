//! A bounded pool of the memory of messages, so that messages allocate nothing in steady state.
//!
//! A [`Message`](crate::Message) takes its parts with their buffer when it is made, and gives them back when it is dropped, on
//! any thread. No thread ever waits for them: if the pool is empty, new ones are allocated, and a full pool frees what returns.

use crate::message::parts::Parts;
use crate::sync::{Mutex, lock};

/// The most buffers that the pool keeps. The list of buffers is allocated for this number.
pub(crate) const MAX_BUFFERS: usize = 4096;

/// A buffer of more bytes is large. Small messages do not get large buffers, so that what waits takes little more memory than it
/// has bytes.
const SMALL: usize = 2 * 1024;

/// The most large buffers that the pool keeps.
const MAX_LARGE: usize = MAX_KEPT_BYTES / MAX_BUFFER_BYTES;

/// The largest buffer that the pool keeps: large enough for any message in one UDP datagram.
pub(crate) const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// The most bytes that all kept buffers have together.
pub(crate) const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;

const _: () = assert!(MAX_BUFFER_BYTES <= MAX_KEPT_BYTES);

/// The pool. Its lock is a leaf: no other lock is taken while it is held. It may be taken under the lock of a queue.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Free>,
}

/// Buffers that nobody uses.
///
/// Invariants: at most `MAX_BUFFERS` small and `MAX_LARGE` large ones; `bytes` is the sum of their capacities and at most
/// `MAX_KEPT_BYTES`.
#[derive(Debug, Default)]
struct Free {
    /// The small and the large ones. Last in, first out, because the last returned buffer is probably still in the CPU cache.
    #[allow(clippy::vec_box)] // they come and go boxed
    buffers: [Vec<Box<Parts>>; 2],
    bytes: usize,
}

/// Returns the list of buffers with so many bytes.
const fn list_of(bytes: usize) -> usize {
    if bytes > SMALL { 1 } else { 0 }
}

impl Pool {
    /// Makes an empty pool whose list has room for `MAX_BUFFERS` (the list of a `default` pool grows).
    pub(crate) fn new() -> Self {
        Self {
            free: Mutex::new(Free { buffers: [MAX_BUFFERS, MAX_LARGE].map(Vec::with_capacity), bytes: 0 }),
        }
    }

    /// Takes the parts of a message that is gone, if there are any. They are to hold so many bytes, which may need an allocation.
    pub(crate) fn take(&self, bytes: usize) -> Option<Box<Parts>> {
        let mut free = lock(&self.free);
        let parts = free.buffers[list_of(bytes)].pop()?;
        free.bytes -= parts.capacity();
        Some(parts)
    }

    /// Gives parts back. Frees them if their buffer is too large or the pool is full.
    pub(crate) fn give(&self, parts: Box<Parts>) {
        let bytes = parts.capacity();
        if bytes > MAX_BUFFER_BYTES {
            return;
        }
        let mut free = lock(&self.free);
        let list = list_of(bytes);
        let has_room = free.buffers[list].len() < [MAX_BUFFERS, MAX_LARGE][list];
        if has_room && free.bytes + bytes <= MAX_KEPT_BYTES {
            free.bytes += bytes;
            free.buffers[list].push(parts);
        }
    }

    /// The number of buffers in the pool.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        lock(&self.free).buffers.iter().map(Vec::len).sum()
    }
}
