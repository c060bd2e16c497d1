//! Draws the plots beside docs/benchmarks.md: bars in SVG, with one group for each contestant.

use std::fmt::Write;

use crate::report::Table;

const WIDTH: f64 = 930.0;
/// The names stand to the left of this, the figures to the right of `RIGHT`.
const LEFT: f64 = 260.0;
const RIGHT: f64 = 795.0;
const TOP: f64 = 64.0;
const BAR: f64 = 9.0;
const GAP: f64 = 9.0;
const BOTTOM: f64 = 34.0;

/// The colours differ also in lightness, for readers with colour blindness.
const COLOURS: [&str; 3] = ["#1b4f8a", "#e08214", "#c9b8dd"];

/// The bars of one contestant.
struct Group {
    name: String,
    values: Vec<f64>,
}

struct Plot<'a> {
    title: &'a str,
    /// The names of the bars of a group. The legend is left out if there is only one.
    series: &'a [&'a str],
    unit: &'a str,
    groups: Vec<Group>,
    axis: Axis,
}

/// The range of the axis, which is logarithmic or linear.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Axis {
    Log { least: f64, most: f64 },
    Linear { most: f64, step: f64 },
}

impl Axis {
    /// Returns a logarithmic axis of whole decades around all values.
    fn log(values: impl Iterator<Item = f64> + Clone) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let most = values.fold(f64::NEG_INFINITY, f64::max).log10().ceil();
        Self::Log { least: 10_f64.powf(least), most: 10_f64.powf(most.max(least + 1.0)) }
    }

    fn linear(values: impl Iterator<Item = f64>) -> Self {
        let most = values.fold(0.0, f64::max);
        let decade = 10_f64.powf(most.log10().floor());
        let step = [0.2, 0.5, 1.0, 2.0].map(|part| part * decade).into_iter().find(|step| most <= 6.0 * step);
        let step = step.unwrap_or(decade);
        Self::Linear { most: (most / step).ceil() * step, step }
    }

    /// Returns the position of a value along the axis, from 0 to 1.
    fn part(self, value: f64) -> f64 {
        let part = match self {
            Self::Log { least, most } => (value / least).log10() / (most / least).log10(),
            Self::Linear { most, .. } => value / most,
        };
        part.clamp(0.0, 1.0)
    }

    fn ticks(self) -> Vec<f64> {
        match self {
            Self::Log { least, most } => {
                let decades = (most / least).log10().round() as i32;
                (0..=decades).map(|decade| least * 10_f64.powi(decade)).collect()
            }
            Self::Linear { most, step } => {
                let steps = (most / step).round() as i32;
                (0..=steps).map(|tick| step * f64::from(tick)).collect()
            }
        }
    }
}

/// Returns the plot of `table`, or `None` if there are no figures.
pub(crate) fn plot(table: &Table) -> Option<String> {
    if table.kind.is_round_trips() { trips(table) } else { rates(table) }
}

fn trips(table: &Table) -> Option<String> {
    let values = |index| {
        [
            table.trip_us(index, |it| it.p50),
            table.trip_us(index, |it| it.p99),
            table.trip_us(index, |it| it.p999),
        ]
    };
    let groups = groups(table, |index| values(index).to_vec());
    let axis = Axis::log(groups.iter().flat_map(|group| group.values.iter().copied()));
    draw(&table.kind.title(), &["p50", "p99", "p99.9"], "µs, round trip", groups, axis)
}

fn rates(table: &Table) -> Option<String> {
    let groups = groups(table, |index| vec![table.rate(index) / 1e6]);
    let axis = Axis::linear(groups.iter().flat_map(|group| group.values.iter().copied()));
    draw(&table.kind.title(), &["received"], "million messages received per second", groups, axis)
}

/// Returns the contestants that have figures.
fn groups(table: &Table, values: impl Fn(usize) -> Vec<f64>) -> Vec<Group> {
    let shown = table.lines().filter(|index| table.failures[*index].is_none() && table.has_figures(*index));
    shown.map(|index| Group { name: table.name(index).to_owned(), values: values(index) }).collect()
}

fn draw(title: &str, series: &[&str], unit: &str, groups: Vec<Group>, axis: Axis) -> Option<String> {
    (!groups.is_empty()).then(|| Plot { title, series, unit, groups, axis }.svg())
}

