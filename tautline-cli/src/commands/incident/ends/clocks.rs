//! By how much the clock of one end is ahead of the other's.
//!
//! No datagram comes before it was sent. So each one that went from one end to the other is an upper bound for how far the clock of the
//! other is ahead, and each one that went back is a lower bound. The closest of them leave an interval, which surely holds the truth.

use super::flow::At;

/// How far the clock of the second end is ahead of the first one's, in nanoseconds, and the largest error of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) ahead: i64,
    /// `None` if datagrams went in one direction only, or if the bounds contradict each other: then the error is not known.
    pub(super) error: Option<i64>,
}

/// The bounds are taken from datagrams of this time, so that clocks of different speed do not matter much; if they contradict
/// themselves, from a shorter time.
const SPANS: [i64; 4] = [10_000_000_000, 3_000_000_000, 1_000_000_000, 300_000_000];

/// When datagrams were sent and when they came, each by the clock of its end.
pub(super) type Journeys = Vec<(At, At)>;

/// Estimates the offset, from journeys to the second end and back. `None` if there are none.
pub(super) fn offset(there: &Journeys, back: &Journeys) -> Option<Offset> {
    let last = |journeys: &Journeys, first_end: fn(&(At, At)) -> At| journeys.iter().map(first_end).max();
    let until =
        [last(there, |journey| journey.0), last(back, |journey| journey.1)].into_iter().flatten().min()?;
    let mut found = None;
    for span in SPANS {
        // By the clock of the first end.
        let is_in = |at: At| at <= until && until - at <= span;
        let upper = there.iter().filter(|(sent, _)| is_in(*sent)).map(|(sent, came)| came - sent).min();
        let lower = back.iter().filter(|(_, came)| is_in(*came)).map(|(sent, came)| sent - came).max();
        match (lower, upper) {
            (Some(lower), Some(upper)) => {
                let offset = Offset { ahead: i64::midpoint(lower, upper), error: Some((upper - lower) / 2) };
                if lower <= upper {
                    return Some(offset);
                }
                found = Some(Offset { error: None, ..offset });
            }
            (Some(one), None) | (None, Some(one)) if found.is_none() => {
                found = Some(Offset { ahead: one, error: None });
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: i64 = 1_000;

    #[test]
    fn the_offset_lies_within_its_error_however_unequal_the_ways_are() {
        for (there_takes, back_takes) in [(100, 100), (40, 900), (900, 40)] {
            let ahead = 5_000_000 * US;
            let journey = |sent: i64, takes: i64, shift: i64| (sent, sent + takes + shift);
            let there =
                (0..100).map(|n| journey(n * 1_000 * US, (there_takes + n % 7) * US, ahead)).collect();
            let back = (0..100)
                .map(|n| journey(n * 1_000 * US + ahead, (back_takes + n % 5) * US, -ahead))
                .collect();
            let offset = offset(&there, &back).expect("there are journeys");
            let error = offset.error.expect("they went both ways");
            assert_eq!(error, (there_takes + back_takes) * US / 2);
            assert!((offset.ahead - ahead).abs() <= error, "{offset:?}");
        }
    }

    #[test]
    fn one_direction_gives_no_error_and_none_gives_nothing() {
        let there = vec![(0, 7), (10, 15)];
        assert_eq!(offset(&there, &Vec::new()), Some(Offset { ahead: 5, error: None }));
        assert_eq!(offset(&Vec::new(), &Vec::new()), None);
    }
}
