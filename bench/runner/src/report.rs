//! Writes the tables: medians over the rounds, and ratios to the raw socket in the same round.

use std::fmt::Write;

use crate::kinds::Kind;
use crate::measure::{Figures, Flow, Outcome, RoundTrips};
use crate::peers::{CONTESTANTS, Contestant, WHOLE_DATAGRAM};

/// All results of one kind of measurement.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) kind: Kind,
    /// The results by contestant and round. A round without a result is `None`.
    pub(crate) results: Vec<Vec<Option<Outcome>>>,
    /// By contestant: the reason why it has no results or no further results.
    pub(crate) failures: Vec<Option<String>>,
}

impl Table {
    pub(crate) fn new(kind: Kind) -> Self {
        let count = CONTESTANTS.len();
        Self { kind, results: vec![Vec::new(); count], failures: vec![None; count] }
    }

    /// Returns the indices of the contestants that took part or failed.
    pub(crate) fn lines(&self) -> impl Iterator<Item = usize> {
        let has_line = |index: &usize| self.failures[*index].is_some() || self.has_figures(*index);
        (0..CONTESTANTS.len()).filter(has_line)
    }

    pub(crate) fn name(&self, index: usize) -> &'static str {
        CONTESTANTS[index].name
    }

    /// Returns the table as Markdown with its heading. Contestants that did not take part are left out.
    pub(crate) fn markdown(&self) -> String {
        let heads = self.heads();
        let mut text = format!("### {}\n\n", self.kind.title());
        row(&mut text, heads.iter().map(|head| (*head).to_owned()));
        row(&mut text, heads.iter().enumerate().map(|(i, _)| if i == 0 { "---" } else { "---:" }.to_owned()));
        for index in self.lines() {
            let cells = match &self.failures[index] {
                Some(why) => vec![format!("skipped: {}", one_line(why))],
                None => self.cells(index),
            };
            row(&mut text, std::iter::once(CONTESTANTS[index].name.to_owned()).chain(cells));
        }
        text
    }

    fn heads(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Throughput { .. } => &[
                "",
                "received per second",
                "ratio to raw",
                "lost",
                "lost, worst round",
                "receive buffer full (count)",
                "CPU s per million",
                "client's CPU ns per message sent",
                "server, client MB",
            ],
            Kind::Sizes { .. } => &[
                "",
                "received per second",
                "ratio to raw",
                "MB per second",
                "lost",
                "CPU ns per byte",
                "ratio to 1,400 B",
                "server, client MB",
            ],
            Kind::Reliable { .. } => &[
                "",
                "received per second",
                "ratio to tautline",
                "missing at the end",
                "CPU s per million",
                "server, client MB",
            ],
            Kind::Idle { .. } => &[
                "",
                "server's share of a core",
                "CPU µs per further client and second",
                "server MB",
                "KB per further client",
            ],
            Kind::ManyPeers { .. } => &[
                "",
                "server CPU µs per message",
                "ratio to 1 client",
                "received per second",
                "lost",
                "server MB",
            ],
            Kind::Connecting { .. } => &[
                "",
                "CPU µs per link, both ends",
                "ratio to plain",
                "server's CPU µs per link",
                "lost",
                "server, client MB",
            ],
            Kind::PingPong { .. } | Kind::Paced { .. } => &[
                "",
                "p50 µs",
                "p99 µs",
                "p99.9 µs",
                "worst µs",
                "p50 to raw",
                "p99 to raw",
                "p99.9 to raw",
                "lost",
                "server, client MB",
            ],
        }
    }

    fn cells(&self, index: usize) -> Vec<String> {
        match self.kind {
            Kind::Throughput { .. } => self.flow_cells(index),
            Kind::Sizes { .. } => self.size_cells(index),
            Kind::Reliable { .. } => self.reliable_cells(index),
            Kind::Idle { .. } => self.idle_cells(index),
            Kind::ManyPeers { .. } => self.many_peers_cells(index),
            Kind::Connecting { .. } => self.connecting_cells(index),
            Kind::PingPong { .. } | Kind::Paced { .. } => self.trip_cells(index),
        }
    }

    fn flow_cells(&self, index: usize) -> Vec<String> {
        let worst = self.flows(index).map(percent_lost).fold(0.0, f64::max);
        vec![
            thousands(self.rate(index)),
            spread(&self.ratios(index, as_flow, |flow| flow.rate)),
            self.lost(index),
            format!("{worst:.1} %"),
            thousands(median(self.flows(index).map(|flow| flow.kernel_drops as f64))),
            format!("{:.2}", median(self.flows(index).map(|flow| flow.cpu_seconds_per_million))),
            format!("{:.0}", median(self.flows(index).map(|flow| flow.client_cpu_ns))),
            self.memory(index),
        ]
    }

    fn size_cells(&self, index: usize) -> Vec<String> {
        let size = CONTESTANTS[index].size().unwrap_or(1) as f64;
        let per_byte = |flow: &Flow| flow.cpu_seconds_per_million * 1e3 / size;
        let own = &CONTESTANTS[index];
        let whole =
            |other: &&Contestant| other.program == own.program && other.size() == Some(WHOLE_DATAGRAM);
        let to_whole = self
            .ratios_to(index, CONTESTANTS.iter().find(whole), as_flow, |flow| flow.cpu_seconds_per_million);
        let to_whole: Vec<f64> =
            to_whole.into_iter().map(|ratio| ratio * WHOLE_DATAGRAM as f64 / size).collect();
        vec![
            thousands(self.rate(index)),
            spread(&self.ratios(index, as_flow, |flow| flow.rate)),
            thousands(self.rate(index) * size / 1e6),
            self.lost(index),
            format!("{:.2}", median(self.flows(index).map(per_byte))),
            spread(&to_whole),
            self.memory(index),
        ]
    }

    fn reliable_cells(&self, index: usize) -> Vec<String> {
        vec![
            thousands(self.rate(index)),
            spread(&self.ratios(index, as_flow, |flow| flow.rate)),
            self.lost(index),
            format!("{:.2}", median(self.flows(index).map(|flow| flow.cpu_seconds_per_million))),
            self.memory(index),
        ]
    }

    fn idle_cells(&self, index: usize) -> Vec<String> {
        let further = CONTESTANTS[index].clients() - 1.0;
        let is_reference = |other: &Contestant| CONTESTANTS[index].is_compared_with(other, self.kind);
        let reference = CONTESTANTS.iter().position(is_reference).unwrap_or(index);
        let load = |index: usize| median(self.flows(index).map(|flow| flow.server_load));
        let memory = |index: usize| self.megabytes(index, |outcome| outcome.server_mb);
        let each = |value: f64| if further > 0.0 { format!("{:.1}", value / further) } else { String::new() };
        vec![
            format!("{:.4}", load(index)),
            each((load(index) - load(reference)) * 1e6),
            format!("{:.1}", memory(index)),
            each((memory(index) - memory(reference)) * 1e3),
        ]
    }

    fn many_peers_cells(&self, index: usize) -> Vec<String> {
        vec![
            format!("{:.2}", median(self.flows(index).map(|flow| flow.server_cpu_us))),
            spread(&self.ratios(index, as_flow, |flow| flow.server_cpu_us)),
            thousands(self.rate(index)),
            self.lost(index),
            format!("{:.1}", self.megabytes(index, |outcome| outcome.server_mb)),
        ]
    }

    fn connecting_cells(&self, index: usize) -> Vec<String> {
        // Each link carries one message, so seconds per million messages are microseconds per link.
        vec![
            format!("{:.0}", median(self.flows(index).map(|flow| flow.cpu_seconds_per_million))),
            spread(&self.ratios(index, as_flow, |flow| flow.cpu_seconds_per_million)),
            format!("{:.0}", median(self.flows(index).map(|flow| flow.server_cpu_us))),
            self.lost(index),
            self.memory(index),
        ]
    }

    fn trip_cells(&self, index: usize) -> Vec<String> {
        let us = |value: fn(&RoundTrips) -> f64| format!("{:.1}", self.trip_us(index, value));
        let ratio = |value: fn(&RoundTrips) -> f64| spread(&self.ratios(index, as_trips, value));
        let lost: u64 = self.trips(index).map(|trips| trips.lost).sum();
        vec![
            us(|trips| trips.p50),
            us(|trips| trips.p99),
            us(|trips| trips.p999),
            us(|trips| trips.max),
            ratio(|trips| trips.p50),
            ratio(|trips| trips.p99),
            ratio(|trips| trips.p999),
            lost.to_string(),
            self.memory(index),
        ]
    }

    /// Returns the median number of messages received per second.
    pub(crate) fn rate(&self, index: usize) -> f64 {
        median(self.flows(index).map(|flow| flow.rate))
    }

    /// Returns the median of a figure of round trips, in microseconds.
    pub(crate) fn trip_us(&self, index: usize, value: fn(&RoundTrips) -> f64) -> f64 {
        median(self.trips(index).map(value)) / 1e3
    }

    pub(crate) fn has_figures(&self, index: usize) -> bool {
        self.results[index].iter().any(Option::is_some)
    }

    fn lost(&self, index: usize) -> String {
        format!("{:.1} %", median(self.flows(index).map(percent_lost)).max(0.0))
    }

    fn memory(&self, index: usize) -> String {
        if self.kind.is_together() {
            return format!("{:.1} in all", self.megabytes(index, |outcome| outcome.client_mb));
        }
        let of = |value| self.megabytes(index, value);
        format!("{:.1}, {:.1}", of(|outcome| outcome.server_mb), of(|outcome| outcome.client_mb))
    }

    /// Returns the maximum over all rounds.
    pub(crate) fn megabytes(&self, index: usize, value: fn(&Outcome) -> f64) -> f64 {
        self.results[index].iter().flatten().map(value).fold(0.0, f64::max)
    }

    fn trips(&self, index: usize) -> impl Iterator<Item = &RoundTrips> {
        self.results[index].iter().flatten().filter_map(as_trips)
    }

    fn flows(&self, index: usize) -> impl Iterator<Item = &Flow> {
        self.results[index].iter().flatten().filter_map(as_flow)
    }

    /// Returns by round the ratio of `value` to that of the reference. A round without the reference has no ratio.
    fn ratios<T>(&self, index: usize, view: fn(&Outcome) -> Option<&T>, value: fn(&T) -> f64) -> Vec<f64> {
        let is_reference = |other: &&Contestant| CONTESTANTS[index].is_compared_with(other, self.kind);
        self.ratios_to(index, CONTESTANTS.iter().find(is_reference), view, value)
    }

    /// Returns the same for another contestant than the reference.
    fn ratios_to<T>(
        &self,
        index: usize,
        other: Option<&Contestant>,
        view: fn(&Outcome) -> Option<&T>,
        value: fn(&T) -> f64,
    ) -> Vec<f64> {
        let is_it = |it: &Contestant| other.is_some_and(|other| std::ptr::eq(it, other));
        let measure = CONTESTANTS.iter().position(is_it);
        let measured = measure.map_or(&[][..], |measure| &self.results[measure]);
        let rounds = self.results[index].iter().zip(measured);
        let ratio = |(own, measure): (&Option<Outcome>, &Option<Outcome>)| {
            let (own, measure) = (view(own.as_ref()?)?, view(measure.as_ref()?)?);
            Some(value(own) / value(measure))
        };
        rounds.filter_map(ratio).collect()
    }
}

