//! Fragments: the pieces of a message that is larger than a datagram. docs/protocol.md §4.4.

use alloc::vec::Vec;

use super::decode::stream_of;
use super::delivery::DeliveryNumbers;
use super::layout::{DELIVERY_WINDOW, FRAME_HEADER_LEN, frame_type, numbers_len};
use super::reader::Reader;
use crate::message::{Delivery, StreamId};

/// The length of a fragment's fields before its piece. Ordered messages have two bytes more.
const FRAGMENT_FIXED_LEN: usize = 14;

/// The shortest piece, except for the last of a message. A sender that fills datagrams of 576 bytes never writes shorter pieces,
/// and each piece costs its receiver more memory than its bytes.
const MIN_PIECE: usize = 128;

/// How many bytes a fragment of a best-effort message adds to its piece.
const BEST_EFFORT_OVERHEAD: usize = FRAME_HEADER_LEN + FRAGMENT_FIXED_LEN;

/// How many bytes a fragment adds to its piece at most.
const MAX_FRAGMENT_OVERHEAD: usize = BEST_EFFORT_OVERHEAD + 2;

/// A fragment of a message that is larger than a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// The flags of the whole message's frame.
    pub flags: u8,
    /// How the whole message is sent.
    pub delivery: Delivery,
    /// Its place in the message, from 0.
    pub index: u16,
    /// How many fragments the message has, at least 2.
    pub count: u16,
    /// The length of the whole body.
    pub total: u32,
    /// The number of the first fragment. For a reliable message it is a delivery number, and each fragment has one of its own.
    pub(crate) numbers: DeliveryNumbers,
    /// Its part of the whole body.
    pub piece: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Reads a fragment. Returns `None` if it breaks the rules.
    pub(super) fn read(flags: u8, mut fields: Reader<'a>) -> Option<Self> {
        let [_, class] = fields.array()?;
        let delivery = Delivery::from_wire(class >> 6)?;
        let (index, count, total) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let numbers = match delivery {
            // Best-effort messages have numbers of their own, which are no delivery numbers.
            Delivery::BestEffort => DeliveryNumbers { number: fields.u32()?, behind: 0 },
            _ => DeliveryNumbers::read(&mut fields, delivery)?,
        };
        let fragment = Self { flags, delivery, index, count, total, numbers, piece: fields.0 };
        (count >= 2 && index < count && fragment.has_right_length()).then_some(fragment)
    }

    /// Whether its piece is as long as it may be.
    #[inline]
    fn has_right_length(&self) -> bool {
        (self.delivery == Delivery::BestEffort && self.may_be_uneven()) || self.is_even()
    }

    /// Whether its piece leaves the others their least length. The pieces of a best-effort message may have different lengths;
    /// whether they make the whole is known when all have come.
    #[inline]
    fn may_be_uneven(&self) -> bool {
        let (total, others) = (self.total as usize, usize::from(self.count) - 1);
        let is_last = usize::from(self.index) == others;
        let (least, others) = if is_last { (1, others) } else { (MIN_PIECE, others - 1) };
        (least..=total.saturating_sub(others * MIN_PIECE)).contains(&self.piece.len())
    }

    /// Whether its piece has the length of all pieces but the last, or is the last.
    fn is_even(&self) -> bool {
        let (total, count) = (self.total as usize, usize::from(self.count));
        let is_few = self.delivery == Delivery::BestEffort || u64::from(self.count) <= DELIVERY_WINDOW;
        is_few && total.div_ceil(count) >= MIN_PIECE && self.piece.len() == self.range().len()
    }

    /// Returns the stream of the whole message, which the first fragment shows.
    pub(crate) fn stream(&self) -> Option<StreamId> {
        if self.index == 0 { stream_of(self.piece) } else { None }
    }

    /// Returns the number of the whole message: the delivery number of the first fragment, or for a best-effort message a number
    /// among those in fragments. The low 32 bits.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.numbers.number
    }

    /// Returns the place of its piece in the whole body, if all pieces but the last have the same length.
    fn range(&self) -> core::ops::Range<usize> {
        let (total, count) = (self.total as usize, usize::from(self.count));
        let len = total.div_ceil(count);
        let start = (len * usize::from(self.index)).min(total);
        start..(start + len).min(total)
    }

    /// Returns the length of its frame.
    pub(super) fn frame_len(&self) -> usize {
        FRAME_HEADER_LEN + FRAGMENT_FIXED_LEN - 4 + numbers_len(self.delivery).max(4) + self.piece.len()
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let numbers_len = numbers_len(self.delivery).max(4);
        let body_len = self.frame_len() - FRAME_HEADER_LEN;
        #[allow(clippy::cast_possible_truncation)] // a piece fits a datagram
        out.extend_from_slice(&[frame_type::FRAGMENT, self.flags, (body_len >> 8) as u8, body_len as u8]);
        out.extend_from_slice(&[0, self.delivery.to_wire() << 6]);
        out.extend_from_slice(&self.index.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.total.to_be_bytes());
        let at = out.len();
        out.resize(at + numbers_len, 0);
        self.numbers.write(&mut out[at..]);
        out.extend_from_slice(self.piece);
    }
}

