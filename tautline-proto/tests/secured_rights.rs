//! What the holder of a key may not do, whatever its own end says: its messages are dropped before acknowledgement and ownership.
//! And what becomes of sessions when keys are replaced. docs/protocol.md §11.
//!
//! The clients here ignore what they may send, as a changed program would.

mod support;

use std::time::Duration;

use support::{Node, address, at, config, plain_head, settle};
use tautline_proto::endpoint::{
    ClaimOutcome, EndpointConfig, Event, Outcome, OwnedStreams, RemovalReason, Role, WireFormat,
};
use tautline_proto::secure::{Identity, Key, Keys};
use tautline_proto::wire::native::{HEADER_LEN, Head, Pack, TRAILER_LEN};
use tautline_proto::{Delivery, DropReason, MessageType, Rights};

fn key(byte: u8) -> Key {
    Key::from_bytes(std::array::from_fn(|index| byte + u8::from(index == 0)))
}

fn with_keys(role: Role, keys: Keys) -> EndpointConfig {
    let mut config = config(role, WireFormat::Native);
    config.security = Some(keys);
    config
}

fn client(port: u16, key: Key) -> Node {
    Node::new(port, with_keys(Role::Client, Keys::shared(key)), u8::try_from(port % 250).expect("small") + 1)
}

fn holders() -> Keys {
    let sensor = Rights::NONE.with(MessageType::Status);
    Keys::new([
        Identity::new("controller", [key(1)]),
        Identity::new("hmi", [key(2)]).with_rights(Rights::NONE),
        Identity::new("sensor", [key(3)]).with_rights(sensor),
    ])
    .expect("each has its own key")
}

/// A server that knows three holders of keys, with commands that have one owner.
fn server() -> Node {
    let mut owned = OwnedStreams::default();
    owned.set(MessageType::Command, None, Some(Duration::from_secs(1)));
    let mut config = with_keys(Role::Server, holders());
    config.owned = owned;
    Node::new(9000, config, 1)
}

fn connected(server: &mut Node, key: Key, port: u16) -> Node {
    let mut client = client(port, key);
    client.dial(address(9000), at(0));
    settle(&mut [server, &mut client], at(0));
    assert_eq!(client.accepted(), 1);
    client
}

fn head(message_type: MessageType, delivery: Delivery) -> Head<'static> {
    Head { message_type, delivery, ..plain_head(at(1)) }
}

fn not_allowed(node: &Node) -> u64 {
    node.inbound.counters().snapshot().messages_dropped.of(DropReason::NotAllowed)
}

#[test]
fn the_calls_of_one_holder_keep_no_other_holder_out() {
    let (mut server, mut hmi) = (server(), client(6000, key(2)));
    for _ in 0..300 {
        // It calls with another session each time, and never sends a sealed datagram.
        hmi.dial(address(9000), at(0));
        for (from, to) in [(0, 1), (1, 0), (0, 1)] {
            let ends = [&mut hmi, &mut server];
            let packet = ends[from].sent.pop_front().expect("hello, token or echo");
            ends[to].handle(&packet, at(0));
        }
        server.sent.clear();
    }
    let overloaded = server.inbound.counters().snapshot().datagrams_dropped.of(DropReason::Overloaded);
    assert_eq!(overloaded, 300 - 256);
    let mut controller = connected(&mut server, key(1), 5001);
    controller.send_as(&head(MessageType::Command, Delivery::BestEffort), b"1");
    settle(&mut [&mut server, &mut controller], at(1));
    assert_eq!(server.payloads(), ["1"]);
}

#[test]
fn a_large_message_that_is_not_allowed_counts_once() {
    let mut server = server();
    for (byte, port) in [(2, 5002), (3, 5003)] {
        let mut client = connected(&mut server, key(byte), port);
        let before = not_allowed(&server);
        let encoded = large(&mut client, &[0; 900]);
        let peer = client.outbound.peers()[0];
        for fragment in encoded {
            client.send_datagram(peer, fragment, 0);
        }
        settle(&mut [&mut server, &mut client], at(1));
        server.tick(at(2_000));
        let dropped = server.inbound.counters().snapshot().messages_dropped;
        assert_eq!((not_allowed(&server) - before, dropped.of(DropReason::Incomplete)), (1, 0), "{port}");
    }
}

