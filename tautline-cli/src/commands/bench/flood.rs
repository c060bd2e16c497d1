//! The flood of `bench throughput`: sends messages without a pause, one by one or in batches.

use std::time::{Duration, Instant};

use tautline::{Metadata, Payload, SendError};

use super::client::{Client, Heard};
use super::outstanding::Outstanding;
use super::protocol::{ANSWER, Answer, COUNTED};
use super::transport::too_large;
use super::watch::ProgressWatch;
use crate::tools::exit::{Exit, Failure};

/// The number of messages between two checks of the clock, the socket and Ctrl-C.
const BURST: u64 = 64;

/// The shortest time between two points of the page's chart. In a long run the distance is larger.
const SHORTEST_STEP: Duration = Duration::from_millis(20);
/// The number of points that a run of known length has. Any run has at most twice as many.
const STEPS: u32 = 200;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct FloodPlan {
    /// The number of messages; `None` if the run ends after a time.
    pub(super) messages: Option<u64>,
    pub(super) length: Duration,
    /// The number of messages per call. 1 means calls without a batch.
    pub(super) batch: u64,
    /// The largest number of messages in flight; `None` for no limit.
    pub(super) outstanding: Option<u64>,
    /// Whether to ask the other end for its count at each step.
    pub(super) asks: bool,
}

/// A flood and its counts.
#[derive(Debug)]
pub(super) struct Flood {
    plan: FloodPlan,
    watch: ProgressWatch,
    pub(super) sent: u64,
    /// How many sends the kernel refused. They were tried again.
    pub(super) refused: u64,
    pub(super) spent: Duration,
    pub(super) start: Instant,
    /// The reason why it ended early.
    pub(super) failure: Option<Failure>,
    /// The number of messages sent by each time.
    pub(super) steps: Vec<(Duration, u64)>,
    /// The number of messages that the other end had counted by each time, if the plan asks for it.
    pub(super) arrivals: Arrivals,
}

/// What the other end has counted, by the time of its answers.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    pub(super) steps: Vec<(Duration, u64)>,
    start: Option<Instant>,
}

impl Arrivals {
    /// Takes an answer of the other end.
    pub(super) fn see(&mut self, heard: &Heard<'_>) {
        let Some(start) = self.start.filter(|_| heard.message_type == ANSWER) else { return };
        if let Ok(answer) = serde_json::from_slice::<Answer>(heard.payload) {
            self.add(start.elapsed(), answer.messages);
        }
    }

    pub(super) fn add(&mut self, at: Duration, count: u64) {
        // Of two answers that come together, as after a pause, the later one counts: a rate needs time.
        let is_close = |(last, _): &(Duration, u64)| at.saturating_sub(*last) < SHORTEST_STEP / 2;
        if self.steps.len() > 1 && self.steps.last().is_some_and(is_close) {
            self.steps.pop();
        }
        self.steps.push((at, count));
        thin_out(&mut self.steps);
    }
}

impl Flood {
    pub(super) fn new(plan: FloodPlan, watch: ProgressWatch) -> Self {
        let (spent, steps) = (Duration::ZERO, vec![(Duration::ZERO, 0)]);
        let arrivals = Arrivals::default();
        Self {
            plan,
            watch,
            sent: 0,
            refused: 0,
            spent,
            start: Instant::now(),
            failure: None,
            steps,
            arrivals,
        }
    }

