//! Tracing events with a limit: whatever strangers send, no more than ten lines a second.

use crate::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// The most lines in a second.
const LINES_PER_SECOND: u32 = 10;

/// Says which lines may be written.
#[derive(Debug, Default)]
pub(crate) struct LineLimit(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    second: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl LineLimit {
    /// Whether a line may be written now; then also how many were left out since the last one.
    pub(crate) fn allow(&self, now: Instant) -> Option<u64> {
        let mut inner = lock(&self.0);
        if inner.second.is_none_or(|begun| now.saturating_duration_since(begun) >= Duration::from_secs(1)) {
            inner.second = Some(now);
            inner.written = 0;
        }
        if inner.written == LINES_PER_SECOND {
            inner.left_out += 1;
            return None;
        }
        inner.written += 1;
        Some(std::mem::take(&mut inner.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_and_the_rest_is_counted() {
        let (limit, start) = (LineLimit::default(), Instant::now());
        let written = (0..1000).filter(|_| limit.allow(start).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(limit.allow(start + Duration::from_secs(1)), Some(990));
    }
}
