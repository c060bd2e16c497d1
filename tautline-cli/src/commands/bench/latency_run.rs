//! One measurement of round trips on a transport. It runs in one piece, or in slices that alternate with the slices of
//! another measurement.

use std::time::{Duration, Instant};

use super::time_line::TimeLine;
use super::transport::Transport;
use super::watch::ProgressWatch;
use crate::tools::exit::Failure;
use crate::tools::interrupt::LOOK_EVERY;
use crate::tools::pace::Pace;
use crate::tools::round_trips::RoundTrips;

/// The other end counts as gone when more than this many messages in a row are unanswered, for as many time-outs.
const GONE_AFTER_MESSAGES: u32 = 5;

/// The shortest silence after which the other end counts as gone. With a short time-out, a short stall is not enough.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatencyPlan {
    /// The messages per second. `None` means ping-pong: each message is sent when the previous one is back.
    pub(super) rate: Option<f64>,
    pub(super) end: RunEnd,
    /// An answer that takes longer counts as lost.
    pub(super) timeout: Duration,
}

/// The condition for the end of the measurement.
#[derive(Clone, Copy, Debug)]
pub(super) enum RunEnd {
    Messages(u64),
    After(Duration),
}

/// A measurement and its results so far.
#[derive(Debug)]
pub(super) struct LatencyRun {
    plan: LatencyPlan,
    pub(super) trips: RoundTrips,
    pub(super) time_line: TimeLine,
    /// The total time of all slices so far.
    pub(super) spent: Duration,
    /// Sending times that passed because this thread did not run in time.
    pub(super) skipped: u64,
    pub(super) is_gone: bool,
    /// Messages of earlier slices that are no longer waited for.
    abandoned: u64,
    silence: UnansweredStreak,
}

/// The messages sent since the last answer. Without sent messages, silence does not mean that the other end is gone.
#[derive(Clone, Copy, Debug, Default)]
struct UnansweredStreak {
    messages: u32,
    /// The time at which the first of them was sent.
    since: Option<Instant>,
}

impl UnansweredStreak {
    fn sent(&mut self, now: Instant) {
        self.messages = self.messages.saturating_add(1);
        self.since.get_or_insert(now);
    }

    fn means_gone(self, now: Instant, timeout: Duration) -> bool {
        let limit = timeout.saturating_mul(GONE_AFTER_MESSAGES).max(SHORTEST_SILENCE);
        self.messages > GONE_AFTER_MESSAGES
            && self.since.is_some_and(|since| now.saturating_duration_since(since) > limit)
    }
}

impl LatencyRun {
    pub(super) fn new(plan: LatencyPlan) -> Self {
        let length = match plan.end {
            RunEnd::After(length) => Some(length),
            RunEnd::Messages(_) => None,
        };
        Self {
            plan,
            trips: RoundTrips::new(),
            time_line: TimeLine::new(length),
            spent: Duration::ZERO,
            skipped: 0,
            is_gone: false,
            abandoned: 0,
            silence: UnansweredStreak::default(),
        }
    }

    /// Returns the share of the measurement that is done, from 0 to 1.
    fn share_at(&self, spent: Duration) -> f64 {
        match self.plan.end {
            RunEnd::Messages(count) => self.trips.sent_count() as f64 / count as f64,
            RunEnd::After(length) => spent.as_secs_f64() / length.as_secs_f64(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over_at(self.spent)
    }

    fn is_over_at(&self, spent: Duration) -> bool {
        self.is_gone
            || match self.plan.end {
                RunEnd::Messages(count) => self.trips.sent_count() >= count,
                RunEnd::After(length) => spent >= length,
            }
    }

    /// Runs one slice, and then waits for the messages in flight.
    pub(super) fn run(
        &mut self,
        line: &mut dyn Transport,
        slice: Duration,
        watch: &ProgressWatch,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let rate = self.plan.rate;
        let slice = Slice { start, length: slice, line, watch, run: self };
        match rate {
            None => slice.ping_pong()?,
            Some(rate) => slice.paced(Pace::new(rate, start))?,
        }
        self.abandoned = self.trips.unanswered();
        Ok(())
    }
}

/// One slice of a measurement.
struct Slice<'a> {
    start: Instant,
    length: Duration,
    line: &'a mut dyn Transport,
    watch: &'a ProgressWatch,
    run: &'a mut LatencyRun,
}

impl Slice<'_> {
    fn ping_pong(mut self) -> Result<(), Failure> {
        let mut now = self.start;
        while !self.is_over(now) {
            self.send()?;
            now = self.drain()?;
        }
        self.run.spent += now.saturating_duration_since(self.start);
        Ok(())
    }

