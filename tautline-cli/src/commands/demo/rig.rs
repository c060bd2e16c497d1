//! Simulates the plant in real time: pendulum, wind and motor, in steps of 1 ms or less.
//!
//! It uses no sockets. [`plant`](super::plant) passes the commands in and sends the samples.

use std::time::{Duration, Instant};

use super::actuator::{Actuator, Refused};
use super::messages::{EventKind, Force, Settings};
use super::pendulum::{DESK, Input, State, Wind, wrapped};
use super::record::{EventLog, Trajectory};

/// The number of integration steps per second. A higher sample rate raises it.
const STEPS_PER_SECOND: u32 = 1000;

/// After a longer pause (a closed laptop lid, a debugger), the simulation does not catch up.
const LONGEST_CATCH_UP: Duration = Duration::from_millis(500);

/// The angle at which the rod is released.
const FIRST_LEAN_RAD: f64 = 0.2;

/// The rod counts as upright within this angle ...
const UPRIGHT_RAD: f64 = 10.0 * std::f64::consts::PI / 180.0;
/// ... after it has stayed there for this time, in seconds.
const UPRIGHT_FOR_S: f64 = 0.5;

/// Beyond this angle the rod has fallen.
const FALLEN_RAD: f64 = std::f64::consts::FRAC_PI_2;

/// Pendulum, wind, motor, and the record of what they did.
#[derive(Debug)]
pub(super) struct Rig {
    state: State,
    wind: Wind,
    motor: Actuator,
    released: Instant,
    step: Duration,
    steps: u32,
    /// The last time at which the rod was beyond the upright angle, in seconds since its release.
    last_leaning_s: f64,
    /// Whether the log's last entry about the angle says that the rod stands.
    stands: bool,
    /// Whether the rod lies below the horizontal, and whether it ever did.
    lies: bool,
    has_fallen: bool,
    /// When the motor was stopped, if it is.
    stopped_at: Option<Instant>,
    pub(super) trajectory: Trajectory,
    pub(super) log: EventLog,
}

impl Rig {
    /// Releases the rod.
    pub(super) fn release(settings: &Settings, now: Instant) -> Self {
        let state = State { angle_rad: FIRST_LEAN_RAD, ..State::default() };
        let mut log = EventLog::default();
        log.add(Duration::ZERO, EventKind::Released { lean_deg: FIRST_LEAN_RAD.to_degrees() });
        Self {
            state,
            wind: Wind::new(),
            motor: Actuator::new(settings.hold(), now),
            released: now,
            step: Duration::from_secs(1) / STEPS_PER_SECOND.max(settings.rate),
            steps: 0,
            last_leaning_s: 0.0,
            stands: false,
            lies: false,
            has_fallen: false,
            stopped_at: None,
            trajectory: Trajectory::new(),
            log,
        }
    }

    /// Simulates up to `now`. It checks the drive's time-out before every step.
    pub(super) fn advance(&mut self, now: Instant) {
        if now.saturating_duration_since(self.next_step()) > LONGEST_CATCH_UP {
            // Skips the missing time: moves the release instead, and a stop with it.
            let released = now - self.step * self.steps;
            self.stopped_at = self.stopped_at.map(|at| at + (released - self.released));
            self.released = released;
        }
        while self.next_step() <= now {
            let at = self.next_step();
            self.step_at(at);
        }
    }

    fn step_at(&mut self, at: Instant) {
        if let Some(silent) = self.motor.check(at) {
            self.stopped_at = Some(at);
            self.log.add(at - self.released, EventKind::StoppedByDrive { silent });
        }
        let seconds = self.step.as_secs_f64();
        let input = Input { force_n: self.motor.force_n(), wind_nm: self.wind.blow(seconds) };
        self.state = DESK.step(&self.state, input, seconds);
        self.steps += 1;
        self.trajectory.push(self.time_s(), &self.state, input.force_n);
        self.watch_the_angle();
    }

