//! The servers' side: ready, count, and end with standard input.

use std::io::Read;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{cpu_seconds, memory, print_line};

/// How exactly the time of the first and the last message is known to a sink.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);

/// What connecting costs is no message's cost: the CPU time used up to the first message.
static CPU_AT_FIRST: OnceLock<f64> = OnceLock::new();

/// The count of this process.
pub(crate) static RECEIVED: Count = Count(AtomicU64::new(0));

/// How many messages were received. One thread counts.
#[derive(Debug)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts `messages` more.
    #[inline]
    pub fn add(&self, messages: u64) {
        // A single writer needs no atomic addition, which would cost every peer some nanoseconds.
        let before = self.0.load(Ordering::Relaxed);
        if before == 0 {
            CPU_AT_FIRST.get_or_init(cpu_seconds);
        }
        self.0.store(before + messages, Ordering::Relaxed);
    }

    /// How many were counted so far.
    #[must_use]
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Tells the runner that this server is ready.
pub struct Ready {
    /// Only sinks are sampled: an echo's core must be left asleep.
    is_sink: bool,
    at_end: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("is_sink", &self.is_sink).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Address<'a> {
    address: &'a str,
}

#[derive(Serialize)]
struct Report {
    received: u64,
    receiving_seconds: f64,
    cpu_seconds: f64,
    peak_kib: u64,
}

impl Ready {
    pub(crate) fn new(is_sink: bool) -> Self {
        Self { is_sink, at_end: Box::new(|| {}) }
    }

    /// What is to be tidied up when the process ends: nothing of it is dropped then.
    #[must_use]
    pub fn then(self, at_end: impl FnOnce() + Send + 'static) -> Self {
        Self { at_end: Box::new(at_end), ..self }
    }

    /// Clients may call `address` from now on: `host:port`, and whatever else the peer's client has to know.
    pub fn at(self, address: impl ToString) {
        let cpu_at_start = cpu_seconds();
        std::thread::spawn(move || end_with_standard_input(cpu_at_start, self.at_end));
        if self.is_sink {
            std::thread::spawn(sample);
        }
        print_line(&Address { address: &address.to_string() }).expect("text can be written as JSON");
    }
}

/// Ends the process, with a report, when the runner closes our standard input.
fn end_with_standard_input(cpu_at_start: f64, at_end: Box<dyn FnOnce() + Send>) {
    // An error, too, means that the runner is gone.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let report = Report {
        received: RECEIVED.value(),
        receiving_seconds: Duration::from_nanos(RECEIVING_NS.load(Ordering::Relaxed)).as_secs_f64(),
        cpu_seconds: cpu_seconds() - CPU_AT_FIRST.get().unwrap_or(&cpu_at_start),
        peak_kib: memory::peak_kib(),
    };
    at_end();
    let done = print_line(&report);
    std::process::exit(i32::from(done.is_err()));
}

/// The time from the first message to the last.
static RECEIVING_NS: AtomicU64 = AtomicU64::new(0);

/// Keeps `RECEIVING_NS`. A clock read per message instead would cost the fastest peers a fifth of their rate.
fn sample() {
    let mut first = None;
    let mut seen = 0;
    loop {
        std::thread::sleep(SAMPLE_EVERY);
        let count = RECEIVED.value();
        if count != seen {
            seen = count;
            let receiving = first.get_or_insert_with(Instant::now).elapsed();
            RECEIVING_NS.store(u64::try_from(receiving.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}
