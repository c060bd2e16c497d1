//! Hostile programs, written from docs/protocol.md, beside a 1 kHz link with `Profile::control()` and a deadline.
//!
//! A short run of each attack runs with all tests. Ten seconds of each, at what one core can send, run with
//!
//! ```text
//! cargo test --release -p tautline --test strangers -- ten_seconds --ignored --nocapture --test-threads 1
//! ```
#![cfg(target_os = "linux")] // has /proc, and every 127.x.y.z is an address of the host
#![allow(clippy::print_stdout)] // figures

#[path = "common/children.rs"]
mod children;
mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{address, client, client_config, server, server_config, until};
use tautline::{Config, Handler, MessageType, Metadata, Profile, Qos, UdpInterface, Wire};
use tautline_proto::SessionId;
use tautline_proto::wire::native::{
    Control, Frame, Head, Header, Heartbeat, Token, begin_datagram, begin_message, finish_message, parse,
    seal, write_control,
};

/// The time between two messages of each end of the link.
const PERIOD: Duration = Duration::from_millis(1);

/// The attacks.
const ATTACKS: [&str; 7] =
    ["junk", "hellos", "handshakes", "silent peers", "crowd", "leaps", "large messages"];

/// The sockets that an attacker uses at once.
const SOCKETS: usize = 64;

/// Returns a socket at an address of its own on this host.
fn stranger(number: usize, one_host: bool) -> UdpSocket {
    let [_, a, b, c] =
        if one_host { [0, 9, 9, 9] } else { u32::try_from(number % 0xff_ffff).expect("small").to_be_bytes() };
    let host = Ipv4Addr::new(127, a.max(1), b, c.max(2));
    let socket = UdpSocket::bind((host, 0)).expect("of this host");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a positive time");
    socket
}

