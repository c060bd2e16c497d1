//! When a silence is too long: the rule of watchdogs, as a state machine. Time goes in, a verdict comes out.
//!
//! A watchdog waits until a first sign of life arms it. It trips when no further sign came in time. The next sign then ends
//! the silence, and everything goes on. With a latch it does not: every sign is refused until a reset, which makes the
//! watchdog wait for a first sign again.
//!
//! The [`State`] fits into one [`Word`], so that the library can decide with one compare-and-exchange which came first: the
//! sign, the trip or the reset. What only the reader of messages changes is kept apart, in [`Signs`]. [`Silence`] is both
//! together, for owners with one thread.

mod periods;

pub use periods::{MAX_PERIODS, Misses, Periods};

/// What a watchdog tolerates. Times are nanoseconds of a steady clock, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The periods within which signs must come.
    pub periods: Periods,
    /// Whether signs are refused after a trip, until a reset.
    pub latches: bool,
}

impl Rule {
    /// The time from a sign until the next is overdue; 0 if too many periods were missed.
    #[must_use]
    #[inline]
    pub fn reach(&self, misses: Misses) -> u64 {
        self.periods.length_ns.saturating_mul(self.periods.until_failure(misses))
    }
}

/// The state of a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No sign of life has armed it yet, or it was reset.
    Waiting,
    /// The next sign of life is overdue at this time.
    Armed {
        /// The time.
        due: u64,
    },
    /// No sign came until this time. Two trips never have the same.
    Tripped {
        /// The time.
        due: u64,
    },
}

/// A [`State`] in 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word(u64);

impl Word {
    /// The word of [`State::Waiting`].
    pub const WAITING: Self = Self(0);

    const TRIPPED: u64 = 1;

    /// The word with these bits.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The state.
    #[must_use]
    #[inline]
    pub const fn state(self) -> State {
        match (self.0 >> 1, self.0 & Self::TRIPPED) {
            (0, _) => State::Waiting,
            (due, 0) => State::Armed { due },
            (due, _) => State::Tripped { due },
        }
    }

    /// Whether it is tripped.
    #[must_use]
    #[inline]
    pub const fn is_tripped(self) -> bool {
        self.0 & Self::TRIPPED != 0
    }

    #[inline]
    const fn armed(due: u64) -> Self {
        Self(due << 1)
    }

    /// The word after a look at `now`: tripped, if it was armed and is due.
    #[must_use]
    pub const fn look(self, now: u64) -> Option<Self> {
        match self.state() {
            State::Armed { due } if due <= now => self.trip(),
            _ => None,
        }
    }

    /// The word after a trip before its time: nobody will look any more.
    #[must_use]
    pub const fn trip(self) -> Option<Self> {
        match self.state() {
            State::Armed { .. } => Some(Self(self.0 | Self::TRIPPED)),
            _ => None,
        }
    }

    /// The word after it is armed without a sign.
    #[must_use]
    pub fn arm(self, rule: &Rule, now: u64) -> Option<Self> {
        match self.state() {
            State::Waiting => Some(Self::armed(now.saturating_add(rule.reach(Misses::NONE)))),
            _ => None,
        }
    }

    /// The word after a reset. Only a latch that has tripped can be reset.
    #[must_use]
    pub const fn reset(self, rule: &Rule) -> Option<Self> {
        match self.state() {
            State::Tripped { .. } if rule.latches => Some(Self::WAITING),
            _ => None,
        }
    }
}

/// What the reader of messages keeps of the signs. Only it changes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// The last sign that was not refused; 0 if there was none.
    pub last: u64,
    /// When it was armed without a sign; 0 if it was not.
    pub began: u64,
    /// When the latest period ended.
    pub period_ended: u64,
    /// The latest periods.
    pub misses: Misses,
    /// All periods that were missed so far.
    pub missed: u64,
    /// The trip that the reader knows of, by its due time, and when the silence before it began.
    pub trip: (u64, u64),
}

impl Signs {
    /// The time that counts as the last sign.
    #[must_use]
    #[inline]
    pub const fn since(&self) -> u64 {
        if self.last > self.began { self.last } else { self.began }
    }

    /// How many of the counted periods are missed at `now`, if the last sign was at `since`.
    #[must_use]
    pub const fn misses_at(&self, rule: &Rule, since: u64, now: u64) -> u32 {
        let silent = now.saturating_sub(since) / rule.periods.length_ns;
        rule.periods.misses(self.misses.missed(silent))
    }

