//! Large messages while their parts arrive. docs/protocol.md §4.4.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::reliable_receiver::RELIABLE_ID;
use crate::message::Delivery;
use crate::time::Instant;
use crate::wire::native::{Fragment, MessageFrame};

/// How many large messages of a peer may be incomplete at once, of each kind.
const INCOMPLETE: usize = 16;

/// A best-effort message whose parts have not all come in this time has lost one.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A message that was kept: put together of parts, or held back.
#[derive(Debug)]
pub(super) struct Whole {
    /// What it is called if it has no id of its own.
    pub(super) default_id: u64,
    pub(super) flags: u8,
    pub(super) body: Vec<u8>,
    /// Since when it has been kept: when its first part came.
    pub(super) since: Instant,
}

impl Whole {
    /// A copy of a reliable message that has come in one piece, to be delivered as `number`.
    pub(super) fn of(frame: MessageFrame<'_>, number: u64, since: Instant) -> Self {
        Self { default_id: RELIABLE_ID | number, flags: frame.flags, body: frame.body.to_vec(), since }
    }

    pub(super) fn frame(&self) -> MessageFrame<'_> {
        MessageFrame { flags: self.flags, body: &self.body }
    }
}

/// A message of which some parts are there.
#[derive(Debug)]
struct Parts {
    flags: u8,
    delivery: Delivery,
    behind: u16,
    /// The length of the whole body.
    total: usize,
    count: u16,
    /// By index. A part takes no more memory than it brought.
    pieces: BTreeMap<u16, Vec<u8>>,
    begun: Instant,
}

/// The incomplete messages of one peer and kind, by the number of their first part.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    messages: BTreeMap<u64, Parts>,
    /// The lengths of all their bodies together.
    bytes: usize,
}

/// What became of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// Others are missing.
    Kept,
    /// The message is complete: its flags, when its first part came, and its body.
    Complete(u8, Instant, Vec<u8>),
    /// There is no room for another message.
    NoRoom,
    /// It contradicts what came of its message before.
    Wrong,
}

impl Assembly {
    /// Takes a part of message `first` in, for bodies of at most `most_bytes` together.
    pub(super) fn add(
        &mut self,
        first: u64,
        fragment: &Fragment<'_>,
        most_bytes: usize,
        now: Instant,
    ) -> Added {
        let total = fragment.total as usize;
        if !self.messages.contains_key(&first) {
            if self.messages.len() == INCOMPLETE || self.bytes + total > most_bytes {
                return Added::NoRoom;
            }
            self.bytes += total;
            self.messages.insert(first, Parts::of(fragment, now));
        }
        let Some(parts) = self.messages.get_mut(&first).filter(|parts| parts.fits(fragment)) else {
            return Added::Wrong;
        };
        parts.pieces.entry(fragment.index).or_insert_with(|| fragment.piece.to_vec());
        if parts.pieces.len() < usize::from(parts.count) {
            return Added::Kept;
        }
        let complete = |parts: Parts| Added::Complete(parts.flags, parts.begun, parts.body());
        self.remove(first).map_or(Added::Kept, complete)
    }

    pub(super) fn contains(&self, first: u64) -> bool {
        self.messages.contains_key(&first)
    }

    /// Drops the messages all of whose parts have numbers below `end`; how many there were.
    pub(super) fn drop_below(&mut self, end: u64) -> u64 {
        let before = self.messages.len();
        self.messages.retain(|first, parts| {
            let stays = first + u64::from(parts.count) > end;
            self.bytes -= if stays { 0 } else { parts.total };
            stays
        });
        (before - self.messages.len()) as u64
    }

    /// Drops the oldest one; whether there was one.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let oldest = self.messages.iter().min_by_key(|(_, parts)| parts.begun).map(|(&first, _)| first);
        oldest.and_then(|first| self.remove(first)).is_some()
    }

    /// Drops what has waited too long; how many those were.
    pub(super) fn expire(&mut self, now: Instant) -> u64 {
        let mut dropped = 0;
        while self.next_timeout().is_some_and(|at| at <= now) && self.drop_oldest() {
            dropped += 1;
        }
        dropped
    }

    /// When the oldest one has waited too long.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.messages.values().map(|parts| parts.begun.plus(PATIENCE)).min()
    }

    pub(super) fn len(&self) -> u64 {
        self.messages.len() as u64
    }

    /// The lengths of all their bodies together.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, first: u64) -> Option<Parts> {
        let parts = self.messages.remove(&first)?;
        self.bytes -= parts.total;
        Some(parts)
    }
}

impl Parts {
    fn of(fragment: &Fragment<'_>, begun: Instant) -> Self {
        Self {
            flags: fragment.flags,
            delivery: fragment.delivery,
            behind: fragment.numbers.behind,
            total: fragment.total as usize,
            count: fragment.count,
            pieces: BTreeMap::new(),
            begun,
        }
    }

    fn fits(&self, fragment: &Fragment<'_>) -> bool {
        let same_size = self.total == fragment.total as usize && self.count == fragment.count;
        let same_kind = self.flags == fragment.flags && self.delivery == fragment.delivery;
        same_size && same_kind && self.behind == fragment.numbers.behind
    }

    fn body(self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.total);
        self.pieces.into_values().for_each(|piece| body.extend_from_slice(&piece));
        body
    }
}