/// Returns how many fragments a message frame makes, if each fragment frame may have `room` bytes. `None` if there would be too
/// many to count.
pub(crate) fn fragment_count(frame_len: usize, room: usize) -> Option<u16> {
    let piece = room.checked_sub(MAX_FRAGMENT_OVERHEAD).filter(|&piece| piece > 0)?;
    let count = (frame_len - FRAME_HEADER_LEN).div_ceil(piece).max(2);
    u16::try_from(count).ok()
}

/// Cuts a message frame into `count` fragments. The frame may be longer than its length field can hold.
pub(crate) fn fragments(
    frame: &[u8],
    delivery: Delivery,
    numbers: DeliveryNumbers,
    count: u16,
) -> impl Iterator<Item = Fragment<'_>> + Clone {
    let (flags, body) = (frame[1], &frame[FRAME_HEADER_LEN..]);
    let total = u32::try_from(body.len()).expect("max_message_size is far below");
    (0..count).map(move |index| {
        let whole = Fragment { flags, delivery, index, count, total, numbers, piece: &[] };
        Fragment { piece: &body[whole.range()], ..whole }
    })
}

/// Cuts the frame of a best-effort message into fragments that fill datagrams: the first one has `rest` bytes of room, the others
/// `room` each. Returns `None` if there would be too many to count.
pub(super) fn filling_fragments(
    frame: &[u8],
    number: u32,
    rest: usize,
    room: usize,
) -> Option<impl ExactSizeIterator<Item = Fragment<'_>>> {
    let (flags, body) = (frame[1], &frame[FRAME_HEADER_LEN..]);
    let len = room.checked_sub(BEST_EFFORT_OVERHEAD).filter(|&len| len >= MIN_PIECE)?;
    // A shorter piece is not worth its fragment.
    let first = rest.checked_sub(BEST_EFFORT_OVERHEAD).filter(|&first| first >= MIN_PIECE).unwrap_or(len);
    let count =
        u16::try_from(1 + body.len().checked_sub(first)?.div_ceil(len)).ok().filter(|&count| count > 1)?;
    let total = u32::try_from(body.len()).ok()?;
    let numbers = DeliveryNumbers { number, behind: 0 };
    let cut = move |index: u16| {
        let begin = usize::from(index).checked_sub(1).map_or(0, |whole| first + whole * len);
        let end = (first + usize::from(index) * len).min(body.len());
        let piece = &body[begin..end];
        Fragment { flags, delivery: Delivery::BestEffort, index, count, total, numbers, piece }
    };
    Some((0..count).map(cut))
}

#[cfg(test)]
mod tests {
    use super::super::{Ack, Frame, Header, begin_datagram, parse, seal, write_ack};
    use super::*;
    use crate::peer::SessionId;

