//! Sending and payloads: faults of the Python module that this library does not have. Each test is named after what holds
//! here.
#![cfg_attr(windows, allow(unused_imports))] // of tests that need Linux

mod common;

use std::net::UdpSocket;
use std::sync::{Barrier, mpsc};
use std::time::Duration;

use common::{
    RawPeer, TIME_LIMIT, WIRES, address, assert_nothing_waits, client, client_config, next, next_number,
    pair, sealed_bytes, server, server_config, until,
};
use tautline::{
    Config, ConfigError, DropReason, EncodeError, Event, Handler, Id, MessageRef, MessageType, Metadata,
    NonFinite, Payload, Raw, Reply, Role, SendError, Sent, SocketFault, Timestamp, UdpInterface, WaitPolicy,
    Wire, create_udp_client, create_udp_server,
};

#[test]
fn a_server_answers_its_client_again_and_again() {
    for wire in WIRES {
        let (server, client) = pair(wire);
        for number in 0..20u64 {
            client.send(&number, &Metadata::command()).unwrap();
            let command = next(&server);
            server.reply(&command, &(number + 100), &Metadata::status()).unwrap();
            let answer = next(&client);
            assert_eq!(answer.decode::<u64>().unwrap(), number + 100);
            assert_eq!(answer.correlation_id(), Some(command.message_id()));
        }
    }
}

#[test]
fn many_threads_send_in_the_order_of_the_numbers() {
    const THREADS: u32 = 8;
    // All messages together fit into the buffer of the receiving socket.
    const EACH: u32 = 15;
    let peer = RawPeer::towards(([127, 0, 0, 1], 9).into());
    let to = peer.socket.local_addr().unwrap().to_string();
    let client = client(Config::client(to).wire(Wire::Classic));
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for number in 0..EACH {
                    client.send(&number, &Metadata::command()).unwrap();
                }
            });
        }
    });
    for number in 0..THREADS * EACH {
        assert_eq!(peer.read_number(), number, "the order on the wire is the order of the numbers");
    }
}

#[test]
fn an_oversized_message_is_an_error_of_send() {
    for wire in WIRES {
        let (server, client) = pair(wire);
        let before = client.statistics();
        let error = client.send(&"x".repeat(70_000), &Metadata::data()).unwrap_err();
        let SendError::Encode(EncodeError::TooLarge { max_size, .. }) = error else { panic!("{error}") };
        assert_eq!(max_size, 65_527);
        // The value is within the limit, but not together with its metadata. The native wire sends it in fragments.
        if wire == Wire::Classic {
            let error = client.send(&"x".repeat(65_500), &Metadata::data()).unwrap_err();
            assert!(matches!(error, SendError::TooLarge { size, max: 65_507 } if size > 65_507), "{error}");
        }
        assert_eq!(client.statistics().messages_sent, before.messages_sent);
        // No sequence number was used up.
        client.send(&1, &Metadata::data()).unwrap();
        assert_eq!(next_number(&server), 1);
        assert_eq!(server.statistics().sequence_errors() + server.statistics().missing, 0);
    }
}

#[test]
fn the_largest_datagram_travels_on_the_classic_wire() {
    let addresses = [("127.0.0.1:0", 65_507), ("[::1]:0", 65_527)];
    for (address, largest) in addresses.into_iter().filter(|(address, _)| UdpSocket::bind(address).is_ok()) {
        let server = server(Config::server(address).wire(Wire::Classic));
        let client = client(client_config(&server));
        let metadata = Metadata::data().message_id("m").timestamp(1.5);
        client.send("", &metadata).expect("connected");
        assert_eq!(next(&server).payload(), b"\"\"");
        let room = largest - usize::try_from(client.statistics().bytes_sent).expect("small");
        for (from, to) in [(&client, &server), (&server, &client)] {
            let metadata = metadata.clone().source("controller");
            let text = "x".repeat(room);
            let before = from.statistics().bytes_sent;
            from.send(&text, &metadata).expect("it fits");
            assert_eq!(from.statistics().bytes_sent - before, largest as u64);
            assert_eq!(next(to).decode::<String>().expect("text"), text);
            let error = from.send(&format!("{text}x"), &metadata).unwrap_err();
            assert_eq!(error, SendError::TooLarge { size: largest + 1, max: largest });
        }
    }
}

