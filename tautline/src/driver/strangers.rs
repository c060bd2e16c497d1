//! The time that strangers may take: for handshakes, and for the messages for all that newcomers get. docs/protocol.md §5.5.
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

/// How much of the time messages for all take, and newcomers' part of it: a server that cannot serve more peers takes no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeToAll {
    /// The line's count at the last look, in nanoseconds, and when that was.
    seen: u64,
    looked: Steady,
}

/// The part of the time that messages for all may take before no further peer is taken, if there are so many listeners already.
const SHARE_OF_ALL: u32 = 4;
const MANY: u32 = 64;

/// How often to look, at most.
const LOOK: Duration = Duration::from_millis(10);

/// How long strangers must wait if there are too many newcomers.
const PAUSE: Duration = Duration::from_millis(50);

impl TimeToAll {
    pub(super) const fn new(now: Steady) -> Self {
        Self { seen: 0, looked: now }
    }

    /// Whether it is worth a [look](Self::look).
    #[inline]
    pub(super) fn has_grown(&self, count: u64, now: Steady) -> bool {
        count != self.seen && now.since(self.looked) >= LOOK
    }

    /// `newcomers` of the `listeners` came lately. Returns until when strangers must wait, if they must: while messages for
    /// many take a quarter of the time, or newcomers' part of it a tenth.
    #[cold]
    pub(super) fn look(
        &mut self,
        count: u64,
        newcomers: usize,
        listeners: u64,
        now: Steady,
    ) -> Option<Steady> {
        let spent = Duration::from_nanos(count.wrapping_sub(self.seen));
        let passed = now.since(self.looked);
        (self.seen, self.looked) = (count, now);
        let newcomers = u32::try_from(newcomers).unwrap_or(u32::MAX);
        let listeners = u32::try_from(listeners).unwrap_or(u32::MAX).max(newcomers).max(1);
        let all_take_much = listeners >= MANY && spent > passed / SHARE_OF_ALL;
        let is_too_much = all_take_much || spent / listeners * newcomers > passed / SHARE;
        is_too_much.then(|| now.plus(PAUSE))
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

    #[test]
    fn strangers_wait_while_newcomers_take_a_tenth_or_all_take_a_quarter() {
        let at = |ms: u64| Steady::from_nanos(ms * 1_000_000);
        // In 100 ms: the time that messages for all take, in ms, and the newcomers among 100 listeners.
        for (spent, newcomers, must_wait) in
            [(24, 0, false), (26, 0, true), (20, 40, false), (20, 60, true), (9, 100, false)]
        {
            let mut time = TimeToAll::new(at(0));
            let count = spent * 1_000_000;
            assert!(
                !time.has_grown(0, at(100))
                    && !time.has_grown(count, at(1))
                    && time.has_grown(count, at(100))
            );
            let until = time.look(count, newcomers, 100, at(100));
            assert_eq!(until, must_wait.then(|| at(150)), "{spent} ms, {newcomers} newcomers");
            assert!(!time.has_grown(count, at(200)));
        }
        // A server that sends to a few as fast as it can takes further ones.
        assert_eq!(TimeToAll::new(at(0)).look(90_000_000, 0, 63, at(100)), None);
    }
}
