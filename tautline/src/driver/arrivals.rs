//! When datagrams came, on the steady clock, also if they are read late.
//!
//! The kernel stamps datagrams by the wall clock. After each read with a stamp, both clocks are read. Their difference converts
//! the stamp, unless it has jumped since the read before. After a jump, stamps are not used until the socket was empty once:
//! then everything that came before the jump was read. Stamps are not used either if they cannot be of that wall clock.
//!
//! Linux begins to stamp some time after it was asked to (`net_enable_timestamp` leaves that to a work queue), and a datagram that
//! came before gets its stamp when it is read. So stamps are used once one of them was older than a read takes.
//!
//! Without a usable stamp, a datagram came after the socket was last found empty: that is its greatest age.

use std::hint::cold_path;
use std::time::Duration;

use tautline_proto::{Instant as Steady, WallTime};

/// The tolerance of the difference: the wall clock may be slewed, and the thread interrupted between reading the clocks.
const JUMP: Duration = Duration::from_millis(1);

/// The further tolerance for the time that has passed: one part in this number.
const SLEWED: i64 = 500;

/// A stamp that lies further before the time when the socket was empty is not of the clock that is read here. The kernel may
/// stamp a datagram some time before it gives it to the socket.
const BEFORE_EMPTY: Duration = Duration::from_millis(50);

/// A stamp that is this old when it is read was not made by the read.
const MADE_BEFORE: Duration = Duration::from_micros(20);

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
    /// Both clocks at the last read.
    last: Clocks,
    /// Whether stamps can be compared with the present clocks.
    trusted: bool,
    /// The stamps are of another clock than the one that is read here. Until the next jump.
    foreign: bool,
    /// Whether the kernel can stamp. If not, only the time of reading is known.
    can_stamp: bool,
    /// Whether the kernel has begun to stamp datagrams when they come.
    has_begun: bool,
    /// When the last datagram came, if its stamp told that.
    last_came: Steady,
}

/// The steady clock, and the wall clock that the kernel stamps with. The wall clock was read last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) steady: Steady,
    pub(super) wall: WallTime,
}

impl Arrivals {
    /// For a new socket.
    pub(super) const fn new(now: Clocks) -> Self {
        Self {
            empty_at: Steady::from_nanos(0),
            last: now,
            trusted: true,
            foreign: false,
            can_stamp: true,
            has_begun: false,
            last_came: Steady::from_nanos(0),
        }
    }

    /// Whether the last datagram surely came after this time. The kernel hands datagrams over in the order in which they came.
    pub(super) fn has_passed(&self, at: Steady) -> bool {
        self.last_came > at
    }

    /// Whether the kernel can stamp, as far as is known.
    pub(super) const fn can_stamp(&self) -> bool {
        self.can_stamp
    }

    /// Whether the stamp of the next datagram tells when it came. Then it need not be known since when the socket was empty.
    pub(super) const fn are_told(&self) -> bool {
        self.can_stamp && self.has_begun && self.trusted
    }

    /// Records whether the kernel stamps from now on. Datagrams that it already has are stamped when they are read.
    pub(super) fn asked_for_stamps(&mut self, done: bool, now: Clocks) {
        (self.can_stamp, self.trusted, self.has_begun, self.last) = (done, false, false, now);
    }

    /// Records that the socket was empty at this time, or a little later.
    #[inline]
    pub(super) fn found_empty(&mut self, at: Steady) {
        self.empty_at = at;
        self.trusted = !self.foreign;
    }

    /// Records both clocks, while the kernel stamps: after each read, and before datagrams that it returned are taken.
    #[inline]
    pub(super) fn read(&mut self, now: Clocks) {
        let passed = now.steady.nanos_since(self.last.steady).max(0);
        let wall_passed = now.wall.nanos_since(self.last.wall);
        let tolerated = JUMP_NS + passed / SLEWED;
        if wall_passed.abs_diff(passed) > tolerated.unsigned_abs() {
            (self.trusted, self.foreign) = (false, false);
        }
        self.last = now;
    }

