//! Secured links over sockets: who gets in, what each may do, and what the others are told.
#![cfg(feature = "secure")]

mod common;
#[path = "common/key_files.rs"]
mod files;

use std::time::Duration;

use common::{
    TIME_LIMIT, address, assert_nothing_waits, client, client_config, next, next_number, server,
    server_config, until,
};
use files::{FIRST, Folder, SECOND};
use tautline::{
    Config, ConnectError, DropReason, Event, KeyHolder, MessageType, Metadata, Outcome, SecretKey, SendError,
    UdpInterface, Watchdog, WatchdogState, Wire, create_udp_client,
};

fn key(text: &str) -> SecretKey {
    text.parse().expect("a key")
}

fn secured_server() -> Config {
    server_config(Wire::Native).key(key(FIRST))
}

/// A server that knows a controller, an HMI that observes, and a sensor that sends its status.
fn server_of_many() -> Config {
    let of = |text| KeyHolder::of_keys([key(text)]);
    server_config(Wire::Native)
        .key_holder("controller", of(FIRST).may_command())
        .key_holder("hmi", of(SECOND).may_observe())
        .key_holder("sensor", KeyHolder::of_keys([sensor_key()]).may_send([MessageType::Status]))
}

fn sensor_key() -> SecretKey {
    SecretKey::from(std::array::from_fn(|index| u8::try_from(index * 3).expect("below 96")))
}

/// Returns why a client of this configuration cannot connect.
fn refusal(config: Config) -> ConnectError {
    let client = create_udp_client(config.connect_timeout(TIME_LIMIT)).expect("a valid configuration");
    client.connect().expect_err("it is not let in")
}

fn datagrams_dropped(interface: &UdpInterface, reason: DropReason) -> u64 {
    interface.statistics().datagrams_dropped.of(reason)
}

#[test]
fn two_ends_with_one_key_talk_and_know_that_they_are_secured() {
    let plant = server(secured_server());
    let controller = client(client_config(&plant).key(key(FIRST)));
    for number in 0..100u64 {
        controller.send(&number, &Metadata::command()).expect("sent");
        assert_eq!(next_number(&plant), number);
        plant.send(&number, &Metadata::status()).expect("sent");
        assert_eq!(next_number(&controller), number);
    }
    let large = "x".repeat(200_000);
    let limit = |config: Config| config.max_message_size(300_000);
    let plant = server(limit(secured_server()));
    let controller = client(limit(client_config(&plant).key(key(FIRST))));
    let receipt = controller.publisher(Metadata::data()).send_reliable(&large).expect("sent");
    assert_eq!(receipt.wait(Some(TIME_LIMIT)), Some(Outcome::Delivered));
    assert_eq!(next(&plant).decode::<String>().as_deref(), Ok(large.as_str()));
    for end in [&plant, &controller] {
        let peer = &end.peers()[0];
        assert_eq!(peer.identity.as_deref(), Some(""), "a shared key names nobody");
    }
    let plain = server(server_config(Wire::Native));
    let _client = client(client_config(&plain));
    assert_eq!(plain.peers()[0].identity, None);
}

#[test]
fn a_client_whose_key_the_server_does_not_know_is_told_and_counted() {
    let plant = server(secured_server());
    let mut events = plant.events();
    let server_address = address(&plant);
    assert_eq!(
        refusal(client_config(&plant).key(key(SECOND))),
        ConnectError::KeyNotAccepted { server: server_address, server_is_secured: true }
    );
    assert!(datagrams_dropped(&plant, DropReason::UnknownKey) >= 1);
    assert!(plant.peers().is_empty());
    let told = std::iter::from_fn(|| events.next(Some(Duration::ZERO)));
    let told =
        told.filter(|event| matches!(event, Event::NotLetIn { reason: DropReason::UnknownKey, .. })).count();
    assert!((1..=20).contains(&told), "{told} events");
}

#[test]
fn a_client_without_a_key_is_told_that_the_server_is_secured() {
    let plant = server(secured_server());
    let server_address = address(&plant);
    let error = refusal(client_config(&plant));
    assert_eq!(error, ConnectError::KeyNeeded { server: server_address });
    assert!(error.to_string().contains("takes secured clients only"), "{error}");
    assert!(plant.peers().is_empty());
}

