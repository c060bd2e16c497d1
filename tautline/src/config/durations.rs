//! Durations as text with a unit. TOML, the environment and the command line use the same form.
//!
//! Decimal text is converted to whole nanoseconds exactly, without floating-point numbers.

use std::fmt;
use std::time::Duration;

/// The units, with their length in nanoseconds. A duration is shown in the first unit that divides it.
const UNITS: [(&str, u64); 5] =
    [("min", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];

/// The shortest duration that is shown in minutes, because "60s" reads better than "1min".
const SHOWN_IN_MINUTES_NS: u128 = 120_000_000_000;

/// Why a text is not a duration: a sentence that says what is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationError(&'static str);

const NO_UNIT: DurationError = DurationError("has no unit");
const UNKNOWN_UNIT: DurationError = DurationError("has an unknown unit");
const NOT_A_NUMBER: DurationError = DurationError("does not begin with a number of 0 or more");
const TOO_FINE: DurationError = DurationError("is finer than a nanosecond");
const TOO_LONG: DurationError = DurationError("is too long");

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected a number and one of ns, us, ms, s or min, such as 250ms", self.0)
    }
}

impl std::error::Error for DurationError {}

/// Reads a duration such as "250ms": a whole or decimal number and one of ns, us, ms, s or min.
///
/// ```
/// use std::time::Duration;
/// use tautline::parse_duration;
///
/// assert_eq!(parse_duration("2.5 ms"), Ok(Duration::from_micros(2_500)));
/// assert!(parse_duration("250").is_err());
/// ```
///
/// # Errors
/// The unit is missing or unknown; the number is missing, negative or not a number; or the duration is finer than a
/// nanosecond or too long.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    if number.is_empty() {
        return Err(NOT_A_NUMBER);
    }
    let unit_ns = match unit.trim_start() {
        "" => return Err(NO_UNIT),
        "µs" => 1_000, // `Duration`'s `Debug` writes it so
        unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or(UNKNOWN_UNIT)?.1,
    };
    let ns = decimal_times(number, unit_ns)?;
    u64::try_from(ns).map(Duration::from_nanos).map_err(|_| TOO_LONG)
}

/// Multiplies the decimal `number` by `unit_ns`, exactly.
fn decimal_times(number: &str, unit_ns: u64) -> Result<u128, DurationError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = digits(whole)?;
    let fraction = fraction.trim_end_matches('0');
    let fraction_ns = if fraction.is_empty() {
        0
    } else {
        // No unit has more than 10^11 nanoseconds, so more than 11 digits are always too fine.
        let count = u32::try_from(fraction.len()).ok().filter(|count| *count <= 11);
        let scale = 10u64.pow(count.ok_or(TOO_FINE)?);
        let product = u128::from(digits(fraction)?) * u128::from(unit_ns);
        if !product.is_multiple_of(u128::from(scale)) {
            return Err(TOO_FINE);
        }
        product / u128::from(scale)
    };
    Ok(u128::from(whole) * u128::from(unit_ns) + fraction_ns)
}

/// Reads decimal digits: at least one, and nothing else.
fn digits(text: &str) -> Result<u64, DurationError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NOT_A_NUMBER);
    }
    text.parse().map_err(|_| TOO_LONG)
}

/// Returns the shortest exact text of a duration. [`parse_duration`] reads it back.
pub(crate) fn show_duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    if ns == 0 {
        return "0s".to_owned();
    }
    UNITS
        .iter()
        .filter(|(unit, _)| *unit != "min" || ns >= SHOWN_IN_MINUTES_NS)
        .find(|(_, unit_ns)| ns.is_multiple_of(u128::from(*unit_ns)))
        .map_or_else(|| format!("{ns}ns"), |(unit, unit_ns)| format!("{}{unit}", ns / u128::from(*unit_ns)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_exactly() {
        for (text, ns) in [
            ("0s", 0),
            ("1ns", 1),
            ("1.5us", 1_500),
            ("2 µs", 2_000),
            ("250ms", 250_000_000),
            (" 0.1s ", 100_000_000),
            ("5.0s", 5_000_000_000),
            ("1.25min", 75_000_000_000),
            ("0.00000000005min", 3),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(ns)), "{text}");
        }
    }

    #[test]
    fn each_wrong_text_gives_its_error() {
        for (text, error) in [
            ("5", NO_UNIT),
            ("0", NO_UNIT),
            ("5h", UNKNOWN_UNIT),
            ("5MS", UNKNOWN_UNIT),
            ("", NOT_A_NUMBER),
            ("ms", NOT_A_NUMBER),
            ("-5ms", NOT_A_NUMBER),
            ("+5ms", NOT_A_NUMBER),
            (".5ms", NOT_A_NUMBER),
            ("1..5ms", NOT_A_NUMBER),
            ("1e3ms", UNKNOWN_UNIT),
            ("0.5ns", TOO_FINE),
            ("0.000000000000000000000001s", TOO_FINE),
            ("99999999999999999999s", TOO_LONG),
            ("18446744073709551615min", TOO_LONG),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_shown_duration_reads_back() {
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1500ns"),
            (250_000_000, "250ms"),
            (60_000_000_000, "60s"),
            (600_000_000_000, "10min"),
        ] {
            assert_eq!(show_duration(Duration::from_nanos(ns)), text);
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(ns)));
        }
    }
}
