//! A network that loses datagrams. It is the same for every library, and works where a program reads from its socket: a proxy
//! or a queue of the kernel would be a bottleneck itself, and would lose datagrams that were sent in one call (GSO) together.

/// Decides which of the datagrams that an end reads are lost.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The share that is lost, of 2^32.
    share: u64,
    state: u64,
}

impl Loss {
    /// Reads the share from a mode, such as `reliable-10` for 10 %.
    ///
    /// # Errors
    ///
    /// When the mode does not end with a share from 0 to 99.
    pub fn of_mode(mode: &str) -> Result<Self, String> {
        let percent = mode.strip_prefix("reliable-").and_then(|text| text.parse::<u64>().ok());
        let percent = percent.filter(|percent| *percent < 100);
        let percent = percent.ok_or_else(|| format!("{mode}: expected reliable-0 to reliable-99"))?;
        Ok(Self { share: (percent << 32) / 100, state: 0x9E37_79B9_7F4A_7C15 })
    }

    /// Returns the share of datagrams that is lost, in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        self.share as f64 / (1_u64 << 32) as f64 * 100.0
    }

    /// Whether the next datagram is lost.
    pub fn takes_next(&mut self) -> bool {
        if self.share == 0 {
            return false;
        }
        // xorshift64* (Vigna, 2016). Which datagrams are lost is the same in every run.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32 < self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_the_mode_is_lost() {
        for (mode, expected) in [("reliable-0", 0.0), ("reliable-1", 1.0), ("reliable-10", 10.0)] {
            let mut loss = Loss::of_mode(mode).unwrap();
            let lost = (0..1_000_000).filter(|_| loss.takes_next()).count() as f64 / 10_000.0;
            assert!((lost - expected).abs() < 0.2, "{mode}: {lost} %");
            assert!((loss.percent() - expected).abs() < 1e-6);
        }
        assert!(Loss::of_mode("reliable-100").is_err() && Loss::of_mode("blocking").is_err());
    }
}
