//! Limits for log lines: at most ten in a second, however much a stranger sends, and the same fault once in a minute.

use crate::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// The most lines in a second.
const LINES_PER_SECOND: u32 = 10;

/// Decides which log lines may be written.
#[derive(Debug, Default)]
pub(crate) struct LineLimit(Mutex<LineCounts>);

#[derive(Debug, Default)]
struct LineCounts {
    /// When the current second began.
    second: Option<Instant>,
    /// The lines of this second.
    written: u32,
    /// The lines left out since the last written line.
    left_out: u64,
}

impl LineLimit {
    /// Returns `None` if no line may be written now. Otherwise returns how many lines were left out since the last
    /// line.
    pub(crate) fn allow(&self, now: Instant) -> Option<u64> {
        let mut counts = lock(&self.0);
        if counts.second.is_none_or(|begun| now.saturating_duration_since(begun) >= Duration::from_secs(1)) {
            counts.second = Some(now);
            counts.written = 0;
        }
        if counts.written == LINES_PER_SECOND {
            counts.left_out += 1;
            return None;
        }
        counts.written += 1;
        Some(std::mem::take(&mut counts.left_out))
    }
}

/// For how long a line that was written is not written again.
const SILENCE: Duration = Duration::from_secs(60);

/// The most lines that are remembered.
const MOST_TOLD: usize = 16;

/// Remembers what was said, so that a fault that lasts does not fill the log with one line.
#[derive(Debug)]
pub(crate) struct Repeats<K>(Vec<(K, Instant)>);

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq> Repeats<K> {
    /// Whether this was not said in the last minute. The caller then says it.
    pub(crate) fn is_news(&mut self, what: K, now: Instant) -> bool {
        self.0.retain(|(_, at)| now.saturating_duration_since(*at) < SILENCE);
        if self.0.iter().any(|(told, _)| *told == what) {
            return false;
        }
        if self.0.len() == MOST_TOLD {
            self.0.remove(0);
        }
        self.0.push((what, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_lasts_is_told_once_in_a_minute_and_another_fault_at_once() {
        let (mut told, start) = (Repeats::default(), Instant::now());
        let written =
            (0..600).filter(|tenth| told.is_news("no route", start + Duration::from_millis(tenth * 100)));
        assert_eq!(written.count(), 1);
        assert!(told.is_news("no card", start + Duration::from_secs(1)));
        assert!(told.is_news("no route", start + Duration::from_secs(60)));
    }

    #[test]
    fn a_bounded_number_of_faults_is_remembered() {
        let (mut told, now) = (Repeats::default(), Instant::now());
        assert_eq!((0..1000).filter(|fault| told.is_news(*fault, now)).count(), 1000);
        assert_eq!(told.0.len(), MOST_TOLD);
        assert!(!told.is_news(999, now) && told.is_news(0, now));
    }

    #[test]
    fn ten_lines_a_second_are_written_and_the_rest_is_counted() {
        let (limit, start) = (LineLimit::default(), Instant::now());
        let written = (0..1000).filter(|_| limit.allow(start).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(limit.allow(start + Duration::from_secs(1)), Some(990));
    }
}
