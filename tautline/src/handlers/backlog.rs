//! What waits for a queued handler and what it works on: the bookkeeping, without threads or users' code.
//!
//! One lock per handler, held for a bounded number of steps: never while a handler runs, a thread is
//! started, a future is woken, or a message with its reply handle is dropped. Whoever takes something out
//! gets it handed out.

use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Settings;
use super::stats::HandlerStats;
use super::task::CancelHandle;
use crate::message::Message;
use crate::receiving::waiting::{Limits, Waiting};
use crate::sync::lock;
use tautline_proto::{DropReason, Drops, PeerId, Priority};

/// How many calls past their time limit are written off, per handler, with another worker in their place.
///
/// Beyond it they keep their workers, and the handler has fewer left.
pub(super) const MAX_ABANDONED_WORKERS: usize = 16;

/// A message for the handler.
pub(super) struct Job<R> {
    pub(super) message: Message,
    pub(super) reply: R,
}

/// A job that somebody is to work on now.
pub(super) struct Started<R> {
    pub(super) id: JobId,
    pub(super) job: Job<R>,
    pub(super) cancel: CancelHandle,
}

/// What became of a job that was to be queued.
#[must_use]
pub(super) struct Admitted<R> {
    /// It could be worked on at once.
    pub(super) ready: bool,
    /// Jobs that were dropped for it, counted: itself, one that gave way, one that it replaced.
    pub(super) dropped: [Option<Job<R>>; 2],
}

impl<R> Admitted<R> {
    const fn refused(job: Job<R>) -> Self {
        Self { ready: false, dropped: [Some(job), None] }
    }
}

/// What there is for somebody who looks for a job.
enum Found<R> {
    Started(Started<R>),
    /// One that is not worth working on any more, counted, to be dropped where no lock is held. There may be others.
    Spent(Job<R>),
    Nothing,
}

/// Names a job among all of its handler's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobId(u64);

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Handled,
    Panicked,
    /// Its future was dropped before it was ready.
    Stopped,
}

/// What became of the worker that a finished job was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is still one of the handler's workers.
    Kept,
    /// It was written off: another one takes its place.
    Lost,
}

/// Who is to come for a job that has become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Summons {
    /// Nobody: all are at work, and will look when they have finished.
    Nobody,
    /// A worker that is idle; it was notified.
    Idle,
    /// A new worker, already counted.
    New,
}

/// The bookkeeping of one handler. Outlives its closure until the counts are final.
pub(super) struct Backlog<R> {
    settings: Settings,
    /// Whether its jobs can be cancelled: the async ones.
    cancellable: bool,
    state: Mutex<State<R>>,
    /// Idle workers wait here for a permit.
    summons: Condvar,
    /// Those who close the interface wait here for running jobs.
    quiet: Condvar,
}

/// What the lock guards.
///
/// Invariants: `workers <= concurrency`; `permits <= idle <= workers`; `overdue` jobs that lost their
/// place are at most `MAX_ABANDONED_WORKERS`, so `running` is bounded too.
struct State<R> {
    waiting: Waiting<Job<R>>,
    running: Vec<Running>,
    next_job: u64,
    /// Workers of this handler, or tasks given to the spawner, without the abandoned ones.
    workers: usize,
    idle: usize,
    /// How many of the idle are called to work.
    permits: usize,
    abandoned: usize,
    /// Threads that wait on `quiet`.
    watchers: usize,
    stopped: bool,
    handled: u64,
    panicked: u64,
    timed_out: u64,
    dropped: Drops,
}

/// A job that has not returned.
struct Running {
    id: JobId,
    peer: PeerId,
    deadline: Option<Instant>,
    cancel: CancelHandle,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Within its limit.
    Active,
    /// Given up and counted; it still has its worker, or not.
    Overdue(Place),
}

impl<R> Backlog<R> {
    pub(super) fn new(settings: Settings, cancellable: bool) -> Self {
        let state = State {
            waiting: Waiting::default(),
            running: Vec::new(),
            next_job: 0,
            workers: 0,
            idle: 0,
            permits: 0,
            abandoned: 0,
            watchers: 0,
            stopped: false,
            handled: 0,
            panicked: 0,
            timed_out: 0,
            dropped: Drops::default(),
        };
        Self {
            settings,
            cancellable,
            state: Mutex::new(state),
            summons: Condvar::new(),
            quiet: Condvar::new(),
        }
    }

