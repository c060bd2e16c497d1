//! How late this machine is: a thread that sleeps until each of its times, and one that it wakes.
//!
//! The threads get their priority, cores and awake processors as any user of the library does: from a caller-driven
//! interface that they connect. What is measured is what a link would get.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tautline::{Config, Driver, UdpInterface};

use super::plan::Plan;
use crate::exit::Failure;
use crate::latency::{Latencies, Percentiles};
use crate::link::open_driven;
use crate::pace::Pace;

/// What the measured threads ask of the machine.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) name: &'static str,
    pub(super) config: Config,
}

/// How late one setup was, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Lateness {
    pub(super) setup: &'static str,
    pub(super) samples: u64,
    /// From the time that was asked for to the sleeper running.
    pub(super) timer_us: Percentiles,
    /// From writing to a pipe to the other thread running.
    pub(super) wake_up_us: Percentiles,
    /// Both in a row, measured as one.
    pub(super) together_us: Percentiles,
}

/// What the sleeper tells the other thread: when it was to wake and when it did, in nanoseconds since the start.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    due_ns: u64,
    awake_ns: u64,
}

impl Stamp {
    const BYTES: usize = 16;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let both = u128::from(self.due_ns) << 64 | u128::from(self.awake_ns);
        both.to_be_bytes()
    }

    #[allow(clippy::cast_possible_truncation)] // the low half is meant
    fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { due_ns: (both >> 64) as u64, awake_ns: both as u64 }
    }
}

/// Sleeps and wakes as planned.
pub(super) fn measure(setup: &Setup, plan: Plan) -> Result<Lateness, Failure> {
    let (reader, writer) = pipe().map_err(|error| Failure::failed(format!("no pipe: {error}")))?;
    let both = Both { setup, base: Instant::now(), ready: Barrier::new(2) };
    thread::scope(|scope| {
        let woken = scope.spawn(|| wake(&both, reader));
        let sleeper = scope.spawn(|| sleep(&both, writer, plan));
        let no_panic = "measuring does not panic";
        let timer = sleeper.join().expect(no_panic)?;
        let (wake_up, together) = woken.join().expect(no_panic)?;
        Ok(Lateness {
            setup: setup.name,
            samples: together.count(),
            timer_us: timer.percentiles(),
            wake_up_us: wake_up.percentiles(),
            together_us: together.percentiles(),
        })
    })
}

/// What the two threads share.
#[derive(Debug)]
struct Both<'a> {
    setup: &'a Setup,
    base: Instant,
    ready: Barrier,
}

impl Both<'_> {
    /// Gives the calling thread what the setup asks for, for as long as the result lives, and waits for the other one:
    /// opening is not what is measured.
    fn prepare(&self) -> Result<(UdpInterface, Driver), Failure> {
        let held = open_driven(self.setup.config.clone());
        self.ready.wait();
        held
    }
}

fn sleep(both: &Both<'_>, mut writer: PipeWriter, plan: Plan) -> Result<Latencies, Failure> {
    let _held = both.prepare()?;
    let base = both.base;
    let mut lateness = Latencies::new();
    let start = Instant::now();
    let mut pace = Pace::new(plan.rate_hz, start);
    pace.sent(start);
    while lateness.count() < plan.periods {
        let due = pace.next();
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let awake = Instant::now();
        let stamp = Stamp { due_ns: ns(due - base), awake_ns: ns(awake - base) };
        if writer.write_all(&stamp.to_bytes()).is_err() {
            break;
        }
        lateness.record(awake.saturating_duration_since(due));
        pace.sent(awake);
    }
    Ok(lateness)
}

fn wake(both: &Both<'_>, mut reader: PipeReader) -> Result<(Latencies, Latencies), Failure> {
    let _held = both.prepare()?;
    let base = both.base;
    let (mut wake_up, mut together) = (Latencies::new(), Latencies::new());
    let mut bytes = [0; Stamp::BYTES];
    // Until the sleeper has closed its end.
    while reader.read_exact(&mut bytes).is_ok() {
        let now_ns = ns(base.elapsed());
        let Stamp { due_ns, awake_ns } = Stamp::from_bytes(bytes);
        wake_up.record(Duration::from_nanos(now_ns.saturating_sub(awake_ns)));
        together.record(Duration::from_nanos(now_ns.saturating_sub(due_ns)));
    }
    Ok((wake_up, together))
}

fn ns(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp::from_bytes(Stamp { due_ns: 7, awake_ns: u64::MAX }.to_bytes());
        assert_eq!((stamp.due_ns, stamp.awake_ns), (7, u64::MAX));
    }

    #[test]
    fn both_together_are_no_shorter_than_either() {
        let setup = Setup { name: "as it is", config: Config::server("127.0.0.1:0") };
        let plan = Plan { rate_hz: 1_000.0, periods: 50 };
        let found = measure(&setup, plan).expect("pipes and threads");
        assert!(found.samples >= plan.periods);
        let max = |percentiles: Percentiles| percentiles.max.expect("there are samples");
        let together = max(found.together_us);
        // Percentiles are exact to 0.1 % and shown in tenths.
        let slack = together / 500.0 + 0.2;
        assert!(together + slack >= max(found.timer_us), "{found:?}");
        assert!(together + slack >= max(found.wake_up_us), "{found:?}");
    }
}
