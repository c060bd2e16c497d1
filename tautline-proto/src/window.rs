//! The sequence window of one peer. Each number is received, missing, lost or a lost probe, and exactly one of these.
//!
//! A number is *missing* when a newer number has come first. If it comes after all, it is *late*. It becomes *lost* when
//! [`SPAN`] newer numbers have come, or after [`LOSS_TIMEOUT`]. A number that comes a second time is a *duplicate*. A number
//! that comes after it was counted as lost is *too old*. A missing number that its sender names as a *probe* of the path's size
//! is no loss. docs/protocol.md §6.

use alloc::boxed::Box;
use core::time::Duration;

use crate::snapshot::{Reader, Saved, Writer, saved};
use crate::time::Instant;

/// How many numbers the window remembers. A number is lost when this many newer numbers have come.
pub const SPAN: u64 = SLOTS as u64;

/// [`SPAN`] as the length of a table and the width of a bitmap.
const SLOTS: usize = 64;

/// A number that is missing for this time is lost, even if few newer numbers have come.
pub const LOSS_TIMEOUT: Duration = Duration::from_secs(1);

/// A number that is further ahead than this is no plausible next one: 2^24 datagrams are 14 minutes at 20 kHz.
pub const MAX_LEAP: u64 = 1 << 24;

/// The window's verdict on a number that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Higher than every number before.
    New,
    /// It comes for the first time, after a higher number.
    Late,
    /// It has come before.
    Duplicate,
    /// It was counted as lost before, or lies before the window's start.
    TooOld,
    /// It is more than [`MAX_LEAP`] ahead. The window moves there only with one of the next numbers after it.
    Leap,
}

/// How many numbers were lost, late and duplicate so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    /// Numbers that are counted as lost.
    pub lost: u64,
    /// Numbers of probes that have not come. A probe that comes late after all is not among them any more.
    pub probes_lost: u64,
    /// Numbers that came after a higher one.
    pub late: u64,
    /// Numbers that came again.
    pub duplicate: u64,
}

/// Tells new, late, duplicate and lost numbers apart. The [module's page](self) says what these are.
///
/// Bit `i` of a bitmap stands for the number `next - 1 - i`. Invariants:
/// - `received & lost == 0`;
/// - `lost` has lost probes too;
/// - the bits from `reach` on are zero;
/// - bit 0 of `received` is set once anything was received;
/// - missing numbers became missing in their own order, so that the lowest is the first to be lost.
#[derive(Clone, Debug)]
pub struct Window {
    /// One above the highest number received.
    next: u64,
    received: u64,
    lost: u64,
    /// How many numbers below `next` the window knows about. It knows nothing of the numbers before its start.
    reach: u64,
    missing_since: MissingSince,
    /// The latest lost probe. It alone may still come.
    probe: Option<u64>,
    counts: WindowCounts,
    /// The latest number that was too far ahead.
    leapt_to: Option<u64>,
}

/// When each number became missing, at the number modulo [`SPAN`]. The table has an allocation of its own, because it is not used
/// while no number is missing, and the fields that every datagram uses should share few cache lines. It is `None` until a number
/// is missing or it is [prepared](Window::prepare): a stranger who abandons its handshake takes no memory for it.
#[derive(Clone, Debug, Default)]
struct MissingSince(Option<Box<[Instant; SLOTS]>>);

impl MissingSince {
    const NEVER: [Instant; SLOTS] = [Instant::from_nanos(0); SLOTS];

    fn table(&mut self) -> &mut [Instant; SLOTS] {
        self.0.get_or_insert_with(|| Box::new(Self::NEVER))
    }

    #[inline]
    fn of(&self, number: u64) -> Instant {
        self.0.as_ref().map_or(Instant::from_nanos(0), |table| table[slot(number)])
    }
}

impl Window {
    /// Creates a window that expects `next` first.
    #[must_use]
    pub fn new(next: u64) -> Self {
        Self {
            next,
            received: 0,
            lost: 0,
            reach: 0,
            missing_since: MissingSince::default(),
            probe: None,
            counts: WindowCounts { lost: 0, probes_lost: 0, late: 0, duplicate: 0 },
            leapt_to: None,
        }
    }

    /// Returns the full number for the low 32 bits that travelled: the number nearest to the expected one (serial number
    /// arithmetic, RFC 1982). `None` if it would be negative.
    #[must_use]
    #[inline]
    pub fn expand(&self, low: u32) -> Option<u64> {
        #[allow(clippy::cast_possible_truncation)] // the low half is what is compared
        let ahead = low.wrapping_sub(self.next as u32).cast_signed();
        self.next.checked_add_signed(i64::from(ahead))
    }

