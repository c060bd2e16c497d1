//! The locks, atomics and threads that the whole library uses, from the standard library or from shuttle.
//!
//! `--cfg shuttle` builds the library with the types of shuttle, and `src/tests/shuttle/` tries schedules that are very
//! rare on a real machine. No other file of the crate takes locks, atomics or `park` from the standard library.

#[cfg(not(shuttle))]
mod chosen {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
    pub(crate) use std::{thread, thread_local};

    use std::time::Instant;

    /// Sleeps until the thread is unparked or the deadline has passed. May return early without a reason.
    ///
    /// Returns `false` if the deadline has passed.
    pub(crate) fn park_until(deadline: Option<Instant>) -> bool {
        let Some(deadline) = deadline else {
            thread::park();
            return true;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::park_timeout(left);
        true
    }

    /// Whether this time has come.
    pub(crate) fn has_passed(at: Instant) -> bool {
        Instant::now() >= at
    }
}

#[cfg(shuttle)]
mod chosen {
    pub(crate) use shuttle::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
    pub(crate) use shuttle::{thread, thread_local};

    use std::time::Instant;

    use shuttle::rand::Rng;

    /// Time does not pass under shuttle, so shuttle chooses whether the deadline has passed.
    pub(crate) fn park_until(deadline: Option<Instant>) -> bool {
        if deadline.is_none() {
            thread::park();
        } else {
            thread::yield_now();
        }
        deadline.is_none() || !has_passed_by_chance()
    }

    fn has_passed_by_chance() -> bool {
        shuttle::rand::thread_rng().gen_bool(0.5)
    }

    /// As [`park_until`]: shuttle chooses.
    pub(crate) fn has_passed(_: Instant) -> bool {
        has_passed_by_chance()
    }
}

pub(crate) use chosen::*;
