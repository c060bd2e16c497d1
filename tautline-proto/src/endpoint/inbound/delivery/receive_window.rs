//! Which delivery numbers of a peer were received.

use alloc::vec::Vec;

use crate::snapshot::saved;
use crate::wire::native::DELIVERY_WINDOW;

#[allow(clippy::cast_possible_truncation)] // 16
const WORDS: usize = (DELIVERY_WINDOW / 64) as usize;

/// A bitmap over the delivery numbers that the peer may have in use.
///
/// Invariants: every number below `base` is settled, which means received here or abandoned by the sender; `base` itself is
/// not settled. `received` has a bit for each number from `base` to `base + DELIVERY_WINDOW - 1`.
#[derive(Debug, Default)]
pub(super) struct ReceiveWindow {
    base: u64,
    received: [u64; WORDS],
    /// One above the highest number received.
    end: u64,
}

impl ReceiveWindow {
    /// Returns the lowest number that is not settled.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// Returns the full number for the low 32 bits that travelled: the number nearest to the base (RFC 1982).
    pub(super) fn expand(&self, low: u32) -> u64 {
        #[allow(clippy::cast_possible_truncation)] // the low half travelled
        let ahead = low.wrapping_sub(self.base as u32).cast_signed();
        // A number before the very first one becomes 0, which counts as settled like everything below the base.
        self.base.saturating_add_signed(ahead.into())
    }

    /// Returns whether `number` is settled or was received.
    pub(super) fn contains(&self, number: u64) -> bool {
        number < self.base || self.is_received(number)
    }

    /// Records `number`, which must lie in the window, and moves the base past all numbers that follow without a gap.
    pub(super) fn mark(&mut self, number: u64) {
        let (word, bit) = word_and_bit(number);
        self.received[word] |= bit;
        self.end = self.end.max(number + 1);
        self.skip_received();
    }

    /// Settles everything below `base`, and all numbers that follow it without a gap.
    pub(super) fn advance_to(&mut self, base: u64) {
        if base > self.base {
            self.clear_below(base.min(self.base + DELIVERY_WINDOW));
            self.base = base;
        }
        self.skip_received();
    }

    /// Returns the base and the bitmap of the numbers after it, as an acknowledgement carries them.
    pub(super) fn acknowledgement(&self) -> (u64, Vec<u8>) {
        let after = self.base + 1;
        // The highest number was received, so that the last byte is not zero.
        let bytes = self.end.saturating_sub(after).div_ceil(8);
        (self.base, (0..bytes).map(|byte| self.eight_from(after + 8 * byte)).collect())
    }

    /// Returns which of the eight numbers from this one on were received. Those above the highest were not.
    fn eight_from(&self, number: u64) -> u8 {
        let (word, _) = word_and_bit(number);
        let (low, high) = (self.received[word], self.received[(word + 1) % WORDS]);
        let bits = (u128::from(high) << 64 | u128::from(low)) >> (number % 64);
        // Behind the window, the words begin again with the base.
        let beyond = (number + 8).saturating_sub(self.base + DELIVERY_WINDOW);
        #[allow(clippy::cast_possible_truncation)] // the eight are meant; at most seven are beyond
        let (bits, beyond) = (bits as u8, beyond as u32);
        bits & (u8::MAX >> beyond)
    }

    fn is_received(&self, number: u64) -> bool {
        let (word, bit) = word_and_bit(number);
        (self.base..self.base + DELIVERY_WINDOW).contains(&number) && self.received[word] & bit != 0
    }

    fn skip_received(&mut self) {
        while self.is_received(self.base) {
            let (word, bit) = word_and_bit(self.base);
            self.received[word] &= !bit;
            self.base += 1;
        }
    }

    /// Clears the bits from the base to `end`, one word at a time. All of them must lie in the window.
    fn clear_below(&mut self, end: u64) {
        let mut number = self.base;
        while number < end {
            let next = end.min((number | 63) + 1);
            let (word, _) = word_and_bit(number);
            self.received[word] &= !(u64::MAX >> (64 - (next - number)) << (number % 64));
            number = next;
        }
    }
}

/// Returns the word and the bit that stand for a number.
const fn word_and_bit(number: u64) -> (usize, u64) {
    #[allow(clippy::cast_possible_truncation)] // below WORDS
    let word = (number / 64) as usize % WORDS;
    (word, 1 << (number % 64))
}

saved!(ReceiveWindow { base, received, end });

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    /// A slow and obvious model of the window.
    #[derive(Default)]
    struct SlowWindow {
        base: u64,
        received: BTreeSet<u64>,
    }

    impl SlowWindow {
        fn advance_to(&mut self, base: u64) {
            self.base = self.base.max(base);
            while self.received.contains(&self.base) {
                self.base += 1;
            }
        }

        fn acknowledgement(&self) -> (u64, Vec<u8>) {
            let mut bitmap = Vec::new();
            for &number in self.received.range(self.base..) {
                let bit = usize::try_from(number - self.base - 1).expect("the base was not received");
                bitmap.resize(bitmap.len().max(bit / 8 + 1), 0);
                bitmap[bit / 8] |= 1 << (bit % 8);
            }
            (self.base, bitmap)
        }
    }

    #[test]
    fn window_agrees_with_a_set_while_the_32_bit_numbers_wrap() {
        let mut dice = 1_u64;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        let start = (1 << 32) - 5_000;
        let (mut window, mut slow) = (ReceiveWindow::default(), SlowWindow::default());
        window.advance_to(start);
        slow.advance_to(start);
        for _ in 0..3_000 {
            let reach = [2, 70, 1_023, 1_100][usize::try_from(roll(4)).expect("below 4")];
            let number = slow.base + roll(reach);
            let low = u32::try_from(number & u64::from(u32::MAX)).expect("masked");
            assert_eq!(window.expand(low), number);
            if roll(10) == 0 {
                window.advance_to(window.expand(low));
                slow.advance_to(number);
            } else if !window.contains(number) {
                let lowest = (number + 1).saturating_sub(DELIVERY_WINDOW);
                window.advance_to(lowest);
                window.mark(number);
                slow.received.insert(number);
                slow.advance_to(lowest);
            }
            assert_eq!(window.base(), slow.base);
            let differs = |&number: &u64| window.is_received(number) != slow.received.contains(&number);
            assert_eq!((slow.base..slow.base + DELIVERY_WINDOW).find(differs), None);
            assert_eq!(window.acknowledgement(), slow.acknowledgement());
        }
        assert!(slow.base > 1 << 32, "the 32-bit numbers have wrapped");
    }
}
