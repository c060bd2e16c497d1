//! The clocks of a simulated node. Each node's clocks can start at any time and run at their own speed.

use crate::time::{Instant, Now, WallTime};

/// The largest drift, faster or slower: half of the true speed.
pub const MAX_DRIFT_PPM: i32 = 500_000;

/// A node's clocks, as functions of the simulation's true time.
///
/// ```
/// use tautline_proto::Instant;
/// use tautline_proto::sim::Clock;
///
/// let fast = Clock { drift_ppm: 100, ..Clock::default() };
/// let second = Instant::from_nanos(1_000_000_000);
/// let gained = fast.read(second).steady.since(Clock::default().read(second).steady);
/// assert_eq!(gained.as_micros(), 100);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What the steady clock shows when the simulation begins.
    pub steady: Instant,
    /// What the wall clock shows when the simulation begins.
    pub wall: WallTime,
    /// How much faster than true time both clocks run, in millionths. Negative if they run slower. At most [`MAX_DRIFT_PPM`]
    /// faster or slower.
    pub drift_ppm: i32,
}

impl Default for Clock {
    /// An exact clock. The simulation begins on 2023-11-14 22:13:20 UTC.
    fn default() -> Self {
        Self {
            steady: Instant::from_nanos(1_000_000),
            wall: WallTime::from_nanos(1_700_000_000_000_000_000),
            drift_ppm: 0,
        }
    }
}

const MILLION: i128 = 1_000_000;

impl Clock {
    /// Returns what the clocks show at this true time.
    #[must_use]
    pub fn read(&self, at: Instant) -> Now {
        let passed = i128::from(at.as_nanos()) * self.speed() / MILLION;
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        Now {
            steady: Instant::from_nanos(self.steady.as_nanos().saturating_add(passed)),
            wall: WallTime::from_nanos(self.wall.as_nanos().saturating_add_unsigned(passed)),
        }
    }

    /// Returns the first true time at which the steady clock shows at least `steady`.
    #[must_use]
    pub fn when(&self, steady: Instant) -> Instant {
        let passed = i128::from(steady.as_nanos().saturating_sub(self.steady.as_nanos()));
        let at = (passed * MILLION + self.speed() - 1) / self.speed();
        Instant::from_nanos(u64::try_from(at).unwrap_or(u64::MAX))
    }

    /// Returns the speed, in millionths of true time.
    fn speed(&self) -> i128 {
        MILLION + i128::from(self.drift_ppm.clamp(-MAX_DRIFT_PPM, MAX_DRIFT_PPM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Random;

    #[test]
    fn deadline_is_at_the_first_time_that_shows_it() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            let drift_ppm = i32::try_from(random.below(2000)).expect("small") - 1000;
            let clock = Clock { drift_ppm, ..Clock::default() };
            let deadline = clock.steady.plus(core::time::Duration::from_nanos(1 + random.below(1 << 40)));
            let when = clock.when(deadline);
            assert!(clock.read(when).steady >= deadline);
            let before = Instant::from_nanos(when.as_nanos() - 1);
            assert!(clock.read(before).steady < deadline, "{drift_ppm} {deadline:?}");
        }
    }

    #[test]
    fn past_deadline_is_due_at_once() {
        assert_eq!(Clock::default().when(Instant::from_nanos(0)), Instant::from_nanos(0));
    }
}