fn datagram(session: SessionId, sequence: u32, frames: &[Control<'_>], message: Option<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    begin_datagram(&mut bytes);
    frames.iter().for_each(|frame| write_control(&mut bytes, frame));
    if let Some(size) = message {
        let head = Head { message_type: MessageType::Command, ..Head::default() };
        let started = begin_message(&mut bytes, &head).expect("no texts");
        bytes.resize(bytes.len() + size, 1);
        assert!(finish_message(&mut bytes, started));
    }
    seal(&mut bytes, Header { session, sequence, from_server: false });
    bytes
}

fn hello(session: SessionId) -> Vec<u8> {
    datagram(session, 0, &[Control::Hello], None)
}

/// Returns the token that the server has sent, if it comes.
fn token(socket: &UdpSocket) -> Option<Token> {
    let mut buffer = [0; 2048];
    let (len, _) = socket.recv_from(&mut buffer).ok()?;
    let (_, frames) = parse(&buffer[..len]).ok()?;
    frames.clone().find_map(|frame| match frame {
        Frame::Token(token) => Some(token),
        _ => None,
    })
}

/// Opens sessions from these sockets, with a command in each echo. Returns those that were answered.
fn shake_hands(sockets: Vec<UdpSocket>, to: SocketAddr, number: &mut u64) -> Vec<(UdpSocket, SessionId)> {
    let mut sessions = Vec::new();
    for socket in sockets {
        *number += 1;
        let session = SessionId::from_bits(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let _ = socket.send_to(&hello(session), to);
        sessions.push((socket, session));
    }
    sessions.retain(|(socket, session)| {
        let Some(token) = token(socket) else { return false };
        let echo = [Control::Echo { token, name: "stranger" }];
        socket.send_to(&datagram(*session, 0, &echo, Some(8)), to).is_ok()
    });
    sessions
}

/// The child process: attacks until its time is over. Its order is the attack, the port, and the milliseconds.
#[test]
#[ignore = "a child of the other tests"]
fn attacker() {
    let Some(order) = children::order() else { return };
    let [attack, port, ms] = order.split(';').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().expect("a port")));
    let end = Instant::now() + Duration::from_millis(ms.parse().expect("a number"));
    let (mut sent, mut number) = (0u64, u64::from(std::process::id()) << 32);
    let sockets = |count: usize, one_host: bool| -> Vec<UdpSocket> {
        let from = usize::try_from(number >> 3).unwrap_or(0) + count;
        (0..count).map(|index| stranger(from.wrapping_mul(31) + index * 7, one_host)).collect()
    };
    match attack {
        "junk" => {
            let all = sockets(SOCKETS, false);
            let kinds = [
                vec![0xe7; 1200],
                b"junk".to_vec(),
                datagram(SessionId::from_bits(9), 0, &[Control::Close], None),
            ];
            while Instant::now() < end {
                for socket in &all {
                    kinds.iter().for_each(|kind| sent += u64::from(socket.send_to(kind, to).is_ok()));
                }
            }
        }
        "hellos" => {
            let all = sockets(SOCKETS, false);
            while Instant::now() < end {
                for socket in &all {
                    sent += u64::from(socket.send_to(&hello(SessionId::from_bits(sent)), to).is_ok());
                }
            }
        }
        "handshakes" => {
            while Instant::now() < end {
                let fresh = (0..SOCKETS)
                    .map(|index| stranger(usize::try_from(sent).unwrap_or(0) + index, false))
                    .collect();
                sent += shake_hands(fresh, to, &mut number).len() as u64;
            }
        }
        "silent peers" => {
            let fresh = (0..200).map(|index| stranger(index + 1, false)).collect();
            let silent = shake_hands(fresh, to, &mut number);
            sent = silent.len() as u64;
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
        }
        "crowd" => {
            let fresh = (0..1100).map(|index| stranger(index, true)).collect();
            let crowd = shake_hands(fresh, to, &mut number);
            let mut sequence = 0;
            while Instant::now() < end {
                sequence += 1;
                for (socket, session) in &crowd {
                    let alive =
                        datagram(*session, sequence, &[Control::Heartbeat(Heartbeat::default())], None);
                    sent += u64::from(socket.send_to(&alive, to).is_ok());
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        "leaps" | "large messages" => {
            let (size, step) = if attack == "leaps" { (8, 0x2000_0000) } else { (60_000, 1) };
            let mut own = shake_hands(vec![stranger(5, false)], to, &mut number);
            let (socket, session) = own.pop().expect("the server answers");
            let mut sequence = 0u32;
            while Instant::now() < end {
                sequence = sequence.wrapping_add(step);
                let leap = datagram(session, sequence, &[], Some(size));
                sent += u64::from(socket.send_to(&leap, to).is_ok());
            }
        }
        other => panic!("no attack {other}"),
    }
    println!("{attack}: {sent} sent");
}

/// A link at 1 kHz in both directions, and how long its commands take.
struct Link {
    plant: UdpInterface,
    controller: UdpInterface,
    delays: Arc<Mutex<Vec<Duration>>>,
    over: AtomicBool,
}

/// The figures of a run.
#[derive(Clone, Copy, Debug)]
struct Figures {
    commands: usize,
    p99: Duration,
    worst: Duration,
}

impl Link {
    fn new() -> Self {
        // A late command is late here, and stops nothing.
        let goes_on = Qos::new().deadline(Duration::from_millis(50)).latch(false);
        let control = |config: Config| {
            config
                .profile(Profile::control())
                .qos(MessageType::Command, goes_on)
                .coalescing_delay(Duration::ZERO)
        };
        let plant = server(control(server_config(Wire::Native)).failsafe(|_| {}));
        let delays = Arc::<Mutex<Vec<Duration>>>::default();
        let took = Arc::clone(&delays);
        let began = Instant::now();
        let handler = Handler::inline(move |message, _| {
            // Commands of strangers have other contents.
            if let Ok([made, 42]) = message.decode::<[u64; 2]>() {
                took.lock()
                    .expect("no panic")
                    .push(began.elapsed().saturating_sub(Duration::from_nanos(made)));
            }
        });
        plant.register_message_handler(MessageType::Command, handler);
        let controller = client(control(client_config(&plant)));
        let link = Self { plant, controller, delays, over: AtomicBool::new(false) };
        BEGAN.with(|cell| cell.set(began));
        link
    }

    /// Sends to all at 1 kHz until the test is over.
    fn keep_sending(&self, from: &UdpInterface, metadata: &Metadata, began: Instant) {
        let first = Instant::now();
        for number in 1u32.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let made = u64::try_from(began.elapsed().as_nanos()).expect("small");
            let _ = from.send(&[made, 42], metadata);
            std::thread::sleep((PERIOD * number).saturating_sub(first.elapsed()));
        }
    }

    /// Runs `act` while the link works. Returns how long commands took meanwhile.
    fn figures(&self, act: impl FnOnce()) -> Figures {
        self.delays.lock().expect("no panic").clear();
        act();
        let mut delays = std::mem::take(&mut *self.delays.lock().expect("no panic"));
        delays.sort_unstable();
        let at = |share: usize| {
            delays.get(delays.len() * share / 1000).or(delays.last()).copied().unwrap_or_default()
        };
        Figures { commands: delays.len(), p99: at(990), worst: at(1000) }
    }
}

thread_local! {
    /// When the link of this test began: the clock of its commands.
    static BEGAN: std::cell::Cell<Instant> = std::cell::Cell::new(Instant::now());
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux has this file");
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    kilobytes.and_then(|count| count.trim().parse::<usize>().ok()).expect("the format of proc(5)") * 1024
}

/// Attacks for this time. Checks that the link has lost nothing but what the kernel dropped and that the controller keeps its
/// place, and prints the figures.
fn attack(name: &str, time: Duration) {
    let is_short = time < Duration::from_secs(10);
    let link = Link::new();
    let began = BEGAN.with(std::cell::Cell::get);
    std::thread::scope(|scope| {
        scope.spawn(|| link.keep_sending(&link.controller, &Metadata::command(), began));
        scope.spawn(|| link.keep_sending(&link.plant, &Metadata::status(), began));
        until("commands come", || !link.delays.lock().expect("no panic").is_empty());
        let quiet = link.figures(|| std::thread::sleep(time));
        let own = link.plant.peers().first().expect("the controller").id;
        let before = link.plant.peer(own).expect("the controller").received;
        let mut grown = 0;
        let under = link.figures(|| {
            let order = format!("{name};{};{}", address(&link.plant).port(), time.as_millis());
            let mut child = children::start("attacker", &order);
            // What a full table of peers takes is taken once.
            std::thread::sleep(time / 5);
            let memory = resident();
            while child.0.try_wait().expect("our child").is_none() {
                std::thread::sleep(Duration::from_millis(20));
                grown = grown.max(resident().saturating_sub(memory));
            }
        });
        std::thread::sleep(Duration::from_millis(1200));
        let all = link.plant.statistics();
        let after = link.plant.peer(own);
        link.over.store(true, Ordering::Relaxed);
        let after = after.expect("the controller is still a peer").received;
        println!(
            "| {name} | {} | {} | {} | {:.0?} | {:.0?} | {:.1} | {} |",
            all.datagrams_received() / time.as_secs().max(1),
            after.lost - before.lost,
            all.kernel_drops,
            quiet.p99,
            under.p99,
            under.p99.as_secs_f64() / quiet.p99.as_secs_f64(),
            grown / 1024
        );
        println!(
            "  {} commands quiet, {} under attack; the slowest {:.0?} and {:.0?}; dropped: {:?}",
            quiet.commands,
            under.commands,
            quiet.worst,
            under.worst,
            (
                all.datagrams_dropped.iter().collect::<Vec<_>>(),
                all.messages_dropped.iter().collect::<Vec<_>>()
            )
        );
        assert!(after.lost - before.lost <= all.kernel_drops, "{name}: {} lost", after.lost - before.lost);
        // On a machine that is busy with other work too, the link's own threads may wait for a core in a short run.
        assert!(is_short || after.timeouts == before.timeouts, "{name}: the controller fell silent");
        assert!(all.lost < 1 << 26, "{name}: {} lost of all", all.lost);
    });
}

#[test]
fn strangers_disturb_no_link() {
    for name in ATTACKS {
        attack(name, Duration::from_millis(500));
    }
}

/// Ten seconds of an attack.
macro_rules! ten_seconds {
    ($($test:ident: $attack:literal),* $(,)?) => {
        $(
            #[test]
            #[ignore = "the full length, in release"]
            fn $test() {
                attack($attack, Duration::from_secs(10));
            }
        )*
    };
}

ten_seconds! {
    ten_seconds_of_junk: "junk",
    ten_seconds_of_hellos: "hellos",
    ten_seconds_of_handshakes: "handshakes",
    ten_seconds_of_silent_peers: "silent peers",
    ten_seconds_of_a_crowd: "crowd",
    ten_seconds_of_leaps: "leaps",
    ten_seconds_of_large_messages: "large messages",
}
