//! A counter with one writer and many readers.

use crate::snapshot::{Reader, Saved, Writer};
use portable_atomic::{AtomicU64, Ordering};

/// A counter with one writer at any time and any number of readers.
///
/// Invariant: calls of `add` and `set` never overlap, because each counter belongs to one half of the endpoint, and each half
/// has one owner: the driver, or the holder of the transmit lock. The lock also orders the writes of one holder before those
/// of the next. So a relaxed load and a relaxed store suffice: no addition can be lost. A counter with several writers would
/// need a read-modify-write.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `amount`. Only the writer may call this.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.set(self.value().wrapping_add(amount));
    }

    /// Replaces the value. Only the writer may call this.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Returns the present value.
    #[must_use]
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Saved for Counter {
    fn save(&self, out: &mut Writer) {
        self.value().save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        u64::load(from).map(|value| Self(AtomicU64::new(value)))
    }
}
