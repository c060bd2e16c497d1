//! Schedules and the phase-locked loop, by numbers alone.
#![allow(clippy::cast_possible_truncation)] // the times are positive and small

use super::*;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const PERIOD: Duration = Duration::from_millis(1);

fn at(ns: u64) -> Instant {
    Instant::from_nanos(ns)
}

/// Small numbers that look random, the same in each run: xorshift64.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// A peer that makes a message each period of its own clock, and a loop that follows it.
struct Pair {
    schedule: Schedule,
    noise: Noise,
    /// When the peer's next message is due, in exact nanoseconds of the loop's clock.
    next: f64,
    peer_period: f64,
    /// The most by which a message is made late.
    jitter: u64,
}

impl Pair {
    fn new(ppm: f64, first: u64, jitter: u64) -> Self {
        let mut schedule = Schedule::new(PERIOD, at(0));
        schedule.follow(Duration::from_micros(500));
        let peer_period = MS as f64 * (1.0 + ppm / 1e6);
        Self { schedule, noise: Noise(7), next: first as f64, peer_period, jitter }
    }

    /// One cycle. Returns the time since the previous deadline, and by how much it comes later than wanted, in nanoseconds.
    fn cycle(&mut self, is_heard: bool) -> (u64, f64) {
        let deadline = self.schedule.deadline();
        let mut wanted = self.next;
        while (self.next as u64) < deadline.as_nanos() {
            if is_heard {
                self.schedule.heard(at(self.next as u64 + self.noise.below(self.jitter)));
            }
            wanted = self.next + 500.0 * US as f64;
            self.next += self.peer_period;
        }
        let error = deadline.as_nanos() as f64 - wanted;
        let error = error - nearest_whole(error / self.peer_period) * self.peer_period;
        self.schedule.wake(deadline).expect("due");
        (self.schedule.deadline().as_nanos() - deadline.as_nanos(), error)
    }

    fn state(&self) -> LockState {
        self.schedule.following().expect("it follows").state
    }

    fn rate(&self) -> f64 {
        self.schedule.following().expect("it follows").rate_ppm
    }
}

#[test]
fn deadlines_do_not_drift_however_late_the_loop_wakes() {
    let mut schedule = Schedule::new(PERIOD, at(5));
    let mut noise = Noise(3);
    let (mut wakes, mut missed) = (0, 0);
    for _ in 0..100_000 {
        let late = noise.below(3 * MS);
        let wake = schedule.wake(at(schedule.deadline().as_nanos() + late)).expect("due");
        (wakes, missed) = (wakes + 1, missed + wake.missed);
        assert_eq!(wake.deadline, at(5 + wake.number * MS));
        assert_eq!(wake.number, wakes + missed);
        assert_eq!(late, wake.missed * MS + duration_ns(wake.phase));
        assert!(wake.phase < PERIOD);
    }
    assert!(missed > 50_000);
}

#[test]
fn loop_that_was_stopped_wakes_once() {
    let mut schedule = Schedule::new(PERIOD, at(0));
    schedule.wake(at(MS)).expect("due");
    let wake = schedule.wake(at(51 * MS)).expect("due");
    assert_eq!((wake.number, wake.missed, wake.phase), (51, 49, Duration::ZERO));
    assert!(schedule.wake(at(51 * MS + 1)).is_none());
    // A year.
    let wake = schedule.wake(at(31_536_000_000 * MS + 1)).expect("due");
    assert_eq!((wake.number, wake.phase.as_nanos()), (31_536_000_000, 1));
}

#[test]
fn impossible_periods_become_possible_ones() {
    assert_eq!(Schedule::new(Duration::ZERO, at(0)).period(), MIN_PERIOD);
    assert_eq!(Schedule::new(Duration::MAX, at(0)).period(), MAX_PERIOD);
}

