//! Charts in a terminal: a line of bars, and a canvas of Braille dots. Used by `demo`.

/// Bars with a height of one to eight eighths.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws one bar per value, scaled between `low` and `high`. A value below `low` gives a space.
pub(crate) fn bars(values: impl IntoIterator<Item = f64>, low: f64, high: f64) -> String {
    let bar = |value: f64| match ((value - low) / (high - low) * 8.0).floor() {
        share if share.is_nan() || share < 0.0 => ' ',
        share => BARS[eighths(share)],
    };
    values.into_iter().map(bar).collect()
}

/// Returns the index of the bar for a share in eighths.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // float casts saturate
fn eighths(share: f64) -> usize {
    (share as usize).min(BARS.len() - 1)
}

/// Returns `count` values picked evenly from `values`; some of them several times if there are fewer. The last value is the last.
pub(crate) fn resampled(values: &[f64], count: usize) -> Vec<f64> {
    let from = values.len();
    (1..=count).filter_map(|n| values.get((n * from).div_ceil(count).wrapping_sub(1)).copied()).collect()
}

/// A grid of dots. Each character has 2 by 4 dots.
#[derive(Debug)]
pub(crate) struct Canvas {
    columns: usize,
    /// The Braille pattern of each character, row by row.
    cells: Vec<u8>,
}

/// The bit of each dot in a Braille pattern, by row and column.
const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

impl Canvas {
    pub(crate) fn new(columns: usize, rows: usize) -> Self {
        Self { columns, cells: vec![0; columns * rows] }
    }

    /// Returns the number of dots across and down.
    pub(crate) fn size(&self) -> (f64, f64) {
        let rows = self.cells.len() / self.columns.max(1);
        ((self.columns * 2) as f64, (rows * 4) as f64)
    }

    /// Sets the dot at `x` from the left and `y` from the top. Outside the canvas it does nothing.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked against the size
    pub(crate) fn dot(&mut self, x: f64, y: f64) {
        let (width, height) = self.size();
        if (0.0..width).contains(&x) && (0.0..height).contains(&y) {
            let (x, y) = (x as usize, y as usize);
            self.cells[y / 4 * self.columns + x / 2] |= DOTS[y % 4][x % 2];
        }
    }

    /// Draws a straight line between two points.
    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64)) {
        // A line on a terminal has fewer dots than this.
        const STEPS: u32 = 400;
        for step in 0..=STEPS {
            let share = f64::from(step) / f64::from(STEPS);
            self.dot(from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1));
        }
    }

    /// Draws a filled rectangle.
    pub(crate) fn block(&mut self, (left, top): (f64, f64), (right, bottom): (f64, f64)) {
        let mut y = top;
        while y < bottom {
            self.line((left, y), (right, y));
            y += 1.0;
        }
    }

    /// Returns the rows as text.
    pub(crate) fn rows(&self) -> Vec<String> {
        let braille = |cell: &u8| char::from_u32(0x2800 + u32::from(*cell)).unwrap_or(' ');
        self.cells.chunks(self.columns.max(1)).map(|row| row.iter().map(braille).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_span_the_range_and_stay_in_it() {
        assert_eq!(bars([0.0, 0.5, 1.0, 7.0], 0.0, 1.0), "▁▅██");
        assert_eq!(bars([-1.0, f64::NAN], 0.0, 1.0), "  ");
    }

    #[test]
    fn a_chart_is_as_wide_as_asked_for_and_ends_with_the_last_value() {
        assert_eq!(resampled(&[1.0, 2.0, 3.0, 4.0], 2), [2.0, 4.0]);
        assert_eq!(resampled(&[1.0, 2.0], 5), [1.0, 1.0, 2.0, 2.0, 2.0]);
        assert!(resampled(&[], 5).is_empty() && resampled(&[1.0], 0).is_empty());
    }

    #[test]
    fn dots_outside_the_canvas_are_ignored() {
        let mut canvas = Canvas::new(2, 1);
        canvas.dot(0.0, 0.0);
        canvas.dot(3.5, 3.9);
        for (x, y) in [(-1.0, 0.0), (4.0, 0.0), (0.0, 4.0), (f64::NAN, 0.0)] {
            canvas.dot(x, y);
        }
        assert_eq!(canvas.rows(), ["⠁⢀"]);
    }
}