    /// Returns the verdict on `number`, without recording it.
    #[must_use]
    pub fn judge(&self, number: u64) -> Verdict {
        let Some(age) = self.next.checked_sub(number).and_then(|behind| behind.checked_sub(1)) else {
            return if number - self.next <= MAX_LEAP { Verdict::New } else { Verdict::Leap };
        };
        if age >= self.reach {
            return Verdict::TooOld;
        }
        match (self.received >> age & 1, self.lost >> age & 1) {
            (1, _) => Verdict::Duplicate,
            (_, 1) if self.probe != Some(number) => Verdict::TooOld,
            _ => Verdict::Late,
        }
    }

    /// Records the arrival of `number`, and returns the verdict on it.
    pub fn receive(&mut self, number: u64, now: Instant) -> Verdict {
        let verdict = self.judge(number);
        match verdict {
            Verdict::New => self.advance_to(number, now),
            Verdict::Late => {
                let bit = 1 << (self.next - 1 - number);
                self.received |= bit;
                if self.lost & bit != 0 {
                    self.lost &= !bit;
                    self.counts.probes_lost -= 1;
                }
                self.counts.late += 1;
            }
            Verdict::Duplicate => self.counts.duplicate += 1,
            Verdict::TooOld => {}
            Verdict::Leap => return self.leap(number, now),
        }
        verdict
    }

    /// As [`receive`](Self::receive), for the number that is expected next while none is missing, as most are. It changes no count.
    /// Returns `false`, and does nothing, for any other.
    #[inline]
    pub(crate) fn receive_next(&mut self, number: u64) -> bool {
        let is_next = number == self.next && self.missing_bits() == 0;
        if is_next {
            self.received = self.received << 1 | 1;
            self.lost <<= 1;
            self.reach = (self.reach + 1).min(SPAN);
            self.next = number + 1;
        }
        is_next
    }

    /// Makes the table that missing numbers need, so that the first of them allocates nothing.
    pub(crate) fn prepare(&mut self) {
        self.missing_since.table();
    }

    /// Counts a number that [`judge`](Self::judge) has found to be a duplicate.
    pub fn repeated(&mut self) {
        self.counts.duplicate += 1;
    }

    /// Handles a number that is implausibly far ahead, as RFC 3550 appendix A.1 does: the first is only remembered. If another one
    /// follows closely, the sender really is there, and the window starts anew. Nobody can say which numbers between were sent, so
    /// none of them counts as lost.
    #[cold]
    fn leap(&mut self, number: u64, now: Instant) -> Verdict {
        let before = self.leapt_to.replace(number);
        if !before.is_some_and(|before| number > before && number - before <= SPAN) {
            return Verdict::Leap;
        }
        self.restart(number);
        self.receive(number, now)
    }

    /// Excuses the loss of `number`, if it is missing: it was a probe of the path's size. It may still come.
    pub fn excuse(&mut self, number: u64) {
        if self.judge(number) == Verdict::Late && self.probe != Some(number) {
            self.lost |= 1 << (self.next - 1 - number);
            self.probe = Some(number);
            self.counts.probes_lost += 1;
        }
    }

    /// Starts again with `next`, because the sender was restarted. Missing numbers are lost. The counts continue.
    pub fn restart(&mut self, next: u64) {
        let lost = self.counts.lost + self.missing();
        let missing_since = core::mem::take(&mut self.missing_since);
        *self = Self { counts: WindowCounts { lost, ..self.counts }, missing_since, ..Self::new(next) };
    }

    /// Counts the numbers as lost that have been missing for [`LOSS_TIMEOUT`] at `now`.
    #[inline]
    pub fn expire(&mut self, now: Instant) {
        if self.missing_bits() != 0 {
            self.expire_missing(now);
        }
    }

    #[inline(never)]
    fn expire_missing(&mut self, now: Instant) {
        while self.next_timeout().is_some_and(|deadline| deadline <= now) {
            let oldest = highest_bit(self.missing_bits());
            self.counts.lost += 1;
            self.lost |= oldest;
        }
    }

    /// Returns when the next missing number will be lost.
    #[must_use]
    #[inline]
    pub fn next_timeout(&self) -> Option<Instant> {
        let missing = self.missing_bits();
        let oldest = u64::from(missing.checked_ilog2()?);
        Some(self.missing_since.of(self.next - 1 - oldest).plus(LOSS_TIMEOUT))
    }

    /// Returns the number that is expected next.
    #[must_use]
    #[inline]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Returns how many numbers were lost, late and duplicate so far.
    #[must_use]
    #[inline]
    pub const fn counts(&self) -> WindowCounts {
        self.counts
    }