/// The test shuts down the sending direction of the socket, so that the kernel refuses the datagram.
#[cfg(unix)]
#[test]
fn a_datagram_that_the_kernel_refuses_is_an_error_of_send() {
    use std::net::Shutdown;
    use std::os::fd::AsFd;

    let peer = RawPeer::towards(([127, 0, 0, 1], 9).into());
    let to = peer.socket.local_addr().unwrap().to_string();
    let config = Config::client(to).wire(Wire::Classic);
    let (client, mut driver) = UdpInterface::caller_driven(config).unwrap();
    driver.connect().unwrap();
    assert_eq!(client.send(&1, &Metadata::command()), Ok(Sent::Written));
    // shutdown(2) works on any kind of socket, also through a copy of its descriptor.
    let copy = driver.socket().unwrap().as_fd().try_clone_to_owned().unwrap();
    std::net::TcpStream::from(copy).shutdown(Shutdown::Write).unwrap();

    let error = client.send(&2, &Metadata::command()).unwrap_err();
    assert!(matches!(error, SendError::Refused { fault: SocketFault::Other, .. }), "{error}");
    let statistics = client.statistics();
    assert_eq!((statistics.messages_sent, statistics.send_failures), (1, 1));
    assert_eq!(statistics.sequence_number, 1, "no sequence number was used up");
}

#[test]
fn sequence_numbers_wrap_after_2_pow_32() {
    let server = server(server_config(Wire::Classic));
    let peer = RawPeer::of(&server);
    for (number, low) in (0u32..).zip([u32::MAX - 1, u32::MAX, 0, 1]) {
        peer.command(low, 1.0 + f64::from(number), &number.to_string());
        assert_eq!(next_number(&server), u64::from(number));
    }
    let statistics = server.statistics();
    assert_eq!((statistics.sequence_errors(), statistics.missing), (0, 0));
    assert_eq!(server.peers()[0].received.lives, 1, "the wrap does not count as a restart");
}

#[test]
fn a_pickle_is_never_decoded() {
    // The output of pickle.dumps for an object that runs a command when it is loaded.
    let pickle = b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.";
    let server = server(server_config(Wire::Classic));
    let peer = RawPeer::of(&server);
    peer.send(&sealed_bytes(0, pickle));
    until("the pickle is counted", || server.statistics().datagrams_dropped.of(DropReason::Pickle) == 1);
    assert_nothing_waits(&server);
    assert_eq!(server.statistics().peers, 0);
}

#[test]
fn a_peer_on_the_other_wire_is_an_event() {
    let is_other_wire = |event: &Event| matches!(event, Event::OtherWire { .. });
    for wire in WIRES {
        let server = server(server_config(wire));
        let mut events = server.events();
        let other = if wire == Wire::Native { Wire::Classic } else { Wire::Native };
        let config = Config::client(address(&server)).wire(other);
        let config =
            if other == Wire::Native { config.connect_timeout(Duration::from_millis(50)) } else { config };
        let client = create_udp_client(config).unwrap();
        match client.connect() {
            // The classic wire has no handshake, so the first message shows the mismatch.
            Ok(()) => drop(client.send(&1, &Metadata::command()).unwrap()),
            Err(error) => assert!(error.to_string().contains("`wire`"), "{error}"),
        }
        assert!(events.next(Some(TIME_LIMIT)).is_some_and(|event| is_other_wire(&event)));
        assert!(server.statistics().datagrams_dropped.of(DropReason::OtherWire) > 0);
        assert_nothing_waits(&server);
    }
}

#[test]
fn ipv6_works_on_both_wires() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        // This host has no IPv6.
        return;
    }
    for wire in WIRES {
        let server = server(Config::server("[::1]:0").wire(wire));
        let client = client(client_config(&server));
        client.send(&7, &Metadata::command()).unwrap();
        let message = next(&server);
        assert!(message.address().is_ipv6());
        server.reply(&message, &8, &Metadata::status()).unwrap();
        assert_eq!(next_number(&client), 8);
    }
}

#[test]
fn a_server_on_every_address_knows_ipv4_clients_by_their_ipv4_address() {
    for wire in WIRES {
        let server = server(Config::server(":0").wire(wire));
        let mut events = server.events();
        let port = address(&server).port();
        let client = client(Config::client(("127.0.0.1", port)).wire(wire));
        client.send(&1, &Metadata::data()).expect("connected");
        let message = next(&server);
        let known = message.address();
        assert!(known.is_ipv4() && known == address(&client), "{known}");
        assert_eq!(server.peers()[0].address, known);
        let connected = until_some(|| match events.next(Some(TIME_LIMIT)) {
            Some(Event::PeerConnected { address, .. }) => Some(address),
            _ => None,
        });
        assert_eq!(connected, known);
        server.publisher(Metadata::data()).to(known).send(&2).expect("its peer is known by it");
        assert_eq!(next_number(&client), 2);
        server.reply(&message, &3, &Metadata::data()).expect("its peer is known");
        assert_eq!(next_number(&client), 3);
    }
}

/// Calls `look` until it returns something.
fn until_some<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until("it is there", || {
        found = look();
        found.is_some()
    });
    found.expect("there")
}

