//! The backlog of a queued handler: the jobs that wait, the jobs that run, and their counts. It starts no thread and
//! runs no user code.
//!
//! There is one lock for each handler. It is held for a bounded number of steps, and never while a handler runs, a
//! thread is started, a future is woken, or a message with its reply handle is dropped. So the methods return the jobs
//! that they remove, and the caller drops them after the lock is released.

use crate::sync::latches::Latches;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::HandlerSettings;
use super::stats::HandlerStats;
use super::task::CancelHandle;
use crate::message::Message;
use crate::receiving::lag::{Behind, Lag};
use crate::receiving::shares::Waits;
use crate::receiving::waiting::{Limits, Right, Step, Waiting};
use crate::sync::lock;
use tautline_proto::{DropReason, Drops, PeerId, Priority};

/// The most calls past their time limit whose workers are replaced, for each handler.
///
/// Beyond this number the workers are not replaced, and the handler has fewer workers left.
pub(super) const MAX_REPLACED_WORKERS: usize = 16;

/// A message for the handler, with its reply handle.
pub(super) struct HandlerJob<R> {
    pub(super) message: Message,
    pub(super) reply: R,
}

impl<R> Waits for HandlerJob<R> {
    fn peer(&self) -> PeerId {
        self.message.peer()
    }

    fn bytes(&self) -> usize {
        self.message.size()
    }
}

/// A job that was taken from the backlog to be run now.
pub(super) struct StartedJob<R> {
    pub(super) id: JobId,
    pub(super) job: HandlerJob<R>,
    /// For those that do not run it at once.
    pub(super) limits: Limits,
    pub(super) cancel: CancelHandle,
}

/// The result of [`HandlerBacklog::admit`].
#[must_use]
pub(super) struct Admitted<R> {
    /// The job was queued and could run at once.
    pub(super) ready: bool,
    /// Jobs that were dropped and counted: the new job itself, a displaced job of lower priority, or the superseded job
    /// of its stream.
    pub(super) dropped: [Option<HandlerJob<R>>; 2],
    /// Further displaced jobs: several small ones may make room for a large one. Allocates nothing while there are none.
    pub(super) more: Vec<HandlerJob<R>>,
    /// One of them is superseded.
    pub(super) superseding: bool,
}

impl<R> Admitted<R> {
    const fn refused(job: HandlerJob<R>) -> Self {
        Self { ready: false, dropped: [Some(job), None], more: Vec::new(), superseding: false }
    }
}

/// The next job for a worker or a spawner.
enum NextJob<R> {
    Start(StartedJob<R>),
    /// A job whose lifespan is over, or whose stream was stopped or has another owner. It is counted; the caller drops it
    /// without the lock and asks again.
    Spent(HandlerJob<R>),
    Nothing,
}

/// Identifies a job among the jobs of its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobId(u64);

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobOutcome {
    Handled,
    Panicked,
    /// The future was dropped before it was ready.
    Stopped,
    /// The message must not be handled any more: the executor ran the future too late.
    Spent(DropReason),
}

/// Whether the worker of a finished job still belongs to the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerStatus {
    /// The worker still belongs to the handler.
    Kept,
    /// Another worker has its place, because the job was past its time limit.
    Replaced,
}

/// Which worker was called for a job that has become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CalledWorker {
    /// No worker: all are busy, and look for a job when they have finished.
    None,
    /// An idle worker, which was notified.
    Idle,
    /// A new worker, which the caller starts. It is already counted.
    New,
}

/// The backlog of one handler. It may outlive the closure, until the counts are final.
pub(super) struct HandlerBacklog<R> {
    settings: HandlerSettings,
    /// Whether its jobs can be cancelled: true for async handlers.
    cancellable: bool,
    /// What may stop the messages that wait.
    latches: Arc<Latches>,
    state: Mutex<BacklogState<R>>,
    /// Idle workers wait here for a permit.
    work_ready: Condvar,
    /// Threads that close the interface wait here for running jobs.
    quiet: Condvar,
}

