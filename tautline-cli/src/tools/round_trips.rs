//! Matches answers to the messages sent, and measures their round-trip times. Used by `demo`, `ping` and `bench`.

use std::time::{Duration, Instant};

use tautline::Id;

use crate::tools::latency::Latencies;

/// The number of sending times that are kept. An answer to an older message does not count. At the highest rate of the
/// program (20,000 messages per second) they cover 1.6 s.
const REMEMBERED: usize = 32_768;

/// Returns the number in an id. Some peers send numbers as text.
pub(crate) fn number_of(id: &Id<'_>) -> Option<u64> {
    match id {
        Id::Number(number) => Some(*number),
        Id::Text(text) => text.parse().ok(),
        Id::Null | Id::Json(_) => None,
    }
}

/// Messages with consecutive numbers from 0, and their answers.
#[derive(Debug)]
pub(crate) struct RoundTrips {
    /// The number and the sending time of message n, at index n modulo the length. `None` once it is answered.
    waiting: Vec<Option<(u64, Instant)>>,
    sent: u64,
    answered: u64,
    latencies: Latencies,
}

impl RoundTrips {
    pub(crate) fn new() -> Self {
        Self { waiting: vec![None; REMEMBERED], sent: 0, answered: 0, latencies: Latencies::new() }
    }

    /// Returns the number of the next message.
    pub(crate) fn next_number(&self) -> u64 {
        self.sent
    }

    /// Records that the next message was sent at `now`.
    pub(crate) fn sent(&mut self, now: Instant) {
        *self.slot(self.sent) = Some((self.sent, now));
        self.sent += 1;
    }

    /// Records that an answer to message `number` arrived at `now`, and returns its round-trip time. Returns `None` if
    /// the answer does not count: the message was never sent, was answered before, or is older than `limit`.
    pub(crate) fn answered(&mut self, number: u64, now: Instant, limit: Duration) -> Option<Duration> {
        let (_, sent_at) = self.slot(number).take_if(|(waiting, _)| *waiting == number)?;
        let round_trip = now.saturating_duration_since(sent_at);
        if round_trip > limit {
            return None;
        }
        self.answered += 1;
        self.latencies.record(round_trip);
        Some(round_trip)
    }

    fn slot(&mut self, number: u64) -> &mut Option<(u64, Instant)> {
        let length = self.waiting.len() as u64;
        let index = usize::try_from(number % length).expect("a remainder is below the length");
        &mut self.waiting[index]
    }

    pub(crate) fn sent_count(&self) -> u64 {
        self.sent
    }

    pub(crate) fn answered_count(&self) -> u64 {
        self.answered
    }

    /// Returns the number of messages without an answer. It includes messages in flight.
    pub(crate) fn unanswered(&self) -> u64 {
        self.sent - self.answered
    }

    pub(crate) fn latencies(&self) -> &Latencies {
        &self.latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn each_answer_counts_once_and_for_its_own_message() {
        let start = Instant::now();
        let mut trips = RoundTrips::new();
        trips.sent(start);
        trips.sent(start + MS);
        assert_eq!(trips.answered(1, start + 3 * MS, MINUTE), Some(2 * MS));
        assert_eq!(trips.answered(1, start + 4 * MS, MINUTE), None, "a duplicate");
        assert_eq!(trips.answered(2, start + 4 * MS, MINUTE), None, "never sent");
        assert_eq!((trips.sent_count(), trips.answered_count(), trips.unanswered()), (2, 1, 1));
    }

    #[test]
    fn an_answer_after_the_limit_counts_as_lost() {
        let start = Instant::now();
        let mut trips = RoundTrips::new();
        trips.sent(start);
        assert_eq!(trips.answered(0, start + 3 * MS, 2 * MS), None);
        assert_eq!(trips.unanswered(), 1);
    }

    #[test]
    fn a_message_too_old_to_be_remembered_stays_unanswered() {
        let start = Instant::now();
        let mut trips = RoundTrips::new();
        for _ in 0..=REMEMBERED {
            trips.sent(start);
        }
        assert_eq!(trips.answered(0, start + MS, MINUTE), None);
        assert_eq!(trips.answered(REMEMBERED as u64, start + MS, MINUTE), Some(MS));
        assert_eq!(trips.unanswered(), REMEMBERED as u64);
    }
}
