//! The memory of a black box: a ring of segments that one thread writes and any thread may read meanwhile.
//!
//! A recorder writes the inputs of one half of an endpoint into it. Each segment begins with a mark, from which a rerun can start,
//! so that the oldest whole segment is the one that is written over.
//!
//! Nothing here waits or allocates after the beginning. A reader copies a segment and then looks whether it was written over
//! meanwhile. So a driver that hangs is no reason why its ring cannot be read.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use portable_atomic::{AtomicU64, Ordering, fence};

/// The number of segments of a ring.
const SEGMENTS: usize = 16;

/// The words that begin each entry: its kind and its sizes, a time, and a digest.
const HEAD: usize = 3;

/// One part of the ring.
///
/// Invariant: only the writer stores. It sets `period` to 0 before it begins the segment anew, and to the number of the period
/// once the segment is empty; then the words, and last `used`, with release, so that a reader that sees `used` (acquire) sees the
/// words below it. A reader reads `period` before and after. The fences order that with the words (a sequence lock): if
/// `period` is the same and not 0, the words are those of this period.
#[derive(Debug)]
struct Segment {
    period: AtomicU64,
    used: AtomicU64,
    words: Box<[AtomicU64]>,
}

/// The ring. See the module's page.
#[derive(Debug)]
pub struct Ring {
    segments: Box<[Arc<Segment>]>,
    /// Inputs that were not recorded. Written by the writer alone.
    left_out: AtomicU64,
}

/// What a ring holds: its segments in order, and how many inputs it has no room for.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RingContents {
    /// The segments, the oldest first. Each begins with a mark.
    pub segments: Vec<RingSegment>,
    /// How many inputs were not recorded, because there was no room for them.
    pub left_out: u64,
}

/// A segment of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingSegment {
    /// Its number. If the next segment has the next number, nothing is missing between them.
    pub period: u64,
    /// Its entries, eight bytes for each word.
    pub bytes: Vec<u8>,
}

impl RingSegment {
    /// A segment that was read from a file.
    #[must_use]
    pub const fn new(period: u64, bytes: Vec<u8>) -> Self {
        Self { period, bytes }
    }
}

impl Ring {
    /// A ring of about this many bytes. It takes its memory at once.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        Self::with_segments(SEGMENTS, bytes)
    }

    /// As [`new`](Self::new), with this many segments: at least two.
    pub(crate) fn with_segments(count: usize, bytes: usize) -> Arc<Self> {
        let count = count.max(2);
        let words = (bytes / count / 8).max(MIN_SEGMENT);
        let segment = || {
            Arc::new(Segment {
                period: AtomicU64::new(0),
                used: AtomicU64::new(0),
                // Written once, so that the system gives the memory now and not while datagrams come.
                words: (0..words).map(|_| AtomicU64::new(u64::MAX)).collect(),
            })
        };
        let segments = (0..count).map(|_| segment()).collect();
        Arc::new(Self { segments, left_out: AtomicU64::new(0) })
    }

    /// Copies what the ring holds. It may be written meanwhile. Segments that are written over meanwhile are left out.
    #[must_use]
    pub fn contents(&self) -> RingContents {
        let segments = self.segments.iter().map(|segment| &**segment);
        let copy = |segment| Segment::copy(segment).map(|copied| (segment, copied));
        let mut copies: Vec<(&Segment, RingSegment)> = segments.filter_map(copy).collect();
        copies.sort_by_key(|(_, copied)| copied.period);
        let last = copies.len().saturating_sub(1);
        let copies = copies.into_iter().enumerate().filter_map(|(index, (segment, copied))| {
            // One that is not the last was perhaps copied before it was full.
            if index == last {
                Some(copied)
            } else {
                segment.copy().filter(|again| again.period == copied.period)
            }
        });
        let segments = copies.collect();
        RingContents { segments, left_out: self.left_out.load(Ordering::Relaxed) }
    }

    /// Returns how many bytes of memory it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.segments.iter().map(|segment| segment.words.len() * 8).sum()
    }
}

/// A mark of an endpoint without peers and one small datagram need less.
const MIN_SEGMENT: usize = 512;

impl Segment {
    fn copy(&self) -> Option<RingSegment> {
        let period = self.period.load(Ordering::Acquire);
        let used = usize::try_from(self.used.load(Ordering::Acquire)).ok()?;
        let words = self.words.get(..used)?;
        let mut bytes = Vec::with_capacity(used * 8);
        words.iter().for_each(|word| bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes()));
        fence(Ordering::Acquire);
        let is_whole = period != 0 && used > 0 && self.period.load(Ordering::Relaxed) == period;
        is_whole.then_some(RingSegment { period, bytes })
    }
}

/// Writes a ring. There is one for each ring.
#[derive(Debug)]
pub(crate) struct RingWriter {
    ring: Arc<Ring>,
    /// The segment that is written, and its place in the ring.
    segment: Arc<Segment>,
    place: usize,
    period: u64,
    /// How many words of the segment are written. All of them, if nothing may follow.
    used: usize,
    /// How many words a segment has.
    len: usize,
    /// From here on, only the reserve is left.
    limit: usize,
}

