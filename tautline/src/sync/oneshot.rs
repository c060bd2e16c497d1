//! A value that comes once, for whoever waits for it: a thread or a task.

use crate::sync::{Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::sync::lock;
use crate::sync::quietly::quietly;

#[derive(Debug)]
pub(crate) struct OneShot<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Default for OneShot<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { value: None, waker: None }), ready: Condvar::new() }
    }
}

impl<T> OneShot<T> {
    /// Sets the value and wakes who waits. Called once, without any lock held: the waker is users' code.
    pub(crate) fn set(&self, value: T) {
        let mut state = lock(&self.state);
        state.value = Some(value);
        let waker = state.waker.take();
        drop(state);
        self.ready.notify_all();
        if let Some(waker) = waker {
            // Others wait for values that the caller has yet to set.
            let _ = quietly(|| waker.wake());
        }
    }

    /// What `take` makes of the value, if it is there.
    pub(crate) fn get(&self, take: impl FnOnce(&mut Option<T>) -> Option<T>) -> Option<T> {
        take(&mut lock(&self.state).value)
    }

    /// Waits for the value until `deadline`; `None`: for as long as it takes.
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

    pub(crate) fn poll(
        &self,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut Option<T>) -> Option<T>,
    ) -> Poll<T> {
        // Cloned before the lock is taken, the former one dropped after it is released: both are users' code.
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
