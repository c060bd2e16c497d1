//! Evenly spaced sending times that do not drift.

use std::time::{Duration, Instant};

/// The times at which messages are due: evenly spaced from the start.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    period: Duration,
    /// Periods from `start` to the next one; moved into `start` now and then, so that it stays small.
    periods: u32,
}

const MOST_PERIODS: u32 = 1_000_000;

impl Pace {
    /// `rate` per second, the first one at `start`.
    pub(crate) fn new(rate: f64, start: Instant) -> Self {
        Self { start, period: Duration::from_secs_f64(1.0 / rate), periods: 0 }
    }

    /// When the next message is due.
    pub(crate) fn next(&self) -> Instant {
        self.start + self.period * self.periods
    }

    /// The next message was sent at `now`. Whoever fell behind by more than a period skips the times that
    /// have passed instead of sending a burst; returns how many.
    pub(crate) fn sent(&mut self, now: Instant) -> u64 {
        self.periods += 1;
        let behind = now.saturating_duration_since(self.next());
        let skipped = behind.as_nanos() / self.period.as_nanos().max(1);
        let skipped = u32::try_from(skipped).unwrap_or(u32::MAX).min(MOST_PERIODS);
        self.periods += skipped;
        if self.periods >= MOST_PERIODS {
            self.start = self.next();
            self.periods = 0;
        }
        u64::from(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn punctual_sending_does_not_drift() {
        let start = Instant::now();
        let mut pace = Pace::new(1000.0, start);
        for n in 0..5000 {
            assert_eq!(pace.next(), start + n * MS);
            assert_eq!(pace.sent(pace.next() + MS / 2), 0);
        }
    }

    #[test]
    fn after_a_pause_there_is_no_burst_and_the_rhythm_stays() {
        let start = Instant::now();
        let mut pace = Pace::new(1000.0, start);
        assert_eq!(pace.sent(start + 50 * MS + MS / 2), 49, "those due from 1 ms to 49 ms");
        assert_eq!(pace.next(), start + 50 * MS);
    }

    #[test]
    fn it_goes_on_for_ever() {
        let start = Instant::now();
        let mut pace = Pace::new(10_000.0, start);
        for _ in 0..MOST_PERIODS + 5 {
            pace.sent(pace.next());
        }
        assert_eq!(pace.next(), start + Duration::from_micros(100) * (MOST_PERIODS + 5));
    }
}
