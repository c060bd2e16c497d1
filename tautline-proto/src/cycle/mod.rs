//! The times of a control loop's cycles, as a pure state machine: times go in, the next deadline comes out.
//!
//! A [`Schedule`] has absolute deadlines, one period apart. It never drifts, however late the loop wakes. It can also
//! follow a peer: then a phase-locked loop (`lock.rs`) keeps the deadlines at a constant distance from the time stamps of the
//! peer's messages, although the two clocks run at different speeds.
//!
//! The `tautline` crate's `Cycle` calls it, and tests do in simulated time. It reads no clock and does not sleep.

mod lock;

use core::time::Duration;

pub use lock::{Following, LockState};
use lock::{Observation, PhaseLock};

use crate::time::{Instant, duration_ns};

/// The shortest and the longest period.
pub const MIN_PERIOD: Duration = Duration::from_micros(10);
/// See [`MIN_PERIOD`].
pub const MAX_PERIOD: Duration = Duration::from_secs(3600);

/// One wake-up of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wake {
    /// The number of the cycle, from 1. Missed cycles count.
    pub number: u64,
    /// When the cycle was due. If cycles were missed, this is the latest deadline that has passed.
    pub deadline: Instant,
    /// How late the loop woke, after `deadline`. Always less than a period.
    pub phase: Duration,
    /// The cycles before this one whose deadlines have passed without a wake-up of their own.
    pub missed: u64,
}

/// The deadlines of one loop.
///
/// ```
/// use core::time::Duration;
/// use tautline_proto::Instant;
/// use tautline_proto::cycle::Schedule;
///
/// let at = |us: u64| Instant::from_nanos(us * 1_000);
/// let mut schedule = Schedule::new(Duration::from_millis(1), at(0));
/// assert!(schedule.wake(at(999)).is_none(), "not due yet");
/// let wake = schedule.wake(at(1_020)).expect("due");
/// assert_eq!((wake.phase.as_micros(), wake.missed), (20, 0));
/// // The loop was held up for 50 ms: one wake-up, and not fifty.
/// let wake = schedule.wake(at(51_300)).expect("due");
/// assert_eq!((wake.number, wake.phase.as_micros(), wake.missed), (51, 300, 49));
/// assert_eq!(schedule.deadline(), at(52_000));
/// ```
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The nominal period in nanoseconds.
    period: u64,
    next: Instant,
    /// The number of the cycle that is due at `next`.
    number: u64,
    /// The part of a nanosecond by which `next` is too early.
    fraction: f64,
    lock: Option<PhaseLock>,
    /// The time of the latest message of the peer that no cycle has used yet.
    heard: Option<Instant>,
}

impl Schedule {
    /// Begins a schedule whose first deadline is one period after `now`. A period outside [`MIN_PERIOD`] and [`MAX_PERIOD`]
    /// becomes the nearest of the two.
    #[must_use]
    pub fn new(period: Duration, now: Instant) -> Self {
        let period = period.clamp(MIN_PERIOD, MAX_PERIOD);
        Self {
            period: duration_ns(period),
            next: now.plus(period),
            number: 1,
            fraction: 0.0,
            lock: None,
            heard: None,
        }
    }

    /// Returns when the next cycle is due.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.next
    }

    /// Returns the nominal period.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// Follows a peer from now on: each deadline shall come `offset` after a time stamp of its messages. Only the remainder
    /// of `offset` in a period matters.
    pub fn follow(&mut self, offset: Duration) {
        let offset = u64::try_from(offset.as_nanos() % u128::from(self.period)).unwrap_or(0);
        // The rate of a former peer is a better guess than none.
        let rate = self.lock.as_ref().map_or(0.0, PhaseLock::rate);
        self.lock = Some(PhaseLock::new(offset, rate));
        self.heard = None;
    }

    /// Follows no peer any more. The next deadlines are one nominal period apart.
    pub fn unfollow(&mut self) {
        (self.lock, self.heard) = (None, None);
    }

    /// Returns how well the schedule follows its peer, or `None` if it does not follow.
    #[must_use]
    pub fn following(&self) -> Option<Following> {
        self.lock.as_ref().map(|lock| lock.report(self.period))
    }

    /// Records a message of the peer that was made at `made`, on the clock of this schedule. Of the messages between two
    /// cycles, the last one counts.
    pub const fn heard(&mut self, made: Instant) {
        self.heard = Some(made);
    }

    /// Begins the cycle that is due, or returns `None` if `now` is before its deadline.
    pub fn wake(&mut self, now: Instant) -> Option<Wake> {
        if now < self.next {
            return None;
        }
        let missed = self.passed(now.as_nanos() - self.next.as_nanos());
        self.advance(missed, 0.0);
        let (number, deadline) = (self.number, self.next);
        let shift = self.correct(missed + 1);
        self.advance(1, shift);
        Some(Wake { number, deadline, phase: now.since(deadline), missed })
    }

    /// Returns how many whole periods are in a time.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // both are positive and far below 2^63
    fn passed(&self, ns: u64) -> u64 {
        if self.rate() == 0.0 { ns / self.period } else { (ns as f64 / self.exact_period()) as u64 }
    }

    /// Moves the next deadline on by some cycles, and by `shift` nanoseconds.
    #[allow(clippy::cast_possible_truncation)] // far below 2^63
    fn advance(&mut self, cycles: u64, shift: f64) {
        let whole = self.period.saturating_mul(cycles);
        // The whole periods are exact, and only the correction is rounded. Its rest is kept, so that nothing adds up.
        let correction = cycles as f64 * self.rate() * self.period as f64 + shift + self.fraction;
        let mut rounded = correction as i64;
        if correction < rounded as f64 {
            rounded -= 1;
        }
        self.fraction = correction - rounded as f64;
        let next = self.next.as_nanos().saturating_add(whole).saturating_add_signed(rounded);
        (self.next, self.number) = (Instant::from_nanos(next), self.number + cycles);
    }

    /// Passes the latest message to the phase-locked loop, `cycles` after the last call. Returns the correction of the next
    /// deadline in nanoseconds.
    fn correct(&mut self, cycles: u64) -> f64 {
        let exact_period = self.exact_period();
        let Some(lock) = &mut self.lock else { return 0.0 };
        let Some(heard) = self.heard.take() else {
            lock.silent(cycles);
            return 0.0;
        };
        let target = heard.as_nanos().saturating_add(lock.offset());
        let distance = target.wrapping_sub(self.next.as_nanos()).cast_signed() as f64;
        let error = distance - nearest_whole(distance / exact_period) * exact_period;
        lock.observe(&Observation { error, cycles, period: self.period as f64 })
    }

    fn rate(&self) -> f64 {
        self.lock.as_ref().map_or(0.0, PhaseLock::rate)
    }

    fn exact_period(&self) -> f64 {
        self.period as f64 * (1.0 + self.rate())
    }
}

/// Returns the nearest whole number. (`f64::round` needs the standard library.)
#[allow(clippy::cast_possible_truncation)] // beyond 2^63 it saturates
fn nearest_whole(value: f64) -> f64 {
    (value + if value < 0.0 { -0.5 } else { 0.5 }) as i64 as f64
}

#[cfg(test)]
mod tests;
