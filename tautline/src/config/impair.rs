//! The impairments of the network, for tests.

use tautline_proto::sim::{BadImpairments, Impairments};

use super::{Config, ConfigError, invalid};

impl Config {
    /// For tests: loses, duplicates, delays or damages received datagrams as they are read. `seed` makes every random
    /// decision reproducible. Each sender has its own path. To impair both directions, set it at both ends.
    ///
    /// Can only be set in code, so that no file and no variable can make a link bad. Needs the Cargo feature `sim`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::Config;
    /// use tautline::sim::Impairments;
    ///
    /// let bad_day = Impairments { loss: "10%".parse()?, jitter: Duration::from_millis(5), ..Impairments::default() };
    /// let config = Config::server("127.0.0.1:0").impair(bad_day, 7);
    /// assert_eq!(config.validate(), Ok(()));
    /// # Ok::<(), tautline::sim::BadProbability>(())
    /// ```
    #[must_use]
    pub const fn impair(mut self, impairments: Impairments, seed: u64) -> Self {
        self.impair = Some((impairments, seed));
        self
    }
}

/// Checks that the impairments do not contradict each other.
pub(super) fn check(impairments: Option<&Impairments>) -> Result<(), ConfigError> {
    let Some(impairments) = impairments else { return Ok(()) };
    let burst = impairments.burst.unwrap_or_default();
    match impairments.check() {
        Ok(()) => Ok(()),
        Err(BadImpairments::BurstTooShort { loss, shortest }) if shortest.is_finite() => {
            let expected = format!("{shortest:.2} or more for an `impair.loss` of {loss}, or none");
            Err(invalid("impair.burst", &burst, &expected))
        }
        Err(BadImpairments::BurstTooShort { .. }) => {
            Err(invalid("impair.burst", &burst, "none for an `impair.loss` of 100 %"))
        }
        Err(_) => Err(invalid("impair.burst", &burst, "a number of 1 or more")),
    }
}
