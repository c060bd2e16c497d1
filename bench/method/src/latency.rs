//! Round trips: one message at a time, either immediately after each answer or paced at a rate.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{cpu_seconds, memory};

/// The warm-up is a tenth of the measured messages, within these bounds.
const WARM_UP_PART: usize = 10;
const WARM_UP_LEAST: usize = 100;
const WARM_UP_MOST: usize = 1_000;

/// The number of hexadecimal digits at the start of a message that hold its number.
const DIGITS: usize = 16;

/// One latency run. It provides the messages to send and checks the answers.
///
/// ```text
/// while let Some(message) = run.next() { send; receive until run.answer(..) is true, or run.lost() }
/// ```
#[derive(Debug)]
pub struct Latency {
    /// The number, followed by padding. It is text, so that JSON carries it without escapes.
    message: Vec<u8>,
    number: u64,
    left: usize,
    warm_up: usize,
    period: Option<Duration>,
    due: Instant,
    sent: Instant,
    cpu_at_start: f64,
    round_trips_ns: Vec<u64>,
    lost: usize,
}

#[derive(Serialize)]
pub(crate) struct Report {
    messages: usize,
    lost: usize,
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
    cpu_seconds: f64,
    peak_kib: u64,
}

impl Latency {
    pub(crate) fn new(messages: usize, size: usize, rate: Option<f64>) -> Self {
        let warm_up = (messages / WARM_UP_PART).clamp(WARM_UP_LEAST, WARM_UP_MOST);
        Self {
            message: vec![b'x'; size],
            number: 0,
            left: warm_up + messages,
            warm_up,
            period: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            due: Instant::now(),
            sent: Instant::now(),
            cpu_at_start: 0.0,
            round_trips_ns: Vec::with_capacity(messages),
            lost: 0,
        }
    }

    /// Waits until the next message is due and returns it, or `None` at the end. Its round trip starts here.
    #[expect(clippy::should_implement_trait, reason = "the message is lent from the run")]
    pub fn next(&mut self) -> Option<&[u8]> {
        self.left = self.left.checked_sub(1)?;
        self.number += 1;
        if self.number == self.warm_up as u64 + 1 {
            self.cpu_at_start = cpu_seconds();
        }
        let digits = format_digits(self.number);
        self.message[..DIGITS].copy_from_slice(&digits);
        if let Some(period) = self.period {
            self.due += period;
            std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
        }
        self.sent = Instant::now();
        Some(&self.message)
    }

    /// Takes a received message. Returns whether it is the answer to the last message. If it is not (a late answer),
    /// receive again.
    pub fn answer(&mut self, bytes: &[u8]) -> bool {
        let now = Instant::now();
        if bytes != self.message {
            return false;
        }
        if self.is_measured() {
            let round_trip = now.duration_since(self.sent);
            self.round_trips_ns.push(u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX));
        }
        true
    }

    /// Records that no answer came within [`ANSWER_TIMEOUT`](crate::ANSWER_TIMEOUT).
    pub fn lost(&mut self) {
        self.lost += usize::from(self.is_measured());
    }

    fn is_measured(&self) -> bool {
        self.number > self.warm_up as u64
    }

    pub(crate) fn report(mut self) -> Report {
        self.round_trips_ns.sort_unstable();
        let at = |part: f64| percentile(&self.round_trips_ns, part);
        Report {
            messages: self.round_trips_ns.len(),
            lost: self.lost,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
            cpu_seconds: cpu_seconds() - self.cpu_at_start,
            peak_kib: memory::peak_kib(),
        }
    }
}

fn format_digits(mut number: u64) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number % 16) as usize];
        number /= 16;
    }
    digits
}

/// Returns the smallest value that at least `part` of all values do not exceed; 0 if there are no values.
fn percentile(sorted: &[u64], part: f64) -> u64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<u64> = (1..=1000).collect();
        let at = |part| percentile(&values, part);
        assert_eq!([at(0.5), at(0.99), at(0.999), at(1.0)], [500, 990, 999, 1000]);
        assert_eq!(percentile(&[], 0.5), 0);
        assert_eq!(percentile(&[7], 0.999), 7);
    }

    #[test]
    fn only_the_last_message_counts_as_an_answer() {
        let mut run = Latency::new(10, 64, None);
        let first = run.next().unwrap().to_vec();
        run.lost();
        let second = run.next().unwrap().to_vec();
        assert!(!run.answer(&first));
        assert!(run.answer(&second));
    }

    #[test]
    fn warm_up_is_not_reported() {
        let mut run = Latency::new(10, 64, None);
        let mut sent = 0;
        while let Some(message) = run.next().map(<[u8]>::to_vec) {
            sent += 1;
            assert!(run.answer(&message));
        }
        assert_eq!((sent, run.report().messages), (10 + WARM_UP_LEAST, 10));
    }
}
