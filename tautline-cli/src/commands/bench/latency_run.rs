//! One measurement of round trips, on whatever line, in one piece or in slices between those of another.

use std::time::{Duration, Instant};

use super::time_line::TimeLine;
use super::transport::Transport;
use super::watch::Watch;
use crate::tools::exit::Failure;
use crate::tools::interrupt::LOOK_EVERY;
use crate::tools::pace::Pace;
use crate::tools::round_trips::RoundTrips;

/// A line on which more messages than this in a row went unanswered, for as many time-outs, is dead ...
const DEAD_AFTER: u32 = 5;

/// ... but not after a shorter time: with a short time-out that is a hiccup.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatencyPlan {
    /// Messages per second; without it each goes when the one before is back.
    pub(super) rate: Option<f64>,
    pub(super) end: RunEnd,
    /// An answer that takes longer counts as lost.
    pub(super) timeout: Duration,
}

/// How long it goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum RunEnd {
    Messages(u64),
    After(Duration),
}

/// How far it is.
#[derive(Debug)]
pub(super) struct LatencyRun {
    plan: LatencyPlan,
    pub(super) trips: RoundTrips,
    pub(super) time_line: TimeLine,
    /// The time of all slices so far.
    pub(super) spent: Duration,
    /// Sending times that passed because this thread did not run in time.
    pub(super) skipped: u64,
    pub(super) is_dead: bool,
    /// Messages given up in earlier slices.
    given_up: u64,
    silence: UnansweredStreak,
}

/// What was sent since something was last heard: where nothing was, nothing need come.
#[derive(Clone, Copy, Debug, Default)]
struct UnansweredStreak {
    messages: u32,
    /// When the first of them was sent.
    since: Option<Instant>,
}

impl UnansweredStreak {
    fn sent(&mut self, now: Instant) {
        self.messages = self.messages.saturating_add(1);
        self.since.get_or_insert(now);
    }

    fn is_death(self, now: Instant, timeout: Duration) -> bool {
        let patience = timeout.saturating_mul(DEAD_AFTER).max(SHORTEST_SILENCE);
        self.messages > DEAD_AFTER
            && self.since.is_some_and(|since| now.saturating_duration_since(since) > patience)
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
            is_dead: false,
            given_up: 0,
            silence: UnansweredStreak::default(),
        }
    }

    /// From 0 to 1.
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
        self.is_dead
            || match self.plan.end {
                RunEnd::Messages(count) => self.trips.sent_count() >= count,
                RunEnd::After(length) => spent >= length,
            }
    }

    /// Goes on for one slice, and waits for what is then under way.
    pub(super) fn run(
        &mut self,
        line: &mut dyn Transport,
        slice: Duration,
        watch: &Watch,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let rate = self.plan.rate;
        let slice = Slice { start, length: slice, line, watch, course: self };
        match rate {
            None => slice.ping_pong()?,
            Some(rate) => slice.paced(Pace::new(rate, start))?,
        }
        self.given_up = self.trips.unanswered();
        Ok(())
    }
}

/// A course at work.
struct Slice<'a> {
    start: Instant,
    length: Duration,
    line: &'a mut dyn Transport,
    watch: &'a Watch,
    course: &'a mut LatencyRun,
}

impl Slice<'_> {
    fn ping_pong(mut self) -> Result<(), Failure> {
        let mut now = self.start;
        while !self.is_over(now) {
            self.send()?;
            now = self.drain()?;
        }
        self.course.spent += now.saturating_duration_since(self.start);
        Ok(())
    }

    fn paced(mut self, mut pace: Pace) -> Result<(), Failure> {
        let mut now = self.start;
        while !self.is_over(now) {
            if pace.next() <= now {
                self.send()?;
                self.course.skipped += pace.sent(now);
            }
            let wait = pace.next().saturating_duration_since(Instant::now()).min(LOOK_EVERY);
            match (self.is_waiting(), wait.is_zero()) {
                (_, true) => {}
                (true, _) => self.receive(wait)?,
                (false, _) => self.line.rest(wait),
            }
            now = Instant::now();
        }
        self.course.spent += now.saturating_duration_since(self.start);
        self.drain().map(drop)
    }

    fn is_over(&mut self, now: Instant) -> bool {
        self.course.is_dead = self.course.silence.is_death(now, self.course.plan.timeout);
        let elapsed = now.saturating_duration_since(self.start);
        let (course, spent) = (&*self.course, self.course.spent + elapsed);
        self.watch.show(now, || course.share_at(spent), course.trips.answered_count());
        self.watch.is_asked() || elapsed >= self.length || course.is_over_at(spent)
    }

    fn send(&mut self) -> Result<(), Failure> {
        let number = self.course.trips.next_number();
        let now = Instant::now();
        self.course.trips.sent(now);
        self.course.silence.sent(now);
        self.line.send(number)
    }

    /// Waits for all that is under way, or until it is late; returns the time then. Also after Ctrl-C: a message
    /// that nobody waited for would look like a loss.
    fn drain(&mut self) -> Result<Instant, Failure> {
        let mut now = Instant::now();
        let deadline = now + self.course.plan.timeout;
        while self.is_waiting() && now < deadline {
            self.receive(self.course.plan.timeout.min(LOOK_EVERY))?;
            now = Instant::now();
        }
        self.course.given_up = self.course.trips.unanswered();
        Ok(now)
    }

    fn is_waiting(&self) -> bool {
        self.course.trips.unanswered() > self.course.given_up
    }

    fn receive(&mut self, wait: Duration) -> Result<(), Failure> {
        let LatencyRun { trips, time_line, plan, spent, silence, .. } = &mut *self.course;
        let (start, spent) = (self.start, *spent);
        self.line.receive(wait, &mut |number| {
            let now = Instant::now();
            // A late answer is a loss, and a sign of life.
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
    fn a_line_is_dead_when_several_messages_went_unanswered_for_long_enough() {
        let start = Instant::now();
        // Messages sent, how far apart, the time-out, how long after the first one; whether it is dead then.
        for (messages, apart, timeout, after, is_dead) in [
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
            assert_eq!(silence.is_death(start + after, timeout), is_dead, "{messages} {after:?}");
        }
    }

    /// Answers each message when it has gone `late` more times.
    struct Echo {
        sent: u64,
        told: u64,
        late: u64,
    }

    impl Transport for Echo {
        fn send(&mut self, _: u64) -> Result<(), Failure> {
            self.sent += 1;
            Ok(())
        }

        fn receive(&mut self, wait: Duration, back: &mut dyn FnMut(u64)) -> Result<(), Failure> {
            if self.told + self.late < self.sent {
                back(self.told);
                self.told += 1;
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
        let mut course = LatencyRun::new(plan);
        let mut line = Echo { sent: 0, told: 0, late };
        course.run(&mut line, Duration::MAX, &Watch::idle()).expect("this line does not fail");
        course
    }

    #[test]
    fn a_period_longer_than_many_time_outs_is_no_silence() {
        let plan = LatencyPlan { rate: Some(50.0), end: RunEnd::Messages(3), timeout: MS };
        let course = run(plan, 0);
        assert_eq!((course.trips.sent_count(), course.is_dead), (3, false));
    }

    #[test]
    fn answers_that_come_too_late_are_losses_but_not_the_end() {
        let plan = LatencyPlan { rate: None, end: RunEnd::After(1300 * MS), timeout: MS };
        let course = run(plan, 1);
        assert!(!course.is_dead && course.trips.answered_count() == 0, "{course:?}");
    }
}
