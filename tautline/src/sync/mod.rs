//! Locks and atomics, and what is built from them: wake-ups, values that are set once, a limit for log lines, latches, and
//! calls whose panics end here.
//!
//! Called by every other folder except `config` and `payload`. Uses no other folder.

pub(crate) mod bell;
pub(crate) mod driver_flags;
pub(crate) mod latches;
pub(crate) mod log;
pub(crate) mod oneshot;
mod primitives;
pub(crate) mod quietly;

pub(crate) use primitives::*;

use std::time::{Duration, Instant};

/// Waits until the deadline, until the second argument returns true, or until this thread is unparked. May return early.
/// Returns `false` if the deadline has passed.
pub(crate) type Pause<'a> = &'a mut dyn FnMut(Option<Instant>, &mut dyn FnMut() -> bool) -> bool;

/// Something for which a waiting thread may work meanwhile.
pub(crate) trait Leads: std::fmt::Debug + Send + Sync {
    /// Waits as [`Pause`] says, and does the driver's work if it may.
    fn pause(&self, deadline: Option<Instant>, is_ready: &mut dyn FnMut() -> bool) -> bool;

    /// As [`pause`](Self::pause), for a thread that waits again within `grace`, or not at all. If it does not come back in that
    /// time, the driver's thread takes over.
    fn pause_within(
        &self,
        grace: Duration,
        deadline: Option<Instant>,
        is_ready: &mut dyn FnMut() -> bool,
    ) -> bool;
}

/// Locks the mutex, even if a thread panicked while it held the lock.
///
/// No user code runs under the locks of this crate, so such a panic is our bug. The guarded data is valid between any
/// two statements, and a panic in every other thread would not help anybody.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the thread has done its work. Its result, or its panic, is lost.
///
/// Except on Windows, the thread has ended then. On Windows no other thread can end while the calling thread destroys its
/// thread-local values: there `join` would wait for ever.
pub(crate) fn wait_for(thread: thread::JoinHandle<()>) {
    #[cfg(windows)]
    while !thread.is_finished() {
        thread::sleep(std::time::Duration::from_millis(1));
    }
    #[cfg(not(windows))]
    drop(thread.join());
}

/// Locks the mutex if it is free, and returns `None` if it is taken. A poisoned mutex is treated as by [`lock`].
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
