//! Time as an argument. The protocol never reads a clock.
//!
//! The driver reads its clock and passes a [`Now`]. Durations and deadlines use the steady clock. Time stamps that travel
//! are wall-clock times. During a connection they go on with the steady clock, whatever happens to the system's wall clock.

use crate::snapshot::{Reader, Saved, Writer};
use core::time::Duration;

/// A point in time on the driver's steady clock, in nanoseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Returns the point `ns` nanoseconds after the clock's start.
    #[must_use]
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// Returns the nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to `self`, or zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the nanoseconds from `earlier` to `self`. Negative if `earlier` is later.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// Returns the point that is `after` later, at most the end of the clock (584 years).
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add(duration_ns(after)))
    }
}

/// A time on a wall clock, in nanoseconds since 1970-01-01 00:00 UTC.
///
/// The range is the years 1677 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(i64);

/// 2^63 as a float: the smallest positive integer that `i64` cannot hold.
const I64_END: f64 = 9_223_372_036_854_775_808.0;

impl WallTime {
    /// Returns the time `ns` nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_nanos(ns: i64) -> Self {
        Self(ns)
    }

    /// Returns the nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Converts seconds since the Unix epoch, as the classic wire writes them. Returns `None` if they are not finite or outside
    /// the years 1677 to 2262.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the range was checked
    pub fn from_secs_f64(seconds: f64) -> Option<Self> {
        let ns = seconds * 1e9;
        if !(-I64_END..I64_END).contains(&ns) {
            return None;
        }
        // Converts the fraction separately, because a float of 1.7e18 nanoseconds has no bits left for single nanoseconds.
        let whole = seconds as i64;
        let fraction = seconds - whole as f64;
        let fraction_ns = fraction * 1e9;
        let rounded = (fraction_ns + if fraction_ns < 0.0 { -0.5 } else { 0.5 }) as i64;
        whole.checked_mul(1_000_000_000)?.checked_add(rounded).map(Self)
    }

    /// Returns the seconds since the Unix epoch.
    ///
    /// This is the inverse of [`from_secs_f64`](Self::from_secs_f64) if the float's resolution is coarser than a nanosecond,
    /// as it is for the present.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        let (whole, fraction) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        whole as f64 + fraction as f64 / 1e9
    }

    /// Returns the time that is `after` later, at most the end of the range.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(duration_ns(after)))
    }

    /// Returns the nanoseconds from `earlier` to `self`. Negative if `earlier` is later.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A time stamp as its sender gave it. A [`WallTime`] is exact on the native wire, a number of seconds on the classic wire.
///
/// The classic wire carries a number, and Python programs put any number there: simulated time, a count of nanoseconds. It
/// travels unchanged, with all its digits.
///
/// ```
/// use tautline_proto::{Timestamp, WallTime};
///
/// let simulated = Timestamp::from(12.345678901234567);
/// assert_eq!(simulated.as_secs_f64(), 12.345678901234567);
/// assert_eq!(simulated.wall(), WallTime::from_nanos(12_345_678_901));
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Timestamp {
    /// A time on the sender's wall clock.
    Wall(WallTime),
    /// A number of seconds. The sender refuses NaN and infinities.
    Seconds(f64),
    /// A whole number of seconds, which the classic wire writes without a fraction.
    WholeSeconds(i64),
}

impl Timestamp {
    /// Returns the nearest time that a [`WallTime`] can hold: rounded to nanoseconds, within the years 1677 to 2262.
    #[must_use]
    pub fn wall(self) -> WallTime {
        let seconds = match self {
            Self::Wall(time) => return time,
            Self::Seconds(seconds) => seconds,
            Self::WholeSeconds(seconds) => return WallTime(seconds.saturating_mul(1_000_000_000)),
        };
        let end = if seconds < 0.0 { i64::MIN } else { i64::MAX };
        WallTime::from_secs_f64(seconds).unwrap_or(WallTime(end))
    }

    /// Returns the seconds since the sender's epoch, which is 1970-01-01 00:00 UTC for a wall clock.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        match self {
            Self::Wall(time) => time.as_secs_f64(),
            Self::Seconds(seconds) => seconds,
            Self::WholeSeconds(seconds) => seconds as f64,
        }
    }

    /// Returns the number, if it is another one than the classic wire writes for its [`wall`](Self::wall) time.
    #[must_use]
    pub fn beyond_wall(self) -> Option<Self> {
        let is_wall_time = match self {
            Self::Wall(_) => true,
            Self::Seconds(seconds) => self.wall().as_secs_f64().to_bits() == seconds.to_bits(),
            Self::WholeSeconds(_) => false,
        };
        (!is_wall_time).then_some(self)
    }
}

/// Compares the numbers bit by bit, so that 0.0 and -0.0 are two values, and NaN is one.
impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wall(a), Self::Wall(b)) => a == b,
            (Self::Seconds(a), Self::Seconds(b)) => a.to_bits() == b.to_bits(),
            (Self::WholeSeconds(a), Self::WholeSeconds(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Timestamp {}

impl From<WallTime> for Timestamp {
    fn from(time: WallTime) -> Self {
        Self::Wall(time)
    }
}

impl From<f64> for Timestamp {
    fn from(seconds: f64) -> Self {
        Self::Seconds(seconds)
    }
}

impl From<i64> for Timestamp {
    fn from(seconds: i64) -> Self {
        Self::WholeSeconds(seconds)
    }
}

/// Both clocks, read together once in each turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The steady clock, for deadlines, round trips and liveness.
    pub steady: Instant,
    /// The time stamp that a message of this moment gets. It goes on with the steady clock.
    ///
    /// If it jumps all the same, the peer measures ages wrongly until the next heartbeat.
    pub wall: WallTime,
}

/// Returns a duration in whole nanoseconds, at most `u64::MAX`.
pub(crate) fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Saved for Instant {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        u64::load(from).map(Self)
    }
}

impl Saved for WallTime {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        i64::load(from).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_time_stamps_survive_conversion_to_nanoseconds() {
        for seconds in [1_700_000_000.25, 1_700_000_000.123_456, 1_759_999_999.999_999_8, 0.0, 1.0] {
            let time = WallTime::from_secs_f64(seconds).expect("in range");
            assert_eq!(time.as_secs_f64().to_bits(), seconds.to_bits(), "{seconds}");
        }
    }

    #[test]
    fn time_stamps_outside_the_range_are_refused() {
        for seconds in [f64::NAN, f64::INFINITY, 1e100, -1e100, 9.3e9] {
            assert_eq!(WallTime::from_secs_f64(seconds), None, "{seconds}");
        }
    }

    #[test]
    fn time_stamps_of_any_clock_have_a_nearest_wall_time() {
        for (stamp, ns) in [
            (Timestamp::from(1e-10), 0),
            (Timestamp::from(-1.5), -1_500_000_000),
            (Timestamp::from(1.7e18), i64::MAX),
            (Timestamp::from(-1e300), i64::MIN),
            (Timestamp::from(1_700_000_000), 1_700_000_000_000_000_000),
            (Timestamp::from(i64::MIN), i64::MIN),
        ] {
            assert_eq!(stamp.wall().as_nanos(), ns, "{stamp:?}");
        }
    }

    #[test]
    fn steady_time_saturates_at_both_ends() {
        let (early, late) = (Instant::from_nanos(5), Instant::from_nanos(8));
        assert_eq!(late.since(early), Duration::from_nanos(3));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.plus(Duration::MAX), Instant::from_nanos(u64::MAX));
    }
}
