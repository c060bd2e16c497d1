//! When something cannot be done, the error names it and says what would be right. Each error here comes from its real
//! situation.
//!
//! Some situations are missing, because they need privilege or an exhausted machine: ports below 1024, a full send
//! buffer, threads and descriptors that the system refuses.

mod common;

use std::fmt::Display;
use std::net::UdpSocket;
use std::sync::mpsc;
use std::time::Duration;

use common::{TIME_LIMIT, address, client, client_config, next, pair, server, server_config, until};
use tautline::{
    Config, ConnectError, ConnectionState, Handler, MessageType, Metadata, Payload, ReceiveError, SendError,
    SocketFault, UdpInterface, Unsupported, Wire, create_udp_client, create_udp_server,
};

/// Checks that the text of the error contains all parts.
#[track_caller]
fn assert_says(error: &dyn Display, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// Returns the error of connecting with this configuration.
#[track_caller]
fn connect_error(config: Config) -> ConnectError {
    let interface = UdpInterface::new(config).expect("the configuration itself is valid");
    let error = interface.connect().expect_err("it cannot connect");
    assert_eq!(interface.connection_state(), ConnectionState::Error);
    error
}

#[test]
fn a_port_in_use() {
    let first = server(server_config(Wire::Native));
    let taken = address(&first).to_string();
    let error = connect_error(Config::server(taken.as_str()));
    let port = address(&first).port().to_string();
    assert_says(&error, &[&port, "in use", "127.0.0.1", "another port"]);
    // This holds for a client's own port too.
    let error = connect_error(client_config(&first).bind(address(&first)));
    assert_says(&error, &[&port, "in use"]);
    // The caller can try again.
    let second = create_udp_server(Config::server(taken)).unwrap();
    second.connect().unwrap_err();
    first.disconnect();
    second.connect().unwrap();
}

#[test]
fn an_address_of_another_host() {
    // Connecting waits for it to become one.
    let soon = |config: Config| config.connect_timeout(Duration::from_millis(60));
    let error = connect_error(soon(Config::server("192.0.2.1:0")));
    assert_says(&error, &["192.0.2.1", "not an address of this host", "0.0.0.0"]);
    let error = connect_error(soon(Config::client("127.0.0.1:9").bind(([192, 0, 2, 1], 0))));
    assert_says(&error, &["192.0.2.1", "not an address of this host"]);
}

#[test]
fn addresses_of_many_hosts_are_refused_by_name() {
    for (text, named) in [
        ("239.1.2.3:9000", "multicast"),
        ("[ff02::1%lo]:9000", "multicast"),
        ("255.255.255.255:9", "broadcast"),
    ] {
        for config in [Config::server(text), Config::client(text), Config::client(text).wire(Wire::Classic)] {
            let error = UdpInterface::new(config).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
    if cfg!(target_os = "linux") {
        // The broadcast address of the loopback's network.
        for config in [Config::server("127.255.255.255:0"), Config::client("127.255.255.255:9")] {
            assert_says(&connect_error(config), &["127.255.255.255", "broadcast", "one host"]);
        }
    }
}

#[test]
fn an_unresolvable_name() {
    let error =
        connect_error(Config::client("no-such-host.invalid:9000").connect_timeout(Duration::from_millis(60)));
    assert!(matches!(error, ConnectError::Unresolved { .. }));
    assert_says(&error, &["no-such-host.invalid", "check the name"]);
    let ipv6 = "[::1]:0".parse::<std::net::SocketAddr>().unwrap();
    let error = connect_error(Config::client("127.0.0.1:9").bind(ipv6));
    assert_says(&error, &["127.0.0.1", "`bind`"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_network_card_that_is_not_there_or_not_named() {
    let soon = |config: Config| connect_error(config.connect_timeout(Duration::from_millis(60)));
    let gone = soon(Config::client("127.0.0.1:9").interface("nosuchcard"));
    assert_says(&gone, &["nosuchcard", "ip link"]);
    let gone = soon(Config::client("[fe80::1%nosuchcard]:9"));
    assert_says(&gone, &["no network card `nosuchcard`", "ip link"]);
    if UdpSocket::bind("[::1]:0").is_ok() {
        for config in [Config::client("[fe80::1]:9"), Config::server("[fe80::1]:0")] {
            assert_says(&soon(config), &["link-local", "[fe80::1%eth0]:", "ip link"]);
        }
    }
}

#[test]
fn a_server_that_is_not_there() {
    let quick = |to: &str| Config::client(to).connect_timeout(Duration::from_millis(60));
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = connect_error(quick(&gone));
    assert!(matches!(error, ConnectError::TimedOut { refused: true, .. }));
    assert_says(&error, &[&gone, "nobody listens", "start the server"]);

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = silent.local_addr().unwrap().to_string();
    let error = connect_error(quick(&to));
    assert!(matches!(error, ConnectError::TimedOut { refused: false, .. }));
    assert_says(&error, &[&to, "no answer", "`wire`"]);
}

#[test]
fn a_server_that_is_full() {
    let server = server(server_config(Wire::Native).max_peers(1));
    let _first = client(client_config(&server));
    let error = connect_error(client_config(&server));
    assert_eq!(error, ConnectError::ServerFull { server: address(&server) });
    assert_says(&error, &["no room", "max_peers"]);
}

#[test]
fn connecting_at_the_wrong_moment() {
    let (server, client) = pair(Wire::Native);
    let error = client.connect_with(client_config(&server)).unwrap_err();
    assert_eq!(error, ConnectError::StillConnected);
    assert_says(&error, &["disconnect()"]);

    client.disconnect();
    let wrong = client.connect_with(client_config(&server).max_peers(3)).unwrap_err();
    assert!(matches!(wrong, ConnectError::Config(_)));
    assert_says(&wrong, &["max_peers"]);

    client.cleanup();
    assert_eq!(client.connect(), Err(ConnectError::Closed));
    assert_says(&ConnectError::Closed, &["make a new one"]);
}

#[test]
fn disconnecting_while_connecting() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = create_udp_client(Config::client(silent.local_addr().unwrap())).unwrap();
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| client.connect());
        assert!(client.wait_for_state(ConnectionState::Connecting, Some(TIME_LIMIT)));
        client.disconnect();
        let error = connecting.join().unwrap().unwrap_err();
        assert_eq!(error, ConnectError::Disconnected);
        assert_says(&error, &["while connecting"]);
    });
}

#[test]
fn connecting_from_an_inline_handler() {
    let (server, client) = pair(Wire::Native);
    let (result, results) = mpsc::channel();
    let inside = server.clone();
    server.register_message_handler(
        MessageType::Command,
        Handler::inline(move |_, _| {
            inside.disconnect();
            result.send(inside.connect()).unwrap();
        }),
    );
    client.send(&1, &Metadata::command()).unwrap();
    let error = results.recv_timeout(TIME_LIMIT).unwrap().unwrap_err();
    assert_eq!(error, ConnectError::FromHandler);
    assert_says(&error, &["inline handler", "another thread"]);
    server.cleanup();
}

#[test]
fn sending_without_a_connection_or_a_peer() {
    let idle = create_udp_server(server_config(Wire::Native)).unwrap();
    assert_says(&idle.send(&1, &Metadata::data()).unwrap_err(), &["not connected", "connect()"]);
    idle.connect().unwrap();
    let error = idle.send(&1, &Metadata::data()).unwrap_err();
    assert_eq!(error, SendError::NoPeers);
    assert_says(&error, &["no client"]);

    let (server, client) = pair(Wire::Native);
    client.send(&1, &Metadata::command()).unwrap();
    let command = next(&server);
    client.disconnect();
    until("the server has received the goodbye", || server.peers().is_empty());
    let error = server.reply(&command, &2, &Metadata::status()).unwrap_err();
    assert_eq!(error, SendError::UnknownPeer { target: command.peer().into() });
    assert_says(&error, &[&command.peer().to_string(), "gone"]);
    let stranger = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    assert_says(&server.publisher(Metadata::status()).to(stranger).send(&2).unwrap_err(), &["127.0.0.1:9"]);
}

#[test]
fn sending_a_value_that_cannot_be_a_payload() {
    for wire in common::WIRES {
        let (_server, client) = pair(wire);
        let send = |value: &serde_json::Value| client.send(value, &Metadata::data());
        assert_says(&send(&"x".repeat(70_000).into()).unwrap_err(), &["65527"]);
        let deep = (0..40).fold(serde_json::Value::from(1), |inner, _| vec![inner].into());
        assert_says(&send(&deep).unwrap_err(), &["max_depth"]);
        assert_says(&client.send(&[1.0, f64::NAN], &Metadata::data()).unwrap_err(), &["[1]", "NaN"]);
        let metadata = Metadata::data().source("s".repeat(255)).destination("d".repeat(255));
        if wire == Wire::Classic {
            // The native wire would send it in fragments.
            let error = client.send(&"x".repeat(64_990), &metadata).unwrap_err();
            assert!(matches!(error, SendError::TooLarge { .. }));
            assert_says(&error, &["UDP", "less"]);
        }
        assert_eq!(client.statistics().messages_sent, 0);
    }
}

#[test]
fn sending_what_the_wire_cannot_carry() {
    let (_server, client) = pair(Wire::Classic);
    let raw = client.send(&Payload::raw(*b"bytes"), &Metadata::data()).unwrap_err();
    assert_says(&raw, &["classic", "JSON only", "raw"]);
    let error = client.send(&1, &Metadata::data().channel(3)).unwrap_err();
    assert_eq!(error, SendError::NotOnThisWire { wire: Wire::Classic, what: Unsupported::Channel(3) });
    assert_says(&error, &["classic", "channel 0", "3"]);

    let (_server, client) = pair(Wire::Native);
    let error = client.send(&1, &Metadata::data().source("s".repeat(300))).unwrap_err();
    assert!(matches!(error, SendError::Text(_)));
    assert_says(&error, &["source", "255"]);
}

#[test]
fn receiving_without_a_connection_or_an_inbox() {
    let idle = create_udp_server(server_config(Wire::Native)).unwrap();
    assert_says(&idle.receive(None).unwrap_err(), &["not connected", "connect()"]);
    let without = server(server_config(Wire::Native).inbox_capacity(0));
    assert_eq!(without.receive(None).map(drop), Err(ReceiveError::InboxOff));
    assert_says(&ReceiveError::InboxOff, &["`inbox_capacity`"]);
}

#[test]
fn a_send_error_says_whether_to_go_on() {
    let refused =
        |fault| SendError::Refused { to: ([127, 0, 0, 1], 9).into(), fault, problem: String::new() };
    for error in [SendError::NoPeers, SendError::Busy, refused(SocketFault::NetworkUnreachable)] {
        assert!(error.is_transient(), "{error}");
        let partly = SendError::Partly { sent: 1, failed: 1, first: Box::new(error) };
        assert!(partly.is_transient(), "{partly}");
    }
    for error in [SendError::NotConnected, refused(SocketFault::TooLarge)] {
        assert!(!error.is_transient(), "{error}");
    }
}

/// `main` and `unwrap` print an error by its `Debug`.
#[test]
fn what_main_prints_of_an_error_is_its_sentence() {
    let taken = server(server_config(Wire::Native));
    let second = create_udp_server(Config::server(address(&taken))).unwrap();
    let in_use = second.connect().unwrap_err();
    let wrong = Config::client("plant:9000").max_peers(3).validate().unwrap_err();
    for (debug, sentence) in [
        (format!("{in_use:?}"), in_use.to_string()),
        (format!("{wrong:?}"), wrong.to_string()),
        (format!("{:?}", SendError::NoPeers), SendError::NoPeers.to_string()),
        (format!("{:?}", ReceiveError::TimedOut), ReceiveError::TimedOut.to_string()),
    ] {
        assert_eq!(debug, sentence);
    }
}
