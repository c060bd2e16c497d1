//! The latest round trips of a link, and their percentiles.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::look::Look;
use tautline_proto::PeerId;

/// The round trips that are kept: a hundred seconds of heartbeats of one peer.
const KEPT: usize = 1_000;

/// Percentiles in microseconds. `None` if there are too few round trips to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) count: usize,
    pub(super) p50_us: Option<f64>,
    pub(super) p90_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) p999_us: Option<f64>,
    pub(super) max_us: Option<f64>,
}

/// The latest round trips.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    kept: VecDeque<Duration>,
    /// How many of each peer were seen.
    seen: BTreeMap<PeerId, u64>,
}

impl RoundTrips {
    /// Takes the round trips that were measured since the last look.
    pub(super) fn take(&mut self, look: &Look) {
        self.seen.retain(|id, _| look.peers.iter().any(|peer| peer.id == *id));
        for peer in &look.peers {
            let Some(path) = peer.received.path else { continue };
            if self.seen.insert(peer.id, path.samples) != Some(path.samples) && path.samples > 0 {
                self.add(path.rtt);
            }
        }
    }

    fn add(&mut self, round_trip: Duration) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(round_trip);
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        let mut sorted: Vec<Duration> = self.kept.iter().copied().collect();
        sorted.sort_unstable();
        let count = sorted.len();
        // One in `beyond` round trips is longer. With fewer of them, that would be the longest.
        let told = |beyond: usize| {
            let longer = count / beyond;
            (longer > 0).then(|| us(sorted[count - 1 - longer]))
        };
        let max_us = sorted.last().copied().map(us);
        let p50_us = sorted.get(count.saturating_sub(1) / 2).copied().map(us).filter(|_| count > 1);
        Percentiles { count, p50_us, p90_us: told(10), p99_us: told(100), p999_us: told(1_000), max_us }
    }
}

/// Microseconds with tenths, which is the accuracy of the clock.
pub(super) fn us(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e7).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_list_and_only_what_it_tells() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.percentiles(), Percentiles::default());
        (1..=99).rev().for_each(|n| trips.add(Duration::from_micros(n)));
        let few = trips.percentiles();
        assert_eq!(
            (few.p50_us, few.p90_us, few.p99_us, few.max_us),
            (Some(50.0), Some(90.0), None, Some(99.0))
        );
        (100..=1_000).for_each(|n| trips.add(Duration::from_micros(n)));
        let all = trips.percentiles();
        assert_eq!(
            (all.count, all.p99_us, all.p999_us, all.max_us),
            (1_000, Some(990.0), Some(999.0), Some(1_000.0))
        );
        trips.add(Duration::from_micros(5));
        assert_eq!(trips.percentiles().count, KEPT, "the number is bounded");
    }
}