    /// How long a job may take.
    pub(super) fn time_limit(&self) -> Duration {
        self.settings.time_limit
    }

    /// Queues a job. Hands out the jobs that it dropped for that, and says whether the new one could be worked on at once.
    pub(super) fn admit(&self, priority: Priority, limits: Limits, job: Job<R>) -> Admitted<R> {
        let mut state = lock(&self.state);
        if state.stopped {
            state.dropped.add(DropReason::Closed, 1);
            return Admitted::refused(job);
        }
        let superseded = state.waiting.supersede(priority, &limits);
        state.dropped.add(DropReason::Superseded, u64::from(superseded.is_some()));
        let mut displaced = None;
        if state.waiting.len() >= self.settings.backlog {
            state.dropped.add(DropReason::BacklogFull, 1);
            displaced = state.waiting.evict_newest_below(priority);
            if displaced.is_none() {
                return Admitted { ready: false, dropped: [Some(job), superseded] };
            }
        }
        let ready = self.is_ready(&state.running, job.message.peer());
        let kept = state.waiting.enter(priority, limits, job);
        state.waiting.put(kept);
        Admitted { ready, dropped: [displaced, superseded] }
    }

    /// Calls somebody to work on a job that is ready.
    pub(super) fn summon(&self) -> Summons {
        let mut state = lock(&self.state);
        if state.stopped || state.waiting.len() == 0 {
            return Summons::Nobody;
        }
        if state.idle > state.permits {
            state.permits += 1;
            drop(state);
            self.summons.notify_one();
            return Summons::Idle;
        }
        if state.workers < self.settings.concurrency {
            state.workers += 1;
            return Summons::New;
        }
        Summons::Nobody
    }

    /// Takes back a worker that could not be started, or that has left.
    pub(super) fn release_worker(&self) {
        lock(&self.state).workers -= 1;
    }

