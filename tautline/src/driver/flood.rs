//! Naps between two reads while the socket is flooded with datagrams that are dropped or must wait.
//!
//! Such a datagram tells nobody anything. But the next one comes at once. So adaptive polling would find that polling pays, and the
//! driver would take a whole core, perhaps that of the threads that send to its peers. It sleeps for a moment before each read
//! instead. The kernel keeps what comes meanwhile, and the next turn reads all of it. If that is more than a turn reads, the
//! driver does not sleep until it has caught up. So a peer's datagram is late by that moment, and none is lost.

use std::time::Duration;

use tautline_proto::Instant as Steady;

use super::{TURN_BUDGET, Turner};
use crate::machine::sleep::wake_exactly;

/// So many datagrams that are dropped or must wait make a flood, if they come in [`PERIOD`].
const MANY: u32 = 32;
const PERIOD: Duration = Duration::from_millis(1);

/// How long the driver sleeps. Windows would sleep for a millisecond, so there it does not.
const NAP: Duration = Duration::from_micros(40);

#[derive(Debug)]
pub(super) struct Flood {
    /// The flood is over at this time, if nothing more comes.
    until: Steady,
    counted_from: Steady,
    count: u32,
}

impl Flood {
    pub(super) const fn new() -> Self {
        let never = Steady::from_nanos(0);
        Self { until: never, counted_from: never, count: 0 }
    }

    /// Notes a datagram that was dropped or must wait.
    pub(super) fn note(&mut self, now: Steady) {
        if now.since(self.counted_from) >= PERIOD {
            (self.counted_from, self.count) = (now, 0);
        }
        self.count += 1;
        if self.count >= MANY {
            self.until = now.plus(PERIOD);
        }
    }

    #[inline]
    pub(super) fn is_on(&self, now: Steady) -> bool {
        now < self.until
    }
}

impl Turner {
    /// Sleeps for a moment before a read, if the last turn has read everything that was there. Returns the time afterwards.
    #[cold]
    pub(super) fn nap(&self, began: Steady, until: Option<Steady>) -> Steady {
        if cfg!(windows) || self.read_in_a_row >= TURN_BUDGET {
            return began;
        }
        // A caller that leads keeps its own timer slack.
        if !self.leads {
            wake_exactly();
        }
        std::thread::sleep(until.map_or(NAP, |until| until.since(began).min(NAP)));
        self.clock.steady_now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_datagrams_in_a_short_time_are_a_flood() {
        let mut flood = Flood::new();
        let mut now = Steady::from_nanos(1_000_000_000);
        for _ in 0..10 * MANY {
            flood.note(now);
            assert!(!flood.is_on(now), "too few in a period");
            now = now.plus(PERIOD / (MANY - 2));
        }
        (0..2 * MANY).for_each(|_| flood.note(now));
        assert!(flood.is_on(now) && !flood.is_on(now.plus(PERIOD)), "it ends soon");
    }
}
