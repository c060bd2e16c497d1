//! What the kernel drops because nobody reads is counted and told.
#![cfg(target_os = "linux")]

mod common;

use std::time::Duration;

use common::{PATIENCE, client, client_config, server_config, until};
use tautline::{Config, Driver, Event, Events, Metadata, UdpInterface, Wire};

/// So many datagrams pass one that is missing until it is given up as lost.
const WINDOW: u64 = 64;

/// A server with a buffer for very few datagrams, which reads only when told.
fn crowded(wire: Wire) -> (UdpInterface, Driver) {
    let config = server_config(wire).receive_buffer(1).inbox_capacity(0);
    let (server, mut driver) = UdpInterface::caller_driven(config).unwrap();
    driver.connect().unwrap();
    (server, driver)
}

/// A client of it that sends each message in a datagram of its own and says little else.
fn caller(server: &UdpInterface, driver: &mut Driver) -> UdpInterface {
    let config =
        client_config(server).coalescing_delay(Duration::ZERO).liveness_timeout(Duration::from_secs(3600));
    let config = config.heartbeat_interval(Duration::from_secs(60));
    std::thread::scope(|scope| {
        let client = scope.spawn(|| client(config));
        until("it is connected", || {
            driver.turn(Some(Duration::from_millis(1)));
            client.is_finished()
        });
        client.join().unwrap()
    })
}

/// What the next event of this kind says.
fn told(driver: &mut Driver, events: &mut Events) -> (u64, Option<usize>) {
    let mut told = None;
    until("the event comes", || {
        driver.turn(Some(Duration::from_millis(1)));
        if let Some(Event::KernelDropped { dropped, receive_buffer }) = events.next(Some(Duration::ZERO)) {
            told = Some((dropped, receive_buffer));
        }
        told.is_some()
    });
    told.unwrap()
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
    assert!(dropped > 900, "{dropped} although the buffer holds but a few");
    let granted = server.statistics().receive_buffer;
    assert_eq!(told(&mut driver, &mut events), (dropped, granted));
    // Read one by one, so that all that is missing is given up.
    for number in 0..=WINDOW {
        let received = server.statistics().messages_received;
        client.send(&number, &Metadata::data()).unwrap();
        until("it has come", || {
            driver.turn(Some(PATIENCE));
            server.statistics().messages_received > received
        });
    }
    let statistics = server.statistics();
    assert_eq!((statistics.lost, statistics.missing), (statistics.kernel_drops, 0));
    assert_eq!(client.statistics().messages_sent, statistics.messages_received + statistics.kernel_drops);
    assert_eq!(serde_json::to_value(statistics).unwrap()["kernel_drops"], dropped);
}

#[test]
fn what_the_kernel_dropped_stays_counted_when_the_connection_ends() {
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
    // Nobody has asked for these before the end.
    server.disconnect();
    let both = server.statistics().kernel_drops;
    assert!(both > first && both < 200, "{first}, then {both}");
}

#[test]
fn a_buffer_that_is_large_enough_drops_nothing() {
    let (server, mut driver) = UdpInterface::caller_driven(Config::server("127.0.0.1:0")).unwrap();
    driver.connect().unwrap();
    let mut events = server.events();
    let client = caller(&server, &mut driver);
    for number in 0..20 {
        client.send(&number, &Metadata::data()).unwrap();
    }
    until("all came", || {
        driver.turn(Some(Duration::from_millis(1)));
        server.statistics().messages_received == 20
    });
    assert_eq!(server.statistics().kernel_drops, 0);
    while let Some(event) = events.next(Some(Duration::ZERO)) {
        assert!(!matches!(event, Event::KernelDropped { .. }), "{event:?}");
    }
}
