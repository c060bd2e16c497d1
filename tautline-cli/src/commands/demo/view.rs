//! The view of the running demo: a picture that is redrawn in place on a terminal, or plain lines in a log.
//!
//! [`View::frame`] turns snapshots into lines and has no side effects. [`Screen`](crate::tools::screen::Screen) writes
//! the lines to stderr.

use std::collections::VecDeque;
use std::time::Duration;

use super::messages::{DemoEvent, MotorState, Settings, Snapshot};
use super::pendulum::{DESK, State, wrapped};
use crate::tools::output::{BAD, BOLD, FAINT, GOOD, Styled};
use crate::tools::text_chart::{Canvas, bars, resampled};
use crate::tools::words::fitted;

/// The number of snapshots for the small charts and the rate: one for each column of the widest chart.
const REMEMBERED: usize = WIDEST - FIGURES;
/// The columns before a chart.
const FIGURES: usize = 21;
/// The number of snapshots per second that the plant sends.
pub(super) const PER_SECOND: u32 = 10;

/// The height of the drawing in lines. It has room for the rod, which is 20 dots long, above and below the rail.
const CANVAS_ROWS: usize = 11;
const DOTS_PER_METRE: f64 = 20.0;
/// The largest width of the picture in columns.
const WIDEST: usize = 100;

/// The number of events shown, and of lines for them. On a narrow terminal they take twice as many, if there is room.
pub(super) const RECENT: usize = 3;
const NARROW: usize = 70;
/// With fewer lines for events, there is no drawing.
const FEWEST_EVENT_ROWS: usize = 2;

/// The recent snapshots, for the charts and the rates.
#[derive(Debug)]
pub(super) struct View {
    title: String,
    settings: Settings,
    past: VecDeque<Snapshot>,
}

impl View {
    pub(super) fn new(title: String, settings: Settings) -> Self {
        Self { title, settings, past: VecDeque::with_capacity(REMEMBERED) }
    }

    /// Adds a snapshot of the plant.
    pub(super) fn update(&mut self, snapshot: Snapshot) {
        if self.past.len() == REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(snapshot);
    }

    /// Returns the answered samples per second, over the last second.
    fn rate(&self) -> f64 {
        let Some(now) = self.past.back() else { return 0.0 };
        let then = self.past.iter().rev().nth(PER_SECOND as usize).or(self.past.front());
        let (answered, elapsed) = then
            .filter(|then| then.elapsed < now.elapsed)
            .map_or((0, Duration::ZERO), |then| (then.answered, then.elapsed));
        let seconds = (now.elapsed - elapsed).as_secs_f64();
        if seconds > 0.0 { (now.answered - answered) as f64 / seconds } else { 0.0 }
    }

    /// Formats the latest snapshot as one plain line for logs.
    pub(super) fn line(&self) -> String {
        let Some(now) = self.past.back() else { return String::new() };
        format!(
            "{:4.1} s: angle {:+.1}°, cart {:+.2} m, force {:+.1} N{}, {:.0} answers/s, RTT {}, unanswered {}",
            now.elapsed.as_secs_f64(),
            degrees(&now.state),
            now.state.cart_m,
            now.force_n,
            match now.motor {
                MotorState::Running => "",
                MotorState::Stopped => " (stopped)",
                MotorState::Enabled => " (enabled)",
            },
            self.rate(),
            now.rtt.line().replace("  ", ", "),
            now.sent - now.answered,
        )
    }

