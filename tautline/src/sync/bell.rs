//! Waking one who may be asleep, without a system call where it is not.
//!
//! Nobody's wake-up is lost: who wakes sets `rung` *before* looking whether the other is `asleep`, and who waits sets
//! `asleep` *before* looking whether it has `rung` (all four sequentially consistent). So either the sleeper sees the ring
//! and does not sleep, or the ringer sees the sleeper and ends its sleep. `src/tests/shuttle/wakeups.rs` tries the schedules.

use crate::sync::{AtomicBool, Ordering};

/// Whether someone has rung, and whether someone sleeps.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
    asleep: AtomicBool,
}

impl Bell {
    pub(crate) const fn new() -> Self {
        Self { rung: AtomicBool::new(false), asleep: AtomicBool::new(false) }
    }

    /// Rings; whether the other sleeps, or is about to, and its sleep has to be ended.
    #[must_use]
    pub(crate) fn ring(&self) -> bool {
        self.rung.store(true, Ordering::SeqCst);
        self.asleep.load(Ordering::SeqCst)
    }

    /// Whether someone has rung since the last time that this, or [`sleep`](Self::sleep), heard it.
    pub(crate) fn has_rung(&self) -> bool {
        // A read first: a swap would take the cache line from whoever is about to ring.
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::SeqCst)
    }

    /// Sleeps as `sleep` does; that is told whether it may, because nobody has rung before.
    pub(crate) fn sleep<T>(&self, sleep: impl FnOnce(bool) -> T) -> T {
        self.asleep.store(true, Ordering::SeqCst);
        let result = sleep(!self.rung.swap(false, Ordering::SeqCst));
        self.asleep.store(false, Ordering::SeqCst);
        // Whoever rang meanwhile is heard now. A swap, not a store: only by reading the ring do we see what was done before it.
        let _ = self.rung.swap(false, Ordering::SeqCst);
        result
    }
}
