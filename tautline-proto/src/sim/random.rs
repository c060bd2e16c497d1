//! The random numbers of the simulation. They are the same on every machine for the same seed.

use core::time::Duration;

use crate::time::duration_ns;

/// A seeded generator of pseudo-random numbers: SplitMix64 (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014). It is a counter with a good mixing function.
///
/// Not for secrets: one output shows all outputs that follow.
///
/// ```
/// use tautline_proto::sim::Random;
///
/// let (mut one, mut other) = (Random::new(7), Random::new(7));
/// assert_eq!(one.next_u64(), other.next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct Random(u64);

/// The counter's step, from the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Creates the generator with this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Creates generator number `stream` of many that share a seed and are independent of one another.
    #[must_use]
    pub const fn stream(seed: u64, stream: u64) -> Self {
        // Mixes twice, because the exclusive or of two mixed numbers would be the same for (3, 5) and (5, 3).
        Self(mix(mix(seed.wrapping_add(STEP)) ^ stream))
    }

    /// Returns the next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Returns a number from 0 to `end - 1`, or 0 if `end` is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        // Takes the high half of the product. The distribution is uneven by less than one part in 2^64 / end.
        #[allow(clippy::cast_possible_truncation)] // the high half
        let high = ((self.next_u64() as u128 * end as u128) >> 64) as u64;
        high
    }

    /// Returns a number of at least 0 and less than 1, in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a duration of at least 0 and less than `end`.
    pub fn up_to(&mut self, end: Duration) -> Duration {
        Duration::from_nanos(self.below(duration_ns(end)))
    }
}

const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_those_of_splitmix64() {
        // Other implementations give these outputs for this seed.
        let mut random = Random::new(1_234_567);
        let outputs = [
            6_457_827_717_110_365_317_u64,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for output in outputs {
            assert_eq!(random.next_u64(), output);
        }
    }

    #[test]
    fn numbers_are_spread_evenly_below_their_end() {
        let mut random = Random::new(1);
        let mut hits = [0u32; 10];
        for _ in 0..100_000 {
            hits[usize::try_from(random.below(10)).expect("small")] += 1;
        }
        assert!(hits.iter().all(|hits| (9_500..10_500).contains(hits)), "{hits:?}");
        assert_eq!(random.below(0), 0);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.unit())));
    }

    #[test]
    fn streams_of_one_seed_differ_in_their_first_number() {
        let first = |seed, stream| Random::stream(seed, stream).next_u64();
        let mut seen: alloc::vec::Vec<u64> =
            (0..50).flat_map(|seed| (0..50).map(move |stream| first(seed, stream))).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 2500);
    }
}
