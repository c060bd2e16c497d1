//! Writes data to stdout and messages for people to stderr.
//!
//! Only this module, [`screen`](super::screen) and the progress bars write to them. If the reader closes stdout, the
//! program ends quietly. Errors while writing to stderr are ignored. Colours appear only on a terminal and without
//! NO_COLOR.
//!
//! A stranger's text may hold characters that control the terminal, or that reverse the order of what is shown. All of them are
//! escaped in all that is written, except for the colours of this program: [`printable`]. In JSON the escape means the same character, so that no data change.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use tautline::recording::escaped;
use tautline::recording::misleads;

use crate::tools::exit::Failure;
use crate::tools::words::fitted;

/// The styles of headings, details, good news and bad news.
pub(crate) const BOLD: anstyle::Style = anstyle::Style::new().bold();
pub(crate) const FAINT: anstyle::Style = anstyle::Style::new().dimmed();
pub(crate) const GOOD: anstyle::Style = anstyle::AnsiColor::Green.on_default().bold();
pub(crate) const BAD: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();

/// Text in a style, for use in format strings.
#[derive(Debug)]
pub(crate) struct Styled<T>(pub(crate) anstyle::Style, pub(crate) T);

impl<T: fmt::Display> fmt::Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:#}", self.0, self.1, self.0)
    }
}

/// Writes `text` to stdout and flushes it.
///
/// # Errors
/// A quiet failure if stdout is closed. A failure with a message if it cannot be written, for example on a full disk.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let text = printable(text);
    // `anstream` removes colours where there is no terminal. Text without them must not pass it, because it removes more.
    let written = if text.contains(ESCAPE) {
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
    } else {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
    };
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::output_closed(),
        _ => Failure::failed(format!("cannot write to the standard output: {error}")),
    })
}

/// Whether only errors go to stderr (`--quiet`). Set once, before the subcommand runs. Order: relaxed; nothing depends on it.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Whether every line of stderr is a JSON object (`listen --json`). Set and read as [`IS_QUIET`].
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Lets only errors go to stderr from now on.
pub(crate) fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

pub(crate) fn is_quiet() -> bool {
    IS_QUIET.load(Ordering::Relaxed)
}

/// Writes every line of stderr as a JSON object from now on. Its key says what it is: `note`, `warning`, `error` or `log`.
pub(crate) fn notes_as_json() {
    IS_JSON.store(true, Ordering::Relaxed);
}

/// Writes a line to stderr.
pub(crate) fn note(text: impl fmt::Display) {
    if !is_quiet() {
        to_stderr("note", "", &text.to_string());
    }
}

/// As [`note`], for the first line of what goes on until Ctrl-C. On a terminal it says how to end it.
pub(crate) fn note_of_start(text: impl fmt::Display) {
    let is_for_people = io::stderr().is_terminal() && !IS_JSON.load(Ordering::Relaxed);
    note(format_args!("{text}{}", if is_for_people { " (Ctrl-C ends it)" } else { "" }));
}

/// Writes a line of the library's log to stderr.
pub(crate) fn log(text: &str) {
    to_stderr("log", "", text);
}

/// Writes what is JSON already as a line to stderr.
pub(crate) fn note_json(json: &str) {
    if !is_quiet() {
        let _ = writeln!(io::stderr().lock(), "{}", printable(json));
    }
}

/// The lines for stderr that wait until a picture is off the screen. `None`: there is no picture.
static HELD_BACK: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Holds lines back from now on. A line in the middle of a picture would move it, and the next picture would write over the line.
pub(crate) fn hold_lines_back() {
    *held_back() = Some(Vec::new());
}

/// Writes the lines that were held back.
pub(crate) fn release_lines() {
    let lines = held_back().take();
    lines.into_iter().flatten().for_each(|line| drop(write_line(line)));
}

/// Whether a picture is on the screen.
pub(crate) fn holds_lines_back() -> bool {
    held_back().is_some()
}