    /// Returns how many numbers are missing now.
    #[must_use]
    #[inline]
    pub const fn missing(&self) -> u64 {
        self.missing_bits().count_ones() as u64
    }

    fn advance_to(&mut self, number: u64, now: Instant) {
        let skipped = number - self.next;
        let step = skipped.saturating_add(1);
        let leaving = leaving(self.missing_bits(), step);
        if leaving != 0 {
            self.counts.lost += u64::from(leaving.count_ones());
        }
        self.counts.lost += skipped.saturating_sub(SPAN - 1);
        self.received = shifted(self.received, step) | 1;
        self.lost = shifted(self.lost, step);
        self.reach = self.reach.saturating_add(step).min(SPAN);
        for missing in number - skipped.min(SPAN - 1)..number {
            self.missing_since.table()[slot(missing)] = now;
        }
        self.next = number + 1;
    }

    #[inline]
    const fn missing_bits(&self) -> u64 {
        let known = if self.reach == SPAN { u64::MAX } else { (1 << self.reach) - 1 };
        !(self.received | self.lost) & known
    }
}

/// Returns a number's place in the table of times.
#[allow(clippy::cast_possible_truncation)] // below SPAN
const fn slot(number: u64) -> usize {
    (number % SPAN) as usize
}

/// Returns the bits of `map` that a shift by `step` pushes out.
fn leaving(map: u64, step: u64) -> u64 {
    if step >= SPAN { map } else { map & !(u64::MAX >> step) }
}

fn shifted(map: u64, step: u64) -> u64 {
    if step >= SPAN { 0 } else { map << step }
}

fn highest_bit(map: u64) -> u64 {
    map.checked_ilog2().map_or(0, |bit| 1 << bit)
}

impl Saved for MissingSince {
    fn save(&self, out: &mut Writer) {
        self.0.as_deref().unwrap_or(&Self::NEVER).save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Box::load(from).map(|table| Self(Some(table)))
    }
}

saved!(WindowCounts { lost, probes_lost, late, duplicate });
saved!(Window { next, received, lost, reach, missing_since, probe, counts, leapt_to });

#[cfg(test)]
mod tests {
    use alloc::format;

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
    fn numbers_in_order_cause_no_errors() {
        let mut window = Window::new(0);
        for number in 0..1000 {
            assert_eq!(window.receive(number, T0), Verdict::New);
        }
        assert_eq!(window.counts(), WindowCounts::default());
        assert_eq!((window.missing(), window.next()), (0, 1000));
    }

    #[test]
    fn a_lost_probe_is_no_loss_and_may_still_come() {
        let after = |end: &dyn Fn(&mut Window)| {
            let mut window = Window::new(0);
            receive_all(&mut window, [0, 1, 4]);
            // Number 1 has come, so it is no lost probe.
            for named in [2, 1, 2] {
                window.excuse(named);
            }
            assert_eq!((window.missing(), window.counts().probes_lost), (1, 1));
            end(&mut window);
            assert_eq!(window.missing(), 0);
            window.counts()
        };
        // Time passes; newer numbers come; the sender is restarted: each time the other number alone is lost.
        let one_each = WindowCounts { lost: 1, probes_lost: 1, ..WindowCounts::default() };
        assert_eq!(after(&|window| window.expire(at_ms(2_000))), one_each);
        assert_eq!(after(&|window| receive_all(window, 5..80)), one_each);
        let leap = |window: &mut Window| {
            receive_all(window, [500, 501]);
            window.expire(at_ms(2_000));
        };
        assert_eq!(after(&leap), WindowCounts { lost: 1 + 495, ..one_each });
        assert_eq!(after(&|window| window.restart(0)), one_each);
        // It comes after all, once.
        assert_eq!(
            after(&|window| receive_all(window, [2, 3, 2])),
            WindowCounts { late: 2, duplicate: 1, ..WindowCounts::default() }
        );
        // Another probe is lost. The first one is too old then.
        let both = after(&|window| {
            window.excuse(3);
            assert_eq!(window.receive(2, T0), Verdict::TooOld);
            window.expire(at_ms(2_000));
        });
        assert_eq!(both, WindowCounts { probes_lost: 2, ..WindowCounts::default() });
    }

    #[test]
    fn the_short_way_of_numbers_in_order_ends_as_the_long_one() {
        let (mut long, mut short) = (Window::new(0), Window::new(0));
        // With gaps, duplicates and late numbers between, at 64 numbers and more before the end of the window.
        let gaps = (0..70).chain(72..75).chain([71, 71, 70]).chain(76..300).chain(302..340);
        for (number, ms) in gaps.zip(0..) {
            let verdict = long.receive(number, at_ms(ms));
            if short.receive_next(number) {
                assert_eq!(verdict, Verdict::New);
            } else {
                assert_eq!(verdict, short.receive(number, at_ms(ms)));
            }
            assert_eq!(format!("{long:?}"), format!("{short:?}"), "{number}");
        }
        assert!(!short.receive_next(340), "two are missing still");
    }

