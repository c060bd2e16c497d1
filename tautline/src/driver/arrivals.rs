//! When datagrams came, on the steady clock, also if they are read late.
//!
//! The kernel stamps datagrams by the wall clock. Each turn reads both clocks. Their difference converts a stamp, unless it has
//! jumped since the turn before. After a jump, stamps are not used until the socket was empty once: then everything that
//! came before the jump was read.
//!
//! Without a usable stamp, a datagram came after the socket was last found empty: that is its greatest age.

use std::time::Duration;

use tautline_proto::{Instant as Steady, Now, WallTime};

/// The tolerance of the difference: the wall clock may be slewed, and the thread interrupted between reading the clocks.
const JUMP: Duration = Duration::from_millis(1);

/// The further tolerance for the time that has passed: one part in this number.
const SLEWED: u64 = 500;

/// When a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Came {
    /// The most probable time; never later than the reading.
    pub(super) at: Steady,
    /// The earliest possible time.
    pub(super) not_before: Steady,
}

/// Converts the kernel's stamps to the steady clock.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// When the socket was last known to be empty.
    empty_at: Steady,
    /// Both clocks at the last turn.
    last: Now,
    /// Whether stamps can be compared with the present clocks.
    trusted: bool,
    /// Whether the kernel can stamp. If not, only the time of reading is known.
    can_stamp: bool,
}

impl Arrivals {
    /// For a new socket.
    pub(super) const fn new(now: Now) -> Self {
        Self { empty_at: Steady::from_nanos(0), last: now, trusted: true, can_stamp: true }
    }

    /// Whether the kernel can stamp, as far as is known.
    pub(super) const fn can_stamp(&self) -> bool {
        self.can_stamp
    }

    /// Records whether the kernel stamps from now on. Datagrams that it already has are stamped when they are read.
    pub(super) fn asked_for_stamps(&mut self, done: bool) {
        (self.can_stamp, self.trusted) = (done, false);
    }

    /// Records that the socket was empty at this time, or a little later.
    #[inline]
    pub(super) fn found_empty(&mut self, at: Steady) {
        self.empty_at = at;
        self.trusted = true;
    }

    /// Records both clocks, before datagrams that came by then are read.
    #[inline]
    pub(super) fn turn(&mut self, now: Now) {
        let passed = now.steady.since(self.last.steady);
        let wall_passed = now.wall.nanos_since(self.last.wall);
        let passed_ns = i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX);
        let tolerated = ns(JUMP) + ns(passed) / SLEWED;
        self.trusted &= wall_passed.abs_diff(passed_ns) <= tolerated;
        self.last = now;
    }

    /// Returns when a datagram came that is read in the turn of `now`.
    #[inline]
    pub(super) fn came(&self, stamp: Option<WallTime>, now: Now) -> Came {
        let at_reading = Came { at: now.steady, not_before: now.steady };
        if !self.can_stamp {
            return at_reading;
        }
        let Some(stamp) = stamp.filter(|_| self.trusted) else {
            return Came { not_before: self.empty_at.min(now.steady), ..at_reading };
        };
        // Negative if it came after the turn began.
        let ago = u64::try_from(now.wall.nanos_since(stamp)).unwrap_or(0);
        let at = Steady::from_nanos(now.steady.as_nanos().saturating_sub(ago));
        // Stamps have errors. That the socket was empty is certain.
        let at = at.max(self.empty_at).min(now.steady);
        Came { at, not_before: at }
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// The clocks `ms` after the start, with the wall clock `ahead_ms` ahead.
    fn now(ms: u64, ahead_ms: i64) -> Now {
        Now { steady: steady(ms), wall: wall(ms, ahead_ms) }
    }

    fn steady(ms: u64) -> Steady {
        Steady::from_nanos(ms * MS)
    }

    fn wall(ms: u64, ahead_ms: i64) -> WallTime {
        WallTime::from_nanos((ms.cast_signed() + ahead_ms) * MS.cast_signed() + 1_700_000_000_000_000_000)
    }

    /// The state after a turn at 100 ms that found the socket empty.
    fn arrivals() -> Arrivals {
        let mut arrivals = Arrivals::new(now(1, 0));
        arrivals.turn(now(100, 0));
        arrivals.found_empty(steady(100));
        arrivals
    }

    fn at(ms: u64) -> Came {
        Came { at: steady(ms), not_before: steady(ms) }
    }

    #[test]
    fn a_datagram_that_is_read_late_keeps_its_age() {
        let mut arrivals = arrivals();
        arrivals.turn(now(1_100, 0));
        assert_eq!(arrivals.came(Some(wall(150, 0)), now(1_100, 0)), at(150));
        assert_eq!(arrivals.came(Some(wall(1_099, 0)), now(1_100, 0)), at(1_099));
        assert_eq!(arrivals.came(Some(wall(1_105, 0)), now(1_100, 0)), at(1_100), "during the turn");
    }

    #[test]
    fn a_stamp_before_the_last_empty_read_is_corrected() {
        let mut arrivals = arrivals();
        arrivals.turn(now(101, 0));
        assert_eq!(arrivals.came(Some(wall(20, 0)), now(101, 0)), at(100));
    }

    #[test]
    fn stamps_are_not_used_after_a_jump_of_the_wall_clock_until_the_socket_was_empty() {
        for ahead in [-3_600_000, -20, 20, 3_600_000] {
            let mut arrivals = arrivals();
            let turn = now(110, ahead);
            arrivals.turn(turn);
            let unknown = Came { at: steady(110), not_before: steady(100) };
            assert_eq!(arrivals.came(Some(wall(105, 0)), turn), unknown, "stamped before");
            assert_eq!(arrivals.came(Some(wall(109, ahead)), turn), unknown, "stamped after");
            arrivals.turn(now(112, ahead));
            assert_eq!(arrivals.came(Some(wall(111, ahead)), now(112, ahead)).not_before, steady(100));
            arrivals.found_empty(steady(112));
            arrivals.turn(now(120, ahead));
            assert_eq!(arrivals.came(Some(wall(118, ahead)), now(120, ahead)), at(118));
        }
    }

    #[test]
    fn a_slewed_wall_clock_is_not_a_jump() {
        let mut arrivals = arrivals();
        let turn = Now { wall: WallTime::from_nanos(wall(1_100, 0).as_nanos() + 2_900_000), ..now(1_100, 0) };
        arrivals.turn(turn);
        assert!(arrivals.trusted);
    }

    #[test]
    fn without_a_stamp_the_last_empty_read_bounds_the_age() {
        let mut arrivals = arrivals();
        arrivals.turn(now(1_100, 0));
        let came = arrivals.came(None, now(1_100, 0));
        assert_eq!(came, Came { at: steady(1_100), not_before: steady(100) });
    }

    #[test]
    fn new_stamps_are_used_after_the_socket_was_empty_once() {
        let mut arrivals = arrivals();
        arrivals.asked_for_stamps(true);
        assert_eq!(arrivals.came(Some(wall(105, 0)), now(105, 0)).not_before, steady(100));
        arrivals.found_empty(steady(105));
        assert_eq!(arrivals.came(Some(wall(107, 0)), now(108, 0)), at(107));
    }

    #[test]
    fn if_the_kernel_cannot_stamp_the_time_of_reading_is_used() {
        let mut arrivals = Arrivals::new(now(100, 0));
        arrivals.asked_for_stamps(false);
        assert_eq!(arrivals.came(None, now(105, 0)), at(105));
    }
}
