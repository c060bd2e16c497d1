//! Formats the proxy's counters: the table that is redrawn in place, the line for logs, and the summary.

use std::time::Duration;

use serde::Serialize;

use crate::tools::output::{BAD, BOLD, FAINT, Styled};
use crate::tools::relay::Relay;
use crate::tools::relay::totals::{DirectionTotals, Totals, TotalsJson};

/// A column of the table: its heading and its count.
type Column = (&'static str, fn(&DirectionTotals) -> u64);

const COLUMNS: [Column; 12] = [
    ("in", DirectionTotals::received),
    ("copies", |totals| totals.counts.copies),
    ("out", |totals| totals.out),
    ("lost", |totals| totals.counts.lost),
    ("cut off", |totals| totals.counts.partitioned),
    ("too large", |totals| totals.counts.too_large),
    ("queue full", |totals| totals.counts.queue_full),
    ("not sent", |totals| totals.send_failed),
    ("no room", |totals| totals.refused),
    ("in flight", |totals| totals.counts.in_flight),
    ("corrupted", |totals| totals.counts.corrupted),
    ("overtaken", |totals| totals.counts.reordered),
];

/// The columns that are shown even if their counts are 0.
const ALWAYS: [&str; 4] = ["in", "out", "lost", "in flight"];

/// The state of the proxy at one moment.
#[derive(Clone, Debug)]
pub(super) struct ProxySnapshot {
    pub(super) title: String,
    pub(super) elapsed: Duration,
    pub(super) clients: (usize, u64),
    /// The number of the current phase, and how many phases there are.
    pub(super) phase: Option<(usize, usize)>,
    pub(super) impairments: String,
    pub(super) totals: Totals,
}

impl ProxySnapshot {
    pub(super) fn of(relay: &Relay, title: &str, elapsed: Duration, phase: Option<(usize, usize)>) -> Self {
        Self {
            title: title.to_owned(),
            elapsed,
            clients: relay.clients(),
            phase,
            impairments: relay.impairments().describe(),
            totals: relay.totals(),
        }
    }

    /// Returns the lines of the picture for a terminal of this width. `before` is a snapshot of about a second earlier.
    pub(super) fn frame(&self, before: &Self, columns: usize) -> Vec<String> {
        let rate = |of: fn(&Totals) -> &DirectionTotals| {
            let seconds = (self.elapsed.saturating_sub(before.elapsed)).as_secs_f64();
            let came = of(&self.totals).received() - of(&before.totals).received();
            if seconds > 0.0 { came as f64 / seconds } else { 0.0 }
        };
        let mut lines = Vec::from(self.head());
        lines.extend(self.table());
        lines.push(format!(
            "{}",
            Styled(
                FAINT,
                format!(
                    "{:.0}/s to the target, {:.0}/s to the clients",
                    rate(|totals| &totals.to_target),
                    rate(|totals| &totals.to_client)
                )
            )
        ));
        lines.iter().map(|line| console::truncate_str(line, columns, "").into_owned()).collect()
    }

    /// Formats the counters as one plain line for logs.
    pub(super) fn line(&self) -> String {
        let row = |totals: &DirectionTotals| {
            let shown = COLUMNS.iter().filter(|(name, of)| ALWAYS.contains(name) || of(totals) > 0);
            shown.map(|(name, of)| format!("{} {name}", of(totals))).collect::<Vec<_>>().join(", ")
        };
        format!(
            "{:.1} s: to the target {}; to the clients {}",
            self.elapsed.as_secs_f64(),
            row(&self.totals.to_target),
            row(&self.totals.to_client)
        )
    }

    /// Formats the totals as text.
    pub(super) fn text(&self) -> String {
        let mut lines = Vec::from(self.head());
        lines.extend(self.table());
        for (name, totals) in self.rows() {
            if !totals.balance() {
                lines.push(format!("{} {name}: the totals do not balance", Styled(BAD, "error:")));
            }
        }
        lines.join("\n") + "\n"
    }

    /// Formats the totals as one line of JSON.
    pub(super) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Summary<'a> {
            seconds: f64,
            clients: u64,
            impairments: &'a str,
            to_target: TotalsJson,
            to_client: TotalsJson,
            port_unreachable: u64,
        }
        let summary = Summary {
            seconds: (self.elapsed.as_secs_f64() * 1e3).round() / 1e3,
            clients: self.clients.1,
            impairments: &self.impairments,
            to_target: self.totals.to_target.line(),
            to_client: self.totals.to_client.line(),
            port_unreachable: self.totals.refusals,
        };
        serde_json::to_string(&summary).expect("numbers and text are JSON") + "\n"
    }

    /// Returns the title, and below it what the network does. In one line they are too long for most terminals.
    fn head(&self) -> [String; 2] {
        let (now, so_far) = self.clients;
        let clients =
            if now as u64 == so_far { format!("{now}") } else { format!("{now} ({so_far} so far)") };
        let phase = self.phase.map_or(String::new(), |(number, of)| format!("   phase {number} of {of}"));
        let elapsed = self.elapsed.as_secs_f64();
        [
            Styled(BOLD, &self.title).to_string(),
            format!("{elapsed:.1} s   clients: {clients}{phase}   {}", self.impairments),
        ]
    }

    fn rows(&self) -> [(&'static str, &DirectionTotals); 2] {
        [("to the target", &self.totals.to_target), ("to the clients", &self.totals.to_client)]
    }

    /// Returns the headings and one line per direction. Columns whose counts are 0 are left out, except [`ALWAYS`].
    fn table(&self) -> Vec<String> {
        let rows = self.rows();
        let mut lines =
            [String::new(), rows[0].0.to_owned(), rows[1].0.to_owned()].map(|name| format!("{name:14}"));
        for (name, of) in COLUMNS {
            let counts = rows.map(|(_, totals)| of(totals));
            if ALWAYS.contains(&name) || counts.iter().any(|count| *count > 0) {
                let cells = [name.to_owned(), counts[0].to_string(), counts[1].to_string()];
                let width = cells.iter().map(String::len).max().unwrap_or(0).max(6) + 2;
                lines
                    .iter_mut()
                    .zip(cells)
                    .for_each(|(line, cell)| line.push_str(&format!("{cell:>width$}")));
            }
        }
        let [heads, there, back] = lines;
        vec![Styled(FAINT, heads).to_string(), there, back]
    }
}
