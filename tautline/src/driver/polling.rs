//! Adaptive polling: how long to poll the socket before sleeping.
//!
//! Waking a sleeping core takes 30 us, more than all else on the path of a message together. Polling avoids that, but takes a
//! core. So the waiting thread polls for a while, and yields the core to other threads between polls. It stops polling while
//! that does not pay: if datagrams keep coming later, or if the core comes back late because another thread needs it.

use std::time::Duration;

use tautline_proto::Instant as Steady;

use crate::config::WaitPolicy;

/// How long a wait polls before it sleeps.
const POLL_FOR: Duration = Duration::from_micros(100);

/// The number of polls, 1.5 us in all, after which other threads get the core.
const POLLS: u32 = 4;

/// If the core comes back later than this, another thread wanted it, or it was interrupted.
const LATE: Duration = Duration::from_micros(200);

/// Two late returns within this time mean that another thread wants this core.
const SOON_AGAIN: Duration = Duration::from_millis(50);

/// The number of waits in a row without success after which polling stops.
const MOST_MISSES: u32 = 4;

/// The number of short sleeps in a row, which polling would have avoided, after which polling begins again.
const SHORT_SLEEPS: u32 = 8;

/// How long polling stops if another thread wants the core. Doubled each time, until polling went well for as long as the last
/// pause.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Decides whether a wait polls or sleeps, from the results of earlier waits.
#[derive(Debug)]
pub(crate) struct Polling {
    policy: WaitPolicy,
    polls: u32,
    misses: u32,
    short_sleeps: u32,
    pause: Duration,
    paused_until: Option<Steady>,
    late_at: Option<Steady>,
}

/// What to do after a poll that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Poll,
    /// Yield the core, and poll again.
    Yield,
    Sleep,
}

impl Polling {
    pub(crate) const fn new(policy: WaitPolicy) -> Self {
        Self {
            policy,
            polls: 0,
            misses: 0,
            short_sleeps: 0,
            pause: FIRST_PAUSE,
            paused_until: None,
            late_at: None,
        }
    }

    /// Whether a wait that begins now polls at all.
    pub(crate) fn polls_first(&self, now: Steady) -> bool {
        match self.policy {
            WaitPolicy::Spin => true,
            WaitPolicy::Block => false,
            WaitPolicy::Adaptive => !self.is_crowded(now) && self.misses < MOST_MISSES,
        }
    }

    /// Whether other threads have wanted the core lately, so that polling has stopped.
    pub(crate) fn is_crowded(&self, now: Steady) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// What to do after polling without success since `began`.
    pub(crate) fn next(&mut self, began: Steady, now: Steady) -> Next {
        match self.policy {
            WaitPolicy::Spin => Next::Poll,
            WaitPolicy::Block => Next::Sleep,
            WaitPolicy::Adaptive if now.since(began) < POLL_FOR => {
                self.polls = (self.polls + 1) % POLLS;
                if self.polls == 0 { Next::Yield } else { Next::Poll }
            }
            WaitPolicy::Adaptive => {
                self.misses += 1;
                self.short_sleeps = 0;
                Next::Sleep
            }
        }
    }

    /// Records that the core came back after `away`. Returns whether to go on polling.
    pub(crate) fn returned(&mut self, away: Duration, now: Steady) -> bool {
        if away <= LATE {
            return true;
        }
        let since = self.late_at.replace(now).map(|last| now.since(last));
        if since.is_none_or(|since| since > SOON_AGAIN) {
            return true;
        }
        self.late_at = None;
        if self.paused_until.is_none_or(|until| now.since(until) > self.pause) {
            self.pause = FIRST_PAUSE;
        }
        self.paused_until = Some(now.plus(self.pause));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        false
    }

    /// Records that a poll found a datagram.
    pub(crate) fn answered(&mut self) {
        self.misses = 0;
    }

    /// Records that a wait slept for this time.
    pub(crate) fn slept(&mut self, length: Duration) {
        self.short_sleeps = if length < POLL_FOR { self.short_sleeps + 1 } else { 0 };
        if self.short_sleeps >= SHORT_SLEEPS {
            self.short_sleeps = 0;
            self.misses = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Steady = Steady::from_nanos(1_000_000_000_000);

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// A wait that polls without success and then sleeps.
    fn miss(polling: &mut Polling, now: Steady) {
        let next: Vec<_> = (0..POLLS).map(|_| polling.next(now, now.plus(us(1)))).collect();
        assert_eq!(next.iter().filter(|&&next| next == Next::Yield).count(), 1);
        assert_eq!(polling.next(now, now.plus(POLL_FOR)), Next::Sleep);
    }

    #[test]
    fn polling_stops_after_misses_and_begins_again_after_short_sleeps() {
        let (mut polling, now) = (Polling::new(WaitPolicy::Adaptive), NOW);
        for _ in 0..MOST_MISSES {
            assert!(polling.polls_first(now));
            miss(&mut polling, now);
            polling.slept(us(900));
        }
        assert!(!polling.polls_first(now));
        for _ in 0..SHORT_SLEEPS {
            assert!(!polling.polls_first(now));
            polling.slept(us(60));
        }
        assert!(polling.polls_first(now));
    }

    #[test]
    fn an_occasional_datagram_keeps_polling_on() {
        let (mut polling, now) = (Polling::new(WaitPolicy::Adaptive), NOW);
        for _ in 0..100 {
            miss(&mut polling, now);
            polling.answered();
        }
        assert!(polling.polls_first(now));
    }

    /// Reports two late returns: another thread wants the core.
    fn two_late_returns(polling: &mut Polling, now: Steady) {
        assert!(polling.returned(us(3_000), Steady::from_nanos(now.as_nanos() - 3_000_000)));
        assert!(!polling.returned(us(3_000), now));
    }

    #[test]
    fn polling_pauses_longer_each_time_another_thread_wants_the_core() {
        let (mut polling, now) = (Polling::new(WaitPolicy::Adaptive), NOW);
        two_late_returns(&mut polling, now);
        // The length of the sleeps does not matter.
        (0..2 * SHORT_SLEEPS).for_each(|_| polling.slept(us(1)));
        assert!(!polling.polls_first(now.plus(FIRST_PAUSE - us(1))));
        let later = now.plus(FIRST_PAUSE);
        assert!(polling.polls_first(later));
        two_late_returns(&mut polling, later);
        assert!(!polling.polls_first(later.plus(FIRST_PAUSE)));
        assert!(polling.polls_first(later.plus(2 * FIRST_PAUSE)));
        // After a long time without a pause, the pause is short again.
        let much_later = later.plus(20 * FIRST_PAUSE);
        two_late_returns(&mut polling, much_later);
        assert!(polling.polls_first(much_later.plus(FIRST_PAUSE)));
    }

    #[test]
    fn an_occasional_interruption_does_not_stop_polling() {
        let (mut polling, now) = (Polling::new(WaitPolicy::Adaptive), NOW);
        for count in 0..20 {
            let at = now.plus(count * (SOON_AGAIN + us(1)));
            assert!(polling.returned(us(3_000), at) && polling.polls_first(at));
        }
        assert!(polling.returned(LATE, now));
    }

    #[test]
    fn spin_and_block_do_not_adapt() {
        let now = NOW;
        let (mut spin, mut block) = (Polling::new(WaitPolicy::Spin), Polling::new(WaitPolicy::Block));
        assert_eq!((spin.polls_first(now), spin.next(now, now.plus(us(5_000)))), (true, Next::Poll));
        assert_eq!((block.polls_first(now), block.next(now, now)), (false, Next::Sleep));
    }
}
