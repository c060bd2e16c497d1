//! A wake-up that needs a system call only if the other thread really sleeps.
//!
//! No wake-up is lost. The ringing thread sets `rung` *before* it reads `asleep`. The waiting thread sets `asleep`
//! *before* it reads `rung`. All four accesses are sequentially consistent. So either the waiting thread sees the ring
//! and does not sleep, or the ringing thread sees that the other sleeps and ends the sleep.
//! `src/tests/shuttle/wakeups.rs` tries the schedules.

use crate::sync::{AtomicBool, Ordering};

/// Whether a thread has rung, and whether a thread sleeps.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
    asleep: AtomicBool,
}

impl Bell {
    pub(crate) const fn new() -> Self {
        Self { rung: AtomicBool::new(false), asleep: AtomicBool::new(false) }
    }

    /// Rings. Returns whether the other thread sleeps, or is about to sleep: then the caller must end its sleep.
    #[must_use]
    pub(crate) fn ring(&self) -> bool {
        self.rung.store(true, Ordering::SeqCst);
        self.asleep.load(Ordering::SeqCst)
    }

    /// Whether a thread has rung since the last call of this method or of [`sleep`](Self::sleep). Clears the ring.
    pub(crate) fn has_rung(&self) -> bool {
        // A plain read first: a swap would take the cache line away from the thread that rings.
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::SeqCst)
    }

    /// Calls `sleep`, which may sleep if its argument is true: then no thread has rung before.
    pub(crate) fn sleep<T>(&self, sleep: impl FnOnce(bool) -> T) -> T {
        self.asleep.store(true, Ordering::SeqCst);
        let result = sleep(!self.rung.swap(false, Ordering::SeqCst));
        self.asleep.store(false, Ordering::SeqCst);
        // Clears a ring that came during the sleep. A swap, not a store: only a read of the ring makes visible what the
        // ringing thread did before.
        let _ = self.rung.swap(false, Ordering::SeqCst);
        result
    }
}
