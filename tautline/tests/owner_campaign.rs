//! Two controllers command one plant at 1 kHz, and the stream of commands changes hands again and again: by claims, by kills of
//! the owner's process, and by releases. No consumer may see the commands of two owners interleaved, and a hand-over must not
//! take longer than the stream's deadline and one cycle.
//!
//! A few hand-overs run with all tests. A minute with 100 hand-overs for each kind of consumer runs with
//!
//! ```text
//! cargo test --release -p tautline --test owner_campaign -- minute --ignored --nocapture --test-threads 1
//! ```
//!
//! The gaps include delays of the scheduler. They are printed beside how late a thread wakes that only sleeps.
#![allow(clippy::print_stdout)] // figures

#[path = "common/children.rs"]
mod children;
mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{address, server_config, until};
use tautline::{
    Config, ConnectionState, Delivery, DropReason, Event, Events, Handler, MessageType, Metadata, PeerId,
    Qos, ReceiveError, Target, UdpInterface, Wire, create_udp_client, create_udp_server,
};

const MS: Duration = Duration::from_millis(1);

/// The time between two commands of a controller.
const CYCLE: Duration = MS;

/// For how long the owner may be silent.
const DEADLINE: Duration = Duration::from_millis(50);

/// What consumes the commands.
#[derive(Clone, Copy, Debug)]
enum Consumer {
    /// An inline handler, and `receive` on a thread of its own. Both see every command.
    InlineAndReceive,
    /// A blocking handler, which falls behind now and then.
    Blocking,
    /// A loop that is its own driver.
    CallerDriven,
}

/// When each command was seen, and the peer that sent it.
type Seen = Arc<Mutex<Vec<(Instant, PeerId)>>>;

fn note(seen: &Seen, peer: PeerId) {
    seen.lock().expect("no panic").push((Instant::now(), peer));
}

