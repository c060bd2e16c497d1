//! How long to ask the socket again and again before sleeping.
//!
//! Waking a core that has fallen asleep takes some 30 us, more than all else on a message's way together; asking takes
//! none of that, but a core. So whoever waits asks for a while, giving the core to others between two questions, and
//! stops doing so while it does not pay: when answers keep coming later than that, and when the core comes back
//! late, because somebody else needs it.

use std::time::{Duration, Instant};

use crate::config::WaitPolicy;

/// How long a wait asks before it sleeps.
const ASK_FOR: Duration = Duration::from_micros(100);

/// So many questions, some 1.5 us, and others get the core.
const QUESTIONS: u32 = 4;

/// A core that was given away for longer is wanted by somebody else, or was interrupted.
const LATE: Duration = Duration::from_micros(200);

/// It is wanted where it came back late twice within this time: who wants it wants it every time.
const SOON_AGAIN: Duration = Duration::from_millis(50);

/// So many waits in a row whose asking was in vain, and asking stops.
const MOST_MISSES: u32 = 4;

/// So many sleeps in a row that asking would have spared, and asking begins again.
const SHORT_SLEEPS: u32 = 8;

/// How long asking stops where somebody else wants the core; doubled every time, until asking went well for as long as
/// the last pause was.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Decides whether a wait asks or sleeps, from what became of the waits before.
#[derive(Debug)]
pub(crate) struct Patience {
    policy: WaitPolicy,
    questions: u32,
    misses: u32,
    short_sleeps: u32,
    pause: Duration,
    paused_until: Option<Instant>,
    late_at: Option<Instant>,
}

/// What to do after a question that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Ask,
    /// Ask after others have had the core.
    Yield,
    Sleep,
}

impl Patience {
    pub(crate) const fn new(policy: WaitPolicy) -> Self {
        Self {
            policy,
            questions: 0,
            misses: 0,
            short_sleeps: 0,
            pause: FIRST_PAUSE,
            paused_until: None,
            late_at: None,
        }
    }

    /// Whether a wait that begins now asks at all.
    pub(crate) fn asks(&self, now: Instant) -> bool {
        match self.policy {
            WaitPolicy::Spin => true,
            WaitPolicy::Block => false,
            WaitPolicy::Adaptive => {
                self.paused_until.is_none_or(|until| until <= now) && self.misses < MOST_MISSES
            }
        }
    }

    /// What to do after having asked in vain since `began`.
    pub(crate) fn next(&mut self, began: Instant, now: Instant) -> Next {
        match self.policy {
            WaitPolicy::Spin => Next::Ask,
            WaitPolicy::Block => Next::Sleep,
            WaitPolicy::Adaptive if now.saturating_duration_since(began) < ASK_FOR => {
                self.questions = (self.questions + 1) % QUESTIONS;
                if self.questions == 0 { Next::Yield } else { Next::Ask }
            }
            WaitPolicy::Adaptive => {
                self.misses += 1;
                self.short_sleeps = 0;
                Next::Sleep
            }
        }
    }

    /// The core was given away, and came back after `away`; whether to go on asking.
    pub(crate) fn returned(&mut self, away: Duration, now: Instant) -> bool {
        if away <= LATE {
            return true;
        }
        let since = self.late_at.replace(now).map(|last| now.saturating_duration_since(last));
        if since.is_none_or(|since| since > SOON_AGAIN) {
            return true;
        }
        self.late_at = None;
        if self.paused_until.is_none_or(|until| now.saturating_duration_since(until) > self.pause) {
            self.pause = FIRST_PAUSE;
        }
        self.paused_until = now.checked_add(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        false
    }

    /// Asking was answered.
    pub(crate) fn answered(&mut self) {
        self.misses = 0;
    }

    /// A wait slept for so long.
    pub(crate) fn slept(&mut self, length: Duration) {
        self.short_sleeps = if length < ASK_FOR { self.short_sleeps + 1 } else { 0 };
        if self.short_sleeps >= SHORT_SLEEPS {
            self.short_sleeps = 0;
            self.misses = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// Asks in vain for as long as a wait does.
    fn miss(patience: &mut Patience, now: Instant) {
        let next: Vec<_> = (0..QUESTIONS).map(|_| patience.next(now, now + us(1))).collect();
        assert_eq!(next.iter().filter(|&&next| next == Next::Yield).count(), 1);
        assert_eq!(patience.next(now, now + ASK_FOR), Next::Sleep);
    }

    #[test]
    fn asking_stops_where_it_is_in_vain_and_begins_again_where_it_would_have_paid() {
        let (mut patience, now) = (Patience::new(WaitPolicy::Adaptive), Instant::now());
        for _ in 0..MOST_MISSES {
            assert!(patience.asks(now));
            miss(&mut patience, now);
            patience.slept(us(900));
        }
        assert!(!patience.asks(now));
        for _ in 0..SHORT_SLEEPS {
            assert!(!patience.asks(now));
            patience.slept(us(60));
        }
        assert!(patience.asks(now));
    }

    #[test]
    fn an_answer_now_and_then_keeps_it_asking() {
        let (mut patience, now) = (Patience::new(WaitPolicy::Adaptive), Instant::now());
        for _ in 0..100 {
            miss(&mut patience, now);
            patience.answered();
        }
        assert!(patience.asks(now));
    }

    /// The core comes back late twice.
    fn is_wanted(patience: &mut Patience, now: Instant) {
        assert!(patience.returned(us(3_000), now - us(3_000)));
        assert!(!patience.returned(us(3_000), now));
    }

    #[test]
    fn a_core_that_somebody_wants_stops_it_for_longer_every_time() {
        let (mut patience, now) = (Patience::new(WaitPolicy::Adaptive), Instant::now());
        is_wanted(&mut patience, now);
        // However short the sleeps are.
        (0..2 * SHORT_SLEEPS).for_each(|_| patience.slept(us(1)));
        assert!(!patience.asks(now + FIRST_PAUSE - us(1)));
        let later = now + FIRST_PAUSE;
        assert!(patience.asks(later));
        is_wanted(&mut patience, later);
        assert!(!patience.asks(later + FIRST_PAUSE));
        assert!(patience.asks(later + 2 * FIRST_PAUSE));
        // It went well for a long time.
        let much_later = later + 20 * FIRST_PAUSE;
        is_wanted(&mut patience, much_later);
        assert!(patience.asks(much_later + FIRST_PAUSE));
    }

    #[test]
    fn an_interruption_now_and_then_does_not_stop_it() {
        let (mut patience, now) = (Patience::new(WaitPolicy::Adaptive), Instant::now());
        for count in 0..20 {
            let at = now + count * (SOON_AGAIN + us(1));
            assert!(patience.returned(us(3_000), at) && patience.asks(at));
        }
        assert!(patience.returned(LATE, now));
    }

    #[test]
    fn the_other_policies_never_change() {
        let now = Instant::now();
        let (mut spin, mut block) = (Patience::new(WaitPolicy::Spin), Patience::new(WaitPolicy::Block));
        assert_eq!((spin.asks(now), spin.next(now, now + us(5_000))), (true, Next::Ask));
        assert_eq!((block.asks(now), block.next(now, now)), (false, Next::Sleep));
    }
}
