//! Many peers in another process that dies at one stroke.

#[path = "common/children.rs"]
mod children;
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{TIME_LIMIT, address, client, server, server_config, until};
use tautline::{Config, MessageType, Metadata, Watchdog, WatchdogChange, Wire};

const PEERS: usize = 50;

/// The child process: the clients, which send commands until the process is killed.
#[test]
#[ignore = "a child of the other test"]
fn fifty_clients() {
    let Some(to) = children::order() else { return };
    // In the background: on a busy machine, one after the other would take long.
    let config = || Config::client(to.as_str()).name("controller").connect_timeout(Duration::ZERO);
    let connect = |_| client(config());
    let clients: Vec<_> = (0..PEERS).map(connect).collect();
    loop {
        for client in &clients {
            // An error is the end of the server.
            let _ = client.send(&1, &Metadata::command());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_failsafe_is_told_of_each_of_fifty_peers_that_stopped() {
    let server = server(server_config(Wire::Native));
    let tripped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tripped);
    let each = Watchdog::messages(MessageType::Command, Duration::from_millis(50)).each_peer();
    server
        .watch(each, move |event| {
            count.fetch_add(
                usize::from(matches!(event.change, WatchdogChange::Tripped { .. })),
                Ordering::SeqCst,
            );
        })
        .expect("possible");
    let child = children::start("fifty_clients", &address(&server).to_string());
    // Fifty handshakes in one process take their time on a busy machine.
    let deadline = Instant::now() + 5 * TIME_LIMIT;
    while server.watchdogs().len() < PEERS {
        while server.receive(Some(Duration::ZERO)).is_ok() {}
        assert!(Instant::now() < deadline, "{} peers of {PEERS} command", server.watchdogs().len());
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(child);
    until("all peers are told", || tripped.load(Ordering::SeqCst) >= PEERS);
}