/// Formats the median of the rounds, and their lowest and highest value.
fn spread(ratios: &[f64]) -> String {
    if ratios.is_empty() {
        return String::new();
    }
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.2} ({least:.2} to {most:.2})", median(ratios.iter().copied()))
}

fn as_trips(outcome: &Outcome) -> Option<&RoundTrips> {
    if let Figures::RoundTrips(trips) = &outcome.figures { Some(trips) } else { None }
}

fn as_flow(outcome: &Outcome) -> Option<&Flow> {
    if let Figures::Flow(flow) = &outcome.figures { Some(flow) } else { None }
}

fn percent_lost(flow: &Flow) -> f64 {
    100.0 * flow.loss
}

/// Appends one row of a Markdown table.
pub(crate) fn row(text: &mut String, cells: impl IntoIterator<Item = String>) {
    for cell in cells {
        let _ = write!(text, "| {} ", cell.replace('|', "/"));
    }
    text.push_str("|\n");
}

/// Puts `new` between the two marks of `text`. Returns `None` if a mark is missing.
pub(crate) fn splice(text: &str, marks: [&str; 2], new: &str) -> Option<String> {
    let start = text.find(marks[0])? + marks[0].len();
    let end = start + text[start..].find(marks[1])?;
    Some(format!("{}\n{new}{}", &text[..start], &text[end..]))
}

