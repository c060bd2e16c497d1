//! Compares the sequence window with a slow and obvious twin that remembers every number.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tautline_proto::{Instant, Verdict, Window, window};

/// What happened to a number below the expected one.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Received,
    MissingSince(Instant),
    Lost,
}

#[derive(Default)]
struct Twin {
    start: u64,
    fates: BTreeMap<u64, Fate>,
    late: u64,
    duplicate: u64,
}

impl Twin {
    fn next(&self) -> u64 {
        self.fates.last_key_value().map_or(self.start, |(&highest, _)| highest + 1)
    }

    fn receive(&mut self, number: u64, now: Instant) -> Verdict {
        let verdict = match self.fates.get(&number) {
            None if number >= self.next() => Verdict::New,
            None | Some(Fate::Lost) => Verdict::TooOld,
            // The window forgets numbers that are far behind, so it cannot detect their duplicates.
            Some(Fate::Received) if number + window::SPAN < self.next() => Verdict::TooOld,
            Some(Fate::Received) => Verdict::Duplicate,
            Some(Fate::MissingSince(_)) => Verdict::Late,
        };
        match verdict {
            Verdict::New => {
                for skipped in self.next()..number {
                    self.fates.insert(skipped, Fate::MissingSince(now));
                }
                self.fates.insert(number, Fate::Received);
                let next = self.next();
                self.count_as_lost(|missing, _| missing + window::SPAN < next);
            }
            Verdict::Late => {
                self.fates.insert(number, Fate::Received);
                self.late += 1;
            }
            Verdict::Duplicate => self.duplicate += 1,
            Verdict::TooOld | Verdict::Leap => {}
        }
        verdict
    }

    fn expire(&mut self, now: Instant) {
        self.count_as_lost(|_, since| since.plus(window::LOSS_TIMEOUT) <= now);
    }

    fn count_as_lost(&mut self, is_lost: impl Fn(u64, Instant) -> bool) {
        for (&number, fate) in &mut self.fates {
            if let Fate::MissingSince(since) = *fate
                && is_lost(number, since)
            {
                *fate = Fate::Lost;
            }
        }
    }

    fn count(&self, wanted: impl Fn(Fate) -> bool) -> u64 {
        self.fates.values().filter(|&&fate| wanted(fate)).count() as u64
    }
}

/// A step of the test: a number relative to the expected one, or time passing.
#[derive(Clone, Copy, Debug)]
enum Step {
    Receive(i64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (-6i64..6).prop_map(Step::Receive),
        2 => (-100i64..200).prop_map(Step::Receive),
        2 => (0u64..700).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn window_and_twin_agree(start in 0u64..300, steps in prop::collection::vec(step(), 0..200)) {
        let mut window = Window::new(start);
        let mut twin = Twin { start, ..Twin::default() };
        let mut now = Instant::from_nanos(1);
        for step in steps {
            match step {
                Step::Wait(ms) => now = now.plus(std::time::Duration::from_millis(ms)),
                Step::Receive(ahead) => {
                    let number = twin.next().saturating_add_signed(ahead);
                    prop_assert_eq!(window.receive(number, now), twin.receive(number, now), "number {}", number);
                }
            }
            window.expire(now);
            twin.expire(now);
            prop_assert_eq!(window.next(), twin.next());
            prop_assert_eq!(window.missing(), twin.count(|fate| matches!(fate, Fate::MissingSince(_))));
            prop_assert_eq!(window.counts().lost, twin.count(|fate| fate == Fate::Lost));
            prop_assert_eq!((window.counts().late, window.counts().duplicate), (twin.late, twin.duplicate));
        }
    }
}
