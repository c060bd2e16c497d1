//! Checks for Ctrl-C and shows a progress bar while a measurement runs.

use std::time::Instant;

use crate::tools::exit::Failure;
use crate::tools::interrupt::Interrupt;
use crate::tools::output;
use crate::tools::progress::Bar;

#[derive(Debug)]
pub(super) struct ProgressWatch {
    interrupt: Option<Interrupt>,
    bar: Option<Bar>,
    what: &'static str,
}

impl ProgressWatch {
    /// Creates a watch for the time before the measurement. Ctrl-C still ends the program, because there are no results
    /// yet.
    pub(super) fn idle() -> Self {
        Self { interrupt: None, bar: None, what: "" }
    }

    /// Starts a measurement that counts `what`. From now on the first Ctrl-C only asks the program to end.
    pub(super) fn start(what: &'static str) -> Result<Self, Failure> {
        let bar = output::is_watched().then(Bar::new);
        Ok(Self { interrupt: Some(Interrupt::install()?), bar, what })
    }

    pub(super) fn is_asked(&self) -> bool {
        self.interrupt.as_ref().is_some_and(Interrupt::is_asked)
    }

    /// Removes the bar, so that the results can be printed.
    pub(super) fn close(&mut self) {
        self.bar = None;
    }

    /// Shows that `share` of the measurement is done, from 0 to 1.
    pub(super) fn show(&self, now: Instant, share: impl FnOnce() -> f64, count: u64) {
        if let Some(bar) = &self.bar {
            bar.draw(now, Some(share()), || format!("{count} {}", self.what));
        }
    }
}