fn one_line(text: &str) -> String {
    const MOST: usize = 120;
    text.lines().next().unwrap_or_default().chars().take(MOST).collect()
}

/// Returns the median; NaN if there are no values.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

/// Formats 1234567 as 1,234,567.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Placement;

    const RAW: usize = 0;
    const PING_PONG: Kind =
        Kind::PingPong { messages: 1, is_beside_neighbour: false, place: Placement::Pinned };

    fn trips(p50: f64) -> Option<Outcome> {
        let (p99, p999, max) = (p50, p50, p50);
        let trips = RoundTrips { messages: 1, lost: 0, p50, p99, p999, max, peak_kib: 0 };
        Some(Outcome { figures: Figures::RoundTrips(trips), server_mb: 1.0, client_mb: 2.0 })
    }

    #[test]
    fn a_ratio_compares_results_of_the_same_round() {
        let mut table = Table::new(PING_PONG);
        // The machine was twice as slow in the second round; the third has no result.
        table.results[RAW] = vec![trips(10.0), trips(20.0), trips(1.0)];
        table.results[1] = vec![trips(11.0), trips(22.0), None];
        let ratios = table.ratios(1, as_trips, |trips| trips.p50);
        assert_eq!(spread(&ratios), "1.10 (1.10 to 1.10)");
    }

    #[test]
    fn a_failed_peer_has_a_line_with_the_reason() {
        let mut table = Table::new(PING_PONG);
        table.results[RAW] = vec![trips(10.0)];
        table.failures[1] = Some("no compiler\nand more".to_owned());
        let text = table.markdown();
        assert!(text.contains("skipped: no compiler |"), "{text}");
        assert!(!text.contains("and more"), "{text}");
    }

    #[test]
    fn rows_have_as_many_cells_as_the_heading() {
        let flow = Flow {
            rate: 1.0,
            loss: 0.0,
            kernel_drops: 0,
            cpu_seconds_per_million: 1.0,
            server_cpu_us: 1.0,
            client_cpu_ns: 1.0,
            server_load: 1.0,
        };
        let flow = Some(Outcome { figures: Figures::Flow(flow), server_mb: 1.0, client_mb: 2.0 });
        for kind in crate::kinds::KINDS {
            let mut table = Table::new(*kind);
            table.results[RAW] = vec![if kind.is_round_trips() { trips(1.0) } else { flow.clone() }];
            assert_eq!(table.cells(RAW).len() + 1, table.heads().len(), "{}", kind.name());
        }
    }

    #[test]
    fn only_the_text_between_the_marks_changes() {
        assert_eq!(splice("a<>old</>b", ["<>", "</>"], "new\n").unwrap(), "a<>\nnew\n</>b");
        assert_eq!(splice("a</>b<>", ["<>", "</>"], "new"), None);
    }

    #[test]
    fn thousands_are_separated_and_the_median_is_in_the_middle() {
        assert_eq!([thousands(12.0), thousands(1_234_567.4)], ["12", "1,234,567"]);
        assert_eq!([median([3.0, 1.0, 2.0].into_iter()), median([1.0, 2.0].into_iter())], [2.0, 1.5]);
    }
}