    fn watch_the_angle(&mut self) {
        if self.is_leaning() {
            self.last_leaning_s = self.time_s();
        }
        let stands = if self.stands { !self.is_leaning() } else { self.is_upright() };
        if stands != self.stands {
            self.stands = stands;
            self.log.add(self.elapsed(), if stands { EventKind::Upright } else { EventKind::Leaning });
        }
        let lies = wrapped(self.state.angle_rad).abs() > FALLEN_RAD;
        // Once for each fall: a rod that swings up and down has not stood in between.
        if lies && !self.lies {
            self.log.add(self.elapsed(), EventKind::Fallen);
        }
        self.lies = lies || (self.lies && !stands);
        self.has_fallen |= lies;
    }

    fn is_leaning(&self) -> bool {
        wrapped(self.state.angle_rad).abs() > UPRIGHT_RAD
    }

    /// Whether the rod has been within 10° of upright for half a second.
    pub(super) fn is_upright(&self) -> bool {
        !self.is_leaning() && self.time_s() - self.last_leaning_s >= UPRIGHT_FOR_S
    }

    /// Passes a command to the motor, which obeys or refuses it.
    pub(super) fn command(&mut self, command: Force, age: Duration, now: Instant) -> Result<(), Refused> {
        if let Some(silent) = self.motor.offer(command, age, now)? {
            let lean_deg = wrapped(self.state.angle_rad).to_degrees();
            self.log.add(
                now.saturating_duration_since(self.released),
                EventKind::CommandsBack { silent, lean_deg },
            );
        }
        Ok(())
    }

    /// The failsafe: stops the motor until it is enabled.
    pub(super) fn stop(&mut self, now: Instant) {
        if let Some(silent) = self.motor.stop(now) {
            self.stopped_at = Some(now);
            self.log.add(now.saturating_duration_since(self.released), EventKind::Stopped { silent });
        }
    }

    /// Enables a stopped motor.
    pub(super) fn enable(&mut self, now: Instant) {
        self.stopped_at = None;
        self.motor.enable();
        self.log.add(now.saturating_duration_since(self.released), EventKind::Enabled);
    }

    /// Returns when the motor was stopped, if it was not enabled since.
    pub(super) fn stopped_at(&self) -> Option<Instant> {
        self.stopped_at
    }

    /// Whether the rod has ever leant beyond 90°.
    pub(super) fn has_fallen(&self) -> bool {
        self.has_fallen
    }

    /// Returns the time of the next step.
    pub(super) fn next_step(&self) -> Instant {
        self.released + self.step * (self.steps + 1)
    }

    /// Returns the simulated time. It does not advance while the computer sleeps.
    pub(super) fn elapsed(&self) -> Duration {
        self.step * self.steps
    }

    pub(super) fn time_s(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }

    pub(super) fn released(&self) -> Instant {
        self.released
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn motor(&self) -> &Actuator {
        &self.motor
    }
}

#[cfg(test)]
mod tests {
    use super::super::control::Controller;
    use super::super::messages::MotorState;
    use super::*;

    const SETTINGS: Settings = Settings {
        length: Duration::from_secs(8),
        rate: 1000,
        cut: None,
        timeout: Duration::from_millis(50),
        re_enable: None,
    };
    const MS: Duration = Duration::from_millis(1);

    /// Runs the rig on a simulated clock, with a controller that is silent during `silence`, in milliseconds. The motor is
    /// enabled at `enabled`.
    fn run(seconds: u32, silence: std::ops::Range<u32>, enabled: Option<u32>) -> Rig {
        let start = Instant::now();
        let mut rig = Rig::release(&SETTINGS, start);
        let mut controller = Controller::design(0.001);
        for ms in 1..=seconds * 1000 {
            let now = start + ms * MS;
            rig.advance(now);
            if enabled == Some(ms) {
                rig.enable(now);
            }
            if !silence.contains(&ms) {
                let command = Force { sample: u64::from(ms), force_n: controller.force_n(rig.state()) };
                let answer = rig.command(command, Duration::ZERO, now);
                assert!(matches!(answer, Ok(()) | Err(Refused::Stopped)), "fresh and finite");
            }
        }
        rig
    }

