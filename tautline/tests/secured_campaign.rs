//! Secured links under attack and under change, over sockets: forged handshakes, changed and repeated datagrams, keys that are
//! replaced under load.
//!
//! A short run of each runs with all tests. The long ones, with figures:
//!
//! ```text
//! cargo test --release -p tautline --test secured_campaign -- --ignored --nocapture --test-threads 1
//! ```
//!
//! In the long test of forged handshakes, the attacker has core 1. `taskset -c 0 cargo ...` keeps the link on the other core.
#![cfg(feature = "secure")]
#![allow(clippy::print_stdout)] // figures

#[path = "common/children.rs"]
mod children;
mod common;
#[path = "common/key_files.rs"]
mod files;

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{TIME_LIMIT, address, client, client_config, server, server_config, until};
use files::{FIRST, Folder, SECOND};
use tautline::{
    Config, DropReason, Event, Handler, MessageType, Metadata, RemovalReason, SecretKey, UdpInterface, Wire,
    create_udp_client,
};
use tautline_proto::SessionId;
use tautline_proto::wire::native::{
    Control, Frame, Header, SealedEcho, Token, begin_datagram, parse, seal, write_control,
};

fn key(text: &str) -> SecretKey {
    text.parse().expect("a key")
}

/// The numbers that a server has received, in their order.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<Vec<u64>>>);

impl Numbers {
    fn of(server: &UdpInterface) -> Self {
        let numbers = Self::default();
        let list = numbers.clone();
        server.register_message_handler(
            MessageType::Data,
            Handler::inline(move |message, reply| {
                let number = message.decode().expect("a number was sent");
                list.0.lock().expect("no panic").push(number);
                let _ = reply.send(&number, &Metadata::status());
            }),
        );
        numbers
    }

