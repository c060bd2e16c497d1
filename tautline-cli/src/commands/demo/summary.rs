//! The summary of the demo, as text or as one line of JSON.

use std::time::Duration;

use serde::Serialize;

use super::record::{EventLog, Trajectory};
use super::secured::Costs;
use super::view::event_line;
use crate::tools::exit::Exit;
use crate::tools::latency::{Latencies, Percentiles, show_us};
use crate::tools::output::{BAD, BOLD, FAINT, GOOD, Styled};
use crate::tools::round_trips::RoundTrips;
use crate::tools::text_chart::{bars, resampled};
use crate::tools::words::{counted, fitted, wrapped};

/// The width of the text in columns if standard output is no terminal, and the largest width.
const COLUMNS: usize = 80;
const WIDEST: usize = 100;

/// The columns before a line's text, and those that a chart leaves for the text after it.
const INDENT: usize = 13;
const AFTER_CHART: usize = 19;

/// A chart has at least so many bars, even if the terminal is too narrow for them.
const FEWEST_BARS: usize = 8;

/// The lines of the summary. As many events are shown as fit, but some in any case; `--json` has all of them.
const ROWS: usize = 22;
const FEWEST_EVENTS: usize = 4;

/// All results of the demo.
#[derive(Debug)]
pub(super) struct Summary {
    /// "native" or "classic".
    pub(super) wire: &'static str,
    pub(super) rate: u32,
    pub(super) elapsed: Duration,
    pub(super) is_upright: bool,
    /// Whether the rod leant beyond 90° at any time.
    pub(super) has_fallen: bool,
    /// Whether the motor is stopped at the end, and since when.
    pub(super) stopped_at: Option<Duration>,
    /// The commands that were dropped because the motor was stopped.
    pub(super) latched: u64,
    pub(super) round_trips: RoundTrips,
    /// The samples without an answer while no commands came, or none were obeyed.
    pub(super) lost_in_silence: u64,
    /// The commands that arrived but were not obeyed because they were stale, overtaken or not finite.
    pub(super) refused: u64,
    /// The samples that were not taken because the plant's thread did not run in time.
    pub(super) skipped: u64,
    /// A description of the network between plant and controller, if there was one.
    pub(super) network: Option<String>,
    /// What the key costs, with --secure.
    pub(super) secured: Option<Costs>,
    pub(super) trajectory: Trajectory,
    pub(super) log: EventLog,
}

/// The line of JSON. Its keys are documented output.
#[derive(Debug, Serialize)]
struct SummaryJson<'a> {
    wire: &'a str,
    rate_hz: u32,
    seconds: f64,
    upright: bool,
    fallen: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_at_seconds: Option<f64>,
    messages_sent: u64,
    messages_received: u64,
    lost: u64,
    lost_in_silence: u64,
    commands_latched: u64,
    commands_refused: u64,
    samples_skipped: u64,
    rtt_us: Percentiles,
    jitter_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secured: Option<&'a Costs>,
    events: Vec<EventJson>,
}

#[derive(Debug, Serialize)]
struct EventJson {
    seconds: f64,
    what: String,
}

impl Summary {
    pub(super) fn latencies(&self) -> &Latencies {
        self.round_trips.latencies()
    }

    fn lost(&self) -> u64 {
        self.round_trips.unanswered()
    }

    /// Returns the exit code. The verdict is met if the rod never fell, is upright at the end, the motor is not stopped, and
    /// no sample was lost. Losses while the motor was stopped do not count, and with a bad network no losses count.
    pub(super) fn verdict(&self) -> Exit {
        let is_whole = self.network.is_some() || self.lost() == self.lost_in_silence;
        let is_good = self.is_upright && !self.has_fallen && self.stopped_at.is_none();
        if is_good && is_whole { Exit::Done } else { Exit::NotMet }
    }