/// What an entry begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) time: u64,
    pub(crate) digest: u64,
}

/// Where the flags and the number of an entry lie in its first word.
const FLAGS_AT: u32 = 16;
const NUMBER_AT: u32 = 24;

impl RingWriter {
    /// A writer for this ring that keeps so many bytes of each segment in reserve: see [`has_room`](Self::has_room).
    pub(crate) fn new(ring: Arc<Ring>, reserve: usize) -> Self {
        let segment = Arc::clone(&ring.segments[0]);
        let len = segment.words.len();
        let limit = len.saturating_sub(HEAD + 1 + reserve.div_ceil(8));
        Self { ring, segment, place: 0, period: 0, used: len, len, limit }
    }

    /// Returns the most bytes that a mark may have: three quarters of a segment.
    pub(crate) const fn room_for_mark(&self) -> usize {
        self.len * 8 / 4 * 3
    }

    /// Returns whether an entry with so many bytes finds room, and the reserve behind it. Before the first segment nothing does.
    #[inline]
    pub(crate) const fn has_room(&self, bytes: usize) -> bool {
        self.used + bytes / 8 < self.limit
    }

    /// Begins the next segment, over the oldest one.
    pub(crate) fn begin_segment(&mut self) {
        self.period += 1;
        self.place = (self.place + 1) % self.ring.segments.len();
        self.segment = Arc::clone(&self.ring.segments[self.place]);
        self.used = 0;
        let segment = &*self.segment;
        segment.period.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        segment.used.store(0, Ordering::Relaxed);
        segment.period.store(self.period, Ordering::Release);
    }

    /// Returns where the latest entry ends, and the next one begins.
    #[inline]
    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// Writes an entry, or counts it as left out.
    #[inline(always)] // into those that every datagram calls, and into one that all others call
    pub(crate) fn push<const EXTRA: usize>(&mut self, head: Head, extra: [u64; EXTRA], bytes: &[u8]) {
        let segment = &*self.segment;
        let len = HEAD + EXTRA + words_of(bytes.len());
        let parts = segment.words.get(self.used..self.used + len).and_then(|words| {
            let (heads, words) = words.split_first_chunk::<HEAD>()?;
            let (extras, words) = words.split_first_chunk::<EXTRA>()?;
            let (last, words) = words.split_last()?;
            Some((heads, extras, words, last))
        });
        let Some((heads, extras, words, last)) = parts else { return self.leave_out() };
        let sizes = (bytes.len() as u64) << 32 | (EXTRA as u64) << 8;
        let first = sizes | u64::from(head.flags) << FLAGS_AT | u64::from(head.kind);
        store(heads, [first, head.time, head.digest]);
        store(extras, extra);
        store_bytes(words, last, bytes);
        self.used += len;
        segment.used.store(self.used as u64, Ordering::Release);
    }

    /// Adds a flag and a number to the entry that begins here. A reader may see the entry without them.
    #[inline]
    pub(crate) fn amend(&mut self, at: usize, flag: u8, number: u8) {
        if let Some(word) = self.segment.words.get(at) {
            let added = u64::from(flag) << FLAGS_AT | u64::from(number) << NUMBER_AT;
            word.store(word.load(Ordering::Relaxed) | added, Ordering::Relaxed);
        }
    }

    /// Counts an input that is not recorded. What follows in the segment would be of no use without it, so the segment ends here.
    #[cold]
    pub(crate) fn leave_out(&mut self) {
        self.used = self.len;
        // So the next segment does not have the next number.
        self.period += 1;
        let before = self.ring.left_out.load(Ordering::Relaxed);
        self.ring.left_out.store(before + 1, Ordering::Relaxed);
    }
}

#[inline(always)] // as `push`
fn store<const COUNT: usize>(to: &[AtomicU64; COUNT], words: [u64; COUNT]) {
    for (to, word) in to.iter().zip(words) {
        to.store(word, Ordering::Relaxed);
    }
}

/// How many words so many bytes take: the whole ones, and one more that is filled up with zeros. So there is always a last word,
/// and writing it needs no branch.
#[inline]
const fn words_of(bytes: usize) -> usize {
    bytes / 8 + 1
}

/// Stores bytes as [words](words_of). It stores most of them eight words at a time, which takes half as many instructions as a loop
/// over words. Some words may be stored twice.
#[inline(always)] // as `push`
fn store_bytes(to: &[AtomicU64], last: &AtomicU64, bytes: &[u8]) {
    let (words, part) = bytes.as_chunks::<8>();
    if bytes.len() < 8 * BLOCK {
        return store_few_bytes(to, last, bytes);
    }
    let (to_blocks, (blocks, rest)) = (to.as_chunks::<BLOCK>().0, words.as_chunks::<BLOCK>());
    for (to, words) in to_blocks.iter().zip(blocks) {
        store_words(to, words);
    }
    if rest.len() > HALF {
        store_end::<BLOCK>(to, words);
    } else if !rest.is_empty() {
        store_end::<HALF>(to, words);
    }
    if let Some(end) = bytes.last_chunk::<8>() {
        // Two shifts, because one by all 64 bits would overflow.
        let word = u64::from_le_bytes(*end) >> (56 - 8 * part.len()) >> 8;
        last.store(word, Ordering::Relaxed);
    }
}

