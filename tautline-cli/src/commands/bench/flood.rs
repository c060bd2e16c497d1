//! The flood of `bench throughput`: sending without a pause, one by one or in batches.

use std::time::{Duration, Instant};

use tautline::{Metadata, Payload, SendError};

use super::client::Client;
use super::outstanding::Outstanding;
use super::protocol::COUNTED;
use super::transport::too_large;
use super::watch::Watch;
use crate::tools::exit::{Exit, Failure};

/// Messages between two looks at the clock, the socket and Ctrl-C.
const BURST: u64 = 64;

/// Points of the page's chart lie this far apart, or further in a long run.
const SHORTEST_STEP: Duration = Duration::from_millis(20);
const STEPS: u32 = 200;

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct FloodPlan {
    /// `None` when it is for a time.
    pub(super) messages: Option<u64>,
    pub(super) length: Duration,
    /// Messages a call; one goes by itself.
    pub(super) batch: u64,
    /// How many may be on their way; `None` for as many as go.
    pub(super) outstanding: Option<u64>,
}

/// How far it is.
#[derive(Debug)]
pub(super) struct Flood {
    plan: FloodPlan,
    watch: Watch,
    pub(super) sent: u64,
    /// Sends that the kernel refused for the moment; they were tried again.
    pub(super) refused: u64,
    pub(super) spent: Duration,
    pub(super) start: Instant,
    /// Why it ended before its time.
    pub(super) failure: Option<Failure>,
    /// How many had been sent at which time.
    pub(super) steps: Vec<(Duration, u64)>,
}

impl Flood {
    pub(super) fn new(plan: FloodPlan, watch: Watch) -> Self {
        let (spent, steps) = (Duration::ZERO, vec![(Duration::ZERO, 0)]);
        Self { plan, watch, sent: 0, refused: 0, spent, start: Instant::now(), failure: None, steps }
    }

    /// Sends all of it.
    pub(super) fn run(&mut self, client: &mut Client, payload: &Payload) -> Result<(), Failure> {
        let step = match self.plan.messages {
            Some(_) => SHORTEST_STEP,
            None => (self.plan.length / STEPS).max(SHORTEST_STEP),
        };
        let batch = vec![payload.clone(); usize::try_from(self.plan.batch).unwrap_or(usize::MAX)];
        let mut outstanding = self.plan.outstanding.map(|most| Outstanding::new(most, client)).transpose()?;
        self.start = Instant::now();
        let mut next_step = step;
        while !self.is_over() {
            self.burst(client, &batch, outstanding.as_ref())?;
            match &mut outstanding {
                Some(outstanding) => {
                    outstanding.look(client, self.sent);
                    if outstanding.is_over(self.sent) {
                        self.failure = Some(client.nobody_answered());
                    }
                }
                None => _ = client.driver.turn(Duration::ZERO),
            }
            self.spent = self.start.elapsed();
            if self.spent >= next_step {
                next_step = self.spent + step;
                self.note_step();
                self.watch.show(Instant::now(), || self.share(), self.sent);
            }
        }
        // What waits at the gate is part of the flood, not of the question that follows.
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

    /// Whether the kernel takes more.
    fn send(&mut self, client: &Client, payloads: &[Payload]) -> Result<bool, Failure> {
        let metadata = Metadata::new(COUNTED);
        let result = match payloads {
            [payload] => client.interface.send_payload(payload, &metadata),
            payloads => client.interface.send_payload_batch(payloads, &metadata),
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

    /// What is left at the end belongs to the step before, unless it is one of its own.
    fn note_last_step(&mut self, step: Duration) {
        if self.steps.len() > 1 && self.steps.last().is_some_and(|(at, _)| self.spent - *at < step / 2) {
            self.steps.pop();
        }
        self.note_step();
    }

    /// However long it takes, the steps stay few: every second one goes when there are too many.
    fn note_step(&mut self) {
        self.steps.push((self.spent, self.sent));
        if self.steps.len() > 2 * STEPS as usize {
            let mut index = 0;
            self.steps.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    fn share(&self) -> f64 {
        match self.plan.messages {
            Some(messages) => self.sent as f64 / messages as f64,
            None => self.spent.as_secs_f64() / self.plan.length.as_secs_f64(),
        }
    }
}
