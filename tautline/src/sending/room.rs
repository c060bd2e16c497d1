//! Waits until the window of reliable messages has room.
//!
//! No wake-up is lost: a waiter reads the generation, or leaves its waker, *before* it looks for room. Whoever makes room
//! does so *before* it changes the generation. So the waiter either sees the room or is woken.
//!
//! A waiter is woken once a quarter of the window is free and the message that was refused fits, and not for each message. That
//! comes: each message in the window ends, and every message fits an empty one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::sender::Sender;
use crate::message::target::Target;
use crate::sync::quietly::quietly;
use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock};

/// Who waits for room. Its lock is held for a look only.
#[derive(Debug, Default)]
pub(crate) struct RoomSignal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    wakers: Vec<Waker>,
    /// How many threads wait. If there are none, a system call is saved.
    waiting: usize,
}

impl RoomSignal {
    /// Wakes all who wait: reliable messages have ended, or the connection has. Called with no lock held.
    pub(crate) fn notify(&self) {
        let (wakers, is_awaited) = {
            let mut state = lock(&self.state);
            state.generation += 1;
            (std::mem::take(&mut state.wakers), state.waiting > 0)
        };
        if is_awaited {
            self.changed.notify_all();
        }
        for waker in wakers {
            // A waker that panics must not keep the others asleep.
            let _ = quietly(|| waker.wake());
        }
    }

    fn generation(&self) -> u64 {
        lock(&self.state).generation
    }

    /// Waits until the generation has changed. Returns `false` if the deadline passed first.
    fn wait_change(&self, seen: u64, deadline: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        while state.generation == seen {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            state.waiting += 1;
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waiting -= 1;
        }
        true
    }

    fn register(&self, waker: Waker) {
        let mut state = lock(&self.state);
        if !state.wakers.iter().any(|known| known.will_wake(&waker)) {
            state.wakers.push(waker);
        }
    }
}

impl Sender {
    /// Waits until a reliable message to the target finds room. Returns `false` if the deadline passed first.
    pub(crate) fn wait_for_room(&self, target: Target, deadline: Option<Instant>) -> bool {
        loop {
            let generation = self.room.generation();
            if self.has_room(target) {
                return true;
            }
            if !self.room.wait_change(generation, deadline) {
                // There may be a little room, for which nobody is woken.
                return self.has_room(target);
            }
        }
    }
}

/// The future of [`Publisher::room`](crate::Publisher::room).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Room {
    pub(crate) sender: Arc<Sender>,
    pub(crate) target: Target,
}

impl Future for Room {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.sender.room.register(context.waker().clone());
        if self.sender.has_room(self.target) { Poll::Ready(()) } else { Poll::Pending }
    }
}
