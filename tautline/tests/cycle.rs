//! Cycles of a control loop: they do not drift, they count what was late or missed, they wait for datagrams too, and they
//! follow a peer whose clock runs at another speed.
//!
//! The long version prints its figures beside those of plain sleep loops:
//!
//! ```text
//! cargo test --release -p tautline --test cycle -- --ignored --nocapture
//! ```
//!
//! `TAUTLINE_CAMPAIGN_MINUTES` is its length in minutes. The default is 10.

#![allow(clippy::print_stdout)] // figures

mod common;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake as WakeTask, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::{address, client_config, server, server_config, until};
use tautline::{
    Config, Cycle, Driver, LockState, MessageType, Metadata, UdpInterface, Wake, Watchdog, WatchdogState,
    Wire, create_udp_client,
};

const MS: Duration = Duration::from_millis(1);

#[test]
fn deadlines_are_one_period_apart_however_late_the_loop_wakes() {
    let mut cycle = Cycle::every(MS).unwrap();
    let first = cycle.deadline();
    let mut wakes: Vec<Wake> = Vec::new();
    for round in 0..50 {
        let wake = cycle.wait();
        assert!(Instant::now() >= wake.deadline && wake.phase < MS);
        wakes.push(wake);
        if round % 10 == 0 {
            thread::sleep(3 * MS);
        }
    }
    for wake in &wakes {
        assert_eq!(wake.deadline, first + MS * u32::try_from(wake.number - 1).unwrap());
    }
    let stats = cycle.stats();
    let missed: u64 = wakes.iter().map(|wake| wake.missed).sum();
    let late = wakes.iter().filter(|wake| wake.is_late).count() as u64;
    assert_eq!((stats.wakes, stats.late, stats.missed), (50, late, missed));
    assert_eq!(wakes.last().unwrap().number, 50 + missed);
    assert!(missed >= 5 * 2, "each sleep takes three cycles");
}

#[test]
fn loop_that_was_stopped_gets_one_wake_up_that_tells_the_missed_cycles() {
    let mut cycle = Cycle::every(MS).unwrap();
    let before = cycle.wait();
    thread::sleep(50 * MS);
    let after = cycle.wait();
    assert!(after.missed >= 49, "{after:?}");
    assert_eq!(after.number, before.number + after.missed + 1);
    assert!(cycle.deadline() > after.deadline && cycle.deadline() - after.deadline == MS);
}

#[test]
fn impossible_periods_are_refused_with_what_would_be_possible() {
    for period in [Duration::ZERO, Duration::from_micros(9), Duration::from_secs(3601)] {
        let refused = Cycle::every(period).unwrap_err().to_string();
        assert!(refused.contains("at least 10µs and at most 3600s"), "{refused}");
    }
}

#[test]
fn late_is_what_the_user_says() {
    let mut strict = Cycle::every(20 * MS).unwrap().late_after(Duration::ZERO);
    let mut lax = Cycle::every(MS).unwrap().late_after(MS);
    assert!(strict.wait().is_late, "no loop wakes within a nanosecond");
    assert!(!lax.wait().is_late, "the phase is less than the period");
}

/// A plant with its own driver, and a connected controller that is driven by the test.
fn plant_and_driver(config: impl FnOnce(Config) -> Config) -> (UdpInterface, UdpInterface, Driver) {
    let plant = server(server_config(Wire::Native));
    let (controller, mut driver) = UdpInterface::caller_driven(config(client_config(&plant))).unwrap();
    driver.connect().unwrap();
    (plant, controller, driver)
}

#[test]
fn turn_until_shows_messages_as_they_come_and_returns_at_the_deadline() {
    let (plant, _controller, mut driver) = plant_and_driver(|config| config);
    let mut cycle = Cycle::every(50 * MS).unwrap();
    driver.turn_until(&mut cycle, &mut |_| {});
    plant.send(&1, &Metadata::status()).unwrap();
    let mut came = None;
    let wake = driver.turn_until(&mut cycle, &mut |message| {
        came = Some((message.decode::<i32>().unwrap(), Instant::now()));
    });
    let (number, at) = came.expect("the message came");
    assert_eq!(number, 1);
    assert!(at < wake.deadline, "it was shown when it came");
    assert!(Instant::now() >= wake.deadline);
    assert_eq!(wake.number, cycle.stats().wakes + cycle.stats().missed);
}