#[test]
fn a_client_with_a_key_is_told_that_the_server_has_none() {
    let plant = server(server_config(Wire::Native));
    let server_address = address(&plant);
    let error = refusal(client_config(&plant).key(key(FIRST)));
    assert_eq!(error, ConnectError::KeyNotAccepted { server: server_address, server_is_secured: false });
    assert!(datagrams_dropped(&plant, DropReason::Secured) >= 1);
    assert!(plant.peers().is_empty());
}

#[test]
fn the_key_decides_who_a_peer_is_and_what_it_may_send() {
    let plant = server(server_of_many());
    // Names are what each end says of itself: they decide nothing.
    let controller = client(client_config(&plant).name("hmi").key(key(FIRST)));
    let hmi = client(client_config(&plant).name("controller").key(key(SECOND)));
    let sensor = client(client_config(&plant).key(sensor_key()));

    controller.send(&1u64, &Metadata::command()).expect("it may");
    let command = next(&plant);
    assert_eq!((command.identity(), command.source()), (Some("controller"), "hmi"));
    sensor.send(&2u64, &Metadata::status()).expect("it may");
    assert_eq!(next(&plant).identity(), Some("sensor"));

    assert!(controller.may_send(MessageType::Command) && sensor.may_send(MessageType::Status));
    assert!(plant.may_send(MessageType::Command));
    let refused =
        |end: &UdpInterface, metadata: &Metadata| end.send(&3u64, metadata).expect_err("it may not");
    for (end, metadata, message_type) in [
        (&hmi, Metadata::command(), MessageType::Command),
        (&hmi, Metadata::status(), MessageType::Status),
        (&sensor, Metadata::command(), MessageType::Command),
    ] {
        let error = refused(end, &metadata);
        let SendError::NotAllowed { message_type: of, .. } = &error else { panic!("{error}") };
        assert_eq!(*of, message_type);
        assert!(!error.is_transient() && !end.may_send(message_type));
        assert!(end.publisher(metadata).send_reliable(&3u64).is_err());
    }
    assert_nothing_waits(&plant);

    // Whoever may send nothing is in the link all the same.
    plant.send(&4u64, &Metadata::status()).expect("sent");
    for end in [&controller, &hmi, &sensor] {
        assert_eq!(next_number(end), 4);
    }
    let mut identities: Vec<_> =
        plant.peers().iter().map(|peer| peer.identity.as_deref().map(str::to_owned)).collect();
    identities.sort();
    assert_eq!(identities, ["controller", "hmi", "sensor"].map(|name| Some(name.to_owned())));
}

#[test]
fn a_watchdog_of_an_identity_heeds_its_peers_alone() {
    let plant = server(server_of_many());
    let watchdog = Watchdog::messages(MessageType::Status, Duration::from_millis(100)).of_identity("sensor");
    let (sender, told) = std::sync::mpsc::channel();
    plant
        .watch(watchdog, move |event| _ = sender.send((event.watched.identity, event.state())))
        .expect("a watchdog");
    let controller = client(client_config(&plant).key(key(FIRST)));
    let sensor = client(client_config(&plant).key(sensor_key()));
    controller.send(&1u64, &Metadata::status()).expect("sent");
    assert_eq!(next_number(&plant), 1);
    assert!(told.try_recv().is_err(), "the controller is not the sensor");
    sensor.send(&2u64, &Metadata::status()).expect("sent");
    assert_eq!(told.recv_timeout(TIME_LIMIT), Ok((Some("sensor"), WatchdogState::Armed)));
    // The sensor stops. What the controller sends does not hide it.
    let mut tripped = None;
    until("the watchdog trips", || {
        controller.send(&3u64, &Metadata::status()).expect("sent");
        tripped = told.try_recv().ok();
        tripped.is_some()
    });
    assert_eq!(tripped, Some((Some("sensor"), WatchdogState::Tripped)));

    // Another session of the same identity counts too.
    sensor.cleanup();
    let sensor = client(client_config(&plant).key(sensor_key()));
    sensor.send(&4u64, &Metadata::status()).expect("sent");
    assert_eq!(told.recv_timeout(TIME_LIMIT), Ok((Some("sensor"), WatchdogState::Armed)));
}

