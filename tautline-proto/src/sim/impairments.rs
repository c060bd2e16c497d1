//! What a simulated path does to datagrams.

use core::fmt;
use core::time::Duration;

use super::quantities::{BitRate, Probability};
use super::random::Random;

/// What a path does to datagrams. By default it does nothing.
///
/// A datagram passes the stages in this order: partition, size, loss, duplication, the queue before the limited rate, delay and
/// jitter, corruption, reordering. A copy passes the stages after duplication separately.
///
/// ```
/// use core::time::Duration;
/// use tautline_proto::sim::{Impairments, Probability};
///
/// let bad_day = Impairments {
///     loss: "10%".parse()?,
///     burst: Some(5.0),
///     jitter: Duration::from_millis(5),
///     ..Impairments::default()
/// };
/// assert!(bad_day.check().is_ok());
/// # Ok::<(), tautline_proto::sim::BadProbability>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairments {
    /// The share of datagrams that are lost.
    pub loss: Probability,
    /// How many datagrams are lost in a row on average, at least 1. `None`: each loss is independent. The model is Gilbert's,
    /// with a good state that loses nothing and a bad state that loses everything.
    pub burst: Option<f64>,
    /// The share of datagrams that arrive twice.
    pub duplicate: Probability,
    /// The share of datagrams that are held back until the next one has overtaken them, or for 50 ms. The path holds one
    /// datagram at a time, so at most every second datagram is overtaken.
    pub reorder: Probability,
    /// The share of datagrams in which one to three bits are flipped.
    pub corrupt: Probability,
    /// The delay of every datagram.
    pub delay: Duration,
    /// The largest additional delay. Each datagram gets a random part of it, evenly distributed. Datagrams that are sent within
    /// this time may overtake one another.
    pub jitter: Duration,
    /// The rate limit in bits per second. `None`: no limit.
    pub rate: Option<BitRate>,
    /// How many bytes may wait for the limited rate. A datagram that finds no room is dropped. A datagram that finds an empty
    /// queue always has room.
    pub queue: usize,
    /// The size of the largest datagram that passes, in bytes, without the headers of IP and UDP. Larger ones are lost, and
    /// nobody is told (a black hole, RFC 2923). `None`: all pass.
    pub max_size: Option<usize>,
    /// Whether all datagrams are lost.
    pub partition: bool,
}

/// The longest time for which reordering holds a datagram back, if no other one overtakes it.
pub(super) const MAX_HOLD: Duration = Duration::from_millis(50);

/// The default of [`Impairments::queue`], in bytes: about what a small router buffers.
pub const DEFAULT_QUEUE: usize = 65_536;

impl Default for Impairments {
    fn default() -> Self {
        Self {
            loss: Probability::NEVER,
            burst: None,
            duplicate: Probability::NEVER,
            reorder: Probability::NEVER,
            corrupt: Probability::NEVER,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            queue: DEFAULT_QUEUE,
            max_size: None,
            partition: false,
        }
    }
}

/// Why impairments contradict one another.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum BadImpairments {
    /// `burst` is below 1 or not a number.
    Burst,
    /// `loss` is too large for bursts this short: the bursts would have to follow one another without a gap.
    BurstTooShort {
        /// The configured loss.
        loss: Probability,
        /// The shortest burst that is possible with this loss. Infinite if all datagrams are lost.
        shortest: f64,
    },
}

impl fmt::Display for BadImpairments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Burst => {
                f.write_str("`burst` is the average number of losses in a row and must be 1 or more")
            }
            Self::BurstTooShort { loss, shortest } if shortest.is_finite() => {
                write!(f, "with a `loss` of {loss}, `burst` must be {shortest:.2} or more, or left out")
            }
            Self::BurstTooShort { loss, .. } => {
                write!(f, "with a `loss` of {loss}, every datagram is lost: leave `burst` out")
            }
        }
    }
}

impl core::error::Error for BadImpairments {}

impl Impairments {
    /// Checks that the values agree with one another. A [`Path`](super::Path) follows contradicting values as far as possible.
    ///
    /// # Errors
    ///
    /// No sequence of losses can have this burst.
    pub fn check(&self) -> Result<(), BadImpairments> {
        let Some(burst) = self.burst else { return Ok(()) };
        if !(burst.is_finite() && burst >= 1.0) {
            return Err(BadImpairments::Burst);
        }
        let shortest = odds(self.loss);
        if burst < shortest {
            return Err(BadImpairments::BurstTooShort { loss: self.loss, shortest });
        }
        Ok(())
    }
}

/// Returns how many datagrams are lost for each that is not. Infinite if all are lost.
fn odds(loss: Probability) -> f64 {
    loss.value() / (1.0 - loss.value())
}

