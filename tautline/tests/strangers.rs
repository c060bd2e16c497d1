//! Hostile programs, written from docs/protocol.md, beside a 1 kHz link with `Profile::control()` and a deadline.
//!
//! A short run of some attacks runs with all tests. Ten seconds of each, at what one core can send, run with the command
//! below. The attacker has core 1; `taskset` keeps the link on the other one.
//!
//! ```text
//! taskset -c 0 cargo test --release -p tautline --test strangers -- ten_seconds --ignored --nocapture --test-threads 1
//! ```
#![cfg(target_os = "linux")] // has /proc, and every 127.x.y.z is an address of the host
#![allow(clippy::print_stdout)] // figures

#[path = "strangers/attacker.rs"]
mod attacker;
#[path = "common/children.rs"]
mod children;
mod common;

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{address, client, client_config, server, server_config, until};
use tautline::{
    Config, ConnectionState, DropReason, Event, Handler, MessageType, Metadata, PeerRxStats, Profile, Qos,
    UdpInterface, Wire,
};

/// The time between two messages of each end of the link.
const PERIOD: Duration = Duration::from_millis(1);

/// The length of an attack in the campaign.
const FULL: Duration = Duration::from_secs(10);

/// The core that the attacker has for itself in the campaign, if the machine has it.
const ATTACKERS_CORE: usize = 1;

/// The most peers of a server whose table is attacked.
const SMALL_TABLE: usize = 32;

/// How many peers a broadcast goes to.
const AUDIENCE: usize = 200;

/// What the link's memory may grow by, beside the table of peers, and what a peer takes there.
const MEMORY: usize = 1 << 20;
const PEER: usize = 3 << 10;

/// The child process: attacks until its time is over.
#[test]
#[ignore = "a child of the other tests"]
fn attacks() {
    children::order().into_iter().for_each(|order| attacker::run(&order));
}

/// A link at 1 kHz in both directions, and how long its commands take.
struct Link {
    plant: UdpInterface,
    controller: UdpInterface,
    began: Instant,
    delays: Arc<Mutex<Vec<Duration>>>,
    /// The commands that the kernel took, and those that were handed out.
    sent: AtomicU64,
    handled: Arc<AtomicU64>,
    over: AtomicBool,
}

/// The figures of a part of the run.
#[derive(Clone, Copy, Debug)]
struct Figures {
    commands: usize,
    p50: Duration,
    p90: Duration,
    p99: Duration,
    worst: Duration,
}

