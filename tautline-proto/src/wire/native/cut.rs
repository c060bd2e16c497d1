//! Packs messages that are larger than a datagram, in fragments, and cuts packs up for smaller datagrams.

use alloc::vec::Vec;

use super::delivery::DeliveryNumbers;
use super::fragment::{Fragment, filling_fragments, fragment_count, fragments};
use super::frames::Frames;
use super::layout::{FRAME_HEADER_LEN, HEADER_LEN, TRAILER_LEN, frame_type};
use super::pack::Pack;
use super::reader::Reader;
use crate::message::Delivery;

impl Pack {
    /// Adds a message that is larger than a datagram, in fragments: all of them or none.
    ///
    /// `frame` is the whole message's frame, `number` that of the large message. Its fragments fill the datagrams, and the first
    /// one the rest of the datagram in which the message before ends. Returns `false` if the pack has no room.
    #[must_use]
    pub fn push_large(&mut self, frame: &[u8], number: u32) -> bool {
        debug_assert!(!self.closed, "the pack is open");
        let used = if self.large_end > 0 { self.large_end } else { self.bytes.len() };
        let rest = (self.end() - used.min(self.end())).saturating_sub(TRAILER_LEN);
        let Some(parts) = filling_fragments(frame, number, rest, room(self.size)) else { return false };
        if !self.has_room_for(parts.len()) {
            return false;
        }
        self.drop_padding();
        for part in parts {
            self.push_part(&part);
        }
        // A frame that is no fragment begins a new datagram: in this one, its receiver would hand it out before the large message.
        self.large_end = self.bytes.len();
        self.bytes.resize(self.end() - TRAILER_LEN, 0);
        true
    }

    /// Cuts a message that is larger than a datagram into fragments, in as many packs as that takes. Returns `None` if it would
    /// be too many fragments.
    #[must_use]
    pub fn of_large(frame: &[u8], number: u32, limit: usize) -> Option<Vec<Self>> {
        let count = fragment_count(frame.len(), room(limit))?;
        let mut packs: Vec<Self> = Vec::new();
        for part in parts(frame, number, count) {
            if packs.last().is_none_or(|pack| !pack.has_room_for(1)) {
                let mut pack = Self::default();
                pack.begin(limit);
                pack.size = HEADER_LEN + part.frame_len() + TRAILER_LEN;
                packs.push(pack);
            }
            packs.last_mut()?.push_part(&part);
        }
        Some(packs)
    }

    /// Adds a fragment. There is room for a further datagram.
    fn push_part(&mut self, part: &Fragment<'_>) {
        if !self.has_room(part.frame_len()) {
            self.begin_next();
        }
        part.write(&mut self.bytes);
        if part.index + 1 == part.count {
            self.count_one();
        }
    }

    /// Fills the frames of these packs into datagrams of at most `limit` bytes. Messages that are larger than that are cut
    /// into fragments, also those that were cut into larger fragments before: they get the numbers that `number` gives.
    ///
    /// The frames before datagram `from` are left out, because they were sent, except for those of a message whose last
    /// fragments were not.
    #[must_use]
    pub fn cut_up(packs: &[Self], from: usize, limit: usize, mut number: impl FnMut() -> u32) -> Vec<Self> {
        let mut cutter = Cutter { packs: Vec::new(), limit };
        let mut whole = Vec::new();
        for (index, datagram) in packs.iter().flat_map(Self::open_datagrams).enumerate() {
            for frame in frames(datagram) {
                let Some(part) = fragment(frame) else {
                    if index >= from {
                        cutter.add(frame, &mut number);
                    }
                    continue;
                };
                if part.index == 0 {
                    whole.clear();
                    whole.extend_from_slice(&[frame_type::MESSAGE, part.flags, 0, 0]);
                }
                whole.extend_from_slice(part.piece);
                if part.index + 1 == part.count && index >= from {
                    cutter.add(&whole, &mut number);
                }
            }
        }
        cutter.packs
    }

