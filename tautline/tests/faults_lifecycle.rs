//! Connecting, disconnecting, states and statistics: faults of the Python module that this library does not have, and
//! related situations. Each test is named after what holds here.

mod common;

use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};

use common::{
    RawPeer, TIME_LIMIT, WIRES, address, client, client_config, lines_logged, next_number, pair, sealed,
    server, server_config, until,
};
use tautline::{
    Cause, Config, ConnectError, ConnectionState, DropReason, Event, Handler, MessageType, Metadata,
    ReceiveError, SendError, UdpInterface, Wire, create_udp_client, create_udp_server,
};

#[test]
fn a_client_that_hears_its_server_waits_between_turns() {
    for wire in WIRES {
        let server = server(server_config(wire));
        let config = client_config(&server).liveness_timeout(Duration::from_millis(300));
        let (_client, mut driver) = UdpInterface::caller_driven(config).unwrap();
        driver.connect().unwrap();
        let (mut turns, end) = (0, Instant::now() + Duration::from_millis(900));
        while Instant::now() < end {
            driver.turn(Some(Duration::from_millis(50)));
            turns += 1;
        }
        // Heartbeats and probes come meanwhile. A turn that does not wait takes some microseconds.
        assert!(turns < 500, "{turns} turns on the {wire:?} wire");
    }
}

#[test]
fn statistics_have_every_name_of_the_python_module() {
    let (_server, client) = pair(Wire::Classic);
    let statistics = serde_json::to_value(client.statistics()).expect("numbers and text");
    for name in [
        "messages_sent",
        "messages_received",
        "bytes_sent",
        "bytes_received",
        "crc_errors",
        "sequence_errors",
        "timeouts",
        "last_activity",
        "connection_state",
        "sequence_number",
        "expected_sequence",
    ] {
        assert!(statistics.get(name).is_some(), "{name} is missing in {statistics}");
    }
}

#[test]
fn each_receive_that_runs_into_its_time_out_is_counted() {
    let (server, client) = pair(Wire::Classic);
    let soon = Some(Duration::from_millis(1));
    for count in 1..=3 {
        assert_eq!(server.receive(soon).map(drop), Err(ReceiveError::TimedOut));
        // A poll waits for nothing.
        assert_eq!(server.receive(Some(Duration::ZERO)).map(drop), Err(ReceiveError::TimedOut));
        assert_eq!(server.statistics().timeouts, count);
    }
    client.send(&1, &Metadata::data()).expect("connected");
    server.receive(Some(TIME_LIMIT)).expect("it was sent");
    server.disconnect();
    assert_eq!(server.receive(soon).map(drop), Err(ReceiveError::NotConnected));
    assert_eq!(server.statistics().timeouts, 3);

    let config = server_config(Wire::Classic);
    let (interface, mut driver) = UdpInterface::caller_driven(config).expect("a valid configuration");
    driver.connect().expect("a free port");
    for timeout in [soon, Some(Duration::ZERO)] {
        assert_eq!(driver.receive(timeout).map(drop), Err(ReceiveError::TimedOut));
    }
    assert_eq!(interface.statistics().timeouts, 1);
}

#[test]
fn statistics_are_a_snapshot() {
    let (server, client) = pair(Wire::Classic);
    let mut before = client.statistics();
    client.send(&1, &Metadata::data()).unwrap();
    next_number(&server);
    assert_eq!(before.messages_sent, 0, "statistics do not change after they were read");
    before.messages_sent = 77;
    assert_eq!(client.statistics().messages_sent, 1, "changing them does not change the counts: {before:?}");
}

#[test]
fn cleanup_succeeds_at_any_time_and_more_than_once() {
    let never_connected = create_udp_server(server_config(Wire::Native)).unwrap();
    never_connected.cleanup();
    assert_eq!(never_connected.connection_state(), ConnectionState::Closed);
    for wire in WIRES {
        let (server, client) = pair(wire);
        for interface in [&client, &server] {
            interface.cleanup();
            interface.cleanup();
            assert_eq!(interface.connection_state(), ConnectionState::Closed);
            assert_eq!(interface.connect(), Err(ConnectError::Closed));
            assert_eq!(interface.send(&1, &Metadata::data()), Err(SendError::NotConnected));
            assert_eq!(interface.receive(None).map(drop), Err(ReceiveError::NotConnected));
        }
    }
}

