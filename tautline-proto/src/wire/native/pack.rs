//! Packs the frames of many messages into few datagrams, in the layout of UDP segmentation offload.
//!
//! The datagrams lie one after the other. All have the same size, with padding (§4), except for the last. So one system call
//! can pass all of them to the kernel, and each can also be sent alone.

use alloc::vec::Vec;

use super::datagram::{Header, begin_datagram, fill_header, fill_trailer};
use super::layout::{HEADER_LEN, MAX_DATAGRAM, TRAILER_LEN};
use crate::snapshot::saved;

/// How many datagrams a pack holds at most. Every kernel with UDP segmentation offload takes this many at once.
const MAX_DATAGRAMS: usize = 64;

/// Where [`Pack::write`] has put a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// In the pack.
    InPack,
    /// Apart, because the pack is full. The frame belongs into the next pack.
    PackFull,
    /// Apart, because the frame is larger than a datagram that messages share.
    TooLarge,
}

/// Datagrams that are being filled with frames. `cut` adds messages that are larger than a datagram.
///
/// Invariants: datagram `i` begins at `i * size`. All datagrams except for the last are full: they have `size` bytes,
/// including room for the trailer. `size` is at most `limit`; it is less if the pack holds one message in fragments, which are all
/// equally long. `messages` has one entry for each datagram.
#[derive(Debug, Default)]
pub struct Pack {
    pub(super) bytes: Vec<u8>,
    pub(super) size: usize,
    /// The largest datagram that may be sent.
    pub(super) limit: usize,
    /// How many messages end in each datagram.
    pub(super) messages: Vec<u16>,
    /// Where the last datagram's frames end, if a large message ends in it. What follows is padding, which stays unless a further
    /// large message takes its place. 0 otherwise.
    pub(super) large_end: usize,
    /// Whether the last datagram has room for its trailer. Then no frame can be added any more.
    pub(super) closed: bool,
}

impl Pack {
    /// Empties the pack, for datagrams of at most `limit` bytes.
    pub fn begin(&mut self, limit: usize) {
        debug_assert!(limit > HEADER_LEN + TRAILER_LEN && limit <= MAX_DATAGRAM, "no room for a frame");
        self.bytes.clear();
        self.messages.clear();
        self.size = limit;
        self.limit = limit;
        self.large_end = 0;
        self.closed = false;
    }

