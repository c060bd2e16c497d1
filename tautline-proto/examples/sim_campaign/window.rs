//! The slow, obvious twin of the sequence window: what must become of each number that arrives.

use std::collections::HashMap;
use std::time::Duration;

use tautline_proto::window::{LOSS_TIMEOUT, SPAN};
use tautline_proto::{Instant, Verdict};

/// What is known of a number below the highest one.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Here,
    PassedAt(Instant),
}

/// The numbers of one session as they truly arrived.
#[derive(Debug, Default)]
pub(crate) struct TrueWindow {
    /// One above the highest that arrived.
    pub(crate) next: u64,
    fates: HashMap<u64, Fate>,
    pub(crate) received: u64,
    pub(crate) late: u64,
    pub(crate) duplicate: u64,
}

impl TrueWindow {
    /// A number arrives: what must be said of it.
    pub(crate) fn arrive(&mut self, number: u64, now: Instant) -> Verdict {
        let verdict = self.judge(number, now);
        match verdict {
            Verdict::New => {
                for passed in self.next..number {
                    self.fates.insert(passed, Fate::PassedAt(now));
                }
                self.next = number + 1;
            }
            Verdict::Late => self.late += 1,
            Verdict::Duplicate => self.duplicate += 1,
            Verdict::TooOld => {}
        }
        if matches!(verdict, Verdict::New | Verdict::Late) {
            self.received += 1;
            self.fates.insert(number, Fate::Here);
        }
        verdict
    }

    fn judge(&self, number: u64, now: Instant) -> Verdict {
        match self.fates.get(&number) {
            _ if number >= self.next => Verdict::New,
            _ if self.next - number > SPAN => Verdict::TooOld,
            Some(Fate::Here) => Verdict::Duplicate,
            Some(Fate::PassedAt(at)) if now.since(*at) < LOSS_TIMEOUT => Verdict::Late,
            _ => Verdict::TooOld,
        }
    }

    /// How many numbers were given up, and how many may still come.
    pub(crate) fn lost_and_missing(&self, now: Instant) -> (u64, u64) {
        let may_come = |number: &u64, fate: &Fate| match fate {
            Fate::Here => false,
            Fate::PassedAt(at) => self.next - number <= SPAN && now.since(*at) < LOSS_TIMEOUT,
        };
        let missing = self.fates.iter().filter(|(number, fate)| may_come(number, fate)).count() as u64;
        (self.next - self.received - missing, missing)
    }
}

/// After so much quiet nothing is missing any more.
pub(crate) const QUIET: Duration = LOSS_TIMEOUT.saturating_add(Duration::from_millis(300));