/// What the lock guards.
///
/// Invariants: `workers <= concurrency`; `permits <= idle <= workers`; `replaced <= MAX_REPLACED_WORKERS`, so `running`
/// is bounded too.
struct BacklogState<R> {
    waiting: Waiting<HandlerJob<R>>,
    running: Vec<RunningJob>,
    next_job: u64,
    /// Workers of this handler, or futures at the spawner, without those that were replaced.
    workers: usize,
    idle: usize,
    /// How many of the idle workers were called.
    permits: usize,
    /// Overdue jobs whose workers were replaced.
    replaced: usize,
    /// Threads that wait on `quiet`.
    watchers: usize,
    stopped: bool,
    handled: u64,
    panicked: u64,
    timed_out: u64,
    dropped: Drops,
    lag: Lag,
}

/// A job that has not returned.
struct RunningJob {
    id: JobId,
    peer: PeerId,
    /// The right of its peer, if its stream has an owner.
    right: Option<Right>,
    deadline: Option<Instant>,
    cancel: CancelHandle,
    phase: JobPhase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum JobPhase {
    /// Within its time limit.
    Active,
    /// Abandoned and counted: past its time limit, or cancelled.
    Overdue(WorkerStatus),
}

impl<R> HandlerBacklog<R> {
    pub(super) fn new(settings: HandlerSettings, cancellable: bool, latches: Arc<Latches>) -> Self {
        let state = BacklogState {
            waiting: Waiting::default(),
            running: Vec::new(),
            next_job: 0,
            workers: 0,
            idle: 0,
            permits: 0,
            replaced: 0,
            watchers: 0,
            stopped: false,
            handled: 0,
            panicked: 0,
            timed_out: 0,
            dropped: Drops::default(),
            lag: Lag::default(),
        };
        Self {
            settings,
            cancellable,
            latches,
            state: Mutex::new(state),
            work_ready: Condvar::new(),
            quiet: Condvar::new(),
        }
    }

    /// Why a job that has waited at the executor must not be run any more.
    pub(super) fn spent(&self, limits: &Limits) -> Option<DropReason> {
        limits.spent(&self.latches)
    }

    /// The time limit of a job.
    pub(super) fn time_limit(&self) -> Duration {
        self.settings.time_limit
    }

    /// Queues a job. Returns whether it could run at once, and the jobs that were dropped.
    pub(super) fn admit(&self, priority: Priority, limits: Limits, job: HandlerJob<R>) -> Admitted<R> {
        let mut state = lock(&self.state);
        if state.stopped {
            state.dropped.add(DropReason::Closed, 1);
            return Admitted::refused(job);
        }
        let superseded = state.waiting.supersede(priority, &limits);
        let superseding = superseded.is_some();
        state.dropped.add(DropReason::Superseded, u64::from(superseding));
        let (from, mut displaced, mut more) = ((job.message.peer(), job.bytes()), None, Vec::new());
        loop {
            let step = state.waiting.make_room(priority, from, self.settings.room, false);
            if matches!(step, Step::Fits) {
                break;
            }
            state.dropped.add(DropReason::BacklogFull, 1);
            match step {
                Step::Displaced(other) if displaced.is_none() => displaced = Some(other),
                Step::Displaced(other) => more.push(other),
                Step::Fits | Step::Refused => {
                    more.extend(displaced);
                    return Admitted { ready: false, dropped: [Some(job), superseded], more, superseding };
                }
            }
        }
        let ready = self.is_ready(&state.running, job.message.peer(), limits.right.as_ref());
        let entry = state.waiting.enter(priority, limits, job);
        state.waiting.put(entry);
        Admitted { ready, dropped: [displaced, superseded], more, superseding }
    }

    /// Calls a worker for a job that is ready.
    pub(super) fn call_worker(&self) -> CalledWorker {
        let mut state = lock(&self.state);
        if state.stopped || state.waiting.len() == 0 {
            return CalledWorker::None;
        }
        if state.idle > state.permits {
            state.permits += 1;
            drop(state);
            self.work_ready.notify_one();
            return CalledWorker::Idle;
        }
        if state.workers < self.settings.concurrency {
            state.workers += 1;
            return CalledWorker::New;
        }
        CalledWorker::None
    }

    /// Removes a worker that could not be started, or a future that has ended, from the count.
    pub(super) fn release_worker(&self) {
        lock(&self.state).workers -= 1;
    }

