//! What the demo remembers for its summary and picture: the trajectory and the happenings, bounded.

use std::time::Duration;

use super::messages::{DemoEvent, EventKind};
use super::pendulum::{State, wrapped};

/// One point of the trajectory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TrajectoryPoint {
    pub(super) time_s: f64,
    pub(super) angle_deg: f64,
    pub(super) cart_m: f64,
    pub(super) force_n: f64,
}

/// Points kept at most; when full, every other one goes and the spacing doubles.
const MOST_POINTS: usize = 8000;

/// The trajectory, at 1 kHz for the first 8 s and coarser when longer.
#[derive(Debug)]
pub(super) struct Trajectory {
    points: Vec<TrajectoryPoint>,
    /// One step in this many is kept.
    spacing: u64,
    steps: u64,
}

impl Trajectory {
    pub(super) fn new() -> Self {
        Self { points: Vec::with_capacity(MOST_POINTS), spacing: 1, steps: 0 }
    }

    /// One step of the plant.
    pub(super) fn push(&mut self, time_s: f64, state: &State, force_n: f64) {
        if self.steps.is_multiple_of(self.spacing) {
            if self.points.len() == MOST_POINTS {
                self.thin_out();
            }
            let angle_deg = wrapped(state.angle_rad).to_degrees();
            self.points.push(TrajectoryPoint { time_s, angle_deg, cart_m: state.cart_m, force_n });
        }
        self.steps += 1;
    }

    fn thin_out(&mut self) {
        let mut index = 0;
        self.points.retain(|_| {
            index += 1;
            index % 2 == 1
        });
        self.spacing *= 2;
    }

    pub(super) fn points(&self) -> &[TrajectoryPoint] {
        &self.points
    }
}

/// Happenings kept at most; later ones are only counted.
const MOST_HAPPENINGS: usize = 100;

/// What happened, oldest first.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    happenings: Vec<DemoEvent>,
    left_out: usize,
}

impl EventLog {
    pub(super) fn add(&mut self, at: Duration, what: EventKind) {
        if self.happenings.len() == MOST_HAPPENINGS {
            self.left_out += 1;
            return;
        }
        self.happenings.push(DemoEvent { at, what });
    }

    /// The last `count`.
    pub(super) fn recent(&self, count: usize) -> Vec<DemoEvent> {
        let skipped = self.happenings.len().saturating_sub(count);
        self.happenings[skipped..].to_vec()
    }

    /// Both diaries as one.
    pub(super) fn merged(mut self, other: Self) -> Self {
        self.happenings.extend(other.happenings);
        self.happenings.sort_by_key(|happening| happening.at);
        self.left_out += other.left_out;
        self
    }

    pub(super) fn happenings(&self) -> &[DemoEvent] {
        &self.happenings
    }

    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_kept_coarser_but_whole() {
        let mut trajectory = Trajectory::new();
        let steps = 10 * MOST_POINTS;
        for step in 0..steps {
            trajectory.push(step as f64, &State::default(), 0.0);
        }
        let points = trajectory.points();
        assert!((MOST_POINTS / 2..=MOST_POINTS).contains(&points.len()));
        assert_eq!(points[0].time_s, 0.0);
        let spacing = points[1].time_s;
        assert!(points.windows(2).all(|pair| pair[1].time_s - pair[0].time_s == spacing));
        assert!(points[points.len() - 1].time_s + spacing >= steps as f64);
    }

    #[test]
    fn a_diary_is_bounded_and_says_so() {
        let mut diary = EventLog::default();
        for _ in 0..MOST_HAPPENINGS + 5 {
            diary.add(Duration::ZERO, EventKind::Cut);
        }
        assert_eq!((diary.happenings().len(), diary.left_out()), (MOST_HAPPENINGS, 5));
    }
}
