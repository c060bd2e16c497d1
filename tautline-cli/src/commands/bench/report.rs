//! The report of `bench latency`, as text or as one line of JSON.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::client::Taking;
use super::latency_run::LatencyRun;
use super::machine::MachineInfo;
use crate::tools::latency::{Spread, show_maybe, show_us};
use crate::tools::output::{BAD, BOLD, FAINT, GOOD, Styled};

/// All results of `bench latency`.
#[derive(Debug)]
pub(super) struct Latency {
    /// The address of the other end. `None` if it is a child process over loopback.
    pub(super) peer: Option<String>,
    pub(super) wire: &'static str,
    pub(super) size: u64,
    pub(super) rate: Option<f64>,
    pub(super) timeout: Duration,
    pub(super) taking: Taking,
    pub(super) sets: Vec<String>,
    pub(super) machine: MachineInfo,
    pub(super) tautline: Measured,
    pub(super) baseline: Option<Measured>,
    pub(super) cost: Cost,
    /// How many of the lost messages were refused at this end.
    pub(super) refused: u64,
    pub(super) budget: Option<Budget>,
}

/// The round trips of one transport.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) run: LatencyRun,
    pub(super) spread: Spread,
}

impl Measured {
    pub(super) fn new(run: LatencyRun) -> Self {
        let spread = run.trips.latencies().spread();
        Self { run, spread }
    }

    pub(super) fn lost(&self) -> u64 {
        self.run.trips.unanswered()
    }

    /// Whether all messages were answered and the measurement ran to its end.
    fn is_whole(&self) -> bool {
        self.lost() == 0 && !self.run.is_gone
    }

    fn per_second(&self) -> f64 {
        let seconds = self.run.spent.as_secs_f64().max(1e-9);
        (self.run.trips.answered_count() as f64 / seconds * 10.0).round() / 10.0
    }

    /// Returns the columns of the table, in microseconds.
    pub(super) fn columns(&self) -> [(&'static str, Option<f64>); 8] {
        let Spread { percentiles, p9999, mean, std_dev, .. } = self.spread;
        [
            ("p50", percentiles.p50),
            ("p90", percentiles.p90),
            ("p99", percentiles.p99),
            ("p99.9", percentiles.p999),
            ("p99.99", p9999),
            ("max", percentiles.max),
            ("mean", mean),
            ("std dev", std_dev),
        ]
    }
}

/// The CPU time per message and the memory of both ends. `None` if the system does not report them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Cost {
    pub(super) cpu_us_here: Option<f64>,
    pub(super) cpu_us_there: Option<f64>,
    pub(super) memory_here: Option<u64>,
    pub(super) memory_there: Option<u64>,
}

impl Cost {
    /// Formats the cost as text. The text is empty if nothing is known.
    pub(super) fn line(&self, per: &str) -> String {
        let both = |a: Option<String>, b: Option<String>| Some(format!("{} here, {} there", a?, b?));
        let memory = |bytes: Option<u64>| bytes.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6));
        let cpu = both(self.cpu_us_here.map(show_us), self.cpu_us_there.map(show_us));
        let memory = both(memory(self.memory_here), memory(self.memory_there));
        let parts =
            [cpu.map(|cpu| format!("CPU {cpu} per {per}")), memory.map(|memory| format!("memory {memory}"))];
        parts.into_iter().flatten().collect::<Vec<_>>().join(";\n")
    }
}

/// The limit that the user set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) limit: Duration,
    /// The percentage of the round trips that must be within the limit.
    pub(super) percentile: f64,
}

impl Budget {
    fn limit_us(&self) -> f64 {
        self.limit.as_secs_f64() * 1e6
    }

    fn name(&self) -> String {
        if self.percentile >= 100.0 { "max".to_owned() } else { format!("p{}", self.percentile) }
    }

    fn is_kept(&self, measured: &Measured) -> bool {
        let within = measured.run.trips.latencies().at(self.percentile / 100.0);
        let is_whole = measured.is_whole() && measured.run.skipped == 0;
        is_whole && within.is_some_and(|us| us <= self.limit_us())
    }
}

/// The line of JSON. Its keys are documented output.
#[derive(Debug, Serialize)]
struct Json<'a> {
    bench: &'static str,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_hz: Option<f64>,
    peer: Option<&'a str>,
    wire: &'a str,
    size: u64,
    timeout_us: f64,
    /// How this end takes its messages.
    taking: &'static str,
    set: &'a [String],
    #[serde(flatten)]
    tautline: JsonMeasured,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<JsonMeasured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratios: Option<serde_json::Value>,
    sends_refused: u64,
    cost: Cost,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_percentile: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    within_budget: Option<bool>,
    machine: &'a MachineInfo,
}

