//! The clocks of an interface, in the terms of the protocol.

use std::time::{Duration, Instant};

use tautline_proto::{Instant as Steady, Now, WallTime};

/// Reads both clocks. The steady clock counts from the creation of the interface.
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

    /// Both clocks. The steady clock was read just now, at `at`.
    pub(crate) fn now_at(self, at: Instant) -> Now {
        Now { steady: self.steady(at), wall: wall_now() }
    }

    /// Converts a time of the system's steady clock to ours. Never 0, which stands for "never".
    pub(crate) fn steady(self, at: Instant) -> Steady {
        let since = at.saturating_duration_since(self.start).as_nanos();
        Steady::from_nanos(u64::try_from(since).unwrap_or(u64::MAX).max(1))
    }

    /// Converts a time of our steady clock to the system's.
    pub(crate) fn instant(self, at: Steady) -> Instant {
        self.start + Duration::from_nanos(at.as_nanos())
    }
}

/// Reads the wall clock. A time beyond its range becomes the end of the range.
#[cfg(unix)]
#[inline]
pub(crate) fn wall_now() -> WallTime {
    // Called for each message. The two types of std for this time would add a fifth of its cost.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    WallTime::from_nanos(now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec))
}

/// Reads the wall clock. A time beyond its range becomes the end of the range.
#[cfg(not(unix))]
pub(crate) fn wall_now() -> WallTime {
    use std::time::SystemTime;
    WallTime::from_nanos(match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    })
}
