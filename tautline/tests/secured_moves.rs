//! Secured links whose clients get other addresses: behind a network that translates addresses, and on hosts whose own address
//! changes. Sessions go on.
//!
//! A short run of each runs with all tests. The campaign, with figures:
//!
//! ```text
//! cargo test --release -p tautline --test secured_moves -- --ignored --nocapture --test-threads 1
//! ```
#![cfg(all(target_os = "linux", feature = "secure"))]
#![allow(clippy::print_stdout)] // figures, and why a test was skipped

mod common;
#[path = "common/hosts.rs"]
mod hosts;
#[path = "common/namespaces.rs"]
mod namespaces;
#[path = "common/translator.rs"]
mod translator;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{TIME_LIMIT, address, client, next_number, server, until};
use namespaces::{Cable, End};
use tautline::{
    Config, Event, Handler, MessageType, Metadata, PeerInfo, Qos, SecretKey, UdpInterface, create_udp_client,
    create_udp_server,
};
use translator::Translator;

/// `python3 -c 'import base64; print(base64.b64encode(bytes(range(32))))'`
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A link that nobody takes for silent: what is tested is not how soon a client calls anew.
fn secured(config: Config) -> Config {
    let key: SecretKey = KEY.parse().expect("a key");
    config.key(key).liveness_timeout(TIME_LIMIT).qos(MessageType::Command, Qos::new().keep_all())
}

/// The numbers that came, and when.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<Vec<(u64, Instant)>>>);

impl Arrivals {
    fn at(interface: &UdpInterface, message_type: MessageType) -> Self {
        let arrivals = Self::default();
        let list = Arc::clone(&arrivals.0);
        interface.register_message_handler(
            message_type,
            Handler::inline(move |message, _| {
                let number = message.decode().expect("a number was sent");
                list.lock().expect("no panic").push((number, Instant::now()));
            }),
        );
        arrivals
    }

    fn all(&self) -> Vec<(u64, Instant)> {
        self.0.lock().expect("no panic").clone()
    }

    /// The longest time without a message after `from`.
    fn longest_gap(&self, from: Instant) -> Duration {
        let all = self.all();
        let gaps = all.windows(2).map(|pair| pair[1].1.saturating_duration_since(pair[0].1.max(from)));
        gaps.max().unwrap_or_default()
    }

    fn assert_none_came_twice(&self) -> usize {
        let mut numbers: Vec<_> = self.all().into_iter().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        let all = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), all, "some came twice");
        all
    }
}

