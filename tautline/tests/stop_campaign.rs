//! Stops and kills real processes, and checks what the plant is told and does.
//!
//! - Plant or controller is stopped (SIGSTOP) for 25 ms to 1 s: every silence is told, with its true length.
//! - The controller is killed in mid-swing: the force is zero within the time-out and 2 ms, and no command is acted on before
//!   the reset, while the old controller, a new one and a stranger send.
//!
//! Short versions run with all tests. The full versions, with figures, run with
//!
//! ```text
//! cargo test --release -p tautline --test stop_campaign -- --ignored --nocapture --test-threads 1
//! ```
//!
//! `TAUTLINE_CAMPAIGN_STOPS` is the number of stops of each kind, and of kills. The default is 200. The machine itself may be
//! late, above all a virtual machine: a thread measures by how much, and that is allowed on top.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)] // figures, and what the children report

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{TIME_LIMIT, address, client, server, server_config, until};
use rustix::process::{Pid, Signal, kill_process};
use tautline::{
    Config, DropReason, Handler, MessageType, Metadata, PartOutcome, Profile, Qos, RealtimePart,
    UdpInterface, Watchdog, WatchdogChange, WatchdogState, Wire,
};

const MS: Duration = Duration::from_millis(1);

/// The time-out of the plant.
const TIMEOUT: Duration = Duration::from_millis(20);

/// By how much a told length may differ from the true one, beside what the machine is late.
const EXACT: Duration = MS;

/// What may pass beside the time-out until the force is zero.
const PROMPT: Duration = Duration::from_millis(2);

/// The variable that tells a child what it is: `plant WIRE REALTIME` or `controller WIRE ADDRESS`.
const ROLE: &str = "TEST_STOP_ROLE";

/// A child process: this program again. Dropping it ends the process.
struct Process(Child);