    /// Sends until the plan is done, the other end is gone, or Ctrl-C comes.
    pub(super) fn run(&mut self, client: &mut Client, payload: &Payload) -> Result<(), Failure> {
        let step = match self.plan.messages {
            Some(_) => SHORTEST_STEP,
            None => (self.plan.length / STEPS).max(SHORTEST_STEP),
        };
        let batch = vec![payload.clone(); usize::try_from(self.plan.batch).unwrap_or(usize::MAX)];
        let mut outstanding = self.plan.outstanding.map(|most| Outstanding::new(most, client)).transpose()?;
        self.start = Instant::now();
        self.arrivals.start = self.plan.asks.then_some(self.start);
        let mut next_step = step;
        while !self.is_over() {
            self.burst(client, &batch, outstanding.as_ref())?;
            match &mut outstanding {
                Some(outstanding) => {
                    outstanding.look(client, self.sent, &mut self.arrivals);
                    if outstanding.is_over(self.sent) {
                        self.failure = Some(client.no_answer());
                    }
                }
                None => {
                    let arrivals = &mut self.arrivals;
                    client.take(Duration::ZERO, &mut |heard| arrivals.see(&heard));
                }
            }
            self.spent = self.start.elapsed();
            if self.spent >= next_step {
                next_step = self.spent + step;
                self.note_step();
                if self.plan.asks {
                    client.ask_later();
                }
                self.watch.show(Instant::now(), || self.share(), self.sent);
            }
        }
        // Messages that wait for coalescing are part of the flood. They must not delay the question that follows.
        client.interface.flush();
        self.spent = self.start.elapsed();
        self.note_last_step(step);
        self.watch.close();
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.left() == 0 || self.spent >= self.plan.length || self.failure.is_some() || self.watch.is_asked()
    }

    fn left(&self) -> u64 {
        self.plan.messages.unwrap_or(u64::MAX) - self.sent
    }

    fn burst(
        &mut self,
        client: &Client,
        batch: &[Payload],
        outstanding: Option<&Outstanding>,
    ) -> Result<(), Failure> {
        let room = outstanding.map_or(u64::MAX, |outstanding| outstanding.room(self.sent));
        let end = self.sent + room.min(self.left()).min(BURST.max(self.plan.batch));
        let mut goes_on = true;
        while goes_on && self.sent < end {
            let count = usize::try_from(end - self.sent).unwrap_or(usize::MAX).min(batch.len());
            goes_on = self.send(client, &batch[..count])?;
        }
        Ok(())
    }

    /// Sends these payloads. Returns whether the kernel takes more.
    fn send(&mut self, client: &Client, payloads: &[Payload]) -> Result<bool, Failure> {
        let metadata = Metadata::new(COUNTED);
        let result = match payloads {
            [payload] => client.interface.send(payload, &metadata),
            payloads => client.interface.publisher(metadata.clone()).send_batch(payloads),
        };
        match result {
            Ok(_) => self.sent += payloads.len() as u64,
            Err(SendError::Partly { sent, first, .. }) => {
                self.sent += sent as u64;
                return self.note_refusal(&first);
            }
            Err(error) => return self.note_refusal(&error),
        }
        Ok(true)
    }

    fn note_refusal(&mut self, error: &SendError) -> Result<bool, Failure> {
        match error {
            SendError::Busy | SendError::Refused { .. } => {
                self.refused += 1;
                std::thread::yield_now();
                Ok(false)
            }
            SendError::Encode(_) | SendError::TooLarge { .. } => Err(too_large(error)),
            error => {
                let sentence = format!("after {} messages: {error}", self.sent);
                self.failure = Some(Failure::new(Exit::NoConnection, sentence));
                Ok(false)
            }
        }
    }

    /// Notes the last step. If it is shorter than half a step, it is merged with the step before.
    fn note_last_step(&mut self, step: Duration) {
        if self.steps.len() > 1 && self.steps.last().is_some_and(|(at, _)| self.spent - *at < step / 2) {
            self.steps.pop();
        }
        self.note_step();
    }

    /// Notes a step.
    fn note_step(&mut self) {
        self.steps.push((self.spent, self.sent));
        thin_out(&mut self.steps);
    }

    fn share(&self) -> f64 {
        match self.plan.messages {
            Some(messages) => self.sent as f64 / messages as f64,
            None => self.spent.as_secs_f64() / self.plan.length.as_secs_f64(),
        }
    }
}

/// Removes every second step if there are too many, so that their number stays bounded.
fn thin_out(steps: &mut Vec<(Duration, u64)>) {
    if steps.len() > 2 * STEPS as usize {
        let mut index = 0;
        steps.retain(|_| {
            index += 1;
            index % 2 == 1
        });
    }
}
