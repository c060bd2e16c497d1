//! The progress bar of `tautline send`.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::args::Args;
use crate::tools::output;
use crate::tools::progress::bar;

/// A progress bar on stderr. It appears only on a terminal and only for long input.
pub(super) struct Progress {
    since: Instant,
    bar: Option<ProgressBar>,
    template: Option<(Option<u64>, &'static str)>,
}

/// The bar appears after this time.
const BAR_AFTER: Duration = Duration::from_millis(500);

impl Progress {
    pub(super) fn new(args: &Args) -> Self {
        let is_typed = args.data.is_none() && io::stdin().is_terminal();
        let template = match (args.data.is_some(), args.count) {
            _ if is_typed || !output::is_watched() => None,
            (true, None) => None,
            (true, count) => Some((count, "{wide_bar} {pos} of {len} messages, {eta} left")),
            (false, _) => match input_length() {
                Some(length) => {
                    Some((Some(length), "{wide_bar} {bytes} of {total_bytes}, {msg}, {eta} left"))
                }
                None => Some((None, "{spinner} {msg}, {bytes} in {elapsed}")),
            },
        };
        Self { since: Instant::now(), bar: None, template }
    }

    /// Shows that the input is processed up to `position` and that `sent` messages were sent.
    pub(super) fn show(&mut self, position: u64, sent: u64) {
        if self.bar.is_none() && self.since.elapsed() > BAR_AFTER {
            self.bar = self.template.take().map(|(length, template)| bar(length, template));
            if let Some(bar) = &self.bar {
                bar.set_position(position);
                bar.reset_eta(); // the estimate must not count the time before the bar appeared
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(format!("{sent} messages"));
        }
    }

    /// Hides the bar while `say` writes to stderr.
    pub(super) fn aside(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Returns the length of standard input if it is a file.
fn input_length() -> Option<u64> {
    let metadata = std::fs::metadata("/dev/stdin").ok()?;
    metadata.is_file().then_some(metadata.len())
}
