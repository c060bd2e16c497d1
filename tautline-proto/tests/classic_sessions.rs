//! Peers of the classic wire: windows, restarts, datagrams of the other wire and of strangers.

mod support;

use support::{Node, Packet, address, at, config, plain_head, settle};
use tautline_proto::endpoint::{Event, RemovalReason, Role, Start, WireFormat, endpoint};
use tautline_proto::wire::classic::{ClassicFormat, seal};
use tautline_proto::wire::native::Head;
use tautline_proto::{DropReason, Now, PeerRxStats, Timestamp};

const CLASSIC: WireFormat = WireFormat::Classic(ClassicFormat { use_crc: true, use_sequence: true });

fn client(port: u16) -> Node {
    let mut client = Node::client(port, CLASSIC, 2);
    client.dial(address(9000), at(0));
    client
}

fn drops(node: &Node, reason: DropReason) -> u64 {
    node.inbound.counters().snapshot().datagrams_dropped.of(reason)
}

/// Returns the counts of the peer that was added last at this port.
fn stats(node: &Node, port: u16) -> PeerRxStats {
    let of_port = |event: &Event| match event {
        Event::Added(peer) if peer.address.port() == port => Some(peer.rx.snapshot()),
        _ => None,
    };
    node.events.iter().rev().find_map(of_port).expect("a peer of this port")
}

/// Returns the datagram of one message.
fn message(client: &mut Node, payload: &str, now: Now) -> Packet {
    assert_eq!(client.send(payload.as_bytes(), now), 1);
    client.sent.pop_back().expect("just sent")
}

/// Sends `count` messages that arrive in order. Returns their datagrams.
fn talk(server: &mut Node, client: &mut Node, count: usize, now: Now) -> Vec<Packet> {
    let packets: Vec<_> = (0..count).map(|n| message(client, &n.to_string(), now)).collect();
    packets.iter().for_each(|packet| server.handle(packet, now));
    packets
}

fn restarts(node: &Node) -> usize {
    node.count(|event| matches!(event, Event::Restarted(_)))
}

#[test]
fn each_of_three_clients_has_its_own_window_and_is_answered() {
    let mut server = Node::server(CLASSIC);
    let mut clients = [client(5000), client(5001), client(5002)];
    for round in 0..200 {
        for client in &mut clients {
            talk(&mut server, client, 1, at(round));
            assert_eq!(server.send(b"\"answer\"", at(round)), server.outbound.peers().len());
        }
        let [a, b, c] = &mut clients;
        settle(&mut [&mut server, a, b, c], at(round));
    }
    for (n, client) in clients.iter().enumerate() {
        let stats = stats(&server, 5000 + u16::try_from(n).expect("small"));
        assert_eq!((stats.datagrams, stats.sequence_errors(), stats.missing), (200, 0, 0));
        assert_eq!(stats.expected_sequence, 200);
        assert!(client.got.len() >= 598, "{}", client.got.len());
        assert_eq!(support::rx(client).sequence_errors(), 0);
    }
    assert_eq!(server.got.len(), 600);
}

/// Restarts a client on its port after `before` messages. The server must receive every message after the restart.
fn restart_after(before: usize) {
    let mut server = Node::server(CLASSIC);
    talk(&mut server, &mut client(5000), before, at(1));
    let mut reborn = client(5000);
    for n in 0..200 {
        let packet = message(&mut reborn, &format!("\"new {n}\""), at(100 + n));
        server.handle(&packet, at(100 + n));
    }
    assert_eq!(server.got.len(), before + 200, "after {before}");
    assert_eq!(server.got[before].payload, b"\"new 0\"");
    assert_eq!((restarts(&server), stats(&server, 5000).lives), (1, 2), "after {before}");
    assert_eq!((stats(&server, 5000).lost, stats(&server, 5000).missing), (0, 0));
    assert_eq!(server.accepted(), 1, "the peer keeps its id");
}

#[test]
fn restarted_client_on_the_same_port_is_heard_from_its_first_message() {
    for before in [1, 2, 3, 63, 64, 65, 66, 1000] {
        restart_after(before);
    }
}

