//! The transmit hand-over: one writer at a time, and senders do not wait for it (flat combining: Hendler, Incze, Shavit and
//! Tzafrir, SPAA 2010).
//!
//! A sender that finds the writer free writes its job itself. A sender that finds it busy puts its job into the backlog and
//! goes on: the thread that writes also writes the backlog. So the order of writing is the order of numbers, a single
//! sender has no hand-off, and no sender waits for another sender's system call.
//!
//! Why no job is forgotten: a sender pushes its job *before* it tries the writer's lock a second time, and a writer looks
//! at the backlog *after* it has released that lock. If the second try fails, the holder has not released the lock yet. So
//! its look comes after the push, and finds the job. The look reads a count of the jobs, which is set before the backlog's
//! lock is released. A fence on each side keeps push and look, and release and try, in this order.
//!
//! Fast path: the backlog is empty and the lock is free, so the sender writes without a job. Why it overtakes no job of the
//! same thread: it reads the count *before* it tries the lock. A job of its own that is not counted any more was taken out
//! by a holder of the writer, which has written it before the lock is free. Afterwards it looks at the backlog as every
//! writer does, also if it has written nothing.
//!
//! A sender that must wait for the writer waits at the turnstile. One that writes much lets go of the writer after each
//! [`MAX_RUN`] datagrams, or each [`PIECE`] of a job in pieces, and goes through the turnstile before it takes it again. The driver
//! says that it waits, and senders let it go first: so it waits for one of those at most, however many senders there are. The lock
//! alone would not do that, because whoever releases it is the first to take it again. The
//! driver leaves what waits to a sender at the turnstile, and reads meanwhile.
//!
//! Lock order: `turnstile`, `writer`, `backlog`. The turnstile's lock is held until the writer's is taken, and the backlog's
//! for a push or a pop only.

use std::collections::VecDeque;

use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, fence, lock, thread, try_lock};

/// The most datagrams, or packs, that one sender writes for others, and of a job of its own that is written in pieces. It leaves
/// the rest to the driver.
pub(crate) const MAX_RUN: usize = 64;

/// The most datagrams of a job in pieces that are written under one hold of the writer, and that the driver writes of it before it
/// reads again. What a peer has sent meanwhile, and another thread that wants the writer, wait for at most so many.
pub(crate) const PIECE: usize = 16;

/// The most that the driver writes for senders after each of its own short acts. At the end of a turn it writes [`MAX_RUN`].
const BRIEF_RUN: usize = 8;

/// The most jobs that wait. A sender that finds the backlog full waits for the writer, and writes until there is room, but no more
/// than so many datagrams or packs. If there is no room then, its own job is refused.
pub(crate) const MAX_BACKLOG: usize = 1024;

/// The number of ranks. Jobs of a higher rank are written before jobs of a lower rank.
pub(crate) const RANKS: usize = 4;

/// The highest rank. Its jobs are never left to the driver.
pub(crate) const URGENT: usize = RANKS - 1;

/// Writes the jobs. Called by one thread at a time.
pub(crate) trait Writer {
    /// A job. The default value is an empty job, whose memory is reused.
    type Job: Default;
    /// The outcome of a job.
    type Outcome;

    /// Writes a job for the thread that submitted it.
    fn write(&mut self, job: &mut Self::Job) -> Self::Outcome;

    /// Writes a job whose thread has gone on, or keeps it for a moment in its order, because more jobs may follow. Of a job
    /// with many datagrams it writes the next piece, at most `most`. A failure must be reported here.
    fn write_queued(&mut self, job: &mut Self::Job, most: usize) -> Written;

    /// Whether a job has more datagrams than one sender writes, so that it is written in pieces.
    fn is_wide(&self, job: &Self::Job) -> bool;

    /// Refuses a job that would have to wait, because too many wait.
    fn refuse(&mut self, job: &mut Self::Job) -> Self::Outcome;

    /// Called when no more queued jobs follow for now.
    fn end_of_queue(&mut self);
}

/// What was written of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// How many datagrams or packs.
    pub(crate) count: usize,
    pub(crate) is_done: bool,
}

/// The result of submitting a job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Handed<O> {
    /// The outcome, if the calling thread wrote the job; `None` if another thread does.
    pub(crate) outcome: Option<O>,
    /// Jobs are left that no thread is sure to write: the driver must be woken.
    pub(crate) wake_driver: bool,
}

