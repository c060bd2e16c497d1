//! Bounds the number of messages in flight during a flood.
//!
//! The sender mixes marks into the flood, and the other end sends the marks back. When a mark is back, the messages
//! before it are no longer in flight: each has arrived or is lost. So a lost message cannot stop the flood. A lost mark
//! is sent again.

use std::time::{Duration, Instant};

use tautline::{Metadata, Payload, SendError};

use super::client::Client;
use super::flood::Arrivals;
use super::protocol::ECHOED;
use super::settings::payload;
use crate::tools::exit::Failure;

/// The number of marks per full allowance. With several marks, the sender need not stop while it waits for one of them.
const MARKS: u64 = 4;

/// A mark that is not back after this time counts as lost.
const MARK_WAIT: Duration = Duration::from_millis(100);

/// If no mark comes back for this time, the other end counts as gone.
const GONE_AFTER: Duration = Duration::from_secs(2);

/// The messages in flight, and the marks among them.
#[derive(Debug)]
pub(super) struct Outstanding {
    most: u64,
    mark: Payload,
    /// The number of messages sent before the last mark.
    marked: u64,
    /// The number of messages sent before the last mark that is back.
    back: u64,
    marked_at: Instant,
    /// The time at which the last mark came back.
    heard: Instant,
}

impl Outstanding {
    /// Allows at most `most` messages in flight on the client's connection.
    pub(super) fn new(most: u64, client: &Client) -> Result<Self, Failure> {
        let (mark, now) = (payload(client.wire, 1)?, Instant::now());
        Ok(Self { most, mark, marked: 0, back: 0, marked_at: now, heard: now })
    }

    /// Returns how many more messages may be sent before the next [`look`](Self::look) if `sent` were sent so far.
    pub(super) fn room(&self, sent: u64) -> u64 {
        let to_next_mark = self.step().saturating_sub(sent - self.marked);
        to_next_mark.min(self.most.saturating_sub(sent - self.back))
    }

    fn is_full(&self, sent: u64) -> bool {
        sent - self.back >= self.most
    }

    /// Whether the other end is gone. Call it after a [`look`](Self::look).
    pub(super) fn is_over(&self, sent: u64) -> bool {
        self.is_full(sent) && self.heard.elapsed() >= GONE_AFTER
    }

    fn step(&self) -> u64 {
        (self.most / MARKS).max(1)
    }

    /// Sends a mark if one is due, and turns the driver. If no more messages may be in flight, the turn waits for a
    /// mark.
    pub(super) fn look(&mut self, client: &mut Client, sent: u64, arrivals: &mut Arrivals) {
        if self.is_mark_due(sent) {
            self.send_mark(client, sent);
        }
        let wait = if self.is_full(sent) { MARK_WAIT } else { Duration::ZERO };
        let (back, heard) = (&mut self.back, &mut self.heard);
        client.take(wait, &mut |message| {
            arrivals.see(&message);
            if message.message_type == ECHOED {
                *heard = Instant::now();
                // A number above `sent` is wrong and is ignored.
                *back = message.answers.filter(|number| *number <= sent).unwrap_or(0).max(*back);
            }
        });
    }

    fn is_mark_due(&self, sent: u64) -> bool {
        let is_new = sent - self.marked >= self.step();
        let is_lost = self.is_full(sent) && self.marked_at.elapsed() >= MARK_WAIT;
        is_new || is_lost
    }

    fn send_mark(&mut self, client: &Client, sent: u64) {
        let metadata = Metadata::new(ECHOED).message_id(sent);
        let result = client.interface.send(&self.mark, &metadata);
        if matches!(result, Err(SendError::Busy | SendError::Refused { .. })) {
            // It is tried again after the next turn. Other errors also occur for the next message and are reported
            // there.
            return;
        }
        // This thread drives the interface: while it waits for the answer, no other thread sends coalesced messages.
        client.interface.flush();
        (self.marked, self.marked_at) = (sent, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outstanding(most: u64, marked: u64, back: u64) -> Outstanding {
        let now = Instant::now();
        Outstanding { most, mark: Payload::raw([0]), marked, back, marked_at: now, heard: now }
    }

    #[test]
    fn the_room_ends_at_the_next_mark_and_at_the_bound() {
        for (most, marked, back, sent, room) in [
            (100, 0, 0, 0, 25),
            (100, 0, 0, 20, 5),
            (100, 0, 0, 25, 0),
            (100, 75, 0, 90, 10),
            (100, 75, 25, 90, 10),
            (100, 100, 0, 100, 0),
            (3, 2, 0, 2, 1),
        ] {
            assert_eq!(outstanding(most, marked, back).room(sent), room, "{most} {marked} {back} {sent}");
        }
    }

    #[test]
    fn a_mark_is_due_after_each_quarter_and_when_the_last_mark_is_lost() {
        assert!(!outstanding(100, 50, 0).is_mark_due(74) && outstanding(100, 50, 0).is_mark_due(75));
        let mut full = outstanding(100, 100, 0);
        assert!(!full.is_mark_due(100));
        full.marked_at = full.marked_at.checked_sub(MARK_WAIT).expect("the machine has run for that long");
        assert!(full.is_mark_due(100));
    }
}
