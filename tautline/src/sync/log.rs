//! A limit for log lines: at most ten in a second, however much a stranger sends.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_are_written_and_the_rest_is_counted() {
        let (limit, start) = (LineLimit::default(), Instant::now());
        let written = (0..1000).filter(|_| limit.allow(start).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(limit.allow(start + Duration::from_secs(1)), Some(990));
    }
}
