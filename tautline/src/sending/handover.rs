//! The transmit hand-over: one writer at a time, and nobody waits for it.
//!
//! A sender that finds the writer free writes itself. One that finds it busy leaves its job in the backlog
//! and goes: whoever writes takes the backlog along. So the order of writing is the order of numbers, a
//! lone sender has no hand-off, and no sender waits for another one's system call.
//!
//! Why no job is forgotten: a sender pushes its job *before* it tries the writer's lock a second time, and
//! a writer looks at the backlog *after* it released that lock. If the second try fails, the holder has not
//! released the lock yet, so its look comes after the push and finds the job. The look is at a count of the jobs, which is
//! set before the backlog's lock is released; a fence on each side keeps look and push, release and try in that order.
//!
//! The short way has no job: who finds neither a job waiting nor the writer busy has it to itself at once. Why nothing of
//! the same thread is overtaken: it looks at the count *before* it tries the lock. A job of its own that is not counted
//! any more was taken out by a holder of the writer, who has written it before the lock is free. Afterwards it looks at the
//! backlog as every writer does, also where it has written nothing.
//!
//! Lock order: `writer`, then `backlog`; the backlog's lock is held for a push or a pop only.

use std::collections::VecDeque;

use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering, fence, lock, try_lock};

/// The most jobs that one sender writes for others before it leaves the rest to the driver.
pub(crate) const MAX_RUN: usize = 64;

/// The most jobs that wait. A sender that finds the backlog full waits for the writer instead.
pub(crate) const MAX_BACKLOG: usize = 1024;

/// How many ranks there are: jobs of a higher one are written before those of a lower one.
pub(crate) const RANKS: usize = 4;

/// The highest rank: its jobs never wait for another thread's turn, nor for the driver.
pub(crate) const URGENT: usize = RANKS - 1;

/// What writes the jobs. Called by one thread at a time.
pub(crate) trait Writer {
    /// A job; the default value is an empty one, whose memory is reused.
    type Job: Default;
    /// What became of a job.
    type Outcome;

    /// Writes a job for the thread that brought it.
    fn write(&mut self, job: &mut Self::Job) -> Self::Outcome;

    /// Writes a job whose bringer has gone, or keeps it for a moment, in its place among the others, because more
    /// of them may follow; a failure must be made known here.
    fn write_queued(&mut self, job: &mut Self::Job);

    /// No more queued jobs follow for now.
    fn end_of_queue(&mut self);
}

/// What became of a job that was handed in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handed<O> {
    /// The outcome, if the calling thread wrote it; `None` if another one does.
    pub(crate) outcome: Option<O>,
    /// Jobs are left, this or others, that no thread is sure to write: the driver is to be woken.
    pub(crate) wake_driver: bool,
}

/// A writer and the jobs that wait for it.
#[derive(Debug)]
pub(crate) struct Handover<W: Writer> {
    writer: Mutex<W>,
    backlog: Mutex<Backlog<W::Job>>,
    /// How many jobs wait; written under the backlog's lock, so that who finds none need not take it.
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Backlog<J> {
    /// By rank, from the lowest to the highest.
    lanes: [VecDeque<J>; RANKS],
    /// Empty jobs whose memory is reused: as many as ever waited at once.
    spare: Vec<J>,
}

impl<J: Default> Backlog<J> {
    /// Takes the job and leaves an empty one in its place; `false` where the backlog is full.
    fn push(&mut self, job: &mut J, rank: usize) -> bool {
        if self.len() >= MAX_BACKLOG {
            return false;
        }
        let taken = std::mem::replace(job, self.spare.pop().unwrap_or_default());
        self.lanes[rank].push_back(taken);
        true
    }

    /// The next job, if it is of this rank or above.
    fn pop(&mut self, rank: usize) -> Option<J> {
        self.lanes[rank..].iter_mut().rev().find_map(VecDeque::pop_front)
    }

    /// Whether jobs of this rank or above wait.
    fn has(&self, rank: usize) -> bool {
        self.lanes[rank..].iter().any(|lane| !lane.is_empty())
    }

    fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }
}

impl<W: Writer> Handover<W> {
    pub(crate) fn new(writer: W) -> Self {
        let backlog = Backlog { lanes: Default::default(), spare: Vec::new() };
        Self { writer: Mutex::new(writer), backlog: Mutex::new(backlog), waiting: AtomicUsize::new(0) }
    }

    /// Writes the job, or leaves it to whoever is writing. It is written before all that wait and are of a lower rank, and
    /// behind those of its own.
    pub(crate) fn submit(&self, job: &mut W::Job, rank: usize) -> Handed<W::Outcome> {
        if let Some(writer) = try_lock(&self.writer) {
            return self.write_first(writer, job, rank);
        }
        if !self.push(job, rank) {
            return self.write_first(lock(&self.writer), job, rank);
        }
        Handed { outcome: None, wake_driver: self.finish_backlog(MAX_RUN) }
    }

