//! Runs an async handler for one message: a future that other threads can cancel, and a small executor for workers.

use crate::sync::thread::{self, Thread};
use crate::sync::{Arc, Mutex};
use crate::sync::{AtomicBool, Ordering};
use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};

use super::backlog::{JobId, JobOutcome};
use crate::sync::lock;
use crate::sync::quietly::{Panicked, quietly};
use tautline_proto::DropReason;

/// Identifies a job among the jobs of all handlers: the address of its backlog, and its id there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CurrentJob {
    pub(super) backlog: usize,
    pub(super) job: JobId,
}

thread_local! {
    /// The job that this thread runs. A handler that closes the interface must not wait for its own job.
    static CURRENT: Cell<Option<CurrentJob>> = const { Cell::new(None) };
}

/// Returns the job that this thread runs.
pub(super) fn current() -> Option<CurrentJob> {
    CURRENT.get()
}

/// Calls user code as part of this job, and catches its panic.
pub(super) fn as_current<T>(current: CurrentJob, call: impl FnOnce() -> T) -> Result<T, Panicked> {
    let before = CURRENT.replace(Some(current));
    let result = quietly(call);
    CURRENT.set(before);
    result
}

/// Cancels a job, if the job can be cancelled.
#[derive(Clone, Default)]
pub(super) struct CancelHandle(Option<Arc<CancelState>>);

#[derive(Default)]
struct CancelState {
    cancelled: AtomicBool,
    /// Wakes the task, so that it reads `cancelled`.
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

    /// Makes the task drop its future, on the thread or executor that runs it.
    ///
    /// The caller must hold no lock, because this wakes the user's executor.
    pub(super) fn cancel(&self) {
        let Some(cancel) = &self.0 else { return };
        // Release, paired with the acquire in `watch`. It publishes no other data, but the poll that this wake-up
        // causes must see the flag set.
        cancel.cancelled.store(true, Ordering::Release);
        let waker = lock(&cancel.waker).take();
        if let Some(waker) = waker {
            // If a waker panics, the executor is at fault; the driver must go on.
            let _ = quietly(|| waker.wake());
        }
    }

    /// Whether `cancel` was called. If not, a later `cancel` wakes `waker`.
    fn watch(&self, waker: &Waker) -> bool {
        let Some(cancel) = &self.0 else { return false };
        let mut kept = Some(waker.clone());
        std::mem::swap(&mut *lock(&cancel.waker), &mut kept);
        // Read after the waker is in place: an earlier `cancel` is seen here, and a later `cancel` wakes the waker.
        cancel.cancelled.load(Ordering::Acquire)
    }
}

/// The future of an async handler for one message. Its output is how the job ended. Never panics.
pub(super) struct HandlerTask<S, F> {
    stage: TaskStage<S, F>,
    current: CurrentJob,
    cancel: CancelHandle,
}

enum TaskStage<S, F> {
    /// Not polled yet. The first poll calls the handler, on the thread that runs the future.
    New(S),
    Running(F),
    Done,
}

impl<S: FnOnce() -> Result<F, DropReason>, F: Future<Output = ()> + Unpin> HandlerTask<S, F> {
    /// `start` calls the handler, or says why it must not be called any more.
    pub(super) fn new(start: S, current: CurrentJob, cancel: CancelHandle) -> Self {
        Self { stage: TaskStage::New(start), current, cancel }
    }

    /// Polls the future. Drops it as soon as it is ready, so that a panic of its destructors counts as well.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<JobOutcome> {
        let mut future = match std::mem::replace(&mut self.stage, TaskStage::Done) {
            TaskStage::New(start) => match start() {
                Ok(future) => future,
                Err(reason) => return Poll::Ready(JobOutcome::Spent(reason)),
            },
            TaskStage::Running(future) => future,
            TaskStage::Done => unreachable!("polled after it was ready"),
        };
        let poll = Pin::new(&mut future).poll(context);
        if poll.is_pending() {
            self.stage = TaskStage::Running(future);
        }
        poll.map(|()| JobOutcome::Handled)
    }
}

/// The closure is moved out before it is called, and the future is `Unpin`: nothing in the task needs a fixed address.
impl<S, F: Unpin> Unpin for HandlerTask<S, F> {}

impl<S: FnOnce() -> Result<F, DropReason>, F: Future<Output = ()> + Unpin> Future for HandlerTask<S, F> {
    type Output = JobOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<JobOutcome> {
        if self.cancel.watch(context.waker()) {
            return Poll::Ready(JobOutcome::Stopped);
        }
        let current = self.current;
        as_current(current, || self.advance(context)).unwrap_or(Poll::Ready(JobOutcome::Panicked))
    }
}

impl<S, F> Drop for HandlerTask<S, F> {
    /// Drops the rest of the user's future, and catches its panic.
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut self.stage, TaskStage::Done);
        let _ = as_current(self.current, || drop(stage));
    }
}

/// An executor that runs futures on one thread, one after the other.
pub(super) struct ThreadExecutor {
    thread_waker: Arc<ThreadWaker>,
    waker: Waker,
}

/// Wakes a thread. The flag keeps the wake-up if other code on that thread consumes the unpark token.
struct ThreadWaker {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl ThreadExecutor {
    /// Makes an executor for the calling thread.
    pub(super) fn here() -> Self {
        let thread_waker = Arc::new(ThreadWaker { thread: thread::current(), woken: AtomicBool::new(false) });
        Self { waker: Waker::from(Arc::clone(&thread_waker)), thread_waker }
    }

    /// Runs the future to its end, and parks the thread while it is pending.
    pub(super) fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(&self.waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            while !self.thread_waker.woken.swap(false, Ordering::Acquire) {
                thread::park();
            }
        }
    }
}
