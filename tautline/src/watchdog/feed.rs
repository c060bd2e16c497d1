//! The feed of a watchdog: the driver stores when expected traffic came last and when it is overdue, and the watchdogs'
//! thread reads that.
//!
//! The driver stores and never waits. The thread sleeps until the due time that it read, and reads again. The thread cannot
//! know how long to sleep if nothing has come yet, or if the watchdog has tripped. Only then does it ask to be woken: it
//! sets `wanted` *before* it looks at `due`, and the driver sets `due` *before* it looks at `wanted` (all four sequentially
//! consistent). So either the thread sees what came and does not sleep, or the driver sees the request and wakes it. Before
//! that, the driver tells it to look at all feeds, and not only at those that are due. `src/tests/shuttle/watchdog.rs` tries
//! the schedules.

use super::periods::{Periods, Window};
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering, thread::Thread};

/// The traffic of one watchdog. Times are nanoseconds of the interface's steady clock, never 0.
#[derive(Debug)]
pub(crate) struct Feed {
    periods: Periods,
    // These five have one writer, the driver. Order: relaxed; a reader of several looks at `due` before and after.
    last: AtomicU64,
    /// When the latest period ended.
    period_ended: AtomicU64,
    window: AtomicU64,
    /// The time from the last traffic until it is overdue.
    reach: AtomicU64,
    missed: AtomicU64,
    /// When it was armed without traffic; 0 if it was not.
    began: AtomicU64,
    /// When traffic is overdue; 0 until the watchdog is armed.
    due: AtomicU64,
    wanted: AtomicBool,
    alarm: Alarm,
}

/// Wakes the thread.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    pub(crate) thread: Thread,
    /// Tells the thread to look at all feeds. Order: set (release) before the thread is woken, taken (acquire) by it then.
    pub(crate) look_at_all: Arc<AtomicBool>,
}

impl Alarm {
    pub(crate) fn ring(&self) {
        self.look_at_all.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The state of a feed at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// When traffic is overdue.
    pub(crate) due: u64,
    /// The last traffic; 0 if there was none yet.
    pub(crate) last: u64,
    /// The time that counts as the last traffic.
    since: u64,
    window: Window,
}

impl Feed {
    /// A feed whose thread this alarm wakes.
    pub(crate) fn new(periods: Periods, alarm: Alarm) -> Self {
        Self {
            periods,
            last: AtomicU64::new(0),
            period_ended: AtomicU64::new(0),
            window: AtomicU64::new(0),
            reach: AtomicU64::new(reach(periods, Window::default())),
            missed: AtomicU64::new(0),
            began: AtomicU64::new(0),
            due: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            alarm,
        }
    }

    /// Records traffic. Only the driver calls it. It neither locks nor allocates, and makes a system call only if the thread
    /// asked to be woken.
    #[inline]
    pub(crate) fn feed(&self, now: u64) {
        let since = self.since();
        let silent = now.saturating_sub(since);
        let ended = self.period_ended.load(Ordering::Relaxed);
        if since == 0
            || silent >= self.periods.length_ns
            || now.saturating_sub(ended) >= self.periods.length_ns / 2
        {
            self.end_period(now, if since == 0 { 0 } else { silent });
        }
        self.last.store(now, Ordering::Relaxed);
        self.set_due(now, self.reach.load(Ordering::Relaxed));
    }

    /// Ends a period with a message, after the periods that passed without one.
    fn end_period(&self, now: u64, silent: u64) {
        let missed = silent / self.periods.length_ns;
        let window = Window(self.window.load(Ordering::Relaxed)).missed(missed).met();
        self.missed.store(self.missed.load(Ordering::Relaxed) + missed, Ordering::Relaxed);
        self.window.store(window.0, Ordering::Relaxed);
        self.reach.store(reach(self.periods, window), Ordering::Relaxed);
        self.period_ended.store(now, Ordering::Relaxed);
    }

    fn set_due(&self, now: u64, reach: u64) {
        self.due.store(now.saturating_add(reach), Ordering::SeqCst);
        // With a reach of 0 too many periods were missed before, and the thread has nothing to do.
        if reach > 0 {
            self.wake_if_wanted();
        }
    }

    fn wake_if_wanted(&self) {
        if self.wanted.load(Ordering::SeqCst) && self.wanted.swap(false, Ordering::SeqCst) {
            self.alarm.ring();
        }
    }

    /// Arms the watchdog, unless it is armed. Any thread may call it.
    pub(crate) fn arm(&self, now: u64) {
        if self.due.load(Ordering::SeqCst) != 0 || self.began.swap(now, Ordering::Relaxed) != 0 {
            return;
        }
        let due = now.saturating_add(reach(self.periods, Window::default()));
        // A value that the driver has set meanwhile is later.
        if self.due.compare_exchange(0, due, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.wake_if_wanted();
        }
    }

    /// Asks to be woken by the next traffic, and returns the state; `None` while not armed. Only the thread calls it.
    pub(crate) fn want(&self) -> Option<Seen> {
        self.wanted.store(true, Ordering::SeqCst);
        self.look()
    }

    /// Returns the state; `None` while not armed.
    pub(crate) fn look(&self) -> Option<Seen> {
        let mut due = self.due.load(Ordering::SeqCst);
        while due != 0 {
            let window = Window(self.window.load(Ordering::Relaxed));
            // The driver may be about to set a later `due`. The thread does not wait for that: the driver may sleep there.
            let last_of_due = due.saturating_sub(self.reach.load(Ordering::Relaxed));
            let last = self.last.load(Ordering::Relaxed).min(last_of_due);
            let since = self.since().min(last_of_due);
            let seen = Seen { due, last, since, window };
            let again = self.due.load(Ordering::SeqCst);
            if again == due {
                return Some(seen);
            }
            due = again;
        }
        None
    }

    /// The number of counted periods that are missed at `now`.
    pub(crate) fn misses(&self, seen: &Seen, now: u64) -> u32 {
        let silent = now.saturating_sub(seen.since) / self.periods.length_ns;
        self.periods.misses(seen.window.missed(silent))
    }

    /// The number of periods that were missed so far.
    pub(crate) fn missed(&self, now: u64) -> u64 {
        let before = self.missed.load(Ordering::Relaxed);
        let silent = self.look().map_or(0, |seen| now.saturating_sub(seen.since) / self.periods.length_ns);
        before + silent
    }

    fn since(&self) -> u64 {
        self.last.load(Ordering::Relaxed).max(self.began.load(Ordering::Relaxed))
    }
}

fn reach(periods: Periods, window: Window) -> u64 {
    periods.length_ns.saturating_mul(periods.until_failure(window))
}