    /// Formats the results as one line, for the top of the picture.
    pub(super) fn one_line(&self) -> String {
        let network = self.network.as_ref().map_or("", |_| ", through a bad network");
        format!(
            "{} wire, {} samples/s for {:.1} s{network}: {} sent, {} answered, {} lost; {}",
            self.wire,
            self.rate,
            self.elapsed.as_secs_f64(),
            self.round_trips.sent_count(),
            self.round_trips.answered_count(),
            self.lost(),
            match (self.is_upright, self.has_fallen) {
                (true, false) => "upright at the end",
                (true, true) => "fallen and upright again",
                (false, true) => "fallen",
                (false, false) => "not upright at the end",
            },
        )
    }

    pub(super) fn json(&self) -> String {
        let events = self.log.entries().iter().map(|event| EventJson {
            seconds: (event.at.as_secs_f64() * 1e4).round() / 1e4,
            what: event.what.to_string(),
        });
        let line = SummaryJson {
            wire: self.wire,
            rate_hz: self.rate,
            seconds: (self.elapsed.as_secs_f64() * 1e3).round() / 1e3,
            upright: self.is_upright,
            fallen: self.has_fallen,
            stopped_at_seconds: self.stopped_at.map(|at| (at.as_secs_f64() * 1e4).round() / 1e4),
            messages_sent: self.round_trips.sent_count(),
            messages_received: self.round_trips.answered_count(),
            lost: self.lost(),
            lost_in_silence: self.lost_in_silence,
            commands_latched: self.latched,
            commands_refused: self.refused,
            samples_skipped: self.skipped,
            rtt_us: self.latencies().percentiles(),
            jitter_us: self.latencies().jitter_us(),
            network: self.network.as_deref(),
            secured: self.secured.as_ref(),
            events: events.collect(),
        };
        serde_json::to_string(&line).expect("numbers and text are JSON") + "\n"
    }

    /// Formats the results for a terminal.
    pub(super) fn text(&self) -> String {
        let columns = match console::Term::stdout().size_checked() {
            Some((_, columns)) => usize::from(columns).min(WIDEST),
            None => COLUMNS,
        };
        self.text_within(columns)
    }

    fn text_within(&self, columns: usize) -> String {
        let mut lines = self.headline(columns);
        if let Some(at) = self.stopped_at {
            let stopped = Styled(BAD, format!("STOPPED at {:.2} s", at.as_secs_f64()));
            lines.push(format!("  {stopped}: nothing moves again until somebody enables the motor."));
            lines.push("  --re-enable 1s does that one second after each stop.".to_owned());
        }
        lines.push(String::new());
        let mut row = |name: &str, text: &str| {
            let mut name = name;
            for line in wrapped(text, columns.saturating_sub(INDENT)) {
                lines.push(format!("  {name:<width$}{line}", width = INDENT - 2));
                name = "";
            }
        };
        let mut name = "messages";
        for count in self.counts() {
            row(name, &count);
            name = "";
        }
        if let Some(network) = &self.network {
            row("network", network);
        }
        if let Some([first, second]) = self.secured.as_ref().map(Costs::lines) {
            row("secured", &first);
            row("", &second);
        }
        // This line stands directly above its histogram.
        row("round trip", &self.latencies().percentiles().line());
        for (name, chart) in self.charts(columns.saturating_sub(INDENT + AFTER_CHART).max(FEWEST_BARS)) {
            lines.push(format!("  {name:<width$}{chart}", width = INDENT - 2));
        }
        lines.push(String::new());
        lines.extend(self.events(ROWS.saturating_sub(lines.len()).max(FEWEST_EVENTS)));
        lines.iter().map(|line| fitted(line.trim_end(), columns) + "\n").collect()
    }

    /// Returns the first and the last events. What happens between them repeats itself.
    fn events(&self, most: usize) -> Vec<String> {
        let all = self.log.entries();
        // One line says how many are between them.
        let (first, last) = if all.len() > most { ((most - 1) / 2, most / 2) } else { (all.len(), 0) };
        let between = all.len() - first - last + self.log.left_out();
        let line = |event| format!("  {}", event_line(event));
        let mut lines: Vec<String> = all[..first].iter().map(line).collect();
        if between > 0 {
            lines.push(format!("            ... {between} more (--json prints them)"));
        }
        lines.extend(all[all.len() - last..].iter().map(line));
        lines
    }

