//! What is kept of one peer's reliable and large messages until it can be delivered. docs/protocol.md §7.5.
//!
//! [`DeliveryState`] belongs to a peer; the module `sorting` calls it with each frame of a datagram.
//!
//! - `reliable_receiver` takes each reliable message once and acknowledges it. It uses the other three.
//! - `receive_window` remembers which delivery numbers were received.
//! - `ordering` holds back ordered messages that arrived before an earlier one.
//! - `reassembly` puts fragments together.
//! - `kept` is a message that was copied out of its datagram.
//!
//! This folder uses the native wire and the crate's root modules, and nothing else of the endpoint.

mod kept;
mod ordering;
mod reassembly;
mod receive_window;
mod reliable_receiver;

pub(super) use kept::{KeptMessage, LARGE_ID, RELIABLE_ID};
pub(super) use reassembly::{Added, Reassembly};
pub(super) use reliable_receiver::{ReliableReceiver, Room, Taken};

use crate::drops::DropReason;
use crate::snapshot::saved;
use crate::stats::InboundCounters;
use crate::time::Instant;

/// The state of one peer's reliable and large messages. It is created when the first of them arrives.
#[derive(Debug, Default)]
pub(super) struct DeliveryState {
    pub(super) reliable: ReliableReceiver,
    /// Large best-effort messages.
    pub(super) large: Reassembly,
    /// The number of the latest large best-effort message that was refused at its first fragment to come.
    refused: Option<u32>,
}

impl DeliveryState {
    /// Refuses a large best-effort message. Returns whether it had not been refused before, so that it counts once, and not with
    /// each of its fragments.
    pub(super) fn refuse(&mut self, number: u32) -> bool {
        let is_next = |before: u32| number.wrapping_sub(before).cast_signed() > 0;
        let is_first = self.refused.is_none_or(is_next);
        if is_first {
            self.refused = Some(number);
        }
        is_first
    }

    /// Returns whether this large best-effort message was refused.
    pub(super) fn has_refused(&self, number: u32) -> bool {
        self.refused == Some(number)
    }

    /// Returns how many messages are lost if the session ends now.
    pub(super) fn undelivered(&self) -> u64 {
        self.reliable.undelivered() + self.large.len()
    }

    /// Returns how many bytes of memory its messages take, or may grow to.
    pub(super) fn kept(&self) -> usize {
        self.reliable.kept() + self.large.kept()
    }

    /// Returns when [`expire`](Self::expire) has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.large.next_timeout()
    }

    /// Drops large best-effort messages that have lost a fragment, and counts them.
    pub(super) fn expire(&mut self, now: Instant, counters: &InboundCounters) {
        let expired = self.large.expire(now);
        counters.messages_dropped.count_many(DropReason::Incomplete, expired);
    }
}

saved!(DeliveryState { reliable, large, refused });