/// Sends numbers at 1 kHz both ways for this long, from this number on. Returns the next number.
fn talk(plant: &UdpInterface, controller: &UdpInterface, from: u64, for_: Duration) -> u64 {
    let (begun, mut number) = (Instant::now(), from);
    while begun.elapsed() < for_ {
        controller.send(&number, &Metadata::data()).expect("sent");
        plant.send(&number, &Metadata::status()).expect("sent");
        number += 1;
        let due = begun + Duration::from_millis(number - from);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    number
}

fn only_peer(interface: &UdpInterface) -> PeerInfo {
    let peers = interface.peers();
    assert_eq!(peers.len(), 1, "{peers:?}");
    peers.into_iter().next().expect("one")
}

/// Changes the client's address `times` times, at 1 kHz both ways.
fn translated(endpoint: &str, called: &str, times: usize) {
    let plant = server(secured(Config::server(endpoint).name("plant")));
    let to = SocketAddr::new(called.parse().expect("an address"), address(&plant).port());
    let mut translator = Translator::start(to);
    let controller = client(secured(Config::client(translator.address)).name("controller"));
    let (at_plant, at_controller) =
        (Arrivals::at(&plant, MessageType::Data), Arrivals::at(&controller, MessageType::Status));
    until("the server has its client", || plant.send(&0u64, &Metadata::data()).is_ok());
    let mut number = talk(&plant, &controller, 0, Duration::from_millis(300));
    let (before, of_server) = (only_peer(&plant), only_peer(&controller));
    let mut events = plant.events();
    let (mut moves, mut outages, mut others, mut challenges) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        // A busy machine has gaps of its own.
        let begun = Instant::now();
        number = talk(&plant, &controller, number, Duration::from_millis(150));
        others.push(at_controller.longest_gap(begun));
        let changed = Instant::now();
        translator.change();
        number = talk(&plant, &controller, number, Duration::from_millis(150));
        until("the session has followed", || {
            number = talk(&plant, &controller, number, Duration::from_millis(1));
            only_peer(&plant).address == translator.seen_from()
        });
        outages.push(at_controller.longest_gap(changed));
        challenges.push(translator.challenges());
        // Each time, because the events of a peer that came lately wait in a short queue.
        let told = std::iter::from_fn(|| events.next(Some(Duration::ZERO)));
        moves.extend(told.filter_map(|event| match event {
            Event::PeerMoved { peer, from, to } if peer == before.id => Some((from, to)),
            _ => None,
        }));
    }
    let (peer, path) = (only_peer(&plant), only_peer(&controller).received.path);
    assert_eq!((peer.id, peer.session), (before.id, before.session));
    assert_eq!(only_peer(&controller).id, of_server.id);
    assert_eq!((moves.len(), moves.last().map(|(_, to)| *to)), (times, Some(peer.address)));
    until("all of the client's messages are there", || at_plant.all().len() as u64 >= number);
    assert_eq!((at_plant.assert_none_came_twice() as u64), number);
    let came = at_controller.assert_none_came_twice();
    challenges.sort_unstable();
    assert!(challenges[0] > 0, "it was asked before it moved");
    let round_trip = path.map(|path| path.rtt_smoothed).unwrap_or_default();
    println!(
        "{endpoint} called at {called}: {times} changes of address at 1 kHz: {number} messages of the client, 0 lost; {came} of {number} of the \
         server arrived; {} challenges in half of the cases, {} at most",
        challenges[times / 2],
        challenges[times - 1],
    );
    print_outages("the same", round_trip, &mut outages, &mut others);
}

/// Prints the longest times without a message beside the limit, two round trips and 10 ms, and beside the longest ones when
/// nothing was changed: a busy machine has gaps of its own.
fn print_outages(what: &str, round_trip: Duration, outages: &mut [Duration], others: &mut [Duration]) {
    outages.sort();
    others.sort();
    let limit = 2 * round_trip + Duration::from_millis(10);
    let [of_changes, of_others] = [&*outages, &*others].map(|all| (all[all.len() / 2], all[all.len() - 1]));
    let within = |all: &[Duration]| all.iter().filter(|gap| **gap <= limit).count();
    println!(
        "verdict: {}: {what}: outage {:?} in half of the cases, {:?} at most; {} of {} within {limit:?} \
         (without a change: {:?}, {:?}; {} of {})",
        if of_changes.1 <= limit { "met" } else { "NOT met" },
        of_changes.0,
        of_changes.1,
        within(outages),
        outages.len(),
        of_others.0,
        of_others.1,
        within(others),
        others.len(),
    );
}

#[test]
fn a_session_follows_a_client_whose_address_is_translated_anew() {
    for (endpoint, called) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.2")] {
        translated(endpoint, called, 4);
    }
    if std::net::UdpSocket::bind("[::1]:0").is_ok() {
        translated("[::]:0", "::1", 4);
    }
}

#[test]
#[ignore = "a hundred changes of address, on each kind of address"]
fn a_session_follows_a_client_whose_address_changes_a_hundred_times() {
    for (endpoint, called) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "::1")] {
        translated(endpoint, called, 100);
    }
}

