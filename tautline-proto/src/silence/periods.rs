//! Periods with and without a message, and how many may be missed.
//!
//! The condition is "weakly hard": at most m of any k periods in a row are missed (G. Bernat, A. Burns and A. Llamosí,
//! "Weakly hard real-time systems", IEEE Transactions on Computers 50(4), 2001). A period ends with a message, or after its
//! length without a message. The next period begins there. A message that comes less than half a length after the message
//! that ended a period belongs to that period. So neither a fast sender nor a burst after a silence counts as many periods.

/// The most periods that a condition looks back on: one bit each.
pub const MAX_PERIODS: u32 = u64::BITS;

/// The length of a period, and how many periods may be missed of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// The length of a period. Invariant: not 0.
    pub length_ns: u64,
    /// The most periods that may be missed. Invariant: `may_miss < of <= MAX_PERIODS`.
    pub may_miss: u32,
    /// The number of periods that count, up to the latest.
    pub of: u32,
}

/// The latest periods, the latest in the lowest bit: 1 is a missed period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misses(pub u64);

impl Misses {
    /// No period was missed.
    pub const NONE: Self = Self(0);

    /// Adds a period with a message.
    #[must_use]
    pub const fn met(self) -> Self {
        Self(self.0 << 1)
    }

    /// Adds so many periods without a message.
    #[must_use]
    pub const fn missed(self, periods: u64) -> Self {
        if periods >= MAX_PERIODS as u64 {
            return Self(u64::MAX);
        }
        Self((self.0 << periods) | ((1 << periods) - 1))
    }
}

impl Periods {
    /// A condition under which no period may be missed.
    #[must_use]
    pub const fn strict(length_ns: u64) -> Self {
        Self { length_ns, may_miss: 0, of: 1 }
    }

    /// The number of missed periods among those that count.
    #[must_use]
    pub const fn misses(self, misses: Misses) -> u32 {
        (misses.0 & (u64::MAX >> (MAX_PERIODS - self.of))).count_ones()
    }

    /// The number of periods in a row that must still be missed for the condition to fail; 0 if it has failed.
    pub(crate) fn until_failure(self, misses: Misses) -> u64 {
        let most = u64::from(self.may_miss) + 1;
        if misses == Misses::NONE || self.misses(misses) == 0 {
            return most;
        }
        (0..most).find(|&more| self.misses(misses.missed(more)) > self.may_miss).unwrap_or(most)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const TWO_OF_FIVE: Periods = Periods { length_ns: 10, may_miss: 2, of: 5 };

    fn misses(periods: &[bool]) -> Misses {
        periods
            .iter()
            .fold(Misses::default(), |misses, &missed| if missed { misses.missed(1) } else { misses.met() })
    }

    #[test]
    fn a_strict_condition_fails_with_the_first_miss() {
        let strict = Periods::strict(10);
        assert_eq!(strict.until_failure(Misses::default()), 1);
        assert_eq!(strict.until_failure(misses(&[true])), 0);
        assert_eq!(strict.until_failure(misses(&[true, false])), 1);
    }

    #[test]
    fn misses_count_as_long_as_they_are_among_the_latest() {
        assert_eq!(TWO_OF_FIVE.until_failure(Misses::default()), 3);
        assert_eq!(TWO_OF_FIVE.until_failure(misses(&[true])), 2);
        assert_eq!(TWO_OF_FIVE.until_failure(misses(&[true, false, true])), 1);
        assert_eq!(TWO_OF_FIVE.until_failure(misses(&[true, false, true, true])), 0);
        assert_eq!(TWO_OF_FIVE.until_failure(misses(&[true, true, true, false, false])), 0);
        assert_eq!(TWO_OF_FIVE.until_failure(misses(&[true, true, true, false, false, false])), 3);
        assert_eq!(TWO_OF_FIVE.until_failure(misses(&[true, true, false, false, false, false])), 3);
    }

    #[test]
    fn the_longest_condition_and_the_longest_silence() {
        let all = Periods { length_ns: 1, may_miss: 63, of: 64 };
        assert_eq!(all.until_failure(Misses::default()), 64);
        assert_eq!(all.misses(Misses::default().missed(1 << 40)), 64);
        assert_eq!(all.misses(Misses::default().missed(63)), 63);
        assert_eq!(all.until_failure(Misses::default().missed(63)), 1);
    }

    /// The slow twin: the condition in its plainest form.
    #[test]
    fn until_failure_is_the_first_number_of_misses_that_breaks_the_condition() {
        for bits in 0..1_u64 << 10 {
            for (may_miss, of) in [(0, 1), (1, 2), (2, 5), (3, 8), (9, 10)] {
                let periods = Periods { length_ns: 1, may_miss, of };
                let mut latest: Vec<bool> = (0..of).map(|place| bits >> place & 1 == 1).collect();
                let mut expected = 0;
                while latest.iter().filter(|&&missed| missed).count() <= may_miss as usize {
                    latest.insert(0, true);
                    latest.truncate(of as usize);
                    expected += 1;
                }
                assert_eq!(periods.until_failure(Misses(bits)), expected, "{bits:b} {may_miss}/{of}");
            }
        }
    }
}