fn held_back() -> MutexGuard<'static, Option<Vec<String>>> {
    HELD_BACK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most lines that are held back. Later ones are left out, because the first lines tell what began.
const MOST_HELD_BACK: usize = 100;

fn to_stderr(kind: &str, prefix: &str, text: &str) {
    let text = &without_codes(text);
    if let Some(lines) = &mut *held_back() {
        if lines.len() < MOST_HELD_BACK {
            lines.push(format!("{prefix}{}", printable(text)));
        }
        return;
    }
    // The terminal may be gone. Then nobody reads this.
    let _ = if IS_JSON.load(Ordering::Relaxed) {
        let text = anstream::adapter::strip_str(text).to_string();
        writeln!(io::stderr().lock(), "{}", printable(&serde_json::json!({ kind: text }).to_string()))
    } else {
        write_line(format!("{prefix}{}", printable(text)))
    };
}

/// Removes the system's numbers of errors, which stand behind their words: "No such file or directory (os error 2)".
pub(crate) fn without_codes(text: &str) -> Cow<'_, str> {
    const BEGIN: &str = " (os error ";
    let mut text = Cow::Borrowed(text);
    while let Some(at) = text.find(BEGIN) {
        let code = &text[at + BEGIN.len()..];
        let digits = code.trim_start_matches('-').trim_start_matches(|c: char| c.is_ascii_digit());
        let Some(rest) = digits.strip_prefix(')') else { break };
        text = Cow::Owned(format!("{}{rest}", &text[..at]));
    }
    text
}

/// Writes a line to stderr. On a terminal it breaks at spaces.
fn write_line(line: String) -> io::Result<()> {
    let terminal = console::Term::stderr();
    let line = if terminal.is_term() { fitted(&line, terminal.size().1.into()) } else { line };
    writeln!(anstream::stderr().lock(), "{line}")
}

const ESCAPE: char = '\x1b';