    /// Returns the lines of the picture for a terminal of this size. `entries` are the latest events, oldest first.
    pub(super) fn frame(&self, columns: usize, rows: usize, entries: &[DemoEvent]) -> Vec<String> {
        let Some(now) = self.past.back() else { return Vec::new() };
        let columns = columns.min(WIDEST);
        let fit = |line: String| fitted(&line, columns).lines().map(str::to_owned).collect::<Vec<_>>();
        let text = self.figures(now, columns).into_iter().chain([status(now)]).flat_map(fit);
        let text: Vec<String> = text.collect();
        let mut lines = vec![self.title_line(now, columns)];
        // The cursor stands below the picture.
        let mut left = rows.saturating_sub(lines.len() + text.len() + 1);
        if left >= CANVAS_ROWS + FEWEST_EVENT_ROWS && columns > 20 {
            lines.extend(drawing(&now.state, columns - 2));
            left -= CANVAS_ROWS;
        }
        lines.extend(text);
        let wanted = if columns < NARROW { 2 * RECENT } else { RECENT };
        let most = wanted.min(left);
        let events: Vec<String> = entries.iter().map(event_line).flat_map(fit).collect();
        let height = lines.len() + most;
        lines.extend_from_slice(&events[events.len().saturating_sub(most)..]);
        lines.resize_with(height, String::new);
        lines.iter().map(|line| console::truncate_str(line, columns, "").into_owned()).collect()
    }

    /// Returns the title and the time. If there is no room for both, the title is cut off.
    fn title_line(&self, now: &Snapshot, columns: usize) -> String {
        let (at, of) = (now.elapsed.as_secs_f64(), self.settings.length.as_secs_f64());
        let time = format!("   {at:.1} of {of:.1} s");
        let title = console::truncate_str(&self.title, columns.saturating_sub(time.len()), "");
        format!("{}{time}", Styled(BOLD, title))
    }

    fn figures(&self, now: &Snapshot, columns: usize) -> Vec<String> {
        let chart = |value: fn(&Snapshot) -> f64, least: f64| {
            let values: Vec<f64> = self.past.iter().map(value).collect();
            let most = values.iter().fold(least, |most, value| most.max(value.abs()));
            let room = columns.saturating_sub(FIGURES);
            // The latest, one for each column.
            let shown = &values[values.len().saturating_sub(room)..];
            bars(resampled(shown, room), -most, most)
        };
        vec![
            format!("angle  {:+8.1} °    {}", degrees(&now.state), chart(|past| degrees(&past.state), 1.0)),
            format!("cart   {:+8.2} m    {}", now.state.cart_m, chart(|past| past.state.cart_m, 0.1)),
            format!("force  {:+8.2} N    {}", now.force_n, chart(|past| past.force_n, 0.5)),
            format!(
                "link   {:8.0} answers/s   sent {}   unanswered {}",
                self.rate(),
                now.sent,
                now.sent - now.answered
            ),
            format!("RTT    {}", now.rtt.line()),
        ]
    }
}

fn degrees(state: &State) -> f64 {
    wrapped(state.angle_rad).to_degrees()
}

fn status(now: &Snapshot) -> String {
    match now.motor {
        MotorState::Running => Styled(GOOD, "the controller balances the rod").to_string(),
        MotorState::Stopped => {
            Styled(BAD, "STOPPED: no command moves the motor until it is enabled").to_string()
        }
        MotorState::Enabled => Styled(BAD, "enabled: the motor waits for a command").to_string(),
    }
}

/// Formats an event with its time.
pub(super) fn event_line(event: &DemoEvent) -> String {
    let style = match event.what.is_bad() {
        Some(true) => BAD,
        Some(false) => GOOD,
        None => FAINT,
    };
    let time = format!("{:6.2} s", event.at.as_secs_f64());
    format!("{}  {}", Styled(FAINT, time), Styled(style, &event.what))
}

