//! Records the trajectory and the events for the summary and the picture. Both are bounded.

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

/// The largest number of points. When it is reached, every second point is removed and the spacing doubles.
const MOST_POINTS: usize = 8000;

/// The trajectory. It has 1000 points per second for the first 8 s, and is coarser for longer runs.
#[derive(Debug)]
pub(super) struct Trajectory {
    points: Vec<TrajectoryPoint>,
    /// Every `spacing`-th step is kept.
    spacing: u64,
    steps: u64,
}

impl Trajectory {
    pub(super) fn new() -> Self {
        Self { points: Vec::with_capacity(MOST_POINTS), spacing: 1, steps: 0 }
    }

    /// Adds one step of the plant.
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

/// The largest number of events. The first and the latest ones are kept, those between them are only counted.
const MOST_HAPPENINGS: usize = 100;

/// The events, oldest first.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    entries: Vec<DemoEvent>,
    left_out: usize,
}

impl EventLog {
    pub(super) fn add(&mut self, at: Duration, what: EventKind) {
        if self.entries.len() == MOST_HAPPENINGS {
            self.entries.remove(MOST_HAPPENINGS / 2);
            self.left_out += 1;
        }
        self.entries.push(DemoEvent { at, what });
    }

    /// Returns the last `count` events.
    pub(super) fn recent(&self, count: usize) -> Vec<DemoEvent> {
        let skipped = self.entries.len().saturating_sub(count);
        self.entries[skipped..].to_vec()
    }

    /// Merges two logs.
    pub(super) fn merged(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self.entries.sort_by_key(|event| event.at);
        self.left_out += other.left_out;
        self
    }

    pub(super) fn entries(&self) -> &[DemoEvent] {
        &self.entries
    }

    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_recorded_coarsely_but_to_its_end() {
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
    fn the_log_keeps_the_first_and_the_latest_and_counts_what_it_leaves_out() {
        let mut log = EventLog::default();
        for n in 0..MOST_HAPPENINGS + 5 {
            log.add(Duration::from_secs(n as u64), EventKind::Cut);
        }
        assert_eq!((log.entries().len(), log.left_out()), (MOST_HAPPENINGS, 5));
        assert_eq!(log.entries()[0].at, Duration::ZERO);
        assert_eq!(log.recent(1)[0].at, Duration::from_secs(MOST_HAPPENINGS as u64 + 4));
    }
}