    fn paced(mut self, mut pace: Pace) -> Result<(), Failure> {
        let mut now = self.start;
        while !self.is_over(now) {
            if pace.next() <= now {
                self.send()?;
                self.run.skipped += pace.sent(now);
            }
            let wait = pace.next().saturating_duration_since(Instant::now()).min(LOOK_EVERY);
            match (self.is_waiting(), wait.is_zero()) {
                (_, true) => {}
                (true, _) => self.receive(wait)?,
                (false, _) => self.line.rest(wait),
            }
            now = Instant::now();
        }
        self.run.spent += now.saturating_duration_since(self.start);
        self.drain().map(drop)
    }

    fn is_over(&mut self, now: Instant) -> bool {
        self.run.is_gone = self.run.silence.means_gone(now, self.run.plan.timeout);
        let elapsed = now.saturating_duration_since(self.start);
        let (run, spent) = (&*self.run, self.run.spent + elapsed);
        self.watch.show(now, || run.share_at(spent), run.trips.answered_count());
        self.watch.is_asked() || elapsed >= self.length || run.is_over_at(spent)
    }

    fn send(&mut self) -> Result<(), Failure> {
        let number = self.run.trips.next_number();
        let now = Instant::now();
        self.run.trips.sent(now);
        self.run.silence.sent(now);
        self.line.send(number)
    }

    /// Waits until all messages in flight are answered or too late, and returns the time. It also waits after Ctrl-C,
    /// because a message without this wait would look like a loss.
    fn drain(&mut self) -> Result<Instant, Failure> {
        let mut now = Instant::now();
        let deadline = now + self.run.plan.timeout;
        while self.is_waiting() && now < deadline {
            self.receive(self.run.plan.timeout.min(LOOK_EVERY))?;
            now = Instant::now();
        }
        self.run.abandoned = self.run.trips.unanswered();
        Ok(now)
    }

    fn is_waiting(&self) -> bool {
        self.run.trips.unanswered() > self.run.abandoned
    }

    fn receive(&mut self, wait: Duration) -> Result<(), Failure> {
        let LatencyRun { trips, time_line, plan, spent, silence, .. } = &mut *self.run;
        let (start, spent) = (self.start, *spent);
        self.line.receive(wait, &mut |number| {
            let now = Instant::now();
            // A late answer counts as lost, but it shows that the other end is alive.
            *silence = UnansweredStreak::default();
            if let Some(round_trip) = trips.answered(number, now, plan.timeout) {
                time_line.add(spent + now.saturating_duration_since(start), round_trip);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_other_end_is_gone_when_several_messages_stay_unanswered_for_long_enough() {
        let start = Instant::now();
        // The messages sent, the time between them, the time-out, the time since the first message, and whether the
        // other end counts as gone.
        for (messages, apart, timeout, after, is_gone) in [
            (1, MS, 10 * MS, 60_000 * MS, false),
            (5, 10_000 * MS, 1000 * MS, 49_000 * MS, false),
            (6, 10_000 * MS, 1000 * MS, 50_001 * MS, true),
            (50, 10 * MS, 10 * MS, 500 * MS, false),
            (101, 10 * MS, 10 * MS, 1001 * MS, true),
            (4000, MS, 1000 * MS, 4000 * MS, false),
            (5001, MS, 1000 * MS, 5001 * MS, true),
        ] {
            let mut silence = UnansweredStreak::default();
            (0..messages).for_each(|n| silence.sent(start + apart * n));
            assert_eq!(silence.means_gone(start + after, timeout), is_gone, "{messages} {after:?}");
        }
    }

    /// Answers each message after `late` further messages were sent.
    struct Echo {
        sent: u64,
        answered: u64,
        late: u64,
    }

    impl Transport for Echo {
        fn send(&mut self, _: u64) -> Result<(), Failure> {
            self.sent += 1;
            Ok(())
        }

        fn receive(&mut self, wait: Duration, back: &mut dyn FnMut(u64)) -> Result<(), Failure> {
            if self.answered + self.late < self.sent {
                back(self.answered);
                self.answered += 1;
            } else {
                self.rest(wait);
            }
            Ok(())
        }

        fn rest(&mut self, wait: Duration) {
            std::thread::sleep(wait);
        }
    }

    fn run(plan: LatencyPlan, late: u64) -> LatencyRun {
        let mut run = LatencyRun::new(plan);
        let mut line = Echo { sent: 0, answered: 0, late };
        run.run(&mut line, Duration::MAX, &ProgressWatch::idle()).expect("this transport does not fail");
        run
    }

    #[test]
    fn a_period_longer_than_many_time_outs_does_not_count_as_silence() {
        let plan = LatencyPlan { rate: Some(50.0), end: RunEnd::Messages(3), timeout: MS };
        let run = run(plan, 0);
        assert_eq!((run.trips.sent_count(), run.is_gone), (3, false));
    }

    #[test]
    fn late_answers_count_as_lost_but_do_not_end_the_run() {
        let plan = LatencyPlan { rate: None, end: RunEnd::After(1300 * MS), timeout: MS };
        let run = run(plan, 1);
        assert!(!run.is_gone && run.trips.answered_count() == 0, "{run:?}");
    }
}
