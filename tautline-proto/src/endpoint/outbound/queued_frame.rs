//! A reliable message, or a fragment of one, that the peer has not acknowledged.

use alloc::vec::Vec;
use core::time::Duration;

use super::flights::Flight;
use super::frame_bytes::{FrameBytes, Place};
use crate::message::Priority;
use crate::snapshot::saved;
use crate::time::Instant;

/// The longest retransmission time-out after doubling, unless the time-out is longer from the start.
const MAX_BACKOFF: Duration = Duration::from_millis(200);

/// The rules by which the next datagram is filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendRules {
    pub(super) now: Instant,
    /// Whether other traffic waits for the same socket.
    pub(super) others_wait: bool,
    /// How many bytes of frames a datagram holds.
    pub(super) room: usize,
    /// How often a frame is sent at most.
    pub(super) max_tries: u32,
}

/// A frame with a delivery number of its own.
#[derive(Debug)]
pub(super) struct QueuedFrame {
    /// Where its bytes are.
    pub(super) place: Place,
    /// Acknowledged or abandoned, so that it is not sent again.
    pub(super) is_settled: bool,
    /// The delivery number of its message's first frame.
    pub(super) message: u64,
    pub(super) priority: Priority,
    /// How often the frame was sent.
    pub(super) tries: u32,
    pub(super) sent_at: Instant,
    pub(super) retransmit_at: Instant,
    /// How many datagrams that were sent later have arrived.
    pub(super) overtaken: u8,
    /// The datagram that it was sent in last.
    pub(super) flight: Flight,
}

impl QueuedFrame {
    pub(super) fn new(place: Place, message: u64, priority: Priority) -> Self {
        let never = Instant::from_nanos(0);
        Self {
            place,
            is_settled: false,
            message,
            priority,
            tries: 0,
            sent_at: never,
            retransmit_at: never,
            overtaken: 0,
            flight: Flight::default(),
        }
    }

    /// Appends the frame to a datagram whose frames begin at `begin`. Returns `false` if the datagram has no room.
    ///
    /// A frame that fits no datagram, because the path has become very small, goes alone: it cannot be cut any more.
    pub(super) fn write(
        &mut self,
        bytes: &FrameBytes,
        rules: SendRules,
        timeout: Duration,
        out: &mut Vec<u8>,
        begin: usize,
    ) -> bool {
        if out.len() > begin && out.len() - begin + self.place.len() > rules.room {
            return false;
        }
        out.extend_from_slice(bytes.get(self.place));
        self.retransmit_at = rules.now.plus(backed_off(timeout, self.tries));
        self.tries += 1;
        self.sent_at = rules.now;
        self.overtaken = 0;
        true
    }
}

/// Returns the time-out after this many tries: it doubles with each try (RFC 6298 §5.5).
pub(super) fn backed_off(timeout: Duration, tries: u32) -> Duration {
    let longest = MAX_BACKOFF.max(timeout);
    timeout.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX)).min(longest)
}

saved!(QueuedFrame {
    place,
    is_settled,
    message,
    priority,
    tries,
    sent_at,
    retransmit_at,
    overtaken,
    flight
});
