//! Links with keys: the handshake, what is sealed, and what strangers can and cannot do. docs/protocol.md §11.

mod support;

use support::{Node, Packet, address, at, config, plain_head};
use tautline_proto::endpoint::{EndpointConfig, Event, RemovalReason, Role, WireFormat};
use tautline_proto::secure::{Identity, Key, Keys};
use tautline_proto::wire::native::{Frame, TRAILER_LEN, parse};
use tautline_proto::{DropReason, Now, PeerId};

const TAG_LEN: usize = 16;

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

fn with_keys(role: Role, keys: Keys) -> EndpointConfig {
    let mut config = config(role, WireFormat::Native);
    config.security = Some(keys);
    config
}

fn server(keys: Keys) -> Node {
    Node::new(9000, with_keys(Role::Server, keys), 1)
}

fn client(port: u16, key: Key, seed: u8) -> Node {
    Node::new(port, with_keys(Role::Client, Keys::shared(key)), seed)
}

/// Carries everything that is on its way, until nothing is left.
fn exchange(server: &mut Node, clients: &mut [&mut Node], now: Now) {
    loop {
        let mut moved = false;
        for client in clients.iter_mut() {
            while let Some(packet) = client.sent.pop_front() {
                moved = true;
                if packet.to == server.address {
                    server.handle(&packet, now);
                }
            }
        }
        while let Some(packet) = server.sent.pop_front() {
            moved = true;
            for client in clients.iter_mut().filter(|client| client.address == packet.to) {
                client.handle(&packet, now);
            }
        }
        if !moved {
            return;
        }
    }
}

fn linked() -> (Node, Node) {
    let (mut server, mut client) = (server(Keys::shared(key(1))), client(5000, key(1), 2));
    client.dial(address(9000), at(0));
    exchange(&mut server, &mut [&mut client], at(0));
    (server, client)
}

fn dropped(node: &Node, reason: DropReason) -> u64 {
    node.inbound.counters().snapshot().datagrams_dropped.of(reason)
}

fn all_dropped(node: &Node) -> u64 {
    node.inbound.counters().snapshot().datagrams_dropped.total()
}

fn peer_of(node: &Node) -> PeerId {
    *node.outbound.peers().first().expect("it has a peer")
}

fn is_sealed(packet: &Packet) -> bool {
    packet.bytes[3] & 2 != 0
}

fn removed(node: &Node) -> Vec<RemovalReason> {
    let reason = |event: &Event| match event {
        Event::Removed(_, reason) => Some(*reason),
        _ => None,
    };
    node.events.iter().filter_map(reason).collect()
}

#[test]
fn messages_cross_both_ways_and_nobody_can_read_them() {
    let (mut server, mut client) = linked();
    client.send(b"force 1.5", at(1));
    server.send(b"angle 0.1", at(1));
    for packet in client.sent.iter().chain(&server.sent) {
        assert!(is_sealed(packet));
        assert!(!packet.bytes.windows(5).any(|bytes| bytes == b"force" || bytes == b"angle"));
    }
    exchange(&mut server, &mut [&mut client], at(1));
    assert_eq!(server.got.len() + client.got.len(), 2);
    assert_eq!((&server.got[0].payload[..], &server.got[0].source[..]), (&b"force 1.5"[..], "controller"));
    assert_eq!((&client.got[0].payload[..], &client.got[0].source[..]), (&b"angle 0.1"[..], "plant"));
    assert_eq!(all_dropped(&server) + all_dropped(&client), 0);
}

#[test]
fn a_sealed_datagram_is_twelve_bytes_longer() {
    let (mut sealed, mut sealing) = linked();
    let mut plain = Node::client(5000, WireFormat::Native, 2);
    let mut plain_server = Node::server(WireFormat::Native);
    plain.dial(address(9000), at(0));
    exchange(&mut plain_server, &mut [&mut plain], at(0));
    sealing.send(b"1", at(1));
    plain.send(b"1", at(1));
    assert_eq!(sealing.sent[0].bytes.len(), plain.sent[0].bytes.len() + TAG_LEN - TRAILER_LEN);
    exchange(&mut sealed, &mut [&mut sealing], at(1));
}

