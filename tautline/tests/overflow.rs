//! Datagrams that the kernel drops because nobody reads are counted, and reported by an event.
#![cfg(target_os = "linux")]

mod common;

use std::time::Duration;

use common::{TIME_LIMIT, client, client_config, server_config, until};
use tautline::{Config, Driver, Event, Events, Metadata, UdpInterface, Wire};

/// The size of the sequence window: after this many newer datagrams, a missing number counts as lost.
const WINDOW: u64 = 64;

/// Returns a caller-driven server whose socket buffer holds very few datagrams.
fn crowded(wire: Wire) -> (UdpInterface, Driver) {
    let config = server_config(wire).receive_buffer(1).inbox_capacity(0);
    let (server, mut driver) = UdpInterface::caller_driven(config).unwrap();
    driver.connect().unwrap();
    (server, driver)
}

/// Returns a client of `server` that sends each message in its own datagram, and few heartbeats.
fn caller(server: &UdpInterface, driver: &mut Driver) -> UdpInterface {
    let config =
        client_config(server).coalescing_delay(Duration::ZERO).liveness_timeout(Duration::from_secs(3600));
    let config = config.heartbeat_interval(Duration::from_secs(60));
    std::thread::scope(|scope| {
        let client = scope.spawn(|| client(config));
        until("the client is connected", || {
            driver.turn(Some(Duration::from_millis(1)));
            client.is_finished()
        });
        client.join().unwrap()
    })
}

/// Turns until the next `KernelDropped` event. Returns its number of datagrams and the size of the socket buffer.
fn kernel_dropped(driver: &mut Driver, events: &mut Events) -> (u64, Option<usize>) {
    let mut found = None;
    until("the event comes", || {
        driver.turn(Some(Duration::from_millis(1)));
        if let Some(Event::KernelDropped { dropped, receive_buffer }) = events.next(Some(Duration::ZERO)) {
            found = Some((dropped, receive_buffer));
        }
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_server_that_does_not_read_counts_what_the_kernel_drops() {
    let (server, mut driver) = crowded(Wire::Native);
    let client = caller(&server, &mut driver);
    let mut events = server.events();
    for number in 0..1000 {
        client.send(&number, &Metadata::data()).unwrap();
    }
    let dropped = server.statistics().kernel_drops;
    assert!(dropped > 900, "only {dropped} were dropped, although the buffer holds few");
    let granted = server.statistics().receive_buffer;
    assert_eq!(kernel_dropped(&mut driver, &mut events), (dropped, granted));
    // These are read one by one, so that all missing numbers count as lost.
    for number in 0..=WINDOW {
        let received = server.statistics().messages_received;
        client.send(&number, &Metadata::data()).unwrap();
        until("the message has arrived", || {
            driver.turn(Some(TIME_LIMIT));
            server.statistics().messages_received > received
        });
    }
    let statistics = server.statistics();
    assert_eq!((statistics.lost, statistics.missing), (statistics.kernel_drops, 0));
    // Each dropped datagram was a message, or a heartbeat.
    let sent = client.statistics();
    let known = statistics.messages_received + statistics.kernel_drops;
    assert!((sent.messages_sent..=sent.datagrams_sent).contains(&known), "{known} of {sent:?}");
    assert_eq!(serde_json::to_value(statistics).unwrap()["kernel_drops"], dropped);
}

#[test]
fn kernel_drops_stay_counted_when_the_connection_ends() {
    let (server, mut driver) = crowded(Wire::Classic);
    let flood = |server: &UdpInterface| {
        let peer = common::RawPeer::of(server);
        (0..100).for_each(|number| peer.command(number, 1.0, "1"));
    };
    flood(&server);
    let first = server.statistics().kernel_drops;
    assert!(first > 0);
    server.disconnect();
    server.disconnect();
    assert_eq!(server.statistics().kernel_drops, first);
    driver.connect().unwrap();
    assert_eq!(server.statistics().kernel_drops, first);
    flood(&server);
    // The statistics were not read between these drops and the end of the connection.
    server.disconnect();
    let both = server.statistics().kernel_drops;
    assert!(both > first && both < 200, "{first}, then {both}");
}

#[test]
fn a_large_enough_buffer_drops_nothing() {
    let (server, mut driver) = UdpInterface::caller_driven(Config::server("127.0.0.1:0")).unwrap();
    driver.connect().unwrap();
    let mut events = server.events();
    let client = caller(&server, &mut driver);
    for number in 0..20 {
        client.send(&number, &Metadata::data()).unwrap();
    }
    until("all messages have arrived", || {
        driver.turn(Some(Duration::from_millis(1)));
        server.statistics().messages_received == 20
    });
    assert_eq!(server.statistics().kernel_drops, 0);
    while let Some(event) = events.next(Some(Duration::ZERO)) {
        assert!(!matches!(event, Event::KernelDropped { .. }), "{event:?}");
    }
}
