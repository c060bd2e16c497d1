//! Draws the demo as an SVG: angle, cart and force over time, and the distribution of the round trips.

use super::messages::EventKind;
use super::record::TrajectoryPoint;
use super::summary::Summary;
use crate::tools::latency::{HistogramBucket, show_us};
use crate::tools::origin;
use crate::tools::svg::{Anchor, Area, Scale, Svg, short};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 78.0;
const CHART_WIDTH: f64 = WIDTH - LEFT - 36.0;
const TOP: f64 = 96.0;
const CHART_HEIGHT: f64 = 132.0;
const GAP: f64 = 40.0;
const RTT_HEIGHT: f64 = 170.0;

/// The number of bars in the distribution of the round trips.
const BARS: usize = 60;
/// The largest number of points per curve. A screen does not show more.
const POINTS: usize = 2400;

const STYLE: &str = "\
text{font-family:Helvetica,Arial,'DejaVu Sans',sans-serif;fill:#1f2933;font-size:12px}\
.title{font-size:20px;font-weight:bold}.sub{font-size:13px;fill:#52606d}\
.name{font-size:13px;font-weight:bold}.tick{font-size:11px;fill:#7b8794}\
.page{fill:#fff}.plot{fill:#f7f9fb}.grid{stroke:#e1e7ec;stroke-width:1}.zero{stroke:#b4bfc9;stroke-width:1}\
.outage{fill:#e12d39;fill-opacity:.10}.outage-text{fill:#ba2525;font-size:11px;stroke:#f5e6e8;stroke-width:4px;paint-order:stroke}\
.event{stroke:#52606d;stroke-width:1;stroke-dasharray:2 3}.event-text{fill:#52606d;font-size:11px}\
polyline{fill:none;stroke-width:1.4;stroke-linejoin:round}\
.angle{stroke:#2680c2}.cart{stroke:#0c8a6a}.force{stroke:#c05621}\
.bar{fill:#7b93db}.mark{stroke:#35469c;stroke-width:1.2;stroke-dasharray:4 3}.mark-text{fill:#35469c;font-size:11px;stroke:#fff;stroke-width:3px;paint-order:stroke}";

/// One of the three charts over time.
struct TimeChart {
    name: &'static str,
    class: &'static str,
    value: fn(&TrajectoryPoint) -> f64,
    /// The smallest range of the axis on either side of zero.
    least: f64,
}

const CHARTS: [TimeChart; 3] = [
    TimeChart { name: "angle from upright, °", class: "angle", value: |point| point.angle_deg, least: 5.0 },
    TimeChart { name: "cart, m", class: "cart", value: |point| point.cart_m, least: 0.1 },
    TimeChart { name: "force, N", class: "force", value: |point| point.force_n, least: 2.0 },
];

/// Returns the picture as SVG text.
pub(super) fn draw(summary: &Summary) -> String {
    let charts_height = CHARTS.len() as f64 * (CHART_HEIGHT + GAP);
    let marks = marks(summary);
    let rows = marks.iter().map(|mark| mark.row + 1).max().unwrap_or(0);
    let rtt_top = TOP + charts_height + 16.0 + rows as f64 * MARK_ROW;
    let height = rtt_top + RTT_HEIGHT + 70.0;
    let mut svg = Svg::new(WIDTH, height, STYLE);
    svg.text("title", (LEFT, 36.0), Anchor::Start, "An inverted pendulum, balanced over UDP");
    svg.text("sub", (LEFT, 58.0), Anchor::Start, &summary.one_line());
    let time = Scale::new((0.0, summary.elapsed.as_secs_f64()), (LEFT, LEFT + CHART_WIDTH));
    for (index, chart) in CHARTS.iter().enumerate() {
        let top = TOP + index as f64 * (CHART_HEIGHT + GAP);
        let area = Area { left: LEFT, top, width: CHART_WIDTH, height: CHART_HEIGHT };
        draw_chart(&mut svg, chart, area, &time, summary);
    }
    let time_name = (LEFT + CHART_WIDTH, TOP + charts_height - 8.0);
    svg.text("tick", time_name, Anchor::End, "seconds since the rod was let go");
    draw_round_trips(
        &mut svg,
        Area { left: LEFT, top: rtt_top, width: CHART_WIDTH, height: RTT_HEIGHT },
        summary,
        &marks,
    );
    let made =
        format!("{}, {}, tautline {}", origin::command_line(), origin::now(), env!("CARGO_PKG_VERSION"));
    svg.text("tick", (LEFT, height - 10.0), Anchor::Start, &made);
    svg.finish()
}