/// Restarts a client some of whose datagrams are missing. Afterwards, its datagrams arrive from number `first_heard` on.
fn restart_into_gaps(missing: &[u64], first_heard: u64, wait_ms: u64) {
    let mut server = Node::server(CLASSIC);
    let mut old = client(5000);
    for n in 0..11 {
        let packet = message(&mut old, "\"old\"", at(1));
        if !missing.contains(&n) {
            server.handle(&packet, at(1));
        }
    }
    let before = server.got.len();
    let mut reborn = client(5000);
    for n in 0..100 {
        let packet = message(&mut reborn, &n.to_string(), at(wait_ms + n));
        if n >= first_heard {
            server.handle(&packet, at(wait_ms + n));
        }
    }
    let new: Vec<_> = server.payloads().split_off(before);
    let expected: Vec<_> = (first_heard..100).map(|n| n.to_string()).collect();
    assert_eq!(new, expected, "{missing:?}, {first_heard}, {wait_ms}");
}

#[test]
fn restart_while_numbers_are_missing_loses_nothing() {
    for missing in [&[0][..], &[1], &[0, 1, 2], &[1, 3, 5], &[9], &[3, 4]] {
        for first_heard in [0, 1, 3] {
            // Before and after the missing numbers are counted as lost.
            for wait_ms in [2, 2000] {
                restart_into_gaps(missing, first_heard, wait_ms);
            }
        }
    }
}

#[test]
fn restart_after_more_than_half_of_all_numbers_counts_nothing_as_lost() {
    let mut server = Node::server(CLASSIC);
    let mut old = old_client(5000, 0x8000_0100);
    talk(&mut server, &mut old, 5, at(1));
    let mut reborn = client(5000);
    talk(&mut server, &mut reborn, 5, at(100));
    assert_eq!(server.got.len(), 10);
    assert_eq!((restarts(&server), stats(&server, 5000).lost), (1, 0));
}

/// A client whose numbers continue those of an earlier connection.
fn old_client(port: u16, first_number: u64) -> Node {
    let mut node = Node::client(port, CLASSIC, 2);
    let start = Start { seed: [2; 16], first_number, ..Start::default() };
    (node.inbound, node.outbound) = endpoint(config(Role::Client, CLASSIC), start);
    node.dial(address(9000), at(0));
    node
}

#[test]
fn numbers_continue_after_a_reconnect_and_beyond_32_bits() {
    let mut server = Node::server(CLASSIC);
    let mut first = old_client(5000, u64::from(u32::MAX) - 9);
    talk(&mut server, &mut first, 8, at(1));
    assert_eq!(first.outbound.next_first_number(), u64::from(u32::MAX) - 1);
    let mut second = old_client(5000, first.outbound.next_first_number());
    talk(&mut server, &mut second, 100, at(1));
    let stats = stats(&server, 5000);
    assert_eq!((stats.datagrams, stats.sequence_errors(), stats.missing, stats.lives), (108, 0, 0, 1));
}

#[test]
fn duplicate_is_dropped() {
    let mut server = Node::server(CLASSIC);
    let packets = talk(&mut server, &mut client(5000), 100, at(1));
    packets.iter().rev().take(64).for_each(|packet| server.handle(packet, at(2)));
    assert_eq!((server.got.len(), drops(&server, DropReason::Duplicate)), (100, 64));
    packets.iter().take(36).for_each(|packet| server.handle(packet, at(2)));
    assert_eq!((server.got.len(), drops(&server, DropReason::TooOld)), (100, 36));
    assert_eq!(restarts(&server), 0);
}

#[test]
fn delayed_datagrams_from_before_a_restart_are_not_delivered() {
    let mut server = Node::server(CLASSIC);
    let old = talk(&mut server, &mut client(5000), 100, at(1));
    let mut reborn = client(5000);
    talk(&mut server, &mut reborn, 3, at(100));
    // Their numbers lie before, among and after the new numbers.
    old.iter().for_each(|packet| server.handle(packet, at(101)));
    assert_eq!((server.got.len(), restarts(&server)), (103, 1));
    talk(&mut server, &mut reborn, 3, at(102));
    assert_eq!((server.got.len(), stats(&server, 5000).lost), (106, 0));
}

