//! The share of the driver's time that strangers' handshakes may take. docs/protocol.md §5.5.
//!
//! A turn measures what serving a stranger takes, system calls and subscribers included. When the share is used up, the protocol
//! drops strangers' handshakes for a while. That costs less than a microsecond each, and no system call.

use std::time::Duration;

use tautline_proto::Instant as Steady;

/// Strangers may take one part in so many of the time.
const SHARE: u32 = 10;

/// The most that they may take at once: after a server's restart, some hundred clients return together.
const BURST: Duration = Duration::from_millis(10);

/// The most that one service counts. What takes longer was not the stranger: another thread had the core.
const MOST: Duration = Duration::from_millis(1);

/// What strangers may still take.
#[derive(Clone, Copy, Debug)]
pub(super) struct StrangersTime {
    left: Duration,
    /// From when on there is more for them.
    since: Steady,
}

impl StrangersTime {
    pub(super) const fn new(now: Steady) -> Self {
        Self { left: BURST, since: now }
    }

    /// Counts what serving a stranger has taken. Returns until when further strangers must wait, if they must.
    pub(super) fn spend(&mut self, spent: Duration, now: Steady) -> Option<Steady> {
        let left = BURST.min(self.left + now.since(self.since) / SHARE);
        let spent = spent.min(MOST);
        self.left = left.saturating_sub(spent);
        // The wait pays what was taken too much, so nothing is gained during it.
        let wait = spent.saturating_sub(left) * SHARE;
        self.since = now.plus(wait);
        (!wait.is_zero()).then_some(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_a_tenth_of_the_time_and_a_burst() {
        const US: Duration = Duration::from_micros(1);
        let at = |us: u64| Steady::from_nanos(us * 1_000);
        let mut time = StrangersTime::new(at(0));
        let served = (0..10_000).take_while(|_| time.spend(50 * US, at(0)).is_none()).count();
        assert_eq!(served, 200, "the burst");
        let (mut now, mut spent) = (0, Duration::ZERO);
        while now < 1_000_000 {
            spent += 50 * US;
            now = time.spend(50 * US, at(now)).map_or(now + 50, |until| until.as_nanos() / 1_000);
        }
        assert!((99_000..=101_000).contains(&spent.as_micros()), "{spent:?} of a second");
        assert!(time.spend(Duration::from_secs(3), at(now)).is_some_and(|until| until <= at(now + 11_000)));
    }
}