fn draw_chart(svg: &mut Svg, chart: &TimeChart, area: Area, time: &Scale, summary: &Summary) {
    svg.rectangle("plot", area);
    svg.text("name", (area.left, area.top - 8.0), Anchor::Start, chart.name);
    shade_outages(svg, area, time, summary);
    let points = summary.trajectory.points();
    let most = points.iter().fold(chart.least, |most, point| most.max((chart.value)(point).abs())) * 1.08;
    let values = Scale::new((-most, most), (area.bottom(), area.top));
    for tick in value_ticks(&values, most) {
        let y = values.at(tick);
        svg.line(if tick == 0.0 { "zero" } else { "grid" }, (area.left, y), (area.right(), y));
        svg.text("tick", (area.left - 8.0, y + 4.0), Anchor::End, &short(tick));
    }
    for tick in time.ticks(10.0) {
        svg.line("grid", (time.at(tick), area.top), (time.at(tick), area.bottom()));
        svg.text("tick", (time.at(tick), area.bottom() + 15.0), Anchor::Middle, &short(tick));
    }
    draw_marks(svg, area, time, summary, chart.class == CHARTS[0].class);
    if chart.class == CHARTS[0].class {
        name_outages(svg, area, time, summary);
    }
    let stride = points.len().div_ceil(POINTS).max(1);
    let thinned: Vec<&TrajectoryPoint> = points.iter().step_by(stride).collect();
    for run in thinned.chunk_by(|a, b| !goes_round(chart, a, b)) {
        svg.curve(chart.class, run.iter().map(|p| (time.at(p.time_s), values.at((chart.value)(p)))));
    }
}

/// Returns round values for the axis. An axis that shows whole turns of the rod has ticks at quarter turns.
fn value_ticks(values: &Scale, most: f64) -> Vec<f64> {
    if most > 150.0 { vec![-180.0, -90.0, 0.0, 90.0, 180.0] } else { values.ticks(4.0) }
}

/// Whether the angle passed from 180° to -180°. Both are the same position, so no line must cross the chart.
fn goes_round(chart: &TimeChart, a: &TrajectoryPoint, b: &TrajectoryPoint) -> bool {
    chart.class == "angle" && (a.angle_deg - b.angle_deg).abs() > 180.0
}

/// Shades the times in which the motor was stopped.
fn shade_outages(svg: &mut Svg, area: Area, time: &Scale, summary: &Summary) {
    for (from, to) in outages(summary) {
        let (left, right) = (time.at(from), time.at(to));
        svg.rectangle("outage", Area { left, width: (right - left).max(1.0), ..area });
    }
}

/// Marks when the controller was killed and came back, and when the motor was enabled.
fn draw_marks(svg: &mut Svg, area: Area, time: &Scale, summary: &Summary, has_names: bool) {
    for event in summary.log.entries() {
        let name = match event.what {
            EventKind::Cut => "controller killed",
            EventKind::Restarted => "controller back",
            EventKind::Enabled => "motor enabled",
            _ => continue,
        };
        let x = time.at(event.at.as_secs_f64());
        svg.line("event", (x, area.top), (x, area.bottom()));
        if has_names {
            svg.text("event-text", (x + 5.0, area.top + 14.0), Anchor::Start, name);
        }
    }
}

/// Labels the shaded times if there is enough room.
fn name_outages(svg: &mut Svg, area: Area, time: &Scale, summary: &Summary) {
    const ROOM: f64 = 80.0;
    for (from, to) in outages(summary) {
        let (left, right) = (time.at(from), time.at(to));
        if right - left > ROOM {
            let bottom = ((left + right) / 2.0, area.bottom() - 8.0);
            svg.text("outage-text", bottom, Anchor::Middle, "motor stopped");
        }
    }
}

/// Returns the times from each stop to the next command that was obeyed, in seconds.
fn outages(summary: &Summary) -> Vec<(f64, f64)> {
    let mut outages = Vec::new();
    let mut since = None;
    for event in summary.log.entries() {
        let at = event.at.as_secs_f64();
        match event.what {
            EventKind::Stopped { .. } | EventKind::StoppedByDrive { .. } => since = since.or(Some(at)),
            EventKind::CommandsBack { .. } => outages.extend(since.take().map(|from| (from, at))),
            _ => {}
        }
    }
    outages.extend(since.map(|from| (from, summary.elapsed.as_secs_f64())));
    outages
}

fn draw_round_trips(svg: &mut Svg, area: Area, summary: &Summary, marks: &[Mark]) {
    let rows = marks.iter().map(|mark| mark.row + 1).max().unwrap_or(0);
    let above = area.top - 10.0 - rows as f64 * MARK_ROW;
    svg.text("name", (area.left, above), Anchor::Start, "round trip: sample to command");
    svg.rectangle("plot", area);
    let buckets = summary.latencies().distribution(BARS);
    let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else {
        let middle = (area.left + area.width / 2.0, area.top + area.height / 2.0);
        svg.text("sub", middle, Anchor::Middle, "no answers");
        return;
    };
    let delays = delays((first.from_us, last.to_us));
    draw_bars(svg, area, &delays, &buckets);
    draw_delay_axis(svg, area, &delays, (first.from_us, last.to_us));
    // The texts last, so that no line crosses them.
    marks.iter().for_each(|mark| mark.draw_line(svg, area));
    marks.iter().for_each(|mark| mark.draw_text(svg, area));
}