    fn len(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    /// Checks that every number below `end` has come once, in order.
    fn assert_complete(&self, end: u64) {
        let numbers = self.0.lock().expect("no panic");
        let first_gap = numbers.iter().zip(0..).find(|(number, expected)| **number != *expected);
        assert_eq!((first_gap, numbers.len() as u64), (None, end));
    }
}

/// A client that sends numbers at 1 kHz from a thread of its own, until it is stopped.
struct Stream {
    client: Arc<UdpInterface>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Stream {
    fn start(client: UdpInterface) -> Self {
        let (client, stop) = (Arc::new(client), Arc::new(AtomicBool::new(false)));
        let (end, asked) = (Arc::clone(&client), Arc::clone(&stop));
        let mut events = client.events();
        let thread = std::thread::spawn(move || {
            let (mut number, begun) = (0u64, Instant::now());
            // How long the machine has kept this thread from running.
            let mut longest = Duration::ZERO;
            while !asked.load(Ordering::Relaxed) {
                if let Err(error) = end.send(&number, &Metadata::data()) {
                    let told: Vec<_> = std::iter::from_fn(|| events.next(Some(Duration::ZERO))).collect();
                    panic!("the link is never down: {error}; this thread was late by {longest:?}; {told:?}");
                }
                number += 1;
                let due = begun + Duration::from_millis(number);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                longest = longest.max(due.elapsed());
            }
            number
        });
        Self { client, stop, thread }
    }

    /// Returns how many numbers were sent.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// Replaces the key of a link under load, and lets the holder of the old key go.
fn replace_keys(rounds: u32) {
    let folder = Folder::new("replaced");
    let (at_plant, at_controller) = (folder.file("plant.key", FIRST), folder.file("controller.key", FIRST));
    let plant = server(server_config(Wire::Native).key_file(at_plant));
    let numbers = Numbers::of(&plant);
    let stream = Stream::start(client(client_config(&plant).key_file(at_controller)));
    let mut old = FIRST.to_owned();
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let new = SecretKey::generate().expect("random").reveal().to_owned();
        // Somebody who is not given the new key.
        let former = client(client_config(&plant).name("former").key(key(&old)));
        let mut events = former.events();
        folder.file("plant.key", format!("{old}\n{new}"));
        plant.reload_keys().expect("two keys");
        folder.file("controller.key", &new);
        let mut at_plant = plant.events();
        stream.client.reload_keys().expect("the new key");
        let takes_over = |event: Event| matches!(event, Event::KeyReplaced { .. });
        let mut told = std::iter::from_fn(|| at_plant.next(Some(TIME_LIMIT)));
        assert!(told.any(takes_over), "round {round}: the new key has not taken over");
        let removed = Instant::now();
        folder.file("plant.key", &new);
        plant.reload_keys().expect("the new key");
        let is_told =
            |event: Event| matches!(event, Event::PeerDisconnected { reason: RemovalReason::KeyRemoved, .. });
        assert!(
            std::iter::from_fn(|| events.next(Some(TIME_LIMIT))).any(is_told),
            "round {round}: it was not told"
        );
        until("the former holder is no peer", || plant.peers().iter().all(|peer| peer.name != "former"));
        longest = longest.max(removed.elapsed());
        former.cleanup();
        old = new;
    }
    let sent = stream.end();
    until("all numbers are there", || numbers.len() as u64 >= sent);
    numbers.assert_complete(sent);
    println!(
        "{rounds} keys replaced, {sent} messages at 1 kHz, 0 lost; a removed holder was out after {longest:?} at most"
    );
}

#[test]
fn keys_are_replaced_under_load_and_nothing_is_lost() {
    replace_keys(3);
}

#[test]
#[ignore = "a hundred keys"]
fn a_hundred_keys_are_replaced_under_load_and_nothing_is_lost() {
    replace_keys(100);
}

fn datagram(session: SessionId, frame: &Control<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    begin_datagram(&mut bytes);
    write_control(&mut bytes, frame);
    seal(&mut bytes, Header { session, sequence: 0, from_server: false });
    bytes
}

/// Asks for a token for this session, as every stranger does. Returns the last one that has come, and its session.
fn token(socket: &UdpSocket, session: SessionId, to: SocketAddr) -> Option<(SessionId, Token)> {
    socket.send_to(&datagram(session, &Control::Hello), to).ok()?;
    let mut buffer = [0; 2048];
    let mut last = None;
    while let Ok(len) = socket.recv(&mut buffer) {
        let (header, mut frames) = parse(&buffer[..len]).ok()?;
        last = frames.find_map(|frame| match frame {
            Frame::SecuredToken(token) => Some((header.session, token)),
            _ => None,
        });
    }
    last
}

/// The child process: sends echoes with a right token, the id of a right key, and a forged message of the handshake. The order is
/// the port, the id, how many a second, and the milliseconds.
#[test]
#[ignore = "a child of the other tests"]
fn forges() {
    let Some(order) = children::order() else { return };
    let order: Vec<u64> = order.split(';').map(|number| number.parse().expect("a number")).collect();
    let [port, id, a_second, ms] = order[..] else { panic!("four numbers") };
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("a port")));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a positive time");
    let (mut sent, begun, mut next_token) = (0u64, Instant::now(), Instant::now());
    let mut held: Option<(SessionId, Token)> = None;
    while begun.elapsed() < Duration::from_millis(ms) {
        if next_token <= Instant::now() {
            let new = token(&socket, SessionId::from_bits(0x0123_4567_89ab_cdef ^ sent), to);
            // A hello waits among the echoes, or is dropped.
            next_token = Instant::now() + Duration::from_millis(if new.is_some() { 2000 } else { 50 });
            held = new.or(held);
        }
        let Some((session, token)) = held else { continue };
        for _ in 0..50 {
            let noise: Vec<u8> = (0..8u64)
                .flat_map(|at| (at ^ sent).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
                .collect();
            let echo = SealedEcho { token, key: id.to_be_bytes(), noise: &noise };
            sent += u64::from(socket.send_to(&datagram(session, &Control::SealedEcho(echo)), to).is_ok());
        }
        let due = begun + Duration::from_nanos(sent * 1_000_000_000 / a_second);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    println!("sent {sent}");
}

/// The core that the attacker has for itself in the long run, if the machine has it.
const ATTACKERS_CORE: usize = 1;

/// What a 1 kHz link of requests did: how many were lost, and the round trips of the others.
#[derive(Default)]
struct Link {
    lost: u64,
    trips: Vec<Duration>,
}

impl Link {
    fn measure(&mut self, client: &UdpInterface, for_: Duration) {
        let (begun, mut number) = (Instant::now(), 0u64);
        while begun.elapsed() < for_ {
            let sent = Instant::now();
            client.send(&number, &Metadata::data()).expect("sent");
            match client.receive(Some(Duration::from_secs(2))) {
                Ok(answer) => {
                    assert_eq!(answer.decode::<u64>(), Ok(number));
                    self.trips.push(sent.elapsed());
                }
                Err(_) => self.lost += 1,
            }
            number += 1;
            std::thread::sleep((sent + Duration::from_millis(1)).saturating_duration_since(Instant::now()));
        }
        self.trips.sort();
    }

    fn p99(&self) -> Duration {
        self.trips[self.trips.len() * 99 / 100]
    }
}

/// The processor's time that this process has used.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: u64 = stat.rsplit(')').next().map_or(0, |rest| {
        rest.split_whitespace().skip(11).take(2).filter_map(|number| number.parse::<u64>().ok()).sum()
    });
    Duration::from_millis(ticks * 10)
}

