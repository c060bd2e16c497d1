//! Records round-trip times and computes percentiles. Used by `demo`, `doctor`, `ping` and `bench`.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest time that is recorded, 60 s in nanoseconds. A longer round trip counts as this one.
const LONGEST_NS: u64 = 60_000_000_000;

/// The significant digits of the histogram. With three digits, percentiles are exact to 0.1 %.
const DIGITS: u8 = 3;

/// A record of round-trip times. Its memory is bounded, whatever their number.
#[derive(Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    last_ns: Option<u64>,
    /// The sum of the absolute differences between consecutive round trips.
    differences_ns: u128,
}

/// Percentiles in microseconds. One is `None` (JSON null) as long as too few round trips were measured to tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: Option<f64>,
    pub(crate) p90: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
    pub(crate) max: Option<f64>,
}

/// The percentiles, the mean and the deviation of a long measurement, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: Option<f64>,
    #[serde(flatten)]
    pub(crate) percentiles: Percentiles,
    pub(crate) p9999: Option<f64>,
    pub(crate) mean: Option<f64>,
    pub(crate) std_dev: Option<f64>,
}

/// How many round trips took from `from_us` up to `to_us`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HistogramBucket {
    pub(crate) from_us: f64,
    pub(crate) to_us: f64,
    pub(crate) count: u64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
            .expect("1 is below the maximum and 3 is a number of digits that the crate offers");
        Self { histogram, last_ns: None, differences_ns: 0 }
    }

    pub(crate) fn record(&mut self, round_trip: Duration) {
        let ns = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX).clamp(1, LONGEST_NS);
        self.histogram.saturating_record(ns);
        if let Some(last) = self.last_ns.replace(ns) {
            self.differences_ns += u128::from(ns.abs_diff(last));
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Returns the quantile in microseconds: this share of the round trips took at most so long. 1 gives the longest.
    pub(crate) fn at(&self, quantile: f64) -> Option<f64> {
        (self.count() > 0).then(|| us(self.histogram.value_at_quantile(quantile)))
    }

    /// As [`at`](Self::at), but `None` if that would be the longest for lack of round trips: the 99th percentile needs 100.
    pub(crate) fn told(&self, quantile: f64) -> Option<f64> {
        // With a margin, because 1 - 0.99 is not exactly 0.01.
        let beyond = self.count() as f64 * (1.0 - quantile) + 1e-6;
        self.at(quantile).filter(|_| quantile >= 1.0 || beyond >= 1.0)
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.told(quantile);
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) }
    }

    pub(crate) fn spread(&self) -> Spread {
        let some = |ns: f64| (self.count() > 0).then_some(rounded(ns / 1e3));
        Spread {
            min: some(self.histogram.min() as f64),
            percentiles: self.percentiles(),
            p9999: self.told(0.9999),
            mean: some(self.histogram.mean()),
            std_dev: some(self.histogram.stdev()),
        }
    }

    /// Returns the mean absolute difference between consecutive round trips, in microseconds.
    pub(crate) fn jitter_us(&self) -> Option<f64> {
        let differences = self.count().checked_sub(1).filter(|count| *count > 0)?;
        Some(rounded(self.differences_ns as f64 / differences as f64 / 1e3))
    }

    /// Returns the distribution in `count` buckets from the fastest to the slowest. The upper edge of each bucket is
    /// the same multiple of its lower edge.
    pub(crate) fn distribution(&self, count: usize) -> Vec<HistogramBucket> {
        if self.count() == 0 || count == 0 {
            return Vec::new();
        }
        let low = self.histogram.min().max(1) as f64;
        let high = (self.histogram.max() as f64).max(low * 1.5);
        let edge = |index: usize| low * (high / low).powf(index as f64 / count as f64);
        let mut buckets: Vec<HistogramBucket> = (0..count)
            .map(|i| HistogramBucket { from_us: edge(i) / 1e3, to_us: edge(i + 1) / 1e3, count: 0 })
            .collect();
        for step in self.histogram.iter_recorded() {
            let at = (step.value_iterated_to() as f64 / low).ln() / (high / low).ln() * count as f64;
            buckets[whole(at).min(count - 1)].count += step.count_at_value();
        }
        buckets
    }
}