/// Returns the text with an escape such as `\u009b` for each control character (C0, DEL, C1, those that set the direction of
/// writing, and Unicode's own line ends), except for line ends, tabs and the sequences that set colours and weights.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    // DEL, and the first bytes of a C1 control and of a direction in UTF-8.
    let suspicious = |byte: u8| (byte < b' ' && byte != b'\n') || matches!(byte, 0x7f | 0xc2 | 0xd8 | 0xe2);
    if !text.bytes().any(suspicious) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(misleads) {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let control = from.chars().next().unwrap_or_default();
        let kept = match control {
            '\n' | '\t' => 1,
            ESCAPE => colour_length(from),
            _ => 0,
        };
        out.push_str(&from[..kept]);
        if kept == 0 {
            let _ = write!(out, "\\u{:04x}", u32::from(control)); // writing to a String cannot fail
        }
        rest = &from[kept.max(control.len_utf8())..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Returns the length of the sequence that sets a colour or a weight at the start of `text`. 0 if there is none.
fn colour_length(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else { return 0 };
    let digits = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if parameters.as_bytes().get(digits) == Some(&b'm') { "\x1b[".len() + digits + 1 } else { 0 }
}

/// Writes an error to stderr.
pub(crate) fn complain(text: impl fmt::Display) {
    to_stderr("error", &format!("{} ", Styled(BAD, "error:")), &text.to_string());
}

/// As [`complain`], for a text that begins with "error:" and has its own colours.
pub(crate) fn complain_in_its_words(text: &str) {
    to_stderr("error", "", text.trim_end());
}

/// Writes a warning to stderr.
pub(crate) fn warn(text: impl fmt::Display) {
    if !is_quiet() {
        to_stderr("warning", &format!("{} ", Styled(BOLD, "warning:")), &text.to_string());
    }
}

/// Returns the width of the terminal that stdout is. `None` if it is none, or if its width is not known.
pub(crate) fn columns() -> Option<usize> {
    let terminal = console::Term::stdout();
    terminal.size_checked().filter(|_| io::stdout().is_terminal()).map(|(_, columns)| columns.into())
}

/// Wraps text for people at the width of the terminal that stdout is.
pub(crate) fn on_terminal(text: String) -> String {
    match columns() {
        Some(columns) => fitted(&text, columns),
        None => text,
    }
}

/// On a terminal that is narrower, a line that is to be cut takes two.
const NARROW: usize = 60;

/// Returns a line of at most so many columns, or two lines on a narrow terminal. Its colours end with it.
pub(crate) fn cut(line: &str, columns: Option<usize>) -> Cow<'_, str> {
    let Some(columns) = columns else { return Cow::Borrowed(line) };
    let short = |line| console::truncate_str(line, columns, "…").into_owned();
    match fitted(line, columns).split_once('\n') {
        Some((first, rest)) if columns < NARROW => {
            let rest = rest.split('\n').map(str::trim_start).collect::<Vec<_>>().join(" ");
            Cow::Owned(format!("{}\n{}", short(first.trim_end()), short(&format!("  {rest}"))))
        }
        _ => Cow::Owned(short(line)),
    }
}

/// Whether somebody watches stderr: it is a terminal that can move its cursor, and not to be quiet.
pub(crate) fn is_watched() -> bool {
    let is_dumb = || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !is_quiet() && io::stderr().is_terminal() && !is_dumb() && obeys_escapes()
}

/// Lets a Windows console obey escape sequences, and returns whether it does. An old console cannot. Under NO_COLOR it is not asked.
fn obeys_escapes() -> bool {
    cfg!(unix) || console::Term::stderr().features().colors_supported()
}

/// Whether to write colours to stderr: it is a terminal, and NO_COLOR is not set.
pub(crate) fn has_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_colours_stay() {
        for (text, shown) in [
            ("plain é ☃\tand\nlines", "plain é ☃\tand\nlines"),
            ("a\u{7f}b\u{80}c\u{9b}2Jd\u{9f}e\u{a0}", "a\\u007fb\\u0080c\\u009b2Jd\\u009fe\u{a0}"),
            ("\x1b[1mbold\x1b[0m \x1b[38;5;9mred", "\x1b[1mbold\x1b[0m \x1b[38;5;9mred"),
            ("\x1b[2J\x1b]0;title\x07\x1b", "\\u001b[2J\\u001b]0;title\\u0007\\u001b"),
            ("\x1b[31", "\\u001b[31"),
            ("\0\x08\r", "\\u0000\\u0008\\u000d"),
            ("a\u{202e}b\u{2066}\u{2069}\u{200f}\u{61c}", "a\\u202eb\\u2066\\u2069\\u200f\\u061c"),
            ("a\u{2028}b\u{2029}", "a\\u2028b\\u2029"),
            ("\u{2014} \u{2065} \u{601} \u{200d}", "\u{2014} \u{2065} \u{601} \u{200d}"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert!(matches!(printable("{\"data\": [1.5]}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_strangers_text_has_no_colours_and_no_line_ends() {
        assert_eq!(escaped("a\x1b[31mred\n\tb\u{202e}"), "a\\u001b[31mred\\u000a\\u0009b\\u202e");
        assert!(matches!(escaped("plain é"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_line_is_cut_to_the_columns_of_the_terminal() {
        assert_eq!(cut("0123456789", Some(5)), "0123…");
        assert_eq!(cut("0123456789", Some(10)), "0123456789");
        assert_eq!(cut("0123456789", None), "0123456789");
        let line = "12:34:56.789 command    arm          1.20 ms {\"force\": 1.5, \"axes\": [1, 2, 3]}";
        let two = "12:34:56.789 command    arm\n  1.20 ms {\"force\": 1.5, \"axes\": [1, 2,…";
        assert_eq!(cut(line, Some(40)), two);
    }

    #[test]
    fn escaped_json_means_the_same() {
        let json = serde_json::to_string("a\u{7f}b\u{9b}c\x1b\u{202e}").expect("text is JSON");
        let escaped = printable(&json);
        assert!(escaped.is_ascii(), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).expect("JSON"), "a\u{7f}b\u{9b}c\x1b\u{202e}");
    }
}
