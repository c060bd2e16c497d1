//! What a watchdog does with signs of life, looks and resets.

use super::*;

const LENGTH: u64 = 10;

fn silence(latches: bool) -> Silence {
    Silence::new(Rule { periods: Periods::strict(LENGTH), latches })
}

#[test]
fn the_first_sign_arms_and_the_next_ones_pass() {
    let mut silence = silence(true);
    assert_eq!((silence.state(), silence.look(1_000)), (State::Waiting, false));
    assert_eq!(silence.sign(5), Verdict::Arms);
    assert_eq!(silence.sign(14), Verdict::Passes);
    assert!(!silence.look(23));
    assert_eq!(silence.state(), State::Armed { due: 24 });
}

#[test]
fn a_silence_is_told_with_its_length_whoever_notices_it_first() {
    let gap = Gap { due: 15, from: 5, until: 47, missed: 1 };
    for is_looked_at in [true, false] {
        let mut silence = silence(false);
        silence.sign(5);
        assert!(silence.look(40));
        if !is_looked_at {
            silence = self::silence(false);
            silence.sign(5);
        }
        assert_eq!(silence.sign(47), Verdict::Ends(gap));
        assert_eq!(silence.state(), State::Armed { due: 57 });
        assert_eq!(silence.sign(48), Verdict::Passes);
    }
}

#[test]
fn a_sign_at_the_due_time_is_late() {
    let mut silence = silence(false);
    silence.sign(5);
    assert!(matches!(silence.sign(15), Verdict::Ends(Gap { until: 15, .. })));
}

#[test]
fn a_latch_refuses_every_sign_until_it_is_reset() {
    let mut silence = silence(true);
    assert!(!silence.reset(), "nothing to reset");
    silence.sign(5);
    assert!(!silence.reset(), "nothing to reset");
    let gap = Gap { due: 15, from: 5, until: 20, missed: 1 };
    assert_eq!(silence.sign(20), Verdict::Refused(Some(gap)));
    assert_eq!(silence.sign(21), Verdict::Refused(None));
    assert_eq!(silence.state(), State::Tripped { due: 15 });
    assert!(silence.reset() && !silence.reset());
    assert_eq!((silence.state(), silence.look(1_000)), (State::Waiting, false));
    assert_eq!(silence.sign(2_000), Verdict::Arms);
    assert!(silence.look(3_000));
    assert!(matches!(silence.sign(3_001), Verdict::Refused(Some(Gap { from: 2_000, .. }))));
}

#[test]
fn what_recovers_by_itself_cannot_be_reset() {
    let mut silence = silence(false);
    silence.sign(5);
    silence.look(100);
    assert!(!silence.reset());
}

#[test]
fn arming_without_a_sign_trips_too_and_the_first_sign_is_told() {
    let mut silence = silence(false);
    silence.arm(3);
    silence.arm(9);
    assert_eq!(silence.state(), State::Armed { due: 13 });
    assert_eq!(silence.sign(12), Verdict::Arms);
    let mut silence = self::silence(false);
    silence.arm(3);
    assert!(silence.look(13));
    assert_eq!(silence.sign(20), Verdict::Ends(Gap { due: 13, from: 3, until: 20, missed: 1 }));
}

#[test]
fn too_many_misses_stay_tripped_until_few_enough_are_left() {
    let periods = Periods { length_ns: LENGTH, may_miss: 1, of: 3 };
    let mut silence = Silence::new(Rule { periods, latches: false });
    silence.sign(10);
    // Two periods are missed, of which one may be.
    assert_eq!(silence.sign(35), Verdict::Passes);
    assert_eq!(silence.state(), State::Tripped { due: 30 });
    assert_eq!(silence.sign(45), Verdict::Ends(Gap { due: 30, from: 10, until: 45, missed: 2 }));
}

/// The rule in its plainest form: all times are known, and each sign looks back at them.
#[derive(Default)]
struct Twin {
    latches: bool,
    last: Option<u64>,
    stopped: bool,
}

impl Twin {
    fn passes(&mut self, now: u64) -> bool {
        self.look(now);
        if self.stopped {
            return false;
        }
        self.last = Some(now);
        true
    }

    fn look(&mut self, now: u64) {
        let is_long = self.last.is_some_and(|last| now - last >= LENGTH);
        self.stopped |= is_long && self.latches;
    }

    fn reset(&mut self) {
        if core::mem::take(&mut self.stopped) {
            self.last = None;
        }
    }
}

proptest::proptest! {
    #[test]
    fn nothing_passes_while_latched_and_every_long_silence_is_told(
        latches: bool, steps in proptest::collection::vec((0..8_u8, 1..25_u64), 1..200)
    ) {
        let (mut silence, mut twin, mut now) = (silence(latches), Twin { latches, ..Twin::default() }, 0);
        for (step, passed) in steps {
            now += passed;
            match step {
                0 => {
                    silence.reset();
                    twin.look(now);
                    // The watchdog that nobody looked at has not tripped yet.
                    if silence.state() == State::Waiting { twin.reset() }
                }
                1 => { silence.look(now); twin.look(now); }
                _ => {
                    let before = twin.last;
                    let was_latched = matches!(silence.state(), State::Tripped { .. }) && latches;
                    let verdict = silence.sign(now);
                    let passes = !matches!(verdict, Verdict::Refused(_));
                    proptest::prop_assert!(!(was_latched && passes));
                    proptest::prop_assert_eq!(passes, twin.passes(now));
                    if let (Verdict::Ends(gap), Some(before)) = (verdict, before) {
                        proptest::prop_assert_eq!((gap.from, gap.until), (before, now));
                    }
                    let is_long = before.is_some_and(|before| now - before >= LENGTH);
                    proptest::prop_assert_eq!(matches!(verdict, Verdict::Ends(_)), is_long && !latches);
                }
            }
        }
    }
}
