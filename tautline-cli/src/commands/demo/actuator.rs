//! The plant's motor and its failsafe. It decides which commands are obeyed, and for how long.
//!
//! Stale commands are refused. If no command is obeyed for the hold time, the force is set to zero. [`rig`](super::rig)
//! calls this module. Times are arguments, so that tests need not wait.

use std::time::{Duration, Instant};

use super::messages::Force;
use super::pendulum::FORCE_LIMIT_N;

/// The motor and its failsafe.
#[derive(Debug)]
pub(super) struct Actuator {
    hold: Duration,
    force_n: f64,
    /// The newest sample whose command was obeyed.
    obeyed: Option<u64>,
    /// The time of the last obeyed command, or of the start.
    since: Instant,
    is_failsafe: bool,
}

/// The reason why a command was not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The force is NaN or infinite.
    NotFinite,
    /// A command for the same or a newer sample was obeyed before. This one is a duplicate or was overtaken.
    Overtaken,
    /// The sample that the command answers is older than the hold time.
    Stale,
}

impl Actuator {
    pub(super) fn new(hold: Duration, now: Instant) -> Self {
        Self { hold, force_n: 0.0, obeyed: None, since: now, is_failsafe: false }
    }

    /// Obeys or refuses a command. `age` is the age of the sample that it answers. If the command ends the failsafe,
    /// this returns how long no command was obeyed.
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

    /// Checks the failsafe. Returns true if the hold time has just run out.
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
        assert!(!motor.check(start + 21 * MS), "the force stays for the hold time");
        assert_eq!(motor.force_n(), 3.0);
        assert!(motor.check(start + 22 * MS));
        assert_eq!(motor.force_n(), 0.0);
        assert!(!motor.check(start + 23 * MS), "reported once");
    }

    #[test]
    fn the_first_command_after_a_silence_ends_the_failsafe() {
        let start = Instant::now();
        let mut motor = Actuator::new(HOLD, start);
        motor.check(start + 500 * MS);
        assert_eq!(motor.offer(push(7), MS, start + 600 * MS), Ok(Some(600 * MS)));
        assert!(!motor.is_failsafe());
        assert_eq!(motor.offer(push(8), MS, start + 601 * MS), Ok(None));
    }

    #[test]
    fn commands_that_are_not_finite_or_duplicate_or_stale_are_refused() {
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
    fn a_refused_command_does_not_prolong_the_hold_time() {
        let start = Instant::now();
        let mut motor = Actuator::new(HOLD, start);
        let _ = motor.offer(Force { sample: 1, force_n: f64::NAN }, MS, start + 15 * MS);
        assert!(motor.check(start + 25 * MS));
    }

    #[test]
    fn the_force_is_limited_to_what_the_motor_can_give() {
        let now = Instant::now();
        let mut motor = Actuator::new(HOLD, now);
        let _ = motor.offer(Force { sample: 1, force_n: -1e9 }, MS, now);
        assert_eq!(motor.force_n(), -FORCE_LIMIT_N);
    }
}
