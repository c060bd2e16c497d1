//! The locks and threads that queues, pool and hand-over are made of.
//!
//! One place, so that `tests/shuttle.rs` can build the same source files over shuttle's versions and try
//! the schedules that a real machine shows once a year.

use std::sync::{PoisonError, TryLockError};
use std::time::Instant;

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
pub(crate) use std::thread::{Thread, current};

/// Locks, whatever happened to an earlier holder.
///
/// No user code runs under this crate's locks, so a panic there is our bug; the states they guard are
/// valid between any two statements, and a second panic in every other thread would help nobody.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks if nobody else holds it; otherwise as [`lock`].
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Sleeps until unparked or until the deadline; may return early for no reason.
///
/// Says `false` when the deadline has passed.
pub(crate) fn park_until(deadline: Option<Instant>) -> bool {
    let Some(deadline) = deadline else {
        std::thread::park();
        return true;
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return false;
    }
    std::thread::park_timeout(left);
    true
}
