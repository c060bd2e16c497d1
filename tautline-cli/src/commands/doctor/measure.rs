//! Measures how late threads wake up. One thread sleeps until each of its due times, and it wakes a second thread.
//!
//! Each thread connects a caller-driven interface, which gives the thread its priority, its cores and awake processors.
//! So the measurement shows what a link gets on this machine.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tautline::{Config, Driver, UdpInterface};

use super::plan::MeasurementPlan;
use crate::tools::exit::Failure;
use crate::tools::interrupt::Interrupt;
use crate::tools::latency::{Latencies, Percentiles};
use crate::tools::link::open_driven;
use crate::tools::pace::Pace;

/// A name and the settings of the measured threads.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) name: &'static str,
    pub(super) config: Config,
}

/// How late the threads were in one setup, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Lateness {
    pub(super) setup: &'static str,
    /// The number of periods.
    pub(super) samples: u64,
    /// From the due time until the sleeping thread runs. Due times that it slept through count too.
    pub(super) timer_us: Percentiles,
    /// From the write to the pipe until the second thread runs. There is no write for a due time that the first thread
    /// slept through.
    pub(super) wake_up_us: Percentiles,
    /// From the due time until the second thread runs.
    pub(super) together_us: Percentiles,
}

/// The data that the sleeping thread writes to the pipe: its due time and its wake-up time, in nanoseconds since the
/// start, and the number of further due times that had passed by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    due_ns: u64,
    awake_ns: u64,
    skipped: u64,
}

impl Stamp {
    const BYTES: usize = 24;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let numbers = [self.due_ns, self.awake_ns, self.skipped];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|index| bytes[at + index]));
        Self { due_ns: number(0), awake_ns: number(8), skipped: number(16) }
    }
}

/// Measures one setup. Returns `None` if Ctrl-C ended the measurement early.
pub(super) fn measure(
    setup: &Setup,
    plan: MeasurementPlan,
    interrupt: &Interrupt,
) -> Result<Option<Lateness>, Failure> {
    let (reader, writer) =
        pipe().map_err(|error| Failure::failed(format!("cannot create a pipe: {error}")))?;
    let both = SharedState { setup, plan, base: Instant::now(), ready: Barrier::new(2) };
    thread::scope(|scope| {
        let woken = scope.spawn(|| wake(&both, reader));
        let sleeper = scope.spawn(|| sleep(&both, writer, interrupt));
        let no_panic = "measuring does not panic";
        let timer = sleeper.join().expect(no_panic)?;
        let (wake_up, together) = woken.join().expect(no_panic)?;
        let found = Lateness {
            setup: setup.name,
            samples: together.count(),
            timer_us: timer.percentiles(),
            wake_up_us: wake_up.percentiles(),
            together_us: together.percentiles(),
        };
        Ok((found.samples >= plan.periods).then_some(found))
    })
}

/// The state that the two threads share.
#[derive(Debug)]
struct SharedState<'a> {
    setup: &'a Setup,
    plan: MeasurementPlan,
    base: Instant,
    ready: Barrier,
}

impl SharedState<'_> {
    /// Gives the calling thread the properties of the setup, as long as the result lives. Then it waits for the other
    /// thread, so that opening the interfaces is not measured.
    fn prepare(&self) -> Result<(UdpInterface, Driver), Failure> {
        let held = open_driven(self.setup.config.clone());
        self.ready.wait();
        held
    }
}

fn sleep(
    both: &SharedState<'_>,
    mut writer: PipeWriter,
    interrupt: &Interrupt,
) -> Result<Latencies, Failure> {
    let _held = both.prepare()?;
    let mut sleeper = Sleeper::new(both.plan, both.base, Instant::now());
    while sleeper.lateness.count() < both.plan.periods && !interrupt.is_asked() {
        thread::sleep(sleeper.pace.next().saturating_duration_since(Instant::now()));
        let stamp = sleeper.woke(Instant::now());
        if writer.write_all(&stamp.to_bytes()).is_err() {
            break;
        }
    }
    Ok(sleeper.lateness)
}

/// The due times of the sleeping thread, and how late it was.
#[derive(Debug)]
struct Sleeper {
    plan: MeasurementPlan,
    base: Instant,
    pace: Pace,
    lateness: Latencies,
}

impl Sleeper {
    fn new(plan: MeasurementPlan, base: Instant, start: Instant) -> Self {
        let mut pace = Pace::new(plan.rate_hz, start);
        pace.sent(start); // the first due time is one period after the start
        Self { plan, base, pace, lateness: Latencies::new() }
    }

