//! The time that messages for all may take before no further stranger becomes a peer. docs/protocol.md §5.5.

use std::time::Duration;

use tautline_proto::Instant as Steady;

use super::waiting_strangers::SHARE;

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
