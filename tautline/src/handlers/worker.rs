//! Runs queued handlers: on worker threads, or as futures on the user's executor.
//!
//! A thread is started when a message needs it, up to the handler's concurrency. It stays until the handler is
//! unregistered. No thread joins it, because a handler that never returns must not keep the program from ending.

use crate::sync::Arc;
use crate::sync::thread;
use std::cell::Cell;
use std::time::Instant;

use super::backlog::{
    Admitted, CalledWorker, HandlerBacklog, HandlerJob, JobId, JobOutcome, StartedJob, WorkerStatus,
};
use super::handler::{HandlerFuture, HandlerSettings, QueuedCall};
use super::task::{self, CurrentJob, HandlerTask, ThreadExecutor, as_current};
use crate::machine::realtime::off_the_drivers_cores;
use crate::receiving::waiting::Limits;
use crate::sync::latches::Latches;
use crate::sync::quietly::{DropQuietly, quietly};
use tautline_proto::Priority;

thread_local! {
    /// The handler whose spawner this thread is calling, by the [address](HandlerBacklog::address) of its backlog.
    static SPAWNING: Cell<Option<usize>> = const { Cell::new(None) };
}

/// A queued handler: the user's closure and the backlog.
pub(super) struct HandlerQueue<R> {
    call: DropQuietly<QueuedCall<R>>,
    backlog: Arc<HandlerBacklog<R>>,
}

impl<R> HandlerQueue<R> {
    /// The backlog, which may outlive the closure.
    pub(super) fn backlog(&self) -> &Arc<HandlerBacklog<R>> {
        &self.backlog
    }
}

impl<R: Send + 'static> HandlerQueue<R> {
    pub(super) fn new(call: QueuedCall<R>, settings: HandlerSettings, latches: Arc<Latches>) -> Self {
        let cancellable = !matches!(call, QueuedCall::Blocking(_));
        let backlog = HandlerBacklog::new(settings, cancellable, latches);
        Self { call: DropQuietly::new(call), backlog: Arc::new(backlog) }
    }

    /// Queues a message and calls a worker, if one is needed.
    #[inline(never)] // keeps this code out of the path of inline handlers
    pub(super) fn offer(self: &Arc<Self>, priority: Priority, limits: Limits, job: HandlerJob<R>) -> bool {
        let Admitted { ready, dropped, more, superseding } = self.backlog.admit(priority, limits, job);
        drop((dropped, more));
        if ready {
            self.call_worker();
        }
        superseding
    }

    /// Abandons the jobs past their time limit. Returns when the limits must be checked again.
    pub(super) fn expire(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let (overdue, next) = self.backlog.expire(now);
        for cancel in overdue {
            cancel.cancel();
            // The next message of the same peer is ready now.
            self.call_worker();
        }
        next
    }

    fn call_worker(self: &Arc<Self>) {
        if let QueuedCall::Spawned(..) = &*self.call {
            self.spawn_tasks();
        } else if self.backlog.call_worker() == CalledWorker::New {
            self.start_worker();
        }
    }

    /// Starts a worker thread. If the system refuses, the message waits, and the next message tries again.
    fn start_worker(self: &Arc<Self>) {
        let queue = Arc::clone(self);
        let work = off_the_drivers_cores(move || queue.work());
        let thread = thread::Builder::new().name("tautline-handler".into()).spawn(work);
        if thread.is_err() {
            self.backlog.release_worker();
        }
    }

    /// The loop of a worker thread.
    fn work(&self) {
        let executor = ThreadExecutor::here();
        while let Some(started) = self.backlog.next_for_worker() {
            let id = started.id;
            let outcome = self.run(started, &executor);
            if self.backlog.finish(id, outcome) == WorkerStatus::Replaced {
                return;
            }
        }
    }

    fn run(&self, started: StartedJob<R>, executor: &ThreadExecutor) -> JobOutcome {
        let current = self.current(started.id);
        let StartedJob { job: HandlerJob { message, reply }, cancel, .. } = started;
        match &*self.call {
            QueuedCall::Blocking(call) => match as_current(current, || call(message, reply)) {
                Ok(()) => JobOutcome::Handled,
                Err(_) => JobOutcome::Panicked,
            },
            QueuedCall::Async(handler) => {
                executor.run(HandlerTask::new(move || Ok(handler.start(message, reply)), current, cancel))
            }
            QueuedCall::Spawned(..) => unreachable!("spawned handlers have no workers"),
        }
    }

    /// Gives the spawner all ready jobs, up to the concurrency.
    ///
    /// An executor that has ended drops each future at once. Then this function is called again from inside `spawn`.
    /// The inner call returns and the outer call goes on: otherwise a long backlog would need a deep stack.
    fn spawn_tasks(self: &Arc<Self>) {
        let QueuedCall::Spawned(_, spawn) = &*self.call else { return };
        let own = Some(self.backlog.address());
        let outer = SPAWNING.replace(own);
        if outer == own {
            return;
        }
        while let Some(started) = self.backlog.next_for_spawner() {
            let future = Arc::clone(self).task(started);
            // A spawner that panics drops the future, and the drop counts the message.
            let _ = quietly(|| spawn(future));
        }
        SPAWNING.set(outer);
    }

    /// Makes one job a future. It reports its end even if the executor drops it early.
    fn task(self: Arc<Self>, started: StartedJob<R>) -> HandlerFuture {
        let current = self.current(started.id);
        let StartedJob { job: HandlerJob { message, reply }, limits, cancel, id } = started;
        let queue = Arc::clone(&self);
        let start = move || match &*queue.call {
            // The executor may run it long after it was taken from the backlog.
            QueuedCall::Spawned(start, _) => match queue.backlog.spent(&limits) {
                Some(reason) => Err(reason),
                None => Ok(start(message, reply)),
            },
            _ => unreachable!("only spawned handlers make futures"),
        };
        let report = EndReport { queue: self, id, outcome: JobOutcome::Stopped };
        let task = HandlerTask::new(start, current, cancel);
        Box::pin(async move {
            // The order matters: the task is dropped first, then the report.
            let mut report = report;
            report.outcome = task.await;
        })
    }

    fn current(&self, job: JobId) -> CurrentJob {
        CurrentJob { backlog: self.backlog.address(), job }
    }
}

impl<R> HandlerBacklog<R> {
    /// The address, which identifies this handler as long as it exists.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The job of this handler that the calling thread runs.
    pub(super) fn own_job(&self) -> Option<JobId> {
        task::current().filter(|current| current.backlog == self.address()).map(|current| current.job)
    }
}

/// When dropped, counts the end of a spawned job and gives the spawner the next job.
struct EndReport<R: Send + 'static> {
    queue: Arc<HandlerQueue<R>>,
    id: JobId,
    outcome: JobOutcome,
}

impl<R: Send + 'static> Drop for EndReport<R> {
    fn drop(&mut self) {
        if self.queue.backlog.finish(self.id, self.outcome) == WorkerStatus::Kept {
            self.queue.backlog.release_worker();
        }
        self.queue.spawn_tasks();
    }
}
