//! A queue from the library's threads to threads and event loops of Python. The library's threads never wait for Python.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::bell::Ring;
use crate::life;

/// Who puts in calls [`push`](Feed::push); who takes out calls [`next`](Queue::next).
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
    /// Rings an event loop with each entry.
    ring: Option<Arc<Ring>>,
}

impl<T: Send> Queue<T> {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { waiting: VecDeque::new(), closed: false, ring: None };
        Arc::new(Self { state: Mutex::new(state), ready: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an event loop be rung, now and with each entry.
    pub(crate) fn ring_with(&self, ring: Arc<Ring>) {
        self.lock().ring = Some(Arc::clone(&ring));
        ring.ring();
    }

    /// Takes the next entry, and tells how many wait behind it. Waits for one; `None` once the queue is closed and empty.
    pub(crate) fn next(&self, py: Python<'_>) -> PyResult<Option<(T, usize)>> {
        let found = life::detached(py, || {
            let mut state = self.lock();
            loop {
                if let Some(entry) = state.waiting.pop_front() {
                    return Some((entry, state.waiting.len()));
                }
                if state.closed || life::is_closing() {
                    return None;
                }
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        });
        // At the end of the interpreter, the threads of handlers end in silence.
        if life::is_closing() { Ok(found.unwrap_or(None)) } else { found }
    }

    /// Takes the next entry, if there is one.
    pub(crate) fn poll(&self) -> Option<T> {
        self.lock().waiting.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        let state = self.lock();
        state.closed && state.waiting.is_empty()
    }

    /// Lets nobody wait any more. What is in the queue can still be taken out.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let ring = state.ring.clone();
        drop(state);
        self.ready.notify_all();
        if let Some(ring) = ring {
            ring.ring();
        }
    }
}

/// The end of a queue that the library holds. The queue closes with it.
pub(crate) struct Feed<T: Send> {
    queue: Arc<Queue<T>>,
    /// The most entries that wait. Beyond it, the oldest is dropped.
    limit: usize,
}

impl<T: Send> Feed<T> {
    pub(crate) fn new(queue: &Arc<Queue<T>>, limit: usize) -> Self {
        Self { queue: Arc::clone(queue), limit }
    }

    pub(crate) fn push(&self, entry: T) {
        let mut state = self.queue.lock();
        let displaced = if state.waiting.len() >= self.limit { state.waiting.pop_front() } else { None };
        state.waiting.push_back(entry);
        let ring = state.ring.clone();
        drop(state);
        drop(displaced);
        self.queue.ready.notify_one();
        if let Some(ring) = ring {
            ring.ring();
        }
    }
}

impl<T: Send> Drop for Feed<T> {
    fn drop(&mut self) {
        self.queue.close();
    }
}