#[derive(Debug, Serialize)]
struct JsonMeasured {
    seconds: f64,
    messages_sent: u64,
    messages_received: u64,
    lost: u64,
    skipped: u64,
    /// Whether the measurement ended early because no more answers came.
    ended_early: bool,
    round_trips_per_second: f64,
    rtt_us: Spread,
    jitter_us: Option<f64>,
}

impl JsonMeasured {
    fn new(measured: &Measured) -> Self {
        let trips = &measured.run.trips;
        Self {
            seconds: (measured.run.spent.as_secs_f64() * 1e3).round() / 1e3,
            messages_sent: trips.sent_count(),
            messages_received: trips.answered_count(),
            lost: measured.lost(),
            skipped: measured.run.skipped,
            ended_early: measured.run.is_gone,
            round_trips_per_second: measured.per_second(),
            rtt_us: measured.spread,
            jitter_us: trips.latencies().jitter_us(),
        }
    }
}

impl Latency {
    /// Whether no message was lost and the round trips are within the budget, if there is a budget.
    pub(super) fn is_met(&self) -> bool {
        self.within_budget().unwrap_or(self.tautline.is_whole() && !self.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.tautline.run.trips.answered_count() == 0
    }

    fn within_budget(&self) -> Option<bool> {
        self.budget.map(|budget| budget.is_kept(&self.tautline))
    }

    pub(super) fn json(&self) -> String {
        let json = Json {
            bench: "latency",
            mode: if self.rate.is_some() { "paced" } else { "ping-pong" },
            rate_hz: self.rate,
            peer: self.peer.as_deref(),
            wire: self.wire,
            size: self.size,
            timeout_us: self.timeout.as_secs_f64() * 1e6,
            taking: self.taking.name(),
            set: &self.sets,
            tautline: JsonMeasured::new(&self.tautline),
            baseline: self.baseline.as_ref().map(JsonMeasured::new),
            ratios: self.baseline.as_ref().map(|_| {
                self.ratios().into_iter().map(|(name, ratio)| (key(name), serde_json::json!(ratio))).collect()
            }),
            sends_refused: self.refused,
            cost: self.cost,
            budget_us: self.budget.map(|budget| budget.limit_us()),
            budget_percentile: self.budget.map(|budget| budget.percentile),
            within_budget: self.within_budget(),
            machine: &self.machine,
        };
        serde_json::to_string(&json).expect("numbers and text are JSON") + "\n"
    }

    /// Returns each figure of tautline divided by the raw socket's figure.
    pub(super) fn ratios(&self) -> Vec<(&'static str, Option<f64>)> {
        let Some(baseline) = &self.baseline else { return Vec::new() };
        let both = self.tautline.columns().into_iter().zip(baseline.columns());
        both.map(|((name, ours), (_, raw))| {
            let ratio = ours.zip(raw).filter(|(_, raw)| *raw > 0.0).map(|(ours, raw)| ours / raw);
            (name, ratio.map(|ratio| (ratio * 100.0).round() / 100.0))
        })
        .collect()
    }

    /// Formats what was measured as one line.
    pub(super) fn title(&self) -> String {
        let where_to = self.peer.as_deref().map_or("over loopback".to_owned(), |peer| format!("to {peer}"));
        let mode = match self.rate {
            Some(rate) => format!("{rate} messages/s"),
            None => "ping-pong".to_owned(),
        };
        let Self { wire, size, .. } = self;
        let taking = self.taking.name();
        format!("Round trips {where_to}: {size} bytes, {wire} wire, {taking}, {mode}")
    }

    /// Formats the counts as one line.
    pub(super) fn counts(&self) -> String {
        let JsonMeasured { seconds, messages_sent, messages_received, lost, skipped, .. } =
            JsonMeasured::new(&self.tautline);
        let late = match skipped {
            0 => String::new(),
            _ => format!(", {skipped} not sent because this process did not run in time"),
        };
        let refused = match self.refused {
            0 => String::new(),
            refused => format!(" ({refused} of them refused by the system)"),
        };
        let dead = if self.tautline.run.is_gone { "; ended early: no more answers came" } else { "" };
        let per_second = self.tautline.per_second();
        format!(
            "{messages_sent} sent in {seconds:.1} s, {messages_received} answered ({per_second:.0}/s), \
             {lost} lost{refused}{late}{dead}"
        )
    }

    /// Lists the time-out and the settings that differ from the defaults.
    pub(super) fn settings(&self) -> String {
        let timeout = format!("time-out {}", show_us(self.timeout.as_secs_f64() * 1e6));
        std::iter::once(timeout).chain(self.sets.iter().cloned()).collect::<Vec<_>>().join(", ")
    }

    /// Returns whether the budget was met, and a sentence about it.
    pub(super) fn verdict(&self) -> Option<(bool, String)> {
        let (budget, is_kept) = self.budget.zip(self.within_budget())?;
        let words = if is_kept { "within the budget of" } else { "NOT within the budget of" };
        let limit = show_us(budget.limit_us());
        let mut words = format!("{words} {limit} ({}; no message lost or not sent)", budget.name());
        if !is_kept {
            let found = self.tautline.run.trips.latencies().at(budget.percentile / 100.0);
            let _ = write!(words, ": {} {}", budget.name(), show_maybe(found));
            let counts = [(self.tautline.lost(), "lost"), (self.tautline.run.skipped, "not sent")];
            for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
                let _ = write!(words, ", {count} {what}");
            }
            words.push_str(if self.tautline.run.is_gone { ", ended early" } else { "" });
        }
        Some((is_kept, words))
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n{}\n", Styled(BOLD, self.title()), self.counts());
        self.push_table(&mut text);
        let cost = self.cost.line("round trip");
        for line in [self.settings(), cost, self.machine.line()].iter().filter(|line| !line.is_empty()) {
            let _ = writeln!(text, "{}", Styled(FAINT, line));
        }
        if let Some((is_kept, words)) = self.verdict() {
            let _ = writeln!(text, "{}", Styled(if is_kept { GOOD } else { BAD }, words));
        }
        text
    }

