//! The plant's motor, its failsafe, and the time-out of its drive. It decides which commands are obeyed, and for how long.
//!
//! The failsafe stops the motor when commands stop. If the failsafe does not come, the drive stops it by itself. A stopped
//! motor stays stopped until somebody enables it. Stale commands are refused. [`rig`](super::rig) calls this module. Times are
//! arguments, so that tests need not wait.

use std::time::{Duration, Instant};

use super::messages::{Force, MotorState};
use super::pendulum::FORCE_LIMIT_N;

/// The time-out of the drive, in hold times. The failsafe comes first, if it comes.
const DRIVE_TIMEOUT: u32 = 2;

/// The motor and its drive.
#[derive(Debug)]
pub(super) struct Actuator {
    hold: Duration,
    force_n: f64,
    /// The newest sample whose command was obeyed.
    obeyed: Option<u64>,
    /// The time of the last obeyed command, or of the start.
    since: Instant,
    state: MotorState,
}

/// The reason why a command was not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The motor is stopped and was not enabled since.
    Stopped,
    /// The force is NaN or infinite.
    NotFinite,
    /// A command for the same or a newer sample was obeyed before. This one is a duplicate or was overtaken.
    Overtaken,
    /// The sample that the command answers is older than the hold time.
    Stale,
}

impl Actuator {
    pub(super) fn new(hold: Duration, now: Instant) -> Self {
        Self { hold, force_n: 0.0, obeyed: None, since: now, state: MotorState::Running }
    }

    /// Obeys or refuses a command. `age` is the age of the sample that it answers. If the command is the first one after a
    /// stop, this returns how long no command was obeyed.
    pub(super) fn offer(
        &mut self,
        command: Force,
        age: Duration,
        now: Instant,
    ) -> Result<Option<Duration>, Refused> {
        if self.state == MotorState::Stopped {
            return Err(Refused::Stopped);
        }
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
        let was_stopped = std::mem::replace(&mut self.state, MotorState::Running) == MotorState::Enabled;
        Ok(was_stopped.then_some(silent))
    }

    /// Checks the drive's time-out. Returns how long no command was obeyed if that stops the motor.
    pub(super) fn check(&mut self, now: Instant) -> Option<Duration> {
        let silent = now.saturating_duration_since(self.since);
        let stops = self.state == MotorState::Running && silent > self.hold * DRIVE_TIMEOUT;
        if stops { self.stop(now) } else { None }
    }

    /// Stops the motor until it is enabled. Returns how long no command was obeyed, or `None` if it is stopped already.
    pub(super) fn stop(&mut self, now: Instant) -> Option<Duration> {
        self.force_n = 0.0;
        let was = std::mem::replace(&mut self.state, MotorState::Stopped);
        (was != MotorState::Stopped).then(|| now.saturating_duration_since(self.since))
    }

    /// Enables a stopped motor. It obeys the next command.
    pub(super) fn enable(&mut self) {
        if self.state == MotorState::Stopped {
            self.state = MotorState::Enabled;
        }
    }

    pub(super) fn force_n(&self) -> f64 {
        self.force_n
    }

    pub(super) fn state(&self) -> MotorState {
        self.state
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
    fn when_commands_stop_and_no_failsafe_comes_the_drive_stops_once() {
        let start = Instant::now();
        let mut motor = Actuator::new(HOLD, start);
        assert_eq!(motor.offer(push(0), MS, start + MS), Ok(None));
        assert_eq!(motor.check(start + 41 * MS), None, "the failsafe has its time");
        assert_eq!(motor.force_n(), 3.0);
        assert_eq!(motor.check(start + 42 * MS), Some(41 * MS));
        assert_eq!(motor.force_n(), 0.0);
        assert_eq!(motor.check(start + 43 * MS), None, "reported once");
    }

    #[test]
    fn after_a_stop_no_command_is_obeyed_until_the_motor_is_enabled() {
        let start = Instant::now();
        let mut motor = Actuator::new(HOLD, start);
        assert_eq!(motor.stop(start + 20 * MS), Some(20 * MS));
        assert_eq!(motor.stop(start + 21 * MS), None, "it is stopped already");
        assert_eq!(motor.offer(push(7), MS, start + 600 * MS), Err(Refused::Stopped));
        assert_eq!(motor.force_n(), 0.0);
        motor.enable();
        assert_eq!(motor.state(), MotorState::Enabled);
        assert_eq!(motor.check(start + 5_000 * MS), None, "it waits for the first command");
        assert_eq!(motor.offer(push(8), MS, start + 6_000 * MS), Ok(Some(6_000 * MS)));
        assert_eq!(motor.offer(push(9), MS, start + 6_001 * MS), Ok(None));
        assert_eq!(motor.state(), MotorState::Running);
    }

    #[test]
    fn enabling_a_running_motor_changes_nothing() {
        let start = Instant::now();
        let mut motor = Actuator::new(HOLD, start);
        motor.enable();
        assert_eq!(motor.state(), MotorState::Running);
        assert!(motor.check(start + 50 * MS).is_some(), "the time-out still runs");
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
        let _ = motor.offer(Force { sample: 1, force_n: f64::NAN }, MS, start + 35 * MS);
        assert!(motor.check(start + 45 * MS).is_some());
    }

    #[test]
    fn the_force_is_limited_to_what_the_motor_can_give() {
        let now = Instant::now();
        let mut motor = Actuator::new(HOLD, now);
        let _ = motor.offer(Force { sample: 1, force_n: -1e9 }, MS, now);
        assert_eq!(motor.force_n(), -FORCE_LIMIT_N);
    }
}
