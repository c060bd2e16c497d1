//! One message on its way through an async handler: a future that can be cancelled from outside, and a
//! small executor for workers.

use crate::sync::thread::{self, Thread};
use crate::sync::{Arc, Mutex};
use crate::sync::{AtomicBool, Ordering};
use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};

use super::backlog::{JobId, Outcome};
use crate::sync::lock;
use crate::sync::quietly::{Panicked, quietly};

/// Names a job among all handlers': its handler's [`address`](super::worker::Queue) and its id there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) backlog: usize,
    pub(super) job: JobId,
}

thread_local! {
    /// The job that this thread works on: who closes the interface does not wait for itself.
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
}

/// The job that this thread works on.
pub(super) fn current() -> Option<Current> {
    CURRENT.get()
}

/// Calls users' code as the work of this job.
pub(super) fn as_current<T>(current: Current, call: impl FnOnce() -> T) -> Result<T, Panicked> {
    let before = CURRENT.replace(Some(current));
    let result = quietly(call);
    CURRENT.set(before);
    result
}

/// How to cancel a job, if it can be.
#[derive(Clone, Default)]
pub(super) struct CancelHandle(Option<Arc<Cancel>>);

#[derive(Default)]
struct Cancel {
    cancelled: AtomicBool,
    /// Wakes the task, so that it looks at `cancelled`.
    waker: Mutex<Option<Waker>>,
}

impl CancelHandle {
    pub(super) fn new(cancellable: bool) -> Self {
        Self(cancellable.then(Arc::default))
    }

    /// Whether `cancel` has an effect.
    pub(super) fn is_armed(&self) -> bool {
        self.0.is_some()
    }

    /// Makes the task drop its future, on the thread or executor that it is on.
    ///
    /// Never under a lock: it wakes an executor of the user.
    pub(super) fn cancel(&self) {
        let Some(cancel) = &self.0 else { return };
        // Release, paired with the acquire below: nothing else is passed along, but the flag must not be
        // seen unset by a poll that this wake-up causes.
        cancel.cancelled.store(true, Ordering::Release);
        let waker = lock(&cancel.waker).take();
        if let Some(waker) = waker {
            // A waker that panics is its executor's failure, not the driver's.
            let _ = quietly(|| waker.wake());
        }
    }

    /// Whether `cancel` was called; if not, it will wake `waker`.
    fn watch(&self, waker: &Waker) -> bool {
        let Some(cancel) = &self.0 else { return false };
        let mut kept = Some(waker.clone());
        std::mem::swap(&mut *lock(&cancel.waker), &mut kept);
        // Looked at after the waker is in place: a `cancel` before that is seen here, a later one wakes.
        cancel.cancelled.load(Ordering::Acquire)
    }
}

/// An async handler at work on one message. Resolves to how that ended; never panics.
pub(super) struct Task<S, F> {
    stage: Stage<S, F>,
    current: Current,
    cancel: CancelHandle,
}

enum Stage<S, F> {
    /// Not polled yet: the handler itself is called in the first poll, by the one who runs it.
    New(S),
    Running(F),
    Done,
}

impl<S: FnOnce() -> F, F: Future<Output = ()> + Unpin> Task<S, F> {
    pub(super) fn new(start: S, current: Current, cancel: CancelHandle) -> Self {
        Self { stage: Stage::New(start), current, cancel }
    }

    /// Polls the future, and drops it as soon as it is ready: its destructors are part of it.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut future = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::New(start) => start(),
            Stage::Running(future) => future,
            Stage::Done => unreachable!("polled after it was ready"),
        };
        let poll = Pin::new(&mut future).poll(context);
        if poll.is_pending() {
            self.stage = Stage::Running(future);
        }
        poll
    }
}

/// The closure is moved out before it is called, and the future is in a box: nothing here is pinned in place.
impl<S, F: Unpin> Unpin for Task<S, F> {}

impl<S: FnOnce() -> F, F: Future<Output = ()> + Unpin> Future for Task<S, F> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        if self.cancel.watch(context.waker()) {
            return Poll::Ready(Outcome::Stopped);
        }
        let current = self.current;
        match as_current(current, || self.advance(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(Outcome::Handled),
            Err(Panicked) => Poll::Ready(Outcome::Panicked),
        }
    }
}

impl<S, F> Drop for Task<S, F> {
    /// Drops what is left of the user's future where its panics end.
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let _ = as_current(self.current, || drop(stage));
    }
}

/// Runs futures on a thread, one after the other.
pub(super) struct BlockOn {
    alarm: Arc<Alarm>,
    waker: Waker,
}

/// Wakes a thread. The flag makes it sure even if other code on that thread uses up the unparking.
struct Alarm {
    thread: Thread,
    rung: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl BlockOn {
    /// For the calling thread.
    pub(super) fn here() -> Self {
        let alarm = Arc::new(Alarm { thread: thread::current(), rung: AtomicBool::new(false) });
        Self { waker: Waker::from(Arc::clone(&alarm)), alarm }
    }

    pub(super) fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(&self.waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            while !self.alarm.rung.swap(false, Ordering::Acquire) {
                thread::park();
            }
        }
    }
}