/// Stores the last words.
#[inline(always)] // as `push`
fn store_end<const COUNT: usize>(to: &[AtomicU64], words: &[[u8; 8]]) {
    if let (Some(to), Some(words)) = (to.last_chunk::<COUNT>(), words.last_chunk::<COUNT>()) {
        store_words(to, words);
    }
}

/// How many words are stored at a time.
const BLOCK: usize = 8;
const HALF: usize = BLOCK / 2;

/// As [`store_bytes`], for less than a block.
#[inline(never)] // most datagrams are longer
fn store_few_bytes(to: &[AtomicU64], last: &AtomicU64, bytes: &[u8]) {
    let (words, part) = bytes.as_chunks::<8>();
    store_words(to, words);
    last.store(part.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)), Ordering::Relaxed);
}

#[inline(always)] // as `push`
fn store_words(to: &[AtomicU64], words: &[[u8; 8]]) {
    for (to, word) in to.iter().zip(words) {
        to.store(u64::from_le_bytes(*word), Ordering::Relaxed);
    }
}

/// An entry of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) number: u8,
    pub(crate) time: u64,
    pub(crate) digest: u64,
    extra: &'a [[u8; 8]],
    pub(crate) bytes: &'a [u8],
}

impl Entry<'_> {
    /// Returns a further word.
    pub(crate) fn word(&self, index: usize) -> Option<u64> {
        self.extra.get(index).map(|word| u64::from_le_bytes(*word))
    }
}

/// Returns the entries of a segment. What is cut off is left out.
pub(crate) fn entries(segment: &RingSegment) -> impl Iterator<Item = Entry<'_>> + Clone {
    let mut words = segment.bytes.as_chunks::<8>().0;
    core::iter::from_fn(move || {
        let (head, rest) = words.split_first_chunk::<HEAD>()?;
        let [sizes, time, digest] = head.map(u64::from_le_bytes);
        let (extra, rest) = rest.split_at_checked(usize::try_from(sizes >> 8 & 0xff).ok()?)?;
        let len = usize::try_from(sizes >> 32).ok()?;
        let (bytes, rest) = rest.split_at_checked(words_of(len))?;
        words = rest;
        let [kind, _, flags, number, ..] = sizes.to_le_bytes();
        Some(Entry { kind, flags, number, time, digest, extra, bytes: &bytes.as_flattened()[..len] })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_every_length_are_read_as_they_were_written() {
        let ring = Ring::with_segments(2, 1 << 20);
        let mut writer = RingWriter::new(Arc::clone(&ring), 0);
        writer.begin_segment();
        let bytes: Vec<u8> = (0..=250).collect();
        for len in 0..bytes.len() {
            let head = Head { kind: 16, flags: 1, time: len as u64, digest: 7 };
            writer.push(head, [1, u64::MAX], &bytes[..len]);
        }
        let contents = ring.contents();
        let mut count = 0;
        for (entry, len) in entries(&contents.segments[0]).zip(0..) {
            assert_eq!((entry.kind, entry.flags, entry.time, entry.digest), (16, 1, len as u64, 7));
            assert_eq!((entry.word(0), entry.word(1), entry.word(2)), (Some(1), Some(u64::MAX), None));
            assert_eq!(entry.bytes, &bytes[..len]);
            count += 1;
        }
        assert_eq!((count, contents.left_out), (bytes.len(), 0));
    }

    #[test]
    fn an_entry_is_amended_where_it_begins() {
        let ring = Ring::with_segments(2, 1 << 20);
        let mut writer = RingWriter::new(Arc::clone(&ring), 0);
        writer.begin_segment();
        let head = |kind| Head { kind, flags: 1, time: 1, digest: 2 };
        writer.push(head(16), [], b"first");
        let second = writer.used();
        writer.push(head(17), [], b"second");
        writer.amend(second, 2, 200);
        let contents = ring.contents();
        let read =
            entries(&contents.segments[0]).map(|entry| (entry.kind, entry.flags, entry.number, entry.bytes));
        let expected: [(_, _, _, &[u8]); 2] = [(16, 1, 0, b"first"), (17, 3, 200, b"second")];
        assert!(read.eq(expected));
    }

    #[test]
    fn an_entry_without_room_ends_its_segment_and_is_counted() {
        let ring = Ring::with_segments(2, 0);
        let mut writer = RingWriter::new(Arc::clone(&ring), 0);
        let head = Head { kind: 16, flags: 0, time: 1, digest: 2 };
        writer.begin_segment();
        writer.push(head, [], &[7; 8 * (MIN_SEGMENT - HEAD) - 1]);
        assert!(!writer.has_room(0));
        writer.push(head, [], &[]);
        let contents = ring.contents();
        assert_eq!((entries(&contents.segments[0]).count(), contents.left_out), (1, 1));
    }
}
