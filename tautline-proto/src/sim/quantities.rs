//! The quantities of impairments, probabilities and bit rates, and their text forms.

use core::fmt;
use core::num::NonZeroU64;
use core::str::FromStr;
use core::time::Duration;

use super::random::Random;

/// A probability, from 0 (never) to 1 (always).
///
/// The text form is a percentage (`2%`, `0.1 %`) or a plain number (`0.02`).
///
/// ```
/// use tautline_proto::sim::Probability;
///
/// let loss: Probability = "2%".parse()?;
/// assert_eq!(loss.value(), 0.02);
/// assert!("120%".parse::<Probability>().is_err());
/// # Ok::<(), tautline_proto::sim::BadProbability>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Probability(f64); // from 0 to 1, never NaN

impl Probability {
    /// Never.
    pub const NEVER: Self = Self(0.0);
    /// Always.
    pub const ALWAYS: Self = Self(1.0);

    /// Returns the probability `value`, or `None` if it is outside 0 to 1.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// Returns the probability of `percent` per cent, or `None` if it is outside 0 to 100.
    #[must_use]
    pub fn percent(percent: f64) -> Option<Self> {
        Self::new(percent / 100.0)
    }

    /// Returns the value, from 0 to 1.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }

    /// Returns whether it happens this time.
    pub(crate) fn happens(self, random: &mut Random) -> bool {
        random.unit() < self.0
    }

    /// Returns the probability `value`, limited to 0 to 1.
    pub(super) fn clamped(value: f64) -> Self {
        Self(if value > 0.0 { value.min(1.0) } else { 0.0 })
    }
}

/// The error for a text that is not a [`Probability`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadProbability;

impl fmt::Display for BadProbability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a share from 0% to 100%, such as 2% or 0.02")
    }
}

impl core::error::Error for BadProbability {}

impl FromStr for Probability {
    type Err = BadProbability;

    fn from_str(text: &str) -> Result<Self, BadProbability> {
        let text = text.trim();
        let parsed = match text.strip_suffix('%') {
            Some(percent) => percent.trim_end().parse().ok().and_then(Self::percent),
            None => text.parse().ok().and_then(Self::new),
        };
        parsed.ok_or(BadProbability)
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded to a millionth of a per cent, so that a percentage is shown as it was read, without rounding errors.
        #[allow(clippy::cast_possible_truncation)] // from 0 to 10^8
        let millionths = (self.0 * 1e8 + 0.5) as u64;
        write!(f, "{} %", millionths as f64 / 1e6)
    }
}

/// How many bits a path carries in a second.
///
/// The text form is a number and one of the units bit, kbit, Mbit and Gbit, which are powers of 1000: `10Mbit`, `64 kbit`.
///
/// ```
/// use core::time::Duration;
/// use tautline_proto::sim::BitRate;
///
/// let rate: BitRate = "8Mbit".parse()?;
/// assert_eq!(rate.time_for(1000), Duration::from_millis(1));
/// # Ok::<(), tautline_proto::sim::BadBitRate>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(NonZeroU64);

/// The units of rates, the largest first.
const RATE_UNITS: [(&str, u64); 4] =
    [("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1000), ("bit", 1)];

impl BitRate {
    /// Returns the bits per second.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0.get()
    }

    /// Returns how long a datagram of `bytes` bytes takes, rounded up. Headers below UDP are not counted.
    #[must_use]
    pub fn time_for(self, bytes: usize) -> Duration {
        let nanobits = bytes as u128 * 8 * 1_000_000_000;
        let ns = nanobits.div_ceil(u128::from(self.value()));
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// Returns how many whole bytes are sent in `time`.
    pub(super) fn bytes_in(self, time: Duration) -> u128 {
        time.as_nanos() * u128::from(self.value()) / 8_000_000_000
    }
}

/// The error for a text that is not a [`BitRate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBitRate;

impl fmt::Display for BadBitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected bits per second with a unit (bit, kbit, Mbit or Gbit), such as 10Mbit")
    }
}

impl core::error::Error for BadBitRate {}

impl FromStr for BitRate {
    type Err = BadBitRate;

    fn from_str(text: &str) -> Result<Self, BadBitRate> {
        let text = text.trim();
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(BadBitRate)?;
        let (number, unit) = text.split_at(unit_at);
        let unit = unit.trim_start();
        let (_, factor) = RATE_UNITS.iter().find(|(name, _)| *name == unit).ok_or(BadBitRate)?;
        let number: f64 = number.parse().map_err(|_| BadBitRate)?;
        let bits = number * *factor as f64;
        // A float holds every whole number below 2^53 exactly.
        #[allow(clippy::cast_possible_truncation)] // within the range
        let whole = (1.0..9e15).contains(&bits).then_some(bits as u64);
        whole.and_then(NonZeroU64::new).map(Self).ok_or(BadBitRate)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.value();
        let fits = |factor| bits >= factor && (u128::from(bits) * 10).is_multiple_of(u128::from(factor));
        let (unit, factor) = RATE_UNITS.iter().find(|(_, factor)| fits(*factor)).unwrap_or(&("bit", 1));
        write!(f, "{} {unit}/s", bits as f64 / *factor as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn probabilities_are_read_as_percentages_and_as_numbers() {
        for (text, value) in [("2%", 0.02), ("0.1 %", 0.001), (" 0.25 ", 0.25), ("100%", 1.0), ("0", 0.0)] {
            assert_eq!(text.parse::<Probability>().map(Probability::value), Ok(value), "{text}");
        }
        for text in ["", "%", "-1%", "101%", "2", "NaN", "two%", "2%%"] {
            assert_eq!(text.parse::<Probability>(), Err(BadProbability), "{text}");
        }
        for (text, shown) in [("2%", "2 %"), ("0.1%", "0.1 %"), ("0.07", "7 %"), ("1", "100 %")] {
            assert_eq!(text.parse::<Probability>().expect("a share").to_string(), shown);
        }
    }

    #[test]
    fn rates_are_read_with_any_unit_and_shown_with_the_largest() {
        for (text, bits, shown) in [
            ("10Mbit", 10_000_000, "10 Mbit/s"),
            ("1.5 Gbit", 1_500_000_000, "1.5 Gbit/s"),
            ("64kbit", 64_000, "64 kbit/s"),
            ("9bit", 9, "9 bit/s"),
            ("1234567bit", 1_234_567, "1234567 bit/s"),
        ] {
            let rate: BitRate = text.parse().expect("a rate");
            assert_eq!((rate.value(), rate.to_string().as_str()), (bits, shown));
        }
        for text in ["", "10", "10mbit", "Mbit", "0Mbit", "-1Mbit", "1.2.3Mbit", "10MB", "99999999Gbit"] {
            assert_eq!(text.parse::<BitRate>(), Err(BadBitRate), "{text}");
        }
    }

    #[test]
    fn largest_datagram_on_the_slowest_path_does_not_overflow() {
        let slowest = BitRate(NonZeroU64::MIN);
        assert_eq!(slowest.time_for(65_507), Duration::from_secs(65_507 * 8));
        assert_eq!(slowest.time_for(usize::MAX), Duration::from_nanos(u64::MAX));
        assert_eq!(slowest.bytes_in(Duration::from_secs(9)), 1);
    }
}
