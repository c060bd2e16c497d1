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
    segments: Box<[Segment]>,
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
    #[must_use]
    pub fn with_segments(count: usize, bytes: usize) -> Arc<Self> {
        let count = count.max(2);
        let words = (bytes / count / 8).max(MIN_SEGMENT);
        let segment = || Segment {
            period: AtomicU64::new(0),
            used: AtomicU64::new(0),
            // Written once, so that the system gives the memory now and not while datagrams come.
            words: (0..words).map(|_| AtomicU64::new(u64::MAX)).collect(),
        };
        let segments = (0..count).map(|_| segment()).collect();
        Arc::new(Self { segments, left_out: AtomicU64::new(0) })
    }

    /// Copies what the ring holds. It may be written meanwhile. Segments that are written over meanwhile are left out.
    #[must_use]
    pub fn contents(&self) -> RingContents {
        let copy = |segment| Segment::copy(segment).map(|copied| (segment, copied));
        let mut copies: Vec<(&Segment, RingSegment)> = self.segments.iter().filter_map(copy).collect();
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
    segment: usize,
    period: u64,
    used: usize,
}

impl RingWriter {
    pub(crate) const fn new(ring: Arc<Ring>) -> Self {
        Self { ring, segment: 0, period: 0, used: usize::MAX }
    }

    /// Returns the most bytes that a mark may have: three quarters of a segment.
    pub(crate) fn room_for_mark(&self) -> usize {
        self.ring.segments[0].words.len() * 8 / 4 * 3
    }

    /// Returns whether an entry with so many bytes finds room. Before the first segment nothing does.
    #[inline]
    pub(crate) fn has_room(&self, extra: usize, bytes: usize) -> bool {
        let len = self.ring.segments[self.segment].words.len();
        len.saturating_sub(HEAD + extra + bytes.div_ceil(8)) >= self.used
    }

    /// Begins the next segment, over the oldest one.
    pub(crate) fn begin_segment(&mut self) {
        self.period += 1;
        self.segment = (self.segment + 1) % self.ring.segments.len();
        self.used = 0;
        let segment = &self.ring.segments[self.segment];
        segment.period.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        segment.used.store(0, Ordering::Relaxed);
        segment.period.store(self.period, Ordering::Release);
    }

    /// Writes an entry, or counts it as left out: its kind, a time, a digest, further words, and bytes.
    #[inline]
    pub(crate) fn push(&mut self, kind: u8, [time, digest]: [u64; 2], extra: &[u64], bytes: &[u8]) {
        if !self.has_room(extra.len(), bytes.len()) {
            return self.leave_out();
        }
        let segment = &self.ring.segments[self.segment];
        let len = HEAD + extra.len() + bytes.len().div_ceil(8);
        let (heads, words) = segment.words[self.used..self.used + len].split_at(HEAD);
        let (extras, words) = words.split_at(extra.len());
        let store = |(to, word): (&AtomicU64, &u64)| to.store(*word, Ordering::Relaxed);
        let sizes = (bytes.len() as u64) << 32 | (extra.len() as u64) << 8;
        heads.iter().zip(&[sizes | u64::from(kind), time, digest]).for_each(store);
        extras.iter().zip(extra).for_each(store);
        let (whole, rest) = bytes.as_chunks::<8>();
        for (to, word) in words.iter().zip(whole) {
            to.store(u64::from_le_bytes(*word), Ordering::Relaxed);
        }
        if let Some(last) = words.get(whole.len()) {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            last.store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        self.used += len;
        segment.used.store(self.used as u64, Ordering::Release);
    }

    /// Counts an input that is not recorded. What follows in the segment would be of no use without it, so the segment ends here.
    #[cold]
    pub(crate) fn leave_out(&mut self) {
        self.used = usize::MAX;
        // So the next segment does not have the next number.
        self.period += 1;
        let before = self.ring.left_out.load(Ordering::Relaxed);
        self.ring.left_out.store(before + 1, Ordering::Relaxed);
    }
}

/// An entry of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: u8,
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
        let (bytes, rest) = rest.split_at_checked(len.div_ceil(8))?;
        words = rest;
        let kind = sizes.to_le_bytes()[0];
        Some(Entry { kind, time, digest, extra, bytes: &bytes.as_flattened()[..len] })
    })
}
