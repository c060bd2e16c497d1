//! Receipts of reliable messages.

use crate::sync::{Arc, Leads, Mutex, Weak};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::sync::lock;
use crate::sync::oneshot::OneShot;
use tautline_proto::endpoint::Outcome;

/// The receipt of a reliable message. It gets exactly one [`Outcome`]; as a future it resolves to that outcome.
///
/// Dropping the receipt changes nothing for the message. If a message goes to several peers, the outcome comes when the
/// message has ended at the last of them: the first outcome that is not [`Delivered`](Outcome::Delivered), or else
/// `Delivered`.
#[derive(Debug)]
pub struct Receipt {
    tracker: Arc<Tracker>,
    /// The interface, for which a waiting thread may work.
    interface: Option<Weak<dyn Leads>>,
}

impl Receipt {
    pub(crate) const fn new(tracker: Arc<Tracker>) -> Self {
        Self { tracker, interface: None }
    }

    /// The same receipt of a message of this interface.
    pub(crate) fn of(mut self, interface: Weak<dyn Leads>) -> Self {
        self.interface = Some(interface);
        self
    }

    /// The outcome; `None` while the message is in flight.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.tracker.ended.get(|outcome| *outcome)
    }

    /// Waits for the outcome, at most for `timeout`. Returns `None` if the time is over. With `None` it waits as long as it
    /// takes; the tries and the lifespan of the message bound that. While it waits, the calling thread may do the driver's work
    /// (setting [`driven_by`](crate::Config::driven_by)).
    ///
    /// Do not call it from an inline handler: it would wait for the driver that the handler holds up.
    #[must_use]
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Outcome> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.tracker.ended.wait_leading(self.interface.as_ref(), deadline, |outcome| *outcome)
    }
}

impl Future for Receipt {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        self.tracker.ended.poll(context, |outcome| *outcome)
    }
}

/// Collects the outcomes of one message at its peers.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    state: Mutex<State>,
    ended: OneShot<Outcome>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of peers at which the message is in flight.
    left: usize,
    failed: Option<Outcome>,
}

impl Tracker {
    /// Adds a peer that the message goes to. Called before any outcome comes.
    pub(crate) fn add_peer(&self) {
        lock(&self.state).left += 1;
    }

    /// Records the outcome at one peer. Wakes the waiter after the last one.
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
    fn the_outcome_comes_after_the_last_peer_and_is_the_first_failure() {
        let receipt = Receipt::new(Arc::default());
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
