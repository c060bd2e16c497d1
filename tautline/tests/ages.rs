//! No age is understated and no fresh message is dropped, while both ends are stopped now and then and their wall clocks are
//! set back and forth.
//!
//! The two ends are this program, started again. A small library that is loaded before all others answers their calls of
//! `clock_gettime` with a wall clock that the test sets. Both ends read the same steady clock, so the true ages are known.
//!
//! A short version runs with all tests. The full version, with figures, runs with
//!
//! ```text
//! cargo test --release -p tautline --test ages -- --ignored --nocapture --test-threads 1
//! ```
//!
//! With `RUSTFLAGS="--cfg rustix_use_libc"` the library also answers for the clock that is compared with the kernel's stamps,
//! so that those two disagree.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)] // the ends' records, and figures

mod common;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{TIME_LIMIT, WIRES, address, client, until};
use rustix::process::{Pid, Signal, kill_process};
use tautline::{Config, DropReason, MessageType, Metadata, Qos, Wire, create_udp_server};

const MS: Duration = Duration::from_millis(1);

/// Longer than any message is held up, and shorter than the clocks are set. Also the liveness time-out: after a silence that
/// begins a new session, ages count from the arrival until the clocks are compared again.
const LIFESPAN: Duration = Duration::from_secs(5);

/// The steps of the wall clocks, in nanoseconds.
const STEPS: [i64; 3] = [-10_000_000_000, 10_000_000_000, -60_000_000];

/// The variables of an end: its role, its wire, where its peer is, how many messages it sends, and the file with how far its
/// wall clock is set.
const ROLE: &str = "TEST_AGES_ROLE";
const WIRE: &str = "TEST_AGES_WIRE";
const PEER: &str = "TEST_AGES_PEER";
const COUNT: &str = "TEST_AGES_COUNT";
const SHIFT: &str = "TEST_CLOCK_SHIFT";

/// Answers for the wall clock.
const LIBRARY: &str = include_str!("common/clock.c");

/// Returns the time of the steady clock, in nanoseconds. All processes of the machine share this clock.
fn steady_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).expect("it counts up from the boot")
}

/// The receiving end: takes messages until its input ends. Prints, for each, its number, the time, and its age as told.
fn receive(wire: Wire) {
    let all = Qos::new().lifespan(LIFESPAN);
    let config = Config::server("127.0.0.1:0")
        .wire(wire)
        .liveness_timeout(LIFESPAN)
        .inbox_capacity(1_000_000)
        .qos(MessageType::Data, all);
    let server = create_udp_server(config).expect("valid");
    server.connect().expect("a free port");
    println!("listening {}", address(&server));
    let reader = server.clone();
    let reader = thread::spawn(move || {
        let mut taken = Vec::new();
        while let Ok(message) = reader.receive(None) {
            let now = steady_ns();
            let age = message.age();
            taken.push((message.decode::<u64>().expect("a number"), now, age.as_nanos()));
        }
        taken
    });
    std::io::stdin().read_to_end(&mut Vec::new()).expect("the test closes it");
    thread::sleep(MS * 300);
    let statistics = server.statistics();
    server.disconnect();
    let mut out = std::io::stdout().lock();
    for (number, now, age) in reader.join().expect("no panic") {
        writeln!(out, "taken {number} {now} {age}").expect("the test reads it");
    }
    let drops = [statistics.messages_dropped, statistics.inbox.dropped];
    let expired: u64 = drops.iter().map(|drops| drops.of(DropReason::Expired)).sum();
    let moved = statistics.wall_clock_moved_ns;
    writeln!(out, "counts {} {expired} {} {moved}", statistics.messages_received, statistics.kernel_drops)
        .expect("the test reads it");
}