/// How often a thread that streams tries to get the writer, before it leaves its job to the thread that writes. It gives its core
/// away in between: once, then twice, four times and so on.
///
/// To leave a job costs both threads more than to write it. Threads that stream are better off in turns of some microseconds: the
/// writer then stays in the caches of one core, and the receiver may get the other one. Each try takes the lock's cache line away
/// from the thread that writes, so there are few.
const TRIES: u32 = 6;

/// How often a sender gives its core away for the driver. In this time the driver wakes, so the bound matters only if the driver gets
/// no core at all.
const GIVES_WAY: u32 = 256;

/// How many pieces of a job a thread writes before it does something else.
#[derive(Clone, Copy, Debug)]
enum Pieces {
    One,
    Many,
}

/// A writer and the jobs that wait for it.
#[derive(Debug)]
// In this order, so that what every message uses shares few cache lines.
#[repr(C)]
pub(crate) struct Handover<W: Writer> {
    /// How many jobs wait. Written under the backlog's lock; a thread that reads 0 need not take that lock.
    waiting: AtomicUsize,
    /// The driver waits for the writer. A hint, relaxed: it decides who takes the writer next, and nothing else.
    driver_waits: AtomicBool,
    writer: Mutex<W>,
    /// Held by the one sender that waits for the writer next.
    turnstile: Mutex<()>,
    backlog: Mutex<Backlog<W::Job>>,
}

#[derive(Debug)]
struct Backlog<J> {
    /// One lane for each rank, from the lowest to the highest.
    lanes: [VecDeque<J>; RANKS],
    /// Empty jobs whose memory is reused: as many as waited at once so far.
    spare: Vec<J>,
}

impl<J: Default> Backlog<J> {
    /// Takes the job and leaves an empty job in its place. Returns `false` if the backlog is full.
    fn push(&mut self, job: &mut J, rank: usize) -> bool {
        if self.len() >= MAX_BACKLOG {
            return false;
        }
        let taken = std::mem::replace(job, self.spare.pop().unwrap_or_default());
        self.lanes[rank].push_back(taken);
        true
    }

    /// Takes the next job of this rank or above, with its rank.
    fn pop(&mut self, rank: usize) -> Option<(J, usize)> {
        (rank..RANKS).rev().find_map(|rank| Some((self.lanes[rank].pop_front()?, rank)))
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
        let (writer, turnstile) = (Mutex::new(writer), Mutex::new(()));
        let (waiting, driver_waits) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { writer, turnstile, driver_waits, backlog: Mutex::new(backlog), waiting }
    }

    /// Writes the job, or leaves it to the thread that is writing; later if it is part of a stream. It is written before all waiting jobs of a lower rank,
    /// and after those of its own rank.
    pub(crate) fn submit(
        &self,
        job: &mut W::Job,
        rank: usize,
        streams: impl Fn() -> bool,
    ) -> Handed<W::Outcome> {
        if let Some(writer) = in_turn(streams, || try_lock(&self.writer)) {
            return self.write_first(writer, job, rank);
        }
        if !self.push(job, rank) {
            return self.write_first(self.wait_for_writer(), job, rank);
        }
        Handed { outcome: None, wake_driver: self.finish_backlog(MAX_RUN) }
    }

    /// Fast path: runs `act` on the writer if the writer is free and no job waits. `act` then comes after everything that
    /// this thread submitted before. No outcome if `act` did not run, or returned `None`.
    #[inline]
    pub(crate) fn at_once<T>(
        &self,
        streams: impl Fn() -> bool,
        act: impl FnOnce(&mut W) -> Option<T>,
    ) -> Handed<T> {
        let free = in_turn(streams, || if self.is_contended() { None } else { try_lock(&self.writer) });
        let Some(mut writer) = free else { return Handed { outcome: None, wake_driver: false } };
        let outcome = act(&mut writer);
        drop(writer);
        Handed { outcome, wake_driver: self.finish_backlog(MAX_RUN) }
    }

