//! Nothing is left behind: threads, descriptors and memory of this very process are counted, so the tests here
//! run one at a time and have a test program of their own.

#![cfg(target_os = "linux")] // where /proc tells
#![allow(clippy::print_stdout)] // figures

mod common;

use std::sync::{Barrier, Mutex, PoisonError};

use common::{PATIENCE, WIRES, address, client, client_config, server, server_config, until};
use tautline::{Metadata, UdpInterface, Wire, create_udp_client};

/// Held by the test that is counting.
static COUNTING: Mutex<()> = Mutex::new(());

/// What the process holds: sockets and wake-up descriptors, and the library's threads, all named after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
}

fn held() -> Held {
    let entries = |path: &str| std::fs::read_dir(path).expect("Linux has it").filter_map(Result::ok);
    // What is gone before it is looked at does not count.
    let is_ours = |name: String| name.starts_with("socket:") || name.contains("eventfd");
    let names = entries("/proc/self/fd").filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let descriptors = names.filter(|name| is_ours(name.to_string_lossy().into_owned())).count();
    let names = entries("/proc/self/task")
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok());
    let threads = names.filter(|name| name.starts_with("tautline-")).count();
    Held { descriptors, threads }
}

impl Held {
    /// These, and those of so many connections: a socket, a wake-up descriptor and a thread each.
    fn and(self, connections: usize) -> Self {
        Self { descriptors: self.descriptors + 2 * connections, threads: self.threads + connections }
    }
}

/// Resident memory, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    kilobytes.and_then(|count| count.trim().parse::<usize>().ok()).expect("its format") * 1024
}

#[test]
fn concurrent_connects_leak_sockets() {
    let _counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    for wire in WIRES {
        let before = held();
        let server = server(server_config(wire));
        let client = create_udp_client(client_config(&server)).unwrap();
        for _ in 0..20 {
            let start = Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        client.connect().unwrap();
                    });
                }
            });
            until("the server's and one of the client", || held() == before.and(2));
            client.disconnect();
            until("the server's alone", || held() == before.and(1));
        }
    }
}

/// In so many cycles one lasts until a message has come; the others end while datagrams are under way.
const HEARD_EVERY: usize = 5;

/// Connects and disconnects a server `cycles` times on one port while a client keeps calling and sending.
fn cycles_under_traffic(wire: Wire, cycles: usize) {
    let _counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = held();
    let server = server(server_config(wire));
    let fixed = server_config(wire).endpoint(address(&server).to_string());
    let client = client(client_config(&server));
    server.disconnect();
    server.connect_with(fixed).unwrap();
    let mut resident_before = 0;
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| keep_sending(&client, &server));
        for cycle in 0..cycles {
            server.disconnect();
            server.connect().unwrap();
            if cycle % HEARD_EVERY == 0 {
                // The client finds it again, whatever the cycle.
                server.receive(Some(PATIENCE)).unwrap();
            }
            if cycle == cycles / 5 {
                resident_before = resident();
            }
        }
        server.cleanup();
        traffic.join().expect("no panic");
    });
    let grown = resident().saturating_sub(resident_before);
    println!(
        "{cycles} cycles ({wire}), {} messages received: {:?}, grown by {} kB",
        server.statistics().messages_received,
        held(),
        grown / 1024
    );
    client.cleanup();
    drop((server, client));
    until("nothing is left", || held() == before);
    assert!(grown < 8 << 20, "resident memory grew by {grown} bytes");
}

fn keep_sending(client: &UdpInterface, server: &UdpInterface) {
    while server.connection_state() != tautline::ConnectionState::Closed {
        // Refused, unknown, queued: whatever, but no panic and no end.
        let _ = client.send(&[0.5; 8], &Metadata::command());
        std::thread::yield_now();
    }
}

#[test]
fn connect_cycles_on_one_port_under_traffic_leak_nothing() {
    WIRES.into_iter().for_each(|wire| cycles_under_traffic(wire, 250));
}

/// `cargo test --release -p tautline --test must_show --test leaks -- --ignored --nocapture`
#[test]
#[ignore = "the full length, in release"]
fn ten_thousand_connect_cycles_on_one_port_under_traffic_leak_nothing() {
    WIRES.into_iter().for_each(|wire| cycles_under_traffic(wire, 10_000));
}