#[test]
fn no_message_goes_out_before_the_accept_has_opened() {
    let (mut server, mut client) = (server(Keys::shared(key(1))), client(5000, key(1), 2));
    client.dial(address(9000), at(0));
    assert!(client.outbound.peers().is_empty());
    let hello = client.sent.pop_front().expect("a hello");
    server.handle(&hello, at(0));
    client.handle(&server.sent.pop_front().expect("a token"), at(0));
    assert!(client.outbound.peers().is_empty(), "the server has not shown that it has the key");
    server.handle(&client.sent.pop_front().expect("an echo"), at(0));
    assert!(server.outbound.peers().is_empty(), "the client has not shown that it knows the session's keys");
    client.handle(&server.sent.pop_front().expect("an accept"), at(0));
    assert_eq!(client.outbound.peers().len(), 1);
    server.handle(&client.sent.pop_front().expect("a heartbeat"), at(0));
    assert_eq!(server.outbound.peers().len(), 1);
    assert!(client.sent.is_empty());
}

#[test]
fn a_repeated_echo_is_the_same_datagram_and_gets_the_same_accept() {
    let (mut server, mut client) = (server(Keys::shared(key(1))), client(5000, key(1), 2));
    client.dial(address(9000), at(0));
    server.handle(&client.sent.pop_front().expect("a hello"), at(0));
    client.handle(&server.sent.pop_front().expect("a token"), at(0));
    let echo = client.sent.pop_front().expect("an echo");
    client.tick(at(60));
    assert_eq!(client.sent.pop_front().expect("an echo").bytes, echo.bytes);
    server.handle(&echo, at(60));
    server.handle(&echo, at(61));
    let accepts: Vec<_> = server.sent.drain(..).collect();
    assert_eq!((accepts.len(), &accepts[0].bytes), (2, &accepts[1].bytes));
    for accept in &accepts {
        client.handle(accept, at(62));
    }
    assert_eq!(dropped(&client, DropReason::Unexpected), 1, "the second accept answers nothing any more");
    exchange(&mut server, &mut [&mut client], at(63));
    server.handle(&echo, at(64));
    assert_eq!(dropped(&server, DropReason::Duplicate), 1, "the session exists");
    assert!(server.sent.is_empty());
}

#[test]
fn a_client_with_another_key_is_told_after_five_echoes_and_gets_nothing_but_tokens() {
    let (mut server, mut stranger) = (server(Keys::shared(key(1))), client(5000, key(2), 2));
    stranger.dial(address(9000), at(0));
    let mut echoes = 0;
    for ms in 0..1700 {
        stranger.tick(at(ms));
        while let Some(packet) = stranger.sent.pop_front() {
            let sent = parse(&packet.bytes).expect("in order").1.next();
            echoes += u32::from(matches!(sent, Some(Frame::SealedEcho(_))));
            server.handle(&packet, at(ms));
        }
        while let Some(packet) = server.sent.pop_front() {
            assert!(matches!(parse(&packet.bytes).expect("in order").1.next(), Some(Frame::SecuredToken(_))));
            stranger.handle(&packet, at(ms));
        }
        if stranger
            .events
            .iter()
            .any(|event| matches!(event, Event::KeyNotAccepted { server_is_secured: true }))
        {
            break;
        }
        assert!(ms < 1699, "nobody told it");
    }
    assert_eq!(echoes, 5);
    assert_eq!(dropped(&server, DropReason::UnknownKey), 5);
    assert!(server.outbound.peers().is_empty());
}

#[test]
fn a_forged_echo_with_a_known_key_id_is_refused() {
    let (mut server, mut client) = (server(Keys::shared(key(1))), client(5000, key(1), 2));
    client.dial(address(9000), at(0));
    server.handle(&client.sent.pop_front().expect("a hello"), at(0));
    client.handle(&server.sent.pop_front().expect("a token"), at(0));
    let mut echo = client.sent.pop_front().expect("an echo");
    let crc_at = echo.bytes.len() - 4;
    let forged = |at_byte: usize| {
        let mut bytes = echo.bytes.clone();
        bytes[at_byte] ^= 1;
        let crc = crc32fast::hash(&bytes[..crc_at]).to_be_bytes();
        bytes[crc_at..].copy_from_slice(&crc);
        Packet { bytes, ..echo.clone() }
    };
    [48, 60, 90, crc_at - 1].iter().for_each(|at_byte| server.handle(&forged(*at_byte), at(1)));
    assert_eq!(dropped(&server, DropReason::UnknownKey), 4);
    // The flags of its frame, which nothing else covers.
    server.handle(&forged(17), at(1));
    assert_eq!(dropped(&server, DropReason::Malformed), 1);
    server.inbound.refuse_strangers_until(at(2).steady);
    server.handle(&forged(17), at(1));
    assert_eq!(dropped(&server, DropReason::Overloaded), 1, "nothing is computed while strangers must wait");
    assert!(server.sent.is_empty(), "to those without the key the server is silent");
    echo.from = address(5001);
    server.handle(&echo, at(2));
    assert_eq!(dropped(&server, DropReason::BadToken), 1, "the token is for another address");
}

