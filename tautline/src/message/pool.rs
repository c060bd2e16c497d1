//! A bounded store of byte buffers, so that messages in steady state allocate nothing.
//!
//! [`Message`](crate::Message) takes a buffer when it is made and gives it back when it is dropped, on
//! whatever thread that happens. The pool never makes anyone wait: when it is empty, a buffer is
//! allocated; when it is full, the returned one is freed.

use crate::sync::{Mutex, lock};

/// The most buffers kept; also what the store itself is allocated for.
pub(crate) const MAX_BUFFERS: usize = 4096;

/// A buffer that grew beyond this is not kept: the largest message that one UDP datagram can carry.
pub(crate) const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// The most bytes kept in all buffers together.
pub(crate) const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;

const _: () = assert!(MAX_BUFFER_BYTES <= MAX_KEPT_BYTES);

/// The store. Its lock is a leaf: nothing else is locked while it is held, and it may be taken under
/// the lock of a queue.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Free>,
}

/// Buffers that nobody uses.
///
/// Invariants: at most `MAX_BUFFERS`; `bytes` is the sum of their capacities and at most `MAX_KEPT_BYTES`.
#[derive(Debug, Default)]
struct Free {
    /// Last in, first out: the buffer that is still in the cache goes out first.
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Pool {
    /// An empty pool, with room for all the buffers that it may keep (`default` makes room as they come).
    pub(crate) fn new() -> Self {
        Self { free: Mutex::new(Free { buffers: Vec::with_capacity(MAX_BUFFERS), bytes: 0 }) }
    }

    /// An empty buffer with room for `capacity` bytes.
    ///
    /// Allocates when the pool is empty or when its buffer has never been that large.
    pub(crate) fn take(&self, capacity: usize) -> Vec<u8> {
        let mut buffer = self.pop().unwrap_or_default();
        buffer.reserve(capacity);
        buffer
    }

    fn pop(&self) -> Option<Vec<u8>> {
        let mut free = lock(&self.free);
        let buffer = free.buffers.pop()?;
        free.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// Takes a buffer back, or frees it when it is too large or there are enough.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes == 0 || bytes > MAX_BUFFER_BYTES {
            return;
        }
        buffer.clear();
        let mut free = lock(&self.free);
        if free.buffers.len() < MAX_BUFFERS && free.bytes + bytes <= MAX_KEPT_BYTES {
            free.bytes += bytes;
            free.buffers.push(buffer);
        }
    }

    /// How many buffers wait to be used again.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        lock(&self.free).buffers.len()
    }
}
