//! The feed of a watchdog: where it is decided, once for each silence, that it was too long.
//!
//! The rule is `tautline_proto::silence`. Its word is one atomic. The driver moves it on for each sign of life, the
//! watchdogs' thread trips it, a user resets it: each by compare-and-exchange. So all of them see one order of signs, trips
//! and resets. A sign that comes when it is overdue trips the watchdog itself, however late the thread is, and the driver
//! then writes the silence into a [ring](super::gaps) for the thread. After the exchange that trips a latch, no sign passes.
//!
//! The driver never waits. The thread sleeps until the due time that it read, and reads again. The thread cannot know how
//! long to sleep if nothing has come yet, or if the watchdog has tripped. Only then does it ask to be woken: it sets
//! `wanted` *before* it looks at the word and the ring, and the driver changes both *before* it looks at `wanted` (all
//! sequentially consistent). So either the thread sees what came and does not sleep, or the driver sees the request and
//! wakes it. Before that, the driver tells it to look at all feeds, and not only at those that are due.
//! `src/tests/shuttle/watchdog.rs` tries the schedules.

use tautline_proto::Counter;
use tautline_proto::silence::{Misses, Rule, Signs, State, Verdict, Word};

use super::gaps::{Gaps, Told};
use super::notice::{Noticed, Sighting};
use crate::sync::latches::Latch;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering, thread::Thread};

/// The traffic of one watchdog. Times are nanoseconds of the interface's steady clock, never 0.
#[derive(Debug)]
pub(crate) struct Feed {
    rule: Rule,
    /// The word of the rule, if it does not latch. A latch has a word of its own.
    word: AtomicU64,
    latch: Option<Latch>,
    signs: SharedSigns,
    noticed: Noticed,
    gaps: Gaps,
    wanted: AtomicBool,
    alarm: Alarm,
}

/// What the driver keeps of the signs. One writer, the driver, except `began`. Order: relaxed; written before the word that
/// belongs to it, so a reader of that word sees them, or later ones.
#[derive(Debug, Default)]
struct SharedSigns {
    last: Counter,
    period_ended: Counter,
    misses: Counter,
    missed: Counter,
    trip: Counter,
    silent_since: Counter,
    /// When it was armed without traffic; 0 if it was not. Any thread that connects writes it, before the word.
    began: AtomicU64,
}

impl SharedSigns {
    #[inline]
    fn load(&self) -> Signs {
        Signs {
            last: self.last.value(),
            began: self.began.load(Ordering::Relaxed),
            period_ended: self.period_ended.value(),
            misses: Misses(self.misses.value()),
            missed: self.missed.value(),
            trip: (self.trip.value(), self.silent_since.value()),
        }
    }

    /// Stores what a sign in time changes.
    #[inline]
    fn store(&self, signs: &Signs) {
        self.last.set(signs.last);
        self.period_ended.set(signs.period_ended);
        self.misses.set(signs.misses.0);
        self.missed.set(signs.missed);
        self.trip.set(signs.trip.0);
        self.silent_since.set(signs.trip.1);
    }
}

/// Wakes the thread.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    pub(crate) thread: Thread,
    /// Tells the thread to look at all feeds. Order: set (release) before the thread is woken, taken (acquire) by it then.
    pub(crate) look_at_all: Arc<AtomicBool>,
}

