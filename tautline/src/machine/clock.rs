//! The clocks of one interface, in the protocol's terms.

use std::time::{Duration, Instant};

use tautline_proto::{Instant as Steady, Now};

use crate::message::wall_now;

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
        self.now_at(Instant::now())
    }

    /// Both clocks; the steady one was read at `at`, just now.
    pub(crate) fn now_at(self, at: Instant) -> Now {
        Now { steady: self.steady(at), wall: wall_now() }
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
