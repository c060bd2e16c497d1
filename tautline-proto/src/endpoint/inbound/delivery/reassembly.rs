//! Large messages while their fragments arrive. docs/protocol.md §4.5.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use super::kept::BESIDE;
use crate::message::Delivery;
use crate::snapshot::saved;
use crate::time::Instant;
use crate::wire::native::Fragment;

/// How many large messages of a peer may be incomplete at once. The limit applies to reliable messages and to best-effort
/// messages separately.
const MAX_INCOMPLETE: usize = 16;

/// How many pieces of a message may come before an earlier piece. Further ones are not kept.
const MAX_EARLY: usize = 1_024;

/// A best-effort message that is not complete after this time has lost a fragment.
const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(1);

/// A message that lacks at least one fragment.
#[derive(Debug)]
struct IncompleteMessage {
    flags: u8,
    delivery: Delivery,
    behind: u16,
    /// The length of the whole body.
    total: usize,
    count: u16,
    /// The pieces up to fragment `next`, one after the other. They take at most twice the memory that the fragments brought, or
    /// that of a spare buffer.
    body: Vec<u8>,
    next: u16,
    /// The pieces that came before an earlier one, by index, and the lengths of all of them together.
    early: BTreeMap<u16, Vec<u8>>,
    early_len: usize,
    /// When the first fragment arrived.
    begun: Instant,
}

/// The incomplete messages of one peer, with the number of their first fragment. There are few, so they are looked for.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    messages: Vec<(u64, IncompleteMessage)>,
    /// The lengths of all bodies together.
    bytes: usize,
}

/// The result of adding a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// The fragment is kept. Others are missing.
    Incomplete,
    /// The message is complete: its flags, when its first fragment arrived, and its body.
    Complete(u8, Instant, Vec<u8>),
    /// There is no room for another message.
    NoRoom,
    /// It contradicts earlier fragments of its message.
    Contradiction,
}

impl Reassembly {
    /// Adds a fragment of message `first`. All bodies together take at most `max_bytes`. A new message is put together in `spare`,
    /// which leaves an empty buffer there.
    pub(crate) fn add(
        &mut self,
        first: u64,
        fragment: &Fragment<'_>,
        max_bytes: usize,
        now: Instant,
        spare: &mut Vec<u8>,
    ) -> Added {
        let total = fragment.total as usize;
        let place = match self.place(first) {
            Some(place) => place,
            None if self.messages.len() == MAX_INCOMPLETE || self.bytes + total > max_bytes => {
                return Added::NoRoom;
            }
            None => {
                self.bytes += total;
                self.messages.push((first, IncompleteMessage::of(fragment, now, mem::take(spare))));
                self.messages.len() - 1
            }
        };
        let message = &mut self.messages[place].1;
        if !message.fits(fragment) {
            return Added::Contradiction;
        }
        message.take(fragment);
        if message.next < message.count {
            return Added::Incomplete;
        }
        let IncompleteMessage { flags, begun, body, .. } = self.remove(place);
        Added::Complete(flags, begun, body)
    }

    /// Returns whether a message of this length can begin if all together may take `most` bytes of memory. One message always can.
    pub(crate) fn has_room(&self, total: usize, most: usize) -> bool {
        self.messages.is_empty() || self.kept() + total + BESIDE <= most
    }

    /// Returns how many bytes of memory the messages take, or may grow to.
    pub(crate) fn kept(&self) -> usize {
        let pieces: usize = self.messages.iter().map(|(_, message)| 1 + message.early.len()).sum();
        self.bytes + pieces * BESIDE
    }

    fn place(&self, first: u64) -> Option<usize> {
        self.messages.iter().position(|&(number, _)| number == first)
    }

    pub(crate) fn contains(&self, first: u64) -> bool {
        self.place(first).is_some()
    }

    /// Drops the messages that end before number `end`. Returns how many there were.
    pub(crate) fn drop_below(&mut self, end: u64) -> u64 {
        let before = self.messages.len();
        self.messages.retain(|(first, message)| {
            let stays = first + u64::from(message.count) > end;
            self.bytes -= if stays { 0 } else { message.total };
            stays
        });
        (before - self.messages.len()) as u64
    }

