//! The clock of a sender beside the clock of the machine that looks on, from the heartbeats of both ends that pass by.
//! docs/protocol.md §7.1
//!
//! A heartbeat tells for how long its sender held the other end's latest one. So the time between both, less that, is the round
//! trip between this machine and the sender, and the sender wrote its clock in the middle of it, give or take half.

use std::collections::VecDeque;
use std::time::Duration;

use tautline::WallTime;
use tautline_proto::wire::native::Heartbeat;

/// How many heartbeats an answer is looked for among.
const REMEMBERED: usize = 32;
/// How fast two clocks may drift apart, as a divisor (500 ppm).
const DRIFT: i64 = 2_000;

/// What is known of a sender's clock.
#[derive(Debug, Default)]
pub(super) struct SenderClock {
    /// The stamps of its latest heartbeats, and when they passed.
    passed: VecDeque<(u64, WallTime)>,
    estimate: Option<Estimate>,
    /// The round trip between this machine and the sender.
    pub(super) round_trip: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    /// The sender's clock minus ours, in nanoseconds.
    offset: i64,
    error: i64,
    taken: WallTime,
}

impl Estimate {
    fn error_at(&self, at: WallTime) -> i64 {
        self.error.saturating_add(at.nanos_since(self.taken).saturating_abs() / DRIFT)
    }
}

impl SenderClock {
    /// Takes a heartbeat of this sender that passed at `at`. `other` is the clock of the other end.
    pub(super) fn take(&mut self, heartbeat: &Heartbeat, at: WallTime, other: &Self) {
        if let Some((_, echoed)) = other.passed.iter().find(|(stamp, _)| *stamp == heartbeat.echo) {
            let held = i64::try_from(heartbeat.held).unwrap_or(i64::MAX);
            let round_trip = at.nanos_since(*echoed).saturating_sub(held);
            if let Ok(nanoseconds) = u64::try_from(round_trip) {
                self.round_trip = Some(Duration::from_nanos(nanoseconds));
                let offset = heartbeat.wall.nanos_since(at).saturating_add(round_trip / 2);
                let estimate = Estimate { offset, error: round_trip / 2, taken: at };
                if self.estimate.is_none_or(|known| estimate.error <= known.error_at(at)) {
                    self.estimate = Some(estimate);
                }
            }
        }
        self.passed.truncate(REMEMBERED - 1);
        self.passed.push_front((heartbeat.stamp, at));
    }

    /// Returns the greatest age that something with this time stamp of the sender had at `at`. `None` before a measurement.
    pub(super) fn greatest_age(&self, stamp: WallTime, at: WallTime) -> Option<Duration> {
        let estimate = self.estimate?;
        let age = at.nanos_since(stamp).saturating_add(estimate.offset).saturating_add(estimate.error_at(at));
        Some(Duration::from_nanos(u64::try_from(age).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// The client's clock is 5 s ahead. A datagram takes 2 ms between it and this machine.
    #[test]
    fn the_age_on_this_clock_is_found_whatever_the_senders_clock_shows() {
        let time = |ms: i64| WallTime::from_nanos(1_000_000 * MS + ms * MS);
        let (mut server, mut client) = (SenderClock::default(), SenderClock::default());
        let of_server = Heartbeat { stamp: 7, wall: time(0), echo: 0, held: 0 };
        server.take(&of_server, time(0), &client);
        // It arrives at 2 ms, is held for 10 ms, and the answer passes at 14 ms.
        let wall = time(12 + 5_000);
        let answer = Heartbeat { stamp: 1, wall, echo: 7, held: 10 * MS.unsigned_abs() };
        client.take(&answer, time(14), &server);
        assert_eq!(client.round_trip, Some(Duration::from_millis(4)));
        let age = client.greatest_age(time(5_020), time(30));
        let expected = Duration::from_millis(12); // 10 ms, and half of the round trip
        let drift = Duration::from_micros(8); // 500 ppm of the 16 ms since the measurement
        assert_eq!(age, Some(expected + drift));
        assert_eq!(server.greatest_age(time(0), time(1)), None);
    }
}
