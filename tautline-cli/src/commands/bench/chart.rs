//! One chart of a report's page: curves over an axis of percentiles or of time, and the texts that the pointer shows.

use serde::Serialize;

use crate::tools::svg::{Anchor, Area, Scale, Svg, short};

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 320.0;
const PLOT: Area = Area { left: 64.0, top: 26.0, width: WIDTH - 64.0 - 32.0, height: HEIGHT - 26.0 - 46.0 };

/// A chart, ready to be drawn.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) curves: Vec<Curve>,
    /// The text that replaces the axes if no curve has a point.
    pub(super) empty: &'static str,
}

/// An axis, in the units of its points.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) name: &'static str,
    range: (f64, f64),
    ticks: Vec<(f64, String)>,
}

#[derive(Debug)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    /// The CSS class that colours it.
    pub(super) class: &'static str,
    pub(super) points: Vec<ChartPoint>,
    /// The largest distance of two points that a line connects. Beyond it there is a gap.
    pub(super) reach: f64,
}

/// A point, and the text that appears when the pointer is near.
#[derive(Clone, Debug)]
pub(super) struct ChartPoint {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) text: String,
}

impl Axis {
    /// Creates an axis from 0 to `to` with round ticks.
    pub(super) fn linear(name: &'static str, to: f64, write: impl Fn(f64) -> String) -> Self {
        let range = (0.0, to.max(1e-9));
        let ticks = Scale::new(range, range).ticks(8.0).into_iter().map(|tick| (tick, write(tick))).collect();
        Self { name, range, ticks }
    }

    /// Creates an axis of seconds from 0 to `to`. It covers at least 10 ms, so that its ticks differ.
    pub(super) fn seconds(name: &'static str, to: f64) -> Self {
        const SHORTEST: f64 = 0.01;
        Self::linear(name, to.max(SHORTEST), short)
    }

    /// Creates a logarithmic axis with room for all `values`, which are [logarithms of microseconds](log_us).
    pub(super) fn durations(name: &'static str, values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let range = (low - 0.06, (high + 0.06).max(low + 0.3));
        let ticks = (-1..8).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
        let ticks = ticks.map(|us| (us.log10(), show_tick(us)));
        let ticks = ticks.filter(|(at, _)| (range.0..=range.1).contains(at)).collect();
        Self { name, range, ticks }
    }

    /// Creates an axis of percentiles in [nines](nines). Each further nine is as wide as the previous one.
    pub(super) fn nines(to: f64) -> Self {
        let at =
            |percent: &str| (nines(percent.parse::<f64>().unwrap_or(0.0) / 100.0), format!("{percent} %"));
        let all = ["0", "50", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999", "99.999999"];
        let range = (0.0, to.max(1.0));
        let ticks = all.map(at).into_iter().filter(|(at, _)| *at <= range.1).collect();
        Self { name: "percentile", range, ticks }
    }
}

/// Formats the duration of a tick without decimals that it does not need, such as 1 µs, 20 µs or 5 ms.
fn show_tick(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{} µs", short(us)),
        us if us < 1e6 => format!("{} ms", short(us / 1e3)),
        us => format!("{} s", short(us / 1e6)),
    }
}

/// Returns the number of nines of a quantile: 1 for 0.9, 2 for 0.99.
pub(super) fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-12).log10()
}

/// Returns the position of a duration on a logarithmic axis.
pub(super) fn log_us(us: f64) -> f64 {
    us.max(0.01).log10()
}

/// The data that the page's script reads.
#[derive(Serialize)]
struct Hover<'a> {
    name: &'a str,
    class: &'a str,
    /// The coordinates in pixels and the text.
    points: Vec<(f64, f64, &'a str)>,
}