    fn read(frame: &[u8], look: impl FnOnce(Frame<'_>)) {
        let mut datagram = Vec::new();
        begin_datagram(&mut datagram);
        datagram.extend_from_slice(frame);
        seal(&mut datagram, Header { session: SessionId::from_bits(1), sequence: 0, from_server: false });
        look(parse(&datagram).expect("in order").1.next().expect("a frame"));
    }

    #[test]
    fn fragments_make_the_whole_body_again() {
        let frame: Vec<u8> = [1, 3, 0, 0].into_iter().chain((0..=250).cycle().take(701)).collect();
        let count = fragment_count(frame.len(), 200 + MAX_FRAGMENT_OVERHEAD).expect("few");
        assert_eq!(count, 4);
        let numbers = DeliveryNumbers { number: 7, behind: 2 };
        for delivery in [Delivery::BestEffort, Delivery::Reliable, Delivery::Ordered] {
            let mut whole = Vec::new();
            for (index, fragment) in (0..).zip(fragments(&frame, delivery, numbers, count)) {
                let mut bytes = Vec::new();
                fragment.write(&mut bytes);
                read(&bytes, |frame| {
                    let Frame::Fragment(read) = frame else { panic!("{frame:?}") };
                    assert_eq!((read.index, read.count, read.flags), (index, count, 3));
                    assert_eq!((read.delivery, read.numbers.number), (delivery, 7));
                    whole.extend_from_slice(read.piece);
                });
            }
            assert_eq!(whole, frame[4..]);
        }
    }

    #[test]
    fn filling_fragments_make_the_whole_body_again() {
        for (len, rest) in
            [(1_500, 1_452), (1_500, 300), (1_500, 146), (1_500, 145), (1_434, 300), (16_000, 1_000)]
        {
            let frame: Vec<u8> = [1, 3, 0, 0].into_iter().chain((0..=250).cycle().take(len)).collect();
            let mut whole = Vec::new();
            let parts = filling_fragments(&frame, 7, rest, 1_452).expect("few");
            let count = parts.len();
            for (index, fragment) in parts.enumerate() {
                let mut bytes = Vec::new();
                fragment.write(&mut bytes);
                let room = if index == 0 && rest >= 146 { rest } else { 1_452 };
                assert!(bytes.len() == room || index + 1 == count, "{} {room}", bytes.len());
                read(&bytes, |frame| {
                    let Frame::Fragment(read) = frame else { panic!("{frame:?}") };
                    assert_eq!((usize::from(read.index), usize::from(read.count)), (index, count));
                    whole.extend_from_slice(read.piece);
                });
            }
            assert_eq!(whole, frame[4..]);
        }
    }

    #[test]
    fn pieces_that_leave_too_little_to_the_others_are_skipped() {
        let frame = [9; 604];
        let fragment = |index, len| Fragment {
            flags: 0,
            delivery: Delivery::BestEffort,
            index,
            count: 3,
            total: 600,
            numbers: DeliveryNumbers::default(),
            piece: &frame[..len],
        };
        for (index, len, is_right) in [
            (0, 127, false),
            (0, 128, true),
            (1, 472, true),
            (1, 473, false),
            (2, 0, false),
            (2, 1, true),
            (2, 344, true),
            (2, 345, false),
        ] {
            let mut bytes = Vec::new();
            fragment(index, len).write(&mut bytes);
            read(&bytes, |frame| assert_eq!(matches!(frame, Frame::Fragment(_)), is_right, "{index} {len}"));
        }
    }

    #[test]
    fn fragment_of_the_wrong_length_is_skipped() {
        let frame = [9; 604];
        let numbers = DeliveryNumbers::default();
        let fragment = fragments(&frame, Delivery::Reliable, numbers, 4).next().expect("four");
        for wrong in [
            Fragment { piece: &frame[..149], ..fragment },
            Fragment { count: 0, ..fragment },
            Fragment { count: 1, ..fragment },
            Fragment { index: 4, ..fragment },
            Fragment { total: 3, ..fragment },
            Fragment { total: 4 * 127, piece: &frame[..127], ..fragment },
            Fragment { total: 1025 * 150, count: 1025, ..fragment },
        ] {
            let mut bytes = Vec::new();
            wrong.write(&mut bytes);
            read(&bytes, |frame| assert!(matches!(frame, Frame::Unknown), "{frame:?}"));
        }
    }

    #[test]
    fn acknowledgement_is_read_back() {
        let mut bytes = Vec::new();
        write_ack(&mut bytes, 0x1_0000_0005, &[0b101, 0x80]);
        read(&bytes, |frame| match frame {
            Frame::Ack(ack) => assert_eq!(ack, Ack { base: 5, bitmap: &[0b101, 0x80] }),
            other => panic!("{other:?}"),
        });
    }
}
