//! The sequence window of one peer: each number is received, missing or lost, and exactly one of them.
//!
//! A number passed by newer ones is *missing*. It becomes *lost* when [`SPAN`] newer numbers or
//! [`LOSS_TIMEOUT`] have passed it, and *late* when it comes before that. What comes a second time is a
//! duplicate; what comes after it was given up is too old. docs/protocol.md §6.

use alloc::boxed::Box;
use core::time::Duration;

use crate::time::Instant;

/// How many numbers the window remembers: a number is lost when so many newer ones have passed it.
pub const SPAN: u64 = SLOTS as u64;

/// The same, as the length of a table and the width of a bitmap.
const SLOTS: usize = 64;

/// A number missing for so long is lost, even if few newer ones follow.
pub const LOSS_TIMEOUT: Duration = Duration::from_secs(1);

/// What the window says of an arriving number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Newer than everything before it.
    New,
    /// First seen after a newer one.
    Late,
    /// Seen before.
    Duplicate,
    /// Given up before it came, or from before the window's start.
    TooOld,
}

/// How many numbers met each fate so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    /// Given up.
    pub lost: u64,
    /// Came after a newer one.
    pub late: u64,
    /// Came again.
    pub duplicate: u64,
}

/// Tells new, late, duplicate and lost numbers apart; see the module's head.
///
/// Bit `i` of a bitmap stands for the number `next - 1 - i`. Invariants: `received & lost == 0`; bits at
/// and above `reach` are zero; bit 0 of `received` is set once anything was received; the numbers that are
/// missing were passed in their own order, so that the lowest of them is the first to be given up.
#[derive(Clone, Debug)]
pub struct Window {
    /// One above the highest number received.
    next: u64,
    received: u64,
    lost: u64,
    /// How many numbers below `next` the window speaks for: those before its start are unknown to it.
    reach: u64,
    /// When a missing number was passed, at its number modulo [`SPAN`]. Apart: while nothing is missing nobody looks at it,
    /// and what is looked at for each datagram of each peer should be near together.
    passed_at: Box<[Instant; SLOTS]>,
    counts: WindowCounts,
}

impl Window {
    /// A window that expects `next` first.
    #[must_use]
    pub fn new(next: u64) -> Self {
        Self {
            next,
            received: 0,
            lost: 0,
            reach: 0,
            passed_at: Box::new([Instant::from_nanos(0); SLOTS]),
            counts: WindowCounts { lost: 0, late: 0, duplicate: 0 },
        }
    }

    /// The full number behind the low 32 bits that travelled: the one nearest to what is expected (serial
    /// number arithmetic, RFC 1982). `None` for a number before zero.
    #[must_use]
    pub fn expand(&self, low: u32) -> Option<u64> {
        #[allow(clippy::cast_possible_truncation)] // the low half is what is compared
        let ahead = low.wrapping_sub(self.next as u32).cast_signed();
        self.next.checked_add_signed(i64::from(ahead))
    }

    /// What the window would say of `number`, without recording it.
    #[must_use]
    pub fn judge(&self, number: u64) -> Verdict {
        let Some(age) = self.next.checked_sub(number).and_then(|behind| behind.checked_sub(1)) else {
            return Verdict::New;
        };
        if age >= self.reach {
            return Verdict::TooOld;
        }
        match (self.received >> age & 1, self.lost >> age & 1) {
            (1, _) => Verdict::Duplicate,
            (_, 1) => Verdict::TooOld,
            _ => Verdict::Late,
        }
    }

    /// Records the arrival of `number`.
    pub fn receive(&mut self, number: u64, now: Instant) -> Verdict {
        let verdict = self.judge(number);
        match verdict {
            Verdict::New => self.advance_to(number, now),
            Verdict::Late => {
                self.received |= 1 << (self.next - 1 - number);
                self.counts.late += 1;
            }
            Verdict::Duplicate => self.counts.duplicate += 1,
            Verdict::TooOld => {}
        }
        verdict
    }

    /// Begins anew with `next`: the sender has started a new life. What is missing of the old one is lost;
    /// the counts go on.
    pub fn restart(&mut self, next: u64) {
        let lost = self.counts.lost + self.missing();
        *self = Self { counts: WindowCounts { lost, ..self.counts }, ..Self::new(next) };
    }

    /// Gives up the numbers that have been missing for [`LOSS_TIMEOUT`] at `now`.
    pub fn expire(&mut self, now: Instant) {
        while self.next_timeout().is_some_and(|deadline| deadline <= now) {
            self.lost |= highest_bit(self.missing_bits());
            self.counts.lost += 1;
        }
    }

    /// When the number that is missing longest will be given up.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let missing = self.missing_bits();
        let oldest = u64::from(missing.checked_ilog2()?);
        Some(self.passed_at[slot(self.next - 1 - oldest)].plus(LOSS_TIMEOUT))
    }

    /// The number expected next.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// How many numbers met each fate so far.
    #[must_use]
    pub const fn counts(&self) -> WindowCounts {
        self.counts
    }

    /// How many numbers are missing now.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.missing_bits().count_ones() as u64
    }

    fn advance_to(&mut self, number: u64, now: Instant) {
        let skipped = number - self.next;
        let step = skipped.saturating_add(1);
        self.counts.lost += u64::from(leaving(self.missing_bits(), step).count_ones());
        self.counts.lost += skipped.saturating_sub(SPAN - 1);
        self.received = shifted(self.received, step) | 1;
        self.lost = shifted(self.lost, step);
        self.reach = self.reach.saturating_add(step).min(SPAN);
        for missing in number - skipped.min(SPAN - 1)..number {
            self.passed_at[slot(missing)] = now;
        }
        self.next = number + 1;
    }

    const fn missing_bits(&self) -> u64 {
        let spoken_for = if self.reach == SPAN { u64::MAX } else { (1 << self.reach) - 1 };
        !(self.received | self.lost) & spoken_for
    }
}

