//! The latches of an interface: which streams are stopped until somebody resets them.
//!
//! A watchdog that latches keeps its state here, in one word (`tautline_proto::silence`). That word is the one place where it
//! is decided what came first: a sign of life, the trip, or the reset. The driver and the watchdogs' thread change it by
//! compare-and-exchange (`watchdog/feed.rs`). A message that waits has an [`Admission`]: the latches that it passed, and
//! when. Whoever takes the message asks again.
//!
//! Why nothing that passed before a trip is taken after the reset: a message gets its generation *before* its latch is found
//! open. A reset counts the generation up, and keeps it with the latch, *before* it opens the latch. So if the taker finds
//! the latch open after a reset, it also finds a generation that is newer than that of the message. All of this is
//! sequentially consistent. `src/tests/shuttle/latches.rs` tries the schedules.

use tautline_proto::silence::{Rule, Word};

use super::{Arc, AtomicU64, Ordering};

/// The most latches of an interface: one bit each.
pub(crate) const MAX_LATCHES: usize = u64::BITS as usize;

/// All latches of an interface.
#[derive(Debug)]
pub(crate) struct Latches {
    /// As many as there can be. Not an array: it would be made on the stack, of which a thread may have little.
    cells: Box<[Cell]>,
    /// How many resets there were.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Cell {
    word: AtomicU64,
    /// The generation of the last reset.
    generation: AtomicU64,
    /// When the last reset was, in nanoseconds of the interface's steady clock. Order: written before the generation.
    reset_at: AtomicU64,
}

/// The latches that a message passed before it began to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admission {
    latches: u64,
    generation: u64,
}

impl Admission {
    /// No latch concerns the message.
    pub(crate) const NONE: Self = Self { latches: 0, generation: 0 };

    /// Adds a latch. The admission began before the message passed it.
    pub(crate) const fn with(self, latch: &Latch) -> Self {
        Self { latches: self.latches | 1 << latch.index, ..self }
    }
}

impl Default for Latches {
    fn default() -> Self {
        let cells = (0..MAX_LATCHES).map(|_| Cell::default()).collect();
        Self { cells, generation: AtomicU64::new(0) }
    }
}

impl Latches {
    /// Begins an admission, before any latch is asked.
    #[inline]
    pub(crate) fn begin(&self) -> Admission {
        Admission { latches: 0, generation: self.generation.load(Ordering::SeqCst) }
    }

    /// Whether a message that waited may still be taken.
    #[inline]
    pub(crate) fn admit(&self, admission: Admission) -> bool {
        admission.latches == 0 || self.admit_all(admission)
    }

    fn admit_all(&self, Admission { mut latches, generation }: Admission) -> bool {
        while latches != 0 {
            let cell = &self.cells[latches.trailing_zeros() as usize];
            // The word first, see above.
            let is_tripped = Word::from_bits(cell.word.load(Ordering::SeqCst)).is_tripped();
            if is_tripped || cell.generation.load(Ordering::SeqCst) > generation {
                return false;
            }
            latches &= latches - 1;
        }
        true
    }
}

/// One latch.
#[derive(Clone, Debug)]
pub(crate) struct Latch {
    latches: Arc<Latches>,
    index: usize,
}

impl Latch {
    /// The latch with this index. Its owner makes sure that nobody else has it.
    pub(crate) const fn new(latches: Arc<Latches>, index: usize) -> Self {
        assert!(index < MAX_LATCHES);
        Self { latches, index }
    }

    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    /// Where its state is.
    #[inline]
    pub(crate) fn word(&self) -> &AtomicU64 {
        &self.latches.cells[self.index].word
    }

    /// When it was reset last; 0 if never.
    #[inline]
    pub(crate) fn reset_at(&self) -> u64 {
        self.latches.cells[self.index].reset_at.load(Ordering::SeqCst)
    }

    /// Opens the latch, if it has tripped. What passed it before is not taken any more. Returns whether it had tripped.
    pub(crate) fn reset(&self, rule: &Rule, now: u64) -> bool {
        let cell = &self.latches.cells[self.index];
        let mut bits = cell.word.load(Ordering::SeqCst);
        while let Some(opened) = Word::from_bits(bits).reset(rule) {
            self.invalidate(now);
            match cell.word.compare_exchange(bits, opened.bits(), Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(other) => bits = other,
            }
        }
        false
    }

    /// Ends the latch: its place can have another owner. What waits behind a trip is not taken any more.
    pub(crate) fn end(&self, now: u64) {
        let bits = self.word().load(Ordering::SeqCst);
        if Word::from_bits(bits).is_tripped() {
            self.invalidate(now);
        }
        self.word().store(Word::WAITING.bits(), Ordering::SeqCst);
    }

    fn invalidate(&self, now: u64) {
        let cell = &self.latches.cells[self.index];
        cell.reset_at.fetch_max(now, Ordering::SeqCst);
        let generation = self.latches.generation.fetch_add(1, Ordering::SeqCst) + 1;
        cell.generation.fetch_max(generation, Ordering::SeqCst);
    }
}