    /// Runs `act` with the writer to itself if nobody else has it and no job waits; what it does then comes after all that this
    /// thread has handed in before. No outcome where it could not run, or gave none.
    #[inline]
    pub(crate) fn at_once<T>(&self, act: impl FnOnce(&mut W) -> Option<T>) -> Handed<T> {
        let free = if self.is_contended() { None } else { try_lock(&self.writer) };
        let Some(mut writer) = free else { return Handed { outcome: None, wake_driver: false } };
        let outcome = act(&mut writer);
        drop(writer);
        Handed { outcome, wake_driver: self.finish_backlog(MAX_RUN) }
    }

    /// Whether jobs wait for the writer; a hint, which is old when it is read, but no older than the caller's own last job.
    pub(crate) fn is_contended(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Writes what waits, at most [`MAX_RUN`] jobs; whether more waits. For the driver.
    pub(crate) fn flush(&self) -> bool {
        self.finish_backlog(MAX_RUN)
    }

    /// Writes what waits, as often as it takes to write a full backlog; whether nothing is left to the driver.
    pub(crate) fn flush_all(&self) -> bool {
        (0..=MAX_BACKLOG / MAX_RUN).any(|_| !self.flush())
    }

    /// Runs `act` with the writer to itself, once everything that waited is written. Where more comes meanwhile than one run
    /// writes, it is left: the driver [flushes](Self::flush) afterwards, senders [look](Self::is_contended) and wake it.
    pub(crate) fn exclusively<T>(&self, act: impl FnOnce(&mut W) -> T) -> T {
        let result = {
            let mut writer = lock(&self.writer);
            self.write_waiting(&mut writer, MAX_BACKLOG, 0);
            act(&mut writer)
        };
        self.finish_backlog(MAX_RUN);
        result
    }

    /// As [`exclusively`](Self::exclusively), unless somebody else has the writer.
    pub(crate) fn exclusively_if_free<T>(&self, act: impl FnOnce(&mut W) -> T) -> Option<T> {
        let result = try_lock(&self.writer).map(|mut writer| act(&mut writer));
        self.finish_backlog(MAX_RUN);
        result
    }

    fn write_first(
        &self,
        mut writer: MutexGuard<'_, W>,
        job: &mut W::Job,
        rank: usize,
    ) -> Handed<W::Outcome> {
        // This thread's earlier ones may wait, and must stay before this one.
        let most = if rank == URGENT { MAX_BACKLOG } else { MAX_RUN };
        let left = MAX_RUN.saturating_sub(self.write_waiting(&mut writer, most, rank));
        if rank < URGENT && left == 0 && lock(&self.backlog).has(rank) {
            if self.push(job, rank) {
                // Enough written for others; the driver goes on, this job in its turn.
                drop(writer);
                return Handed { outcome: None, wake_driver: self.finish_backlog(0) };
            }
            // Full, and this thread's earlier jobs may be in it.
            self.write_waiting(&mut writer, MAX_BACKLOG, rank);
        }
        let outcome = writer.write(job);
        drop(writer);
        Handed { outcome: Some(outcome), wake_driver: self.finish_backlog(left) }
    }

    /// Writes what came while the writer was held, without ever waiting for it: `left` jobs, and then those that are urgent,
    /// a full backlog of them at most. Whether something still waits that no other thread is sure to write.
    fn finish_backlog(&self, mut left: usize) -> bool {
        let mut left_urgent = MAX_BACKLOG;
        loop {
            fence(Ordering::SeqCst);
            if self.waiting.load(Ordering::Relaxed) == 0 {
                return false;
            }
            let (left, rank) = if left > 0 { (&mut left, 0) } else { (&mut left_urgent, URGENT) };
            if *left == 0 || (rank == URGENT && !lock(&self.backlog).has(URGENT)) {
                return true;
            }
            let Some(mut writer) = try_lock(&self.writer) else {
                // Its holder looks at the backlog once more after releasing it.
                return false;
            };
            *left -= self.write_waiting(&mut writer, *left, rank);
        }
    }

    /// Takes the job into the backlog; `false` where that is full.
    fn push(&self, job: &mut W::Job, rank: usize) -> bool {
        let mut backlog = lock(&self.backlog);
        let taken = backlog.push(job, rank);
        self.waiting.store(backlog.len(), Ordering::Relaxed);
        drop(backlog);
        fence(Ordering::SeqCst);
        taken
    }

    fn pop(&self, rank: usize) -> Option<W::Job> {
        let mut backlog = lock(&self.backlog);
        let job = backlog.pop(rank);
        self.waiting.store(backlog.len(), Ordering::Relaxed);
        job
    }

    /// Writes up to `most` waiting jobs of this rank and above; how many it were.
    fn write_waiting(&self, writer: &mut W, most: usize, rank: usize) -> usize {
        let mut written = 0;
        // One that is pushed after this look is found by the next one.
        while written < most && self.waiting.load(Ordering::Relaxed) > 0 {
            let Some(mut job) = self.pop(rank) else { break };
            writer.write_queued(&mut job);
            lock(&self.backlog).spare.push(job);
            written += 1;
        }
        if written > 0 {
            writer.end_of_queue();
        }
        written
    }
}
