//! A sender that sends for a given time, as fast as possible or at a rate.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{Outcome, cpu_seconds, memory};

/// The number of messages between two checks of the clock if there is no rate.
const LOOK_EVERY: u64 = 64;

/// The sender's side of one throughput run: `while run.more() { send run.message() }`.
#[derive(Debug)]
pub struct Throughput {
    message: Vec<u8>,
    started: Option<Instant>,
    length: Duration,
    rate: Option<f64>,
    tried: u64,
    refused: u64,
    cpu_at_start: f64,
}

#[derive(Serialize)]
pub(crate) struct Report {
    sent: u64,
    seconds: f64,
    cpu_seconds: f64,
    peak_kib: u64,
}

impl Throughput {
    pub(crate) fn new(size: usize, length: Duration, rate: Option<f64>) -> Self {
        let message = vec![b'x'; size];
        Self { message, started: None, length, rate, tried: 0, refused: 0, cpu_at_start: 0.0 }
    }

    /// Returns the message to send. It is always the same.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Whether to send one more message, which then counts as sent. The time runs from the first call.
    pub fn more(&mut self) -> bool {
        self.more_of(1)
    }

    /// As [`more`](Self::more), for `count` messages at once.
    pub fn more_of(&mut self, count: u64) -> bool {
        let Some(started) = self.started else {
            self.cpu_at_start = cpu_seconds();
            self.started = Some(Instant::now());
            self.tried = count;
            return true;
        };
        if let Some(rate) = self.rate {
            // The messages are evenly spaced, so that the size of bursts does not depend on the number of clients.
            let due = Duration::from_secs_f64(self.tried as f64 / rate);
            if due >= self.length {
                return false;
            }
            while started.elapsed() < due {
                std::hint::spin_loop();
            }
        } else if (self.tried - 1) / LOOK_EVERY != (self.tried + count - 1) / LOOK_EVERY
            && started.elapsed() >= self.length
        {
            // The clock is checked before the first message of each `LOOK_EVERY`.
            return false;
        }
        self.tried += count;
        true
    }

    /// Waits for `pause`. Returns `false` when the time of the run is over. Counts no message.
    pub fn rest(&mut self, pause: Duration) -> bool {
        std::thread::sleep(pause);
        self.started.is_some_and(|started| started.elapsed() < self.length)
    }

    /// Runs `send` in `threads` threads. Each thread has its own part of the run.
    ///
    /// # Errors
    ///
    /// When one of the threads fails.
    pub fn in_threads(
        &mut self,
        threads: usize,
        send: impl Fn(&mut Self) -> Result<(), String> + Sync,
    ) -> Outcome<()> {
        self.cpu_at_start = cpu_seconds();
        self.started = Some(Instant::now());
        let mut parts: Vec<Self> =
            (0..threads).map(|_| Self::new(self.message.len(), self.length, self.rate)).collect();
        let done: Result<Vec<()>, String> = std::thread::scope(|scope| {
            let started: Vec<_> = parts.iter_mut().map(|part| scope.spawn(|| send(part))).collect();
            started
                .into_iter()
                .map(|thread| thread.join().unwrap_or(Err("a sender panicked".into())))
                .collect()
        });
        self.tried = parts.iter().map(|part| part.tried).sum();
        self.refused = parts.iter().map(|part| part.refused).sum();
        done.map(drop).map_err(Into::into)
    }

    /// Records that the last message was refused, so that it does not count as sent.
    pub fn refused(&mut self) {
        self.refused += 1;
    }

    pub(crate) fn report(&self) -> Report {
        let seconds = self.started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        let cpu_seconds = cpu_seconds() - self.cpu_at_start;
        Report { sent: self.tried - self.refused, seconds, cpu_seconds, peak_kib: memory::peak_kib() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_message_does_not_count_as_sent() {
        let mut run = Throughput::new(64, Duration::ZERO, None);
        let mut tried = 0;
        while run.more() {
            tried += 1;
        }
        run.refused();
        assert_eq!((tried, run.report().sent), (LOOK_EVERY, LOOK_EVERY - 1));
    }

    #[test]
    fn the_messages_of_all_threads_are_counted() {
        let mut run = Throughput::new(64, Duration::ZERO, None);
        let send = |part: &mut Throughput| {
            while part.more() {}
            part.refused();
            Ok(())
        };
        run.in_threads(4, send).unwrap();
        assert_eq!(run.report().sent, 4 * (LOOK_EVERY - 1));
        assert!(run.in_threads(2, |_| Err("no".to_owned())).is_err());
    }

    #[test]
    fn a_rate_bounds_what_is_sent() {
        let mut run = Throughput::new(64, Duration::from_millis(20), Some(10_000.0));
        while run.more() {}
        // The time of 200 messages, and the first message does not wait. A slow machine sends fewer.
        assert!(run.report().sent <= 4 * LOOK_EVERY, "{}", run.report().sent);
    }
}