#[test]
fn client_is_heard_after_its_clock_was_set_back_following_a_restart() {
    let mut server = Node::server(CLASSIC);
    talk(&mut server, &mut client(5000), 10, at(50_000));
    let mut reborn = client(5000);
    talk(&mut server, &mut reborn, 3, at(51_000));
    let set_back = Now { steady: at(62_000).steady, wall: at(1000).wall };
    talk(&mut server, &mut reborn, 3, set_back);
    assert_eq!(server.got.len(), 16);
}

#[test]
fn late_message_is_marked_and_delivered_once() {
    let mut server = Node::server(CLASSIC);
    let mut client = client(5000);
    let packets: Vec<_> = (0..3).map(|n| message(&mut client, &n.to_string(), at(1))).collect();
    for index in [0, 2, 1, 1] {
        server.handle(&packets[index], at(1));
    }
    let got: Vec<_> = server.got.iter().map(|got| (&got.payload[..], got.late)).collect();
    assert_eq!(got, [(&b"0"[..], false), (b"2", false), (b"1", true)]);
}

#[test]
fn datagrams_of_the_other_wire_are_recognised_by_both_wires() {
    for crc in [true, false] {
        let format = ClassicFormat { use_crc: crc, use_sequence: true };
        let mut classic = Node::server(WireFormat::Classic(format));
        let mut native = Node::client(5000, WireFormat::Native, 2);
        native.dial(address(9000), at(0));
        settle(&mut [&mut classic, &mut native], at(0));
        assert_eq!(drops(&classic, DropReason::OtherWire), 1, "crc {crc}");
    }
    for (crc, sequence) in [(true, true), (true, false), (false, true), (false, false)] {
        let format = ClassicFormat { use_crc: crc, use_sequence: sequence };
        let mut native = Node::server(WireFormat::Native);
        let mut classic = Node::client(5000, WireFormat::Classic(format), 2);
        classic.dial(address(9000), at(0));
        classic.send(b"1", at(1));
        settle(&mut [&mut native, &mut classic], at(1));
        assert_eq!(drops(&native, DropReason::OtherWire), 1, "crc {crc}, sequence {sequence}");
        assert!(native.events.iter().all(|event| matches!(event, Event::Dropped { .. })));
    }
}

#[test]
fn messages_arrive_with_every_setting_of_crc_and_sequence() {
    for (crc, sequence) in [(true, true), (true, false), (false, true), (false, false)] {
        let wire = WireFormat::Classic(ClassicFormat { use_crc: crc, use_sequence: sequence });
        let (mut server, mut client) = (Node::server(wire), Node::client(5000, wire, 2));
        client.dial(address(9000), at(0));
        let packet = message(&mut client, "[1]", at(1));
        server.handle(&packet, at(1));
        server.handle(&packet, at(1));
        // Without sequence numbers, duplicates cannot be detected.
        let expected = if sequence { vec!["[1]"] } else { vec!["[1]"; 2] };
        assert_eq!(server.payloads(), expected, "crc {crc}, sequence {sequence}");
        server.send(b"[2]", at(1));
        settle(&mut [&mut server, &mut client], at(1));
        assert_eq!(client.payloads(), ["[2]"]);
    }
}

#[test]
fn unlike_settings_of_the_two_ends_are_named_at_both_ends() {
    let formats = [(true, true), (true, false), (false, true), (false, false)];
    let formats = formats.map(|(use_crc, use_sequence)| ClassicFormat { use_crc, use_sequence });
    for (of_server, of_client) in formats.into_iter().flat_map(|one| formats.map(|other| (one, other))) {
        let reason = match (
            of_server.use_crc != of_client.use_crc,
            of_server.use_sequence != of_client.use_sequence,
        ) {
            (false, false) => continue,
            (true, false) => DropReason::OtherCrc,
            (false, true) => DropReason::OtherSequence,
            (true, true) => DropReason::OtherCrcAndSequence,
        };
        let mut server = Node::server(WireFormat::Classic(of_server));
        let mut client = Node::client(5000, WireFormat::Classic(of_client), 2);
        client.dial(address(9000), at(0));
        for n in 1..=100 {
            let packet = message(&mut client, &n.to_string(), at(n));
            server.handle(&packet, at(n));
        }
        assert_eq!((drops(&server, reason), server.got.len()), (100, 0), "{of_server:?} {of_client:?}");
        assert!(server.outbound.peers().is_empty());

        // The same datagrams with the roles exchanged: what the client says comes from the server's address.
        let mut listening = Node::client(5001, WireFormat::Classic(of_server), 3);
        listening.dial(address(9000), at(0));
        let packet = message(&mut client, "1", at(1));
        listening.handle(&Packet { from: address(9000), ..packet }, at(1));
        assert_eq!((drops(&listening, reason), listening.got.len()), (1, 0), "{of_server:?} {of_client:?}");
    }
}