/// The fragments of a command, each in a datagram.
fn large(client: &mut Node, payload: &[u8]) -> Vec<Vec<u8>> {
    let mut body = Vec::new();
    let head = head(MessageType::Command, Delivery::BestEffort);
    let started = client.encoder.begin(&mut body, &head).expect("no texts");
    body.extend_from_slice(payload);
    let _ = client.encoder.finish(&mut body, started);
    let size = client.outbound.datagram_size_to(client.outbound.peers()[0]);
    let packs =
        Pack::of_large(&body[HEADER_LEN..], client.encoder.next_large(), size).expect("few fragments");
    // All but the last have room for a trailer, which sealing adds.
    let cut = |(datagram, messages): (&[u8], u64)| match messages {
        0 => datagram[..datagram.len() - TRAILER_LEN].to_vec(),
        _ => datagram.to_vec(),
    };
    packs.iter().flat_map(Pack::datagrams).map(cut).collect()
}

#[test]
fn each_holder_delivers_what_it_may_and_nothing_else() {
    let mut server = server();
    let mut clients = [1, 2, 3].map(|byte| connected(&mut server, key(byte), 5000 + u16::from(byte)));
    let may: [&[MessageType]; 3] = [MessageType::ALL, &[], &[MessageType::Status]];
    for (client, may) in clients.iter_mut().zip(may) {
        for &message_type in MessageType::ALL {
            let (got, dropped) = (server.got.len(), not_allowed(&server));
            client.send_as(&head(message_type, Delivery::BestEffort), b"1");
            settle(&mut [&mut server, client], at(1));
            let is_allowed = may.contains(&message_type);
            assert_eq!(server.got.len() - got, usize::from(is_allowed), "{message_type}");
            assert_eq!(not_allowed(&server) - dropped, u64::from(!is_allowed), "{message_type}");
        }
    }
    let told =
        server.count(|event| matches!(event, Event::NotAllowed { message_type: MessageType::Command, .. }));
    assert_eq!(told, 2, "of the HMI and of the sensor");
}

#[test]
fn a_client_learns_what_it_may_send_with_the_accept() {
    let mut server = server();
    for (byte, rights) in [(1, Rights::ALL), (2, Rights::NONE), (3, Rights::NONE.with(MessageType::Status))] {
        let client = connected(&mut server, key(byte), 5000 + u16::from(byte));
        assert_eq!(client.outbound.granted_by_all(), rights);
    }
    assert_eq!(server.outbound.granted_by_all(), Rights::ALL);
}

#[test]
fn a_reliable_message_that_is_not_allowed_is_never_acknowledged() {
    let mut server = server();
    let mut hmi = connected(&mut server, key(2), 5002);
    let large = vec![b'1'; 900];
    for (payload, delivery) in
        [(&b"1"[..], Delivery::Reliable), (b"1", Delivery::Ordered), (&large, Delivery::Reliable)]
    {
        hmi.offer(&head(MessageType::Command, delivery), payload, at(1)).expect("there is room");
    }
    for ms in (1..20_000).step_by(20) {
        hmi.tick(at(ms));
        server.tick(at(ms));
        settle(&mut [&mut server, &mut hmi], at(ms));
    }
    let outcomes: Vec<Outcome> = hmi.outcomes.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes, [Outcome::Abandoned; 3]);
    assert!(server.got.is_empty());
    assert!(not_allowed(&server) >= 3);
}