impl Alarm {
    pub(crate) fn ring(&self) {
        self.look_at_all.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Feed {
    /// A feed whose thread this alarm wakes. `latch`: where it latches, if it does.
    pub(crate) fn new(rule: Rule, latch: Option<Latch>, alarm: Alarm) -> Self {
        debug_assert_eq!(rule.latches, latch.is_some());
        Self {
            rule,
            word: AtomicU64::new(Word::WAITING.bits()),
            latch,
            signs: SharedSigns::default(),
            noticed: Noticed::default(),
            gaps: Gaps::default(),
            wanted: AtomicBool::new(false),
            alarm,
        }
    }

    #[inline]
    fn place(&self) -> &AtomicU64 {
        self.latch.as_ref().map_or(&self.word, Latch::word)
    }

    /// The word now.
    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word::from_bits(self.place().load(Ordering::SeqCst))
    }

    fn exchange(&self, from: Word, to: Word) -> Result<(), Word> {
        let done = self.place().compare_exchange(from.bits(), to.bits(), Ordering::SeqCst, Ordering::SeqCst);
        done.map(drop).map_err(Word::from_bits)
    }

    /// Records something that may be a sign of life, before it is known whether it is one. Only the driver calls it.
    #[inline]
    pub(crate) fn notice(&self, sighting: &Sighting) {
        self.noticed.notice(sighting);
    }

    /// Whether it latches, and refuses a sign of life as things are.
    #[inline]
    pub(crate) fn is_closed(&self, now: u64, made: u64) -> bool {
        let Some(latch) = &self.latch else { return false };
        let word = self.word();
        word.is_tripped() || word.look(now).is_some() || made < latch.reset_at()
    }

    /// Records a sign of life that is acted on at `now` and was made at `made` at the earliest. Returns whether it passes: not if the
    /// watchdog latches and has tripped, or was reset after the sign was made. Only the driver calls it. It neither locks nor
    /// allocates, and makes a system call only if the thread asked to be woken.
    #[inline]
    pub(crate) fn sign(&self, now: u64, made: u64) -> bool {
        if self.latch.as_ref().is_some_and(|latch| made < latch.reset_at()) {
            return false;
        }
        let before = self.signs.load();
        let mut word = self.word();
        let mut told = false;
        loop {
            let step = before.sign(&self.rule, word, now);
            if let Verdict::Ends(gap) = step.verdict
                && !told
            {
                // Before the word: a thread that sees it armed again must find the silence. If the exchange fails, the thread
                // has tripped it, which is the same silence.
                self.gaps.push(&self.told(gap, false, &before));
                told = true;
            }
            self.signs.store(&step.signs);
            // A sign that is refused changes nothing. So does one of too few.
            if step.word != word
                && let Err(other) = self.exchange(word, step.word)
            {
                word = other;
                continue;
            }
            return self.finish(step.verdict, step.word, &before);
        }
    }

    #[inline]
    fn finish(&self, verdict: Verdict, word: Word, before: &Signs) -> bool {
        if let Verdict::Refused(gap) = verdict {
            if let Some(gap) = gap {
                self.gaps.push(&self.told(gap, true, before));
                self.wake_if_wanted();
            }
            return false;
        }
        self.noticed.passed();
        // If too many periods were missed, the thread has nothing to do.
        if !word.is_tripped() {
            self.wake_if_wanted();
        }
        true
    }

    #[cold]
    fn told(&self, gap: tautline_proto::silence::Gap, is_refused: bool, before: &Signs) -> Told {
        let cause = self.noticed.cause(gap.due.saturating_sub(gap.from), gap.until);
        Told { gap, cause, is_refused, had_sign: before.last > before.began, count: 1 }
    }

    #[inline]
    fn wake_if_wanted(&self) {
        if self.wanted.load(Ordering::SeqCst) && self.wanted.swap(false, Ordering::SeqCst) {
            self.alarm.ring();
        }
    }

    /// Arms the watchdog, unless it is armed. Any thread may call it.
    pub(crate) fn arm(&self, now: u64) {
        let word = self.word();
        let Some(armed) = word.arm(&self.rule, now) else { return };
        self.signs.began.store(now, Ordering::Relaxed);
        // If another thread or the driver arms it meanwhile, that is as good.
        if self.exchange(word, armed).is_ok() {
            self.wake_if_wanted();
        }
    }

    /// Resets the latch, if it has tripped. Returns whether it had. Any thread may call it.
    pub(crate) fn reset(&self, now: u64) -> bool {
        let was_tripped = self.latch.as_ref().is_some_and(|latch| latch.reset(&self.rule, now));
        if was_tripped {
            self.alarm.ring();
        }
        was_tripped
    }

    pub(crate) const fn latch(&self) -> Option<&Latch> {
        self.latch.as_ref()
    }

    /// When it tripped, if it latches and has.
    pub(crate) fn latched_at(&self) -> Option<u64> {
        match self.word().state() {
            State::Tripped { due } if self.rule.latches => Some(due),
            _ => None,
        }
    }

    /// Trips it, if its word is still this one. Only the thread calls it.
    pub(crate) fn trip(&self, word: Word) -> bool {
        word.trip().is_some_and(|tripped| self.exchange(word, tripped).is_ok())
    }

    /// Asks to be woken by the next change. Only the thread calls it, before it looks.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Takes the oldest silence that was not told yet. Only the thread calls it.
    pub(crate) fn next_gap(&self) -> Option<Told> {
        self.gaps.next()
    }

    /// The last sign of life before it was due at `due`; `None` if there was none since it was armed.
    pub(crate) fn last_before(&self, due: u64) -> Option<u64> {
        let signs = self.signs.load();
        // The driver may be about to exchange the word for a sign that it has stored already.
        (signs.last > signs.began).then(|| signs.last.min(self.last_of(due)))
    }

    /// How many of the counted periods are missed at `now`, if it is due at `due`.
    pub(crate) fn misses(&self, due: u64, now: u64) -> u32 {
        let signs = self.signs.load();
        signs.misses_at(&self.rule, signs.since().min(self.last_of(due)), now)
    }

    fn last_of(&self, due: u64) -> u64 {
        due.saturating_sub(self.rule.reach(Misses(self.signs.misses.value())))
    }

    /// The number of periods that were missed so far.
    pub(crate) fn missed(&self, now: u64) -> u64 {
        let signs = self.signs.load();
        let silent = match self.word().state() {
            State::Waiting => 0,
            State::Armed { due } => now.saturating_sub(signs.since().min(self.last_of(due))),
            State::Tripped { .. } => now.saturating_sub(signs.since()),
        };
        signs.missed + silent / self.rule.periods.length_ns
    }
}
