//! Sends at the times that a recording tells, and measures how well it keeps them. Used by `replay` and `send --timed`.

use std::time::{Duration, Instant};

use crate::tools::interrupt::{Interrupt, LOOK_EVERY};
use crate::tools::latency::{Latencies, Percentiles};
use crate::tools::output;

/// A sleeping thread wakes late by up to this time or so. For the rest it watches the clock, so that it is not late.
const WATCH_CLOCK: Duration = Duration::from_micros(200);

/// The program tells a pause of the recording that is at least so long: otherwise it would seem to hang.
const LONG: Duration = Duration::from_secs(5);

/// The times at which recorded messages are due.
#[derive(Debug)]
pub(crate) struct Timed {
    speed: f64,
    /// When the first message was due, and its recorded time in nanoseconds.
    start: Option<(Instant, i64)>,
    due: Instant,
    errors: Latencies,
}

impl Timed {
    /// Creates times that pass `speed` times as fast as they did.
    pub(crate) fn new(speed: f64) -> Self {
        Self { speed, start: None, due: Instant::now(), errors: Latencies::new() }
    }

    /// Waits until a message with this recorded time is due, or until Ctrl-C. A message that was recorded before the one that
    /// was sent last is due at once.
    pub(crate) fn wait(&mut self, recorded: i64, interrupt: &Interrupt) {
        let (start, first) = *self.start.get_or_insert_with(|| (Instant::now(), recorded));
        let after = Duration::from_nanos(u64::try_from(recorded.saturating_sub(first)).unwrap_or(0));
        // A recording of centuries is none: it would wait for ever.
        let after = Duration::try_from_secs_f64(after.as_secs_f64() / self.speed).unwrap_or(Duration::MAX);
        self.due = start.checked_add(after).unwrap_or(self.due).max(self.due);
        let pause = self.due.saturating_duration_since(Instant::now());
        if pause >= LONG {
            output::note(format_args!("the next message is due in {pause:.0?}"));
        }
        loop {
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() || interrupt.is_asked() {
                break;
            }
            if left > WATCH_CLOCK {
                std::thread::sleep((left - WATCH_CLOCK).min(LOOK_EVERY));
            } else {
                std::hint::spin_loop();
            }
        }
        self.errors.record(Instant::now().saturating_duration_since(self.due));
    }

    /// Returns how late the messages were.
    pub(crate) fn errors(&self) -> Percentiles {
        self.errors.percentiles()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_distances_and_none_goes_back_in_time() {
        const MS: i64 = 1_000_000;
        let mut timed = Timed::new(2.0);
        let interrupt = Interrupt::never();
        let start = Instant::now();
        for (recorded, due) in [(100, 0), (120, 10), (110, 10), (140, 20)] {
            timed.wait(recorded * MS, &interrupt);
            assert!(start.elapsed() >= Duration::from_millis(due), "{recorded}");
        }
        assert!(timed.errors().max.is_some());
    }
}