    /// Returns the datagrams without room for trailers.
    pub(crate) fn open_datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let (last, size) = (self.messages.len().saturating_sub(1), self.size.max(1));
        let end = if self.large_end > 0 && !self.closed { self.large_end } else { self.bytes.len() };
        self.bytes[..end].chunks(size).enumerate().map(move |(index, datagram)| {
            let has_trailer = index < last || self.closed;
            &datagram[..datagram.len() - if has_trailer { TRAILER_LEN } else { 0 }]
        })
    }
}

/// Fills frames into packs of smaller datagrams.
struct Cutter {
    packs: Vec<Pack>,
    limit: usize,
}

impl Cutter {
    fn add(&mut self, frame: &[u8], number: &mut impl FnMut() -> u32) {
        if Pack::admits(self.limit, frame.len()) {
            self.push(|pack| pack.push(frame));
            return;
        }
        let number = number();
        if !self.push(|pack| pack.push_large(frame, number)) {
            // Longer than a pack.
            self.packs.pop();
            self.packs.extend(Pack::of_large(frame, number, self.limit).unwrap_or_default());
        }
    }

    /// Adds to the last pack, or to a new one. Returns `false` if it is too much for an empty pack, which stays.
    fn push(&mut self, add: impl Fn(&mut Pack) -> bool) -> bool {
        if self.packs.last_mut().is_some_and(&add) {
            return true;
        }
        let mut pack = Pack::default();
        pack.begin(self.limit);
        let added = add(&mut pack);
        self.packs.push(pack);
        added
    }
}

/// How many bytes of frames a datagram of this size holds.
const fn room(size: usize) -> usize {
    size.saturating_sub(HEADER_LEN + TRAILER_LEN)
}

fn parts(frame: &[u8], number: u32, count: u16) -> impl Iterator<Item = Fragment<'_>> + Clone {
    fragments(frame, Delivery::BestEffort, DeliveryNumbers { number, behind: 0 }, count)
}

/// Returns the frames of a datagram without trailer, each with its header.
fn frames(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram.get(HEADER_LEN..).unwrap_or_default();
    core::iter::from_fn(move || {
        let (before, len) = (rest, Frames::first_len(rest)?);
        rest = &before[len..];
        Some(&before[..len])
    })
}

/// Returns the fragment in this frame, or `None` if it is another frame.
fn fragment(frame: &[u8]) -> Option<Fragment<'_>> {
    let (&[kind, flags, ..], body) = frame.split_first_chunk::<FRAME_HEADER_LEN>()?;
    if kind == frame_type::FRAGMENT { Fragment::read(flags, Reader(body)) } else { None }
}

#[cfg(test)]
mod tests {
    use core::slice;

    use super::*;
    use crate::peer::SessionId;
    use crate::wire::native::{Frame, Header, begin_datagram, parse};

    const HEADER: Header = Header { session: SessionId::from_bits(7), sequence: 9, from_server: true };

    /// A message frame whose body has this many bytes, all `fill`.
    fn message(len: usize, fill: u8) -> Vec<u8> {
        #[allow(clippy::cast_possible_truncation)] // the low bytes are meant
        let mut frame = alloc::vec![frame_type::MESSAGE, 0, (len >> 8) as u8, len as u8];
        frame.resize(FRAME_HEADER_LEN + len, fill & 0x3f);
        frame
    }

    fn packed(limit: usize, lens: &[usize]) -> Pack {
        let mut pack = Pack::default();
        pack.begin(limit);
        for (number, &len) in (0u8..).zip(lens) {
            let frame = message(len, number);
            let fits = Pack::admits(limit, frame.len());
            assert!(if fits { pack.push(&frame) } else { pack.push_large(&frame, number.into()) });
        }
        pack
    }