    /// Waits for the next job of a worker. Returns `None` if the worker must end.
    pub(super) fn next_for_worker(&self) -> Option<StartedJob<R>> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                state.workers -= 1;
                return None;
            }
            match self.start(&mut state) {
                NextJob::Start(started) => return Some(started),
                NextJob::Spent(job) => {
                    drop(state);
                    drop(job);
                    state = lock(&self.state);
                    continue;
                }
                NextJob::Nothing => {}
            }
            state.idle += 1;
            state = wait_while(&self.work_ready, state, |state| state.permits == 0 && !state.stopped);
            state.idle -= 1;
            state.permits = state.permits.saturating_sub(1);
        }
    }

    /// Returns a job for the spawner, if a job is ready and the spawner has fewer futures than the concurrency.
    pub(super) fn next_for_spawner(&self) -> Option<StartedJob<R>> {
        loop {
            let mut state = lock(&self.state);
            if state.stopped || state.workers >= self.settings.concurrency {
                return None;
            }
            match self.start(&mut state) {
                NextJob::Start(started) => {
                    state.workers += 1;
                    return Some(started);
                }
                NextJob::Nothing => return None,
                NextJob::Spent(job) => {
                    drop(state);
                    drop(job);
                }
            }
        }
    }

    /// Takes the next ready job out and records it as running.
    fn start(&self, state: &mut BacklogState<R>) -> NextJob<R> {
        let BacklogState { waiting, running, next_job, lag, .. } = state;
        // What a former owner has left is dropped at once.
        let is_ready = |job: &HandlerJob<R>, limits: &Limits| {
            let right = limits.right.as_ref();
            right.is_some_and(Right::is_over) || self.is_ready(running, job.message.peer(), right)
        };
        let next = waiting.pop_where(is_ready);
        lag.came(waiting.len());
        let Some(entry) = next else { return NextJob::Nothing };
        if let Some(reason) = entry.limits.spent(&self.latches) {
            state.dropped.add(reason, 1);
            return NextJob::Spent(entry.item);
        }
        let (job, limits) = (entry.item, entry.limits);
        let id = JobId(*next_job);
        *next_job += 1;
        let cancel = CancelHandle::new(self.cancellable);
        running.push(RunningJob {
            id,
            peer: job.message.peer(),
            right: limits.right.clone(),
            deadline: Instant::now().checked_add(self.settings.time_limit),
            cancel: cancel.clone(),
            phase: JobPhase::Active,
        });
        NextJob::Start(StartedJob { id, job, limits, cancel })
    }

    /// Whether a job of this peer may run now, without waiting for another job of the same peer, or of the former owner of its
    /// stream.
    fn is_ready(&self, running: &[RunningJob], peer: PeerId, right: Option<&Right>) -> bool {
        let is_before = |job: &RunningJob| {
            job.peer == peer
                || job.right.as_ref().zip(right).is_some_and(|(one, other)| one.is_of_stream(other))
        };
        !self.settings.ordered || !running.iter().any(|job| job.phase == JobPhase::Active && is_before(job))
    }

    /// Records the end of a job. Counts the outcome, unless the job was abandoned before.
    pub(super) fn finish(&self, id: JobId, outcome: JobOutcome) -> WorkerStatus {
        let mut state = lock(&self.state);
        let index = state.running.iter().position(|job| job.id == id).expect("each job ends once");
        let job = state.running.swap_remove(index);
        let worker = match job.phase {
            JobPhase::Active => {
                state.count(outcome);
                WorkerStatus::Kept
            }
            JobPhase::Overdue(worker) => worker,
        };
        state.replaced -= usize::from(worker == WorkerStatus::Replaced);
        let watched = state.watchers > 0;
        drop(state);
        if watched {
            self.quiet.notify_all();
        }
        worker
    }

    /// Abandons the jobs whose time limit has passed.
    ///
    /// Returns the handles that cancel them, and when to check again: at the earliest limit of the running jobs, and
    /// before any waiting job can pass its limit.
    #[must_use]
    pub(super) fn expire(&self, now: Instant) -> (Vec<CancelHandle>, Option<Instant>) {
        let mut state = lock(&self.state);
        let overdue = state.abandon(|job| job.deadline.is_some_and(|deadline| deadline <= now));
        state.timed_out += overdue.len() as u64;
        let running = state.running.iter().filter(|job| job.phase == JobPhase::Active);
        let mut next = running.filter_map(|job| job.deadline).min();
        if state.waiting.len() > 0
            && let Some(earliest) = now.checked_add(self.settings.time_limit)
        {
            next = Some(next.map_or(earliest, |next| next.min(earliest)));
        }
        (overdue, next)
    }

    /// Removes the waiting jobs and counts them as closed. The caller drops them without a lock.
    pub(super) fn discard(&self) -> impl Iterator<Item = HandlerJob<R>> + use<R> {
        lock(&self.state).discard()
    }

    /// As `discard`, and refuses new jobs. Idle workers end at once, busy workers when they have finished.
    pub(super) fn stop(&self) -> impl Iterator<Item = HandlerJob<R>> + use<R> {
        let mut state = lock(&self.state);
        state.stopped = true;
        let jobs = state.discard();
        drop(state);
        self.work_ready.notify_all();
        jobs
    }

    /// Waits until no job except `own` runs, at most until `deadline`. Returns whether that is so.
    pub(super) fn wait_quiet(&self, deadline: Option<Instant>, own: Option<JobId>) -> bool {
        let mut state = lock(&self.state);
        state.watchers += 1;
        while state.active().any(|job| Some(job.id) != own) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            state = wait(&self.quiet, state, left);
        }
        state.watchers -= 1;
        state.active().all(|job| Some(job.id) == own)
    }

    /// Abandons the running jobs that can be cancelled, except `own`, and counts them as closed. Returns the handles
    /// that cancel them.
    #[must_use]
    pub(super) fn cancel_running(&self, own: Option<JobId>) -> Vec<CancelHandle> {
        let mut state = lock(&self.state);
        let cancelled = state.abandon(|job| Some(job.id) != own && job.cancel.is_armed());
        state.dropped.add(DropReason::Closed, cancelled.len() as u64);
        cancelled
    }

    /// Looks whether the handler is behind for good.
    pub(super) fn look(&self) -> Option<Behind> {
        let mut state = lock(&self.state);
        let BacklogState { waiting, lag, .. } = &mut *state;
        lag.look(waiting.len(), || waiting.first().map(|job| job.message.age()))
    }

    /// Returns the current counts.
    pub(super) fn stats(&self) -> HandlerStats {
        let state = lock(&self.state);
        let running = state.active().count();
        HandlerStats {
            handled: state.handled,
            panicked: state.panicked,
            timed_out: state.timed_out,
            dropped: state.dropped,
            waiting: state.waiting.len() as u64,
            waiting_bytes: state.waiting.bytes(),
            running: running as u64,
            overdue: (state.running.len() - running) as u64,
        }
    }
}

