//! The reliable messages of one peer as they arrive: each is taken once, and acknowledged. docs/protocol.md §7.5.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::reassembly::{Added, Assembly, Whole};
use crate::time::Instant;
use crate::wire::native::{DELIVERY_WINDOW, DeliveryNumbers, Fragment, MessageFrame};

/// The default id of a reliable message is its delivery number and this: no datagram's number comes so far.
pub(super) const RELIABLE_ID: u64 = 1 << 63;

#[allow(clippy::cast_possible_truncation)] // 16
const WORDS: usize = (DELIVERY_WINDOW / 64) as usize;

/// See the module's head.
///
/// Invariants: every number below `base` is settled: taken, or given up by the sender; `base` itself is not. `seen` says of
/// those from `base` on, for the length of the window, whether they were taken. `held` are taken and not delivered.
#[derive(Debug, Default)]
pub(super) struct Inflow {
    base: u64,
    seen: [u64; WORDS],
    /// Above all that were taken.
    end: u64,
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    parts: Assembly,
    /// Whether something came that is to be acknowledged.
    is_owed: bool,
    /// Incomplete messages that the sender has given up, and nobody has counted yet.
    given_up: u64,
}

/// An ordered message that has overtaken the one before it.
#[derive(Debug)]
struct Held {
    after: u64,
    whole: Whole,
}

/// What becomes of a unit.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is a message, to be delivered as this number.
    Deliver(u64),
    /// It was taken before.
    Duplicate,
    /// It is kept, and acknowledged.
    Kept,
    /// There is no room for it: it is to be sent again.
    NoRoom,
    /// It contradicts others.
    Wrong,
}

impl Inflow {
    /// Takes a whole message.
    pub(super) fn take(
        &mut self,
        numbers: DeliveryNumbers,
        frame: MessageFrame<'_>,
        most_bytes: usize,
        now: Instant,
    ) -> Fate {
        self.is_owed = true;
        let number = self.expand(numbers.number);
        if self.has(number) {
            return Fate::Duplicate;
        }
        match self.awaited(number, numbers) {
            Some(_) if self.held_bytes + frame.body.len() > most_bytes => return Fate::NoRoom,
            Some(after) => self.hold(number, after, Whole::of(frame, number, now)),
            None => {}
        }
        self.mark(number);
        if self.held.contains_key(&number) { Fate::Kept } else { Fate::Deliver(number) }
    }

    /// Takes a part of a message; a complete one is added to `wholes` where nothing must come before it.
    pub(super) fn take_part(
        &mut self,
        fragment: &Fragment<'_>,
        most_bytes: usize,
        now: Instant,
        wholes: &mut Vec<Whole>,
    ) -> Fate {
        self.is_owed = true;
        let first = self.expand(fragment.numbers.number);
        let number = first + u64::from(fragment.index);
        if self.has(number) {
            return Fate::Duplicate;
        }
        let bytes = self.held_bytes + self.parts.bytes() + fragment.total as usize;
        if bytes > most_bytes
            && !self.parts.contains(first)
            && self.awaited(first, fragment.numbers).is_some()
        {
            // Complete, it would be held back beside those that are.
            return Fate::NoRoom;
        }
        let added = self.parts.add(first, fragment, most_bytes, now);
        let (flags, since, body) = match added {
            Added::NoRoom => return Fate::NoRoom,
            Added::Wrong => return Fate::Wrong,
            Added::Kept => {
                self.mark(number);
                return Fate::Kept;
            }
            Added::Complete(flags, since, body) => (flags, since, body),
        };
        self.mark(number);
        let whole = Whole { default_id: RELIABLE_ID | first, flags, body, since };
        match self.awaited(first, fragment.numbers) {
            Some(after) => self.hold(first, after, whole),
            None => wholes.push(whole),
        }
        Fate::Kept
    }

    /// The sender has settled everything below this number.
    pub(super) fn forward(&mut self, base: u32) {
        self.is_owed = true;
        let base = self.expand(base);
        self.advance_to(base);
    }

    /// How many incomplete messages the sender has given up since the last call.
    pub(super) fn take_given_up(&mut self) -> u64 {
        core::mem::take(&mut self.given_up)
    }

    /// Moves held messages that need not wait any more to `wholes`, in their order. It looks at all of them: once for a
    /// datagram, whatever that holds.
    pub(super) fn release(&mut self, wholes: &mut Vec<Whole>) {
        let waiting: Vec<_> = self.held.iter().map(|(&number, held)| (number, held.after)).collect();
        for (number, after) in waiting {
            if self.is_delivered(after)
                && let Some(held) = self.held.remove(&number)
            {
                self.held_bytes -= held.whole.body.len();
                wholes.push(held.whole);
            }
        }
    }

    /// How many messages were taken, and are lost if the session ends now.
    pub(super) fn undelivered(&self) -> u64 {
        self.held.len() as u64 + self.parts.len()
    }

