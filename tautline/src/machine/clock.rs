//! The clocks of one interface, in the protocol's terms.

use std::time::{Duration, Instant};

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

/// The wall clock; the ends of its range when the machine's is set beyond them.
#[cfg(unix)]
#[inline]
pub(crate) fn wall_now() -> WallTime {
    // One call per message: std's two types for the same time would be a fifth of its cost.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    WallTime::from_nanos(now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec))
}

/// The wall clock; the ends of its range when the machine's is set beyond them.
#[cfg(not(unix))]
pub(crate) fn wall_now() -> WallTime {
    use std::time::SystemTime;
    WallTime::from_nanos(match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    })
}