#[test]
fn a_plain_client_is_told_that_the_server_is_secured_and_gets_nothing_but_tokens() {
    let (mut server, mut plain) = (server(Keys::shared(key(1))), Node::client(5000, WireFormat::Native, 2));
    plain.dial(address(9000), at(0));
    plain.send(b"1", at(0));
    exchange(&mut server, &mut [&mut plain], at(0));
    plain.send(b"1", at(1));
    exchange(&mut server, &mut [&mut plain], at(1));
    assert!(plain.events.iter().any(|event| matches!(event, Event::ServerIsSecured)));
    assert!(dropped(&server, DropReason::NotSecured) >= 2);
    assert!(server.got.is_empty() && server.outbound.peers().is_empty());
}

#[test]
fn a_plain_server_drops_what_is_secured() {
    let (mut plain, mut secured) = (Node::server(WireFormat::Native), client(5000, key(1), 2));
    secured.dial(address(9000), at(0));
    exchange(&mut plain, &mut [&mut secured], at(0));
    assert_eq!(dropped(&plain, DropReason::Secured), 1, "the sealed echo");
    let (_, mut linked) = linked();
    linked.send(b"1", at(1));
    plain.handle(&linked.sent.pop_front().expect("a message"), at(1));
    assert_eq!(dropped(&plain, DropReason::Secured), 2, "a sealed datagram");
    for ms in 1..1700 {
        secured.tick(at(ms));
        exchange(&mut plain, &mut [&mut secured], at(ms));
    }
    let told = |event: &Event| matches!(event, Event::KeyNotAccepted { server_is_secured: false });
    assert!(secured.events.iter().any(told));
}

#[test]
fn whatever_is_changed_repeated_or_reflected_is_dropped_under_a_reason() {
    let (mut server, mut client) = linked();
    client.send(b"force 1.5", at(1));
    let packet = client.sent.pop_front().expect("a message");
    let before = server.inbound.counters().snapshot();
    let mut count = 0;
    let mut offer = |server: &mut Node, bytes: Vec<u8>| {
        count += 1;
        server.handle(&Packet { bytes, ..packet.clone() }, at(2));
    };
    for bit in 0..packet.bytes.len() * 8 {
        let mut flipped = packet.bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        offer(&mut server, flipped);
    }
    for len in 0..packet.bytes.len() {
        offer(&mut server, packet.bytes[..len].to_vec());
    }
    let after = server.inbound.counters().snapshot();
    assert_eq!(after.datagrams_accepted, before.datagrams_accepted);
    assert_eq!(after.datagrams_dropped.total(), count);
    assert!(server.got.is_empty());
    client.handle(&Packet { from: address(9000), ..packet.clone() }, at(2));
    assert_eq!(dropped(&client, DropReason::Unexpected), 1, "it has come back to its sender");
    server.handle(&packet, at(3));
    assert_eq!(server.got.len(), 1, "the forgeries have done no harm");
    let duplicates = dropped(&server, DropReason::Duplicate);
    server.handle(&packet, at(3));
    assert_eq!((server.got.len(), dropped(&server, DropReason::Duplicate)), (1, duplicates + 1));
}

#[test]
fn a_datagram_of_one_direction_or_session_opens_in_no_other() {
    let keys = Keys::shared(key(1));
    let (mut server, mut one, mut two) = (server(keys), client(5000, key(1), 2), client(5001, key(1), 3));
    for client in [&mut one, &mut two] {
        client.dial(address(9000), at(0));
        exchange(&mut server, &mut [client], at(0));
    }
    let session_of = |packet: &Packet| packet.bytes[4..12].to_vec();
    one.send(b"1", at(1));
    two.send(b"1", at(1));
    let (mut of_one, of_two) = (one.sent.pop_front().expect("sent"), two.sent.pop_front().expect("sent"));
    let mut crossed = of_two.clone();
    crossed.bytes[4..12].copy_from_slice(&session_of(&of_one));
    crossed.from = of_one.from;
    server.handle(&crossed, at(1));
    assert_eq!(dropped(&server, DropReason::BadTag), 1, "of another session");
    of_one.bytes[3] ^= 1;
    one.handle(&Packet { from: address(9000), ..of_one }, at(1));
    assert_eq!(dropped(&one, DropReason::BadTag), 1, "of the other direction");
}