/// Where a number's time stamp stands.
#[allow(clippy::cast_possible_truncation)] // below SPAN
const fn slot(number: u64) -> usize {
    (number % SPAN) as usize
}

/// The bits of `map` that a shift by `step` pushes out.
fn leaving(map: u64, step: u64) -> u64 {
    if step >= SPAN { map } else { map & !(u64::MAX >> step) }
}

fn shifted(map: u64, step: u64) -> u64 {
    if step >= SPAN { 0 } else { map << step }
}

fn highest_bit(map: u64) -> u64 {
    map.checked_ilog2().map_or(0, |bit| 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Instant = Instant::from_nanos(0);

    fn at_ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn receive_all(window: &mut Window, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            window.receive(number, T0);
        }
    }

    #[test]
    fn numbers_in_order_have_no_errors() {
        let mut window = Window::new(0);
        for number in 0..1000 {
            assert_eq!(window.receive(number, T0), Verdict::New);
        }
        assert_eq!(window.counts(), WindowCounts::default());
        assert_eq!((window.missing(), window.next()), (0, 1000));
    }

    #[test]
    fn one_swap_counts_one_late_and_none_lost() {
        let mut window = Window::new(0);
        assert_eq!(window.receive(1, T0), Verdict::New);
        assert_eq!(window.missing(), 1);
        assert_eq!(window.receive(0, T0), Verdict::Late);
        receive_all(&mut window, 2..200);
        assert_eq!(window.counts(), WindowCounts { late: 1, ..WindowCounts::default() });
    }

    #[test]
    fn a_thousand_lost_count_a_thousand() {
        let mut window = Window::new(0);
        receive_all(&mut window, (0..10).chain(1010..1100));
        assert_eq!(window.counts(), WindowCounts { lost: 1000, ..WindowCounts::default() });
        assert_eq!(window.missing(), 0);
    }

    #[test]
    fn a_number_is_missing_until_64_newer_ones_passed_it() {
        let mut window = Window::new(0);
        receive_all(&mut window, 1..=63);
        assert_eq!((window.missing(), window.counts().lost), (1, 0));
        window.receive(64, T0);
        assert_eq!((window.missing(), window.counts().lost), (0, 1));
        assert_eq!(window.receive(0, T0), Verdict::TooOld);
    }

    #[test]
    fn a_number_is_missing_until_one_second_passed() {
        let mut window = Window::new(0);
        window.receive(0, at_ms(0));
        window.receive(3, at_ms(10));
        window.receive(5, at_ms(500));
        assert_eq!(window.next_timeout(), Some(at_ms(1010)));
        window.expire(at_ms(1009));
        assert_eq!((window.missing(), window.counts().lost), (3, 0));
        window.expire(at_ms(1010));
        assert_eq!((window.missing(), window.counts().lost), (1, 2));
        assert_eq!(window.receive(2, at_ms(1011)), Verdict::TooOld);
        assert_eq!(window.receive(4, at_ms(1011)), Verdict::Late);
        assert_eq!(window.next_timeout(), None);
    }

    #[test]
    fn a_duplicate_is_told_from_a_late_one() {
        let mut window = Window::new(0);
        receive_all(&mut window, [0, 2]);
        assert_eq!(window.receive(0, T0), Verdict::Duplicate);
        assert_eq!(window.receive(1, T0), Verdict::Late);
        assert_eq!(window.receive(1, T0), Verdict::Duplicate);
        assert_eq!(window.counts(), WindowCounts { lost: 0, late: 1, duplicate: 2 });
    }

    #[test]
    fn numbers_before_the_start_are_too_old() {
        let mut window = Window::new(1 << 32);
        window.receive(1 << 32, T0);
        assert_eq!(window.receive((1 << 32) - 1, T0), Verdict::TooOld);
        assert_eq!(window.missing(), 0);
    }

    #[test]
    fn the_sequence_goes_on_past_2_to_the_32() {
        let start = u64::from(u32::MAX) - 1;
        let mut window = Window::new(start);
        for step in 0..5u64 {
            #[allow(clippy::cast_possible_truncation)]
            let low = (start + step) as u32;
            let number = window.expand(low).expect("near the expected one");
            assert_eq!(number, start + step);
            assert_eq!(window.receive(number, T0), Verdict::New);
        }
        assert_eq!(window.counts(), WindowCounts::default());
    }

    #[test]
    fn a_number_before_zero_does_not_exist() {
        let mut window = Window::new(0);
        window.receive(3, T0);
        assert_eq!(window.expand(u32::MAX), None);
        assert_eq!(window.expand(2), Some(2));
    }

    #[test]
    fn a_jump_to_the_end_of_all_numbers_is_counted_and_survived() {
        let mut window = Window::new(0);
        window.receive(u64::MAX - 1, T0);
        assert_eq!(window.counts().lost, u64::MAX - 1 - 63);
        assert_eq!(window.missing(), 63);
    }
}