/// What forged echoes did to a link.
struct Attack {
    /// The same link without them, before and after.
    quiet: Link,
    attacked: Link,
    /// How many of the messages that were lost the kernel may have dropped, because a busy machine does not let the server read
    /// in time.
    by_kernel: u64,
    echoes: u64,
    /// The time of a core that both ends used for each second, quiet and attacked.
    cpu: [f64; 2],
}

/// After this time, lets another client join, from another address where the system has one. Returns how long that takes.
fn joins(plant: &UdpInterface, after: Duration) -> Duration {
    std::thread::sleep(after);
    let config = client_config(plant).key(key(FIRST)).name("another");
    let config =
        if cfg!(target_os = "macos") { config } else { config.bind(SocketAddr::from(([127, 0, 0, 2], 0))) };
    let begun = Instant::now();
    let other = client(config);
    let took = begun.elapsed();
    other.cleanup();
    until("it is gone", || plant.peers().iter().all(|peer| peer.name != "another"));
    took
}

fn forged_echoes(a_second: u64, for_: Duration) -> Attack {
    let plant = server(server_config(Wire::Native).key(key(FIRST)));
    let _numbers = Numbers::of(&plant);
    let controller = client(client_config(&plant).key(key(FIRST)));
    let (mut quiet, mut attacked) = (Link::default(), Link::default());
    let share = |used: Duration| used.as_secs_f64() / for_.as_secs_f64();
    let before = cpu();
    quiet.measure(&controller, for_ / 2);
    let cpu_quiet = 2.0 * share(cpu() - before);
    let id = u64::from_be_bytes(tautline_proto::secure::Key::from(key(FIRST)).id().to_bytes());
    let order = format!("{};{id};{a_second};{}", address(&plant).port(), for_.as_millis());
    let mut attacker = match for_ >= FULL {
        true => children::start_on_core(ATTACKERS_CORE, "forges", &order),
        false => children::start("forges", &order),
    };
    let before = cpu();
    let joined = std::thread::scope(|scope| {
        let joining = scope.spawn(|| joins(&plant, for_ / 4));
        attacked.measure(&controller, for_);
        joining.join().expect("no panic")
    });
    let cpu_attacked = share(cpu() - before);
    if cfg!(debug_assertions) {
        // What strangers may take of the driver's time is used up, and the driver does not even look at the rest. (With
        // optimisations, the machine may be fast enough for all of them.)
        let dropped = || plant.statistics().datagrams_dropped;
        until("strangers are dropped", || dropped().of(DropReason::Overloaded) > 0);
    }
    let mut printed = String::new();
    attacker.0.stdout.take().expect("it is piped").read_to_string(&mut printed).expect("text");
    let echoes = printed.lines().find_map(|line| line.split_once("sent ")).expect("its figure").1;
    let echoes: u64 = echoes.trim().parse().expect("a number");
    quiet.measure(&controller, for_ / 2);
    let (dropped, by_kernel) = (plant.statistics().datagrams_dropped, plant.statistics().kernel_drops);
    println!(
        "{echoes} forged echoes in {for_:?}: {} of {} messages lost ({by_kernel} datagrams dropped by the kernel), p99 {:?} (quiet {:?}); \
         both ends used {:.0} % of a core (quiet {:.0} %); another client joined in {joined:?}; dropped: {dropped:?}",
        attacked.lost,
        attacked.lost + attacked.trips.len() as u64,
        attacked.p99(),
        quiet.p99(),
        100.0 * cpu_attacked,
        100.0 * cpu_quiet,
    );
    assert!(dropped.of(DropReason::UnknownKey) > 0, "{dropped:?}");
    assert_eq!(plant.peers().len(), 1);
    let by_kernel = attacked.lost.min(by_kernel);
    Attack { quiet, attacked, by_kernel, echoes, cpu: [cpu_quiet, cpu_attacked] }
}

#[test]
fn forged_handshakes_cost_a_secured_link_no_message() {
    let attack = forged_echoes(30_000, Duration::from_millis(700));
    assert_eq!(attack.attacked.lost - attack.by_kernel, 0);
}

/// The length of the long run.
const FULL: Duration = Duration::from_secs(10);

/// The limits of the verdict.
const FORGED_A_SECOND: u64 = 50_000;
const P99_RATIO: f64 = 3.0;

