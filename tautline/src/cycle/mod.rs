//! Cycles of a control loop: absolute deadlines that never drift, and that can follow a peer's messages.
//!
//! Users hold a [`Cycle`]; `interface` connects it with links and with the caller's driver. `driver` tells [`Followers`] when
//! messages were made. The arithmetic is [`tautline_proto::cycle`]. Uses `machine` (sleeping, clocks), `config` and `sync`.

pub(crate) mod alarm;
mod followers;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::config::Selector;
use crate::machine::clock::Clock;
use crate::machine::sleep::{Sleeper, wake_exactly};
use crate::sync::Arc;
use alarm::Alarm;
use followers::Follower;
pub(crate) use followers::Followers;
use tautline_proto::cycle::{Following, MAX_PERIOD, MIN_PERIOD, Schedule};

/// By default a wake-up is late if it comes later than this part of the period.
const LATE_PART: u32 = 10;

/// One wake-up of a [`Cycle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wake {
    /// The number of the cycle, from 1. Missed cycles count.
    pub number: u64,
    /// When the cycle was due. If cycles were missed, this is the latest deadline that has passed.
    pub deadline: Instant,
    /// How late the loop woke, after `deadline`. Always less than a period.
    pub phase: Duration,
    /// Whether `phase` is larger than [`Cycle::late_after`] allows.
    pub is_late: bool,
    /// The cycles before this one whose deadlines have passed without a wake-up of their own. A loop that was stopped for
    /// 50 periods gets one wake-up with 49 missed cycles, and not 50 wake-ups.
    pub missed: u64,
}

/// What a [`Cycle`] has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CycleStats {
    /// The wake-ups.
    pub wakes: u64,
    /// The wake-ups that were late.
    pub late: u64,
    /// The cycles without a wake-up. `wakes + missed` cycles are over.
    pub missed: u64,
    /// The largest phase so far.
    pub max_phase: Duration,
}

/// Why a [`Cycle`] cannot have this period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodError {
    period: Duration,
}

impl fmt::Display for PeriodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a cycle cannot take {:?}: its period is at least {MIN_PERIOD:?} and at most {MAX_PERIOD:?}",
            self.period
        )
    }
}

impl std::error::Error for PeriodError {}

/// The clock of a control loop: wakes the loop once in each period.
///
/// The deadlines are absolute times of the steady clock, one period apart from the beginning. A loop that takes longer, or
/// wakes late, moves none of them. So the loop never drifts. A cycle that is missed is not made up for: the loop wakes once,
/// and [`Wake::missed`] says how many deadlines have passed. The next wake-up is on time again.
///
/// There are three ways to wait. [`wait`](Self::wait) blocks the thread. [`wait_async`](Self::wait_async) works on every
/// executor. [`Driver::turn_until`](crate::Driver::turn_until) waits for datagrams too, in a loop that is its own driver.
///
/// ```
/// use std::time::Duration;
/// use tautline::Cycle;
///
/// let mut cycle = Cycle::every(Duration::from_millis(1))?;
/// for _ in 0..5 {
///     let wake = cycle.wait();
///     if wake.missed > 0 {
///         println!("{} cycles were missed", wake.missed);
///     }
///     // ... read, compute, send
/// }
/// assert_eq!(cycle.stats().wakes, 5);
/// # Ok::<(), tautline::PeriodError>(())
/// ```
///
/// On Linux, the first wait of a thread sets the timer slack of that thread to 1 ns (prctl(2), PR_SET_TIMERSLACK). Otherwise
/// the kernel would add up to 50 us to each wait of a thread without real-time priority.
#[derive(Debug)]
pub struct Cycle {
    schedule: Schedule,
    clock: Clock,
    sleeper: Sleeper,
    late_after: Duration,
    stats: CycleStats,
    follows: Option<Follows>,
    alarm: Option<Alarm>,
}

/// The messages that a cycle follows. Dropping it ends that.
#[derive(Debug)]
struct Follows {
    followers: Arc<Followers>,
    follower: Arc<Follower>,
}

impl Drop for Follows {
    fn drop(&mut self) {
        self.followers.remove(&self.follower);
    }
}