/// The state of the loss model: whether the path is in its bad state. `None` before the first datagram.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loss {
    is_bad: Option<bool>,
}

impl Loss {
    /// Returns whether the next datagram is lost.
    pub(super) fn strikes(&mut self, impairments: &Impairments, random: &mut Random) -> bool {
        let loss = impairments.loss;
        let Some(burst) = impairments.burst.filter(|_| loss < Probability::ALWAYS) else {
            return loss.happens(random);
        };
        // The bad state lasts for `burst` datagrams on average. The good state lasts long enough for the share to be `loss`.
        let chance = match self.is_bad {
            None => loss,
            Some(true) => Probability::clamped(1.0 - 1.0 / burst),
            Some(false) => Probability::clamped(odds(loss) / burst),
        };
        let is_bad = chance.happens(random);
        self.is_bad = Some(is_bad);
        is_bad
    }
}

/// Flips one to three different bits of a datagram. Returns whether any was flipped: an empty datagram has no bits.
pub(super) fn corrupt(datagram: &mut [u8], random: &mut Random) -> bool {
    let bits = datagram.len() as u64 * 8;
    let wanted = (1 + random.below(3)).min(bits);
    let mut flipped = [u64::MAX; 3];
    let mut count = 0;
    while (count as u64) < wanted {
        let bit = random.below(bits);
        if flipped.contains(&bit) {
            continue;
        }
        flipped[count] = bit;
        count += 1;
        let at = usize::try_from(bit / 8).expect("within the datagram");
        datagram[at] ^= 1 << (bit % 8);
    }
    wanted > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(percent: f64) -> Probability {
        Probability::percent(percent).expect("a share")
    }

    /// Returns the share of losses and the mean length of their runs.
    fn losses(impairments: &Impairments) -> (f64, f64) {
        const N: u32 = 400_000;
        let (mut random, mut loss) = (Random::new(3), Loss::default());
        let (mut lost, mut runs, mut before) = (0u32, 0u32, false);
        for _ in 0..N {
            let now = loss.strikes(impairments, &mut random);
            lost += u32::from(now);
            runs += u32::from(now && !before);
            before = now;
        }
        (f64::from(lost) / f64::from(N), f64::from(lost) / f64::from(runs))
    }

    #[test]
    fn losses_have_the_configured_share_and_burst() {
        for (percent, burst, length) in
            [(2.0, None, 1.02), (30.0, None, 1.43), (2.0, Some(5.0), 5.0), (50.0, Some(20.0), 20.0)]
        {
            let impairments = Impairments { loss: share(percent), burst, ..Impairments::default() };
            let (lost, run) = losses(&impairments);
            assert!((lost * 100.0 - percent).abs() < percent * 0.1, "{percent} %: {lost}");
            assert!((run - length).abs() < length * 0.05, "{percent} % in {length}: {run}");
        }
    }

    #[test]
    fn losing_all_and_losing_none_are_exact() {
        for (loss, burst, lost) in [(0.0, Some(9.0), 0.0), (100.0, Some(9.0), 1.0), (100.0, None, 1.0)] {
            let impairments = Impairments { loss: share(loss), burst, ..Impairments::default() };
            assert_eq!(losses(&impairments).0, lost);
        }
    }

    #[test]
    fn impossible_bursts_are_refused() {
        let with = |loss, burst| Impairments { loss: share(loss), burst, ..Impairments::default() }.check();
        assert_eq!(with(10.0, Some(1.0)), Ok(()));
        assert_eq!(with(10.0, Some(0.5)), Err(BadImpairments::Burst));
        assert_eq!(with(10.0, Some(f64::NAN)), Err(BadImpairments::Burst));
        let Err(BadImpairments::BurstTooShort { shortest, .. }) = with(90.0, Some(5.0)) else {
            panic!("it is refused")
        };
        assert!((shortest - 9.0).abs() < 1e-9);
        assert!(with(100.0, Some(1e9)).is_err());
    }

    #[test]
    fn corruption_flips_one_to_three_different_bits() {
        let mut random = Random::new(1);
        let mut seen = [0u32; 4];
        for _ in 0..3000 {
            let mut datagram = [0u8; 3];
            assert!(corrupt(&mut datagram, &mut random));
            let flipped: u32 = datagram.iter().map(|byte| byte.count_ones()).sum();
            seen[usize::try_from(flipped).expect("small")] += 1;
        }
        assert!(seen[0] == 0 && seen[1..].iter().all(|seen| *seen > 800), "{seen:?}");
        assert!(!corrupt(&mut [], &mut random));
    }
}