#[test]
#[ignore = "twenty seconds on a quiet machine"]
fn fifty_thousand_forged_echoes_a_second_cost_a_secured_link_no_message() {
    let attack = forged_echoes(FORGED_A_SECOND, FULL);
    let rate = attack.echoes as f64 / FULL.as_secs_f64();
    let ratio = attack.attacked.p99().as_secs_f64() / attack.quiet.p99().as_secs_f64();
    let (lost, [quiet, attacked]) = (attack.attacked.lost, attack.cpu);
    let verdict = if lost == 0 && ratio <= P99_RATIO && rate >= 0.95 * FORGED_A_SECOND as f64 {
        "met"
    } else {
        "NOT met"
    };
    println!(
        "verdict: {verdict}: {rate:.0} forged echoes/s (at least 47500), {lost} messages lost (0), p99 {ratio:.2} times the quiet one (at most 3), \
         {:.0} % of a core more than quiet for both ends",
        100.0 * (attacked - quiet)
    );
    assert_eq!(verdict, "met");
}

/// Somebody between the two ends, who passes on every datagram, and sends changed, cut, repeated and reflected ones too.
struct Between {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
    forged: Arc<AtomicU64>,
}

impl Between {
    fn start(server: SocketAddr) -> Self {
        let bind = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.set_read_timeout(Some(Duration::from_micros(200))).expect("a positive time");
            socket
        };
        let (near, far) = (bind(), bind());
        let address = near.local_addr().expect("bound");
        let (stop, forged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (asked, count) = (Arc::clone(&stop), Arc::clone(&forged));
        let thread = std::thread::spawn(move || {
            let (mut client, mut buffer, mut random) = (None, [0; 2048], 7u64);
            let mut kept: Vec<Vec<u8>> = Vec::new();
            while !asked.load(Ordering::Relaxed) {
                for (from, to, other_way) in [(&near, &far, false), (&far, &near, true)] {
                    let Ok((len, sender)) = from.recv_from(&mut buffer) else { continue };
                    if !other_way {
                        client = Some(sender);
                    }
                    let Some(client) = client else { continue };
                    let (ahead, back) = if other_way { (client, server) } else { (server, client) };
                    let datagram = &buffer[..len];
                    let _ = to.send_to(datagram, ahead);
                    if datagram[3] & 2 == 0 {
                        continue;
                    }
                    let forge = |bytes: &[u8], by: &UdpSocket, whom: SocketAddr| {
                        count.fetch_add(u64::from(by.send_to(bytes, whom).is_ok()), Ordering::Relaxed);
                    };
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let place = usize::try_from(random >> 33).expect("small");
                    let mut changed = datagram.to_vec();
                    changed[place % len] ^= 1 << (random % 8);
                    forge(&changed, to, ahead);
                    forge(&datagram[..place % len], to, ahead);
                    forge(datagram, to, ahead);
                    forge(datagram, from, back);
                    // Of another session, or of the same one and old; as if it went the other way.
                    if let Some(old) = kept.get(place % kept.len().max(1)) {
                        forge(old, to, ahead);
                        let mut turned = old.clone();
                        turned[3] ^= 1;
                        forge(&turned, from, back);
                    }
                    if kept.len() < 256 {
                        kept.push(datagram.to_vec());
                    } else {
                        kept[place % 256] = datagram.to_vec();
                    }
                }
            }
        });
        Self { address, stop, thread, forged }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic");
        self.forged.load(Ordering::Relaxed)
    }
}

fn between(messages: u64) {
    let plant = server(server_config(Wire::Native).key(key(SECOND)));
    let numbers = Numbers::of(&plant);
    let between = Between::start(address(&plant));
    let config = || Config::client(between.address).key(key(SECOND)).receive_buffer(8 << 20);
    // Datagrams of a former session are sent into the next one.
    let former = client(config());
    former.send(&0u64, &Metadata::data()).expect("sent");
    until("it is there", || numbers.len() == 1);
    numbers.0.lock().expect("no panic").clear();
    former.cleanup();
    let controller = create_udp_client(config()).expect("valid");
    controller.connect().expect("the server answers");
    for number in 0..messages {
        controller.send(&number, &Metadata::data()).expect("sent");
        let answer = controller.receive(Some(TIME_LIMIT)).expect("nothing is lost here");
        assert_eq!(answer.decode::<u64>(), Ok(number));
    }
    numbers.assert_complete(messages);
    let forged = between.end();
    for end in [&plant, &controller] {
        let dropped = end.statistics().datagrams_dropped;
        println!("{messages} messages, {forged} forged datagrams in all; dropped here: {dropped:?}");
        assert!(dropped.total() > messages, "{dropped:?}");
    }
    assert!(forged >= messages * 8);
}

#[test]
fn nothing_that_is_changed_cut_repeated_or_reflected_is_accepted() {
    between(300);
}

#[test]
#[ignore = "some minutes"]
fn a_million_datagrams_that_are_changed_cut_repeated_or_reflected_are_dropped() {
    between(100_000);
}
