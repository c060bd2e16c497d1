//! Where a report comes from: the command, and the date and time. `cli` sets the command; `demo` and `bench` show both.

use std::ffi::OsString;
use std::sync::OnceLock;
use std::time::SystemTime;

static COMMAND_LINE: OnceLock<String> = OnceLock::new();

/// Keeps the command line of this run. Its first word is the program.
pub(crate) fn set(words: &[OsString]) {
    let words = words.iter().skip(1).map(|word| quoted(&word.to_string_lossy()));
    let line = std::iter::once("tautline".to_owned()).chain(words).collect::<Vec<_>>().join(" ");
    let _ = COMMAND_LINE.set(line); // fails only for a second run in one process, whose reports then show the first line
}

/// Returns the command line of this run, quoted as a shell reads it.
pub(crate) fn command_line() -> &'static str {
    COMMAND_LINE.get().map_or("tautline", String::as_str)
}

/// Quotes a word for a shell, if it needs that.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_=.,:/%@+[]".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Returns the date and the time of day (UTC) in the form 2026-01-31 14:05:09 UTC.
pub(crate) fn now() -> String {
    at(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// As [`now`], for the time that is this many seconds after 1970.
pub(crate) fn at(seconds: u64) -> String {
    let (days, seconds) = (seconds / 86_400, seconds % 86_400);
    format!("{} {} UTC", date(days), time(seconds))
}

/// Returns the time of day that is this many seconds after midnight.
fn time(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Returns the Gregorian date that is this many days after 1970-01-01.
fn date(mut days: u64) -> String {
    let is_leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_same_words_again() {
        for (word, shown) in
            [("--seconds", "--seconds"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(quoted(word), shown);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in
            [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_453, "2025-12-31")]
        {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn times_are_those_of_a_clock() {
        assert_eq!([time(0), time(50_709), time(86_399)], ["00:00:00", "14:05:09", "23:59:59"]);
    }
}