#[test]
fn a_broadcast_is_sealed_for_each_peer_from_what_was_written() {
    let (mut server, mut one, mut two) =
        (server(Keys::shared(key(1))), client(5000, key(1), 2), client(5001, key(1), 3));
    for client in [&mut one, &mut two] {
        client.dial(address(9000), at(0));
        exchange(&mut server, &mut [client], at(0));
    }
    server.send(b"to all", at(1));
    exchange(&mut server, &mut [&mut one, &mut two], at(1));
    assert_eq!([&one, &two].map(|node| node.got[0].payload.clone()), [b"to all"; 2]);
}

#[test]
fn the_old_session_stays_until_the_new_one_has_proven_itself() {
    let (mut server, mut client) = linked();
    // The server is not heard for a while.
    server.sent.clear();
    client.tick(at(100));
    client.tick(at(200));
    client.tick(at(300));
    let hello = client.sent.drain(..).find(|packet| !is_sealed(packet)).expect("a hello");
    server.handle(&hello, at(100));
    client.handle(&server.sent.pop_front().expect("a token"), at(100));
    client.send(b"old", at(100));
    let sealed: Vec<_> = client.sent.drain(..).collect();
    assert_eq!(sealed.len(), 2, "the echo, and a message of the old session");
    server.handle(&sealed[1], at(100));
    assert_eq!(server.got.len(), 1);
    server.handle(&sealed[0], at(101));
    server.send(b"still old", at(101));
    let answers: Vec<_> = server.sent.drain(..).collect();
    let session = |packet: &Packet| packet.bytes[4..12].to_vec();
    assert_eq!(session(&answers[1]), session(&sealed[1]), "both ends use the old session");
    client.handle(&answers[0], at(102));
    exchange(&mut server, &mut [&mut client], at(102));
    assert_eq!(removed(&server), [RemovalReason::Replaced]);
    assert_eq!(removed(&client), [RemovalReason::Replaced]);
    client.send(b"new", at(103));
    exchange(&mut server, &mut [&mut client], at(103));
    assert_eq!(server.got.len(), 2);
    assert_eq!((server.outbound.peers().len(), client.outbound.peers().len()), (1, 1));
}

#[test]
fn forged_tokens_and_notices_change_nothing_in_a_session() {
    let (mut server, mut client) = linked();
    let mut plain = Node::client(5000, WireFormat::Native, 2);
    let mut restarted = Node::new(9000, config(Role::Server, WireFormat::Native), 9);
    plain.dial(address(9000), at(0));
    restarted.handle(&plain.sent.pop_front().expect("a hello"), at(0));
    let mut forged = restarted.sent.pop_front().expect("a token");
    client.send(b"1", at(1));
    let session = client.sent[0].bytes[4..12].to_vec();
    for frame in [5, 8, 9] {
        forged.bytes[4..12].copy_from_slice(&session);
        forged.bytes[16] = frame;
        let crc_at = forged.bytes.len() - 4;
        let crc = crc32fast::hash(&forged.bytes[..crc_at]).to_be_bytes();
        forged.bytes[crc_at..].copy_from_slice(&crc);
        client.handle(&forged, at(1));
    }
    assert_eq!(dropped(&client, DropReason::NotSecured), 2, "the notices");
    assert_eq!(dropped(&client, DropReason::Unexpected), 1, "the token");
    exchange(&mut server, &mut [&mut client], at(1));
    assert_eq!((server.got.len(), removed(&client).len()), (1, 0));
    assert!(client.inbound.hears_a_peer());
}

#[test]
fn a_restarted_server_is_found_again_before_it_counts_as_silent() {
    let (_, mut client) = linked();
    let mut restarted = server(Keys::shared(key(1)));
    for ms in 1..400 {
        client.tick(at(ms));
        restarted.tick(at(ms));
        exchange(&mut restarted, &mut [&mut client], at(ms));
    }
    assert_eq!(removed(&client), [RemovalReason::Replaced]);
    assert_eq!(restarted.outbound.peers().len(), 1);
    assert!(dropped(&restarted, DropReason::UnknownSession) > 0);
}

#[test]
fn nobody_takes_the_address_of_another_identity_that_is_heard() {
    let keys = Keys::new([Identity::new("arm", [key(1)]), Identity::new("hmi", [key(2)])]).expect("in order");
    let (mut server, mut arm, mut hmi) = (server(keys), client(5000, key(1), 2), client(5000, key(2), 3));
    arm.dial(address(9000), at(0));
    exchange(&mut server, &mut [&mut arm], at(0));
    hmi.dial(address(9000), at(1));
    exchange(&mut server, &mut [&mut hmi], at(1));
    assert_eq!(dropped(&server, DropReason::WrongAddress), 1);
    assert!(removed(&server).is_empty());
    let mut restarted = client(5000, key(1), 4);
    restarted.dial(address(9000), at(2));
    exchange(&mut server, &mut [&mut restarted], at(2));
    assert_eq!(removed(&server), [RemovalReason::Replaced], "its own key takes the place");
    let mut moved = client(5001, key(1), 5);
    moved.dial(address(9000), at(3));
    exchange(&mut server, &mut [&mut moved], at(3));
    assert_eq!(server.outbound.peers().len(), 2, "another client with the same key replaces nobody");
}

