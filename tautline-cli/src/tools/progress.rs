//! A progress bar: one line of stderr, drawn in place. Used by `send` and `bench`.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::tools::output;
use crate::tools::screen::raw;

/// How often the bar is drawn at most. Drawing takes time from what it shows.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// The bar. When it is dropped, it is gone from the terminal.
#[derive(Debug)]
pub(crate) struct Bar {
    began: Instant,
    drawn: Cell<Option<Instant>>,
}

impl Bar {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), drawn: Cell::new(None) }
    }

    /// Draws the share that is done (from 0 to 1, if it is known), and the text with the time that is left. Does nothing if it has drawn
    /// within [`DRAW_EVERY`].
    pub(crate) fn draw(&self, now: Instant, share: Option<f64>, text: impl FnOnce() -> String) {
        if self.drawn.get().is_some_and(|drawn| now.saturating_duration_since(drawn) < DRAW_EVERY) {
            return;
        }
        self.drawn.set(Some(now));
        let left = share.and_then(|share| left(now.saturating_duration_since(self.began), share));
        let (_, columns) = console::Term::stderr().size();
        raw(&format!(
            "\r\x1b[2K{}",
            output::printable(&line(columns.into(), share, &(text() + &left.unwrap_or_default())))
        ));
    }

    /// Removes the bar, until it is drawn again.
    pub(crate) fn clear(&self) {
        if self.drawn.take().is_some() {
            raw("\r\x1b[2K");
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How long it will take at this pace. `None` if there is no basis for an estimate.
fn left(passed: Duration, share: f64) -> Option<String> {
    let whole = Duration::try_from_secs_f64(passed.as_secs_f64() / share).ok()?;
    let seconds = whole.saturating_sub(passed).as_secs();
    Some(match seconds {
        ..100 => format!(", {seconds} s left"),
        100..6_000 => format!(", {} min left", seconds / 60),
        _ => format!(", {} h left", seconds / 3_600),
    })
}

/// Returns a line that fills all columns except the last one, where some terminals begin a new line.
fn line(columns: usize, share: Option<f64>, text: &str) -> String {
    let room = columns.saturating_sub(1);
    if room == 0 {
        return String::new();
    }
    let text = console::truncate_str(text, room, "…");
    let bar = room.saturating_sub(console::measure_text_width(&text) + 1);
    let Some(share) = share.filter(|_| bar >= 10) else { return text.into_owned() };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 0 to `bar`
    let done = (share.clamp(0.0, 1.0) * bar as f64) as usize;
    format!("{}{} {text}", "█".repeat(done), "░".repeat(bar - done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fills_the_terminal_and_never_wraps() {
        for (columns, share) in [(80, Some(0.5)), (80, None), (12, Some(1.0)), (3, Some(0.0)), (0, Some(2.0))]
        {
            let line = line(columns, share, "12 of 24 messages");
            assert!(console::measure_text_width(&line) < columns.max(1), "{line}");
        }
        let half = line(38, Some(0.5), "12 of 24 messages");
        assert_eq!(half, "█████████░░░░░░░░░░ 12 of 24 messages");
    }

    #[test]
    fn the_time_that_is_left_is_told_only_after_the_first_progress() {
        let seconds = Duration::from_secs;
        assert_eq!(left(seconds(10), 0.0), None);
        assert_eq!(left(seconds(10), 0.5).as_deref(), Some(", 10 s left"));
        assert_eq!(left(seconds(10), 0.01).as_deref(), Some(", 16 min left"));
        assert_eq!(left(seconds(10), 0.0001).as_deref(), Some(", 27 h left"));
    }
}
