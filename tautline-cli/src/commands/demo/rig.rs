//! The plant in real time: pendulum, wind and motor, stepped up to the present at 1 kHz.
//!
//! No sockets: [`plant`](super::plant) brings the commands and carries the samples away.

use std::time::{Duration, Instant};

use super::actuator::{Actuator, Refused};
use super::messages::{EventKind, Force, Settings};
use super::pendulum::{DESK, Input, State, Wind, wrapped};
use super::record::{EventLog, Trajectory};

/// The pendulum is integrated this often, or at the sample rate when that is higher.
const STEPS_PER_SECOND: u32 = 1000;

/// Whoever was asleep for longer than this (a laptop lid, a debugger) does not catch up.
const LONGEST_CATCH_UP: Duration = Duration::from_millis(500);

/// The rod leans this much when it is let go.
const FIRST_LEAN_RAD: f64 = 0.2;

/// A rod within this angle is upright...
const UPRIGHT_RAD: f64 = 10.0 * std::f64::consts::PI / 180.0;
/// ...once it has been so for this long, seconds.
const UPRIGHT_FOR_S: f64 = 0.5;

/// Pendulum, wind, motor, and the record of what they did.
#[derive(Debug)]
pub(super) struct Rig {
    state: State,
    wind: Wind,
    motor: Actuator,
    released: Instant,
    step: Duration,
    steps: u32,
    /// When the rod was last beyond the upright angle, in seconds since its release.
    last_leaning_s: f64,
    /// What the diary said last: the rod stands, or it leans.
    stands: bool,
    pub(super) trajectory: Trajectory,
    pub(super) diary: EventLog,
}

impl Rig {
    /// Lets the rod go.
    pub(super) fn release(settings: &Settings, now: Instant) -> Self {
        let state = State { angle_rad: FIRST_LEAN_RAD, ..State::default() };
        let mut diary = EventLog::default();
        diary.add(Duration::ZERO, EventKind::Released { lean_deg: FIRST_LEAN_RAD.to_degrees() });
        Self {
            state,
            wind: Wind::new(),
            motor: Actuator::new(settings.hold(), now),
            released: now,
            step: Duration::from_secs(1) / STEPS_PER_SECOND.max(settings.rate),
            steps: 0,
            last_leaning_s: 0.0,
            stands: false,
            trajectory: Trajectory::new(),
            diary,
        }
    }

    /// Steps up to `now`; the failsafe is checked before every step.
    pub(super) fn advance(&mut self, now: Instant) {
        if now.saturating_duration_since(self.next_step()) > LONGEST_CATCH_UP {
            // The missing time never happened: move the release instead.
            self.released = now - self.step * self.steps;
        }
        while self.next_step() <= now {
            let at = self.next_step();
            self.step_at(at);
        }
    }

    fn step_at(&mut self, at: Instant) {
        if self.motor.check(at) {
            let elapsed = at - self.released;
            self.diary.add(elapsed, EventKind::ForceZero { hold: self.motor.hold() });
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
            self.diary.add(self.elapsed(), if stands { EventKind::Upright } else { EventKind::Leaning });
        }
    }

    fn is_leaning(&self) -> bool {
        wrapped(self.state.angle_rad).abs() > UPRIGHT_RAD
    }

    /// Whether the rod is within 10° of upright, and has been for half a second.
    pub(super) fn is_upright(&self) -> bool {
        !self.is_leaning() && self.time_s() - self.last_leaning_s >= UPRIGHT_FOR_S
    }

    /// A command came: whether it is obeyed.
    pub(super) fn command(&mut self, command: Force, age: Duration, now: Instant) -> Result<(), Refused> {
        if let Some(silent) = self.motor.offer(command, age, now)? {
            let lean_deg = wrapped(self.state.angle_rad).to_degrees();
            self.diary.add(
                now.saturating_duration_since(self.released),
                EventKind::CommandsBack { silent, lean_deg },
            );
        }
        Ok(())
    }

    /// When the next step is due.
    pub(super) fn next_step(&self) -> Instant {
        self.released + self.step * (self.steps + 1)
    }

    /// The plant's own time, which stands still while the computer sleeps.
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
    use super::*;

    const SETTINGS: Settings = Settings { length: Duration::from_secs(8), rate: 1000, cut: None };
    const MS: Duration = Duration::from_millis(1);

    /// Runs the rig with a controller that is silent in `silence`, on a clock of our own.
    fn run(seconds: u32, silence: std::ops::Range<u32>) -> Rig {
        let start = Instant::now();
        let mut rig = Rig::release(&SETTINGS, start);
        let mut controller = Controller::design(0.001);
        for ms in 1..=seconds * 1000 {
            let now = start + ms * MS;
            rig.advance(now);
            if !silence.contains(&ms) {
                let command = Force { sample: u64::from(ms), force_n: controller.force_n(rig.state()) };
                rig.command(command, Duration::ZERO, now).expect("fresh and finite");
            }
        }
        rig
    }

    #[test]
    fn with_a_controller_the_rod_stays_upright() {
        let rig = run(3, 0..0);
        assert!(rig.is_upright());
        assert_eq!(rig.elapsed(), Duration::from_secs(3));
    }

    #[test]
    fn without_one_the_force_is_zero_and_the_rod_falls() {
        let rig = run(2, 0..9999);
        assert!(!rig.is_upright() && rig.motor().is_failsafe());
    }

    #[test]
    fn after_a_silence_of_two_seconds_it_is_swung_up_again_and_the_diary_tells() {
        let rig = run(8, 2000..4000);
        assert!(rig.is_upright());
        let told: Vec<&EventKind> = rig.diary.happenings().iter().map(|happening| &happening.what).collect();
        let expected = [
            EventKind::Released { lean_deg: FIRST_LEAN_RAD.to_degrees() },
            EventKind::Upright,
            EventKind::ForceZero { hold: SETTINGS.hold() },
            EventKind::Leaning,
        ];
        assert_eq!(told[..4], expected.iter().collect::<Vec<_>>());
        assert!(
            matches!(told[4], EventKind::CommandsBack { silent, .. } if silent.as_millis() == 2001),
            "{told:?}"
        );
        assert_eq!(told[told.len() - 1], &EventKind::Upright);
        let silent: Vec<f64> = rig
            .trajectory
            .points()
            .iter()
            .filter(|point| (2.1..3.9).contains(&point.time_s))
            .map(|point| point.force_n)
            .collect();
        assert!(!silent.is_empty() && silent.iter().all(|force| *force == 0.0));
    }

    #[test]
    fn a_computer_that_slept_does_not_catch_up() {
        let start = Instant::now();
        let mut rig = Rig::release(&SETTINGS, start);
        rig.advance(start + 100 * MS);
        rig.advance(start + 60_000 * MS);
        assert!(rig.elapsed() < Duration::from_millis(110));
    }
}