    /// Counts the periods from the last sign to this one.
    #[inline]
    fn count(&mut self, rule: &Rule, now: u64) {
        let length = rule.periods.length_ns;
        let silent = now.saturating_sub(self.since());
        if silent >= length || now.saturating_sub(self.period_ended) >= length / 2 {
            let missed = silent / length;
            self.misses = self.misses.missed(missed).met();
            self.missed += missed;
            self.period_ended = now;
        }
        self.last = now;
    }

    /// The first sign, or the first after a reset.
    const fn restart(&mut self, now: u64) {
        self.misses = Misses::NONE;
        self.period_ended = now;
        self.last = now;
    }
}

/// A silence that was too long and that a sign has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the sign was overdue. Tells this silence from all others.
    pub due: u64,
    /// The last sign before, or when it was armed without one.
    pub from: u64,
    /// The sign that ended the silence.
    pub until: u64,
    /// How many of the counted periods were missed.
    pub missed: u32,
}

/// What becomes of a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes: it came in time, or the watchdog is tripped for its many misses and still is.
    Passes,
    /// It passes and arms the watchdog.
    Arms,
    /// It passes and ends a silence.
    Ends(Gap),
    /// It is refused: the latch has tripped. The first sign that is refused says how long the silence was.
    Refused(Option<Gap>),
}

/// What a sign of life makes of word and signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The word, if the reader's exchange succeeds.
    pub word: Word,
    /// The signs then.
    pub signs: Signs,
    /// What becomes of the sign.
    pub verdict: Verdict,
}

impl Signs {
    /// A sign of life at `now`, while the state is `word`.
    #[must_use]
    #[inline]
    pub fn sign(mut self, rule: &Rule, word: Word, now: u64) -> Step {
        match word.state() {
            State::Armed { due } if now < due => {
                let is_first = self.last == 0;
                self.count(rule, now);
                // In time, so the reach is not 0.
                let word = Word::armed(now.saturating_add(rule.reach(self.misses)));
                let verdict = if is_first { Verdict::Arms } else { Verdict::Passes };
                Step { word, signs: self, verdict }
            }
            State::Waiting => {
                self.restart(now);
                let word = Word::armed(now.saturating_add(rule.reach(Misses::NONE)));
                Step { word, signs: self, verdict: Verdict::Arms }
            }
            State::Armed { due } | State::Tripped { due } => self.late(rule, due, now),
        }
    }

    /// A sign that comes when it is overdue.
    #[cold]
    fn late(mut self, rule: &Rule, due: u64, now: u64) -> Step {
        // Who tripped it may have read the clock later than the reader of this sign.
        let now = now.max(due);
        let is_first = self.trip.0 != due;
        if is_first {
            self.trip = (due, self.since());
        }
        let from = self.trip.1;
        let missed = self.misses_at(rule, self.since(), now);
        let gap = Gap { due, from, until: now, missed };
        let tripped = Word(due << 1 | Word::TRIPPED);
        if rule.latches {
            return Step { word: tripped, signs: self, verdict: Verdict::Refused(is_first.then_some(gap)) };
        }
        self.count(rule, now);
        let reach = rule.reach(self.misses);
        if reach == 0 {
            return Step { word: tripped, signs: self, verdict: Verdict::Passes };
        }
        Step { word: Word::armed(now.saturating_add(reach)), signs: self, verdict: Verdict::Ends(gap) }
    }
}

/// A watchdog with one owner.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    rule: Rule,
    word: Word,
    signs: Signs,
}

impl Silence {
    /// A watchdog that waits for its first sign of life.
    #[must_use]
    pub fn new(rule: Rule) -> Self {
        Self { rule, word: Word::WAITING, signs: Signs::default() }
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.word.state()
    }

    /// Arms it without a sign of life.
    pub fn arm(&mut self, now: u64) {
        if let Some(word) = self.word.arm(&self.rule, now) {
            (self.word, self.signs.began) = (word, now);
        }
    }

    /// Trips it if it is due. Returns whether it trips now.
    pub fn look(&mut self, now: u64) -> bool {
        let tripped = self.word.look(now);
        self.word = tripped.unwrap_or(self.word);
        tripped.is_some()
    }

    /// Takes a sign of life.
    pub fn sign(&mut self, now: u64) -> Verdict {
        let step = self.signs.sign(&self.rule, self.word, now);
        (self.word, self.signs) = (step.word, step.signs);
        step.verdict
    }

    /// Resets it. Returns whether it was tripped and latched.
    pub fn reset(&mut self) -> bool {
        let reset = self.word.reset(&self.rule);
        self.word = reset.unwrap_or(self.word);
        reset.is_some()
    }
}

#[cfg(test)]
mod tests;