impl Link {
    fn new(wire: Wire, max_peers: usize) -> Self {
        // A late command is late here, and stops nothing.
        let goes_on = Qos::new().deadline(Duration::from_millis(50)).latch(false);
        let control = |config: Config| {
            let config = config.profile(Profile::control()).qos(MessageType::Command, goes_on);
            if wire == Wire::Native { config.coalescing_delay(Duration::ZERO) } else { config }
        };
        let plant = server(control(server_config(wire)).failsafe(|_| {}).max_peers(max_peers));
        let delays = Arc::new(Mutex::new(Vec::with_capacity(100_000)));
        let handled = Arc::<AtomicU64>::default();
        let (took, count) = (Arc::clone(&delays), Arc::clone(&handled));
        let began = Instant::now();
        let handler = Handler::inline(move |message, _| {
            // Commands of strangers have other contents.
            if let Ok([made, 42]) = message.decode::<[u64; 2]>() {
                let took_ns = began.elapsed().saturating_sub(Duration::from_nanos(made));
                took.lock().expect("no panic").push(took_ns);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        plant.register_message_handler(MessageType::Command, handler);
        let controller = client(control(client_config(&plant)));
        let (sent, over) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { plant, controller, began, delays, sent, handled, over }
    }

    /// Sends to all at 1 kHz until the test is over.
    fn keep_sending(&self, from: &UdpInterface, metadata: &Metadata) {
        let (first, mut sent) = (Instant::now(), 0);
        for number in 1u32.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let made = u64::try_from(self.began.elapsed().as_nanos()).expect("small");
            sent += u64::from(from.send(&[made, 42], metadata).is_ok());
            std::thread::sleep((PERIOD * number).saturating_sub(first.elapsed()));
        }
        if *metadata == Metadata::command() {
            self.sent.store(sent, Ordering::Relaxed);
        }
    }

    /// Runs `act` while the link works. Returns how long commands took meanwhile.
    fn figures(&self, act: impl FnOnce()) -> Figures {
        self.delays.lock().expect("no panic").clear();
        act();
        let mut delays = self.delays.lock().expect("no panic").clone();
        delays.sort_unstable();
        let at = |share: usize| {
            delays.get(delays.len() * share / 1000).or(delays.last()).copied().unwrap_or_default()
        };
        Figures { commands: delays.len(), p50: at(500), p90: at(900), p99: at(990), worst: at(1000) }
    }

    /// What the plant has received of the controller, if the controller is connected.
    fn received(&self) -> Option<PeerRxStats> {
        let controller = self.plant.peers().into_iter().find(|peer| peer.name == "controller");
        // On the classic wire peers have no names; the first one is the controller.
        let peer = controller.or_else(|| self.plant.peers().into_iter().min_by_key(|peer| peer.id))?;
        (peer.state == ConnectionState::Connected).then_some(peer.received)
    }
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux has this file");
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    kilobytes.and_then(|count| count.trim().parse::<usize>().ok()).expect("the format of proc(5)") * 1024
}

/// Attacks a link on this wire, whose server has room for `max_peers`, for this time, while `meanwhile` runs. Checks that the link
/// has lost nothing but what the kernel dropped, that the controller keeps its place and its stream, and prints the figures.
/// Returns what the attacker printed.
fn attack(
    name: &str,
    (wire, max_peers): (Wire, usize),
    time: Duration,
    meanwhile: impl FnOnce(&Link) + Send,
) -> String {
    let is_full = time >= FULL;
    let link = Link::new(wire, max_peers);
    let mut printed = String::new();
    std::thread::scope(|scope| {
        scope.spawn(|| link.keep_sending(&link.controller, &Metadata::command()));
        scope.spawn(|| link.keep_sending(&link.plant, &Metadata::status()));
        until("commands come", || !link.delays.lock().expect("no panic").is_empty());
        let quiet = link.figures(|| std::thread::sleep(time));
        let mut events = link.plant.events();
        let before = link.received().expect("the controller is connected");
        let controller = link.plant.peers().first().expect("the controller").id;
        let (all_before, memory) = (link.plant.statistics(), resident());
        // What peers took is kept for the next ones when they are gone, so the most peers so far count.
        let (mut grown, mut beyond_peers, mut most_peers) = (0, 0, 0);
        let under = link.figures(|| {
            let order = format!("{name};{};{}", address(&link.plant).port(), time.as_millis());
            let mut child = if is_full {
                children::start_on_core(ATTACKERS_CORE, "attacks", &order)
            } else {
                children::start("attacks", &order)
            };
            scope.spawn(|| meanwhile(&link));
            while child.0.try_wait().expect("our child").is_none() {
                std::thread::sleep(Duration::from_millis(20));
                most_peers = most_peers.max(link.plant.statistics().peers);
                let now = resident().saturating_sub(memory);
                grown = grown.max(now);
                beyond_peers = beyond_peers.max(now.saturating_sub(most_peers * PEER));
            }
            let mut output = child.0.stdout.take().expect("it is piped");
            output.read_to_string(&mut printed).expect("text");
        });
        link.over.store(true, Ordering::Relaxed);
        let after = link.received();
        until("all is sent", || link.sent.load(Ordering::Relaxed) > 0);
        let (sent, handled) = (|| link.sent.load(Ordering::Relaxed), || link.handled.load(Ordering::Relaxed));
        // What waits while the machine is busy expires, or a newer command takes its place.
        let too_old = || {
            let dropped = link.plant.statistics().messages_dropped;
            dropped.of(DropReason::Expired) + dropped.of(DropReason::Superseded)
        };
        // On a busy machine the controller may be silent for so long in a short run that a stranger gets the stream.
        let refused = || {
            if is_full { 0 } else { link.plant.statistics().messages_dropped.of(DropReason::NotOwner) }
        };
        // What was lost last is missing until a heartbeat comes.
        let lost = || link.received().map_or(0, |received| received.lost);
        until("every command is accounted for", || {
            sent() <= handled() + lost() + too_old() + refused() || after.is_none()
        });
        let all = link.plant.statistics();
        let kernel = all.kernel_drops - all_before.kernel_drops;
        let late = sent().saturating_sub(handled() + lost());
        println!(
            "| {name} | {} | {} | {late} | {kernel} | {:.0?} | {:.0?} | {:.1} | {} |",
            (all.datagrams_received() - all_before.datagrams_received()) / time.as_secs().max(1),
            lost() - before.lost,
            quiet.p99,
            under.p99,
            under.p99.as_secs_f64() / quiet.p99.as_secs_f64(),
            grown / 1024
        );
        println!(
            "  {} commands quiet, {} under attack; p50 {:.0?} and {:.0?}, p90 {:.0?} and {:.0?}; the slowest {:.0?} and {:.0?}; \
             {} peers; dropped: {:?}",
            quiet.commands,
            under.commands,
            quiet.p50,
            under.p50,
            quiet.p90,
            under.p90,
            quiet.worst,
            under.worst,
            all.peers,
            (
                all.datagrams_dropped.iter().collect::<Vec<_>>(),
                all.messages_dropped.iter().collect::<Vec<_>>()
            )
        );
        let after = after.expect("the controller is still connected");
        assert!(lost() - before.lost <= kernel, "{name}: {} lost", lost() - before.lost);
        assert!(all.lost < 1 << 26, "{name}: {} lost of all", all.lost);
        // On a machine that is busy with other work too, the link's own threads may wait for a core in a short run.
        assert!(!is_full || after.timeouts == before.timeouts, "{name}: the controller fell silent");
        // Messages for an audience fill the backlog too.
        let allowed = MEMORY * if name == "audience" { 2 } else { 1 };
        assert!(
            !is_full || beyond_peers <= allowed,
            "{name}: {} kB more than {most_peers} peers take",
            beyond_peers / 1024
        );
        while let Some(event) = events.next(Some(Duration::ZERO)) {
            let is_strangers = matches!(event, Event::OwnerChanged { to: Some(to), .. } if to != controller);
            assert!(!is_full || !is_strangers, "{name}: {event:?}");
        }
    });
    printed
}

const NATIVE: (Wire, usize) = (Wire::Native, 1024);
const CLASSIC: (Wire, usize) = (Wire::Classic, 1024);

fn alone(name: &str, kind: (Wire, usize), time: Duration) {
    attack(name, kind, time, |_| ());
}

/// One classic datagram brings what the plant sends in a quarter of a second, and no more.
fn reflect(time: Duration) {
    let printed = attack("reflector", CLASSIC, time, |_| ());
    let line = printed.lines().find_map(|line| line.split_once("reflected: ")).expect("its figure").1;
    println!("  one datagram brought {line} bytes");
    let bytes: usize = line.trim().parse().expect("a number");
    // 250 ms of 1 kHz at some 200 bytes, and as much again if the machine is busy.
    assert!(bytes < 200_000, "{bytes}");
}

/// Four threads send to [`AUDIENCE`] peers as fast as they can.
fn broadcast(time: Duration) {
    attack("audience", NATIVE, time, |link| {
        until("the audience is there", || {
            link.plant.statistics().peers > AUDIENCE || link.over.load(Ordering::Relaxed)
        });
        let (longest, sends) = (Mutex::new(Duration::ZERO), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !link.over.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let _ = link.plant.send(&1, &Metadata::data());
                        let mut longest = longest.lock().expect("no panic");
                        *longest = began.elapsed().max(*longest);
                        sends.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        println!(
            "  four threads sent {} messages to {} peers; the longest `send` took {:.1?}",
            sends.into_inner(),
            link.plant.statistics().peers,
            longest.into_inner().expect("no panic")
        );
    });
}

#[test]
fn strangers_disturb_no_link() {
    for name in ["handshakes", "leaps"] {
        alone(name, NATIVE, Duration::from_millis(300));
    }
    alone("classic", CLASSIC, Duration::from_millis(300));
}

/// Ten seconds of an attack each.
macro_rules! ten_seconds {
    ($($test:ident: $run:expr),* $(,)?) => {
        $(
            #[test]
            #[ignore = "the full length, in release"]
            fn $test() {
                ($run)(FULL);
            }
        )*
    };
}

ten_seconds! {
    ten_seconds_of_junk: |time| alone("junk", NATIVE, time),
    ten_seconds_of_hellos: |time| alone("hellos", NATIVE, time),
    ten_seconds_of_handshakes: |time| alone("handshakes", NATIVE, time),
    ten_seconds_of_open_handshakes: |time| alone("open handshakes", NATIVE, time),
    ten_seconds_of_silent_peers: |time| alone("silent peers", NATIVE, time),
    ten_seconds_of_a_crowd: |time| alone("crowd", NATIVE, time),
    ten_seconds_of_refusals: |time| alone("refusals", (Wire::Native, SMALL_TABLE), time),
    ten_seconds_of_leaps: |time| alone("leaps", NATIVE, time),
    ten_seconds_of_large_messages: |time| alone("large messages", NATIVE, time),
    ten_seconds_of_classic_strangers: |time| alone("classic", CLASSIC, time),
    ten_seconds_of_a_reflector: reflect,
    ten_seconds_of_broadcasts: broadcast,
}
