//! Round trips over time: the median and the longest of each bucket, so that stalls are visible.
//!
//! The number of buckets is bounded by what a chart can show. If the length is not known in advance, the buckets start
//! short, and pairs of buckets are merged whenever there are too many.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The number of buckets in a chart.
const BUCKETS: u32 = 300;

/// The shortest length of a bucket, and the length at the start of a run of unknown length.
const SHORTEST: Duration = Duration::from_millis(2);

/// The significant digits of the histogram. Two are enough for a chart.
const DIGITS: u8 = 2;
/// The longest time that is recorded, in nanoseconds. A longer round trip counts as this one.
const LONGEST_NS: u64 = 60_000_000_000;

/// The round trips that ended within one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TimeBucket {
    /// The start of the interval.
    pub(super) at: Duration,
    pub(super) count: u64,
    pub(super) median_us: f64,
    pub(super) max_us: f64,
}

/// The buckets of a measurement.
#[derive(Debug)]
pub(super) struct TimeLine {
    done: Vec<TimeBucket>,
    width: Duration,
    /// The number of the last bucket, if the length is known. A round trip that ends just after the last bucket counts
    /// in it, because alone in a bucket it would look like a stall.
    last: Option<u32>,
    /// The number of the bucket that is being filled.
    filling: u32,
    histogram: Histogram<u64>,
    max: Duration,
}

impl TimeLine {
    pub(super) fn new(length: Option<Duration>) -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
            .expect("1 is below the maximum and 2 is a number of digits that the crate offers");
        let width = length.map_or(SHORTEST, |length| (length / BUCKETS).max(SHORTEST));
        let last = length.map(|length| (length.as_nanos() / width.as_nanos()).saturating_sub(1));
        let last = last.map(|last| u32::try_from(last).unwrap_or(u32::MAX));
        Self { done: Vec::new(), width, last, filling: 0, histogram, max: Duration::ZERO }
    }

    /// Adds a round trip that ended `at` this time. Times must not decrease.
    pub(super) fn add(&mut self, at: Duration, round_trip: Duration) {
        let index = u32::try_from(at.as_nanos() / self.width.as_nanos()).unwrap_or(u32::MAX);
        let index = self.last.map_or(index, |last| index.min(last));
        if index > self.filling {
            self.close();
            self.filling = index;
            while self.filling >= 2 * BUCKETS {
                self.halve();
            }
        }
        self.histogram.saturating_record(u64::try_from(round_trip.as_nanos()).unwrap_or(LONGEST_NS));
        self.max = self.max.max(round_trip);
    }

    /// Returns all buckets that have a round trip.
    pub(super) fn buckets(&self) -> Vec<TimeBucket> {
        self.done.iter().copied().chain(self.current()).collect()
    }

    fn current(&self) -> Option<TimeBucket> {
        (!self.histogram.is_empty()).then(|| TimeBucket {
            at: self.width * self.filling,
            count: self.histogram.len(),
            median_us: self.histogram.value_at_quantile(0.5) as f64 / 1e3,
            max_us: self.max.as_secs_f64() * 1e6,
        })
    }

    fn close(&mut self) {
        self.done.extend(self.current());
        self.histogram.clear();
        self.max = Duration::ZERO;
    }

    /// Doubles the width. The median of two merged buckets is taken as the weighted mean of their medians.
    fn halve(&mut self) {
        self.width *= 2;
        self.filling /= 2;
        let mut merged: Vec<TimeBucket> = Vec::with_capacity(self.done.len());
        for bucket in self.done.drain(..) {
            let number = bucket.at.as_nanos() / self.width.as_nanos();
            let at = self.width * u32::try_from(number).unwrap_or(u32::MAX);
            match merged.last_mut().filter(|last| last.at == at) {
                Some(last) => *last = joined(*last, bucket),
                None => merged.push(TimeBucket { at, ..bucket }),
            }
        }
        self.done = merged;
    }
}

fn joined(a: TimeBucket, b: TimeBucket) -> TimeBucket {
    let count = a.count + b.count;
    let median_us = (a.median_us * a.count as f64 + b.median_us * b.count as f64) / count as f64;
    TimeBucket { at: a.at, count, median_us, max_us: a.max_us.max(b.max_us) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_stall_appears_in_its_own_bucket() {
        let mut line = TimeLine::new(Some(3000 * MS));
        for n in 0..3000 {
            line.add(n * MS, if n == 1234 { 50 * MS } else { MS });
        }
        let buckets = line.buckets();
        assert_eq!(buckets.len(), 300);
        let stall = buckets.iter().find(|bucket| bucket.max_us > 2000.0).expect("it is there");
        assert_eq!((stall.at, stall.count, stall.max_us), (1230 * MS, 10, 50_000.0));
        assert!((stall.median_us - 1000.0).abs() < 20.0, "{stall:?}");
    }

    #[test]
    fn a_round_trip_just_after_the_end_is_in_the_last_bucket() {
        let mut line = TimeLine::new(Some(3000 * MS));
        line.add(2995 * MS, MS);
        line.add(3002 * MS, 5 * MS);
        assert_eq!(line.buckets().iter().map(|bucket| bucket.count).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn the_number_of_buckets_is_bounded_and_every_round_trip_is_counted() {
        let mut line = TimeLine::new(None);
        for n in 0..100_000 {
            line.add(n * MS, MS * (1 + n / 50_000));
        }
        let buckets = line.buckets();
        assert!((u64::from(BUCKETS)..2 * u64::from(BUCKETS)).contains(&(buckets.len() as u64)));
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 100_000);
        assert!(buckets.is_sorted_by_key(|bucket| bucket.at));
    }
}
