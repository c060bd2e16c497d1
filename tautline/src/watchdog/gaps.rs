//! The silences that a reader of messages has noticed, on their way to the watchdogs' thread.
//!
//! A ring with one writer, the driver, and one reader, the thread. The writer fills a place and then counts it; the reader
//! reads the count, the place, and then gives the place back. Neither waits. If the ring is full, further silences are
//! merged: the number and the longest are kept.

use tautline_proto::Counter;
use tautline_proto::silence::Gap;

use super::SilenceCause;
use crate::sync::{AtomicU64, Ordering};

/// The most silences that wait to be told one by one.
const MAX_GAPS: usize = 8;

/// A silence that a sign of life has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) gap: Gap,
    pub(crate) cause: SilenceCause,
    /// The sign was refused, because the watchdog latches.
    pub(crate) is_refused: bool,
    /// A sign of life came before the silence.
    pub(crate) had_sign: bool,
    /// The number of silences. If it is more than one, `gap` is the latest with the length of the longest.
    pub(crate) count: u64,
}

/// The ring.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    places: [Place; MAX_GAPS],
    /// How many the driver has written. Order: sequentially consistent, because the driver looks afterwards whether the
    /// thread wants to be woken, and the thread says so before it looks here.
    written: AtomicU64,
    /// How many the thread has read. Order: stored (release) after the place was read, loaded (acquire) before it is filled.
    read: AtomicU64,
    /// Silences that found the ring full.
    merged: Counter,
    merged_told: Counter,
    /// The latest of them, with the length of the longest since one was told. The thread may read it while it changes, and
    /// then reads the values of two silences.
    latest: Place,
}

/// A silence in atomics. Order: relaxed, because the counts of the ring order them.
#[derive(Debug, Default)]
struct Place {
    due: Counter,
    from: Counter,
    until: Counter,
    missed: Counter,
    flags: Counter,
}

impl Place {
    fn store(&self, told: &Told) {
        let Told { gap, cause, is_refused, had_sign, .. } = *told;
        self.due.set(gap.due);
        self.from.set(gap.from);
        self.until.set(gap.until);
        self.missed.set(gap.missed.into());
        self.flags.set(cause as u64 | u64::from(is_refused) << 8 | u64::from(had_sign) << 9);
    }

    fn load(&self, count: u64) -> Told {
        let flags = self.flags.value();
        let missed = u32::try_from(self.missed.value()).unwrap_or(u32::MAX);
        let (due, from, until) = (self.due.value(), self.from.value(), self.until.value());
        Told {
            gap: Gap { due, from, until, missed },
            cause: SilenceCause::from_number(flags & 0xff),
            is_refused: flags >> 8 & 1 == 1,
            had_sign: flags >> 9 & 1 == 1,
            count,
        }
    }
}

impl Gaps {
    /// Adds a silence. Only the driver calls it.
    #[cold]
    pub(super) fn push(&self, told: &Told) {
        let written = self.written.load(Ordering::Relaxed);
        if written - self.read.load(Ordering::Acquire) >= MAX_GAPS as u64 {
            self.merge(told);
            return;
        }
        self.places[place(written)].store(told);
        self.written.store(written + 1, Ordering::SeqCst);
    }

    fn merge(&self, told: &Told) {
        let length = |told: &Told| told.gap.until.saturating_sub(told.gap.from);
        let longest =
            if self.merged.value() == self.merged_told.value() { 0 } else { length(&self.latest.load(1)) };
        let mut told = *told;
        told.gap.from = told.gap.until - length(&told).max(longest).min(told.gap.until);
        self.latest.store(&told);
        self.merged.add(1);
    }

    /// Takes the oldest silence, and at last those that were merged. Only the thread calls it.
    pub(super) fn next(&self) -> Option<Told> {
        let read = self.read.load(Ordering::Relaxed);
        if read < self.written.load(Ordering::SeqCst) {
            let told = self.places[place(read)].load(1);
            self.read.store(read + 1, Ordering::Release);
            return Some(told);
        }
        let merged = self.merged.value();
        let count = merged - self.merged_told.value();
        (count > 0).then(|| {
            self.merged_told.set(merged);
            self.latest.load(count)
        })
    }
}

#[allow(clippy::cast_possible_truncation)] // a remainder
const fn place(number: u64) -> usize {
    (number % MAX_GAPS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(until: u64, length: u64) -> Told {
        let gap = Gap { due: until - 1, from: until - length, until, missed: 3 };
        Told { gap, cause: SilenceCause::Path, is_refused: true, had_sign: true, count: 1 }
    }

    #[test]
    fn silences_come_out_in_order_and_as_they_went_in() {
        let gaps = Gaps::default();
        for round in 1..100 {
            gaps.push(&told(round * 100, 7));
            gaps.push(&Told { is_refused: false, had_sign: false, ..told(round * 100 + 50, 9) });
            assert_eq!(gaps.next(), Some(told(round * 100, 7)));
            let other = Told { is_refused: false, had_sign: false, ..told(round * 100 + 50, 9) };
            assert_eq!(gaps.next(), Some(other));
            assert_eq!(gaps.next(), None);
        }
    }

    #[test]
    fn what_finds_the_ring_full_is_merged_and_counted() {
        let gaps = Gaps::default();
        for number in 1..=MAX_GAPS as u64 {
            gaps.push(&told(number * 100, 10));
        }
        for (until, length) in [(2_000, 20), (3_000, 50), (4_000, 30)] {
            gaps.push(&told(until, length));
        }
        for number in 1..=MAX_GAPS as u64 {
            assert_eq!(gaps.next(), Some(told(number * 100, 10)));
        }
        assert_eq!(gaps.next(), Some(Told { count: 3, ..told(4_000, 50) }));
        assert_eq!(gaps.next(), None);
        gaps.push(&told(5_000, 10));
        assert_eq!(gaps.next(), Some(told(5_000, 10)));
    }
}
