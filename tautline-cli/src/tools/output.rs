//! Writes data to stdout and messages for people to stderr.
//!
//! Only this module, [`screen`](super::screen) and the progress bars write to them. If the reader closes stdout, the
//! program ends quietly. Errors while writing to stderr are ignored. Colours appear only on a terminal and without
//! NO_COLOR.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use crate::tools::exit::Failure;

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
    let mut stdout = anstream::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::output_closed(),
        _ => Failure::failed(format!("cannot write to the standard output: {error}")),
    })
}

/// Writes a line to stderr.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Writes an error to stderr.
pub(crate) fn complain(text: impl fmt::Display) {
    note(format_args!("{} {text}", Styled(BAD, "error:")));
}

/// Writes a warning to stderr.
pub(crate) fn warn(text: impl fmt::Display) {
    note(format_args!("{} {text}", Styled(BOLD, "warning:")));
}

/// Whether stderr is a terminal that can move its cursor.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether to write colours to stderr: it is a terminal, and NO_COLOR is not set.
pub(crate) fn has_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}