#[test]
fn sending_nan_is_refused() {
    for wire in WIRES {
        let (server, client) = pair(wire);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = client.send(&value, &Metadata::command()).unwrap_err();
            assert!(matches!(error, SendError::Encode(EncodeError::NotFinite { .. })), "{error}");
        }
        client.send(&1, &Metadata::command()).unwrap();
        assert_eq!(next_number(&server), 1);
    }
}

#[test]
fn a_time_stamp_that_is_no_number_is_refused() {
    for (wire, seconds) in WIRES.into_iter().flat_map(|wire| [f64::NAN, f64::INFINITY].map(|s| (wire, s))) {
        let (_server, client) = pair(wire);
        let metadata = Metadata::data().timestamp(seconds);
        for refused in [client.send(&1, &metadata), client.send(Raw(b"1"), &metadata)] {
            let error = refused.expect_err("not a number");
            assert!(error.to_string().contains("`timestamp` is NaN or infinite"), "{error}");
        }
        assert_eq!(client.statistics().messages_sent, 0);
    }
}

#[test]
fn an_id_that_is_no_json_does_not_spoil_the_envelope() {
    let (server, client) = pair(Wire::Classic);
    let refused = |text: &str| {
        let id = Id::Json(text.into());
        [Metadata::data().message_id(id.clone()), Metadata::data().correlation_id(id)]
            .map(|metadata| client.send(&1, &metadata).expect_err("no JSON").to_string())
    };
    for text in ["nan", "", "1, \"priority\": 4", "\"a", "[1"] {
        let [id, correlation_id] = refused(text);
        assert!(id.contains("`message_id` is no JSON value"), "{id}");
        assert!(correlation_id.contains("`correlation_id` is no JSON value"), "{correlation_id}");
    }
    let [not_finite, _] = refused("[NaN]");
    assert!(not_finite.contains("`message_id` is NaN or infinite"), "{not_finite}");
    let id = Id::Json(r#"{"step": [-17, 1.5, true]}"#.into());
    client.send(&1, &Metadata::data().message_id(id.clone())).expect("any JSON value");
    assert_eq!(next(&server).message_id(), id);
    assert_eq!(client.statistics().messages_sent, 1);
}

/// The Python module sends null for a source of None.
#[test]
fn a_message_without_a_source_travels_as_null() {
    for wire in WIRES {
        let (server, client) = pair(wire);
        client.send(&1, &Metadata::data()).expect("connected");
        let name = next(&server).source().to_owned();
        client.send(&1, &Metadata::data().without_source()).expect("connected");
        let message = next(&server);
        let expected = if wire == Wire::Classic { (false, "") } else { (true, name.as_str()) };
        assert_eq!((message.has_source(), message.source()), expected, "{wire:?}");
    }
}

#[test]
fn a_time_stamp_of_any_clock_travels() {
    for (wire, number) in
        WIRES.into_iter().flat_map(|wire| [12.345_678_901_234_567, 1e-10, 0.0].map(|n| (wire, n)))
    {
        let (server, client) = pair(wire);
        client.send(&1, &Metadata::data().timestamp(number)).expect("connected");
        let message = next(&server);
        assert_eq!(message.timestamp(), Timestamp::from(number).wall());
        if wire == Wire::Classic {
            assert_eq!(message.stamp().as_secs_f64(), number);
            // A program that passes the message on keeps its time stamp.
            server.send(&1, &Metadata::data().timestamp(message.stamp())).expect("its client is known");
            assert_eq!(next(&client).stamp(), message.stamp());
        }
    }
}

/// A peer that runs the Python module can send NaN.
#[test]
fn receiving_nan_is_refused_or_reads_as_null() {
    let plant = server(server_config(Wire::Classic));
    let controller = RawPeer::of(&plant);
    for (number, force) in (0u32..).zip(["1.5", "NaN", "[-Infinity]", "1e999", "2.5"]) {
        controller.command(number, 1.0 + f64::from(number), force);
    }
    assert_eq!(next(&plant).decode::<f64>().unwrap(), 1.5);
    assert_eq!(next(&plant).decode::<f64>().unwrap(), 2.5);
    assert_eq!(plant.statistics().datagrams_dropped.of(DropReason::NotFinite), 3);

    // With `nonfinite = "null"` the receiver gets null, which is not a number either.
    let lenient = server(server_config(Wire::Classic).nonfinite(NonFinite::Null));
    let controller = RawPeer::of(&lenient);
    controller.command(0, 1.0, "NaN");
    assert_eq!(next(&lenient).decode::<Option<f64>>().unwrap(), None);
}

#[test]
fn a_factory_makes_its_own_role_and_refuses_the_other() {
    let server = create_udp_server(Config::default().endpoint("127.0.0.1:0")).unwrap();
    server.connect().unwrap();
    let client = create_udp_client(Config::default().endpoint(address(&server))).unwrap();
    client.connect().unwrap();
    client.send(&1, &Metadata::data()).unwrap();
    assert_eq!(next_number(&server), 1);
    let error = create_udp_server(Config::client("127.0.0.1:9000")).unwrap_err();
    let right = "use Config::server(..), or call create_udp_client";
    assert!(error.to_string().ends_with(right), "{error}");
    let error = create_udp_client(Config::server("127.0.0.1:9000")).unwrap_err();
    assert_eq!(error, ConfigError::WrongRole { found: Role::Server, expected: Role::Client });
}

#[test]
fn a_disconnect_beside_sending_threads_keeps_the_counts_exact() {
    for wire in WIRES {
        let server = server(server_config(wire));
        // Four threads that send all the time leave little of a busy machine to the one that connects.
        let client = client(client_config(&server).connect_timeout(TIME_LIMIT));
        let written_or_queued = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..4)
                .map(|_| {
                    let client = client.clone();
                    scope.spawn(move || {
                        let mut taken = 0;
                        while client.connection_state() != tautline::ConnectionState::Closed {
                            match client.send(&1, &Metadata::command()) {
                                Ok(_) => taken += 1,
                                Err(SendError::NotConnected | SendError::NoPeers) => std::thread::yield_now(),
                                Err(error) => panic!("{error}"),
                            }
                        }
                        taken
                    })
                })
                .collect();
            for _ in 0..20 {
                client.disconnect();
                client.connect().unwrap();
            }
            client.cleanup();
            senders.into_iter().map(|sender| sender.join().expect("no panic")).sum::<u64>()
        });
        let statistics = client.statistics();
        assert_eq!(statistics.messages_sent + statistics.queued_send_failures, written_or_queued);
        server.cleanup();
    }
}