    /// Returns whether the pack is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns how many messages are in the pack.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages.iter().map(|&count| u64::from(count)).sum()
    }

    /// Returns whether a frame of this length fits a datagram of `size` bytes.
    #[must_use]
    pub const fn admits(size: usize, frame_len: usize) -> bool {
        HEADER_LEN + frame_len + TRAILER_LEN <= size
    }

    /// Adds the frame of one message. If the last datagram has no room, a new one begins.
    ///
    /// Returns `false` if the pack is full. Send it and begin again. The frame must fit a datagram: see
    /// [`admits`](Self::admits).
    #[must_use]
    #[inline]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        debug_assert!(!self.closed, "the pack is open");
        if !self.has_room(frame.len()) {
            if self.is_full() || !Self::admits(self.size, frame.len()) {
                return false;
            }
            self.begin_next();
        }
        self.bytes.extend_from_slice(frame);
        self.count_one();
        true
    }

    /// Adds the frame that `write` appends. This saves the copy that [`push`](Self::push) makes.
    ///
    /// A frame that cannot be added is moved to `apart`, after room for a header. The result says why.
    ///
    /// # Errors
    ///
    /// The error of `write`. The pack is then unchanged. If `write` panics, the pack must be begun again.
    #[inline]
    pub fn write<E>(
        &mut self,
        apart: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Packed, E> {
        debug_assert!(!self.closed, "the pack is open");
        let start = self.bytes.len();
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        // The frame is already in its place.
        if self.has_room(0) {
            self.count_one();
            return Ok(Packed::InPack);
        }
        Ok(self.find_place(start, apart))
    }

    /// Moves the frame at `start`, which has no room in the last datagram, to its place.
    fn find_place(&mut self, start: usize, apart: &mut Vec<u8>) -> Packed {
        apart.clear();
        begin_datagram(apart);
        apart.extend_from_slice(&self.bytes[start..]);
        self.bytes.truncate(start);
        let frame = &apart[HEADER_LEN..];
        if !Self::admits(self.limit, frame.len()) {
            return Packed::TooLarge;
        }
        if self.push(frame) { Packed::InPack } else { Packed::PackFull }
    }

    /// Returns where the last datagram ends when it is full.
    pub(super) fn end(&self) -> usize {
        self.messages.len() * self.size
    }

    pub(super) fn has_room(&self, frame_len: usize) -> bool {
        !self.is_empty() && self.bytes.len() + frame_len + TRAILER_LEN <= self.end()
    }

    /// Returns whether no further datagram may begin.
    fn is_full(&self) -> bool {
        !self.has_room_for(1)
    }

    /// Returns whether so many further datagrams may begin.
    pub(super) fn has_room_for(&self, datagrams: usize) -> bool {
        let count = self.messages.len() + datagrams;
        count <= MAX_DATAGRAMS && count * self.size <= MAX_DATAGRAM
    }

    pub(super) fn begin_next(&mut self) {
        self.large_end = 0;
        // The rest of the last datagram is padding and room for the trailer.
        self.bytes.resize(self.end(), 0);
        begin_datagram(&mut self.bytes);
        self.messages.push(0);
    }

    /// Takes the padding after a large message away. Frames that are added now follow it in its datagram.
    pub(super) fn drop_padding(&mut self) {
        if self.large_end > 0 {
            self.bytes.truncate(self.large_end);
        }
    }

    pub(super) fn count_one(&mut self) {
        if let Some(count) = self.messages.last_mut() {
            *count += 1;
        }
    }

    /// Fills headers and trailers. The first datagram gets the number in `first`, the others the numbers after it. Can be called
    /// again with another header.
    pub(crate) fn seal(&mut self, first: Header) {
        if !self.closed {
            self.closed = true;
            self.drop_padding();
            self.bytes.resize(self.bytes.len() + TRAILER_LEN, 0);
        }
        let mut header = first;
        for datagram in self.bytes.chunks_mut(self.size) {
            fill_header(datagram, header);
            fill_trailer(datagram);
            header.sequence = header.sequence.wrapping_add(1);
        }
    }

    /// Returns how many messages end in each datagram.
    #[must_use]
    pub(crate) fn message_counts(&self) -> &[u16] {
        &self.messages
    }

    /// Returns all datagrams, one after the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the size of each datagram, except for the last.
    #[must_use]
    pub const fn datagram_size(&self) -> usize {
        self.size
    }

    /// Returns the datagrams, each with the number of its messages.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = (&[u8], u64)> {
        self.bytes.chunks(self.size.max(1)).zip(self.messages.iter().map(|&count| u64::from(count)))
    }
}