impl Cycle {
    /// Begins now. The first deadline is one period from now.
    ///
    /// # Errors
    ///
    /// The period is shorter than 10 us or longer than an hour.
    pub fn every(period: Duration) -> Result<Self, PeriodError> {
        if !(MIN_PERIOD..=MAX_PERIOD).contains(&period) {
            return Err(PeriodError { period });
        }
        let clock = Clock::start();
        Ok(Self {
            schedule: Schedule::new(period, clock.steady(Instant::now())),
            clock,
            sleeper: Sleeper::new(),
            late_after: period / LATE_PART,
            stats: CycleStats::default(),
            follows: None,
            alarm: None,
        })
    }

    /// Sets from which phase on a wake-up counts as late: a tenth of the period, unless set.
    #[must_use]
    pub const fn late_after(mut self, phase: Duration) -> Self {
        self.late_after = phase;
        self
    }

    /// Blocks until the next deadline, or returns at once if it has passed.
    pub fn wait(&mut self) -> Wake {
        loop {
            self.sleeper.sleep_until(self.deadline());
            if let Some(wake) = self.wake_if_due() {
                return wake;
            }
        }
    }

    /// Waits as [`wait`](Self::wait) does, on any executor. Dropping the future loses nothing: the deadline stays.
    ///
    /// A thread of the cycle's own wakes the task. It is started by the first call, has ordinary priority, and ends with the
    /// cycle. If the system starts no thread, the task is polled again and again until the deadline.
    pub const fn wait_async(&mut self) -> CycleWait<'_> {
        CycleWait { cycle: self }
    }

    /// Returns when the next cycle is due, for loops with a wait of their own. Call [`wait`](Self::wait) then, which returns
    /// at once.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.clock.instant(self.schedule.deadline())
    }

    /// Returns the nominal period.
    #[must_use]
    pub const fn period(&self) -> Duration {
        self.schedule.period()
    }

    /// Returns what was counted so far.
    #[must_use]
    pub const fn stats(&self) -> CycleStats {
        self.stats
    }

    /// Follows no peer any more. The deadlines go on from the present one, with the nominal period.
    pub fn unfollow(&mut self) {
        self.follows = None;
        self.schedule.unfollow();
    }

    /// Returns how well the cycle follows its peer; `None` if it does not follow one.
    #[must_use]
    pub fn following(&self) -> Option<Following> {
        self.schedule.following()
    }

    /// Follows messages whose times come through `followers`.
    pub(crate) fn follow_by(&mut self, followers: &Arc<Followers>, messages: Selector, offset: Duration) {
        let follower = Arc::new(Follower::new(messages, self.clock, self.schedule.period()));
        followers.add(&follower);
        self.follows = Some(Follows { followers: Arc::clone(followers), follower });
        self.schedule.follow(offset);
    }

    /// Prepares the calling thread for a wait, and returns the time until the deadline; `None` if it has passed.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        wake_exactly();
        Some(self.deadline().saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Begins the cycle that is due, if one is.
    fn wake_if_due(&mut self) -> Option<Wake> {
        if let Some(made) = self.follows.as_ref().and_then(|follows| follows.follower.take()) {
            self.schedule.heard(made);
        }
        let wake = self.schedule.wake(self.clock.steady(Instant::now()))?;
        let tautline_proto::cycle::Wake { number, deadline, phase, missed, .. } = wake;
        let deadline = self.clock.instant(deadline);
        let wake = Wake { number, deadline, phase, is_late: phase > self.late_after, missed };
        self.stats.wakes += 1;
        self.stats.late += u64::from(wake.is_late);
        self.stats.missed += missed;
        self.stats.max_phase = self.stats.max_phase.max(phase);
        Some(wake)
    }
}

/// The future of [`Cycle::wait_async`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct CycleWait<'a> {
    cycle: &'a mut Cycle,
}

impl Future for CycleWait<'_> {
    type Output = Wake;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Wake> {
        let cycle = &mut *self.cycle;
        if let Some(wake) = cycle.wake_if_due() {
            return Poll::Ready(wake);
        }
        if cycle.alarm.is_none() {
            cycle.alarm = Alarm::start().ok();
        }
        match &cycle.alarm {
            Some(alarm) => alarm.set(cycle.deadline(), context.waker()),
            None => context.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}
