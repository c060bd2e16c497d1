//! Writes a report as one HTML page without external files, so that users can send it to each other.

use std::fmt::Write;

use super::chart::{Axis, Chart, ChartPoint, Curve, log_us, nines};
use super::report::{Latency, Measured, show_ratio};
use super::time_line::TimeBucket;
use crate::tools::latency::{show_maybe, show_us};
use crate::tools::origin;
use crate::tools::svg::escaped;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The text of a chart without answers.
const NO_ANSWERS: &str = "no answers";

const METHOD: &str = "100 round trips before the measurement are not counted. A round trip lasts from just before the send until the application sees the answer.";

const METHOD_OF_RAW: &str = "A blocking UDP socket of the standard library, connected, with send and recv on one thread; at the \
    other end, recv_from and send_to on a thread of its own. The datagrams have the size of the payload, at least 8 bytes. It \
    is measured in this same run, in slices of 200 ms that alternate with those of tautline.";

/// The number of points of a percentile curve for each nine.
const POINTS_PER_NINE: f64 = 40.0;

/// The content of a page. The texts are escaped when the page is written.
pub(super) struct Page {
    pub(super) title: String,
    pub(super) counts: String,
    pub(super) verdict: Option<(bool, String)>,
    /// The most important figures with their names.
    pub(super) tiles: Vec<(String, String)>,
    pub(super) charts: Vec<Chart>,
    /// The heading and the rows.
    pub(super) table: Vec<Vec<String>>,
    pub(super) facts: Vec<(&'static str, String)>,
}

impl Page {
    pub(super) fn html(&self) -> String {
        let title = escaped(&self.title);
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n\
             <h1>{title}</h1>\n<p class=\"sub\">{}</p>\n",
            escaped(&self.counts)
        );
        self.push_verdict_and_tiles(&mut html);
        self.charts.iter().for_each(|chart| html.push_str(&chart.html()));
        push_table(&mut html, &self.table);
        html.push_str("<div class=\"card\"><table class=\"facts\"><tbody>\n");
        for (name, value) in self.facts.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = writeln!(html, "<tr><th>{name}</th><td>{}</td></tr>", escaped(value));
        }
        let version = env!("CARGO_PKG_VERSION");
        let _ = write!(
            html,
            "</tbody></table></div>\n<footer>Made by <code>tautline bench</code> {version}.</footer>\n\
             </main>\n<script>\n{SCRIPT}</script>\n</body></html>\n"
        );
        html
    }

    fn push_verdict_and_tiles(&self, html: &mut String) {
        if let Some((is_met, words)) = &self.verdict {
            let class = if *is_met { "good" } else { "bad" };
            let _ = writeln!(html, "<p class=\"verdict {class}\">{}</p>", escaped(words));
        }
        html.push_str("<div class=\"tiles\">");
        for (name, value) in &self.tiles {
            let _ = write!(html, "<div><b>{}</b><span>{}</span></div>", escaped(value), escaped(name));
        }
        html.push_str("</div>\n");
    }
}