/// Draws bars on a logarithmic scale, so that a few slow round trips are visible beside many fast ones.
fn draw_bars(svg: &mut Svg, area: Area, delays: &Scale, buckets: &[HistogramBucket]) {
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(1).max(1);
    let counts = Scale::new((0.0, (most as f64 * 1.6).log10()), (area.bottom(), area.top));
    for power in 0..7 {
        let tick = 10.0_f64.powi(power);
        if tick <= most as f64 {
            let y = counts.at(tick.log10() + BASE);
            svg.line("grid", (area.left, y), (area.right(), y));
            svg.text("tick", (area.left - 8.0, y + 4.0), Anchor::End, &short(tick));
        }
    }
    for bucket in buckets.iter().filter(|bucket| bucket.count > 0) {
        let (left, right) = (delays.at(bucket.from_us.log10()), delays.at(bucket.to_us.log10()));
        let top = counts.at((bucket.count as f64).log10() + BASE);
        let bar = Area { left, top, width: (right - left - 1.0).max(1.0), height: area.bottom() - top };
        svg.rectangle("bar", bar);
    }
}

/// The height of a count of 1 above the axis, in decades, so that a bar of 1 is visible.
const BASE: f64 = 0.12;

fn draw_delay_axis(svg: &mut Svg, area: Area, delays: &Scale, (low, high): (f64, f64)) {
    for power in -3..8 {
        for factor in [1.0, 2.0, 5.0] {
            let tick = factor * 10.0_f64.powi(power);
            if (low..=high).contains(&tick) {
                let x = delays.at(tick.log10());
                svg.line("grid", (x, area.bottom()), (x, area.bottom() + 5.0));
                svg.text("tick", (x, area.bottom() + 18.0), Anchor::Middle, &show_us(tick));
            }
        }
    }
    let below = (area.left, area.bottom() + 38.0);
    svg.text("tick", below, Anchor::Start, "both axes are logarithmic; bars count the round trips");
}

/// Maps round trips in microseconds to pixels.
fn delays((low, high): (f64, f64)) -> Scale {
    Scale::new((low.log10(), high.log10()), (LEFT, LEFT + CHART_WIDTH))
}

/// The height of a row of percentiles, and the width of one character.
const MARK_ROW: f64 = 14.0;
const CHARACTER: f64 = 6.5;

/// A percentile above the round trips.
struct Mark {
    x: f64,
    /// The left and the right end of the text.
    ends: (f64, f64),
    /// The row of the text, from below.
    row: usize,
    text: String,
}

/// Returns the percentiles. A text that would overlap another one of its row stands one row higher.
fn marks(summary: &Summary) -> Vec<Mark> {
    let buckets = summary.latencies().distribution(BARS);
    let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else { return Vec::new() };
    let delays = delays((first.from_us, last.to_us));
    let found = summary.latencies().percentiles();
    let all = [("p50", found.p50), ("p99", found.p99), ("p99.9", found.p999), ("max", found.max)];
    let known = all.into_iter().filter_map(|(name, us)| Some((name, us?)));
    placed(known.map(|(name, us)| (delays.at(us.log10()), format!("{name} {}", show_us(us)))))
}

fn placed(texts: impl Iterator<Item = (f64, String)>) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for (x, text) in texts {
        let half = text.chars().count() as f64 * CHARACTER / 2.0;
        // Inside the chart, also for the longest round trip.
        let middle = x.clamp(LEFT + half, LEFT + CHART_WIDTH - half);
        let ends = (middle - half, middle + half);
        let is_taken = |row| marks.iter().any(|mark| mark.row == row && mark.overlaps(ends));
        let row = (0..).find(|row| !is_taken(*row)).unwrap_or(0);
        marks.push(Mark { x, ends, row, text });
    }
    marks
}

impl Mark {
    fn overlaps(&self, (left, right): (f64, f64)) -> bool {
        left < self.ends.1 + CHARACTER && right > self.ends.0 - CHARACTER
    }

    fn baseline(&self, area: Area) -> f64 {
        area.top - 6.0 - self.row as f64 * MARK_ROW
    }

    fn draw_line(&self, svg: &mut Svg, area: Area) {
        svg.line("mark", (self.x, self.baseline(area) + 2.0), (self.x, area.bottom()));
    }

    fn draw_text(&self, svg: &mut Svg, area: Area) {
        let middle = (self.ends.0 + self.ends.1) / 2.0;
        svg.text("mark-text", (middle, self.baseline(area)), Anchor::Middle, &self.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_percentiles_overlap_wherever_they_are() {
        let name = |name: &str| format!("{name} 1.23 ms");
        for step in 0..400 {
            let at = |n: f64| LEFT + f64::from(step) * n;
            let xs = [at(0.5), at(1.0), at(1.1), at(1.15)].map(|x| x.min(LEFT + CHART_WIDTH));
            let marks = placed(xs.into_iter().zip(["p50", "p99", "p99.9", "max"].map(name)));
            assert_eq!(marks.len(), 4, "none is left out");
            for (index, mark) in marks.iter().enumerate() {
                assert!(mark.ends.0 >= LEFT - 0.1 && mark.ends.1 <= LEFT + CHART_WIDTH + 0.1);
                let others = marks[..index].iter().filter(|other| other.row == mark.row);
                assert!(others.into_iter().all(|other| other.ends.1 < mark.ends.0), "{step}");
            }
        }
    }
}
