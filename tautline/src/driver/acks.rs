//! Which acknowledgements of reliable messages wait, so that many datagrams share one.
//!
//! The first datagram of a turn is acknowledged at once, unless it is full: a full one is part of a stream, and more follow. What
//! follows in the same turn shares an acknowledgement, and what is full may wait for the next turns too. What waits is kept in the
//! line, where the next datagram to that peer takes it along, also the one that ends the session.

use std::time::Duration;

use tautline_proto::{Instant as Steady, PeerId};

/// How many datagrams share an acknowledgement at most, and how many bytes: about a quarter of what may be in flight, so that the
/// sender need not wait.
const MOST: usize = 8;
const MOST_BYTES: usize = 24 * 1024;

/// How long an acknowledgement waits, but for the datagram whose messages are handed out meanwhile.
const LONGEST: Duration = Duration::from_micros(200);

/// A datagram of so many bytes is full: a sender that has more to send fills every datagram, and the smallest path carries these.
const FULL: usize = 1_000;

/// The peers whose acknowledgements wait, and since when the first of them does.
#[derive(Debug, Default)]
pub(super) struct WaitingAcks {
    peers: Vec<PeerId>,
    datagrams: usize,
    bytes: usize,
    since: Steady,
    /// They may wait for the next turns too.
    outlast: bool,
    /// The length of the datagram that is read now.
    len: usize,
    /// The datagram that is read now is not the first of its turn.
    pub(super) may_wait: bool,
}

impl WaitingAcks {
    /// Notes that a datagram of this length is read now.
    #[inline]
    pub(super) const fn reads(&mut self, len: usize) {
        self.len = len;
    }

    /// Whether the acknowledgement of the datagram that is read now may wait. If `outlasts`, it may wait for the next turns.
    pub(super) const fn lets_wait(&self, outlasts: bool) -> bool {
        self.may_wait || outlasts && self.len >= FULL
    }

    /// Lets an acknowledgement wait. If `outlasts`, it may wait for the next turns.
    pub(super) fn add(&mut self, peer: PeerId, outlasts: bool, now: Steady) {
        let outlasts = outlasts && self.len >= FULL;
        if self.peers.is_empty() {
            (self.since, self.outlast) = (now, true);
        }
        self.outlast &= outlasts;
        self.datagrams += 1;
        self.bytes += self.len;
        if !self.peers.contains(&peer) {
            self.peers.push(peer);
        }
    }

    /// Whether any wait.
    #[inline]
    pub(super) const fn are_waiting(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Whether they may wait for the next turns.
    pub(super) const fn outlast_turn(&self) -> bool {
        self.outlast
    }

    /// Whether they have waited for long enough at `now`.
    pub(super) fn are_due(&self, now: Steady) -> bool {
        let are_many = self.datagrams >= MOST || self.bytes >= MOST_BYTES;
        self.are_waiting() && (are_many || now >= self.due())
    }

    /// When those that wait have waited for long enough.
    pub(super) fn due(&self) -> Steady {
        self.since.plus(LONGEST)
    }

    /// Takes the peers whose acknowledgements wait. There are at most as many as datagrams.
    pub(super) fn take(&mut self) -> Vec<PeerId> {
        (self.datagrams, self.bytes) = (0, 0);
        std::mem::take(&mut self.peers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Steady = Steady::from_nanos(1);

    /// Lets an acknowledgement of each of these datagrams wait.
    fn waiting(lens: &[usize]) -> WaitingAcks {
        let mut acks = WaitingAcks::default();
        for &len in lens {
            acks.reads(len);
            acks.add(PeerId::none(), true, FIRST);
        }
        acks
    }

    #[test]
    fn the_acknowledgement_of_a_stream_waits_for_the_next_turns_but_not_for_long() {
        let acks = waiting(&[1_452; 7]);
        assert!(acks.outlast_turn() && !acks.are_due(FIRST));
        assert!(acks.are_due(FIRST.plus(LONGEST)));
        assert!(waiting(&[1_452; 8]).are_due(FIRST), "many datagrams");
        assert!(waiting(&[8_192; 3]).are_due(FIRST), "many bytes");
    }

    #[test]
    fn a_datagram_that_is_not_full_ends_the_wait_with_the_turn() {
        assert!(!waiting(&[1_452, 90, 1_452]).outlast_turn());
        let mut acks = WaitingAcks::default();
        acks.reads(90);
        assert!(!acks.lets_wait(true), "the first datagram of a turn");
        acks.reads(1_452);
        assert!(acks.lets_wait(true) && !acks.lets_wait(false));
    }
}