    #[test]
    fn with_a_controller_the_rod_is_upright() {
        let rig = run(3, 0..0, None);
        assert!(rig.is_upright());
        assert_eq!(rig.elapsed(), Duration::from_secs(3));
    }

    #[test]
    fn without_a_controller_the_force_is_zero_and_the_rod_falls() {
        let rig = run(2, 0..9999, None);
        assert!(!rig.is_upright() && rig.has_fallen());
        assert_eq!(rig.motor().state(), MotorState::Stopped);
    }

    fn events(rig: &Rig) -> Vec<&EventKind> {
        rig.log.entries().iter().map(|event| &event.what).collect()
    }

    /// Whether the force was zero in all of this time, in seconds.
    fn is_still(rig: &Rig, time: std::ops::Range<f64>) -> bool {
        let mut points = rig.trajectory.points().iter().filter(|point| time.contains(&point.time_s));
        points.clone().count() > 100 && points.all(|point| point.force_n == 0.0)
    }

    #[test]
    fn after_a_silence_nothing_moves_until_the_motor_is_enabled() {
        let rig = run(8, 2000..3000, None);
        assert!(is_still(&rig, 2.2..8.0), "the controller is back at 3 s");
        assert!(!rig.is_upright() && rig.has_fallen());
        assert!(!events(&rig).iter().any(|event| matches!(event, EventKind::CommandsBack { .. })));
    }

    #[test]
    fn when_the_motor_is_enabled_the_rod_is_swung_up_again_and_the_log_shows_it() {
        let rig = run(10, 2000..3000, Some(4000));
        assert!(is_still(&rig, 2.2..3.9));
        assert!(rig.is_upright() && rig.has_fallen(), "it stands, but it had fallen");
        let events = events(&rig);
        assert_eq!(
            events[..2],
            [&EventKind::Released { lean_deg: FIRST_LEAN_RAD.to_degrees() }, &EventKind::Upright]
        );
        assert!(matches!(events[2], EventKind::StoppedByDrive { .. }), "{events:?}");
        assert_eq!(
            events[3..6],
            [&EventKind::Leaning, &EventKind::Fallen, &EventKind::Enabled],
            "{events:?}"
        );
        assert!(
            matches!(events[6], EventKind::CommandsBack { silent, .. } if silent.as_millis() == 2001),
            "{events:?}"
        );
        assert_eq!(events[7..], [&EventKind::Upright], "{events:?}");
    }

    #[test]
    fn the_failsafe_stops_the_motor_before_the_drive_does() {
        let start = Instant::now();
        let mut rig = Rig::release(&SETTINGS, start);
        rig.advance(start + 60 * MS);
        rig.stop(start + 60 * MS);
        rig.advance(start + 300 * MS);
        assert_eq!(events(&rig)[1..2], [&EventKind::Stopped { silent: 60 * MS }]);
        assert_eq!(rig.stopped_at(), Some(start + 60 * MS));
        rig.enable(start + 300 * MS);
        assert_eq!(rig.stopped_at(), None);
    }

    #[test]
    fn the_simulation_does_not_catch_up_after_the_computer_slept() {
        let start = Instant::now();
        let mut rig = Rig::release(&SETTINGS, start);
        rig.advance(start + 100 * MS);
        rig.stop(start + 100 * MS);
        rig.advance(start + 60_000 * MS);
        assert!(rig.elapsed() < Duration::from_millis(110));
        // The summary tells the same time of the stop as the log of the events.
        let stopped = rig.stopped_at().map(|at| at.saturating_duration_since(rig.released()));
        assert_eq!(stopped, Some(100 * MS));
    }
}