#[test]
fn who_may_not_send_on_a_stream_can_neither_own_nor_claim_it() {
    let mut server = server();
    let mut controller = connected(&mut server, key(1), 5001);
    let mut hmi = connected(&mut server, key(2), 5002);
    hmi.send_as(&head(MessageType::Command, Delivery::BestEffort), b"mine");
    settle(&mut [&mut server, &mut hmi], at(1));
    let peer = hmi.outbound.peers()[0];
    hmi.inbound.claim(peer, MessageType::Command.into(), 7, at(1).steady).expect("it is asked");
    for ms in 2..200 {
        hmi.tick(at(ms));
        settle(&mut [&mut server, &mut hmi], at(ms));
    }
    let refused =
        |event: &Event| matches!(event, Event::ClaimEnded { ticket: 7, outcome: ClaimOutcome::Refused, .. });
    assert_eq!(hmi.count(refused), 1);
    assert_eq!(server.count(|event| matches!(event, Event::OwnerChanged(_))), 0);
    controller.send_as(&head(MessageType::Command, Delivery::BestEffort), b"1");
    settle(&mut [&mut server, &mut controller], at(201));
    assert_eq!(server.payloads(), ["1"]);
}

/// Sends so many commands of an observer, among those of a controller.
fn observe(commands: u64) {
    let mut server = server();
    let mut controller = connected(&mut server, key(1), 5001);
    let mut hmi = connected(&mut server, key(2), 5002);
    let command = head(MessageType::Command, Delivery::BestEffort);
    for number in 0..commands {
        // As time goes by, heartbeats keep the link.
        let now = at(1 + number / 10);
        hmi.send_as(&command, b"wrong");
        if number % 100 == 0 {
            controller.send_as(&command, b"right");
            for node in [&mut hmi, &mut controller, &mut server] {
                node.tick(now);
            }
        }
        settle(&mut [&mut server, &mut hmi, &mut controller], now);
        server.events.clear();
    }
    let wrong = server.got.iter().filter(|got| got.payload == b"wrong").count();
    let right = server.got.iter().filter(|got| got.payload == b"right").count() as u64;
    assert_eq!((wrong, right, not_allowed(&server)), (0, commands.div_ceil(100), commands));
}

#[test]
fn no_command_of_an_observer_is_delivered() {
    observe(5_000);
}

#[test]
#[ignore = "a million commands; takes a minute"]
fn no_command_of_an_observer_is_delivered_of_a_million() {
    observe(1_000_000);
}

#[test]
fn the_sessions_of_removed_keys_end_with_the_cause_and_others_go_on() {
    let mut server = server();
    let mut controller = connected(&mut server, key(1), 5001);
    let mut sensor = connected(&mut server, key(3), 5003);
    let rights = Rights::NONE.with(MessageType::Status);
    // The controller gets another key, and the sensor another name for the key that it has.
    let keys =
        [Identity::new("controller", [key(1), key(4)]), Identity::new("probe", [key(3)]).with_rights(rights)];
    server.inbound.replace_keys(Keys::new(keys).expect("each has its own key"), at(5).steady);
    server.tick(at(5));
    settle(&mut [&mut server, &mut controller, &mut sensor], at(5));
    let removed = |event: &Event| matches!(event, Event::Removed(_, RemovalReason::KeyRemoved));
    assert_eq!([&server, &controller, &sensor].map(|node| node.count(removed)), [1, 0, 1]);
    controller.send(b"1", at(6));
    settle(&mut [&mut server, &mut controller], at(6));
    assert_eq!(server.payloads(), ["1"]);

    server.inbound.replace_keys(Keys::shared(key(9)), at(7).steady);
    server.tick(at(7));
    settle(&mut [&mut server, &mut controller], at(7));
    // The sensor had called again, as the probe.
    assert_eq!([&server, &controller].map(|node| node.count(removed)), [3, 1]);
    assert!(server.outbound.peers().is_empty());
}

#[test]
fn a_client_that_was_accepted_with_a_removed_key_does_not_become_a_peer() {
    let (mut server, mut client) = (server(), client(5001, key(1)));
    client.dial(address(9000), at(0));
    for _ in 0..2 {
        server.handle(&client.sent.pop_front().expect("a hello, an echo"), at(0));
        client.handle(&server.sent.pop_front().expect("a token, an accept"), at(0));
    }
    server.inbound.replace_keys(Keys::shared(key(9)), at(1).steady);
    settle(&mut [&mut server, &mut client], at(1));
    assert!(server.outbound.peers().is_empty());
}
