//! Measures how late watchdogs are when their peer is stopped (SIGSTOP), and checks that loss alone trips none. A log of all
//! arrivals shows whether a trip was right.
//!
//! Short versions run with all tests. The full versions, with figures, run with
//!
//! ```text
//! cargo test --release -p tautline --test watchdog_campaign -- --ignored --nocapture --test-threads 1
//! ```
//!
//! `TAUTLINE_CAMPAIGN_MINUTES` is the length of the test with loss, in minutes. The default is 10. Priority needs privilege
//! (docs/realtime.md). Without it, the figures are those of the ordinary scheduler, and lateness does not fail the test.
//!
//! The peer is this program, started again. Meanwhile a thread with the priority of the watchdogs measures how late a plain
//! sleep ends. This is the delay that comes from the machine itself, above all from a virtual machine.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)] // figures

mod common;

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{TIME_LIMIT, address, client, server, server_config, until};
use rustix::process::{Pid, Signal, kill_process};
use tautline::{
    Config, Handler, MessageType, Metadata, PartOutcome, RealtimePart, UdpInterface, Watchdog,
    WatchdogChange, WatchdogEvent, Wire,
};

const MS: Duration = Duration::from_millis(1);

/// The time-out of the watchdog that is measured.
const TIMEOUT: Duration = Duration::from_millis(20);

/// The time-out of a watchdog that loss trips now and then, so that the log has trips to check.
const SHORT_TIMEOUT: Duration = Duration::from_millis(4);

/// The most that a trip may come after its time-out, with the real-time profile.
const LATE: Duration = MS;

/// The variable that tells the peer the address to send to, and how many of 100 messages it leaves out.
const PEER: &str = "TEST_WATCHDOG_PEER";

