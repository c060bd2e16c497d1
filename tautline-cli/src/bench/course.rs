//! One measurement of round trips, on whatever line, in one piece or in slices between those of another.

use std::time::{Duration, Instant};

use super::lines::Line;
use super::time_line::TimeLine;
use super::watch::Watch;
use crate::exit::Failure;
use crate::interrupt::LOOK_EVERY;
use crate::pace::Pace;
use crate::round_trips::RoundTrips;

/// A line on which nothing comes back for this many times the time-out is dead.
const DEAD_AFTER: u32 = 5;

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Messages per second; without it each goes when the one before is back.
    pub(super) rate: Option<f64>,
    pub(super) end: End,
    /// An answer that takes longer counts as lost.
    pub(super) timeout: Duration,
}

/// How long it goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Messages(u64),
    After(Duration),
}

/// How far it is.
#[derive(Debug)]
pub(super) struct Course {
    plan: Plan,
    pub(super) trips: RoundTrips,
    pub(super) time_line: TimeLine,
    /// The time of all slices so far.
    pub(super) spent: Duration,
    /// Sending times that passed because this thread did not run in time.
    pub(super) skipped: u64,
    pub(super) is_dead: bool,
    /// Messages given up in earlier slices.
    given_up: u64,
    heard: Instant,
}

impl Course {
    pub(super) fn new(plan: Plan) -> Self {
        let length = match plan.end {
            End::After(length) => Some(length),
            End::Messages(_) => None,
        };
        Self {
            plan,
            trips: RoundTrips::new(),
            time_line: TimeLine::new(length),
            spent: Duration::ZERO,
            skipped: 0,
            is_dead: false,
            given_up: 0,
            heard: Instant::now(),
        }
    }

    /// From 0 to 1.
    fn share_at(&self, spent: Duration) -> f64 {
        match self.plan.end {
            End::Messages(count) => self.trips.sent_count() as f64 / count as f64,
            End::After(length) => spent.as_secs_f64() / length.as_secs_f64(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over_at(self.spent)
    }

    fn is_over_at(&self, spent: Duration) -> bool {
        self.is_dead
            || match self.plan.end {
                End::Messages(count) => self.trips.sent_count() >= count,
                End::After(length) => spent >= length,
            }
    }

    /// Goes on for one slice, and waits for what is then under way.
    pub(super) fn run(&mut self, line: &mut dyn Line, slice: Duration, watch: &Watch) -> Result<(), Failure> {
        let start = Instant::now();
        self.heard = start;
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
    line: &'a mut dyn Line,
    watch: &'a Watch,
    course: &'a mut Course,
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
        let patience = self.course.plan.timeout * DEAD_AFTER;
        self.course.is_dead = now.saturating_duration_since(self.course.heard) > patience;
        let elapsed = now.saturating_duration_since(self.start);
        let (course, spent) = (&*self.course, self.course.spent + elapsed);
        self.watch.show(now, || course.share_at(spent), course.trips.answered_count());
        self.watch.is_asked() || elapsed >= self.length || course.is_over_at(spent)
    }

    fn send(&mut self) -> Result<(), Failure> {
        let number = self.course.trips.next_number();
        self.course.trips.sent(Instant::now());
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
        let Course { trips, time_line, plan, spent, heard, .. } = &mut *self.course;
        let (start, spent) = (self.start, *spent);
        self.line.receive(wait, &mut |number| {
            let now = Instant::now();
            if let Some(round_trip) = trips.answered(number, now, plan.timeout) {
                *heard = now;
                time_line.add(spent + now.saturating_duration_since(start), round_trip);
            }
        })
    }
}