impl<R> BacklogState<R> {
    /// The running jobs that were not abandoned.
    fn active(&self) -> impl Iterator<Item = &RunningJob> {
        self.running.iter().filter(|job| job.phase == JobPhase::Active)
    }

    /// Marks the active jobs for which `over` holds as overdue. Replaces their workers, up to `MAX_REPLACED_WORKERS`.
    fn abandon(&mut self, over: impl Fn(&RunningJob) -> bool) -> Vec<CancelHandle> {
        let mut cancel_handles = Vec::new();
        for job in self.running.iter_mut().filter(|job| job.phase == JobPhase::Active && over(job)) {
            let worker = if self.replaced < MAX_REPLACED_WORKERS {
                WorkerStatus::Replaced
            } else {
                WorkerStatus::Kept
            };
            let replaced = usize::from(worker == WorkerStatus::Replaced);
            self.replaced += replaced;
            self.workers -= replaced;
            job.phase = JobPhase::Overdue(worker);
            cancel_handles.push(job.cancel.clone());
        }
        cancel_handles
    }

    fn discard(&mut self) -> impl Iterator<Item = HandlerJob<R>> + use<R> {
        let count = self.waiting.len() as u64;
        self.dropped.add(DropReason::Closed, count);
        self.waiting.take_all()
    }

    fn count(&mut self, outcome: JobOutcome) {
        match outcome {
            JobOutcome::Handled => self.handled += 1,
            JobOutcome::Panicked => self.panicked += 1,
            JobOutcome::Stopped => self.dropped.add(DropReason::Closed, 1),
            JobOutcome::Spent(reason) => self.dropped.add(reason, 1),
        }
    }
}

fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, timeout: Option<Duration>) -> MutexGuard<'a, T> {
    match timeout {
        None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(timeout) => condvar.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0,
    }
}

fn wait_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    hold: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    condvar.wait_while(guard, hold).unwrap_or_else(PoisonError::into_inner)
}
