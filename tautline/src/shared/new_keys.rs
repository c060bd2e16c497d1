//! Keys that a user has read again, on their way to the driver.

use tautline_proto::secure::Keys;

use crate::sync::{AtomicBool, Mutex, Ordering, lock};

/// The keys that the driver has not taken over yet. Newer ones replace older ones.
#[derive(Debug, Default)]
pub(crate) struct NewKeys {
    waiting: Mutex<Option<Keys>>,
    /// Whether `waiting` has something for the driver. Order: set (release) after the keys are there, read (acquire) by the driver.
    are_waiting: AtomicBool,
}

impl NewKeys {
    pub(crate) fn put(&self, keys: Keys) {
        *lock(&self.waiting) = Some(keys);
        self.are_waiting.store(true, Ordering::Release);
    }

    /// Whether [`take`](Self::take) has something.
    #[inline]
    pub(crate) fn are_waiting(&self) -> bool {
        self.are_waiting.load(Ordering::Acquire)
    }

    /// Takes the keys. Those that come meanwhile are taken, or announced again.
    #[cold]
    pub(crate) fn take(&self) -> Option<Keys> {
        self.are_waiting.store(false, Ordering::Release);
        lock(&self.waiting).take()
    }
}
