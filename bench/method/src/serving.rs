//! The server side: it reports that the server is ready, counts messages, and ends when standard input closes.

use std::io::Read;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{cpu_seconds, memory, print_line};

/// How often a sink samples its count. The times of the first and the last message are known to this accuracy.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);

/// The CPU time used up to the first message. It is subtracted, so that the cost of connecting does not count.
static CPU_AT_FIRST: OnceLock<f64> = OnceLock::new();

/// The count of this process.
pub(crate) static RECEIVED: Count = Count(AtomicU64::new(0));

/// The number of received messages. Only one thread may count.
#[derive(Debug)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts `messages` more.
    #[inline]
    pub fn add(&self, messages: u64) {
        // With a single writer, a load and a store are enough. An atomic addition would cost some nanoseconds.
        let before = self.0.load(Ordering::Relaxed);
        if before == 0 {
            CPU_AT_FIRST.get_or_init(cpu_seconds);
        }
        self.0.store(before + messages, Ordering::Relaxed);
    }

    /// Returns the number of messages counted so far.
    #[must_use]
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Tells the runner that this server is ready.
pub struct Ready {
    /// Whether this is a sink. Only sinks are sampled, because sampling would wake the core of an echo server.
    is_sink: bool,
    /// The way to the thread of this process that waits for the address. Then the server prints nothing, and the process
    /// does not end with its input.
    here: Option<Sender<Result<String, String>>>,
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
        Self { is_sink, here: None, at_end: Box::new(|| {}) }
    }

    /// Passes the address to this process.
    pub(crate) fn here(tell: Sender<Result<String, String>>) -> Self {
        Self { here: Some(tell), ..Self::new(false) }
    }

    /// Sets a function that cleans up at the end of the process, which drops nothing.
    #[must_use]
    pub fn then(self, at_end: impl FnOnce() + Send + 'static) -> Self {
        Self { at_end: Box::new(at_end), ..self }
    }

    /// Reports that clients may connect to `address`: `host:port`, and anything else that the peer's client must know.
    pub fn at(self, address: impl ToString) {
        if let Some(here) = self.here {
            let _ = here.send(Ok(address.to_string()));
            return;
        }
        let cpu_at_start = cpu_seconds();
        std::thread::spawn(move || end_with_standard_input(cpu_at_start, self.at_end));
        if self.is_sink {
            std::thread::spawn(sample);
        }
        print_line(&Address { address: &address.to_string() }).expect("text can be written as JSON");
    }
}

/// Prints a report and ends the process when the runner closes the standard input.
fn end_with_standard_input(cpu_at_start: f64, at_end: Box<dyn FnOnce() + Send>) {
    // An error also means that the runner is gone.
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

/// Updates `RECEIVING_NS`. Reading the clock for every message would cost the fastest peers a fifth of their rate.
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