impl Process {
    fn start(role: &str) -> Self {
        let child = Command::new(std::env::current_exe().expect("this test's program"))
            .args(["--exact", "the_child", "--nocapture", "--include-ignored"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("started"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("the process is our child");
    }

    /// The lines that the process reports, without what the test harness prints.
    fn reports(&mut self) -> Receiver<Vec<String>> {
        let output = BufReader::new(self.0.stdout.take().expect("piped"));
        let (sender, reports) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Some((_, report)) = line.split_once("report ") else { continue };
                if sender.send(report.split(' ').map(str::to_owned).collect()).is_err() {
                    return;
                }
            }
        });
        reports
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The child process of the tests.
#[test]
#[ignore = "a child of the other tests"]
fn the_child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let words: Vec<_> = role.split(' ').collect();
    thread::spawn(|| {
        // The test that started this process has ended.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let wire: Wire = if words[1] == "classic" { Wire::Classic } else { Wire::Native };
    match words[0] {
        "plant" => be_plant(wire, words[2] == "realtime"),
        _ => send_commands(&client(Config::client(words[2]).wire(wire).name("old"))),
    }
}

fn report(what: &str) {
    // One write: lines of several threads must not mix.
    let line = format!("\nreport {what}\n");
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// The plant: reports what its failsafe is told of silences, and what its handler sees of them.
fn be_plant(wire: Wire, realtime: bool) {
    let plant = server(server_config(wire).realtime(realtime));
    let last = Mutex::new(None::<Instant>);
    let handler = Handler::inline(move |_, _| {
        let now = Instant::now();
        let before = last.lock().expect("no panic").replace(now);
        if let Some(gap) = before.map(|before| now - before).filter(|gap| *gap >= TIMEOUT) {
            report(&format!("gap {}", gap.as_nanos()));
        }
    });
    plant.register_message_handler(MessageType::Command, handler);
    let commands = Watchdog::messages(MessageType::Command, TIMEOUT).recovers_by_itself();
    let failsafe = |event: &tautline::WatchdogEvent| match event.change {
        WatchdogChange::Tripped { .. } => report("tripped"),
        WatchdogChange::Recovered { silence, cause, silences } => {
            report(&format!("silence {} {silences} {cause:?}", silence.as_nanos()));
        }
        _ => {}
    };
    plant.watch(commands, failsafe).expect("possible");
    let priority = &plant.realtime_report().part(RealtimePart::ThreadPriority).outcome.clone();
    report(&format!("at {} {}", address(&plant), matches!(priority, PartOutcome::Granted { .. })));
    thread::park_timeout(Duration::from_secs(24 * 3_600));
}

/// Sends a command every millisecond, for ever.
fn send_commands(client: &UdpInterface) {
    let mut due = Instant::now();
    loop {
        let _ = client.send(&1.5, &Metadata::command());
        // After a stop it goes on at its rate, without a burst.
        due = (due + MS).max(Instant::now());
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// How many stops of each kind the full versions make.
fn full() -> usize {
    std::env::var("TAUTLINE_CAMPAIGN_STOPS").map_or(200, |text| text.parse().expect("a number"))
}

/// Measures how late sleeps of 1 ms end meanwhile.
struct Sleeper(Arc<AtomicBool>, thread::JoinHandle<Duration>);

impl Sleeper {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let sleeps = thread::spawn(move || {
            let mut worst = Duration::ZERO;
            while !is_over.load(Ordering::SeqCst) {
                let due = Instant::now() + MS;
                thread::sleep(MS);
                worst = worst.max(due.elapsed());
            }
            worst
        });
        Self(over, sleeps)
    }

    fn end(self) -> Duration {
        self.0.store(true, Ordering::SeqCst);
        self.1.join().expect("no panic")
    }
}

/// Who is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Plant,
    Controller,
}

/// What a series of stops showed.
#[derive(Default)]
struct Told {
    untold: usize,
    /// The greatest difference of a told length from what the handler saw, and from the stop itself.
    worst_to_handler: Duration,
    worst_to_stop: Duration,
    /// How often each was named as late: the sender, the path, this process.
    causes: [usize; 3],
}

/// Stops the victim `times` times for `length`.
fn stop(victim: Victim, wire: Wire, realtime: bool, length: Duration, times: usize) -> (Told, bool) {
    let wire = if wire == Wire::Classic { "classic" } else { "native" };
    let mut plant =
        Process::start(&format!("plant {wire} {}", if realtime { "realtime" } else { "ordinary" }));
    let reports = plant.reports();
    let begin = reports.recv_timeout(TIME_LIMIT).expect("the plant starts");
    let has_priority = begin[2] == "true";
    let controller = Process::start(&format!("controller {wire} {}", begin[1]));
    let stopped = if victim == Victim::Plant { &plant } else { &controller };
    thread::sleep(Duration::from_millis(300));
    let mut told = Told::default();
    for number in 0..times {
        while reports.try_recv().is_ok() {}
        let before = Instant::now();
        stopped.signal(Signal::STOP);
        let stopped_at = Instant::now();
        thread::sleep(length);
        let continued_at = Instant::now();
        stopped.signal(Signal::CONT);
        // This process may have been kept from running around each signal.
        told.add(&reports, continued_at - stopped_at, before.elapsed());
        // The pauses vary, so that they are not in step with any period.
        thread::sleep(Duration::from_micros(30_000 + number as u64 * 271 % 10_000));
    }
    (told, has_priority)
}

impl Told {
    /// Waits for what the plant tells of a stop, which lasted so long.
    fn add(&mut self, reports: &Receiver<Vec<String>>, at_least: Duration, at_most: Duration) {
        let (mut silence, mut gap, mut all) = (None, None, Vec::new());
        let until = Instant::now() + Duration::from_secs(3);
        while silence.is_none() || gap.is_none() {
            let report = match reports.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(report) => report,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("the plant has ended"),
            };
            let length = || Duration::from_nanos(report[1].parse().expect("a number"));
            all.push(report.join(" "));
            // Shorter silences come from the machine, not from the stop. A busy machine delivers the signals late.
            match report[0].as_str() {
                "gap" if length() * 5 >= at_least * 4 => gap = Some(length()),
                "silence" if length() * 5 >= at_least * 4 => {
                    silence = Some(length());
                    let cause =
                        ["Sender", "Path", "ThisProcess"].iter().position(|cause| **cause == report[3]);
                    self.causes[cause.expect("one of them")] += 1;
                }
                _ => {}
            }
        }
        match (silence, gap) {
            (Some(silence), Some(gap)) => {
                self.worst_to_handler = self.worst_to_handler.max(silence.abs_diff(gap));
                let longer = silence.saturating_sub(at_most);
                self.worst_to_stop = self.worst_to_stop.max(longer.max(at_least.saturating_sub(silence)));
            }
            _ => {
                self.untold += 1;
                println!("a stop of {at_least:?} was not told, only: {all:?}");
            }
        }
    }
}

/// Stops plant and controller in every way, and checks what is told.
fn stop_all(wires: &[Wire], realtime: &[bool], lengths: &[u64], times: usize) {
    for &victim in &[Victim::Plant, Victim::Controller] {
        for (&wire, &realtime) in wires.iter().flat_map(|wire| realtime.iter().map(move |on| (wire, on))) {
            for &length in lengths {
                let sleeper = Sleeper::start();
                let (told, has_priority) = stop(victim, wire, realtime, Duration::from_millis(length), times);
                let late = sleeper.end();
                let Told { untold, worst_to_handler, worst_to_stop, causes: [sender, path, here] } = told;
                println!(
                    "{times} stops of the {victim:?} of {length} ms, {wire}, priority {has_priority}: {untold} untold; \
                     told length beside the handler's: worst {worst_to_handler:?}, beside the stop: worst {worst_to_stop:?} \
                     (a sleep meanwhile was late by {late:?}); late was the sender {sender}, the path {path}, \
                     this process {here}"
                );
                assert_eq!(untold, 0);
                assert!(worst_to_handler <= EXACT + late, "{worst_to_handler:?}");
            }
        }
    }
}

#[test]
fn a_stop_of_either_process_is_told_with_its_length() {
    stop_all(&[Wire::Native], &[false], &[25, 100], 3);
}

#[test]
#[ignore = "the full length, in release: 40 minutes"]
fn every_stop_of_either_process_is_told_with_its_length() {
    stop_all(&[Wire::Native, Wire::Classic], &[true, false], &[25, 50, 200, 1_000], full());
}

/// The plant of the killed controllers: its force, and when that was set.
#[derive(Default)]
struct Arm {
    /// Whether a force is on, as the last command or the failsafe has set it.
    moves: AtomicBool,
    /// Commands that were acted on.
    acted: AtomicU64,
    last_command: Mutex<Option<Instant>>,
    zero_at: Mutex<Option<Instant>>,
}

fn start_arm(wire: Wire) -> (UdpInterface, Arc<Arm>) {
    let arm = Arc::new(Arm::default());
    let stopped = Arc::clone(&arm);
    let config = server_config(wire)
        .realtime(true)
        .profile(Profile::control())
        .qos(MessageType::Command, Qos::new().deadline(TIMEOUT))
        .failsafe(move |event| {
            if event.state() == WatchdogState::Tripped && stopped.moves.swap(false, Ordering::SeqCst) {
                *stopped.zero_at.lock().expect("no panic") = Some(Instant::now());
            }
        });
    let plant = server(config);
    let moved = Arc::clone(&arm);
    let act = Handler::inline(move |_, _| {
        *moved.last_command.lock().expect("no panic") = Some(Instant::now());
        moved.acted.fetch_add(1, Ordering::SeqCst);
        moved.moves.store(true, Ordering::SeqCst);
    });
    plant.register_message_handler(MessageType::Command, act);
    (plant, arm)
}

/// Kills the controller `times` times. Returns how long after the last command, and after the kill, the force was zero.
fn kill_controllers(wire: Wire, times: usize) -> (Vec<Duration>, Vec<Duration>) {
    let (plant, arm) = start_arm(wire);
    let name = if wire == Wire::Classic { "classic" } else { "native" };
    let start = || Process::start(&format!("controller {name} {}", address(&plant)));
    let (mut after_command, mut after_kill) = (Vec::new(), Vec::new());
    let mut controller = start();
    let new = client(Config::client(address(&plant)).wire(wire).name("new"));
    for number in 0..times {
        let before = arm.acted.load(Ordering::SeqCst);
        *arm.zero_at.lock().expect("no panic") = None;
        until("the arm swings", || {
            // A trip of the machine's own making.
            if !arm.moves.load(Ordering::SeqCst) {
                plant.reset_all();
            }
            arm.acted.load(Ordering::SeqCst) > before + 50 && arm.moves.load(Ordering::SeqCst)
        });
        thread::sleep(Duration::from_micros(number as u64 * 137 % 3_000));
        let killed = Instant::now();
        drop(controller);
        until("the force is zero", || !arm.moves.load(Ordering::SeqCst));
        let zero_at = || *arm.zero_at.lock().expect("no panic");
        until("it was told when", || zero_at().is_some());
        let last = arm.last_command.lock().expect("no panic").expect("commands came");
        after_command.push(zero_at().expect("just seen").saturating_duration_since(last));
        after_kill.push(zero_at().expect("just seen").saturating_duration_since(killed));

        // All of them send, and nothing moves.
        let (acted, dropped) = (arm.acted.load(Ordering::SeqCst), || plant.statistics().messages_dropped);
        let before = dropped().of(DropReason::Latched);
        controller = start();
        let stranger = client(Config::client(address(&plant)).wire(wire).name("stranger"));
        for _ in 0..60 {
            for from in [&new, &stranger] {
                let _ = from.send(&1.5, &Metadata::command());
            }
            thread::sleep(MS);
        }
        until("the controller that was started again sends too", || {
            let _ = new.send(&1.5, &Metadata::command());
            thread::sleep(MS);
            dropped().of(DropReason::Latched) > before + 180
        });
        assert_eq!(arm.acted.load(Ordering::SeqCst), acted, "acted on before the reset");
        assert!(!arm.moves.load(Ordering::SeqCst));
        drop(stranger);
        assert_eq!(plant.reset_all(), 1);
    }
    (after_command, after_kill)
}

fn worst(times: &[Duration]) -> Duration {
    times.iter().copied().max().unwrap_or_default()
}

/// Kills controllers, and checks how soon the force is zero.
fn kill_all(times: usize) {
    for wire in [Wire::Native, Wire::Classic] {
        let sleeper = Sleeper::start();
        let (after_command, after_kill) = kill_controllers(wire, times);
        let late = sleeper.end();
        println!(
            "{times} controllers killed in mid-swing, {wire}: force zero after the last command: worst {:?}, after the \
             kill: worst {:?} (a sleep meanwhile was late by {late:?}); 0 commands acted on before the reset",
            worst(&after_command),
            worst(&after_kill)
        );
        assert!(worst(&after_command) <= TIMEOUT + PROMPT + late);
    }
}

#[test]
fn when_the_controller_is_killed_the_arm_stops_and_stays_stopped() {
    kill_all(2);
}

#[test]
#[ignore = "the full length, in release"]
fn when_the_controller_is_killed_many_times_the_arm_stops_and_stays_stopped() {
    kill_all(full());
}
