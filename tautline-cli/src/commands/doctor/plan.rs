//! Plans the rate and the number of samples of a measurement.

use std::time::Duration;

use crate::tools::exit::Failure;

/// The smallest number of samples for a verdict. With fewer samples, the 99.9th percentile would be the maximum.
pub(super) const FEWEST_SAMPLES: u64 = 1_000;

/// The rate of the measurement without --rate.
const USUAL_RATE: f64 = 1_000.0;

/// The lowest and the highest rate of a measurement. At lower rates, enough samples would take too long. At higher
/// rates, a thread does not sleep between its due times.
const MEASURED_RATES: (f64, f64) = (200.0, 10_000.0);

/// The length of a measurement without --time. It is longer if this is too short for enough samples.
const USUAL_TIME: Duration = Duration::from_millis(1_500);

/// The rate and the length of each measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct MeasurementPlan {
    pub(super) rate_hz: f64,
    /// The number of periods, at least [`FEWEST_SAMPLES`]. Each period is a sample.
    pub(super) periods: u64,
}

impl MeasurementPlan {
    /// Plans a measurement for the rate to judge and the requested time.
    ///
    /// # Errors
    /// Fails if the time is too short for enough samples.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // float casts saturate
    pub(super) fn of(rate: Option<f64>, time: Option<Duration>) -> Result<Self, Failure> {
        let (slowest, fastest) = MEASURED_RATES;
        let rate_hz = rate.unwrap_or(USUAL_RATE).clamp(slowest, fastest);
        let shortest = Duration::from_millis((FEWEST_SAMPLES as f64 * 1e3 / rate_hz).ceil() as u64);
        let time = time.unwrap_or(USUAL_TIME.max(shortest));
        if time < shortest {
            return Err(Failure::usage(format!(
                "--time {time:?} is too short: a verdict needs {FEWEST_SAMPLES} samples, and there are {rate_hz} per \
                 second: use --time {shortest:?} or more, or leave it out"
            )));
        }
        let periods = (time.as_secs_f64() * rate_hz).round() as u64;
        Ok(Self { rate_hz, periods })
    }

    pub(super) fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate_hz)
    }

    /// Returns the length of one measurement in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.periods as f64 / self.rate_hz
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_samples_at_every_rate_without_a_given_time() {
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
    fn the_error_names_a_time_that_is_long_enough() {
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