/// Draws the cart on its rail, and the rod.
fn drawing(state: &State, columns: usize) -> Vec<String> {
    const CART_HALF: f64 = 4.0;
    let mut canvas = Canvas::new(columns, CANVAS_ROWS);
    let (width, height) = canvas.size();
    let rail = height / 2.0;
    let edge = CART_HALF + 1.0;
    let cart = (width / 2.0 + state.cart_m * DOTS_PER_METRE).clamp(edge, width - edge);
    let rod = 2.0 * DESK.half_rod_m * DOTS_PER_METRE;
    let (sin, cos) = state.angle_rad.sin_cos();
    canvas.line((0.0, rail + 2.0), (width, rail + 2.0));
    canvas.block((cart - CART_HALF, rail - 1.0), (cart + CART_HALF, rail + 2.0));
    for offset in [-0.5, 0.5] {
        canvas.line((cart + offset, rail), (cart + offset + rod * sin, rail - rod * cos));
    }
    canvas.rows().iter().map(|row| format!(" {row}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::messages::EventKind;
    use super::*;
    use crate::tools::latency::Percentiles;
    use std::time::Instant;

    fn snapshot(second: u64, answered: u64) -> Snapshot {
        Snapshot {
            released: Instant::now(),
            elapsed: Duration::from_secs(second),
            state: State { angle_rad: 0.1, ..State::default() },
            force_n: -2.0,
            motor: if second > 2 { MotorState::Stopped } else { MotorState::Running },
            sent: answered + 3,
            answered,
            rtt: Percentiles { p50: Some(40.0), ..Percentiles::default() },
            recent: Vec::new(),
        }
    }

    fn view() -> View {
        let settings = Settings {
            length: Duration::from_secs(5),
            rate: 1000,
            cut: None,
            timeout: Duration::from_millis(50),
            re_enable: None,
        };
        let mut view = View::new("tautline demo".to_owned(), settings);
        view.update(snapshot(1, 1000));
        view.update(snapshot(2, 1900));
        view
    }

    #[test]
    fn a_frame_fits_terminals_of_every_size() {
        let entries = [DemoEvent { at: Duration::from_secs(1), what: EventKind::Cut }];
        for (columns, rows) in [(80, 24), (200, 60), (40, 20), (40, 14), (10, 3), (0, 0)] {
            let lines = view().frame(columns, rows, &entries);
            assert!(lines.iter().all(|line| console::measure_text_width(line) <= columns));
            assert!(lines.len() < rows.max(14), "{} lines at {columns}x{rows}", lines.len());
        }
    }

    #[test]
    fn nothing_is_cut_off_on_a_narrow_terminal() {
        let silent = Duration::from_millis(50);
        let entries = [EventKind::Cut, EventKind::StoppedByDrive { silent }, EventKind::Stopped { silent }]
            .map(|what| DemoEvent { at: Duration::from_secs(1), what });
        let mut view = view();
        view.update(snapshot(3, 2900));
        let lines = view.frame(40, 20, &entries);
        let shown = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let shown = console::strip_ansi_codes(&shown);
        for entry in &entries {
            let text = entry.what.to_string();
            assert!(shown.contains(&text), "no {text:?}: {lines:#?}");
        }
        for text in ["no command moves the motor until it is enabled", "unanswered 3"] {
            assert!(shown.contains(text), "no {text:?}: {lines:#?}");
        }
    }

    #[test]
    fn the_charts_fill_the_width_from_the_start() {
        for columns in [80, 100, 40] {
            let lines = view().frame(columns, 24, &[]);
            let charts: Vec<_> = lines.iter().filter(|line| line.contains(['▁', '▄', '▅', '█'])).collect();
            assert!(charts.len() >= 3, "{lines:?}");
            assert!(charts.iter().all(|line| console::measure_text_width(line) == columns), "{charts:?}");
        }
    }

    #[test]
    fn the_time_stays_beside_a_long_title() {
        let mut view = view();
        view.title =
            "tautline demo: classic wire, 5000 Hz, plant at [fe80::1234:5678:9abc:def0]:65535".to_owned();
        let lines = view.frame(80, 24, &[]);
        assert!(
            lines[0].contains("2.0 of 5.0 s") && console::measure_text_width(&lines[0]) == 80,
            "{lines:?}"
        );
    }

    #[test]
    fn the_height_of_the_picture_is_constant() {
        let event = DemoEvent { at: Duration::ZERO, what: EventKind::Cut };
        let heights = [0, 1, RECENT].map(|n| view().frame(80, 24, &vec![event.clone(); n]).len());
        assert_eq!(heights, [heights[0]; 3]);
    }

    #[test]
    fn a_line_for_logs_has_the_figures() {
        let line = view().line();
        for part in ["angle +5.7°", "force -2.0 N", "900 answers/s", "RTT p50 40 µs, unanswered 3"] {
            assert!(line.contains(part), "no {part} in {line}");
        }
    }
}
