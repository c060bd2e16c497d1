//! One sender that sends as fast as it can for a while.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cpu_seconds;

/// How many messages go out between two looks at the clock.
const LOOK_EVERY: u64 = 64;

/// One throughput run, the sender's side: `while run.more() { send run.message() }`.
#[derive(Debug)]
pub struct Throughput {
    message: Vec<u8>,
    started: Option<Instant>,
    length: Duration,
    tried: u64,
    refused: u64,
    cpu_at_start: f64,
}

#[derive(Serialize)]
pub(crate) struct Report {
    sent: u64,
    seconds: f64,
    cpu_seconds: f64,
}

impl Throughput {
    pub(crate) fn new(size: usize, length: Duration) -> Self {
        Self { message: vec![b'x'; size], started: None, length, tried: 0, refused: 0, cpu_at_start: 0.0 }
    }

    /// What to send, the same every time.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Whether to send one more; it is then counted as sent. The time runs from the first call.
    pub fn more(&mut self) -> bool {
        let Some(started) = self.started else {
            self.cpu_at_start = cpu_seconds();
            self.started = Some(Instant::now());
            self.tried = 1;
            return true;
        };
        if self.tried.is_multiple_of(LOOK_EVERY) && started.elapsed() >= self.length {
            return false;
        }
        self.tried += 1;
        true
    }

    /// Says that the last message was refused after all.
    pub fn refused(&mut self) {
        self.refused += 1;
    }

    pub(crate) fn report(&self) -> Report {
        let seconds = self.started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        Report { sent: self.tried - self.refused, seconds, cpu_seconds: cpu_seconds() - self.cpu_at_start }
    }
}