#[test]
fn a_latch_is_reset_by_an_identity_and_not_by_who_claims_its_name() {
    let holder = |text| KeyHolder::of_keys([key(text)]);
    let panel = holder(SECOND).may_send([MessageType::Configuration]);
    let plant = server(
        server_config(Wire::Native)
            .key_holder("controller", holder(FIRST).may_command())
            .key_holder("panel", panel),
    );
    let watchdog = Watchdog::messages(MessageType::Command, Duration::from_millis(50))
        .latches()
        .reset_by(MessageType::Configuration, "panel");
    let (sender, told) = std::sync::mpsc::channel();
    plant.watch(watchdog, move |event| _ = sender.send(event.state())).expect("a watchdog");
    let controller = client(client_config(&plant).name("panel").key(key(FIRST)));
    let panel = client(client_config(&plant).name("somebody").key(key(SECOND)));
    let wait_for = |state| while told.recv_timeout(TIME_LIMIT).expect("it is told") != state {};
    controller.send(&1u64, &Metadata::command()).expect("sent");
    wait_for(WatchdogState::Tripped);
    let go_on = |from: &UdpInterface| from.send("go on", &Metadata::configuration()).expect("it may");
    go_on(&controller);
    until("it is handed out", || plant.statistics().messages_received >= 2);
    assert_eq!(plant.watchdogs()[0].state, WatchdogState::Tripped);
    // Where the system does not tell when a datagram came, a reset that is read late may seem older than the trip. So it is sent again.
    until("the reset", || {
        go_on(&panel);
        std::thread::sleep(Duration::from_millis(10));
        told.try_iter().any(|state| state == WatchdogState::Waiting)
    });
}

#[test]
fn keys_are_replaced_without_an_outage_and_removed_ones_end_their_sessions() {
    let folder = Folder::new("replaced");
    let at_plant = folder.file("plant.key", FIRST);
    let at_controller = folder.file("controller.key", FIRST);
    let plant = server(server_config(Wire::Native).key_file(at_plant.as_path()));
    let controller = client(client_config(&plant).key_file(at_controller.as_path()));
    let mut events = plant.events();
    let says = |number: u64| {
        controller.send(&number, &Metadata::command()).expect("sent");
        assert_eq!(next_number(&plant), number);
    };
    says(1);

    // A file that cannot be read changes nothing.
    folder.file("plant.key", "not a key");
    let error = plant.reload_keys().expect_err("no key").to_string();
    assert!(error.contains("is not base64"), "{error}");
    says(2);

    folder.file("plant.key", format!("{FIRST}\n{SECOND}"));
    plant.reload_keys().expect("both keys");
    says(3);
    let before = plant.peers()[0].session;
    let mut replaced = plant.events();
    folder.file("controller.key", SECOND);
    controller.reload_keys().expect("the new key");
    says(4);
    // The new key takes over in the session, which goes on.
    let mut waiting = std::iter::from_fn(|| replaced.next(Some(TIME_LIMIT)));
    assert!(waiting.any(|event| matches!(event, Event::KeyReplaced { .. })), "not told");
    assert_eq!(plant.peers()[0].session, before);
    says(5);
    folder.file("plant.key", SECOND);
    plant.reload_keys().expect("the new key");
    says(6);

    // The holder of a removed key is out, and is told why.
    folder.file("plant.key", "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pgg=");
    let mut at_controller = controller.events();
    plant.reload_keys().expect("another key");
    until("the peer is gone", || plant.peers().is_empty());
    let is_removed = |event: &Event| matches!(event, Event::PeerDisconnected { reason, .. } if reason.name() == "key_removed");
    for events in [&mut events, &mut at_controller] {
        let mut waiting = std::iter::from_fn(|| events.next(Some(TIME_LIMIT)));
        assert!(waiting.any(|event| is_removed(&event)), "not told");
    }
}
