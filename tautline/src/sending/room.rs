//! Waits until the window of reliable messages has room.
//!
//! No wake-up is lost: a waiter leaves its handle or its waker *before* it looks for room. Whoever makes room does so *before* it
//! takes the handles and wakers. So the waiter either sees the room or is woken.
//!
//! A waiter is woken once a quarter of the window is free and the message that was refused fits, and not for each message. That
//! comes: each message in the window ends, and every message fits an empty one.
//!
//! A thread that waits does the driver's work meanwhile, if it may: it reads the acknowledgements itself. Then a thread that
//! sends as much as it can is not interrupted by a thread that the acknowledgements wake.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::sender::Sender;
use crate::message::target::Target;
use crate::sync::quietly::quietly;
use crate::sync::thread::{self, Thread};
use crate::sync::{Arc, Leads, Mutex, Weak, lock, park_until};

/// A thread that sends as much as it can fills the window again within this time. While it does so, nobody reads what comes.
const FILLS_WITHIN: Duration = Duration::from_micros(500);

/// Who waits for room. Its lock is held for a look only.
#[derive(Debug, Default)]
pub(crate) struct RoomSignal {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    wakers: Vec<Waker>,
    threads: Vec<Thread>,
}

impl RoomSignal {
    /// Wakes all who wait: reliable messages have ended, or the connection has. Called with no lock held.
    pub(crate) fn notify(&self) {
        let Waiting { wakers, threads } = std::mem::take(&mut *lock(&self.waiting));
        threads.iter().for_each(Thread::unpark);
        for waker in wakers {
            // A waker that panics must not keep the others asleep.
            let _ = quietly(|| waker.wake());
        }
    }

    /// Adds the calling thread, unless it is there.
    pub(crate) fn enter(&self) {
        let me = thread::current();
        let mut waiting = lock(&self.waiting);
        if !waiting.threads.iter().any(|known| known.id() == me.id()) {
            waiting.threads.push(me);
        }
    }

    /// Removes the calling thread.
    pub(crate) fn leave(&self) {
        let me = thread::current().id();
        lock(&self.waiting).threads.retain(|known| known.id() != me);
    }

    fn register(&self, waker: Waker) {
        let wakers = &mut lock(&self.waiting).wakers;
        if !wakers.iter().any(|known| known.will_wake(&waker)) {
            wakers.push(waker);
        }
    }
}

impl Sender {
    /// Waits until a reliable message to the target finds room. Returns `false` if the deadline passed first. The waiting thread may
    /// work for `interface` meanwhile, if that is still there.
    pub(crate) fn wait_for_room(
        &self,
        target: Target,
        interface: Option<&Weak<dyn Leads>>,
        deadline: Option<Instant>,
    ) -> bool {
        let interface = interface.and_then(Weak::upgrade);
        let mut goes_on = true;
        loop {
            self.room.enter();
            // It looks after the deadline too: there may be a little room, for which nobody is woken.
            let has_room = self.has_room(target);
            if has_room || !goes_on {
                self.room.leave();
                return has_room;
            }
            goes_on = match &interface {
                Some(interface) => {
                    interface.pause_within(FILLS_WITHIN, deadline, &mut || self.has_room(target))
                }
                None => park_until(deadline),
            };
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
