//! Queued handlers at work: their worker threads, and the tasks given to a user's spawner.
//!
//! Threads are started when a message needs one, up to the handler's concurrency, and stay until the
//! handler is unregistered. Nobody joins them: a handler that never returns must not keep the program from
//! ending.

use crate::sync::Arc;
use crate::sync::thread;
use std::cell::Cell;
use std::time::Instant;

use super::backlog::{Admitted, Backlog, Job, JobId, Outcome, Place, Started, Summons};
use super::handler::{HandlerFuture, Settings, Work};
use super::task::{self, BlockOn, Current, Task, as_current};
use crate::machine::realtime::off_the_drivers_cores;
use crate::receiving::waiting::Limits;
use crate::sync::quietly::{DropQuietly, quietly};
use tautline_proto::Priority;

thread_local! {
    /// The [address](Backlog::address) of the handler whose spawner this thread is calling.
    static SPAWNING: Cell<Option<usize>> = const { Cell::new(None) };
}

/// A queued handler: its closure and its backlog.
pub(super) struct Queue<R> {
    work: DropQuietly<Work<R>>,
    backlog: Arc<Backlog<R>>,
}

impl<R> Queue<R> {
    /// The bookkeeping, which outlives the closure.
    pub(super) fn backlog(&self) -> &Arc<Backlog<R>> {
        &self.backlog
    }
}

impl<R: Send + 'static> Queue<R> {
    pub(super) fn new(work: Work<R>, settings: Settings) -> Self {
        let cancellable = !matches!(work, Work::Blocking(_));
        Self { work: DropQuietly::new(work), backlog: Arc::new(Backlog::new(settings, cancellable)) }
    }

    /// Queues a message and calls somebody to work on it.
    #[inline(never)] // out of the way of inline handlers
    pub(super) fn offer(self: &Arc<Self>, priority: Priority, limits: Limits, job: Job<R>) {
        let Admitted { ready, dropped } = self.backlog.admit(priority, limits, job);
        drop(dropped);
        if ready {
            self.summon();
        }
    }

    /// Gives up the jobs past their limit; says when to look again.
    pub(super) fn expire(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let (overdue, next) = self.backlog.expire(now);
        for cancel in overdue {
            cancel.cancel();
            // The next message of its peer is ready now.
            self.summon();
        }
        next
    }

    fn summon(self: &Arc<Self>) {
        if let Work::Spawned(..) = &*self.work {
            self.spawn_tasks();
        } else if self.backlog.summon() == Summons::New {
            self.start_worker();
        }
    }

    /// A thread that the system refuses is tried again with the next message; this one waits meanwhile.
    fn start_worker(self: &Arc<Self>) {
        let queue = Arc::clone(self);
        let work = off_the_drivers_cores(move || queue.work());
        let thread = thread::Builder::new().name("tautline-handler".into()).spawn(work);
        if thread.is_err() {
            self.backlog.release_worker();
        }
    }

    /// The life of a worker.
    fn work(&self) {
        let executor = BlockOn::here();
        while let Some(started) = self.backlog.next_for_worker() {
            let id = started.id;
            let outcome = self.run(started, &executor);
            if self.backlog.finish(id, outcome) == Place::Lost {
                return;
            }
        }
    }

    fn run(&self, started: Started<R>, executor: &BlockOn) -> Outcome {
        let current = self.current(started.id);
        let Started { job: Job { message, reply }, cancel, .. } = started;
        match &*self.work {
            Work::Blocking(call) => match as_current(current, || call(message, reply)) {
                Ok(()) => Outcome::Handled,
                Err(_) => Outcome::Panicked,
            },
            Work::Async(handler) => {
                executor.run(Task::new(move || handler.start(message, reply), current, cancel))
            }
            Work::Spawned(..) => unreachable!("spawned handlers have no workers"),
        }
    }

    /// Gives the spawner every job that is ready and allowed.
    ///
    /// An executor that drops each future at once, because it has ended, gets here again from inside `spawn`: the
    /// outer call goes on then, or a long backlog would need a deep stack.
    fn spawn_tasks(self: &Arc<Self>) {
        let Work::Spawned(_, spawn) = &*self.work else { return };
        let own = Some(self.backlog.address());
        let outer = SPAWNING.replace(own);
        if outer == own {
            return;
        }
        while let Some(started) = self.backlog.next_for_spawner() {
            let future = Arc::clone(self).task(started);
            // A spawner that panics drops the future, which counts it.
            let _ = quietly(|| spawn(future));
        }
        SPAWNING.set(outer);
    }

    /// One job as a future of its own, which reports its end even when it is dropped before.
    fn task(self: Arc<Self>, started: Started<R>) -> HandlerFuture {
        let current = self.current(started.id);
        let Started { job: Job { message, reply }, cancel, id } = started;
        let queue = Arc::clone(&self);
        let start = move || match &*queue.work {
            Work::Spawned(start, _) => start(message, reply),
            _ => unreachable!("the others have workers"),
        };
        let report = Report { queue: self, id, outcome: Outcome::Stopped };
        let task = Task::new(start, current, cancel);
        Box::pin(async move {
            // In this order: the task is dropped first, then the report.
            let mut report = report;
            report.outcome = task.await;
        })
    }

    fn current(&self, job: JobId) -> Current {
        Current { backlog: self.backlog.address(), job }
    }
}

impl<R> Backlog<R> {
    /// Tells this handler's jobs from others' while it exists.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The job of this handler that the calling thread works on.
    pub(super) fn own_job(&self) -> Option<JobId> {
        task::current().filter(|current| current.backlog == self.address()).map(|current| current.job)
    }
}

/// Counts the end of a spawned job, and gives the spawner the next one.
struct Report<R: Send + 'static> {
    queue: Arc<Queue<R>>,
    id: JobId,
    outcome: Outcome,
}

impl<R: Send + 'static> Drop for Report<R> {
    fn drop(&mut self) {
        if self.queue.backlog.finish(self.id, self.outcome) == Place::Kept {
            self.queue.backlog.release_worker();
        }
        self.queue.spawn_tasks();
    }
}
