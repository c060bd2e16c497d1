//! The plant's motor and its failsafe: which commands are obeyed, and for how long.
//!
//! A stale command is worse than none, and no command for the hold time means no force. Times are
//! arguments, so that the rules can be tested without waiting.

use std::time::{Duration, Instant};

use super::messages::Force;
use super::pendulum::FORCE_LIMIT_N;

/// The motor.
#[derive(Debug)]
pub(super) struct Actuator {
    hold: Duration,
    force_n: f64,
    /// The newest sample whose command was obeyed.
    obeyed: Option<u64>,
    /// When the last obeyed command came, or the start.
    since: Instant,
    is_failsafe: bool,
}

/// Why a command was not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// NaN or an infinity.
    NotFinite,
    /// It answers a sample no newer than one that was answered before: a duplicate, or overtaken.
    Overtaken,
    /// The sample that it answers is older than the hold time.
    Stale,
}

impl Actuator {
    pub(super) fn new(hold: Duration, now: Instant) -> Self {
        Self { hold, force_n: 0.0, obeyed: None, since: now, is_failsafe: false }
    }

    /// A command whose sample is `age` old. When it ends the failsafe, says how long no command came.
    pub(super) fn offer(
        &mut self,
        command: Force,
        age: Duration,
        now: Instant,
    ) -> Result<Option<Duration>, Refused> {
        if !command.force_n.is_finite() {
            return Err(Refused::NotFinite);
        }
        if self.obeyed.is_some_and(|obeyed| command.sample <= obeyed) {
            return Err(Refused::Overtaken);
        }
        if age > self.hold {
            return Err(Refused::Stale);
        }
        let silent = now.saturating_duration_since(self.since);
        self.force_n = command.force_n.clamp(-FORCE_LIMIT_N, FORCE_LIMIT_N);
        self.obeyed = Some(command.sample);
        self.since = now;
        Ok(std::mem::take(&mut self.is_failsafe).then_some(silent))
    }

    /// Looks at the clock; true when the hold time has just run out.
    pub(super) fn check(&mut self, now: Instant) -> bool {
        let is_over = now.saturating_duration_since(self.since) > self.hold;
        if !is_over || self.is_failsafe {
            return false;
        }
        self.is_failsafe = true;
        self.force_n = 0.0;
        true
    }

    pub(super) fn hold(&self) -> Duration {
        self.hold
    }

    pub(super) fn force_n(&self) -> f64 {
        self.force_n
    }

    pub(super) fn is_failsafe(&self) -> bool {
        self.is_failsafe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const HOLD: Duration = Duration::from_millis(20);

    fn push(sample: u64) -> Force {
        Force { sample, force_n: 3.0 }
    }

    #[test]
    fn when_commands_stop_the_force_goes_to_zero_once() {
        let start = Instant::now();
        let mut motor = Actuator::new(HOLD, start);
        assert_eq!(motor.offer(push(0), MS, start + MS), Ok(None));
        assert!(!motor.check(start + 21 * MS), "held for the hold time");
        assert_eq!(motor.force_n(), 3.0);
        assert!(motor.check(start + 22 * MS));
        assert_eq!(motor.force_n(), 0.0);
        assert!(!motor.check(start + 23 * MS), "told once");
    }

    #[test]
    fn the_first_command_after_a_silence_ends_it() {
        let start = Instant::now();
        let mut motor = Actuator::new(HOLD, start);
        motor.check(start + 500 * MS);
        assert_eq!(motor.offer(push(7), MS, start + 600 * MS), Ok(Some(600 * MS)));
        assert!(!motor.is_failsafe());
        assert_eq!(motor.offer(push(8), MS, start + 601 * MS), Ok(None));
    }

    #[test]
    fn neither_nan_nor_duplicates_nor_stale_commands_are_obeyed() {
        let start = Instant::now();
        let mut motor = Actuator::new(HOLD, start);
        assert_eq!(motor.offer(push(5), MS, start), Ok(None));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let command = Force { sample: 6, force_n: bad };
            assert_eq!(motor.offer(command, MS, start), Err(Refused::NotFinite));
        }
        assert_eq!(motor.offer(push(5), MS, start), Err(Refused::Overtaken));
        assert_eq!(motor.offer(push(4), MS, start), Err(Refused::Overtaken));
        assert_eq!(motor.offer(push(6), HOLD + MS, start), Err(Refused::Stale));
        assert_eq!(motor.force_n(), 3.0);
    }

    #[test]
    fn a_refused_command_is_no_sign_of_life() {
        let start = Instant::now();
        let mut motor = Actuator::new(HOLD, start);
        let _ = motor.offer(Force { sample: 1, force_n: f64::NAN }, MS, start + 15 * MS);
        assert!(motor.check(start + 25 * MS));
    }

    #[test]
    fn the_motor_gives_no_more_than_it_can() {
        let now = Instant::now();
        let mut motor = Actuator::new(HOLD, now);
        let _ = motor.offer(Force { sample: 1, force_n: -1e9 }, MS, now);
        assert_eq!(motor.force_n(), -FORCE_LIMIT_N);
    }
}
