//! A receiver is stopped (SIGSTOP) while commands come at 1 kHz. The first command that it hands out afterwards is younger
//! than its lifespan, and every other message is counted under a reason.
//!
//! A short version runs with all tests. The full version, with figures, runs with
//!
//! ```text
//! cargo test --release -p tautline --test stopped -- --ignored --nocapture
//! ```
//!
//! The receiver is this program, started again. Both ends read the same steady clock, so the true ages are known.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)] // the receiver's address, and figures

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{address, client, server};
use rustix::process::{Pid, Signal, kill_process};
use tautline::{
    Config, DropReason, Handler, MessageType, Metadata, Profile, Qos, ReceiveError, UdpInterface, Wire,
};

const MS: Duration = Duration::from_millis(1);

/// How long commands come before the stop, and after it.
const AROUND: Duration = Duration::from_millis(400);

/// The time that a busy machine may need between handing a command out and reading the clock.
const LOOK: Duration = Duration::from_millis(10);

/// The variable that tells the receiver its wire, and whether it has default settings.
const RECEIVER: &str = "TEST_STOPPED_RECEIVER";
const BY_DEFAULT: &str = "TEST_STOPPED_RECEIVER_BY_DEFAULT";

/// Returns the time of the steady clock, in nanoseconds. All processes of the machine share this clock.
fn steady_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).expect("it counts up from the boot")
}

/// The commands that were handed out: the time, and the age of the command, in nanoseconds.
type Taken = Arc<Mutex<Vec<(u64, u64)>>>;

fn note(taken: &Taken, sent: u64) {
    let now = steady_ns();
    taken.lock().expect("no panic").push((now, now.saturating_sub(sent)));
}

/// Returns the longest time without a command, and the age of the first command after it.
fn around_the_gap(taken: &Taken) -> (Duration, Duration) {
    let list = taken.lock().expect("no panic");
    let gap = list.windows(2).map(|pair| (pair[1].0 - pair[0].0, pair[1].1)).max();
    let (gap, age) = gap.expect("commands came");
    (Duration::from_nanos(gap), Duration::from_nanos(age))
}