    /// Drops the oldest message. Returns whether there was one.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        let age = |&place: &usize| (self.messages[place].1.begun, self.messages[place].0);
        let oldest = (0..self.messages.len()).min_by_key(age);
        oldest.map(|place| self.remove(place)).is_some()
    }

    /// Drops messages that have waited too long. Returns how many there were.
    pub(crate) fn expire(&mut self, now: Instant) -> u64 {
        let mut dropped = 0;
        while self.next_timeout().is_some_and(|at| at <= now) && self.drop_oldest() {
            dropped += 1;
        }
        dropped
    }

    /// Returns when the oldest message will have waited too long.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.messages.iter().map(|(_, message)| message.begun.plus(REASSEMBLY_TIMEOUT)).min()
    }

    pub(crate) fn len(&self) -> u64 {
        self.messages.len() as u64
    }

    /// Returns the lengths of all bodies together.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, place: usize) -> IncompleteMessage {
        let (_, message) = self.messages.swap_remove(place);
        self.bytes -= message.total;
        message
    }
}

impl IncompleteMessage {
    fn of(fragment: &Fragment<'_>, begun: Instant, mut body: Vec<u8>) -> Self {
        body.clear();
        body.reserve((fragment.total as usize).min(2 * fragment.piece.len()));
        Self {
            flags: fragment.flags,
            delivery: fragment.delivery,
            behind: fragment.numbers.behind,
            total: fragment.total as usize,
            count: fragment.count,
            body,
            next: 0,
            early: BTreeMap::new(),
            early_len: 0,
            begun,
        }
    }

    fn fits(&self, fragment: &Fragment<'_>) -> bool {
        let same_size = self.total == fragment.total as usize && self.count == fragment.count;
        let same_kind = self.flags == fragment.flags && self.delivery == fragment.delivery;
        same_size && same_kind && self.behind == fragment.numbers.behind && self.leaves_room_for(fragment)
    }

    /// Whether the pieces do not become longer than the whole. With the last missing piece, they must make it.
    fn leaves_room_for(&self, fragment: &Fragment<'_>) -> bool {
        if fragment.index < self.next || self.early.contains_key(&fragment.index) {
            return true;
        }
        let len = self.body.len() + self.early_len + fragment.piece.len();
        let is_complete = usize::from(self.next) + self.early.len() + 1 == usize::from(self.count);
        len == self.total || (len < self.total && !is_complete)
    }

    /// Takes the piece, unless it came before.
    fn take(&mut self, fragment: &Fragment<'_>) {
        if fragment.index > self.next && self.early.len() < MAX_EARLY {
            let early = &mut self.early_len;
            self.early.entry(fragment.index).or_insert_with(|| {
                *early += fragment.piece.len();
                fragment.piece.to_vec()
            });
        }
        if fragment.index != self.next {
            return;
        }
        self.body.extend_from_slice(fragment.piece);
        self.next += 1;
        while let Some(piece) = self.early.remove(&self.next) {
            self.early_len -= piece.len();
            self.body.extend_from_slice(&piece);
            self.next += 1;
        }
    }
}

saved!(IncompleteMessage { flags, delivery, behind, total, count, body, next, early, early_len, begun });
saved!(Reassembly { messages, bytes });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::native::DeliveryNumbers;

    const PIECE: [u8; 300] = [7; 300];

    /// Adds pieces of these lengths, by index, of a message of 500 bytes in three pieces. Returns what became of the last.
    fn add(pieces: &[(u16, usize)]) -> Added {
        let mut reassembly = Reassembly::default();
        let mut last = Added::NoRoom;
        for &(index, len) in pieces {
            let fragment = Fragment {
                flags: 0,
                delivery: Delivery::BestEffort,
                index,
                count: 3,
                total: 500,
                numbers: DeliveryNumbers::default(),
                piece: &PIECE[..len],
            };
            last = reassembly.add(7, &fragment, 1_000, Instant::from_nanos(0), &mut Vec::new());
        }
        last
    }

    #[test]
    fn pieces_of_any_lengths_make_the_whole_in_any_order() {
        let whole = Added::Complete(0, Instant::from_nanos(0), alloc::vec![7; 500]);
        assert_eq!(add(&[(0, 130), (1, 300), (2, 70)]), whole);
        assert_eq!(add(&[(2, 70), (1, 300), (1, 300), (0, 130)]), whole);
    }

    #[test]
    fn pieces_that_make_more_or_less_than_the_whole_are_refused() {
        for pieces in
            [[(0, 130), (1, 300), (2, 69)], [(2, 71), (1, 300), (0, 130)], [(1, 300), (0, 200), (2, 1)]]
        {
            assert_eq!(add(&pieces), Added::Contradiction, "{pieces:?}");
        }
    }
}
