//! A counter with one writer and many readers.

use portable_atomic::{AtomicU64, Ordering};

/// A counter with a single writer at any time and any number of readers.
///
/// Invariant: calls of `add` and `set` never overlap, because the owner of the half that a counter
/// belongs to is unique (the driver, or the holder of the transmit lock; the lock also orders one
/// holder's writes before the next one's). That is why a relaxed load and store suffice where a shared
/// counter would need a read-modify-write: no addition can be lost.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `amount`; for the single writer only.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.set(self.value().wrapping_add(amount));
    }

    /// Replaces the value; for the single writer only.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