    fn headline(&self, columns: usize) -> Vec<String> {
        let (rod, style, rest) = match (self.is_upright, self.has_fallen) {
            (true, false) => ("upright", GOOD, ""),
            (true, true) => ("upright", BAD, ", but the rod had FALLEN before"),
            (false, true) => ("NOT upright", BAD, ": the rod has FALLEN"),
            (false, false) => ("NOT upright", BAD, ""),
        };
        let seconds = self.elapsed.as_secs_f64();
        let settings = format!("({} wire, {} samples/s)", self.wire, self.rate);
        let (name, rod) = (Styled(BOLD, "tautline demo:"), Styled(style, rod));
        let verdict = format!("{name} {rod} after {seconds:.1} s{}", Styled(style, rest));
        let settings = Styled(FAINT, settings).to_string();
        let width = console::measure_text_width(&verdict) + 1 + console::measure_text_width(&settings);
        if width <= columns {
            vec![format!("{verdict} {settings}")]
        } else {
            vec![verdict, format!("  {settings}")]
        }
    }

    fn counts(&self) -> Vec<String> {
        let trips = &self.round_trips;
        let (sent, answered, lost) = (trips.sent_count(), trips.answered_count(), self.lost());
        let details = [
            (self.refused, "command", "refused: too late, or overtaken by newer commands"),
            (self.skipped, "sample", "skipped because this computer was busy"),
        ];
        let details = details
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, noun, what)| format!("{} {what}", counted(count, noun)));
        std::iter::once(format!("{sent} samples sent, {answered} answered, {lost} lost"))
            .chain(why_lost(lost, self.lost_in_silence, self.latched))
            .chain(details)
            .collect()
    }

    /// Returns the charts in text with their names: round trips, angle and force.
    fn charts(&self, width: usize) -> Vec<(&'static str, String)> {
        let mut charts = Vec::new();
        let buckets = self.latencies().distribution(width);
        if let (Some(first), Some(last)) = (buckets.first(), buckets.last()) {
            // Logarithmic, so that a single slow round trip is visible.
            let heights = buckets.iter().map(|bucket| (bucket.count as f64).ln_1p()).collect::<Vec<_>>();
            let most = heights.iter().fold(1.0_f64, |most, height| most.max(*height));
            let shown = heights.iter().map(|height| if *height == 0.0 { -1.0 } else { *height });
            let bars = bars(shown, 0.0, most);
            charts.push(("", format!("{bars} {} to {}", show_us(first.from_us), show_us(last.to_us))));
        }
        let points = self.trajectory.points();
        for (name, unit, values) in [
            ("angle", "°", points.iter().map(|point| point.angle_deg).collect::<Vec<_>>()),
            ("force", " N", points.iter().map(|point| point.force_n).collect()),
        ] {
            let most = values.iter().fold(0.1_f64, |most, value| most.max(value.abs()));
            let curve = bars(resampled(&values, width), -most, most);
            charts.push((name, format!("{curve} ±{most:.1}{unit}")));
        }
        charts
    }
}

/// Says why samples were lost, if the network alone did not lose them: each one for one reason.
fn why_lost(lost: u64, in_silence: u64, latched: u64) -> Option<String> {
    let dropped = latched.min(in_silence);
    let reasons = [
        (in_silence - dropped, "while no command came"),
        (dropped, "whose command was dropped (motor stopped)"),
        (lost.saturating_sub(in_silence), "on the way or too late"),
    ];
    let reasons = reasons.into_iter().filter(|(count, _)| *count > 0);
    let reasons: Vec<_> = reasons.map(|(count, why)| format!("{count} {why}")).collect();
    (in_silence > 0).then(|| format!("of the lost: {}", reasons.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lost_sample_has_one_reason() {
        let why = |lost, in_silence, latched| why_lost(lost, in_silence, latched).unwrap_or_default();
        assert_eq!(why(3, 0, 0), "");
        assert_eq!(
            why(107, 100, 60),
            "of the lost: 40 while no command came, 60 whose command was dropped (motor stopped), 7 on the way or too late"
        );
        // A command that came twice was dropped twice.
        assert_eq!(why(50, 50, 51), "of the lost: 50 whose command was dropped (motor stopped)");
    }
}