/// The peer: sends a command every millisecond and leaves some out at random, until it is killed or its input ends.
fn send_commands(to: &str, loss_percent: u64) {
    thread::spawn(|| {
        // The test that started this process has ended.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let client = client(Config::client(to));
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut due = Instant::now();
    for number in 0_u64.. {
        // Marsaglia's xorshift64 is good enough for losses.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if random % 100 >= loss_percent {
            // Sending fails when the server has closed, at the end of the test.
            if client.send(&number, &Metadata::command()).is_err() {
                return;
            }
        }
        // After a stop the peer goes on at its rate, without a burst.
        due = (due + MS).max(Instant::now());
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// A peer in a process of its own. Dropping it ends the process.
struct Peer(Child);

impl Peer {
    fn start(of: &UdpInterface, loss_percent: u64) -> Self {
        let child = Command::new(std::env::current_exe().expect("this test's program"))
            .args(["--exact", "the_peer", "--nocapture", "--include-ignored"])
            .env(PEER, format!("{} {loss_percent}", address(of)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("started"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("the process is our child");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a server with the real-time profile, and whether the system granted its priority.
fn plant() -> (UdpInterface, bool) {
    let plant = server(server_config(Wire::Native).realtime(true));
    let priority = &plant.realtime_report().part(RealtimePart::ThreadPriority).outcome.clone();
    (plant, matches!(priority, PartOutcome::Granted { .. }))
}

/// Registers a watchdog. Returns the events that its failsafe gets, each with the time of the call.
fn watch(plant: &UdpInterface, watchdog: Watchdog) -> Receiver<(Instant, WatchdogEvent)> {
    let (sender, events) = mpsc::channel();
    let failsafe = move |event: &WatchdogEvent| _ = sender.send((Instant::now(), *event));
    plant.watch(watchdog, failsafe).expect("possible");
    events
}

fn commands(period: Duration) -> Watchdog {
    Watchdog::messages(MessageType::Command, period).recovers_by_itself()
}

fn is_trip(event: &WatchdogEvent) -> bool {
    matches!(event.change, WatchdogChange::Tripped { .. })
}

/// The log of arrivals: when a message was handed out, and when it arrived, in nanoseconds of the driver's clock.
type Arrivals = Arc<Mutex<Vec<(Instant, u64)>>>;

fn log_arrivals(plant: &UdpInterface) -> Arrivals {
    let arrivals = Arrivals::default();
    let (inside, list) = (plant.clone(), Arc::clone(&arrivals));
    let log = Handler::inline(move |_, _| {
        let now = Instant::now();
        let came = inside.peers().iter().filter_map(|peer| peer.received.last_activity).max();
        list.lock().expect("no panic").push((now, came.expect("just now").as_nanos()));
    });
    plant.register_message_handler(MessageType::Command, log);
    arrivals
}

/// Measures how late sleeps of 1 ms end, on the watchdog thread of another interface, which has the same priority.
struct Sleeper {
    _interface: UdpInterface,
    over: Arc<AtomicBool>,
    late: Receiver<Vec<Duration>>,
}

impl Sleeper {
    fn start() -> Self {
        let (interface, _) = plant();
        let (over, (sender, late)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
        let is_over = Arc::clone(&over);
        let sleeps = move |event: &WatchdogEvent| {
            let mut late = Vec::new();
            while is_trip(event) && !is_over.load(Ordering::Relaxed) {
                let due = Instant::now() + MS;
                thread::sleep(MS);
                late.push(due.elapsed());
            }
            let _ = sender.send(late);
        };
        // No peer ever connects, so this watchdog trips after 1 ms and its failsafe measures.
        interface.watch(Watchdog::peer(MS).armed_at_connect(), sleeps).expect("possible");
        Self { _interface: interface, over, late }
    }

    fn end(self) -> Vec<Duration> {
        self.over.store(true, Ordering::Relaxed);
        self.late.recv_timeout(TIME_LIMIT).expect("the failsafe has measured")
    }
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let place = ((times.len() - 1) as f64 * share) as usize;
        times[place]
    };
    format!("p50 {:?}, p90 {:?}, p99 {:?}, worst {:?}", at(0.5), at(0.9), at(0.99), at(1.0))
}

/// Stops a peer `times` times and checks that each stop trips the watchdog and each continuation recovers it. Returns how late
/// each call of the failsafe was, and whether the system granted the priority.
fn stop_a_peer(times: u32) -> (Vec<Duration>, bool) {
    let (plant, has_priority) = plant();
    let arrivals = log_arrivals(&plant);
    let events = watch(&plant, commands(TIMEOUT));
    let peer = Peer::start(&plant, 0);
    until("the peer sends", || arrivals.lock().unwrap().len() > 100);
    let mut late = Vec::new();
    for number in 0..times {
        // Trips before the stop come from a busy machine, and are not counted.
        while events.try_recv().is_ok() {}
        peer.signal(Signal::STOP);
        let (ran, event) =
            std::iter::from_fn(|| Some(events.recv_timeout(TIME_LIMIT).expect("the watchdog trips")))
                .find(|(_, event)| is_trip(event))
                .expect("an endless search");
        let last = event.last.expect("commands came");
        let (handed_out, _) = *arrivals.lock().unwrap().last().expect("commands came");
        assert!(handed_out >= last, "the event names the last command");
        assert!(event.at >= last + TIMEOUT, "the watchdog did not trip too early: {event:?}");
        late.push(ran - (last + TIMEOUT));
        // The pauses vary, so that they are not in step with any period.
        thread::sleep(Duration::from_micros(u64::from(number) * 137 % 10_000));
        peer.signal(Signal::CONT);
        let recovered =
            std::iter::from_fn(|| Some(events.recv_timeout(TIME_LIMIT).expect("the watchdog recovers")));
        assert!(
            recovered.into_iter().any(|(_, event)| matches!(event.change, WatchdogChange::Recovered { .. }))
        );
        thread::sleep(Duration::from_micros(5_000 + u64::from(number) * 271 % 10_000));
    }
    plant.cleanup();
    (late, has_priority)
}

/// Leaves messages out for the time `length`, and checks each trip against the log. Returns a text with the figures.
fn lose_messages(length: Duration, stops: u32) -> String {
    let (plant, has_priority) = plant();
    let arrivals = log_arrivals(&plant);
    let watchdogs = [TIMEOUT, SHORT_TIMEOUT].map(|timeout| (timeout, watch(&plant, commands(timeout))));
    let peer = Peer::start(&plant, 10);
    until("the peer sends", || !arrivals.lock().unwrap().is_empty());
    for _ in 0..=stops {
        thread::sleep(length / (stops + 1));
        peer.signal(Signal::STOP);
        thread::sleep(2 * TIMEOUT);
        peer.signal(Signal::CONT);
    }
    let missed = plant.statistics().lost;
    // Later trips come from the end of the test.
    let end = Instant::now();
    drop(peer);
    plant.cleanup();
    let arrivals = arrivals.lock().unwrap();
    let mut text = format!(
        "10 % of 1 kHz left out for {length:?}, {} stops, priority {has_priority}: {} came, {missed} datagrams lost besides",
        stops + 1,
        arrivals.len()
    );
    for (timeout, events) in &watchdogs {
        let trips: Vec<_> = events.try_iter().map(|(_, event)| event).collect();
        let trips: Vec<_> = trips.into_iter().filter(|event| is_trip(event) && event.at < end).collect();
        assert!(!trips.is_empty(), "the stops trip it, because they last twice the longer time-out");
        text += &format!("\n  {timeout:?}: {}", judge(&arrivals, *timeout, &trips, end));
    }
    text
}

/// Checks that the log shows silence before each trip. Returns a text that says how many long silences tripped the watchdog.
fn judge(arrivals: &[(Instant, u64)], timeout: Duration, trips: &[WatchdogEvent], end: Instant) -> String {
    // The start of the driver's clock. A message is handed out after its arrival, and the quickest after about 1 us, so the
    // earliest difference is the start.
    let begin = |&(handed_out, came): &(Instant, u64)| handed_out - Duration::from_nanos(came);
    let begin = arrivals.iter().map(begin).min().expect("commands came");
    let came = |index: usize| begin + Duration::from_nanos(arrivals[index].1);
    let slack = Duration::from_micros(100);
    let (mut unjustified, mut next) = (0, 0);
    for trip in trips {
        // The messages that were handed out before the trip.
        while next < arrivals.len() && arrivals[next].0 < trip.at {
            next += 1;
        }
        let newest = (0..next).rev().take(200).map(came).max().expect("a message armed the watchdog");
        unjustified += u32::from(newest + timeout > trip.at + slack);
    }
    assert_eq!(unjustified, 0, "of {} trips", trips.len());
    let silences = (1..arrivals.len()).filter(|&index| came(index) - came(index - 1) > timeout + LATE);
    let long = silences.filter(|&index| came(index) < end).collect::<Vec<_>>();
    // If the whole machine paused, the driver may have run before the watchdog thread.
    let has_tripped = |&&index: &&usize| {
        trips.iter().any(|trip| trip.at > came(index - 1) && trip.at < came(index) + slack)
    };
    let tripped = long.iter().filter(has_tripped).count();
    format!(
        "{} trips, all justified; {} silences longer by {LATE:?}, {tripped} of them trips",
        trips.len(),
        long.len()
    )
}

/// The child process of the tests.
#[test]
#[ignore = "a child of the other tests"]
fn the_peer() {
    if let Ok(wanted) = std::env::var(PEER) {
        let (to, loss) = wanted.split_once(' ').expect("an address and a number");
        send_commands(to, loss.parse().expect("a number"));
    }
}

#[test]
fn a_stopped_peer_trips_its_watchdog_each_time() {
    let (late, has_priority) = stop_a_peer(5);
    println!("stopped 5 times, priority {has_priority}: late by {}", percentiles(late));
}

#[test]
#[ignore = "the full length, in release"]
fn a_peer_that_is_stopped_200_times_trips_its_watchdog_in_time() {
    let sleeper = Sleeper::start();
    let (late, has_priority) = stop_a_peer(200);
    let slept = sleeper.end();
    let worst = |late: &[Duration]| late.iter().max().copied().unwrap_or_default();
    let (worst, machine) = (worst(&late), worst(&slept));
    println!("stopped 200 times, priority {has_priority}: late by {}", percentiles(late));
    println!("a plain sleep on such a thread meanwhile: late by {}", percentiles(slept));
    assert!(
        worst <= LATE.max(machine) || !has_priority,
        "{worst:?}, where a plain sleep was late by {machine:?}"
    );
}

#[test]
fn a_trip_beside_loss_always_follows_a_silence_in_the_log() {
    println!("{}", lose_messages(Duration::from_secs(2), 3));
}

#[test]
#[ignore = "ten minutes, in release"]
fn a_trip_beside_long_loss_always_follows_a_silence_in_the_log() {
    let minutes = std::env::var("TAUTLINE_CAMPAIGN_MINUTES").map(|text| text.parse().expect("a number"));
    println!("{}", lose_messages(Duration::from_secs(60) * minutes.unwrap_or(10), 0));
}
