//! What the driver asks for every message or in every turn, and what is mostly off: in one object, so that a message on cold caches
//! finds all of it in one cache line.
//!
//! Each flag belongs to the part of the interface that its comment names. That part alone writes it.

use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// See the module's page.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct DriverFlags {
    /// Counts the changes of the table of handlers. Order: `Handlers` adds (release) after the table has changed, so that a
    /// dispatcher that sees the number (acquire) gets that table or a newer one.
    pub(crate) handlers: AtomicU64,
    /// How many requests wait for an answer, and how many of them end at a deadline. Order: relaxed; the
    /// driver looks after the request was sent and answered, and the thread that adds a deadline wakes the driver.
    pub(crate) requests: AtomicUsize,
    pub(crate) timed_requests: AtomicUsize,
    /// Whether the list of watchdogs has any. Order: `Watchdogs` stores it (release) after the list, under its lock.
    pub(crate) watches: AtomicBool,
    /// Whether cycles follow messages. Order: relaxed; a cycle that comes or goes may be noticed a message later.
    pub(crate) follows: AtomicBool,
    /// Whether there is a recording. Order: relaxed; a message may be recorded, or not, while that begins or ends.
    pub(crate) records: AtomicBool,
    /// Whether `Ownership` has something for the driver. Order: set (release) after the entry is there, taken (acquire) by the driver.
    pub(crate) ownership: AtomicBool,
    /// Whether keys wait that were read again. Order: set (release) after the keys are there, read (acquire) by the driver.
    #[cfg(feature = "secure")]
    pub(crate) new_keys: AtomicBool,
}

impl DriverFlags {
    /// Whether messages may answer a request.
    #[inline]
    pub(crate) fn requests_wait(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// Whether the driver must end requests at their deadline.
    #[inline]
    pub(crate) fn requests_have_deadlines(&self) -> bool {
        self.timed_requests.load(Ordering::Relaxed) > 0
    }

    /// Whether there are watchdogs.
    #[inline]
    pub(crate) fn are_watching(&self) -> bool {
        self.watches.load(Ordering::Acquire)
    }

    /// Whether cycles must hear of messages.
    #[inline]
    pub(crate) fn are_following(&self) -> bool {
        self.follows.load(Ordering::Relaxed)
    }

    /// Whether messages are recorded.
    #[inline]
    pub(crate) fn are_recording(&self) -> bool {
        self.records.load(Ordering::Relaxed)
    }

    /// Whether streams were freed, claimed or released since the last call. The driver then takes that.
    #[inline]
    pub(crate) fn take_ownership(&self) -> bool {
        self.ownership.load(Ordering::Relaxed) && self.ownership.swap(false, Ordering::Acquire)
    }

    /// Whether new keys wait for the driver.
    #[cfg(feature = "secure")]
    #[inline]
    pub(crate) fn new_keys_wait(&self) -> bool {
        self.new_keys.load(Ordering::Acquire)
    }
}
