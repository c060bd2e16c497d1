//! How often is measured, and how many times.

use std::time::Duration;

use crate::tools::exit::Failure;

/// "In 99.9 %" says something once there are so many samples that one of them may be later.
pub(super) const FEWEST_SAMPLES: u64 = 1_000;

/// The rate of the measurement when none is to be judged.
const USUAL_RATE: f64 = 1_000.0;

/// Slower, and enough samples take too long; faster, and sleeping makes no sense.
const MEASURED_RATES: (f64, f64) = (200.0, 10_000.0);

/// How long a measurement takes when nobody says; longer where this is too short for enough samples.
const USUAL_TIME: Duration = Duration::from_millis(1_500);

/// What each measurement does.
#[derive(Clone, Copy, Debug)]
pub(super) struct MeasurementPlan {
    pub(super) rate_hz: f64,
    /// At least [`FEWEST_SAMPLES`]; each is a sample.
    pub(super) periods: u64,
}

impl MeasurementPlan {
    /// For the rate to judge, and for as long as asked.
    ///
    /// # Errors
    /// When there is no time for enough samples.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // float casts saturate
    pub(super) fn of(rate: Option<f64>, time: Option<Duration>) -> Result<Self, Failure> {
        let (slowest, fastest) = MEASURED_RATES;
        let rate_hz = rate.unwrap_or(USUAL_RATE).clamp(slowest, fastest);
        let shortest = Duration::from_millis((FEWEST_SAMPLES as f64 * 1e3 / rate_hz).ceil() as u64);
        let time = time.unwrap_or(USUAL_TIME.max(shortest));
        if time < shortest {
            return Err(Failure::usage(format!(
                "--time {time:?} is too short: \"in 99.9 %\" takes {FEWEST_SAMPLES} samples, at {rate_hz} a second \
                 here: use --time {shortest:?} or more, or leave it out"
            )));
        }
        let periods = (time.as_secs_f64() * rate_hz).round() as u64;
        Ok(Self { rate_hz, periods })
    }

    pub(super) fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate_hz)
    }

    /// How long one measurement takes.
    pub(super) fn seconds(&self) -> f64 {
        self.periods as f64 / self.rate_hz
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_samples_at_every_rate_when_nobody_says_how_long() {
        for (rate, rate_hz, periods) in [
            (None, 1_000.0, 1_500),
            (Some(0.01), 200.0, 1_000),
            (Some(10.0), 200.0, 1_000),
            (Some(500.0), 500.0, 1_000),
            (Some(1_000.0), 1_000.0, 1_500),
            (Some(20_000.0), 10_000.0, 15_000),
        ] {
            let plan = MeasurementPlan::of(rate, None).expect("a default is long enough");
            assert!((plan.rate_hz - rate_hz).abs() < 1e-9, "{rate:?}: {plan:?}");
            assert_eq!(plan.periods, periods, "{rate:?}");
        }
        for rate in 200..=10_000 {
            assert!(
                MeasurementPlan::of(Some(f64::from(rate)), None)
                    .is_ok_and(|plan| plan.periods >= FEWEST_SAMPLES)
            );
        }
    }

    #[test]
    fn the_time_that_would_do_is_named_and_does() {
        for (rate, enough) in [(10.0, "5s"), (600.0, "1.667s"), (1_000.0, "1s"), (3_000.0, "334ms")] {
            let error =
                MeasurementPlan::of(Some(rate), Some(Duration::from_millis(99))).expect_err("too short");
            assert!(error.to_string().contains(&format!("--time {enough} or more")), "{rate}: {error}");
            let time = tautline::parse_duration(enough).expect("it is one");
            let plan = MeasurementPlan::of(Some(rate), Some(time)).expect("long enough");
            assert!(plan.periods >= FEWEST_SAMPLES, "{rate}: {plan:?}");
        }
    }
}
