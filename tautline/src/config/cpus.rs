//! Sets of cores, in the notation of the kernel: `1`, `0,2-3`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::value::{Setting, SourceValue};

/// The highest core that a set may contain: the kernel's interface has room for 1,024 cores.
const LAST: usize = 1_023;

/// A set of cores, by number. The empty set means every core.
///
/// ```
/// use tautline::{Config, Cpus};
///
/// let cpus: Cpus = "0,2-3".parse()?;
/// assert_eq!(cpus, Cpus::from([0, 2, 3]));
/// let config = Config::server("127.0.0.1:0").cpus([1]);
/// assert_eq!(config.cpus.map(|cpus| cpus.to_string()).as_deref(), Some("1"));
/// # Ok::<(), tautline::CpusError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cpus {
    /// Invariant: ascending, without duplicates.
    numbers: Vec<usize>,
}

impl Cpus {
    /// Returns the set without restriction: every core.
    #[must_use]
    pub const fn any() -> Self {
        Self { numbers: Vec::new() }
    }

    /// Whether there is no restriction.
    pub(crate) const fn is_any(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Returns the cores in ascending order; none if there is no restriction.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.numbers.iter().copied()
    }

    /// Whether the set contains this core.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux tells which cores exist"))]
    pub(crate) fn names(&self, core: usize) -> bool {
        self.numbers.binary_search(&core).is_ok()
    }
}

impl FromIterator<usize> for Cpus {
    fn from_iter<I: IntoIterator<Item = usize>>(cores: I) -> Self {
        let mut numbers: Vec<usize> = cores.into_iter().collect();
        numbers.sort_unstable();
        numbers.dedup();
        Self { numbers }
    }
}

impl<const N: usize> From<[usize; N]> for Cpus {
    fn from(cores: [usize; N]) -> Self {
        cores.into_iter().collect()
    }
}

impl fmt::Display for Cpus {
    /// Writes the set as it is parsed, with runs as ranges: `any`, `1`, `0,2-3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_any() {
            return f.write_str("any");
        }
        for (index, run) in self.numbers.chunk_by(|left, right| left + 1 == *right).enumerate() {
            let separator = if index == 0 { "" } else { "," };
            match run {
                [first, .., last] => write!(f, "{separator}{first}-{last}")?,
                single => write!(f, "{separator}{}", single[0])?,
            }
        }
        Ok(())
    }
}

/// Why a text is not a set of cores: a sentence that says what is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpusError(&'static str);

const NOT_A_NUMBER: CpusError = CpusError("has a part that is not a number");
const BACKWARDS: CpusError = CpusError("has a range that runs backwards");
const TOO_HIGH: CpusError = CpusError("names a core above 1023");

impl fmt::Display for CpusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {EXPECTED}", self.0)
    }
}

impl std::error::Error for CpusError {}

const EXPECTED: &str = "core numbers and ranges from 0 to 1023, such as 1 or 0,2-3, or any";

impl FromStr for Cpus {
    type Err = CpusError;

    fn from_str(text: &str) -> Result<Self, CpusError> {
        let text = text.trim();
        if text == "any" {
            return Ok(Self::any());
        }
        let mut numbers = Vec::new();
        for part in text.split(',') {
            numbers.extend(range(part)?);
        }
        Ok(numbers.into_iter().collect())
    }
}

/// Reads one part: `2` or `2-5`.
fn range(part: &str) -> Result<RangeInclusive<usize>, CpusError> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (core(first)?, core(last)?);
    if first > last { Err(BACKWARDS) } else { Ok(first..=last) }
}

fn core(text: &str) -> Result<usize, CpusError> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NOT_A_NUMBER);
    }
    text.parse().ok().filter(|core| *core <= LAST).ok_or(TOO_HIGH)
}

impl Setting for Cpus {
    /// The highest core.
    type Size = usize;

    fn read(given: SourceValue<'_>) -> Option<Self> {
        match given {
            SourceValue::Untyped(text) | SourceValue::Text(text) => text.parse().ok(),
            SourceValue::Integer(number) => usize::try_from(number).ok().map(|core| Self::from([core])),
            _ => None,
        }
    }

    fn size(&self) -> usize {
        self.numbers.last().copied().unwrap_or(0)
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn expected(_: Option<&RangeInclusive<usize>>) -> String {
        EXPECTED.to_owned()
    }
}

/// The range of [`Setting::size`], so that sets made in code have the same bound as parsed sets.
pub(super) const NUMBERS: RangeInclusive<usize> = 0..=LAST;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_shown_in_its_shortest_form_and_reads_back() {
        for (text, cores, shown) in [
            ("1", vec![1], "1"),
            ("0,2-3", vec![0, 2, 3], "0,2-3"),
            (" 3 , 1 - 2,1", vec![1, 2, 3], "1-3"),
            ("0-1023", (0..1024).collect(), "0-1023"),
            ("any", vec![], "any"),
        ] {
            let cpus: Cpus = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(cpus.iter().collect::<Vec<_>>(), cores, "{text}");
            assert_eq!(cpus.to_string(), shown);
            assert_eq!(shown.parse(), Ok(cpus));
        }
    }

    #[test]
    fn each_wrong_text_gives_its_error() {
        for (text, error) in [
            ("", NOT_A_NUMBER),
            ("1,", NOT_A_NUMBER),
            ("-1", NOT_A_NUMBER),
            ("+1", NOT_A_NUMBER),
            ("1-", NOT_A_NUMBER),
            ("1-2-3", NOT_A_NUMBER),
            ("all", NOT_A_NUMBER),
            ("3-2", BACKWARDS),
            ("1024", TOO_HIGH),
            ("0-99999999999999999999", TOO_HIGH),
        ] {
            assert_eq!(text.parse::<Cpus>(), Err(error), "{text}");
        }
    }
}
