//! Where else a peer of a secured server was heard, and when the server asks whether it is there. docs/protocol.md §11.7.
//!
//! `secured` asks, and decides.

use core::net::SocketAddr;
use core::time::Duration;

use crate::snapshot::{saved, saved_variants};
use crate::time::Instant;

/// A server asks again after a round trip, but not sooner than this. While nobody answers, it waits twice as long each time, up to
/// [`LAST_WAIT`] or a round trip.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LAST_WAIT: Duration = Duration::from_millis(100);

/// Where else a peer was heard last.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) to: SocketAddr,
    /// The values that were sent to the other address, and to the peer's own.
    pub(super) there: u64,
    pub(super) here: u64,
    /// When the two addresses were asked first and last, and how often.
    pub(super) since: Instant,
    pub(super) asked_at: Instant,
    pub(super) asked: u32,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody has answered.
    Asking,
    /// The other address has answered. It is the peer's from then on, if the old one does not answer.
    Answered(Instant),
    /// The session has moved from this address.
    Moved(SocketAddr),
    /// The old address has answered, and keeps the session.
    Stayed,
}

impl Move {
    /// Returns when the session moves if nothing happens.
    pub(super) const fn decides_at(&self) -> Option<Instant> {
        if let Stage::Answered(at) = self.stage { Some(at) } else { None }
    }

    /// Returns when the addresses may be asked again, because of a datagram from this one.
    pub(super) fn asks_again_at(&self, from: SocketAddr, round_trip: Duration) -> Instant {
        let wait = FIRST_WAIT.max(round_trip);
        if from == self.to {
            // Beyond the tenth time, the wait is the longest in any case.
            let wait =
                (wait * 2_u32.pow(self.asked.saturating_sub(1).min(10))).min(LAST_WAIT.max(round_trip));
            return self.asked_at.plus(wait);
        }
        // Whoever was heard first has the time to answer.
        self.asked_at.plus(wait).max(self.since.plus(wait * 2))
    }
}

saved!(Move { to, there, here, since, asked_at, asked, stage });
saved_variants!(Stage { 0 = Asking, 1 = Answered(at), 2 = Moved(from), 3 = Stayed });