#[test]
fn loop_locks_to_a_peer_whatever_the_phase_and_the_rate() {
    for ppm in [-500.0, -100.0, 0.0, 100.0, 500.0] {
        for first in [0, 250, 499, 500, 501, 750] {
            let mut pair = Pair::new(ppm, first * US, 50 * US);
            for _ in 0..2_000 {
                let (length, _) = pair.cycle(true);
                assert!(length.abs_diff(MS) <= 10 * US + US, "one cycle took {length} ns");
            }
            assert_eq!(pair.state(), LockState::Locked, "{ppm} ppm from {first} us");
            for _ in 0..10_000 {
                let (_, error) = pair.cycle(true);
                // The jitter is 25 us on average.
                assert!((error - 25.0 * US as f64).abs() < 20.0 * US as f64, "{error} ns");
            }
            assert!((pair.rate() - ppm).abs() < 20.0, "{} instead of {ppm} ppm", pair.rate());
        }
    }
}

#[test]
fn silent_peer_is_followed_with_the_last_rate() {
    let mut pair = Pair::new(100.0, 0, 20 * US);
    (0..5_000).for_each(|_| _ = pair.cycle(true));
    for _ in 0..10_000 {
        let (length, error) = pair.cycle(false);
        assert!(length.abs_diff(MS + 100) <= 10, "{length} ns");
        assert!((error - 10.0 * US as f64).abs() < 100.0 * US as f64, "after ten seconds: {error} ns");
    }
    assert_eq!(pair.state(), LockState::Coasting);
    (0..500).for_each(|_| _ = pair.cycle(true));
    assert_eq!(pair.state(), LockState::Locked);
    assert_eq!(pair.schedule.following().expect("it follows").relocks, 0);
}

#[test]
fn peer_that_begins_anew_elsewhere_is_locked_to_again_without_a_jump() {
    let mut pair = Pair::new(100.0, 0, 20 * US);
    (0..5_000).for_each(|_| _ = pair.cycle(true));
    pair.next += 400.0 * US as f64;
    for _ in 0..500 {
        let (length, _) = pair.cycle(true);
        assert!(length.abs_diff(MS) <= 11 * US, "{length} ns");
    }
    assert_eq!(pair.state(), LockState::Locked);
    let (_, error) = pair.cycle(true);
    assert!(error.abs() < 50.0 * US as f64, "{error} ns");
    assert_eq!(pair.schedule.following().expect("it follows").relocks, 1);
}

#[test]
fn single_message_that_is_late_moves_the_loop_little() {
    let mut pair = Pair::new(0.0, 0, 1);
    (0..5_000).for_each(|_| _ = pair.cycle(true));
    let before = pair.schedule.deadline();
    pair.schedule.heard(at(pair.next as u64 + 450 * US));
    pair.schedule.wake(before).expect("due");
    let moved = pair.schedule.deadline().as_nanos() - before.as_nanos();
    assert!(moved.abs_diff(MS) < 10 * US, "{moved} ns");
    assert_eq!(pair.state(), LockState::Locked);
}

#[test]
fn peer_whose_messages_come_every_tenth_cycle_is_followed() {
    let mut pair = Pair::new(100.0, 300 * US, 20 * US);
    (0..20_000).for_each(|cycle| _ = pair.cycle(cycle % 10 == 0));
    assert_eq!(pair.state(), LockState::Locked);
    assert!((pair.rate() - 100.0).abs() < 20.0, "{} ppm", pair.rate());
}

#[test]
fn peer_with_another_period_is_not_locked_to_and_the_period_stays_bounded() {
    let mut pair = Pair::new(50_000.0, 0, 1);
    for _ in 0..10_000 {
        let (length, _) = pair.cycle(true);
        assert!(length.abs_diff(MS) <= 10 * US + US + 1, "{length} ns");
        assert_ne!(pair.state(), LockState::Locked);
    }
}

#[test]
fn absurd_times_do_no_harm() {
    let mut schedule = Schedule::new(PERIOD, at(0));
    schedule.follow(Duration::MAX);
    let mut noise = Noise(5);
    for _ in 0..10_000 {
        schedule.heard(at([0, u64::MAX, noise.below(u64::MAX)][noise.below(3) as usize]));
        let deadline = schedule.deadline();
        schedule.wake(deadline).expect("due");
        let length = schedule.deadline().as_nanos() - deadline.as_nanos();
        assert!(length.abs_diff(MS) <= 11 * US + 1, "{length} ns");
    }
    schedule.unfollow();
    let deadline = schedule.deadline();
    schedule.wake(deadline).expect("due");
    assert_eq!(schedule.deadline().as_nanos() - deadline.as_nanos(), MS);
}
