//! Writes SVG for charts: shapes, text and scales. Used by `demo` and `bench`.
//!
//! Coordinates are pixels from the top left. All text in a drawing is escaped here.

use std::fmt::Write;

/// A drawing in progress.
#[derive(Debug)]
pub(crate) struct Svg {
    body: String,
    width: f64,
    height: f64,
}

/// The part of a text that its coordinates refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A rectangle on the page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Area {
    pub(crate) fn right(&self) -> f64 {
        self.left + self.width
    }

    pub(crate) fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

impl Svg {
    /// Creates a drawing. `style` holds the CSS classes that the shapes use.
    pub(crate) fn new(width: f64, height: f64, style: &str) -> Self {
        let mut svg = Self { body: String::new(), width, height };
        svg.push(format_args!("<style>{style}</style>"));
        let page = Area { left: 0.0, top: 0.0, width, height };
        svg.rectangle("page", page);
        svg
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "{element}"); // writing to a String cannot fail
    }

    pub(crate) fn rectangle(&mut self, class: &str, area: Area) {
        let Area { left, top, width, height } = area;
        self.push(format_args!(
            r#"<rect class="{class}" x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}"/>"#
        ));
    }

    pub(crate) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.push(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// Draws a line through points, or a dot if there is only one point.
    pub(crate) fn curve(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let points = points.into_iter().collect::<Vec<_>>();
        if let [(x, y)] = points[..] {
            self.push(format_args!(r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3"/>"#));
            return;
        }
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        self.push(format_args!(r#"<polyline class="{class}" points="{}"/>"#, path.trim_end()));
    }

    pub(crate) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.push(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    pub(crate) fn finish(self) -> String {
        let Self { body, width, height } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n{body}</svg>\n"
        )
    }
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Maps a range of values to pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// Maps the values `from..to` to the pixels `start..end`. An empty range of values maps to `start`.
    pub(crate) const fn new((from, to): (f64, f64), (start, end): (f64, f64)) -> Self {
        Self { from, to, start, end }
    }

    pub(crate) fn at(&self, value: f64) -> f64 {
        let range = self.to - self.from;
        let share = if range == 0.0 { 0.0 } else { (value - self.from) / range };
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// Returns about `count` round values inside the range.
    pub(crate) fn ticks(&self, count: f64) -> Vec<f64> {
        /// A bound for the number of ticks. A useful axis has fewer.
        const MOST: u32 = 30;
        let step = round_step((self.to - self.from) / count);
        let first = (self.from / step - 1e-9).ceil();
        (0..MOST)
            .map(|n| (first + f64::from(n)) * step)
            .take_while(|tick| *tick <= self.to + step * 1e-9)
            .map(|tick| if tick == 0.0 { 0.0 } else { tick }) // avoids "-0"
            .collect()
    }
}

/// Returns the value nearest to `rough` among 1, 2 and 5 times a power of ten.
fn round_step(rough: f64) -> f64 {
    let magnitude = 10.0_f64.powf(rough.max(1e-9).log10().floor());
    let factor = match rough / magnitude {
        share if share < 1.5 => 1.0,
        share if share < 3.5 => 2.0,
        share if share < 7.5 => 5.0,
        _ => 10.0,
    };
    factor * magnitude
}

/// Formats a number with up to three decimals, without trailing zeros.
pub(crate) fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside_the_range() {
        assert_eq!(
            Scale::new((-0.35, 0.72), (0.0, 1.0)).ticks(5.0),
            [-0.2, 0.0, 0.2, 0.4, 0.6000000000000001]
        );
        assert_eq!(Scale::new((0.0, 10.0), (0.0, 1.0)).ticks(10.0).len(), 11);
        assert_eq!(short(-0.6000000000000001), "−0.6");
        assert_eq!(short(20.0), "20");
    }

    #[test]
    fn values_outside_the_range_map_to_its_edge() {
        let scale = Scale::new((0.0, 1.0), (100.0, 0.0));
        assert_eq!([scale.at(0.25), scale.at(-5.0), scale.at(5.0)], [75.0, 100.0, 0.0]);
        assert_eq!(Scale::new((1.0, 1.0), (0.0, 9.0)).at(1.0), 0.0);
    }

    #[test]
    fn a_line_through_one_point_is_a_dot() {
        let drawn = |points: &[(f64, f64)]| {
            let mut svg = Svg::new(10.0, 10.0, "");
            svg.curve("c", points.iter().copied());
            svg.finish()
        };
        assert!(drawn(&[(1.0, 2.0)]).contains(r#"<circle class="c" cx="1.0" cy="2.0""#));
        assert!(drawn(&[(1.0, 2.0), (3.0, 4.0)]).contains(r#"points="1.0,2.0 3.0,4.0""#));
    }

    #[test]
    fn text_cannot_break_the_drawing() {
        let mut svg = Svg::new(10.0, 10.0, "");
        svg.text("t", (0.0, 0.0), Anchor::Middle, "a<b & c");
        assert!(svg.finish().contains("a&lt;b &amp; c"));
    }
}