    /// Whether jobs wait for the writer. A hint: it may be out of date, but it is not older than the caller's own last job.
    pub(crate) fn is_contended(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Writes of the waiting jobs at most [`MAX_RUN`], and one [`PIECE`] of a job in pieces. Returns whether more wait. For the
    /// driver.
    pub(crate) fn flush(&self) -> bool {
        self.jobs_wait() && self.write_left_jobs(MAX_RUN, Pieces::One)
    }

    /// Writes waiting jobs, at most a full backlog. Returns whether nothing is left to the driver.
    pub(crate) fn flush_all(&self) -> bool {
        (0..=MAX_BACKLOG / PIECE).any(|_| !self.flush())
    }

    /// Waits for the writer, and runs `act`, which need not come after what was submitted before. For the driver: it is never
    /// kept from reading for long. It [flushes](Self::flush) at the end of its turn.
    pub(crate) fn briefly<T>(&self, act: impl FnOnce(&mut W) -> T) -> T {
        let result = act(&mut self.wait_as_driver());
        if self.jobs_wait() {
            self.write_left_jobs(BRIEF_RUN, Pieces::One);
        }
        result
    }

    /// Waits for the writer, writes the waiting jobs in turns with other senders (of jobs in pieces, [`MAX_BACKLOG`] datagrams or
    /// packs), and runs `act`. Jobs that come meanwhile are written up to [`MAX_RUN`]. The rest is left: the driver
    /// [flushes](Self::flush) afterwards, and a sender [looks](Self::is_contended) and wakes the driver.
    pub(crate) fn exclusively<T>(&self, act: impl FnOnce(&mut W) -> T) -> T {
        let writer = try_lock(&self.writer).unwrap_or_else(|| self.wait_for_writer());
        let (mut writer, ..) = self.write_in_turns(writer, MAX_BACKLOG, 0);
        let result = act(&mut writer);
        drop(writer);
        self.finish_backlog(MAX_RUN);
        result
    }

    /// As [`exclusively`](Self::exclusively), but only if the writer is free.
    pub(crate) fn exclusively_if_free<T>(&self, act: impl FnOnce(&mut W) -> T) -> Option<T> {
        let result = try_lock(&self.writer).map(|mut writer| act(&mut writer));
        self.finish_backlog(MAX_RUN);
        result
    }

    fn wait_for_writer(&self) -> MutexGuard<'_, W> {
        self.let_driver_write();
        let _turn = lock(&self.turnstile);
        lock(&self.writer)
    }

