//! Receipts of reliable messages.

use crate::sync::{Arc, Mutex};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::sync::lock;
use crate::sync::oneshot::OneShot;
use tautline_proto::endpoint::Outcome;

/// Tells what became of a reliable message: it ends in exactly one [`Outcome`], which it also resolves to when awaited.
///
/// Dropping it changes nothing for the message. Where a message goes to several peers, it ends when the last of them has
/// it, and tells the first outcome that is not [`Delivered`](Outcome::Delivered).
#[derive(Debug)]
pub struct Receipt {
    pub(crate) tracker: Arc<Tracker>,
}

impl Receipt {
    /// What became of the message; `None` while it is under way.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.tracker.ended.get(|outcome| *outcome)
    }

    /// Waits for the outcome, for at most `timeout`; with `None` for as long as it takes, which the message's tries and its
    /// lifespan bound. `None` when the time is over.
    ///
    /// From an inline handler it waits for the very driver that it holds up: do not.
    #[must_use]
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Outcome> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.tracker.ended.wait(deadline, |outcome| *outcome)
    }
}

impl Future for Receipt {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        self.tracker.ended.poll(context, |outcome| *outcome)
    }
}

/// Gathers the outcomes of one message at its peers.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    state: Mutex<State>,
    ended: OneShot<Outcome>,
}

#[derive(Debug, Default)]
struct State {
    /// At how many peers it is under way.
    left: usize,
    failed: Option<Outcome>,
}

impl Tracker {
    /// The message goes to one peer more. Called before any outcome comes.
    pub(crate) fn add_peer(&self) {
        lock(&self.state).left += 1;
    }

    /// Records an outcome at one peer; wakes who waits if it was the last.
    pub(crate) fn end(&self, outcome: Outcome) {
        let mut state = lock(&self.state);
        if outcome != Outcome::Delivered {
            state.failed.get_or_insert(outcome);
        }
        state.left = state.left.saturating_sub(1);
        let is_last = state.left == 0;
        let all = state.failed.unwrap_or(Outcome::Delivered);
        drop(state);
        if is_last {
            self.ended.set(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_when_the_last_peer_has_it_and_tells_the_first_failure() {
        let receipt = Receipt { tracker: Arc::default() };
        (0..3).for_each(|_| receipt.tracker.add_peer());
        receipt.tracker.end(Outcome::Delivered);
        receipt.tracker.end(Outcome::Expired);
        assert_eq!(receipt.outcome(), None);
        assert_eq!(receipt.wait(Some(Duration::ZERO)), None);
        receipt.tracker.end(Outcome::Abandoned);
        assert_eq!(receipt.outcome(), Some(Outcome::Expired));
        assert_eq!(receipt.wait(None), Some(Outcome::Expired));
    }
}
