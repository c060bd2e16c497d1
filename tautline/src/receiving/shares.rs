//! How much of a queue each peer takes: when the queue is full, a peer that takes more than its share makes room.
//!
//! Called by [`Waiting`](super::waiting::Waiting), which adds and removes. It costs one entry of a table for each message.

use crate::message::Message;
use tautline_proto::PeerId;

/// An item that waits for somebody, and takes room.
pub(crate) trait Waits {
    /// The peer that sent it.
    fn peer(&self) -> PeerId;

    /// How many bytes of memory it takes.
    fn bytes(&self) -> usize;
}

/// The room of a queue, or what is taken of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// The number of messages.
    pub(crate) count: usize,
    /// The bytes of all messages together.
    pub(crate) bytes: usize,
}

impl Room {
    /// Room for so many messages of any size.
    #[cfg(test)]
    pub(crate) const fn of(count: usize) -> Self {
        Self { count, bytes: usize::MAX }
    }
}

/// What each peer takes of a queue.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// By the peer's slot. A peer that comes into the slot of a former one continues with what waits of that.
    taken: Vec<Room>,
    /// How many slots have something.
    peers: usize,
    bytes: usize,
}

/// The most slots that are told apart: more peers than a configuration may ask for. Messages without a peer have the first one.
const MAX_SLOTS: usize = 65_536;

impl Shares {
    #[inline]
    pub(crate) fn add(&mut self, peer: PeerId, bytes: usize) {
        let slot = index_of(peer);
        if slot >= self.taken.len() {
            self.taken.resize(slot + 1, Room::default());
        }
        let taken = &mut self.taken[slot];
        self.peers += usize::from(taken.count == 0);
        taken.count += 1;
        taken.bytes += bytes;
        self.bytes += bytes;
    }

    #[inline]
    pub(crate) fn remove(&mut self, peer: PeerId, bytes: usize) {
        let taken = &mut self.taken[index_of(peer)];
        taken.count -= 1;
        taken.bytes -= bytes;
        self.peers -= usize::from(taken.count == 0);
        self.bytes -= bytes;
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Among how many peers the room is shared, if this one takes a part too.
    pub(crate) fn peers_with(&self, peer: PeerId) -> usize {
        self.peers + usize::from(self.of(peer).count == 0)
    }

    /// Whether the peer takes more than one part of `room` in so many, or would with this much more.
    pub(crate) fn is_over(&self, peer: PeerId, more: Room, room: Room, parts: usize) -> bool {
        let taken = self.of(peer);
        let is_over = |taken: usize, more: usize, room: usize| (taken + more).saturating_mul(parts) > room;
        is_over(taken.count, more.count, room.count) || is_over(taken.bytes, more.bytes, room.bytes)
    }

    fn of(&self, peer: PeerId) -> Room {
        self.taken.get(index_of(peer)).copied().unwrap_or_default()
    }
}

#[inline]
fn index_of(peer: PeerId) -> usize {
    if peer == PeerId::none() { 0 } else { peer.slot().min(MAX_SLOTS) }
}

impl Waits for Message {
    #[inline]
    fn peer(&self) -> PeerId {
        self.arrival().peer
    }

    #[inline]
    fn bytes(&self) -> usize {
        self.size()
    }
}

#[cfg(test)]
impl Waits for u32 {
    fn peer(&self) -> PeerId {
        PeerId::none()
    }

    fn bytes(&self) -> usize {
        1
    }
}