#[test]
fn disconnect_wakes_waiting_receivers() {
    let (server, _client) = pair(Wire::Native);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let task = runtime.spawn({
        let wait = server.receive_async();
        async move { wait.await.map(drop) }
    });
    let threads: Vec<_> = [None, Some(TIME_LIMIT * 10)]
        .into_iter()
        .map(|timeout| {
            let server = server.clone();
            std::thread::spawn(move || server.receive(timeout).map(drop))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(20)); // a thread that does not wait yet gets NotConnected
    server.disconnect();
    let answers = threads.into_iter().map(|thread| thread.join().unwrap());
    for answer in answers.chain([runtime.block_on(task).unwrap()]) {
        assert!(matches!(answer, Err(ReceiveError::Disconnected | ReceiveError::NotConnected)), "{answer:?}");
    }
}

#[test]
fn a_port_can_be_used_again_at_once() {
    for wire in WIRES {
        let server = server(server_config(wire));
        let fixed = server_config(wire).endpoint(address(&server).to_string());
        server.disconnect();
        server.connect_with(fixed.clone()).unwrap();
        for _ in 0..20 {
            server.disconnect();
            server.connect().unwrap();
        }
        // Another interface can use the port at once, too.
        server.disconnect();
        let other = create_udp_server(fixed).unwrap();
        other.connect().unwrap();
        let client = client(client_config(&other));
        client.send(&1, &Metadata::data()).unwrap();
        assert_eq!(next_number(&other), 1);
    }
}

#[test]
fn concurrent_connects_share_one_result() {
    let server = server(server_config(Wire::Native));
    let client = create_udp_client(client_config(&server)).unwrap();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                client.connect().unwrap();
            });
        }
    });
    assert_eq!(server.statistics().peers, 1, "one connection was made");

    let taken =
        create_udp_server(server_config(Wire::Native).endpoint(address(&server).to_string())).unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| taken.connect())).collect();
        for thread in threads {
            assert!(matches!(thread.join().unwrap(), Err(ConnectError::Socket { .. })));
        }
    });
}

/// The server's loop stops turning, as in a program that hangs.
#[test]
fn a_dead_peer_shows_in_states_and_events() {
    let config = server_config(Wire::Native).heartbeat_interval(Duration::from_millis(10));
    let (plant, mut driver) = UdpInterface::caller_driven(config).unwrap();
    driver.connect().unwrap();
    let config = client_config(&plant)
        .heartbeat_interval(Duration::from_millis(10))
        .liveness_timeout(Duration::from_millis(60))
        .connect_timeout(Duration::ZERO);
    let controller = create_udp_client(config).unwrap();
    let mut events = controller.events();
    controller.connect().unwrap();
    while controller.connection_state() != ConnectionState::Connected {
        driver.turn(Some(Duration::from_millis(5)));
    }
    assert!(controller.wait_for_state(ConnectionState::Reconnecting, Some(TIME_LIMIT)));
    let peer = controller.peers()[0].id;
    assert_eq!(controller.peer(peer).unwrap().state, ConnectionState::Reconnecting);
    while controller.connection_state() != ConnectionState::Connected {
        driver.turn(Some(Duration::from_millis(5)));
    }
    let seen: Vec<_> = std::iter::from_fn(|| events.next(Some(Duration::ZERO))).collect();
    let place = |wanted: &Event| seen.iter().position(|event| event == wanted).expect("published");
    assert!(place(&Event::PeerStale { peer }) < place(&Event::PeerSilent { peer }), "{seen:?}");
    let change = |from, to, cause| Event::StateChanged { from, to, cause };
    let stale = change(ConnectionState::Connected, ConnectionState::Stale, Cause::Stale);
    let lost = change(ConnectionState::Stale, ConnectionState::Reconnecting, Cause::Silent);
    assert!(place(&stale) < place(&lost), "{seen:?}");
    // The cause may be either: the server goes on with the old session, or answers a hello with a new session.
    let (from, to) = (ConnectionState::Reconnecting, ConnectionState::Connected);
    let returned = |event: &Event| matches!(event, Event::StateChanged { from: was, to: is, .. } if (*was, *is) == (from, to));
    assert!(seen.iter().any(returned), "{seen:?}");
}