/// The sending end: sends messages at some 5 kHz. Prints, for each, its number, and the latest time when it can have been
/// made: half of them say when, the other half are made when they are sent.
fn send(wire: Wire, peer: &str, count: u64) {
    let client = client(Config::client(peer).wire(wire).liveness_timeout(LIFESPAN));
    if wire == Wire::Native {
        until("the clocks are compared", || client.statistics().path.is_some_and(|path| path.samples >= 3));
    }
    println!("ready");
    let data = client.publisher(Metadata::data());
    let mut made = Vec::new();
    for number in 0..count {
        let (sent, latest) = if number.is_multiple_of(2) {
            let sent = data.send(&number);
            (sent, steady_ns())
        } else {
            let at = Instant::now();
            let latest = steady_ns();
            // The data are some time old when they are sent.
            if number % 64 == 1 {
                thread::sleep(MS);
            }
            // On the classic wire the age counts from the arrival.
            let sent = data.made_at(at).send(&number);
            (sent, if wire == Wire::Native { latest } else { steady_ns() })
        };
        sent.expect("the peer is known");
        made.push(latest);
        if number.is_multiple_of(8) {
            thread::sleep(MS);
        }
    }
    client.flush();
    let mut out = std::io::stdout().lock();
    for (number, latest) in made.iter().enumerate() {
        writeln!(out, "made {number} {latest}").expect("the test reads it");
    }
}

/// An end in a process of its own, with a wall clock that the test sets. Dropping it ends the process.
struct End {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    shift: PathBuf,
}

impl End {
    fn start(role: &str, wire: Wire, folder: &Path, more: &[(&str, String)]) -> Self {
        let shift = folder.join(format!("{role}-{wire}"));
        fs::write(&shift, 0_i64.to_ne_bytes()).expect("a temporary folder");
        let mut child = Command::new(std::env::current_exe().expect("this test's program"))
            .args(["--exact", "the_end", "--nocapture", "--include-ignored"])
            .env("LD_PRELOAD", folder.join("clock.so"))
            .env(ROLE, role)
            .env(WIRE, wire.name())
            .env(SHIFT, &shift)
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { input: child.stdin.take(), child, output, shift }
    }

    /// Waits for a line that begins with this word. Returns the rest.
    fn wait_for(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.output.read_line(&mut line).expect("text") > 0, "the end has ended");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Sets its wall clock this far ahead of the true one.
    fn set_clock(&self, shift: i64) {
        let mut file = fs::OpenOptions::new().write(true).open(&self.shift).expect("it was made");
        file.write_all(&shift.to_ne_bytes()).expect("a temporary file");
    }

    fn stop_for(&self, time: Duration) {
        let signal = |signal| kill_process(Pid::from_child(&self.child), signal).expect("our child");
        signal(Signal::STOP);
        thread::sleep(time);
        signal(Signal::CONT);
    }

    /// Ends it. Returns its output.
    fn end(mut self) -> String {
        drop(self.input.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("text");
        assert!(self.child.wait().expect("it ends").success(), "{text}");
        text
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // The process has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The numbers of the lines that begin with this word.
fn numbers<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = Vec<i64>> + 'a {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(word)?.trim();
        Some(rest.split(' ').map(|number| number.parse().expect("a number")).collect())
    })
}