/// A plant with its consumers.
struct Plant {
    interface: UdpInterface,
    /// What each consumer saw.
    seen: Vec<(&'static str, Seen)>,
    ends: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Plant {
    fn new(consumer: Consumer) -> Self {
        let commands = Qos::new().owner(true).deadline(DEADLINE).keep_all();
        let config = server_config(Wire::Native).qos(MessageType::Command, commands);
        let ends = Arc::new(AtomicBool::new(false));
        let seen = || Seen::default();
        match consumer {
            Consumer::InlineAndReceive => {
                let interface = create_udp_server(config).expect("valid");
                let (inline, received) = (seen(), seen());
                let log = Arc::clone(&inline);
                let handler = Handler::inline(move |message, _| note(&log, message.peer()));
                interface.register_message_handler(MessageType::Command, handler);
                interface.connect().expect("a free port");
                let thread = thread::spawn({
                    let (interface, ends, log) =
                        (interface.clone(), Arc::clone(&ends), Arc::clone(&received));
                    move || {
                        while !ends.load(Ordering::Relaxed) {
                            match interface.receive(Some(10 * MS)) {
                                Ok(message) if message.message_type() == MessageType::Command => {
                                    note(&log, message.peer());
                                }
                                Ok(_) | Err(ReceiveError::TimedOut) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                });
                let seen = vec![("inline handler", inline), ("receive", received)];
                Self { interface, seen, ends, threads: vec![thread] }
            }
            Consumer::Blocking => {
                let interface = create_udp_server(config).expect("valid");
                let handled = seen();
                let log = Arc::clone(&handled);
                let calls = AtomicU64::new(0);
                let handler = Handler::blocking(move |message, _| {
                    note(&log, message.peer());
                    // Now and then it falls behind, so that commands wait when the stream changes hands.
                    if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(50) {
                        thread::sleep(10 * MS);
                    }
                });
                interface.register_message_handler(MessageType::Command, handler);
                interface.connect().expect("a free port");
                Self { interface, seen: vec![("blocking handler", handled)], ends, threads: Vec::new() }
            }
            Consumer::CallerDriven => {
                let (interface, mut driver) = UdpInterface::caller_driven(config).expect("valid");
                driver.connect().expect("a free port");
                let turned = seen();
                let thread = thread::spawn({
                    let (ends, log) = (Arc::clone(&ends), Arc::clone(&turned));
                    move || {
                        while !ends.load(Ordering::Relaxed) {
                            driver.turn_with(Some(CYCLE), &mut |message| {
                                if message.message_type() == MessageType::Command {
                                    note(&log, message.peer());
                                }
                            });
                        }
                    }
                });
                Self { interface, seen: vec![("caller-driven", turned)], ends, threads: vec![thread] }
            }
        }
    }

    fn owner(&self) -> Option<PeerId> {
        self.interface.owners().first().map(|owner| owner.owner)
    }

    /// The peer of this controller, if it is connected.
    fn peer(&self, name: &str) -> Option<PeerId> {
        let peers = self.interface.peers();
        let is_it =
            |peer: &&tautline::PeerInfo| peer.name == name && peer.state == ConnectionState::Connected;
        peers.iter().filter(is_it).map(|peer| peer.id).max()
    }

    fn order(&self, peer: PeerId, order: &str) {
        let orders = Metadata::configuration().delivery(Delivery::Reliable);
        let _ = self.interface.publisher(orders).to(Target::Peer(peer)).send(order);
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("no panic"));
    }
}

const NAMES: [&str; 2] = ["one", "two"];

fn start(name: &str, plant: &Plant) -> children::Running {
    children::start("a_controller", &format!("{name} {}", address(&plant.interface).port()))
}

/// The child process: a controller that commands at 1 kHz until it is killed. It claims and releases when it is told to.
#[test]
#[ignore = "a child of the other tests"]
fn a_controller() {
    let Some(order) = children::order() else { return };
    let (name, port) = order.split_once(' ').expect("a name and a port");
    // It tries on for ever, also on a machine that is too busy to answer in time.
    let config = Config::client(format!("127.0.0.1:{port}")).name(name).connect_timeout(Duration::ZERO);
    let link = create_udp_client(config).expect("valid");
    link.connect().expect("a free port");
    let commands = link.publisher(Metadata::command());
    let (mut next, mut number, mut paused_until) = (Instant::now(), 0_u64, Instant::now());
    loop {
        if next >= paused_until {
            let _ = commands.send(&number);
            number += 1;
        }
        while let Ok(message) = link.receive(Some(Duration::ZERO)) {
            match message.decode::<String>().as_deref() {
                Ok("claim") => drop(link.claim(MessageType::Command)),
                Ok("release") => {
                    paused_until = next + 3 * DEADLINE;
                    drop(link.release(MessageType::Command));
                }
                _ => {}
            }
        }
        next += CYCLE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// How late a thread wakes that sleeps for a cycle at a time.
fn lateness(ends: &AtomicBool) -> Duration {
    let mut worst = Duration::ZERO;
    while !ends.load(Ordering::Relaxed) {
        let begin = Instant::now();
        thread::sleep(CYCLE);
        worst = worst.max(begin.elapsed().saturating_sub(CYCLE));
    }
    worst
}

/// All owners, in their order, as the events say.
struct Owners {
    events: Events,
    all: Vec<PeerId>,
}

impl Owners {
    /// Returns how many there were so far.
    fn so_far(&mut self) -> usize {
        while let Some(event) = self.events.next(Some(Duration::ZERO)) {
            if let Event::OwnerChanged { to: Some(owner), .. } = event {
                self.all.push(owner);
            }
        }
        self.all.len()
    }

    /// Whether this peer has become the owner after the first `before` owners.
    fn have_come_to(&mut self, peer: PeerId, before: usize) -> bool {
        self.so_far();
        self.all[before..].contains(&peer)
    }
}

/// The ways in which a stream changes hands.
const WAYS: [&str; 3] = ["claim", "kill", "release"];

/// Lets the stream change hands `count` times in `time`. Returns how many commands were interleaved.
fn campaign(consumer: Consumer, count: usize, time: Duration) -> usize {
    let plant = Plant::new(consumer);
    let mut owners = Owners { events: plant.interface.events(), all: Vec::new() };
    let sleeper = thread::spawn({
        let ends = Arc::clone(&plant.ends);
        move || lateness(&ends)
    });
    let mut controllers = NAMES.map(|name| start(name, &plant));
    let begin = Instant::now();
    let mut handed_over = [0; WAYS.len()];
    let mut killed = Vec::new();
    for round in 0..count {
        let due = time.mul_f64((round + 1) as f64 / count as f64);
        thread::sleep(due.saturating_sub(begin.elapsed()));
        let mut found = None;
        until("both controllers are connected and one owns the stream", || {
            // The plant believes for a while that a killed controller lives.
            let peers = NAMES.map(|name| plant.peer(name).filter(|peer| !killed.contains(peer)));
            let index = plant.owner().and_then(|owner| peers.iter().position(|peer| *peer == Some(owner)));
            found = index.and_then(|index| Some((index, peers[index]?, peers[1 - index]?)));
            found.is_some()
        });
        let (index, owner, heir) = found.expect("it was waited for");
        let before = owners.so_far();
        match WAYS[round % WAYS.len()] {
            "claim" => plant.order(heir, "claim"),
            "kill" => {
                killed.push(owner);
                controllers[index].0.kill().expect("it runs");
                controllers[index].0.wait().expect("it runs");
            }
            _ => plant.order(owner, "release"),
        }
        // On a busy machine the heir may lose the stream again at once, because it is silent for too long.
        let asked = Instant::now();
        while !owners.have_come_to(heir, before) && asked.elapsed() < Duration::from_secs(2) {
            thread::sleep(MS);
        }
        handed_over[round % WAYS.len()] += usize::from(owners.have_come_to(heir, before));
        if WAYS[round % WAYS.len()] == "kill" {
            controllers[index] = start(NAMES[index], &plant);
        }
    }
    thread::sleep(20 * MS);
    drop(controllers);
    plant.ends.store(true, Ordering::Relaxed);
    let late = sleeper.join().expect("no panic");
    owners.so_far();
    assert_eq!(owners.events.missed(), 0);
    let statistics = plant.interface.statistics();
    println!(
        "{consumer:?}: {handed_over:?} hand-overs by {WAYS:?} in {:.1?}; {} commands refused before anybody saw them, {} left by \
         former owners",
        begin.elapsed(),
        statistics.messages_dropped.of(DropReason::NotOwner),
        statistics.inbox.dropped.of(DropReason::NotOwner)
            + statistics.handlers.dropped.of(DropReason::NotOwner),
    );
    assert!(handed_over.iter().sum::<usize>() >= count * 2 / 3, "{handed_over:?}");
    plant
        .seen
        .iter()
        .map(|(name, seen)| report(name, &seen.lock().expect("no panic"), &owners.all, late))
        .sum()
}

/// Prints what one consumer saw. Returns how many commands were interleaved: seen after a command of a later owner.
fn report(name: &str, seen: &[(Instant, PeerId)], owners: &[PeerId], late: Duration) -> usize {
    let (mut period, mut interleaved, mut gaps) = (0, 0, Vec::new());
    for pair in seen.windows(2) {
        let [(before, former), (at, peer)] = pair else { continue };
        if former == peer {
            continue;
        }
        gaps.push(at.saturating_duration_since(*before));
        // Each owner has its period, and the periods come in their order.
        match owners[period + 1..].iter().position(|owner| owner == peer) {
            Some(skipped) => period += 1 + skipped,
            None => interleaved += 1,
        }
    }
    // A command that came back to a former owner would have used up a period that a later change needs.
    interleaved += (gaps.len() + 1).saturating_sub(owners.len());
    gaps.sort_unstable();
    let beyond = gaps.iter().filter(|gap| **gap > DEADLINE + CYCLE).count();
    println!(
        "  {name}: {} commands, {} changes of the sender in {} periods, {interleaved} interleaved; gap {:.1?} (median), {:.1?} \
         (worst), {beyond} beyond deadline + 1 cycle = {:.0?}; a sleeping thread was up to {late:.1?} late",
        seen.len(),
        gaps.len(),
        owners.len(),
        gaps.get(gaps.len() / 2).copied().unwrap_or_default(),
        gaps.last().copied().unwrap_or_default(),
        DEADLINE + CYCLE,
    );
    interleaved
}

#[test]
fn commands_of_two_controllers_are_never_interleaved() {
    for consumer in [Consumer::InlineAndReceive, Consumer::Blocking, Consumer::CallerDriven] {
        assert_eq!(campaign(consumer, 3, 600 * MS), 0, "{consumer:?}");
    }
}

#[test]
#[ignore = "three minutes"]
fn a_minute_with_a_hundred_hand_overs_for_each_consumer() {
    for consumer in [Consumer::InlineAndReceive, Consumer::Blocking, Consumer::CallerDriven] {
        assert_eq!(campaign(consumer, 100, Duration::from_secs(60)), 0, "{consumer:?}");
    }
}