#[test]
fn datagrams_of_a_living_peer_are_damaged_and_not_of_other_settings() {
    let format = ClassicFormat { use_crc: true, use_sequence: false };
    let mut server = Node::server(WireFormat::Classic(format));
    let mut client = Node::client(5000, WireFormat::Classic(format), 2);
    client.dial(address(9000), at(0));
    let mut packet = message(&mut client, "17", at(1));
    server.handle(&packet, at(1));
    let last_digit = packet.bytes.len() - 2;
    packet.bytes[last_digit] = b'8';
    server.handle(&packet, at(2));
    assert_eq!((drops(&server, DropReason::BadCrc), server.got.len()), (1, 1));
}

/// Returns the datagram of one message with this time stamp, as Python programs with simulated time send it.
fn simulated(client: &mut Node, payload: &str, seconds: f64) -> Packet {
    let stamp = Timestamp::from(seconds);
    let head = Head { timestamp: stamp.wall(), exact: stamp.beyond_wall(), ..plain_head(at(0)) };
    assert_eq!(client.send_as(&head, payload.as_bytes()), 1);
    client.sent.pop_back().expect("just sent")
}

#[test]
fn restart_is_recognised_by_any_clock_that_goes_on() {
    for tick in [1e-10, 1.0, 1e9, 1e300] {
        let (mut server, mut old) = (Node::server(CLASSIC), client(5000));
        for n in 1..=10 {
            let packet = simulated(&mut old, "\"old\"", f64::from(n) * tick);
            server.handle(&packet, at(1));
        }
        let packet = simulated(&mut client(5000), "\"new\"", 11.0 * tick);
        server.handle(&packet, at(2));
        assert_eq!((server.got.len(), restarts(&server)), (11, 1), "{tick}");
    }
}

#[test]
fn client_listens_only_to_its_server() {
    let mut client = client(5000);
    let mut stranger = Node::client(666, CLASSIC, 3);
    stranger.dial(address(5000), at(0));
    let forged = message(&mut stranger, "\"forged\"", at(1));
    client.handle(&forged, at(1));
    assert_eq!((client.got.len(), drops(&client, DropReason::WrongAddress)), (0, 1));
    client.handle(&Packet { from: address(9000), ..forged }, at(1));
    assert_eq!(client.got.len(), 1);
}

#[test]
fn server_that_was_never_heard_is_not_reported_as_silent() {
    let mut client = client(5000);
    for ms in (0..100_000).step_by(1000) {
        client.tick(at(ms));
    }
    assert_eq!(client.count(|event| matches!(event, Event::Silent(_))), 0);
    assert_eq!(client.inbound.next_timeout(), None);
    assert_eq!(client.send(b"1", at(100_000)), 1);
}

#[test]
fn strangers_cannot_replace_living_peers() {
    let mut server = Node::server(CLASSIC);
    let mut clients: Vec<_> = (0..4).map(|n| client(5000 + n)).collect();
    for round in 0..50 {
        for client in &mut clients {
            talk(&mut server, client, 1, at(round * 100));
        }
        for port in 6000..6100 {
            talk(&mut server, &mut client(port), 1, at(round * 100));
        }
        server.tick(at(round * 100 + 50));
    }
    assert_eq!(server.accepted(), 4);
    assert_eq!(server.got.len(), 200);
    // In each round, 32 newcomers are looked at, four of which have become peers in the first one.
    let refused = drops(&server, DropReason::PeerTableFull);
    assert_eq!((refused, drops(&server, DropReason::Overloaded)), (50 * 32 - 4, 5000 - (50 * 32 - 4)));
}

