//! A slow and obvious twin of the sequence window. It says what must happen to each number that arrives.

use std::collections::HashMap;
use std::time::Duration;

use tautline_proto::window::{LOSS_TIMEOUT, SPAN};
use tautline_proto::{Instant, Verdict};

/// What is known of a number below the highest number.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Received,
    MissingSince(Instant),
}

/// The numbers of one session as they arrived.
#[derive(Debug, Default)]
pub(crate) struct TrueWindow {
    /// One above the highest number that arrived.
    pub(crate) next: u64,
    fates: HashMap<u64, Fate>,
    pub(crate) received: u64,
    pub(crate) late: u64,
    pub(crate) duplicate: u64,
}

impl TrueWindow {
    /// Records a number that arrives. Returns the right verdict.
    pub(crate) fn arrive(&mut self, number: u64, now: Instant) -> Verdict {
        let verdict = self.judge(number, now);
        match verdict {
            Verdict::New => {
                for missing in self.next..number {
                    self.fates.insert(missing, Fate::MissingSince(now));
                }
                self.next = number + 1;
            }
            Verdict::Late => self.late += 1,
            Verdict::Duplicate => self.duplicate += 1,
            Verdict::TooOld | Verdict::Leap => {}
        }
        if matches!(verdict, Verdict::New | Verdict::Late) {
            self.received += 1;
            self.fates.insert(number, Fate::Received);
        }
        verdict
    }

    fn judge(&self, number: u64, now: Instant) -> Verdict {
        match self.fates.get(&number) {
            _ if number >= self.next => Verdict::New,
            _ if self.next - number > SPAN => Verdict::TooOld,
            Some(Fate::Received) => Verdict::Duplicate,
            Some(Fate::MissingSince(at)) if now.since(*at) < LOSS_TIMEOUT => Verdict::Late,
            _ => Verdict::TooOld,
        }
    }

    /// Returns how many numbers are lost, and how many may still come.
    pub(crate) fn lost_and_missing(&self, now: Instant) -> (u64, u64) {
        let may_come = |number: &u64, fate: &Fate| match fate {
            Fate::Received => false,
            Fate::MissingSince(at) => self.next - number <= SPAN && now.since(*at) < LOSS_TIMEOUT,
        };
        let missing = self.fates.iter().filter(|(number, fate)| may_come(number, fate)).count() as u64;
        (self.next - self.received - missing, missing)
    }
}

/// After this time without messages, no number is missing any more.
pub(crate) const QUIET: Duration = LOSS_TIMEOUT.saturating_add(Duration::from_millis(300));