/// Watchdogs are tested elsewhere. This is what the application itself can see: the state, and a wait that ends.
#[test]
fn a_controller_sees_that_its_data_has_stopped() {
    let config = server_config(Wire::Native).heartbeat_interval(Duration::from_millis(10));
    let plant = server(config);
    let config = client_config(&plant)
        .heartbeat_interval(Duration::from_millis(10))
        .liveness_timeout(Duration::from_millis(60));
    let controller = client(config);
    assert!(controller.connection_state().can_send());
    plant.disconnect();
    assert!(controller.wait_for_state(ConnectionState::Reconnecting, Some(TIME_LIMIT)));
    assert_eq!(controller.receive(Some(Duration::from_millis(5))).map(drop), Err(ReceiveError::TimedOut));
}

#[test]
fn a_handler_that_hangs_does_not_delay_dropping() {
    let server = server(server_config(Wire::Native));
    // The handler hangs, because it is never released.
    let (_hang, hung) = std::sync::mpsc::channel::<()>();
    let hung = std::sync::Mutex::new(hung);
    let (began, begins) = std::sync::mpsc::channel();
    server.register_message_handler(
        MessageType::Command,
        Handler::blocking(move |_, _| {
            began.send(()).unwrap();
            let _ = hung.lock().unwrap().recv();
        }),
    );
    let client = client(client_config(&server));
    client.send(&1, &Metadata::command()).unwrap();
    begins.recv_timeout(TIME_LIMIT).unwrap();
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < Duration::from_secs(1), "dropping it took {:?}", begun.elapsed());
}

#[test]
fn a_flood_of_bad_datagrams_logs_few_lines() {
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let begun = Instant::now();
    let lines = lines_logged(|| {
        let stranger = RawPeer::of(&server);
        for number in 0..2000 {
            let mut datagram = sealed(number, 1.0, "1");
            datagram[30] ^= 4;
            stranger.send(&datagram);
            driver.turn(Some(TIME_LIMIT));
        }
    });
    assert_eq!(server.statistics().crc_errors(), 2000);
    let seconds = begun.elapsed().as_secs() + 1;
    assert!((1..=10 * seconds).contains(&lines), "{lines} lines in {seconds} s");
}

/// The log of the night must show the peer that came, whatever a stranger sent in that second.
#[test]
fn a_flood_of_bad_datagrams_hides_no_other_line() {
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let (stranger, peer) = (RawPeer::of(&server), RawPeer::of(&server));
    for number in 0..50 {
        let mut datagram = sealed(number, 1.0, "1");
        datagram[30] ^= 4;
        stranger.send(&datagram);
        driver.turn(Some(TIME_LIMIT));
    }
    let lines = lines_logged(|| {
        peer.command(0, 1.0, "1");
        driver.turn(Some(TIME_LIMIT));
    });
    assert!(lines > 0, "the peer is connected, and no line says so");
}

/// A server that is away for the night makes one line in a minute, not ten in a second.
#[test]
fn a_peer_that_stays_unreachable_is_logged_once() {
    let server = server(server_config(Wire::Classic));
    let (client, mut driver) = UdpInterface::caller_driven(client_config(&server)).unwrap();
    driver.connect().unwrap();
    let mut events = client.events();
    server.cleanup();
    let lines = lines_logged(|| {
        for number in 0..5 {
            let _ = client.send(&number, &Metadata::command());
            driver.turn(Some(Duration::from_millis(20)));
        }
    });
    let told = std::iter::from_fn(|| events.next(Some(Duration::ZERO)));
    assert!(told.filter(|event| matches!(event, Event::PeerUnreachable { .. })).count() > 1);
    assert_eq!(lines, 1);
}

/// A datagram to a closed port comes back as an error, which wakes the driver until a call on the socket takes it.
#[test]
#[cfg_attr(windows, ignore = "a server on Windows is not told of closed ports")]
fn a_dead_client_does_not_keep_the_driver_awake() {
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let mut events = server.events();
    let (dead, alive) = (RawPeer::of(&server), RawPeer::of(&server));
    for peer in [&dead, &alive] {
        peer.command(0, 1.0, "1");
        assert_eq!(driver.turn(Some(TIME_LIMIT)), 1);
    }
    drop(dead);
    for number in 0..100 {
        // The datagram to the dead client is refused. The send to the living client gets that error.
        server.send(&number, &Metadata::status()).unwrap();
    }
    let wait = Duration::from_millis(30);
    let mut waits = |_| {
        let begun = Instant::now();
        driver.turn(Some(wait));
        begun.elapsed() >= wait
    };
    assert!((0..200).any(&mut waits), "none of 200 turns without work has waited");
    let mut seen = std::iter::from_fn(|| events.next(Some(Duration::ZERO)));
    assert!(seen.any(|event| matches!(event, Event::PeerUnreachable { .. })));
}