    #[test]
    fn two_swapped_numbers_count_as_one_late() {
        let mut window = Window::new(0);
        assert_eq!(window.receive(1, T0), Verdict::New);
        assert_eq!(window.missing(), 1);
        assert_eq!(window.receive(0, T0), Verdict::Late);
        receive_all(&mut window, 2..200);
        assert_eq!(window.counts(), WindowCounts { late: 1, ..WindowCounts::default() });
    }

    #[test]
    fn a_gap_of_a_thousand_numbers_counts_a_thousand_lost() {
        let mut window = Window::new(0);
        receive_all(&mut window, (0..10).chain(1010..1100));
        assert_eq!(window.counts(), WindowCounts { lost: 1000, ..WindowCounts::default() });
        assert_eq!(window.missing(), 0);
    }

    #[test]
    fn missing_number_is_lost_after_64_newer_numbers() {
        let mut window = Window::new(0);
        receive_all(&mut window, 1..=63);
        assert_eq!((window.missing(), window.counts().lost), (1, 0));
        window.receive(64, T0);
        assert_eq!((window.missing(), window.counts().lost), (0, 1));
        assert_eq!(window.receive(0, T0), Verdict::TooOld);
    }

    #[test]
    fn missing_number_is_lost_after_one_second() {
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
    fn duplicate_is_told_apart_from_late() {
        let mut window = Window::new(0);
        receive_all(&mut window, [0, 2]);
        assert_eq!(window.receive(0, T0), Verdict::Duplicate);
        assert_eq!(window.receive(1, T0), Verdict::Late);
        assert_eq!(window.receive(1, T0), Verdict::Duplicate);
        assert_eq!(window.counts(), WindowCounts { late: 1, duplicate: 2, ..WindowCounts::default() });
    }

    #[test]
    fn numbers_before_the_start_are_too_old() {
        let mut window = Window::new(1 << 32);
        window.receive(1 << 32, T0);
        assert_eq!(window.receive((1 << 32) - 1, T0), Verdict::TooOld);
        assert_eq!(window.missing(), 0);
    }

    #[test]
    fn sequence_continues_beyond_32_bits() {
        let start = u64::from(u32::MAX) - 1;
        let mut window = Window::new(start);
        for step in 0..5u64 {
            #[allow(clippy::cast_possible_truncation)]
            let low = (start + step) as u32;
            let number = window.expand(low).expect("near the expected number");
            assert_eq!(number, start + step);
            assert_eq!(window.receive(number, T0), Verdict::New);
        }
        assert_eq!(window.counts(), WindowCounts::default());
    }

    #[test]
    fn number_below_zero_does_not_exist() {
        let mut window = Window::new(0);
        window.receive(3, T0);
        assert_eq!(window.expand(u32::MAX), None);
        assert_eq!(window.expand(2), Some(2));
    }

    #[test]
    fn a_plausible_leap_is_counted_and_a_farther_one_is_not_believed_alone() {
        let mut window = Window::new(0);
        assert_eq!(window.receive(MAX_LEAP, T0), Verdict::New);
        assert_eq!((window.counts().lost, window.missing()), (MAX_LEAP - 63, 63));
        for far in [u64::MAX - 1, 1 << 31, 1 << 40, (1 << 40) + SPAN + 1] {
            assert_eq!(window.receive(far, T0), Verdict::Leap);
        }
        assert_eq!(window.receive(MAX_LEAP + 1, T0), Verdict::New, "the window has not moved");
        assert_eq!(window.counts().lost, MAX_LEAP - 62);
    }

    #[test]
    fn a_sender_that_goes_on_far_ahead_is_followed() {
        let mut window = Window::new(0);
        receive_all(&mut window, [0, 2]);
        assert_eq!(window.receive(1 << 31, T0), Verdict::Leap);
        assert_eq!(window.receive((1 << 31) + 2, T0), Verdict::New);
        assert_eq!(window.receive((1 << 31) + 1, T0), Verdict::TooOld, "it lies before the new start");
        assert_eq!(window.receive((1 << 31) + 3, T0), Verdict::New);
        assert_eq!(window.receive(3, T0), Verdict::TooOld, "nothing from before is delivered again");
        assert_eq!(window.counts(), WindowCounts { lost: 1, ..WindowCounts::default() });
    }
}