#[test]
fn of_the_silent_peers_the_one_that_came_last_makes_room() {
    let mut server = Node::server(CLASSIC);
    for (port, ms) in [(5000, 10), (5001, 20), (5002, 30), (5003, 400)] {
        talk(&mut server, &mut client(port), 1, at(ms));
    }
    server.tick(at(600));
    talk(&mut server, &mut client(6000), 1, at(601));
    let removed = server.events.iter().find_map(|event| match event {
        Event::Removed(id, RemovalReason::Displaced) => Some(*id),
        _ => None,
    });
    assert_eq!(removed, Some(server.got[2].peer));
    assert_eq!(server.got.len(), 5);
}

#[test]
fn silent_peer_is_reported_expires_and_comes_back_as_a_new_peer() {
    let mut server = Node::server(CLASSIC);
    let mut client = client(5000);
    talk(&mut server, &mut client, 10, at(0));
    server.tick(at(499));
    assert_eq!(server.count(|event| matches!(event, Event::Silent(_))), 0);
    server.tick(at(500));
    assert_eq!(server.count(|event| matches!(event, Event::Silent(_))), 1);
    assert_eq!(stats(&server, 5000).timeouts, 1);
    talk(&mut server, &mut client, 1, at(600));
    assert_eq!(server.count(|event| matches!(event, Event::Heard(_))), 1);
    server.tick(at(1100));
    server.tick(at(60_599));
    assert_eq!(server.outbound.peers().len(), 1);
    server.tick(at(60_600));
    assert!(server.outbound.peers().is_empty());
    talk(&mut server, &mut client, 1, at(61_000));
    assert_eq!((server.accepted(), server.got.len()), (2, 12));
    assert_ne!(server.got[0].peer, server.got[11].peer);
}

#[test]
fn payload_above_the_limit_is_dropped_as_too_large() {
    let mut server = Node::server(CLASSIC);
    let mut client = client(5000);
    for (len, count) in [(1000, 1), (1001, 1)] {
        let payload = format!("\"{}\"", "x".repeat(len - 2));
        server.handle(&message(&mut client, &payload, at(1)), at(1));
        assert_eq!(server.got.len(), count, "{len} bytes");
    }
    assert_eq!(drops(&server, DropReason::TooLarge), 1);
}

#[test]
fn a_datagram_that_is_dropped_for_its_envelope_does_not_count_as_lost_too() {
    let mut server = Node::server(CLASSIC);
    let mut client = client(5000);
    let WireFormat::Classic(format) = CLASSIC else { unreachable!("the classic wire") };
    for n in 0..100 {
        let mut packet =
            message(&mut client, &format!("\"{}\"", "x".repeat(if n % 5 == 1 { 1000 } else { 9 })), at(n));
        if n % 5 == 3 {
            let last = packet.bytes.len() - 1;
            packet.bytes[last] = b' ';
            seal(&mut packet.bytes, format, u32::try_from(n).expect("small"));
            // A repeated one is dropped for its envelope, as before it.
            server.handle(&packet, at(n));
        }
        server.handle(&packet, at(n));
    }
    let (malformed, too_large) =
        (drops(&server, DropReason::Malformed), drops(&server, DropReason::TooLarge));
    assert_eq!((malformed, too_large, server.got.len()), (40, 20, 60));
    // The time in which a late one would still count has passed.
    server.handle(&message(&mut client, "1", at(60_000)), at(60_000));
    let stats = stats(&server, 5000);
    assert_eq!((stats.lost, stats.missing, stats.sequence_errors()), (0, 0, 0));
}

#[test]
fn default_ids_are_unique_within_one_microsecond() {
    let mut server = Node::server(CLASSIC);
    let mut client = client(5000);
    for _ in 0..100 {
        client.send_as(&plain_head(at(1)), b"1");
    }
    settle(&mut [&mut server, &mut client], at(1));
    let ids: std::collections::HashSet<_> = server.got.iter().map(|got| got.id.clone()).collect();
    assert_eq!(ids.len(), 100);
}
