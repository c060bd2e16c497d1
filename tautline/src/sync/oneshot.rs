//! A value that is set once. A thread or an async task can wait for it.

use crate::sync::thread::{self, Thread};
use crate::sync::{Leads, Mutex, Weak, lock, park_until};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::sync::quietly::quietly;

/// A value that is set once, and the threads or the task that wait for it.
#[derive(Debug)]
pub(crate) struct OneShot<T> {
    state: Mutex<Slot<T>>,
}

/// The value, the waker of the task that polled last, and the threads that wait.
#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    threads: Vec<Thread>,
}

impl<T> Default for OneShot<T> {
    fn default() -> Self {
        Self { state: Mutex::new(Slot { value: None, waker: None, threads: Vec::new() }) }
    }
}

impl<T> OneShot<T> {
    /// Sets the value and wakes the waiting threads or task. Called once. The caller must hold no lock, because the
    /// waker is user code.
    pub(crate) fn set(&self, value: T) {
        let mut state = lock(&self.state);
        state.value = Some(value);
        let (waker, threads) = (state.waker.take(), std::mem::take(&mut state.threads));
        drop(state);
        threads.iter().for_each(Thread::unpark);
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
        self.wait_leading(None, deadline, take)
    }

    /// As [`wait`](Self::wait). The waiting thread may work for `interface` meanwhile, if that is still there.
    pub(crate) fn wait_leading(
        &self,
        interface: Option<&Weak<dyn Leads>>,
        deadline: Option<Instant>,
        take: impl Fn(&mut Option<T>) -> Option<T>,
    ) -> Option<T> {
        let interface = interface.and_then(Weak::upgrade);
        let (mut is_waiting, mut is_over) = (false, false);
        loop {
            let mut state = lock(&self.state);
            let value = take(&mut state.value);
            if value.is_some() || is_over {
                let me = thread::current().id();
                state.threads.retain(|waiting| waiting.id() != me);
                return value;
            }
            if !std::mem::replace(&mut is_waiting, true) {
                state.threads.push(thread::current());
            }
            drop(state);
            is_over = !match &interface {
                Some(interface) => interface.pause(deadline, &mut || lock(&self.state).value.is_some()),
                None => park_until(deadline),
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