    /// Seals the packs. Returns the bodies of their messages, put together again, and the lengths of the datagrams.
    fn read(packs: &mut [Pack]) -> (Vec<Vec<u8>>, Vec<usize>) {
        let (mut bodies, mut lens, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        for pack in packs {
            pack.seal(HEADER);
            for (datagram, _) in pack.datagrams() {
                lens.push(datagram.len());
                for frame in parse(datagram).expect("in order").1 {
                    match frame {
                        Frame::Message(frame) => bodies.push(frame.body.to_vec()),
                        Frame::Fragment(part) => {
                            whole.extend_from_slice(part.piece);
                            if part.index + 1 == part.count {
                                bodies.push(core::mem::take(&mut whole));
                            }
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        (bodies, lens)
    }

    fn bodies(lens: &[usize]) -> Vec<Vec<u8>> {
        (0u8..).zip(lens).map(|(fill, &len)| alloc::vec![fill & 0x3f; len]).collect()
    }

    #[test]
    fn fragments_of_messages_in_a_row_fill_their_datagrams() {
        let lens = [1500; 10];
        let mut packs = [packed(1472, &lens)];
        let (read, datagrams) = read(&mut packs);
        assert!(read == bodies(&lens));
        let (last, full) = datagrams.split_last().expect("there are some");
        assert!(full == [1472; 10] && *last < 1472, "{datagrams:?}");
        assert_eq!(packs[0].messages(), 10);
    }

    #[test]
    fn a_small_message_does_not_share_a_datagram_with_a_large_one_before_it() {
        let mut pack = packed(1472, &[64, 1_500, 64, 1_500]);
        assert_eq!(pack.datagrams().map(|(_, messages)| messages).collect::<Vec<_>>(), [1, 1, 1, 1]);
        pack.seal(HEADER);
        let count = |datagram| parse(datagram).expect("in order").1.count();
        // The small message, then the head of the large one; its tail; the same again.
        assert_eq!(pack.datagrams().map(|(datagram, _)| count(datagram)).collect::<Vec<_>>(), [2, 1, 2, 1]);
    }

    #[test]
    fn a_message_goes_into_a_pack_as_a_whole_or_not_at_all() {
        let mut pack = packed(1472, &[16_000; 3]);
        let before = pack.bytes().len();
        assert!(!pack.push_large(&message(16_000, 0), 3), "34 of 44 datagrams are taken");
        assert_eq!((pack.bytes().len(), pack.messages()), (before, 3));
        assert!(pack.push_large(&message(2_600, 0), 3));
    }

    #[test]
    fn a_message_larger_than_a_pack_takes_several() {
        let frame = message(200_000, 5);
        let mut packs = Pack::of_large(&frame, 1, 1472).expect("few fragments");
        let counts: Vec<_> = packs.iter().map(Pack::messages).collect();
        assert_eq!(counts, [0, 0, 0, 1]);
        let (read, datagrams) = read(&mut packs);
        assert!(read == [alloc::vec![5; 200_000]]);
        assert!(datagrams.iter().all(|&len| len <= 1472));
        assert!(Pack::of_large(&message(200_000, 5), 1, 42).is_none());
    }

    #[test]
    fn a_pack_is_cut_up_for_smaller_datagrams() {
        // Small ones, some that no longer fit, and some that were fragments before.
        let lens = [64, 64, 1_440, 700, 2_400, 64, 1_440, 5_000, 64];
        for sealed in [false, true] {
            for limit in [548, 1200, 1372] {
                let mut pack = packed(1472, &lens);
                if sealed {
                    pack.seal(HEADER);
                }
                let mut next = 100;
                let mut packs = Pack::cut_up(&[pack], 0, limit, || {
                    next += 1;
                    next
                });
                assert_eq!(packs.iter().map(Pack::messages).sum::<u64>(), 9);
                let (read, datagrams) = read(&mut packs);
                assert!(read == bodies(&lens));
                assert!(datagrams.iter().all(|&len| len <= limit), "{limit} {datagrams:?}");
            }
        }
    }

    #[test]
    fn what_was_sent_before_is_left_out() {
        let lens = [64, 2_600, 64];
        let pack = packed(1472, &lens);
        // The first datagram holds a small message and a fragment, the second the other fragment and a small message.
        let cut = |from| read(&mut Pack::cut_up(slice::from_ref(&pack), from, 1200, || 7)).0;
        assert!(cut(0) == bodies(&lens));
        assert!(cut(1) == bodies(&lens)[1..], "the message whose second half was not sent is sent again");
    }

    #[test]
    fn frames_without_a_trailer_are_read() {
        let mut datagram = Vec::new();
        begin_datagram(&mut datagram);
        datagram.extend_from_slice(&message(3, 1));
        datagram.extend_from_slice(&[0; 5]);
        assert_eq!(frames(&datagram).collect::<Vec<_>>(), [message(3, 1)]);
    }
}