    /// The next job for a worker, which waits for it; `None` when the worker is to end.
    pub(super) fn next_for_worker(&self) -> Option<Started<R>> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                state.workers -= 1;
                return None;
            }
            match self.start(&mut state) {
                Found::Started(started) => return Some(started),
                Found::Spent(job) => {
                    drop(state);
                    drop(job);
                    state = lock(&self.state);
                    continue;
                }
                Found::Nothing => {}
            }
            state.idle += 1;
            state = wait_while(&self.summons, state, |state| state.permits == 0 && !state.stopped);
            state.idle -= 1;
            state.permits = state.permits.saturating_sub(1);
        }
    }

    /// A job for the spawner, if one is ready and fewer than allowed are with it.
    pub(super) fn next_for_spawner(&self) -> Option<Started<R>> {
        loop {
            let mut state = lock(&self.state);
            if state.stopped || state.workers >= self.settings.concurrency {
                return None;
            }
            match self.start(&mut state) {
                Found::Started(started) => {
                    state.workers += 1;
                    return Some(started);
                }
                Found::Nothing => return None,
                Found::Spent(job) => {
                    drop(state);
                    drop(job);
                }
            }
        }
    }

    fn start(&self, state: &mut State<R>) -> Found<R> {
        let State { waiting, running, next_job, .. } = state;
        let Some(kept) = waiting.pop_where(|job| self.is_ready(running, job.message.peer())) else {
            return Found::Nothing;
        };
        let job = kept.item;
        if kept.limits.is_expired() {
            state.dropped.add(DropReason::Expired, 1);
            return Found::Spent(job);
        }
        let id = JobId(*next_job);
        *next_job += 1;
        let cancel = CancelHandle::new(self.cancellable);
        running.push(Running {
            id,
            peer: job.message.peer(),
            deadline: Instant::now().checked_add(self.settings.time_limit),
            cancel: cancel.clone(),
            phase: Phase::Active,
        });
        Found::Started(Started { id, job, cancel })
    }

    /// Whether a job of this peer need not wait for another one of its.
    fn is_ready(&self, running: &[Running], peer: PeerId) -> bool {
        !self.settings.ordered || running.iter().all(|job| job.peer != peer || job.phase != Phase::Active)
    }

    /// Counts how a job ended, unless it was given up before.
    pub(super) fn finish(&self, id: JobId, outcome: Outcome) -> Place {
        let mut state = lock(&self.state);
        let index = state.running.iter().position(|job| job.id == id).expect("each job ends once");
        let job = state.running.swap_remove(index);
        let place = match job.phase {
            Phase::Active => {
                state.count(outcome);
                Place::Kept
            }
            Phase::Overdue(place) => place,
        };
        state.abandoned -= usize::from(place == Place::Lost);
        let watched = state.watchers > 0;
        drop(state);
        if watched {
            self.quiet.notify_all();
        }
        place
    }

    /// Gives up jobs whose time limit has passed.
    ///
    /// Hands out how to cancel them, and when to look again: at the next limit of those at work now, or
    /// before any that starts later can pass its own.
    #[must_use]
    pub(super) fn expire(&self, now: Instant) -> (Vec<CancelHandle>, Option<Instant>) {
        let mut state = lock(&self.state);
        let overdue = state.give_up(|job| job.deadline.is_some_and(|deadline| deadline <= now));
        state.timed_out += overdue.len() as u64;
        let running = state.running.iter().filter(|job| job.phase == Phase::Active);
        let mut next = running.filter_map(|job| job.deadline).min();
        if state.waiting.len() > 0
            && let Some(earliest) = now.checked_add(self.settings.time_limit)
        {
            next = Some(next.map_or(earliest, |next| next.min(earliest)));
        }
        (overdue, next)
    }

    /// Drops what waits, counted as closed; hands it out to be dropped where no lock is held.
    pub(super) fn discard(&self) -> impl Iterator<Item = Job<R>> + use<R> {
        lock(&self.state).discard()
    }

    /// As `discard`, and takes nothing any more; idle workers end, busy ones when they have finished.
    pub(super) fn stop(&self) -> impl Iterator<Item = Job<R>> + use<R> {
        let mut state = lock(&self.state);
        state.stopped = true;
        let jobs = state.discard();
        drop(state);
        self.summons.notify_all();
        jobs
    }

    /// Waits until no job is at work, at most until `deadline`; `own` is not waited for.
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

    /// Gives up the jobs that can be cancelled, except `own`, counted as closed; hands out how.
    #[must_use]
    pub(super) fn cancel_running(&self, own: Option<JobId>) -> Vec<CancelHandle> {
        let mut state = lock(&self.state);
        let cancelled = state.give_up(|job| Some(job.id) != own && job.cancel.is_armed());
        state.dropped.add(DropReason::Closed, cancelled.len() as u64);
        cancelled
    }

    /// The counts now.
    pub(super) fn stats(&self) -> HandlerStats {
        let state = lock(&self.state);
        let running = state.active().count();
        HandlerStats {
            handled: state.handled,
            panicked: state.panicked,
            timed_out: state.timed_out,
            dropped: state.dropped,
            waiting: state.waiting.len() as u64,
            running: running as u64,
            overdue: (state.running.len() - running) as u64,
        }
    }
}

impl<R> State<R> {
    fn active(&self) -> impl Iterator<Item = &Running> {
        self.running.iter().filter(|job| job.phase == Phase::Active)
    }

    /// Takes the active jobs for which `over` holds off the books, and their places within the bound.
    fn give_up(&mut self, over: impl Fn(&Running) -> bool) -> Vec<CancelHandle> {
        let mut given_up = Vec::new();
        for job in self.running.iter_mut().filter(|job| job.phase == Phase::Active && over(job)) {
            let place = if self.abandoned < MAX_ABANDONED_WORKERS { Place::Lost } else { Place::Kept };
            let lost = usize::from(place == Place::Lost);
            self.abandoned += lost;
            self.workers -= lost;
            job.phase = Phase::Overdue(place);
            given_up.push(job.cancel.clone());
        }
        given_up
    }

    fn discard(&mut self) -> impl Iterator<Item = Job<R>> + use<R> {
        let count = self.waiting.len() as u64;
        self.dropped.add(DropReason::Closed, count);
        self.waiting.take_all()
    }

    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Handled => self.handled += 1,
            Outcome::Panicked => self.panicked += 1,
            Outcome::Stopped => self.dropped.add(DropReason::Closed, 1),
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