#[test]
fn turn_until_reads_what_came_while_the_loop_was_busy() {
    let (plant, _controller, mut driver) = plant_and_driver(|config| config);
    let mut cycle = Cycle::every(MS).unwrap();
    driver.turn_until(&mut cycle, &mut |_| {});
    for number in 0..5 {
        plant.send(&number, &Metadata::status()).unwrap();
    }
    thread::sleep(20 * MS);
    let mut seen = Vec::new();
    let wake = driver.turn_until(&mut cycle, &mut |message| seen.push(message.decode::<i32>().unwrap()));
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    assert!(wake.missed >= 19, "{wake:?}");
}

#[test]
fn turn_until_keeps_its_times_while_disconnected() {
    let (plant, mut driver) = UdpInterface::caller_driven(server_config(Wire::Native)).unwrap();
    let mut cycle = Cycle::every(MS).unwrap();
    let first = driver.turn_until(&mut cycle, &mut |_| {});
    driver.connect().unwrap();
    driver.turn_until(&mut cycle, &mut |_| {});
    plant.disconnect();
    let last = driver.turn_until(&mut cycle, &mut |_| {});
    assert_eq!(last.deadline - first.deadline, MS * u32::try_from(last.number - first.number).unwrap());
}

/// Wakes a thread.
struct Unparker(thread::Thread);

impl WakeTask for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unparker(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn cycle_is_awaited_on_any_executor() {
    let mut cycle = Cycle::every(2 * MS).unwrap();
    let first = cycle.deadline();
    let last = block_on(async {
        for _ in 0..20 {
            cycle.wait_async().await;
        }
        cycle.wait_async().await
    });
    assert_eq!(last.deadline, first + 2 * MS * u32::try_from(last.number - 1).unwrap());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut other = Cycle::every(3 * MS).unwrap();
        let wakes = async {
            for _ in 0..10 {
                other.wait_async().await;
            }
        };
        let more = async {
            for _ in 0..10 {
                cycle.wait_async().await;
            }
        };
        tokio::join!(wakes, more);
    });
    assert_eq!(cycle.stats().wakes, 31);
}

#[test]
fn dropped_wait_loses_no_cycle() {
    let mut cycle = Cycle::every(20 * MS).unwrap();
    let deadline = cycle.deadline();
    let waker = Waker::from(Arc::new(Unparker(thread::current())));
    for _ in 0..10 {
        assert!(pin!(cycle.wait_async()).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(cycle.deadline(), deadline);
    assert_eq!(block_on(cycle.wait_async()).number, 1 + cycle.stats().missed);
}

#[test]
#[cfg(target_os = "linux")]
fn thread_of_an_awaited_cycle_ends_with_it() {
    let own_threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "tautline-cycle").count()
    };
    let mut cycle = Cycle::every(Duration::from_secs(3600)).unwrap();
    let waker = Waker::from(Arc::new(Unparker(thread::current())));
    assert!(pin!(cycle.wait_async()).poll(&mut Context::from_waker(&waker)).is_pending());
    // Other tests of this process have such threads too.
    until("the thread runs", || own_threads() > 0);
    drop(cycle);
    until("the thread has ended", || own_threads() == 0);
}

/// The period of the loops that follow. Long, so that a busy machine does not hide what is tested. Windows does not tell when a datagram
/// came, so each delay of the reader counts there.
const SLOW: Duration = Duration::from_millis(if cfg!(windows) { 20 } else { 5 });

/// The longest that a loop follows until what is tested is so: four thousand periods.
const LOCK_LIMIT: Duration = SLOW.saturating_mul(4_000);

