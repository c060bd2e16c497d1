//! Judges whether the machine is fit for a rate.

use std::fmt;

use serde::Serialize;

use super::measure::Lateness;
use super::plan::FEWEST_SAMPLES;
use crate::tools::exit::Exit;

/// Fit: timer and wake-up take at most this share of the period. Four fifths remain for the network, the other end and
/// the control law.
const FIT: f64 = 0.2;

/// Tight: timer and wake-up take at most this share. Half of the period remains, which is enough if the rest is fast.
const TIGHT: f64 = 0.5;

/// How well a machine suits a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fitness {
    /// Timer and wake-up take at most a fifth of the period in 999 of 1000 periods.
    Fit,
    /// They take at most half of the period.
    Tight,
    /// They take more than half of the period.
    Unfit,
}

impl fmt::Display for Fitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fit => "fit",
            Self::Tight => "tight",
            Self::Unfit => "UNFIT",
        })
    }
}

/// The rate that was asked for, the measured lateness, and the judgement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) rate_hz: f64,
    pub(super) period_us: f64,
    /// Timer and wake-up together, 99.9th percentile.
    pub(super) p999_us: f64,
    pub(super) share_percent: f64,
    pub(super) verdict: Fitness,
    /// The number of measured periods.
    pub(super) samples: u64,
    /// The judged setup, which is the best that the machine grants.
    pub(super) setup: &'static str,
}

impl Verdict {
    /// Judges a measurement. Returns `None` if there are too few samples for a verdict.
    pub(super) fn of(rate_hz: f64, found: &Lateness) -> Option<Self> {
        let (period_us, p999_us) = (1e6 / rate_hz, p999_us(found)?);
        let share = p999_us / period_us;
        let verdict = match share {
            ..=FIT => Fitness::Fit,
            ..=TIGHT => Fitness::Tight,
            _ => Fitness::Unfit,
        };
        let share_percent = (share * 1_000.0).round() / 10.0;
        let (samples, setup) = (found.samples, found.setup);
        Some(Self { rate_hz, period_us, p999_us, share_percent, verdict, samples, setup })
    }

    pub(super) fn exit(&self) -> Exit {
        match self.verdict {
            Fitness::Fit | Fitness::Tight => Exit::Done,
            Fitness::Unfit => Exit::NotMet,
        }
    }
}

/// Returns the highest rate for which the measured setup is fit, in Hz.
pub(super) fn fit_up_to_hz(found: &Lateness) -> Option<f64> {
    p999_us(found).map(|us| (FIT * 1e6 / us).floor())
}

/// Returns the 99.9th percentile, or `None` if there are too few samples.
fn p999_us(found: &Lateness) -> Option<f64> {
    found.together_us.p999.filter(|_| found.samples >= FEWEST_SAMPLES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::latency::Percentiles;

    fn found(p999: f64, samples: u64) -> Lateness {
        let together_us = Percentiles { p999: Some(p999), ..Percentiles::default() };
        let nothing = Percentiles::default();
        Lateness { setup: "as it is", samples, timer_us: nothing, wake_up_us: nothing, together_us }
    }

    fn judged(p999: f64) -> Verdict {
        Verdict::of(1_000.0, &found(p999, 1_000)).expect("there are enough samples")
    }

    #[test]
    fn too_few_samples_give_no_verdict() {
        let found = found(44.0, FEWEST_SAMPLES - 1);
        assert!(Verdict::of(1_000.0, &found).is_none() && fit_up_to_hz(&found).is_none());
    }

    #[test]
    fn the_verdict_depends_on_the_share_of_the_period() {
        for (p999, verdict, exit) in [
            (200.0, Fitness::Fit, Exit::Done),
            (201.0, Fitness::Tight, Exit::Done),
            (500.0, Fitness::Tight, Exit::Done),
            (501.0, Fitness::Unfit, Exit::NotMet),
        ] {
            assert_eq!((judged(p999).verdict, judged(p999).exit()), (verdict, exit), "{p999} us");
        }
        assert!((judged(126.0).share_percent - 12.6).abs() < 1e-9);
    }
}
