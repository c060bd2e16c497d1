//! Checks for Ctrl-C and shows a progress bar while a measurement runs.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar};

use crate::tools::exit::Failure;
use crate::tools::interrupt::Interrupt;
use crate::tools::output;
use crate::tools::progress::bar;

/// How often the bar is drawn. Drawing takes time from the measurement.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// The length of the bar in steps.
const LENGTH: u64 = 1000;

#[derive(Debug)]
pub(super) struct ProgressWatch {
    interrupt: Option<Interrupt>,
    bar: Option<ProgressBar>,
    shown: Cell<Instant>,
    what: &'static str,
}

impl ProgressWatch {
    /// Creates a watch for the time before the measurement. Ctrl-C still ends the program, because there are no results
    /// yet.
    pub(super) fn idle() -> Self {
        Self { interrupt: None, bar: None, shown: Cell::new(Instant::now()), what: "" }
    }

    /// Starts a measurement that counts `what`. From now on the first Ctrl-C only asks the program to end.
    pub(super) fn start(what: &'static str) -> Result<Self, Failure> {
        let bar = output::is_watched().then(|| bar(Some(LENGTH), "{wide_bar} {msg}"));
        Ok(Self { interrupt: Some(Interrupt::install()?), bar, what, shown: Cell::new(Instant::now()) })
    }

    pub(super) fn is_asked(&self) -> bool {
        self.interrupt.as_ref().is_some_and(Interrupt::is_asked)
    }

    /// Removes the bar, so that the results can be printed.
    pub(super) fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Shows that `share` of the measurement is done, from 0 to 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 0 to 1000
    pub(super) fn show(&self, now: Instant, share: impl FnOnce() -> f64, count: u64) {
        let Some(bar) = &self.bar else { return };
        if now.saturating_duration_since(self.shown.get()) >= SHOW_EVERY {
            self.shown.set(now);
            bar.set_position((share().clamp(0.0, 1.0) * LENGTH as f64) as u64);
            // At position 0 there is no basis for an estimate.
            let left = match bar.position() {
                0 => String::new(),
                _ => format!(", {:#} left", HumanDuration(bar.eta())),
            };
            bar.set_message(format!("{count} {}{left}", self.what));
        }
    }
}

impl Drop for ProgressWatch {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_shown_only_after_the_first_progress() {
        let (bar, start) = (ProgressBar::hidden(), Instant::now());
        bar.set_length(LENGTH);
        let mut watch = ProgressWatch::idle();
        watch.bar = Some(bar.clone());
        watch.show(start + 2 * SHOW_EVERY, || 0.0009, 7);
        assert_eq!(bar.message(), "7 ");
        watch.show(start + 4 * SHOW_EVERY, || 0.5, 8);
        assert!(bar.message().starts_with("8 , ") && bar.message().ends_with(" left"), "{}", bar.message());
    }
}
