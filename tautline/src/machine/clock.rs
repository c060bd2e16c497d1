//! The clocks of an interface, in the terms of the protocol.
//!
//! Time stamps within a connection are the steady clock plus an offset that is taken once, when the interface connects. So
//! setting the system's wall clock changes no time stamp and no age (docs/protocol.md §7.2).

use std::time::{Duration, Instant, SystemTime};

use tautline_proto::{Instant as Steady, Now, WallTime};

/// How often the two ways to read the steady clock are compared, at most. Once is enough if nothing interrupts it.
const COMPARISONS: usize = 8;

/// An interruption between two readings takes longer than this.
const UNINTERRUPTED_NS: i64 = 1_000;

/// The steady clock of an interface, which counts from its creation, and the time stamps of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The system's steady clock just after `start`, as [`steady_ns`] reads it, so that a time from
    /// [`steady_now`](Self::steady_now) is never later than the same time from an [`Instant`]; less 1, so that it is never 0.
    start_ns: i64,
    /// The time stamp that belongs to `start`.
    wall_at_start: i64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let (start, start_ns) = read_both();
        let wall_at_start = wall_now().as_nanos();
        Self { start, start_ns, wall_at_start }
    }

    /// The same steady clock, with the time stamps of a new connection: they begin with what the wall clock shows now.
    pub(crate) fn for_new_connection(self) -> Self {
        let since = self.steady(Instant::now()).as_nanos();
        Self { wall_at_start: wall_now().as_nanos().saturating_sub_unsigned(since), ..self }
    }

    pub(crate) fn now(self) -> Now {
        self.now_at(self.steady_now())
    }

    /// Both clocks at this time.
    #[inline]
    pub(crate) const fn now_at(self, steady: Steady) -> Now {
        Now { steady, wall: self.wall(steady) }
    }

    /// The steady clock now, for a message that is sent.
    ///
    /// Called for each message. An `Instant` would add a fifth of its cost.
    #[inline]
    pub(crate) fn steady_now(self) -> Steady {
        Steady::from_nanos(steady_ns().wrapping_sub(self.start_ns).cast_unsigned())
    }

    /// The time stamp of this time.
    #[inline]
    pub(crate) const fn wall(self, at: Steady) -> WallTime {
        WallTime::from_nanos(self.wall_at_start.wrapping_add_unsigned(at.as_nanos()))
    }

    /// The time stamp of this time of the system's steady clock, which may lie before `start`.
    pub(crate) fn wall_of(self, at: Instant) -> WallTime {
        let before = u64::try_from(self.start.saturating_duration_since(at).as_nanos()).unwrap_or(u64::MAX);
        if before == 0 {
            return self.wall(self.steady(at));
        }
        WallTime::from_nanos(self.wall_at_start.saturating_sub_unsigned(before))
    }

    /// How far the system's wall clock has moved away from the time stamps since the interface connected, in nanoseconds.
    /// Positive if it was set forward.
    pub(crate) fn wall_moved_ns(self) -> i64 {
        let stamps = self.now().wall;
        wall_now().nanos_since(stamps)
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

    /// The system's time at which our steady clock began.
    pub(crate) const fn origin(self) -> Instant {
        self.start
    }

    /// The system's time that lies so many nanoseconds before a time of our steady clock, or that time itself if the system's clock
    /// does not reach so far back.
    #[inline]
    pub(crate) fn instant_before(self, at: Steady, before_ns: u64) -> Instant {
        match at.as_nanos().checked_sub(before_ns) {
            Some(left) => self.start + Duration::from_nanos(left),
            None => self.instant_before_start(Duration::from_nanos(before_ns - at.as_nanos()), at),
        }
    }

    #[cold]
    fn instant_before_start(self, before: Duration, at: Steady) -> Instant {
        self.start.checked_sub(before).unwrap_or_else(|| self.instant(at))
    }
}

/// Reads the steady clock in both ways. The second reading is the later one.
fn read_both() -> (Instant, i64) {
    let mut compared = 0;
    loop {
        compared += 1;
        let (before, start, after) = (steady_ns(), Instant::now(), steady_ns());
        if after - before <= UNINTERRUPTED_NS || compared == COMPARISONS {
            return (start, after - 1);
        }
    }
}

/// Reads the system's wall clock.
///
/// Not for messages: their time stamps must not jump when the clock is set.
pub(crate) fn wall_now() -> WallTime {
    to_wall(SystemTime::now())
}

/// Converts a time of the wall clock. A time beyond the range becomes the end of the range.
pub(crate) fn to_wall(at: SystemTime) -> WallTime {
    WallTime::from_nanos(match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    })
}

/// Reads the steady clock that [`Instant`] reads, in nanoseconds.
#[cfg(target_os = "linux")]
#[inline]
fn steady_ns() -> i64 {
    clock_ns(rustix::time::ClockId::Monotonic)
}

/// Reads the wall clock that the kernel stamps datagrams with. It asks the kernel itself, so that a library that answers
/// for the system's clock (libfaketime) does not come between the two.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn kernel_wall_now() -> WallTime {
    WallTime::from_nanos(clock_ns(rustix::time::ClockId::Realtime))
}

#[cfg(target_os = "linux")]
#[inline]
fn clock_ns(clock: rustix::time::ClockId) -> i64 {
    let now = rustix::time::clock_gettime(clock);
    now.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec)
}

/// Reads the steady clock, in nanoseconds.
#[cfg(not(target_os = "linux"))]
fn steady_ns() -> i64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    i64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(i64::MAX)
}

/// Reads the wall clock that the kernel stamps datagrams with.
#[cfg(not(target_os = "linux"))]
pub(crate) fn kernel_wall_now() -> WallTime {
    wall_now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_read_the_steady_clock_agree() {
        let clock = Clock::start();
        for _ in 0..1_000 {
            let before = clock.steady_now();
            let between = clock.steady(Instant::now());
            let after = clock.steady_now();
            assert!(before <= between, "{before:?} {between:?}");
            // The ways differ by less than an interruption while they were compared; a busy machine interrupts for long.
            assert!(between.since(after) < Duration::from_millis(100), "{between:?} {after:?}");
        }
    }

    #[test]
    fn time_stamps_go_on_with_the_steady_clock() {
        let clock = Clock::start().for_new_connection();
        let now = clock.now();
        assert_eq!(clock.wall(now.steady), now.wall);
        assert_eq!(clock.wall(now.steady.plus(Duration::from_secs(1))).nanos_since(now.wall), 1_000_000_000);
        let set_back = Clock { wall_at_start: clock.wall_at_start + 10_000_000_000, ..clock };
        let moved = set_back.wall_moved_ns();
        assert!((-11_000_000_000..-9_000_000_000).contains(&moved), "{moved}");
    }
}