#[test]
fn a_client_whose_session_cannot_go_on_calls_from_its_new_address_and_replaces_its_own_session() {
    let (mut server, mut client) = linked();
    client.address = address(5001);
    client.dial(address(9000), at(1));
    // Nothing of the old session gets through.
    client.sent.clear();
    client.tick(at(102));
    client.sent.retain(|packet| !is_sealed(packet));
    exchange(&mut server, &mut [&mut client], at(102));
    assert_eq!(removed(&server), [RemovalReason::Replaced]);
    assert_eq!(server.outbound.address_of(peer_of(&server)), Some(address(5001)));
}

#[test]
fn a_full_server_says_so_to_those_who_have_the_key() {
    let mut config = with_keys(Role::Server, Keys::shared(key(1)));
    config.max_peers = 1;
    let mut server = Node::new(9000, config, 1);
    let (mut first, mut second) = (client(5000, key(1), 2), client(5001, key(1), 3));
    for client in [&mut first, &mut second] {
        client.dial(address(9000), at(0));
        exchange(&mut server, &mut [client], at(0));
    }
    assert!(second.events.iter().any(|event| matches!(event, Event::Refused)));
    assert_eq!(dropped(&server, DropReason::PeerTableFull), 1);
    first.close();
    exchange(&mut server, &mut [&mut first], at(500));
    server.tick(at(501));
    second.tick(at(1001));
    exchange(&mut server, &mut [&mut second], at(1001));
    assert_eq!(second.outbound.peers().len(), 1);
}

#[test]
fn a_number_is_spent_by_sealing_even_if_nothing_is_sent() {
    let (mut server, mut client) = linked();
    let peer = peer_of(&client);
    let mut sealed = Vec::new();
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let mut frames = vec![0; 16];
        let (_, bytes) = client.outbound.seal(peer, &mut frames, &mut sealed).expect("the peer is there");
        numbers.push(u32::from_be_bytes(bytes[12..16].try_into().expect("four bytes")));
    }
    assert_eq!(numbers, [1, 2, 3]);
    client.send(b"1", at(1));
    exchange(&mut server, &mut [&mut client], at(1));
    assert_eq!(server.got.len(), 1);
    let rx = support::rx(&server);
    assert_eq!((rx.missing, rx.expected_sequence), (3, 5));
}

#[test]
fn reliable_and_large_messages_cross_a_secured_link() {
    let (mut server, mut client) = linked();
    let head = tautline_proto::wire::native::Head {
        delivery: tautline_proto::Delivery::Reliable,
        content_type: tautline_proto::ContentType::Raw,
        ..plain_head(at(1))
    };
    let large = vec![7; 900];
    client.offer(&head, &large, at(1)).expect("room");
    client.offer(&head, b"small", at(1)).expect("room");
    exchange(&mut server, &mut [&mut client], at(1));
    let payloads: Vec<_> = server.got.iter().map(|got| got.payload.len()).collect();
    assert_eq!(payloads, [900, 5]);
    assert_eq!(client.outcomes.len(), 2);
}

#[test]
#[ignore = "seals 2^24 datagrams; in release"]
fn keys_are_replaced_before_they_are_worn_out_and_worn_keys_refuse() {
    let (mut server, mut client) = linked();
    let peer = peer_of(&client);
    let (mut frames, mut sealed) = (Vec::new(), Vec::new());
    let mut seal = |client: &mut Node| {
        frames.clear();
        frames.resize(16, 0);
        client.outbound.seal(peer, &mut frames, &mut sealed).map(|_| ())
    };
    for _ in 0..1 << 22 {
        seal(&mut client).expect("the key is good for more");
    }
    while seal(&mut client).is_some() {}
    assert!(client.outbound.keys_are_worn_out(peer));
    client.send(b"refused", at(101));
    client.tick(at(101));
    exchange(&mut server, &mut [&mut client], at(101));
    assert_eq!(removed(&client), [RemovalReason::Replaced], "it has called for a new session");
    client.send(b"with new keys", at(102));
    exchange(&mut server, &mut [&mut client], at(102));
    assert_eq!(server.payloads(), ["with new keys"]);
}