impl Chart {
    /// Returns the chart as an HTML figure.
    pub(super) fn html(&self) -> String {
        let across = Scale::new(self.x.range, (PLOT.left, PLOT.right()));
        let up = Scale::new(self.y.range, (PLOT.bottom(), PLOT.top));
        let mut svg = Svg::new(WIDTH, HEIGHT, "");
        svg.rectangle("plot", PLOT);
        if self.curves.iter().all(|curve| curve.points.is_empty()) {
            let middle = (PLOT.left + PLOT.width / 2.0, PLOT.top + PLOT.height / 2.0);
            svg.text("name", middle, Anchor::Middle, self.empty);
        } else {
            self.draw_axes(&mut svg, &across, &up);
        }
        let mut hovers = Vec::new();
        for curve in &self.curves {
            let at = |point: &ChartPoint| (across.at(point.x), up.at(point.y));
            for run in curve.points.chunk_by(|a, b| b.x - a.x <= curve.reach) {
                svg.curve(curve.class, run.iter().map(at));
            }
            let tenth = |pixels: f64| (pixels * 10.0).round() / 10.0;
            let points = curve.points.iter().map(|point| {
                let (x, y) = at(point);
                (tenth(x), tenth(y), point.text.as_str())
            });
            hovers.push(Hover { name: curve.name, class: curve.class, points: points.collect() });
        }
        // A "<" in the data could end the script element.
        let data = serde_json::to_string(&hovers).expect("numbers and text are JSON").replace('<', "\\u003c");
        format!(
            "<figure><figcaption>{}<span class=\"legend\">{}</span></figcaption>\n{}\
             <script type=\"application/json\">{data}</script></figure>\n",
            self.title,
            self.legend(),
            svg.finish()
        )
    }

    fn legend(&self) -> String {
        let item = |curve: &Curve| format!("<i class=\"{}\"></i>{}", curve.class, curve.name);
        self.curves.iter().map(item).collect::<Vec<_>>().join(" ")
    }

    fn draw_axes(&self, svg: &mut Svg, across: &Scale, up: &Scale) {
        for (value, text) in &self.x.ticks {
            let x = across.at(*value);
            svg.line("grid", (x, PLOT.top), (x, PLOT.bottom()));
            svg.text("tick", (x, PLOT.bottom() + 17.0), Anchor::Middle, text);
        }
        for (value, text) in &self.y.ticks {
            let y = up.at(*value);
            svg.line("grid", (PLOT.left, y), (PLOT.right(), y));
            svg.text("tick", (PLOT.left - 7.0, y + 4.0), Anchor::End, text);
        }
        svg.text("name", (PLOT.right(), HEIGHT - 8.0), Anchor::End, self.x.name);
        svg.text("name", (PLOT.left, PLOT.top - 10.0), Anchor::Start, self.y.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_is_as_wide_as_the_previous_one() {
        for (quantile, expected) in [(0.0, 0.0), (0.9, 1.0), (0.99, 2.0), (0.999, 3.0)] {
            assert!((nines(quantile) - expected).abs() < 1e-9, "{quantile}");
        }
    }

    #[test]
    fn an_empty_chart_has_a_text_instead_of_axes() {
        let y = Axis::durations("round trip", std::iter::empty());
        let curves = vec![Curve { name: "a", class: "a", points: Vec::new(), reach: 1.0 }];
        let html = Chart { title: "t", x: Axis::nines(0.0), y, curves, empty: "no answers" }.html();
        assert!(html.contains(">no answers</text>") && !html.contains("round trip"), "{html}");
    }

    #[test]
    fn the_axis_of_a_short_time_has_ticks_that_differ() {
        let mut ticks =
            Axis::seconds("seconds", 1e-6).ticks.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        let count = ticks.len();
        ticks.dedup();
        assert!(count > 2 && ticks.len() == count, "{ticks:?}");
    }

    #[test]
    fn the_text_of_a_point_cannot_end_the_script() {
        let point = ChartPoint { x: 0.0, y: 0.0, text: "</script>".to_owned() };
        let curve = Curve { name: "a", class: "a", points: vec![point], reach: f64::INFINITY };
        let y = Axis::linear("y", 1.0, short);
        let html = Chart { title: "t", x: Axis::nines(1.0), y, curves: vec![curve], empty: "" }.html();
        assert_eq!(html.matches("</script>").count(), 1);
    }

    #[test]
    fn a_line_does_not_cross_a_gap() {
        let points = [0.0, 0.1, 0.2, 0.9, 1.0].map(|x| ChartPoint { x, y: 0.5, text: String::new() });
        let drawn = |reach| {
            let curves = vec![Curve { name: "a", class: "a", points: points.to_vec(), reach }];
            let (x, y) = (Axis::seconds("x", 1.0), Axis::linear("y", 1.0, short));
            Chart { title: "t", x, y, curves, empty: "" }.html().matches("<polyline").count()
        };
        assert_eq!((drawn(0.25), drawn(f64::INFINITY)), (2, 1));
    }
}