    /// What has arrived, if that is to be told: the lowest number that has not, and the bitmap of those after it.
    pub(super) fn acknowledge(&mut self) -> Option<(u64, Vec<u8>)> {
        if !core::mem::take(&mut self.is_owed) {
            return None;
        }
        let mut bitmap = Vec::new();
        for (index, number) in (self.base + 1..self.end).enumerate() {
            if self.is_seen(number) {
                bitmap.resize(index / 8 + 1, 0);
                bitmap[index / 8] |= 1 << (index % 8);
            }
        }
        Some((self.base, bitmap))
    }

    /// The message that must be delivered before this one, unless it has been.
    fn awaited(&self, number: u64, numbers: DeliveryNumbers) -> Option<u64> {
        let after = number.checked_sub(numbers.behind.into()).filter(|_| numbers.behind > 0)?;
        (!self.is_delivered(after)).then_some(after)
    }

    fn is_delivered(&self, message: u64) -> bool {
        self.has(message) && !self.held.contains_key(&message) && !self.parts.contains(message)
    }

    fn hold(&mut self, number: u64, after: u64, whole: Whole) {
        self.held_bytes += whole.body.len();
        self.held.insert(number, Held { after, whole });
    }

    /// The full number nearest to the base (RFC 1982).
    fn expand(&self, low: u32) -> u64 {
        #[allow(clippy::cast_possible_truncation)] // the low half travelled
        let ahead = low.wrapping_sub(self.base as u32).cast_signed();
        // Far behind, from before the first: taken as settled, as everything below the base is.
        self.base.saturating_add_signed(ahead.into())
    }

    fn has(&self, number: u64) -> bool {
        number < self.base || self.is_seen(number)
    }

    fn is_seen(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        (self.base..self.base + DELIVERY_WINDOW).contains(&number) && self.seen[word] & bit != 0
    }

    fn mark(&mut self, number: u64) {
        // The sender never has more in use: what is so far behind it has given up.
        self.advance_to((number + 1).saturating_sub(DELIVERY_WINDOW));
        let (word, bit) = place(number);
        self.seen[word] |= bit;
        self.end = self.end.max(number + 1);
        self.advance_to(self.base);
    }

    /// Settles everything below `base`, and what follows it without a gap.
    fn advance_to(&mut self, base: u64) {
        if base > self.base {
            self.clear(base.min(self.base + DELIVERY_WINDOW));
            self.base = base;
            self.given_up += self.parts.drop_below(base);
        }
        while self.is_seen(self.base) {
            let (word, bit) = place(self.base);
            self.seen[word] &= !bit;
            self.base += 1;
        }
    }

    /// Forgets those from `base` to `end`, which are in the window, a word at a time.
    fn clear(&mut self, end: u64) {
        let mut number = self.base;
        while number < end {
            let next = end.min((number | 63) + 1);
            let (word, _) = place(number);
            self.seen[word] &= !(u64::MAX >> (64 - (next - number)) << (number % 64));
            number = next;
        }
    }
}

/// A number's word and bit in the window.
const fn place(number: u64) -> (usize, u64) {
    #[allow(clippy::cast_possible_truncation)] // below WORDS
    let word = (number / 64) as usize % WORDS;
    (word, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    /// What takes numbers as `Inflow` does, obviously.
    #[derive(Default)]
    struct Twin {
        base: u64,
        seen: BTreeSet<u64>,
    }

    impl Twin {
        fn advance_to(&mut self, base: u64) {
            self.base = self.base.max(base);
            while self.seen.contains(&self.base) {
                self.base += 1;
            }
        }
    }

    #[test]
    fn the_window_agrees_with_a_set_over_the_wrap_of_the_wire() {
        let mut dice = 1_u64;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        let start = (1 << 32) - 5_000;
        let (mut inflow, mut twin) = (Inflow::default(), Twin::default());
        inflow.advance_to(start);
        twin.advance_to(start);
        for _ in 0..3_000 {
            let reach = [2, 70, 1_023, 1_100][usize::try_from(roll(4)).expect("below 4")];
            let number = twin.base + roll(reach);
            let low = u32::try_from(number & u64::from(u32::MAX)).expect("masked");
            assert_eq!(inflow.expand(low), number);
            if roll(10) == 0 {
                inflow.forward(low);
                twin.advance_to(number);
            } else if !inflow.has(number) {
                inflow.mark(number);
                twin.seen.insert(number);
                twin.advance_to((number + 1).saturating_sub(DELIVERY_WINDOW));
            }
            assert_eq!(inflow.base, twin.base);
            let differs = |&number: &u64| inflow.is_seen(number) != twin.seen.contains(&number);
            assert_eq!((twin.base..twin.base + DELIVERY_WINDOW).find(differs), None);
        }
        assert!(twin.base > 1 << 32, "the numbers on the wire have wrapped");
    }
}