    /// Whether each column has a figure: too few round trips do not tell a high percentile.
    pub(super) fn known_columns(&self) -> [bool; 8] {
        let raw = self.baseline.as_ref().map(Measured::columns);
        let mut known = self.tautline.columns().map(|(_, us)| us.is_some());
        for (known, (_, us)) in known.iter_mut().zip(raw.iter().flatten()) {
            *known |= us.is_some();
        }
        known
    }

    fn push_table(&self, text: &mut String) {
        let is_known = self.known_columns();
        let mut row = |name: &str, cells: &mut dyn Iterator<Item = String>| {
            let _ = write!(text, "{name:<11}");
            cells.zip(is_known).filter(|(_, is_known)| *is_known).for_each(|(cell, _)| {
                let _ = write!(text, "{cell:>8}");
            });
            text.push('\n');
        };
        let ours = self.tautline.columns();
        row("", &mut ours.iter().map(|(name, _)| (*name).to_owned()));
        row("tautline", &mut ours.iter().map(|(_, us)| show_maybe(*us)));
        if let Some(baseline) = &self.baseline {
            row("raw socket", &mut baseline.columns().iter().map(|(_, us)| show_maybe(*us)));
            row("ratio", &mut self.ratios().iter().map(|(_, ratio)| show_ratio(*ratio)));
        }
    }
}

/// Returns the key in `rtt_us` for a column's name: p999 for p99.9, std_dev for std dev.
fn key(name: &str) -> String {
    name.replace('.', "").replace(' ', "_")
}

pub(super) fn show_ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::latency_run::{LatencyPlan, RunEnd};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Returns a report with one message that was answered after 1 ms; the budget is 10 ms. `run` may change the
    /// run.
    fn judged(run: impl FnOnce(&mut LatencyRun)) -> Latency {
        let plan = LatencyPlan { rate: Some(1000.0), end: RunEnd::Messages(1), timeout: 10 * MS };
        let mut found = LatencyRun::new(plan);
        let now = Instant::now();
        found.trips.sent(now);
        found.trips.answered(0, now + MS, 10 * MS);
        run(&mut found);
        Latency {
            peer: None,
            wire: "native",
            size: 64,
            rate: plan.rate,
            timeout: plan.timeout,
            taking: Taking::Receive,
            sets: Vec::new(),
            machine: MachineInfo::here(),
            tautline: Measured::new(found),
            baseline: None,
            cost: Cost { cpu_us_here: None, cpu_us_there: None, memory_here: None, memory_there: None },
            refused: 0,
            budget: Some(Budget { limit: 10 * MS, percentile: 100.0 }),
        }
    }

    #[test]
    fn the_table_fits_a_terminal() {
        let mut report = judged(|run| {
            run.trips.sent(Instant::now());
            run.trips.answered(1, Instant::now() + 1000 * MS, 60_000 * MS);
        });
        report.baseline = Some(Measured::new(judged(|_| ()).tautline.run));
        let mut table = String::new();
        report.push_table(&mut table);
        assert!(table.contains("1.00 s") && table.contains("ratio"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    }

    #[test]
    fn a_budget_is_met_only_if_every_message_was_sent_and_answered_to_the_end() {
        let lost = |run: &mut LatencyRun| run.trips.sent(Instant::now());
        assert!(judged(|_| ()).is_met());
        for (report, words) in [
            (judged(lost), "max 1.00 ms, 1 lost"),
            (judged(|run| run.skipped = 1072), "max 1.00 ms, 1072 not sent"),
            (judged(|run| run.is_gone = true), "max 1.00 ms, ended early"),
        ] {
            let (is_kept, verdict) = report.verdict().expect("there is a budget");
            assert!(!is_kept && !report.is_met() && verdict.ends_with(words), "{verdict}");
        }
    }
}
