//! Random numbers for handshakes, from a seed.

use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput as _, KeyInit as _, Update as _};
use zeroize::Zeroizing;

/// A generator whose output nobody can predict who does not know the seed: keyed BLAKE2s over a counter. The key is replaced
/// after each draw, so that what is in memory does not show what was drawn before.
#[derive(Clone)]
pub(crate) struct Random(Zeroizing<[u8; 32]>);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// Mixes two secrets into one seed.
    pub(crate) fn from_secrets(entropy: &[u8; 32], other: &[u8]) -> Self {
        Self(Zeroizing::new(keyed(entropy, other)))
    }

    /// Draws two values that nobody can guess.
    pub(crate) fn draw_values(&mut self) -> [u64; 2] {
        let drawn = self.draw();
        [0, 8].map(|at| u64::from_be_bytes(*drawn[at..].first_chunk().expect("32 bytes were drawn")))
    }

    pub(crate) fn draw(&mut self) -> Zeroizing<[u8; 32]> {
        let drawn = Zeroizing::new(keyed(&self.0, b"draw"));
        self.skip();
        drawn
    }

    /// Leaves out the next draw, which a clone has drawn.
    pub(super) fn skip(&mut self) {
        self.0 = Zeroizing::new(keyed(&self.0, b"next"));
    }
}

fn keyed(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let mut mac = Blake2sMac256::new(key.into());
    mac.update(text);
    mac.finalize_fixed().into()
}

impl core::fmt::Debug for Random {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_numbers_and_none_comes_twice() {
        let draw = |seed| {
            let mut random = Random::new([seed; 32]);
            (0..1000).map(|_| *random.draw()).collect::<alloc::vec::Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        let drawn: hashbrown::HashSet<_> = draw(1).into_iter().chain(draw(2)).collect();
        assert_eq!(drawn.len(), 2000);
    }
}