    /// As [`wait_for_writer`](Self::wait_for_writer), for the driver. It does not stand in line with senders.
    fn wait_as_driver(&self) -> MutexGuard<'_, W> {
        if let Some(writer) = try_lock(&self.writer) {
            return writer;
        }
        self.driver_waits.store(true, Ordering::Relaxed);
        let writer = lock(&self.writer);
        self.driver_waits.store(false, Ordering::Relaxed);
        writer
    }

    /// Called without the writer, by a sender that has written a piece, or waits. While the driver waits for the writer, it gives its
    /// core away: whoever releases a lock is the first to take it again.
    fn let_driver_write(&self) {
        for _ in 0..GIVES_WAY {
            if !self.driver_waits.load(Ordering::Relaxed) {
                break;
            }
            thread::yield_now();
        }
    }

    fn write_first(&self, writer: MutexGuard<'_, W>, job: &mut W::Job, rank: usize) -> Handed<W::Outcome> {
        // Earlier jobs of this thread may wait. They must be written first.
        let most = if rank == URGENT { MAX_BACKLOG } else { MAX_RUN };
        let (mut writer, written, mut is_first) = self.write_in_turns(writer, most, rank);
        let left = MAX_RUN.saturating_sub(written);
        if !is_first || writer.is_wide(job) {
            if self.push(job, rank) {
                // This thread has written enough for others, or has much to write. It goes on as far as it may, the driver
                // writes the rest, and all is written in its order.
                drop(writer);
                return Handed { outcome: None, wake_driver: self.finish_backlog(left) };
            }
            // The backlog is full, and may hold earlier jobs of this thread. So it writes until there is room.
            let mut helped = 0;
            loop {
                let (count, is_done) = self.write_waiting(&mut writer, MAX_RUN, rank);
                helped += count;
                is_first = is_done && count < MAX_RUN;
                if is_first && !writer.is_wide(job) {
                    break;
                }
                let is_pushed = self.push(job, rank);
                if is_pushed || is_first || helped >= MAX_BACKLOG {
                    let outcome = if is_pushed { None } else { Some(writer.refuse(job)) };
                    drop(writer);
                    return Handed { outcome, wake_driver: self.finish_backlog(left) };
                }
                drop(writer);
                writer = self.wait_for_writer();
            }
        }
        let outcome = writer.write(job);
        drop(writer);
        Handed { outcome: Some(outcome), wake_driver: self.finish_backlog(left) }
    }

    /// Writes the jobs that came while the writer was held, without waiting for the writer: `left` jobs, and then urgent
    /// jobs, at most a full backlog. Returns whether jobs still wait that no other thread is sure to write.
    #[inline]
    fn finish_backlog(&self, left: usize) -> bool {
        self.jobs_wait() && self.write_left_jobs(left, Pieces::Many)
    }

    /// Whether jobs wait that came while the writer was held.
    #[inline]
    fn jobs_wait(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waiting.load(Ordering::Relaxed) > 0
    }

    #[inline(never)]
    fn write_left_jobs(&self, mut left: usize, pieces: Pieces) -> bool {
        if matches!(pieces, Pieces::One) && try_lock(&self.turnstile).is_none() {
            // A sender waits for the writer. It looks at the backlog once more after it has had the writer.
            return false;
        }
        let mut left_urgent = MAX_BACKLOG;
        loop {
            let (left, rank) = if left > 0 { (&mut left, 0) } else { (&mut left_urgent, URGENT) };
            if *left == 0 || (rank == URGENT && !lock(&self.backlog).has(URGENT)) {
                return true;
            }
            let Some(mut writer) = try_lock(&self.writer) else {
                // The holder looks at the backlog once more after it has released the writer.
                return false;
            };
            let (written, is_done) = self.write_waiting(&mut writer, *left, rank);
            *left = left.saturating_sub(written);
            drop(writer);
            if !self.jobs_wait() {
                return false;
            }
            match pieces {
                Pieces::One if !is_done => return true,
                _ if !is_done => self.let_driver_write(),
                _ => {}
            }
        }
    }

    /// Puts the job into the backlog. Returns `false` if the backlog is full.
    fn push(&self, job: &mut W::Job, rank: usize) -> bool {
        let mut backlog = lock(&self.backlog);
        let taken = backlog.push(job, rank);
        self.waiting.store(backlog.len(), Ordering::Relaxed);
        drop(backlog);
        fence(Ordering::SeqCst);
        taken
    }

    fn pop(&self, rank: usize) -> Option<(W::Job, usize)> {
        let mut backlog = lock(&self.backlog);
        let job = backlog.pop(rank);
        self.waiting.store(backlog.len(), Ordering::Relaxed);
        job
    }

    /// Puts back a job of which a piece is left. It is the next of its rank, also if the backlog is full meanwhile.
    #[cold]
    fn put_back(&self, job: W::Job, rank: usize) {
        let mut backlog = lock(&self.backlog);
        backlog.lanes[rank].push_front(job);
        self.waiting.store(backlog.len(), Ordering::Relaxed);
    }

    /// As [`write_waiting`](Self::write_waiting), but goes on after a piece, and lets others who wait for the writer have it after
    /// each piece and each [`MAX_RUN`] datagrams. Returns how many were written, and whether no job is left that a new job of this rank would overtake.
    fn write_in_turns<'a>(
        &'a self,
        mut writer: MutexGuard<'a, W>,
        most: usize,
        rank: usize,
    ) -> (MutexGuard<'a, W>, usize, bool) {
        let mut written = 0;
        loop {
            let (count, is_done) = self.write_waiting(&mut writer, MAX_RUN.min(most - written), rank);
            written += count;
            if (is_done && count < MAX_RUN) || written >= most {
                // If not all was written, jobs of this thread may wait among the rest.
                let is_first = is_done && (written < most || !lock(&self.backlog).has(rank));
                return (writer, written, is_first);
            }
            drop(writer);
            writer = self.wait_for_writer();
        }
    }

    /// Writes up to `most` datagrams or packs of the waiting jobs of this rank and above, up to the end of a piece. Returns how
    /// many, and whether no piece of a job is left that it has begun.
    fn write_waiting(&self, writer: &mut W, most: usize, rank: usize) -> (usize, bool) {
        let (mut written, mut is_done) = (0, true);
        // A job that is pushed after this look is found by the next look.
        while written < most && is_done && self.waiting.load(Ordering::Relaxed) > 0 {
            let Some((mut job, rank)) = self.pop(rank) else { break };
            let piece = writer.write_queued(&mut job, PIECE.min(most - written));
            written += piece.count.max(1);
            is_done = piece.is_done;
            if is_done {
                lock(&self.backlog).spare.push(job);
            } else {
                self.put_back(job, rank);
            }
        }
        if written > 0 {
            writer.end_of_queue();
        }
        (written, is_done)
    }
}

/// Returns what `find` finds. If it finds nothing and the thread streams, tries again when other threads had the core.
#[inline]
fn in_turn<T>(streams: impl Fn() -> bool, find: impl Fn() -> Option<T>) -> Option<T> {
    find().or_else(|| if streams() { try_again(find) } else { None })
}

#[cold]
fn try_again<T>(find: impl Fn() -> Option<T>) -> Option<T> {
    (0..TRIES).find_map(|count| {
        (0..1 << count).for_each(|_| thread::yield_now());
        find()
    })
}