saved!(Pack { bytes, size, limit, messages, closed, large_end });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::SessionId;
    use crate::wire::native::{Frame, parse};

    const FIRST: Header = Header { session: SessionId::from_bits(7), sequence: u32::MAX, from_server: true };

    /// A frame of an unknown type with `len` bytes in all.
    fn frame(len: u8) -> Vec<u8> {
        let mut frame = alloc::vec![200; usize::from(len)];
        frame[..4].copy_from_slice(&[200, 0, 0, len - 4]);
        frame
    }

    fn pack(size: usize, frames: usize, len: u8) -> Pack {
        let mut pack = Pack::default();
        pack.begin(size);
        assert!((0..frames).all(|_| pack.push(&frame(len))));
        pack
    }

    #[test]
    fn every_datagram_is_valid_and_only_the_last_is_shorter() {
        // Three frames of 30 bytes fit 100 bytes, plus 16 for the header and 4 for the trailer.
        let mut pack = pack(120, 8, 30);
        pack.seal(FIRST);
        let lens: Vec<_> = pack.datagrams().map(|(datagram, count)| (datagram.len(), count)).collect();
        assert_eq!(lens, [(120, 3), (120, 3), (80, 2)]);
        for (index, (datagram, count)) in (0u32..).zip(pack.datagrams()) {
            let (header, frames) = parse(datagram).expect("in order");
            assert_eq!(header, Header { sequence: FIRST.sequence.wrapping_add(index), ..FIRST });
            assert_eq!(frames.filter(|frame| matches!(frame, Frame::Unknown)).count() as u64, count);
        }
    }

    #[test]
    fn frame_of_the_exact_size_fills_its_datagram() {
        let mut pack = pack(50, 2, 30);
        assert!(Pack::admits(50, 30) && !Pack::admits(50, 31));
        pack.seal(FIRST);
        assert!(pack.datagrams().all(|(datagram, count)| datagram.len() == 50 && count == 1));
        assert!(pack.datagrams().all(|(datagram, _)| parse(datagram).is_ok()));
    }

    #[test]
    fn pack_can_be_sealed_again_for_another_peer() {
        let mut pack = pack(120, 5, 30);
        pack.seal(FIRST);
        let other = Header { session: SessionId::from_bits(8), sequence: 3, from_server: true };
        pack.seal(other);
        let first = pack.datagrams().next().expect("there are two").0;
        assert_eq!(parse(first).expect("in order").0, other);
        assert_eq!((pack.bytes().len(), pack.messages()), (120 + 16 + 60 + 4, 5));
    }

    /// Writes frames of `len` bytes until one cannot be added. Returns why, and how many were added.
    fn fill(pack: &mut Pack, apart: &mut Vec<u8>, len: u8) -> (Packed, u64) {
        loop {
            let place = pack.write(apart, |out| {
                out.extend_from_slice(&frame(len));
                Ok::<(), ()>(())
            });
            match place {
                Ok(Packed::InPack) => {}
                place => return (place.expect("writing works"), pack.messages()),
            }
        }
    }

    #[test]
    fn write_gives_the_same_bytes_as_push() {
        let (mut written, mut apart) = (Pack::default(), Vec::new());
        written.begin(120);
        assert_eq!(fill(&mut written, &mut apart, 30), (Packed::PackFull, 64 * 3));
        assert_eq!(apart, [&[0; HEADER_LEN][..], &frame(30)].concat());
        let mut pushed = pack(120, 64 * 3, 30);
        pushed.seal(FIRST);
        written.seal(FIRST);
        assert_eq!(written.bytes(), pushed.bytes());
    }

    #[test]
    fn frame_that_is_too_large_or_fails_leaves_the_pack_unchanged() {
        let (mut small, mut apart) = (pack(120, 4, 30), Vec::new());
        let before = small.bytes().to_vec();
        assert_eq!(fill(&mut small, &mut apart, 101), (Packed::TooLarge, 4));
        assert_eq!(apart, [&[0; HEADER_LEN][..], &frame(101)].concat());
        let failed = small.write(&mut apart, |out| {
            out.push(1);
            Err("no")
        });
        assert_eq!((failed, small.bytes(), small.messages()), (Err("no"), &before[..], 4));
        let mut empty = Pack::default();
        empty.begin(120);
        assert_eq!(fill(&mut empty, &mut apart, 101), (Packed::TooLarge, 0));
        assert!(empty.is_empty() && empty.bytes().is_empty());
    }

    #[test]
    fn pack_is_full_at_the_datagram_limit_and_at_the_largest_udp_payload() {
        let mut small = pack(50, MAX_DATAGRAMS, 30);
        assert!(!small.push(&frame(30)));
        let mut large = Pack::default();
        large.begin(1452);
        while large.push(&frame(200)) {}
        large.seal(FIRST);
        assert_eq!(large.datagrams().len(), MAX_DATAGRAM / 1452);
        assert!(large.bytes().len() <= MAX_DATAGRAM);
        large.begin(1452);
        assert!(large.is_empty() && large.push(&frame(30)));
    }
}