/// A controller that sends a command each period. Its period is longer by 500 ppm, as if its clock ran slower.
struct Controller {
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Controller {
    fn start(to: SocketAddr, wire: Wire) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let controller = create_udp_client(Config::client(to).wire(wire)).unwrap();
            controller.connect().unwrap();
            let mut cycle = Cycle::every(SLOW + SLOW / 2_000).unwrap();
            while !over.load(Ordering::SeqCst) {
                cycle.wait();
                controller.send(&0.5, &Metadata::command()).unwrap();
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// Runs the loop until the cycle is in this state.
fn run_until(cycle: &mut Cycle, wait: &mut dyn FnMut(&mut Cycle), state: LockState) {
    let began = Instant::now();
    while cycle.following().expect("it follows").state != state {
        wait(cycle);
        assert!(began.elapsed() < LOCK_LIMIT, "not {state:?}: {:?}", cycle.following());
    }
}

/// Runs the loop until the rate of the peer is known.
fn run_until_rate(cycle: &mut Cycle, wait: &mut dyn FnMut(&mut Cycle)) {
    let began = Instant::now();
    while !(300.0..700.0).contains(&cycle.following().expect("it follows").rate_ppm) {
        (0..100).for_each(|_| wait(cycle));
        assert!(began.elapsed() < LOCK_LIMIT, "{:?}", cycle.following());
    }
}

#[test]
fn cycle_locks_to_a_peer_with_another_clock_coasts_without_it_and_locks_to_the_next_one() {
    let plant = server(server_config(Wire::Native));
    let first = Controller::start(address(&plant), Wire::Native);
    let mut cycle = Cycle::every(SLOW).unwrap();
    cycle.follow(&plant, MessageType::Command, SLOW / 2);
    assert_eq!(cycle.following().unwrap().state, LockState::Waiting);
    let wait = &mut |cycle: &mut Cycle| _ = cycle.wait();
    run_until(&mut cycle, wait, LockState::Locked);
    run_until_rate(&mut cycle, wait);
    drop(first);
    run_until(&mut cycle, wait, LockState::Coasting);
    let rate = cycle.following().unwrap().rate_ppm;
    cycle.wait();
    assert!((cycle.following().unwrap().rate_ppm - rate).abs() < 1e-9, "the last rate stays");
    let _second = Controller::start(address(&plant), Wire::Native);
    run_until(&mut cycle, wait, LockState::Locked);
    cycle.unfollow();
    assert_eq!(cycle.following(), None);
    let before = cycle.wait();
    let after = cycle.wait();
    assert_eq!(after.deadline - before.deadline, SLOW * u32::try_from(after.number - before.number).unwrap());
}

#[test]
fn cycle_follows_commands_that_a_latch_drops() {
    let plant = server(server_config(Wire::Native));
    plant.watch(Watchdog::messages(MessageType::Command, MS).armed_at_connect(), |_| {}).unwrap();
    until("it has tripped", || plant.watchdogs()[0].state == WatchdogState::Tripped);
    let _controller = Controller::start(address(&plant), Wire::Native);
    let mut cycle = Cycle::every(SLOW).unwrap();
    cycle.follow(&plant, MessageType::Command, SLOW / 2);
    run_until(&mut cycle, &mut |cycle| _ = cycle.wait(), LockState::Locked);
    assert_eq!(plant.statistics().inbox.offered(), 0, "all of them were dropped");
}

#[test]
fn cycle_of_a_caller_driven_loop_follows_on_the_classic_wire_too() {
    let (plant, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let _controller = Controller::start(address(&plant), Wire::Classic);
    let mut cycle = Cycle::every(SLOW).unwrap();
    cycle.follow(&plant, MessageType::Command, SLOW / 2);
    let mut seen = 0;
    let wait = &mut |cycle: &mut Cycle| _ = driver.turn_until(cycle, &mut |_| seen += 1);
    run_until(&mut cycle, wait, LockState::Locked);
    run_until_rate(&mut cycle, wait);
    // Commands that newer ones replaced before they were read are followed, and not seen.
    assert!(seen > 0);
}

/// What a loop at 1 kHz has measured.
struct Measured {
    name: &'static str,
    /// How late each wake-up came after the first deadline that it was for, in nanoseconds. A loop that falls behind for ever
    /// counts from the times at which it should have woken.
    late: Vec<u64>,
    /// How late each wake-up came after the latest deadline.
    phases: Vec<u64>,
    missed: u64,
    /// How much later the last wake-up was due than the ideal schedule says.
    drift: Duration,
}

impl Measured {
    fn print(mut self) {
        self.late.sort_unstable();
        self.phases.sort_unstable();
        let Self { name, late, phases, missed, drift } = self;
        let very = late.iter().filter(|late| **late > 100_000).count();
        println!(
            "{name:36} {} wakes, {very} late by more than 100 us, {missed} missed, drift {drift:?}; {}; {}",
            late.len(),
            percentiles("late", &late),
            percentiles("phase", &phases)
        );
    }
}

/// Shows sorted times of nanoseconds.
fn percentiles(name: &str, sorted: &[u64]) -> String {
    let at = |part: usize| sorted[(sorted.len() - 1) * part / 1_000] as f64 / 1e3;
    format!("{name} p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1} us", at(500), at(990), at(999), at(1_000))
}

/// Returns a duration in nanoseconds.
fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

/// Sleeps for a period again and again, as naive loops do. Its phase is its distance from the times at which it should wake.
fn plain_sleep(end: Instant) -> Measured {
    let (began, mut late) = (Instant::now(), Vec::new());
    while Instant::now() < end {
        thread::sleep(MS);
        let ideal = began + MS * u32::try_from(late.len() + 1).unwrap();
        late.push(ns(ideal.elapsed()));
    }
    let drift = Duration::from_nanos(*late.last().unwrap());
    Measured { name: "sleep(1 ms)", phases: late.clone(), late, missed: 0, drift }
}

/// Sleeps for what is left until the next time, and starts anew if it is late.
fn sleep_for_the_rest(end: Instant) -> Measured {
    let (began, mut late) = (Instant::now(), Vec::new());
    let mut next = began;
    while Instant::now() < end {
        next = (next + MS).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
        late.push(ns(next.elapsed()));
    }
    let drift = next.saturating_duration_since(began + MS * u32::try_from(late.len()).unwrap());
    Measured { name: "sleep(rest), anew if late", phases: late.clone(), late, missed: 0, drift }
}

/// A [`Cycle`], with whatever waits for it.
fn with_cycle(name: &'static str, end: Instant, mut wait: impl FnMut(&mut Cycle) -> Wake) -> Measured {
    let mut cycle = Cycle::every(MS).unwrap();
    let first = cycle.deadline();
    let (mut late, mut phases, mut last) = (Vec::new(), Vec::new(), None);
    while Instant::now() < end {
        let wake = wait(&mut cycle);
        phases.push(ns(wake.phase));
        late.push(ns(wake.phase) + wake.missed * ns(MS));
        last = Some(wake);
    }
    let last = last.unwrap();
    let ideal = first + MS * u32::try_from(last.number - 1).unwrap();
    Measured { name, late, phases, missed: cycle.stats().missed, drift: last.deadline - ideal }
}

/// A loop that is its own driver and gets a message each millisecond.
fn with_driver(name: &'static str, is_realtime: bool, end: Instant) -> Measured {
    let (plant, _controller, mut driver) = plant_and_driver(|config| config.realtime(is_realtime));
    let sender = thread::spawn(move || {
        let mut cycle = Cycle::every(MS).unwrap();
        while Instant::now() < end {
            cycle.wait();
            let _ = plant.send(&0.5, &Metadata::status());
        }
    });
    let measured = with_cycle(name, end, |cycle| driver.turn_until(cycle, &mut |_| {}));
    sender.join().unwrap();
    measured
}

#[test]
#[ignore = "takes ten minutes; prints figures"]
fn a_cycle_at_1_khz_does_not_drift_beside_plain_sleep_loops() {
    let minutes = std::env::var("TAUTLINE_CAMPAIGN_MINUTES").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs_f64(60.0 * minutes.unwrap_or(10.0));
    let spawn = |run: fn(Instant) -> Measured| thread::spawn(move || run(end));
    let loops = [
        spawn(plain_sleep),
        spawn(sleep_for_the_rest),
        spawn(|end| with_cycle("Cycle::wait", end, Cycle::wait)),
        spawn(|end| with_driver("Driver::turn_until", false, end)),
        spawn(|end| with_driver("Driver::turn_until, realtime = true", true, end)),
    ];
    let measured = loops.map(|run| run.join().unwrap());
    for cycle in &measured[2..] {
        assert_eq!(cycle.drift, Duration::ZERO, "{}", cycle.name);
        assert!(cycle.phases.iter().all(|phase| *phase < ns(MS)), "a phase is less than the period");
    }
    measured.into_iter().for_each(Measured::print);
}