/// Makes the library that answers for the clock. `None`: there is no C compiler.
fn library(name: &str) -> Option<PathBuf> {
    let folder = std::env::temp_dir().join(format!("tautline-ages-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    let source = folder.join("clock.c");
    fs::write(&source, LIBRARY).expect("a temporary file");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(folder.join("clock.so"))
        .arg(&source)
        .status();
    match made {
        Ok(status) => {
            assert!(status.success(), "the library does not compile");
            Some(folder)
        }
        Err(_) => {
            println!("skipped: there is no C compiler (cc)");
            None
        }
    }
}

/// Sends `count` messages while the ends are stopped and their clocks are set. Returns a line with the figures.
fn run(wire: Wire, folder: &Path, count: u64, stops: &[Duration]) -> String {
    let mut receiver = End::start("receiver", wire, folder, &[]);
    let peer = receiver.wait_for("listening ");
    let mut sender = End::start("sender", wire, folder, &[(PEER, peer), (COUNT, count.to_string())]);
    sender.wait_for("ready");
    let (mut steps, mut stalls) = (0, 0);
    let began = Instant::now();
    // Some 5 kHz; what is sent after the last step shows what the last step does.
    let length = Duration::from_micros(count * 200);
    for round in 0.. {
        let stop = stops[round % stops.len()];
        let step = STEPS[round % STEPS.len()];
        receiver.set_clock(step);
        thread::sleep(MS * 40);
        sender.set_clock(step);
        receiver.stop_for(stop);
        thread::sleep(MS * 40);
        receiver.set_clock(0);
        sender.stop_for(stop / 4);
        sender.set_clock(0);
        thread::sleep(MS * 40);
        (steps, stalls) = (steps + 4, stalls + 2);
        if began.elapsed() > length {
            break;
        }
    }
    let made: HashMap<i64, i64> = numbers(&sender.end(), "made").map(|line| (line[0], line[1])).collect();
    assert_eq!(made.len() as u64, count);
    let output = receiver.end();
    let counts = numbers(&output, "counts").next().expect("the receiver prints it");
    let [received, expired, kernel_drops, moved] = counts[..] else { panic!("{counts:?}") };
    assert_eq!(expired, 0, "{wire}: a fresh message was dropped");
    assert_eq!(received + kernel_drops, count.cast_signed(), "{wire}: {counts:?}");
    assert!(moved.abs() < 1_000_000_000, "{wire}: the clock was set back to the true time: {counts:?}");
    let mut excess: Vec<i64> = Vec::new();
    let mut oldest = 0;
    for line in numbers(&output, "taken") {
        let [number, at, age] = line[..] else { panic!("{line:?}") };
        let truth = at - made[&number];
        assert!(age >= truth, "{wire}: message {number} is {truth} ns old, told {age} ns");
        excess.push(age - truth);
        oldest = oldest.max(truth);
    }
    assert_eq!(excess.len().cast_signed() as i64, received, "{wire}: all were taken");
    excess.sort_unstable();
    let ms = |ns: i64| ns as f64 / 1e6;
    let share = |of: usize| ms(excess[(excess.len() - 1) * of / 1_000]);
    format!(
        "{wire}: {received} messages, the oldest {:.1} ms old when taken; {stalls} stops, {steps} steps of a wall clock; 0 \
         dropped as expired, 0 ages understated; overstated by {:.3} ms in the median, {:.3} ms at 99 %, {:.3} ms at most",
        ms(oldest),
        share(500),
        share(990),
        share(1_000)
    )
}

/// The child process of the tests.
#[test]
#[ignore = "a child of the other tests"]
fn the_end() {
    let variable = |name| std::env::var(name).ok();
    let Some(role) = variable(ROLE) else { return };
    let wire = variable(WIRE).expect("set").parse().expect("a wire");
    match &*role {
        "receiver" => receive(wire),
        _ => send(
            wire,
            &variable(PEER).expect("set"),
            variable(COUNT).expect("set").parse().expect("a number"),
        ),
    }
    std::io::stdout().flush().expect("the test reads it");
}

#[test]
fn no_age_is_understated_while_ends_stop_and_wall_clocks_are_set() {
    let Some(folder) = library("short") else { return };
    for wire in WIRES {
        println!("{}", run(wire, &folder, 4_000, &[MS * 100, MS * 20]));
    }
    let _ = fs::remove_dir_all(folder);
    assert!(LIFESPAN < TIME_LIMIT);
}

#[test]
#[ignore = "the full length, in release"]
fn no_age_of_a_hundred_thousand_messages_is_understated() {
    let Some(folder) = library("long") else { return };
    for wire in WIRES {
        println!("{}", run(wire, &folder, 100_000, &[MS * 20, MS * 200, MS * 1_000, MS * 50]));
    }
    let _ = fs::remove_dir_all(folder);
}