/// The receiver: takes commands in three ways, each on its channel, and from a plain socket. The classic wire has one
/// channel, so it has one way only. When its input ends, the receiver prints what it got and ends.
fn receive(wire: Wire, by_default: bool) {
    let default = Config::server("127.0.0.1:0").wire(wire);
    // Stopped until told is tested in `latch.rs`. This is about the age of what is handed out after a pause.
    let goes_on = Qos::new().latch(false);
    let control = |config: Config| {
        config.profile(Profile::control()).qos(MessageType::Command, goes_on).failsafe(|_| {})
    };
    let interface = server(if by_default { default } else { control(default) });
    let [inbox, inline, blocking, plain]: [Taken; 4] = Default::default();
    if wire == Wire::Native {
        let list = Arc::clone(&inline);
        let on_driver = Handler::inline(move |message, _| {
            let [_, sent]: [u64; 2] = serde_json::from_slice(message.payload()).expect("two numbers");
            note(&list, sent);
        });
        interface.register_message_handler((MessageType::Command, 1), on_driver);
        let list = Arc::clone(&blocking);
        let on_worker = Handler::blocking(move |message, _| note(&list, sent_at(&message)));
        interface.register_message_handler((MessageType::Command, 2), on_worker);
    }
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    println!("listening {} {}", address(&interface), socket.local_addr().expect("bound"));
    let list = Arc::clone(&plain);
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok(len) = socket.recv(&mut buffer) {
            let [_, sent]: [u64; 2] = serde_json::from_slice(&buffer[..len]).expect("two numbers");
            note(&list, sent);
        }
    });
    let (reader, list) = (interface.clone(), Arc::clone(&inbox));
    let reader = thread::spawn(move || {
        let mut taken = 0;
        loop {
            match reader.receive(None) {
                Ok(message) if message.channel() == 0 => note(&list, sent_at(&message)),
                Ok(_) => {}
                Err(ReceiveError::Disconnected | ReceiveError::NotConnected) => return taken,
                Err(error) => panic!("{error}"),
            }
            taken += 1;
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new()).expect("the sender closes it");
    thread::sleep(MS * 100);
    interface.disconnect();
    report(
        &interface,
        reader.join().expect("no panic"),
        &[("inbox", &inbox), ("inline", &inline), ("blocking", &blocking)],
    );
    println!("plain {}", around_the_gap(&plain).1.as_nanos());
}

fn sent_at(message: &tautline::Message) -> u64 {
    message.decode::<[u64; 2]>().expect("two numbers")[1]
}

/// Prints what was taken, and checks that every message is accounted for.
fn report(interface: &UdpInterface, read: u64, ways: &[(&str, &Taken); 3]) {
    let statistics = interface.statistics();
    let (inbox, early) = (statistics.inbox, statistics.messages_dropped);
    let reasons = [DropReason::Expired, DropReason::Stale, DropReason::Superseded];
    let dropped_early = reasons.map(|reason| early.of(reason)).iter().sum::<u64>();
    assert_eq!(early.total(), dropped_early, "messages were dropped for no other reason");
    assert_eq!(statistics.messages_received, dropped_early + inbox.offered(), "{statistics:?}");
    assert_eq!((inbox.taken, inbox.waiting), (read, 0));
    let handled =
        ways[1..].iter().map(|(_, taken)| taken.lock().expect("no panic").len() as u64).sum::<u64>();
    assert_eq!(statistics.handlers.handled, handled);
    for (name, taken) in ways.iter().filter(|(_, taken)| !taken.lock().expect("no panic").is_empty()) {
        let (gap, age) = around_the_gap(taken);
        println!("{name} {} {}", gap.as_nanos(), age.as_nanos());
    }
    let all = [early, inbox.dropped, statistics.handlers.dropped];
    let of = |reason| all.iter().map(|drops| drops.of(reason)).sum::<u64>();
    println!(
        "counts {} {} {} {} {}",
        statistics.messages_received,
        statistics.kernel_drops,
        of(DropReason::Expired),
        of(DropReason::Superseded),
        of(DropReason::Stale),
    );
}

/// A receiver in a process of its own. Dropping it ends the process.
struct Receiver {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    interface: SocketAddr,
    plain: SocketAddr,
}

impl Receiver {
    fn start(wire: Wire, by_default: bool) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this test's program"))
            .args(["--exact", "the_receiver", "--nocapture", "--include-ignored"])
            .env(RECEIVER, wire.name())
            .envs(by_default.then_some((BY_DEFAULT, "1")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        let addresses = loop {
            line.clear();
            assert!(output.read_line(&mut line).expect("text") > 0, "the receiver ended");
            if let Some((_, addresses)) = line.split_once("listening ") {
                break addresses;
            }
        };
        let (interface, plain) = addresses.trim().split_once(' ').expect("two addresses");
        let (interface, plain) = (interface.parse().expect("one"), plain.parse().expect("one"));
        Self { input: child.stdin.take(), child, output, interface, plain }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is our child");
    }

    /// Stops the process, and waits until each of its threads has stopped. One of them may go on for a while after the signal.
    fn stop(&self) {
        self.signal(Signal::STOP);
        let threads = format!("/proc/{}/task", self.child.id());
        let is_stopped = |thread: std::fs::DirEntry| {
            let status = std::fs::read_to_string(thread.path().join("stat")).expect("a thread does not end");
            // The name of the thread, in parentheses, comes before its state.
            status.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
        };
        while !std::fs::read_dir(&threads).expect("it runs").all(|thread| is_stopped(thread.expect("listed")))
        {
            thread::sleep(MS);
        }
    }

    /// Ends the receiver. Returns its output: each line is a name and its numbers.
    fn end(mut self) -> HashMap<String, Vec<u64>> {
        drop(self.input.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("text");
        assert!(self.child.wait().expect("the receiver ends").success(), "{text}");
        let number = |word: &str| word.parse().ok();
        let lines = text.lines().filter_map(|line| {
            let (name, numbers) = line.split_once(' ')?;
            Some((name.to_owned(), numbers.split(' ').map(number).collect::<Option<Vec<u64>>>()?))
        });
        lines.collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // The process has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a command on each channel, and a plain datagram, every millisecond until `end`. Returns the number of commands.
fn send_until(end: Instant, client: &UdpInterface, channels: u16, plain: (&UdpSocket, SocketAddr)) -> u64 {
    let mut due = Instant::now();
    let mut sent = 0;
    while due < end {
        let data = [sent, steady_ns()];
        for channel in 0..channels {
            client.send(&data, &Metadata::command().channel(channel)).expect("the peer is known");
            sent += 1;
        }
        plain.0.send_to(&serde_json::to_vec(&data).expect("numbers"), plain.1).expect("loopback");
        due += MS;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    sent
}

/// Sends commands to a receiver that is stopped for the time `stop`. Returns how many, and its output.
fn stopped(
    receiver: Receiver,
    wire: Wire,
    channels: u16,
    stop: Duration,
) -> (u64, HashMap<String, Vec<u64>>) {
    let client = client(Config::client(receiver.interface).wire(wire));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let send = |time| send_until(Instant::now() + time, &client, channels, (&socket, receiver.plain));
    let mut sent = send(AROUND);
    receiver.stop();
    sent += send(stop);
    receiver.signal(Signal::CONT);
    sent += send(AROUND);
    client.flush();
    (sent, receiver.end())
}

/// Stops a receiver with default settings. Returns the ages of the first commands that it handed out afterwards: from the
/// inbox, to an inline and to a blocking handler.
fn stop_default(stop: Duration) -> [Duration; 3] {
    let (sent, output) = stopped(Receiver::start(Wire::Native, true), Wire::Native, 3, stop);
    let [received, kernel_drops, expired, superseded, _] = output["counts"][..] else { panic!("{output:?}") };
    assert!(received <= sent && received + kernel_drops >= sent, "{received} of {sent}: {output:?}");
    assert!(expired == 0 && superseded > 0, "nothing but older commands is dropped: {output:?}");
    ["inbox", "inline", "blocking"].map(|way| {
        let [gap, age] = output[way][..] else { panic!("{output:?}") };
        assert!(Duration::from_nanos(gap) >= stop - AROUND / 2, "{way} saw no stop: {output:?}");
        Duration::from_nanos(age)
    })
}

/// Stops a receiver for the time `stop` and checks what it hands out afterwards. Returns a line with the figures.
fn stop_for(wire: Wire, stop: Duration) -> String {
    let receiver = Receiver::start(wire, false);
    let channels = if wire == Wire::Native { 3 } else { 1 };
    let (sent, output) = stopped(receiver, wire, channels, stop);
    let lifespan =
        Profile::control().qos(MessageType::Command, wire).lifespan.expect("the profile has a lifespan");
    let mut text = format!("{wire}: stopped for {stop:?}; first command afterwards:");
    let ways = ["inbox", "inline", "blocking"];
    let seen: Vec<_> = ways.iter().filter_map(|way| Some((way, output.get(*way)?))).collect();
    assert_eq!(seen.len(), usize::from(channels), "{output:?}");
    for (way, numbers) in seen {
        let (gap, age) = (Duration::from_nanos(numbers[0]), Duration::from_nanos(numbers[1]));
        assert!(gap >= stop - AROUND / 2, "{way} saw no stop: {gap:?}");
        assert!(age < lifespan + LOOK, "{wire}, {way}: {age:?} old after {gap:?}");
        text += &format!(" {way} {age:?} old,");
    }
    let plain = Duration::from_nanos(output["plain"][0]);
    assert!(
        plain > stop / 2,
        "the plain socket must hand out an old datagram, else the test shows nothing: {plain:?}"
    );
    let [received, kernel_drops, expired, superseded, stale] = output["counts"][..] else {
        panic!("{output:?}")
    };
    assert!(
        received <= sent && received + kernel_drops >= sent,
        "{received} of {sent}, {kernel_drops} dropped"
    );
    assert!(expired > 0, "{output:?}");
    text + &format!(
        " plain socket {plain:?} old. {sent} sent = {received} received + {} dropped by the kernel; expired {expired}, \
         superseded {superseded}, stale {stale}",
        sent - received
    )
}

/// The child process of the tests.
#[test]
#[ignore = "a child of the other tests"]
fn the_receiver() {
    if let Ok(wire) = std::env::var(RECEIVER) {
        receive(wire.parse().expect("a wire"), std::env::var_os(BY_DEFAULT).is_some());
        std::io::stdout().flush().expect("the test reads it");
    }
}

#[test]
fn a_receiver_that_was_stopped_hands_out_no_stale_command() {
    for wire in common::WIRES {
        println!("{}", stop_for(wire, MS * 400));
    }
}

/// A stop may fall between the moment when commands were handed out and the moment when the receiver reads the clock. Then the
/// commands that were handed to threads are old: the one in the inbox, the one for the blocking handler, or both. That is
/// rare, so the receiver is stopped again.
#[test]
fn a_receiver_with_default_settings_that_was_stopped_acts_on_the_newest_command() {
    let mut seen = Vec::new();
    let is_fresh = (0..3).any(|_| {
        seen.push(stop_default(MS * 400));
        seen.last().is_some_and(|ages| ages.iter().all(|age| *age <= MS * 200))
    });
    assert!(is_fresh, "{seen:?}");
}

#[test]
#[ignore = "the full length, in release"]
fn a_receiver_with_default_settings_that_was_stopped_for_a_second_acts_on_the_newest_command() {
    const STOPS: usize = 50;
    let mut ages = [const { Vec::new() }; 3];
    for _ in 0..STOPS {
        for (all, age) in ages.iter_mut().zip(stop_default(MS * 1_000)) {
            all.push(age);
        }
    }
    for (way, mut ages) in ["inbox", "inline", "blocking"].into_iter().zip(ages) {
        ages.sort_unstable();
        let old = ages.iter().filter(|age| **age > MS * 500).count();
        println!(
            "{way}: first command after {STOPS} stops of 1 s: median {:?} old, 90 % {:?}, worst {:?}; {old} were of before the stop",
            ages[STOPS / 2],
            ages[STOPS * 9 / 10],
            ages[STOPS - 1]
        );
        assert!(old <= STOPS / 10, "{way}: {ages:?}");
    }
}

#[test]
#[ignore = "the full length, in release"]
fn a_receiver_that_was_stopped_for_a_second_hands_out_no_stale_command() {
    for _ in 0..10 {
        for wire in common::WIRES {
            println!("{}", stop_for(wire, MS * 1_000));
        }
    }
}
