//! Holds the failsafe of a watchdog, and calls it so that no lock is held and no panic gets out.

use super::WatchdogEvent;
use crate::sync::quietly::{DropQuietly, quietly};
use crate::sync::{Mutex, lock, try_lock};

/// The user's failsafe.
pub(super) type FailsafeFn = Box<dyn FnMut(&WatchdogEvent) + Send>;

/// Holds a failsafe. The thread takes the failsafe out to call it, so that the lock is held for an exchange only. The thread
/// never waits for the lock: another thread that holds it removes the failsafe.
pub(super) struct FailsafeSlot(Mutex<InSlot>);

enum InSlot {
    Here(DropQuietly<FailsafeFn>),
    /// There is no failsafe, or the thread has taken it out.
    Out,
    TakenAway,
}

impl FailsafeSlot {
    pub(super) fn new(failsafe: Option<FailsafeFn>) -> Self {
        let held = failsafe.map_or(InSlot::Out, |failsafe| InSlot::Here(DropQuietly::new(failsafe)));
        Self(Mutex::new(held))
    }

    /// Calls the failsafe, if there is one. Returns `false` if it panicked.
    pub(super) fn call(&self, event: &WatchdogEvent) -> bool {
        let Some(mut failsafe) = self.take_out() else { return true };
        let went_well = quietly(|| (*failsafe)(event)).is_ok();
        self.put_back(failsafe);
        went_well
    }

    fn take_out(&self) -> Option<DropQuietly<FailsafeFn>> {
        let mut held = try_lock(&self.0)?;
        match std::mem::replace(&mut *held, InSlot::Out) {
            InSlot::Here(failsafe) => Some(failsafe),
            other => {
                *held = other;
                None
            }
        }
    }

    fn put_back(&self, failsafe: DropQuietly<FailsafeFn>) {
        if let Some(mut held) = try_lock(&self.0)
            && !matches!(*held, InSlot::TakenAway)
        {
            *held = InSlot::Here(failsafe);
        }
    }

    /// Drops the failsafe. If it is being called, the thread drops it afterwards.
    pub(super) fn take_away(&self) {
        let held = std::mem::replace(&mut *lock(&self.0), InSlot::TakenAway);
        // Dropping runs users' code, so not under the lock.
        drop(held);
    }
}

impl std::fmt::Debug for FailsafeSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FailsafeSlot").finish_non_exhaustive()
    }
}