impl Plot<'_> {
    fn svg(&self) -> String {
        let height = TOP + self.groups.len() as f64 * self.group_height() + BOTTOM;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"12\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
            escape(self.title)
        );
        self.legend(&mut svg);
        self.grid(&mut svg, height);
        for (number, group) in self.groups.iter().enumerate() {
            self.group(&mut svg, group, TOP + number as f64 * self.group_height());
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn group_height(&self) -> f64 {
        self.series.len() as f64 * BAR + GAP
    }

    fn legend(&self, svg: &mut String) {
        let mut x = LEFT;
        for (name, colour) in self.series.iter().zip(COLOURS).filter(|_| self.series.len() > 1) {
            let _ = writeln!(svg, "<rect x=\"{x}\" y=\"38\" width=\"10\" height=\"10\" fill=\"{colour}\"/>");
            text(svg, x + 15.0, 47.0, "start", name);
            x += 70.0;
        }
        text(svg, if x > LEFT { x + 10.0 } else { x }, 47.0, "start", self.unit);
    }

    fn grid(&self, svg: &mut String, height: f64) {
        let bottom = height - BOTTOM + 4.0;
        for tick in self.axis.ticks() {
            let x = self.x(tick);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#ddd\"/>",
                TOP - 6.0
            );
            text(svg, x, bottom + 15.0, "middle", &figure(tick));
        }
    }

    fn group(&self, svg: &mut String, group: &Group, top: f64) {
        let middle = top + self.series.len() as f64 * BAR / 2.0 + 4.0;
        let ours = group.name.starts_with("tautline");
        let weight = if ours { " font-weight=\"bold\"" } else { "" };
        let name = escape(&group.name);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\"{weight}>{name}</text>",
            LEFT - 8.0
        );
        for (number, (value, colour)) in group.values.iter().zip(COLOURS).enumerate() {
            let (y, width) = (top + number as f64 * BAR, self.x(*value) - LEFT);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
                BAR - 1.0
            );
        }
        let values: Vec<String> = group.values.iter().map(|value| figure(*value)).collect();
        text(svg, WIDTH - 6.0, middle, "end", &values.join(" · "));
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * self.axis.part(value)
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(words));
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Formats a value with three significant digits, or with all digits before the decimal point.
fn figure(value: f64) -> String {
    match value {
        _ if value == 0.0 => "0".to_owned(),
        _ if value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => trimmed(&format!("{value:.1}")),
        _ => trimmed(&format!("{value:.2}")),
    }
}

fn trimmed(digits: &str) -> String {
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_axis_has_whole_decades() {
        let axis = Axis::log([6.3, 950.0].into_iter());
        assert_eq!(axis, Axis::Log { least: 1.0, most: 1000.0 });
        assert_eq!(axis.ticks(), [1.0, 10.0, 100.0, 1000.0]);
        assert!((axis.part(10.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!([axis.part(0.1), axis.part(1e9)], [0.0, 1.0]);
    }

    #[test]
    fn a_linear_axis_ends_at_a_round_figure() {
        let ticks = |most| Axis::linear([0.2, most].into_iter()).ticks();
        assert_eq!(ticks(8.25), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(32.0), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(ticks(11.2), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    }

    #[test]
    fn figures_are_short() {
        let figures = [0.0, 0.273, 9.99, 10.04, 65.32, 102.7].map(figure);
        assert_eq!(figures, ["0", "0.27", "9.99", "10", "65.3", "103"]);
    }

    #[test]
    fn every_bar_and_every_name_is_drawn() {
        let group = |name: &str| Group { name: name.to_owned(), values: vec![1.0, 10.0, 100.0] };
        let axis = Axis::Log { least: 1.0, most: 1000.0 };
        let svg =
            draw("a < b", &["x", "y", "z"], "µs", vec![group("raw"), group("tautline, x")], axis).unwrap();
        assert_eq!(svg.matches("<rect").count(), 1 + 3 + 6);
        assert!(svg.contains(">raw</text>") && svg.contains("a &lt; b"));
        assert_eq!(svg.matches("font-weight=\"bold\">tautline").count(), 1);
    }
}
