//! What a sender hands over to the line: a message, or several in a pack, and the terms they share.

use std::time::{Duration, Instant};

use tautline_proto::wire::native::Pack;
use tautline_proto::{Instant as Steady, PeerId, Priority};

use super::handover::RANKS;
use super::link::Link;
use crate::message::metadata::Metadata;
use crate::message::target::Target;
use crate::receiving::lanes::{LANES, lane_of};

// One rank for each priority.
const _: () = assert!(RANKS == LANES);

/// A message, or several in a pack, that a thread hands over.
#[derive(Debug, Default)]
pub(crate) struct Job {
    /// One message in a datagram whose header is not filled yet. Ignored if the pack is not empty.
    pub(crate) datagram: Vec<u8>,
    /// Several messages; empty for one.
    pub(crate) pack: Pack,
    pub(crate) terms: Terms,
}

/// What holds for all messages of a job.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) target: Target,
    pub(crate) priority: Priority,
    /// The [opening](super::line::Line::open) that the messages were encoded for.
    pub(crate) opening: u64,
    /// When the messages were given to send.
    pub(crate) sent_at: Steady,
    /// When their lifespan ends.
    pub(crate) expires: Option<Instant>,
    /// The last peer that a message for all was written to, if it is written in pieces.
    pub(crate) written_to: Option<PeerId>,
}

impl Terms {
    /// Terms that name no opening and no end of a lifespan.
    #[inline]
    pub(crate) const fn new(target: Target, priority: Priority, sent_at: Steady) -> Self {
        Self { target, priority, opening: 0, sent_at, expires: None, written_to: None }
    }

    /// Sets the end of the lifespan, of which this is left now.
    #[inline(always)] // once for each message; most have no lifespan
    pub(crate) fn expire_after(&mut self, left: Option<Duration>) {
        self.expires = left.and_then(after);
    }

    /// Whether the messages never wait for others.
    pub(crate) fn is_urgent(&self) -> bool {
        self.priority == Priority::Critical
    }

    /// Their [rank](RANKS) in the hand-over.
    pub(crate) fn rank(&self) -> usize {
        lane_of(self.priority)
    }
}

/// The present time and `left`; `None` if that is too far away.
#[inline(never)]
fn after(left: Duration) -> Option<Instant> {
    Instant::now().checked_add(left)
}

impl Job {
    /// Empties the job for new messages on this connection.
    pub(crate) fn begin(&mut self, link: &Link, target: Target, metadata: &Metadata) {
        self.datagram.clear();
        self.pack.begin(link.datagram_size());
        self.terms =
            Terms { opening: link.opening, ..Terms::new(target, metadata.priority, link.clock.steady_now()) };
    }

    /// The number of messages in the job.
    pub(crate) fn messages(&self) -> u64 {
        if self.pack.is_empty() { 1 } else { self.pack.messages() }
    }
}
