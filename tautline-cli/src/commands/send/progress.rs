//! The progress bar of `tautline send`.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use super::args::Args;
use crate::tools::output;
use crate::tools::progress::Bar;

/// A progress bar on stderr. It appears only on a terminal and only for long input.
pub(super) struct Progress {
    since: Instant,
    bar: Option<Bar>,
    of: Option<Of>,
}

/// What is sent.
#[derive(Clone, Copy)]
enum Of {
    /// The same message so many times.
    Messages(u64),
    /// A file of so many bytes.
    File(u64),
    /// What comes from a pipe.
    Pipe,
}

/// The bar appears after this time.
const BAR_AFTER: Duration = Duration::from_millis(500);

impl Progress {
    pub(super) fn new(args: &Args) -> Self {
        let is_typed = args.data.is_none() && io::stdin().is_terminal();
        let of = match (args.data.is_some(), args.count) {
            _ if is_typed || !output::is_watched() => None,
            (true, count) => count.map(Of::Messages),
            (false, _) => Some(input_length().map_or(Of::Pipe, Of::File)),
        };
        Self { since: Instant::now(), bar: None, of }
    }

    /// Shows that the input is processed up to `position` and that `sent` messages were sent.
    pub(super) fn show(&mut self, position: u64, sent: u64) {
        let Some(of) = self.of else { return };
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.since);
        if passed <= BAR_AFTER {
            return;
        }
        let share = |all: u64| Some(position as f64 / all.max(1) as f64);
        let bar = self.bar.get_or_insert_with(Bar::new);
        match of {
            Of::Messages(all) => bar.draw(now, share(all), || format!("{position} of {all} messages")),
            Of::File(all) => bar.draw(now, share(all), || {
                format!("{} of {}, {sent} messages", megabytes(position), megabytes(all))
            }),
            Of::Pipe => bar.draw(now, None, || {
                format!("{sent} messages, {} in {} s", megabytes(position), passed.as_secs())
            }),
        }
    }

    /// Hides the bar while `say` writes to stderr.
    pub(super) fn aside(&self, say: impl FnOnce()) {
        self.bar.iter().for_each(Bar::clear);
        say();
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Returns the length of standard input if it is a file.
fn input_length() -> Option<u64> {
    let metadata = std::fs::metadata("/dev/stdin").ok()?;
    metadata.is_file().then_some(metadata.len())
}
