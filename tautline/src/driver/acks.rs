//! Which acknowledgements of reliable messages wait, so that many datagrams share one.
//!
//! The first datagram of a turn is acknowledged at once. What follows it in the same turn belongs to a stream, and shares an
//! acknowledgement. What waits is kept in the line, where the next datagram to that peer takes it along, also the one that
//! ends the session.

use std::time::Duration;

use tautline_proto::{Instant as Steady, PeerId};

/// How many datagrams share an acknowledgement at most.
const MOST: usize = 8;

/// How long an acknowledgement waits, but for the datagram whose messages are handed out meanwhile.
const LONGEST: Duration = Duration::from_micros(200);

/// The peers whose acknowledgements wait, and since when the first of them does.
#[derive(Debug, Default)]
pub(super) struct WaitingAcks {
    peers: Vec<PeerId>,
    datagrams: usize,
    since: Steady,
    /// The datagram that is read now is not the first of its turn.
    pub(super) may_wait: bool,
}

impl WaitingAcks {
    /// Lets an acknowledgement wait.
    pub(super) fn add(&mut self, peer: PeerId, now: Steady) {
        if self.peers.is_empty() {
            self.since = now;
        }
        self.datagrams += 1;
        if !self.peers.contains(&peer) {
            self.peers.push(peer);
        }
    }

    /// Whether any wait.
    #[inline]
    pub(super) const fn are_waiting(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Whether they have waited for long enough at `now`.
    pub(super) fn are_due(&self, now: Steady) -> bool {
        self.are_waiting() && (self.datagrams >= MOST || now.since(self.since) >= LONGEST)
    }

    /// Takes the peers whose acknowledgements wait. There are at most as many as datagrams.
    pub(super) fn take(&mut self) -> Vec<PeerId> {
        self.datagrams = 0;
        std::mem::take(&mut self.peers)
    }
}