#[test]
fn an_inline_handler_and_another_thread_disconnect_at_the_same_time() {
    for round in 0..30 {
        let (server, client) = pair(Wire::Native);
        let (weak, start) = (server.clone(), Arc::new(Barrier::new(2)));
        let inside = Arc::clone(&start);
        server.register_message_handler(
            MessageType::Command,
            Handler::inline(move |_, _| {
                inside.wait();
                weak.disconnect();
            }),
        );
        client.send(&round, &Metadata::command()).unwrap();
        start.wait();
        server.disconnect();
        assert_eq!(server.connection_state(), ConnectionState::Disconnected);
        server.cleanup();
    }
}

#[test]
fn a_connection_that_its_handler_ended_does_not_disturb_the_next_connection() {
    let (server, first) = pair(Wire::Native);
    let (inside, ended, go_on) = (server.clone(), Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (handler_ended, handler_go_on) = (Arc::clone(&ended), Arc::clone(&go_on));
    server.register_message_handler(
        MessageType::Command,
        Handler::inline(move |_, _| {
            inside.disconnect();
            assert!(matches!(inside.connect(), Err(ConnectError::FromHandler)));
            handler_ended.wait();
            handler_go_on.wait();
        }),
    );
    first.send(&1, &Metadata::command()).unwrap();
    ended.wait();
    server.connect().unwrap();
    let second = client(client_config(&server));
    go_on.wait();
    second.send(&2, &Metadata::data()).unwrap();
    assert_eq!(next_number(&server), 2);
    assert_eq!(server.statistics().peers, 1);
    server.cleanup();
}

#[test]
fn a_caller_driven_interface_can_reconnect_after_its_handler_has_disconnected() {
    let (server, mut driver) = UdpInterface::caller_driven(server_config(Wire::Classic)).unwrap();
    driver.connect().unwrap();
    let inside = server.clone();
    server.register_message_handler(
        MessageType::Command,
        Handler::inline(move |_, _| {
            inside.disconnect();
            let elsewhere = inside.clone();
            std::thread::spawn(move || elsewhere.connect().unwrap()).join().unwrap();
        }),
    );
    RawPeer::of(&server).command(0, 1.0, "1");
    driver.turn(Some(TIME_LIMIT));
    assert!(server.unregister_message_handler(MessageType::Command));
    RawPeer::of(&server).command(0, 1.0, "2");
    assert_eq!(driver.receive(Some(TIME_LIMIT)).unwrap().decode::<u64>().unwrap(), 2);
}

#[test]
fn the_configuration_is_replaced_only_while_disconnected() {
    let (server, _client) = pair(Wire::Native);
    let other = Config::server("127.0.0.1:0").name("another");
    assert_eq!(server.connect_with(other.clone()), Err(ConnectError::StillConnected));
    server.disconnect();
    server.connect_with(other).unwrap();
    assert_eq!(server.config().settings().unwrap().name, "another");
}

#[test]
fn messages_that_a_disconnect_cuts_off_within_a_datagram_are_counted() {
    let (server, client) = pair(Wire::Native);
    let (entered, has_entered) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    server.register_message_handler(
        MessageType::Command,
        Handler::inline(move |_, _| {
            entered.send(()).expect("the test waits");
            may_go.recv().expect("the test releases the handler");
        }),
    );
    client.publisher(Metadata::command()).send_batch(&[0; 10]).expect("connected");
    has_entered.recv_timeout(TIME_LIMIT).expect("the handler is called");
    std::thread::scope(|scope| {
        scope.spawn(|| server.disconnect());
        until("the server is disconnecting", || server.send(&1, &Metadata::data()).is_err());
        go.send(()).expect("the handler waits");
    });
    let statistics = server.statistics();
    let accounted = statistics.handlers.handled + statistics.messages_dropped.of(DropReason::Closed);
    assert_eq!((statistics.messages_received, statistics.handlers.handled), (accounted, 1), "{statistics:?}");
}
