//! The clocks of one interface, in the protocol's terms.

use std::time::{Duration, Instant, SystemTime};

use tautline_proto::{Instant as Steady, Now, WallTime};

/// Reads both clocks; the steady one counts from the interface's creation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        Now { steady: self.steady(Instant::now()), wall: wall_now() }
    }

    /// A point of the system's steady clock on ours; never 0, which stands for "never".
    pub(crate) fn steady(self, at: Instant) -> Steady {
        let since = at.saturating_duration_since(self.start).as_nanos();
        Steady::from_nanos(u64::try_from(since).unwrap_or(u64::MAX).max(1))
    }

    /// A point of our steady clock on the system's.
    pub(crate) fn instant(self, at: Steady) -> Instant {
        self.start + Duration::from_nanos(at.as_nanos())
    }
}

/// The system's wall clock; 1970 if it is set before that, 2262 if after.
pub(crate) fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