    fn woke(&mut self, awake: Instant) -> Stamp {
        let due = self.pace.next();
        let skipped = self.pace.sent(awake);
        record(&mut self.lateness, awake.saturating_duration_since(due), skipped, self.plan.period());
        Stamp { due_ns: ns(due - self.base), awake_ns: ns(awake - self.base), skipped }
    }
}

fn wake(both: &SharedState<'_>, mut reader: PipeReader) -> Result<(Latencies, Latencies), Failure> {
    let _held = both.prepare()?;
    let mut woken = Woken { plan: both.plan, wake_up: Latencies::new(), together: Latencies::new() };
    let mut bytes = [0; Stamp::BYTES];
    // Ends when the sleeping thread has closed its end of the pipe.
    while reader.read_exact(&mut bytes).is_ok() {
        woken.read(Stamp::from_bytes(bytes), ns(both.base.elapsed()));
    }
    Ok((woken.wake_up, woken.together))
}

/// The measurements of the second thread.
#[derive(Debug)]
struct Woken {
    plan: MeasurementPlan,
    wake_up: Latencies,
    together: Latencies,
}

impl Woken {
    fn read(&mut self, stamp: Stamp, now_ns: u64) {
        let since = |ns: u64| Duration::from_nanos(now_ns.saturating_sub(ns));
        self.wake_up.record(since(stamp.awake_ns));
        record(&mut self.together, since(stamp.due_ns), stamp.skipped, self.plan.period());
    }
}

/// Records how late a due time was. It also records each skipped due time, each one period less late than the previous
/// one. So a stall counts once for every period that it covers. Otherwise a stall of a thousand periods would be a
/// single sample and would hardly affect the percentiles.
fn record(latencies: &mut Latencies, late: Duration, skipped: u64, period: Duration) {
    let mut late = late;
    latencies.record(late);
    for _ in 0..skipped {
        late = late.saturating_sub(period);
        latencies.record(late);
    }
}

fn ns(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_conversion_to_bytes() {
        let stamp = Stamp { due_ns: 7, awake_ns: u64::MAX, skipped: 1 << 40 };
        assert_eq!(Stamp::from_bytes(stamp.to_bytes()), stamp);
    }

    #[test]
    fn a_stall_has_one_sample_per_period() {
        let ms = Duration::from_millis;
        let (plan, start) = (MeasurementPlan { rate_hz: 1_000.0, periods: 100_000 }, Instant::now());
        let mut sleeper = Sleeper::new(plan, start, start);
        for n in 1..=9_000 {
            assert_eq!(sleeper.woke(start + n * ms(1)).skipped, 0);
        }
        // Due at 9001 ms.
        let stamp = sleeper.woke(start + ms(10_001));
        assert_eq!(stamp.skipped, 999);
        assert_eq!(sleeper.pace.next(), start + ms(10_001), "the next due time is a separate sample");
        assert_eq!(sleeper.lateness.count(), 10_000);
        for (quantile, expected_us) in [(0.9, 0.0), (0.95, 500e3), (0.99, 900e3), (1.0, 1000e3)] {
            let found = sleeper.lateness.at(quantile).expect("there are samples");
            assert!((found - expected_us).abs() <= expected_us / 500.0 + 0.1, "{found} at {quantile}");
        }
        let mut woken = Woken { plan, wake_up: Latencies::new(), together: Latencies::new() };
        woken.read(stamp, stamp.awake_ns + 1);
        assert_eq!((woken.wake_up.count(), woken.together.count()), (1, 1_000));
    }

    #[test]
    fn timer_and_wake_up_together_are_at_least_as_long_as_each_alone() {
        let setup = Setup { name: "as it is", config: Config::server("127.0.0.1:0") };
        let plan = MeasurementPlan { rate_hz: 1_000.0, periods: 50 };
        let found = measure(&setup, plan, &Interrupt::never()).expect("pipes and threads");
        let found = found.expect("there is no interrupt");
        assert!(found.samples >= plan.periods);
        let max = |percentiles: Percentiles| percentiles.max.expect("there are samples");
        let together = max(found.together_us);
        // Percentiles are exact to 0.1 % and rounded to tenths.
        let slack = together / 500.0 + 0.2;
        assert!(together + slack >= max(found.timer_us), "{found:?}");
        assert!(together + slack >= max(found.wake_up_us), "{found:?}");
    }
}