#[test]
fn an_answer_arrives_from_a_client_that_was_asked_at_its_former_address() {
    let plant = server(secured(Config::server("127.0.0.1:0")));
    let mut translator = Translator::start(address(&plant));
    let controller = client(secured(Config::client(translator.address)));
    controller.send(&1u64, &Metadata::command()).expect("sent");
    assert_eq!(next_number(&plant), 1);
    let former = only_peer(&plant).address;
    let request =
        plant.publisher(Metadata::data()).to(former).request(&7u64, Some(TIME_LIMIT)).expect("sent");
    let question = controller.receive(Some(TIME_LIMIT)).expect("the question");
    translator.change();
    until("the session has followed", || {
        controller.send(&2u64, &Metadata::command()).expect("sent");
        only_peer(&plant).address != former
    });
    controller.reply(&question, &8u64, &Metadata::data()).expect("sent");
    assert_eq!(request.wait().expect("the answer").decode::<u64>(), Ok(8));
}

/// Changes the address of the client's host, which the client must notice by itself.
fn host_changes(times: usize) {
    let Some(cable) = Cable::lay("address of a secured host changed") else { return };
    let plant = cable.at(End::Plant, || {
        let plant = create_udp_server(secured(Config::server("10.77.0.1:9000"))).expect("valid");
        plant.connect().expect("a free port");
        plant
    });
    let controller = cable.at(End::Controller, || {
        // No heartbeat shows it that its address is gone, only what is sent.
        let config = secured(Config::client("10.77.0.1:9000"));
        let config = config.heartbeat_interval(TIME_LIMIT).liveness_timeout(3 * TIME_LIMIT);
        let controller = create_udp_client(config).expect("valid");
        controller.connect().expect("the server answers");
        controller
    });
    let (at_plant, at_controller) =
        (Arrivals::at(&plant, MessageType::Data), Arrivals::at(&controller, MessageType::Status));
    let say = |number: u64| {
        // While its address is gone, the client cannot send.
        let _ = controller.send(&number, &Metadata::data());
        let _ = plant.send(&number, &Metadata::status());
        std::thread::sleep(Duration::from_millis(1));
    };
    let mut number = 0;
    let (mut outages, mut others) = (Vec::new(), Vec::new());
    until("both ends are heard", || {
        say(number);
        number += 1;
        number > 200 && !at_plant.all().is_empty() && !at_controller.all().is_empty()
    });
    let before = only_peer(&plant);
    let mut address = "10.77.0.2/24".to_owned();
    for time in 0..times {
        let next = format!("10.77.0.{}/24", 10 + time % 200);
        let begun = Instant::now();
        for _ in 0..150 {
            say(number);
            number += 1;
        }
        others.push(at_controller.longest_gap(begun));
        // The client is in use meanwhile, and from here on there is an address to go to.
        let is_there = AtomicBool::new(false);
        let there_since = std::thread::scope(|scope| {
            let changing = scope.spawn(|| {
                cable.remove_address(End::Controller, &address);
                cable.add_address(End::Controller, &next);
                is_there.store(true, Ordering::Relaxed);
                Instant::now()
            });
            while !is_there.load(Ordering::Relaxed) {
                say(number);
                number += 1;
            }
            changing.join().expect("it was allowed before")
        });
        let at = next.trim_end_matches("/24").to_owned();
        until("the session has followed", || {
            say(number);
            number += 1;
            only_peer(&plant).address.ip().to_string() == at
        });
        for _ in 0..150 {
            say(number);
            number += 1;
        }
        outages.push(at_controller.longest_gap(there_since));
        address = next;
    }
    let after = only_peer(&plant);
    assert_eq!((after.id, after.session), (before.id, before.session));
    at_plant.assert_none_came_twice();
    at_controller.assert_none_came_twice();
    let path = only_peer(&controller).received.path;
    let round_trip = path.map(|path| path.rtt_smoothed).unwrap_or_default();
    let what = format!("{times} changes of the host's address at 1 kHz, from when the new one was there");
    print_outages(&what, round_trip, &mut outages, &mut others);
}

#[test]
fn a_client_whose_host_has_another_address_keeps_its_session() {
    host_changes(2);
}

#[test]
#[ignore = "a hundred changes of a host's address"]
fn a_client_whose_host_has_a_hundred_addresses_keeps_its_session() {
    host_changes(100);
}