#[test]
fn bad_input_returns_an_error_with_the_reason() {
    let idle = create_udp_client(Config::client("127.0.0.1:9")).unwrap();
    assert_eq!(
        idle.send(&1, &Metadata::data()).unwrap_err().to_string(),
        "not connected: call connect() before send() (or make a new interface, if this one was cleaned up)"
    );
    assert!(create_udp_server(Config::server("nonsense:port")).unwrap_err().to_string().contains("port"));
    let (_server, client) = pair(Wire::Classic);
    let raw = client.send(&Payload::raw(*b"bytes"), &Metadata::data()).unwrap_err();
    assert!(raw.to_string().contains("JSON"), "{raw}");
}

#[test]
fn a_setting_without_effect_is_refused() {
    let refused = |config: Config, key: &str| {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(key), "{error} does not name {key}");
    };
    refused(Config::server("h").use_crc(false), "use_crc");
    refused(Config::server("h").wire(Wire::Classic).heartbeat_interval(TIME_LIMIT), "heartbeat_interval");
    refused(Config::server("h").bind(([127, 0, 0, 1], 0)), "bind");
    refused(Config::client("h").max_peers(1), "max_peers");
    // The kernel may reduce a buffer size, so the statistics report the real size.
    let server = server(server_config(Wire::Native).receive_buffer(16_384));
    #[cfg(target_os = "linux")]
    assert_eq!(server.statistics().receive_buffer, Some(2 * 16_384), "the kernel doubles the requested size");
    assert_eq!(server.config().settings().unwrap().receive_buffer, 16_384);
}

#[cfg(target_os = "linux")]
#[test]
fn an_unreachable_peer_is_reported_whether_the_driver_spins_or_blocks() {
    for wait in [WaitPolicy::Spin, WaitPolicy::Block] {
        let server = server(server_config(Wire::Classic).wait(wait));
        let [dead, alive] = [(); 2].map(|()| {
            let peer = RawPeer::of(&server);
            peer.command(0, 1.0, "0");
            next(&server);
            peer
        });
        drop(dead);
        let (all, (sent, has_sent)) = (server.clone(), mpsc::channel());
        // The driver's own send to the living peer gets the error of the dead peer, and so clears it.
        let send = move |_: &MessageRef<'_>, _: &Reply| {
            all.send(&1, &Metadata::data()).expect("the kernel takes both datagrams");
            sent.send(()).expect("the test waits");
        };
        server.register_message_handler(MessageType::Command, Handler::inline(send));
        alive.command(1, 2.0, "0");
        has_sent.recv_timeout(TIME_LIMIT).expect("the handler has sent");
        until("the dead peer is counted as unreachable", || {
            server.statistics().socket_faults.of(SocketFault::PortUnreachable) > 0
        });
    }
}
