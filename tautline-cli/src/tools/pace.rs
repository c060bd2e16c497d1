//! Evenly spaced sending times without drift.

use std::time::{Duration, Instant};

/// The times at which messages are due. They are evenly spaced from the start.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    period: Duration,
    /// The number of periods from `start` to the next due time. It is added to `start` from time to time, so that it
    /// stays small.
    periods: u32,
}

const MOST_PERIODS: u32 = 1_000_000;

impl Pace {
    /// Creates a pace of `rate` messages per second. The first message is due at `start`.
    pub(crate) fn new(rate: f64, start: Instant) -> Self {
        Self { start, period: Duration::from_secs_f64(1.0 / rate), periods: 0 }
    }

    /// Returns the time at which the next message is due.
    pub(crate) fn next(&self) -> Instant {
        self.start + self.period * self.periods
    }

    /// Records that the next message was sent at `now`. A sender that is late by more than a period skips the times
    /// that have passed, so that it does not send a burst. Returns the number of skipped times.
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
    fn due_times_do_not_drift() {
        let start = Instant::now();
        let mut pace = Pace::new(1000.0, start);
        for n in 0..5000 {
            assert_eq!(pace.next(), start + n * MS);
            assert_eq!(pace.sent(pace.next() + MS / 2), 0);
        }
    }

    #[test]
    fn a_late_sender_skips_the_missed_times_and_keeps_the_rhythm() {
        let start = Instant::now();
        let mut pace = Pace::new(1000.0, start);
        assert_eq!(pace.sent(start + 50 * MS + MS / 2), 49, "those due from 1 ms to 49 ms");
        assert_eq!(pace.next(), start + 50 * MS);
    }

    #[test]
    fn due_times_stay_exact_beyond_the_counter_limit() {
        let start = Instant::now();
        let mut pace = Pace::new(10_000.0, start);
        for _ in 0..MOST_PERIODS + 5 {
            pace.sent(pace.next());
        }
        assert_eq!(pace.next(), start + Duration::from_micros(100) * (MOST_PERIODS + 5));
    }
}
