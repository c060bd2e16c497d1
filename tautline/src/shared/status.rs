//! The connection state of the interface: written in one place, watched from anywhere.

use crate::sync::{Arc, Condvar, Mutex, PoisonError};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::error::ConnectError;
use crate::shared::events::Event;
use crate::shared::subscribers::EventBus;
use crate::sync::lock;
use tautline_proto::{Cause, ConnectionState};

/// The state, and the threads and tasks that wait for a change.
#[derive(Debug, Default)]
pub(crate) struct Status {
    inner: Mutex<Inner>,
    changed: Condvar,
    pub(crate) events: Arc<EventBus>,
}

#[derive(Debug, Default)]
struct Inner {
    state: ConnectionState,
    /// Why the state is `Error`.
    error: Option<ConnectError>,
    wakers: Vec<Waker>,
}

impl Status {
    pub(crate) fn state(&self) -> ConnectionState {
        lock(&self.inner).state
    }

    /// Moves to the state that follows from `cause`. Returns whether that is another state.
    pub(crate) fn apply(&self, cause: Cause) -> bool {
        self.apply_with(cause, None)
    }

    /// As [`apply`](Self::apply), with the error that [`outcome`](Self::outcome) then returns.
    pub(crate) fn fail(&self, cause: Cause, error: ConnectError) {
        self.apply_with(cause, Some(error));
    }

    fn apply_with(&self, cause: Cause, error: Option<ConnectError>) -> bool {
        let mut inner = lock(&self.inner);
        let (from, to) = (inner.state, inner.state.after(cause));
        inner.state = to;
        if from == to {
            return false;
        }
        inner.error = error;
        let wakers = std::mem::take(&mut inner.wakers);
        // Published under the lock, so that events come in the order of the changes. The subscribers' queues are the only
        // locks that are taken inside.
        let woken = self.events.publish_later(&Event::StateChanged { from, to, cause });
        drop(inner);
        self.changed.notify_all();
        woken.wake();
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    /// The outcome of connecting; `None` while connecting.
    pub(crate) fn outcome(&self) -> Option<Result<(), ConnectError>> {
        outcome(&lock(&self.inner))
    }

    /// Waits for the outcome of connecting.
    pub(crate) fn wait_outcome(&self) -> Result<(), ConnectError> {
        let mut inner = lock(&self.inner);
        loop {
            if let Some(outcome) = outcome(&inner) {
                return outcome;
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the state is `wanted`. Returns `false` if the deadline passed first.
    pub(crate) fn wait_for(&self, wanted: ConnectionState, deadline: Option<Instant>) -> bool {
        let mut inner = lock(&self.inner);
        while inner.state != wanted {
            let Some(deadline) = deadline else {
                inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(crate) const fn outcome_async(&self) -> Outcome<'_> {
        Outcome { status: self }
    }
}

fn outcome(inner: &Inner) -> Option<Result<(), ConnectError>> {
    match inner.state {
        ConnectionState::Connecting => None,
        ConnectionState::Error => Some(Err(inner.error.clone().unwrap_or(ConnectError::Disconnected))),
        ConnectionState::Disconnected => Some(Err(ConnectError::Disconnected)),
        ConnectionState::Closed => Some(Err(ConnectError::Closed)),
        _ => Some(Ok(())),
    }
}

/// Waits for the outcome of connecting, on any executor.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    status: &'a Status,
}

impl Future for Outcome<'_> {
    type Output = Result<(), ConnectError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloned before the lock is taken, dropped after it is released: both run users' code.
        let waker = context.waker().clone();
        let mut inner = lock(&self.status.inner);
        match outcome(&inner) {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                if !inner.wakers.iter().any(|known| known.will_wake(&waker)) {
                    inner.wakers.push(waker);
                }
                Poll::Pending
            }
        }
    }
}
