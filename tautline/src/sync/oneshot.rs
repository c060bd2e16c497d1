//! A value that is set once. A thread or an async task can wait for it.

use crate::sync::{Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::sync::lock;
use crate::sync::quietly::quietly;

/// A value that is set once, and the thread or task that waits for it.
#[derive(Debug)]
pub(crate) struct OneShot<T> {
    state: Mutex<Slot<T>>,
    ready: Condvar,
}

/// The value, and the waker of the task that polled last.
#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Default for OneShot<T> {
    fn default() -> Self {
        Self { state: Mutex::new(Slot { value: None, waker: None }), ready: Condvar::new() }
    }
}

impl<T> OneShot<T> {
    /// Sets the value and wakes the waiting thread or task. Called once. The caller must hold no lock, because the
    /// waker is user code.
    pub(crate) fn set(&self, value: T) {
        let mut state = lock(&self.state);
        state.value = Some(value);
        let waker = state.waker.take();
        drop(state);
        self.ready.notify_all();
        if let Some(waker) = waker {
            // A panic must not stop the caller: it may have to set values that other threads wait for.
            let _ = quietly(|| waker.wake());
        }
    }

    /// Calls `take` with the value, if it is set, and returns the result. `take` may leave the value in place.
    pub(crate) fn get(&self, take: impl FnOnce(&mut Option<T>) -> Option<T>) -> Option<T> {
        take(&mut lock(&self.state).value)
    }

    /// Waits for the value until `deadline`, with `None` without a limit. Returns `None` after the deadline.
    pub(crate) fn wait(
        &self,
        deadline: Option<Instant>,
        take: impl Fn(&mut Option<T>) -> Option<T>,
    ) -> Option<T> {
        let mut state = lock(&self.state);
        loop {
            if let Some(value) = take(&mut state.value) {
                return Some(value);
            }
            state = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return None,
                Some(left) => self.ready.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Returns the value if it is set. Otherwise the waker of `context` is called when it is set.
    pub(crate) fn poll(
        &self,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut Option<T>) -> Option<T>,
    ) -> Poll<T> {
        // The new waker is cloned before the lock is taken, and the old waker is dropped after it is released: both are
        // user code.
        let mut waker = Some(context.waker().clone());
        let mut state = lock(&self.state);
        match take(&mut state.value) {
            Some(value) => Poll::Ready(value),
            None => {
                std::mem::swap(&mut state.waker, &mut waker);
                Poll::Pending
            }
        }
    }
}
