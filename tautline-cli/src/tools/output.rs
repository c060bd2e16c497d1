//! Where text goes: stdout is data, stderr is for people.
//!
//! The only module that writes to either. A reader that closes stdout ends the program quietly; a
//! stderr that cannot be written is nobody's concern. Colours are for terminals without NO_COLOR.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use crate::tools::exit::Failure;

/// Emphasis for headings, good news and bad news.
pub(crate) const BOLD: anstyle::Style = anstyle::Style::new().bold();
pub(crate) const FAINT: anstyle::Style = anstyle::Style::new().dimmed();
pub(crate) const GOOD: anstyle::Style = anstyle::AnsiColor::Green.on_default().bold();
pub(crate) const BAD: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();

/// Text in a style, for format strings.
#[derive(Debug)]
pub(crate) struct Styled<T>(pub(crate) anstyle::Style, pub(crate) T);

impl<T: fmt::Display> fmt::Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:#}", self.0, self.1, self.0)
    }
}

/// Writes data, a whole text at once, and flushes it.
///
/// # Errors
/// When stdout is closed (quiet) or cannot be written, say on a full disk.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::output_closed(),
        _ => Failure::failed(format!("cannot write to the standard output: {error}")),
    })
}

/// Tells people something, on a line of its own.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Tells people what went wrong.
pub(crate) fn complain(text: impl fmt::Display) {
    note(format_args!("{} {text}", Styled(BAD, "error:")));
}

/// Tells people what may surprise them.
pub(crate) fn warn(text: impl fmt::Display) {
    note(format_args!("{} {text}", Styled(BOLD, "warning:")));
}

/// Whether people watch stderr on a terminal that can redraw.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether stderr wants colours: a terminal, and no NO_COLOR.
pub(crate) fn has_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}