    /// Returns when a datagram came that was read before `now`.
    #[inline]
    pub(super) fn came(&mut self, stamp: Option<WallTime>, now: Steady) -> Came {
        let at_reading = Came { at: now, not_before: now };
        if !self.can_stamp {
            return at_reading;
        }
        let unknown = Came { not_before: self.empty_at.min(now), ..at_reading };
        let Some(stamp) = stamp.filter(|_| self.trusted) else { return unknown };
        let ago = self.last.wall.nanos_since(stamp);
        let at = self.last.steady.as_nanos().saturating_add_signed(ago.saturating_neg());
        let at = Steady::from_nanos(at);
        if ago < -JUMP_NS || at.plus(BEFORE_EMPTY) < self.empty_at {
            cold_path();
            (self.trusted, self.foreign) = (false, true);
            return unknown;
        }
        self.has_begun |= ago >= MADE_BEFORE_NS;
        if !self.has_begun {
            return unknown;
        }
        // Stamps have errors. That the socket was empty is certain.
        let at = at.max(self.empty_at).min(now);
        self.last_came = at;
        Came { at, not_before: at }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // a millisecond
const JUMP_NS: i64 = JUMP.as_nanos() as i64;

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // microseconds
const MADE_BEFORE_NS: i64 = MADE_BEFORE.as_nanos() as i64;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// The clocks `ms` after the start, with the wall clock `ahead_ms` ahead.
    fn now(ms: u64, ahead_ms: i64) -> Clocks {
        Clocks { steady: steady(ms), wall: wall(ms, ahead_ms) }
    }

    fn steady(ms: u64) -> Steady {
        Steady::from_nanos(ms * MS)
    }

    fn wall(ms: u64, ahead_ms: i64) -> WallTime {
        WallTime::from_nanos((ms.cast_signed() + ahead_ms) * MS.cast_signed() + 1_700_000_000_000_000_000)
    }

    /// The state after a read at 100 ms that found the socket empty.
    fn arrivals() -> Arrivals {
        let mut arrivals = Arrivals::new(now(1, 0));
        arrivals.read(now(100, 0));
        arrivals.found_empty(steady(100));
        arrivals
    }

    fn at(ms: u64) -> Came {
        Came { at: steady(ms), not_before: steady(ms) }
    }

    /// The clocks are read at `ms`, and a datagram with this stamp is taken.
    fn read(arrivals: &mut Arrivals, (ms, ahead_ms): (u64, i64), stamp: WallTime) -> Came {
        arrivals.read(now(ms, ahead_ms));
        arrivals.came(Some(stamp), steady(ms))
    }

    #[test]
    fn a_datagram_that_is_read_late_keeps_its_age() {
        let mut arrivals = arrivals();
        assert_eq!(read(&mut arrivals, (1_100, 0), wall(150, 0)), at(150));
        assert_eq!(read(&mut arrivals, (1_100, 0), wall(1_099, 0)), at(1_099));
        assert!(arrivals.has_passed(steady(1_098)) && !arrivals.has_passed(steady(1_099)));
    }

    #[test]
    fn a_stamp_before_the_last_empty_read_is_corrected() {
        assert_eq!(read(&mut arrivals(), (101, 0), wall(60, 0)), at(100));
    }

    #[test]
    fn stamps_are_not_used_after_a_jump_of_the_wall_clock_until_the_socket_was_empty() {
        for ahead in [-3_600_000, -20, 20, 3_600_000] {
            let mut arrivals = arrivals();
            let unknown = Came { at: steady(110), not_before: steady(100) };
            assert_eq!(read(&mut arrivals, (110, ahead), wall(105, 0)), unknown, "stamped before");
            assert_eq!(read(&mut arrivals, (110, ahead), wall(109, ahead)), unknown, "stamped after");
            assert_eq!(read(&mut arrivals, (112, ahead), wall(111, ahead)).not_before, steady(100));
            arrivals.found_empty(steady(112));
            assert_eq!(read(&mut arrivals, (120, ahead), wall(118, ahead)), at(118));
        }
    }

    #[test]
    fn a_slewed_wall_clock_is_not_a_jump() {
        let mut arrivals = arrivals();
        let slewed =
            Clocks { wall: WallTime::from_nanos(wall(1_100, 0).as_nanos() + 2_900_000), ..now(1_100, 0) };
        arrivals.read(slewed);
        assert!(arrivals.trusted);
    }

    /// As with a library that answers for the clock, but not for the kernel's stamps.
    #[test]
    fn stamps_of_another_clock_are_not_used_until_that_clock_jumps_back() {
        for ahead in [-60, 10_000] {
            let mut arrivals = arrivals();
            arrivals.read(now(105, ahead));
            arrivals.found_empty(steady(105));
            let unknown = |ms| Came { at: steady(ms), not_before: steady(105) };
            assert_eq!(read(&mut arrivals, (107, ahead), wall(106, 0)), unknown(107), "{ahead}");
            arrivals.found_empty(steady(107));
            let late = Came { at: steady(1_107), not_before: steady(107) };
            assert_eq!(read(&mut arrivals, (1_107, ahead), wall(200, 0)), late, "{ahead}");
            arrivals.read(now(1_108, 0));
            arrivals.found_empty(steady(1_108));
            assert_eq!(read(&mut arrivals, (1_200, 0), wall(1_150, 0)), at(1_150), "{ahead}");
        }
    }

    #[test]
    fn without_a_stamp_the_last_empty_read_bounds_the_age() {
        let came = arrivals().came(None, steady(1_100));
        assert_eq!(came, Came { at: steady(1_100), not_before: steady(100) });
        assert!(!arrivals().has_passed(steady(100)), "nobody knows");
    }

    #[test]
    fn new_stamps_are_used_after_the_socket_was_empty_once() {
        let mut arrivals = arrivals();
        arrivals.asked_for_stamps(true, now(101, 0));
        assert_eq!(read(&mut arrivals, (105, 0), wall(105, 0)).not_before, steady(100));
        arrivals.found_empty(steady(105));
        assert_eq!(read(&mut arrivals, (108, 0), wall(107, 0)), at(107));
    }

    /// The datagrams came at 101 ms, before the kernel began to stamp. It stamps them when they are read.
    #[test]
    fn a_stamp_that_reading_has_made_says_nothing() {
        let mut arrivals = arrivals();
        arrivals.asked_for_stamps(true, now(100, 0));
        arrivals.found_empty(steady(100));
        for ms in [700, 701] {
            assert_eq!(read(&mut arrivals, (ms, 0), wall(ms, 0)).not_before, steady(100));
        }
        assert_eq!(read(&mut arrivals, (702, 0), wall(650, 0)), at(650), "it stamps now");
        assert_eq!(read(&mut arrivals, (703, 0), wall(703, 0)), at(703));
    }

    #[test]
    fn if_the_kernel_cannot_stamp_the_time_of_reading_is_used() {
        let mut arrivals = Arrivals::new(now(100, 0));
        arrivals.asked_for_stamps(false, now(100, 0));
        assert_eq!(arrivals.came(None, steady(105)), at(105));
    }
}