/// Returns the integer part of a number; 0 for a negative number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // float casts saturate
fn whole(number: f64) -> usize {
    number as usize
}

fn us(ns: u64) -> f64 {
    rounded(ns as f64 / 1e3)
}

/// Rounds to tenths, which is the accuracy of the clock.
fn rounded(us: f64) -> f64 {
    (us * 10.0).round() / 10.0
}

/// Formats a duration in microseconds with three digits and a unit.
pub(crate) fn show_us(us: f64) -> String {
    match us {
        us if us < 10.0 => format!("{us:.1} µs"),
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e4 => format!("{:.2} ms", us / 1e3),
        us if us < 1e5 => format!("{:.1} ms", us / 1e3),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// Formats a duration like [`show_us`]; a dash for `None`.
pub(crate) fn show_maybe(us: Option<f64>) -> String {
    us.map_or_else(|| "-".to_owned(), show_us)
}

impl Percentiles {
    /// Formats the percentiles that are known on one line.
    pub(crate) fn line(&self) -> String {
        let all = [
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99.9", self.p999),
            ("max", self.max),
        ];
        let known = all.into_iter().filter_map(|(name, us)| Some(format!("{name} {}", show_us(us?))));
        known.collect::<Vec<_>>().join("  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(us: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::new();
        us.into_iter().for_each(|us| latencies.record(Duration::from_micros(us)));
        latencies
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let found = recorded((1..=1000).rev()).percentiles();
        for (found, expected) in
            [(found.p50, 500.0), (found.p90, 900.0), (found.p99, 990.0), (found.max, 1000.0)]
        {
            let found = found.expect("there are round trips");
            assert!((found - expected).abs() <= expected / 1000.0 + 0.1, "{found} for {expected}");
        }
    }

    #[test]
    fn a_percentile_that_the_round_trips_cannot_tell_is_left_out() {
        for (count, line) in [
            (1, "max 1.0 µs"),
            (9, "p50 5.0 µs  max 9.0 µs"),
            (10, "p50 5.0 µs  p90 9.0 µs  max 10 µs"),
            (99, "p50 50 µs  p90 90 µs  max 99 µs"),
            (100, "p50 50 µs  p90 90 µs  p99 99 µs  max 100 µs"),
            (999, "p50 500 µs  p90 900 µs  p99 990 µs  max 999 µs"),
            (1000, "p50 500 µs  p90 900 µs  p99 990 µs  p99.9 999 µs  max 1.00 ms"),
        ] {
            assert_eq!(recorded(1..=count).percentiles().line(), line, "{count}");
        }
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_list() {
        let spread = recorded([100, 300]).spread();
        for (found, expected) in [(spread.min, 100.0), (spread.mean, 200.0), (spread.std_dev, 100.0)] {
            assert!(found.is_some_and(|found| (found - expected).abs() < 1.0), "{found:?} for {expected}");
        }
        assert_eq!(recorded([]).spread(), Spread::default());
    }

    #[test]
    fn without_an_answer_there_are_no_percentiles() {
        let none = recorded([]);
        assert_eq!(none.percentiles(), Percentiles::default());
        assert_eq!(none.jitter_us(), None);
        assert!(none.distribution(10).is_empty());
    }

    #[test]
    fn jitter_is_the_mean_difference_between_consecutive_round_trips() {
        assert_eq!(recorded([100, 130, 100, 100]).jitter_us(), Some(20.0));
        assert_eq!(recorded([100]).jitter_us(), None);
    }

    #[test]
    fn the_distribution_counts_every_round_trip_once() {
        for list in [vec![5], vec![7; 9], (1..500).collect(), vec![1, 1_000_000_000]] {
            let count = list.len() as u64;
            let buckets = recorded(list).distribution(20);
            assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), count);
            assert_eq!(buckets.len(), 20);
        }
        // A narrow terminal has no room for a bar.
        assert!(recorded([5]).distribution(0).is_empty());
    }

    #[test]
    fn durations_have_three_digits_at_every_size() {
        for (us, text) in [(3.08, "3.1 µs"), (42.0, "42 µs"), (1234.0, "1.23 ms"), (2.5e6, "2.50 s")] {
            assert_eq!(show_us(us), text);
        }
    }
}