fn push_table(html: &mut String, rows: &[Vec<String>]) {
    let row = |cells: &[String], cell: &str| {
        let cells = cells.iter().map(|text| format!("<{cell}>{}</{cell}>", escaped(text)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let Some((head, body)) = rows.split_first() else { return };
    let body = body.iter().map(|cells| row(cells, "td")).collect::<String>();
    let _ = writeln!(
        html,
        "<div class=\"card scroll\"><table><thead>{}</thead><tbody>{body}</tbody></table></div>",
        row(head, "th")
    );
}

/// Returns the page of `bench latency`.
pub(super) fn latency(report: &Latency) -> String {
    let lines =
        [("tautline", "ours", Some(&report.tautline)), ("raw socket", "raw", report.baseline.as_ref())];
    let lines = lines.into_iter().filter_map(|(name, class, measured)| Some((name, class, measured?)));
    let lines = lines.collect::<Vec<_>>();
    let tiles = report.tautline.columns().into_iter().filter(|(_, us)| us.is_some()).take(6);
    let cost = report.cost.line("round trip");
    Page {
        title: report.title(),
        counts: report.counts(),
        verdict: report.verdict(),
        tiles: tiles.map(|(name, us)| (name.to_owned(), show_maybe(us))).collect(),
        charts: vec![percentiles(&lines), time_line(&lines)],
        table: table(report, &lines),
        facts: vec![
            ("Settings", report.settings()),
            ("Cost", cost),
            ("Machine", report.machine.line()),
            ("Command", origin::command_line().to_owned()),
            ("Time", origin::now()),
            ("Method", format!("{} {METHOD}", report.taking.sentence())),
            ("Raw socket", report.baseline.as_ref().map_or("", |_| METHOD_OF_RAW).to_owned()),
        ],
    }
    .html()
}

/// A name, a CSS class, and what was measured.
type Named<'a> = (&'static str, &'static str, &'a Measured);

fn percentiles(lines: &[Named<'_>]) -> Chart {
    let curve = |(name, class, measured): &Named<'_>| Curve {
        name,
        class,
        points: quantiles(measured),
        reach: f64::INFINITY,
    };
    let curves = lines.iter().map(curve).collect::<Vec<_>>();
    let points = curves.iter().flat_map(|curve| &curve.points);
    let to = points.clone().map(|point| point.x).fold(0.0, f64::max);
    let y = Axis::durations("round trip", points.map(|point| point.y));
    Chart { title: "Percentiles", x: Axis::nines(to), y, curves, empty: NO_ANSWERS }
}

/// Returns the quantiles from the fastest to the slowest round trip, evenly spaced in nines.
fn quantiles(measured: &Measured) -> Vec<ChartPoint> {
    let latencies = measured.run.trips.latencies();
    // With n round trips, the quantile 1 - 1/n is the last that differs from the longest round trip.
    let last = (latencies.count() as f64).max(1.0).log10();
    let at = |nines: f64| {
        let quantile = if nines >= last { 1.0 } else { 1.0 - 10_f64.powf(-nines) };
        let us = latencies.at(quantile)?;
        let words = if quantile >= 1.0 { "longest".to_owned() } else { percent(quantile) };
        Some(ChartPoint { x: nines, y: log_us(us), text: format!("{words} {}", show_us(us)) })
    };
    let steps = (0..400).map(|step| f64::from(step) / POINTS_PER_NINE).take_while(|nines| *nines < last);
    steps.chain([last]).filter_map(at).collect()
}

/// Formats a quantile in percent, with as many digits as it has nines.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 0 to 12
fn percent(quantile: f64) -> String {
    let digits = (nines(quantile).ceil() as usize).saturating_sub(1);
    format!("{:.digits$} %", quantile * 100.0)
}

fn time_line(lines: &[Named<'_>]) -> Chart {
    // Draws the medians last, so that they are on top.
    let curves =
        [true, false].into_iter().flat_map(|longest| lines.iter().map(move |line| over_time(line, longest)));
    let curves = curves.collect::<Vec<_>>();
    let points = curves.iter().flat_map(|curve| &curve.points);
    let to = points.clone().map(|point| point.x).fold(0.0, f64::max);
    let y = Axis::durations("round trip", points.map(|point| point.y));
    let x = Axis::seconds("seconds measured", to);
    Chart { title: "Over time", x, y, curves, empty: NO_ANSWERS }
}

/// Returns the curve of the median, or of the longest round trip, in each bucket.
fn over_time((name, class, measured): &Named<'_>, longest: bool) -> Curve {
    let is_ours = *name == "tautline";
    let (name, class) = match (is_ours, longest) {
        (true, true) => ("longest", "ours-soft"),
        (true, false) => ("median", *class),
        (false, true) => ("raw longest", "raw-soft"),
        (false, false) => ("raw median", *class),
    };
    let buckets = measured.run.time_line.buckets();
    let reach = reach(&buckets);
    let points = buckets.into_iter().map(|bucket| {
        let us = if longest { bucket.max_us } else { bucket.median_us };
        let at = bucket.at.as_secs_f64();
        ChartPoint { x: at, y: log_us(us), text: format!("{} at {at:.2} s", show_us(us)) }
    });
    Curve { name, class, points: points.collect(), reach }
}

/// Returns the distance up to which buckets follow one another. Twice the usual distance is a gap: nothing came back there.
fn reach(buckets: &[TimeBucket]) -> f64 {
    let mut distances: Vec<f64> =
        buckets.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs_f64()).collect();
    distances.sort_by(f64::total_cmp);
    distances.get(distances.len() / 2).map_or(f64::INFINITY, |usual| usual * 2.5)
}

fn table(report: &Latency, lines: &[Named<'_>]) -> Vec<Vec<String>> {
    let row = |name: &str, cells: Vec<String>| [vec![name.to_owned()], cells].concat();
    let is_known = report.known_columns();
    let known = |cells: Vec<String>| -> Vec<String> {
        cells.into_iter().zip(is_known).filter_map(|(cell, is_known)| is_known.then_some(cell)).collect()
    };
    let head = report.tautline.columns().map(|(name, _)| name.to_owned());
    let mut rows = vec![row("", known(head.to_vec()))];
    for (name, _, measured) in lines {
        rows.push(row(name, known(measured.columns().map(|(_, us)| show_maybe(us)).to_vec())));
    }
    if report.baseline.is_some() {
        let ratios = report.ratios().into_iter().map(|(_, ratio)| show_ratio(ratio));
        rows.push(row("ratio", known(ratios.collect())));
    }
    rows
}
