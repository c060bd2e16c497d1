//! Locks and what is built from them: wake-ups, values that come once, log lines with a limit.
//!
//! Used by every other folder. Uses none of them.

pub(crate) mod bell;
pub(crate) mod log;
pub(crate) mod oneshot;
mod primitives;
pub(crate) mod quietly;

pub(crate) use primitives::*;

/// Locks the mutex, also after an earlier holder panicked.
///
/// No user code runs under this crate's locks, so a panic there is our bug. The data they guard is valid between any
/// two statements, and a second panic in every other thread would help nobody.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks the mutex if it is free; otherwise as [`lock`].
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
