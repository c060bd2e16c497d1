//! One end of the link, in a process of its own. It sends at a steady rate and receives. It answers each line on its standard
//! input with a line of JSON.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tautline::{Config, Metadata, SendError, UdpInterface, create_udp_client, create_udp_server};

use crate::figures;

/// One message in this number is sent reliably.
const RELIABLE_EVERY: u64 = 100;

/// The counts of the end's own threads, to compare with the statistics of the interface.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    reliable: AtomicU64,
    refused: AtomicU64,
    taken: AtomicU64,
    resting: AtomicBool,
}

/// Runs the end until its input ends.
pub(crate) fn run(role: &str, address: &str, rate: f64) {
    let interface = connect(role, address);
    println!("{}", interface.local_address().expect("connected"));
    let counts = Arc::new(Counts::default());
    for act in [send as fn(&UdpInterface, &Counts, f64), receive] {
        let (interface, counts) = (interface.clone(), Arc::clone(&counts));
        std::thread::spawn(move || act(&interface, &counts, rate));
    }
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if line == "rest" {
            counts.resting.store(true, Ordering::Relaxed);
        } else {
            println!("{}", answer(&interface, &counts));
            std::io::stdout().flush().expect("the parent reads the answer");
        }
    }
    interface.cleanup();
}

fn connect(role: &str, address: &str) -> UdpInterface {
    // The liveness time-out is longer than the cuts, so that one session lasts. Its sequence numbers are compared at the end.
    // Nothing is probed at this size: the loss of a probe is neither received nor lost.
    let prepared = |config: Config| config.name(role).liveness_timeout(Duration::from_secs(5)).mtu(1_228);
    let interface = match role {
        "plant" => create_udp_server(prepared(Config::server(address))),
        _ => create_udp_client(prepared(Config::client(address)).connect_timeout(Duration::from_secs(20))),
    };
    let interface = interface.expect("a valid configuration");
    interface.connect().expect("the other end answers");
    interface
}

fn send(interface: &UdpInterface, counts: &Counts, rate: f64) {
    let begun = Instant::now();
    for number in 0u64.. {
        if counts.resting.load(Ordering::Relaxed) {
            return;
        }
        let due = Duration::from_secs_f64(number as f64 / rate);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let outcome = if number % RELIABLE_EVERY == 0 {
            let receipt = interface.publisher(Metadata::configuration()).send_reliable(&number);
            receipt.map(|_| counts.reliable.fetch_add(1, Ordering::Relaxed))
        } else {
            interface.send(&[0.5, number as f64], &Metadata::command()).map(|_| 0)
        };
        match outcome {
            Ok(_) => counts.sent.fetch_add(1, Ordering::Relaxed),
            // The plant has no peer before its controller connects.
            Err(SendError::NoPeers) => 0,
            Err(_) => counts.refused.fetch_add(1, Ordering::Relaxed),
        };
    }
}

fn receive(interface: &UdpInterface, counts: &Counts, _: f64) {
    while interface.receive(None).is_ok() {
        counts.taken.fetch_add(1, Ordering::Relaxed);
    }
}

fn answer(interface: &UdpInterface, counts: &Counts) -> serde_json::Value {
    let peers = interface.peers();
    let received: u64 = peers.iter().map(|peer| peer.received.datagrams).sum();
    let sent: u64 = peers.iter().map(|peer| peer.sent.datagrams).sum();
    let own = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let statistics = interface.statistics();
    let deliveries = statistics.deliveries;
    let ended = deliveries.delivered
        + deliveries.expired
        + deliveries.abandoned
        + deliveries.peer_lost
        + deliveries.unknown;
    json!({
        "memory_kb": figures::resident_kb(),
        "descriptors": figures::descriptors(),
        "threads": figures::threads(),
        "sessions": peers.len(),
        "peer_sent": sent,
        "peer_received": received,
        "own_sent": own(&counts.sent),
        "own_refused": own(&counts.refused),
        "own_reliable": own(&counts.reliable),
        "own_taken": own(&counts.taken),
        "inbox_offered": statistics.inbox.offered(),
        "reliable_waiting": deliveries.waiting,
        "reliable_ended": ended,
        "reliable_delivered": deliveries.delivered,
        "statistics": statistics,
    })
}
