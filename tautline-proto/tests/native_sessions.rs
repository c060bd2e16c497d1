//! Sessions of the native wire: handshake, restarts, attempts to take over a session, liveness, closing.

mod support;

use std::time::Duration;

use support::{Node, Packet, address, at, config, rx, settle};
use tautline_proto::DropReason;
use tautline_proto::endpoint::{Event, RemovalReason, Role, SentDatagrams, WireFormat};
use tautline_proto::wire::crc32;
use tautline_proto::wire::native::{Control, Header, PathProbe, begin_datagram, parse, seal, write_control};

fn pair() -> (Node, Node) {
    let (mut server, mut client) =
        (Node::server(WireFormat::Native), Node::client(5000, WireFormat::Native, 2));
    client.dial(address(9000), at(0));
    settle(&mut [&mut server, &mut client], at(0));
    (server, client)
}

fn drops(node: &Node, reason: DropReason) -> u64 {
    node.inbound.counters().snapshot().datagrams_dropped.of(reason)
}

#[test]
fn hello_token_echo_accept_connects_both_ends() {
    let (mut server, mut client) = pair();
    assert_eq!((server.accepted(), client.accepted()), (1, 1));
    assert_eq!(client.send(b"1", at(1)), 1);
    assert_eq!(server.send(b"2", at(1)), 1);
    settle(&mut [&mut server, &mut client], at(1));
    assert_eq!((server.payloads(), client.payloads()), (vec!["1".into()], vec!["2".into()]));
    assert_eq!((server.got[0].source.as_str(), client.got[0].source.as_str()), ("controller", "plant"));
}

#[test]
fn first_message_carries_the_echo() {
    let (mut server, mut client) =
        (Node::server(WireFormat::Native), Node::client(5000, WireFormat::Native, 2));
    client.dial(address(9000), at(0));
    let hello = client.sent.pop_front().unwrap();
    server.handle(&hello, at(0));
    let token = server.sent.pop_front().unwrap();
    client.handle(&token, at(0));
    client.send(b"1", at(0));
    // The datagram with the echo alone is lost. The message carries the echo again.
    client.sent.pop_front().unwrap();
    settle(&mut [&mut server, &mut client], at(0));
    assert_eq!(server.payloads(), ["1"]);
    assert_eq!(client.accepted(), 1);
}

#[test]
fn what_is_dropped_for_its_frames_or_flags_is_not_lost_too() {
    let (mut server, mut client) = pair();
    let mut packets = Vec::new();
    for number in 0..3 {
        client.send(number.to_string().as_bytes(), at(1));
        packets.extend(client.sent.pop_front());
    }
    let (header, _) = parse(&packets[1].bytes).expect("it is in order");
    // A frame that reaches beyond the datagram; a flag of another version.
    packets[1].bytes.truncate(16);
    packets[1].bytes.extend([1, 0, 0xff, 0xff]);
    seal(&mut packets[1].bytes, header);
    let crc_at = packets[2].bytes.len() - 4;
    packets[2].bytes[3] |= 8;
    let crc = crc32(&packets[2].bytes[..crc_at]).to_be_bytes();
    packets[2].bytes[crc_at..].copy_from_slice(&crc);
    for packet in packets.iter().chain(&packets[1..]) {
        server.handle(packet, at(1));
    }
    // Who is not the peer marks nothing.
    let mut far = packets[1].clone();
    far.bytes.truncate(20);
    seal(&mut far.bytes, Header { sequence: header.sequence + 9, ..header });
    server.handle(&Packet { from: address(666), ..far }, at(1));
    let now = rx(&server);
    assert_eq!((now.lost, now.missing, now.duplicate), (0, 0, 0));
    assert_eq!((drops(&server, DropReason::Malformed), drops(&server, DropReason::UnsupportedFlags)), (3, 2));
    client.send(b"3", at(2));
    settle(&mut [&mut server, &mut client], at(2));
    assert_eq!(server.payloads(), ["0", "3"]);
    let end = rx(&server);
    assert_eq!((end.lost, end.missing, end.late), (0, 0, 0));
}

#[test]
fn forged_hello_creates_no_peer_and_gets_no_longer_answer() {
    let mut server = Node::server(WireFormat::Native);
    let mut client = Node::client(5000, WireFormat::Native, 2);
    client.dial(address(9000), at(0));
    let hello = client.sent.pop_front().unwrap();
    for port in 1..2000 {
        server.handle(&Packet { from: address(port), ..hello.clone() }, at(0));
        let answer = server.sent.pop_front().expect("a token");
        assert!(answer.bytes.len() <= hello.bytes.len());
    }
    assert!(server.events.is_empty(), "{:?}", server.events);
}

#[test]
fn token_of_another_address_is_refused() {
    let mut server = Node::server(WireFormat::Native);
    let mut client = Node::client(5000, WireFormat::Native, 2);
    client.dial(address(9000), at(0));
    let hello = client.sent.pop_front().unwrap();
    server.handle(&hello, at(0));
    client.handle(&server.sent.pop_front().unwrap(), at(0));
    let echo = client.sent.pop_front().unwrap();
    server.handle(&Packet { from: address(666), ..echo }, at(0));
    assert_eq!((server.accepted(), drops(&server, DropReason::BadToken)), (0, 1));
}

#[test]
fn restarted_client_on_the_same_port_is_heard_from_its_first_message() {
    let (mut server, mut client) = pair();
    for number in 0..100 {
        client.send(number.to_string().as_bytes(), at(1));
    }
    settle(&mut [&mut server, &mut client], at(1));
    let mut reborn = Node::client(5000, WireFormat::Native, 3);
    reborn.dial(address(9000), at(2));
    settle(&mut [&mut server, &mut reborn], at(2));
    reborn.send(b"\"reborn\"", at(3));
    settle(&mut [&mut server, &mut reborn], at(3));
    assert_eq!(server.payloads().last().unwrap(), "\"reborn\"");
    let replaced = |event: &Event| matches!(event, Event::Removed(_, RemovalReason::Replaced));
    assert_eq!(server.count(replaced), 1);
    // A message of the old session that is still in flight is not delivered.
    client.send(b"\"old\"", at(4));
    settle(&mut [&mut server], at(4));
    let old = client.sent.pop_front().unwrap();
    server.handle(&old, at(4));
    assert_eq!(server.payloads().last().unwrap(), "\"reborn\"");
    assert_eq!(drops(&server, DropReason::UnknownSession), 1);
}

#[test]
fn report_about_a_removed_peer_does_not_change_its_successor() {
    let (mut server, _) = pair();
    let gone = server.outbound.peers()[0];
    let mut reborn = Node::client(5000, WireFormat::Native, 3);
    reborn.dial(address(9000), at(2));
    settle(&mut [&mut server, &mut reborn], at(2));
    let next_number = server.outbound.next_first_number();
    server.outbound.sent(gone, SentDatagrams::one(100, 1));
    assert_eq!(server.outbound.next_first_number(), next_number);
}

#[test]
fn restarted_server_sends_a_notice_and_the_client_calls_again() {
    let (_, mut client) = pair();
    let mut server = Node::new(9000, config(Role::Server, WireFormat::Native), 9);
    client.send(b"1", at(10));
    settle(&mut [&mut server, &mut client], at(10));
    assert_eq!(client.accepted(), 2);
    client.send(b"2", at(11));
    settle(&mut [&mut server, &mut client], at(11));
    assert_eq!(server.payloads(), ["2"]);
}

#[test]
fn notices_are_short_and_rate_limited() {
    let (_, mut client) = pair();
    let mut server = Node::new(9000, config(Role::Server, WireFormat::Native), 9);
    client.send(b"1", at(10));
    let datagram = client.sent.pop_front().unwrap();
    for _ in 0..1000 {
        server.handle(&datagram, at(10));
    }
    assert!(server.sent.iter().all(|notice| notice.bytes.len() <= datagram.bytes.len()));
    assert!(server.sent.len() <= 100, "{}", server.sent.len());
}

#[test]
fn datagram_of_a_stolen_session_is_dropped() {
    let (mut server, mut client) = pair();
    client.send(b"1", at(1));
    let stolen = Packet { from: address(666), ..client.sent[0].clone() };
    server.handle(&stolen, at(1));
    assert_eq!(drops(&server, DropReason::WrongAddress), 1);
    settle(&mut [&mut server, &mut client], at(1));
    assert_eq!(server.payloads(), ["1"]);
    assert!(!server.got[0].late);
}

#[test]
fn datagram_that_comes_back_to_its_sender_is_dropped() {
    let (_, mut client) = pair();
    client.send(b"1", at(1));
    let reflected = client.sent.pop_front().unwrap();
    client.handle(&Packet { from: address(9000), ..reflected }, at(1));
    assert_eq!(drops(&client, DropReason::Unexpected), 1);
    assert!(client.got.is_empty());
}

#[test]
fn duplicate_is_counted_and_not_delivered() {
    let (mut server, mut client) = pair();
    client.send(b"1", at(1));
    let datagram = client.sent.pop_front().unwrap();
    for _ in 0..3 {
        server.handle(&datagram, at(1));
    }
    assert_eq!(server.payloads(), ["1"]);
    assert_eq!(drops(&server, DropReason::Duplicate), 2);
}

#[test]
fn repeated_echo_does_not_reopen_a_closed_session() {
    let (mut server, mut client) =
        (Node::server(WireFormat::Native), Node::client(5000, WireFormat::Native, 2));
    client.dial(address(9000), at(0));
    let hello = client.sent.pop_front().unwrap();
    server.handle(&hello, at(0));
    client.handle(&server.sent.pop_front().unwrap(), at(0));
    client.send(b"1", at(0));
    let recorded: Vec<_> = client.sent.iter().cloned().collect();
    settle(&mut [&mut server, &mut client], at(0));
    let mut close = Vec::new();
    assert!(client.outbound.write_close(&mut close));
    let peer = client.outbound.peers()[0];
    client.send_datagram(peer, close, 0);
    settle(&mut [&mut server], at(1));
    let closed = client.sent.pop_front().unwrap();
    server.handle(&closed, at(1));
    for packet in &recorded {
        server.handle(packet, at(2));
    }
    assert_eq!((server.payloads(), server.accepted()), (vec!["1".into()], 1));
}

#[test]
fn silent_server_is_detected_and_heard_again_in_the_same_session() {
    let (mut server, mut client) = pair();
    let before = client.outbound.peers().to_vec();
    for ms in (0..1000).step_by(50) {
        client.tick(at(ms));
        client.sent.clear(); // the cable is unplugged
    }
    assert_eq!(client.count(|event| matches!(event, Event::Silent(_))), 1);
    server.send(b"1", at(1000));
    settle(&mut [&mut server, &mut client], at(1000));
    assert_eq!(client.count(|event| matches!(event, Event::Heard(_))), 1);
    assert_eq!(client.outbound.peers(), before);
    assert_eq!(client.payloads(), ["1"]);
}

#[test]
fn server_is_stale_once_before_it_is_heard_again() {
    let (mut server, mut client) = pair();
    let stale = |event: &Event| matches!(event, Event::Stale(_));
    for ms in (0..250).step_by(10) {
        client.tick(at(ms));
        client.sent.clear(); // the cable is unplugged
    }
    assert_eq!(client.count(stale), 0);
    client.tick(at(250));
    client.tick(at(300));
    assert_eq!((client.count(stale), client.count(|event| matches!(event, Event::Silent(_)))), (1, 0));
    server.send(b"1", at(310));
    settle(&mut [&mut server, &mut client], at(310));
    assert_eq!(client.count(|event| matches!(event, Event::Heard(_))), 1);
    client.tick(at(559));
    assert_eq!(client.count(stale), 1);
    client.tick(at(560));
    assert_eq!(client.count(stale), 2, "stale again");
}

#[test]
fn heartbeats_keep_an_idle_link_alive_and_measure_it() {
    let (mut server, mut client) = pair();
    for ms in 0..3000 {
        server.tick(at(ms));
        client.tick(at(ms));
        settle(&mut [&mut server, &mut client], at(ms));
    }
    let silent = |event: &Event| matches!(event, Event::Silent(_) | Event::Stale(_));
    assert_eq!((server.count(silent), client.count(silent)), (0, 0));
    let Some(Event::Added(peer)) = client.events.first() else { panic!("{:?}", client.events.first()) };
    let path = peer.rx.snapshot().path.expect("measured");
    assert!(path.samples > 20);
    assert_eq!((path.rtt, path.jitter, path.clock_offset_ns), (Duration::ZERO, Duration::ZERO, 0));
}

#[test]
fn heartbeats_that_are_due_soon_go_together_but_not_too_early_and_not_too_many() {
    let mut many = config(Role::Server, WireFormat::Native);
    (many.max_peers, many.liveness_timeout) = (100, Duration::from_secs(10));
    let mut server = Node::new(9000, many, 1);
    let mut seeds = 2..;
    let mut heartbeats = Vec::new();
    for ms in 0..=312 {
        let newcomers = match ms {
            0 | 102 | 204 => 30,
            212 => 1,
            _ => 0,
        };
        for seed in seeds.by_ref().take(newcomers) {
            let mut client =
                Node::new(5000 + u16::from(seed), config(Role::Client, WireFormat::Native), seed);
            client.dial(address(9000), at(ms));
            settle(&mut [&mut server, &mut client], at(ms));
        }
        server.sent.clear();
        while server.inbound.next_timeout().is_some_and(|due| due <= at(ms).steady) {
            let before = server.sent.len();
            server.tick(at(ms));
            assert!(server.sent.len() - before <= 16, "no more than 16 together");
        }
        heartbeats.push(server.sent.len());
    }
    assert_eq!(server.accepted(), 91);
    assert_eq!((heartbeats[0], heartbeats[100], heartbeats[102]), (30, 30, 30), "the first ones at once");
    assert_eq!((heartbeats[200], heartbeats[202]), (32, 28), "two of the second 16 are 2 ms early");
    assert_eq!((heartbeats[300], heartbeats[302], heartbeats[304]), (32, 32, 26), "so are four");
    assert_eq!(heartbeats[312], 1, "8 ms are too early");
    assert_eq!(heartbeats.iter().sum::<usize>(), 91 + 30 + 60 + 91);
}

#[test]
fn full_table_refuses_new_clients_and_keeps_living_peers() {
    let mut server = Node::server(WireFormat::Native);
    let mut clients: Vec<_> = (0..5).map(|n| Node::client(5000 + n, WireFormat::Native, 2)).collect();
    // Clients with the same seed would get the same session.
    for (n, client) in clients.iter_mut().enumerate() {
        let config = config(Role::Client, WireFormat::Native);
        *client = Node::new(5000 + u16::try_from(n).unwrap(), config, u8::try_from(n).unwrap() + 10);
        client.dial(address(9000), at(0));
        settle(&mut [&mut server, client], at(0));
    }
    assert!(clients[..4].iter().all(|client| client.accepted() == 1));
    assert_eq!(clients[4].count(|event| matches!(event, Event::Refused)), 1);
    assert_eq!(server.accepted(), 4);
    assert_eq!(drops(&server, DropReason::PeerTableFull), 1);
}

#[test]
fn silent_peer_makes_room_for_a_new_client() {
    let mut server = Node::server(WireFormat::Native);
    for n in 0..4 {
        let mut client = Node::new(5000 + n, config(Role::Client, WireFormat::Native), 10);
        let seed = u8::try_from(n).unwrap() + 10;
        client = Node::new(client.address.port(), config(Role::Client, WireFormat::Native), seed);
        client.dial(address(9000), at(0));
        settle(&mut [&mut server, &mut client], at(0));
    }
    server.tick(at(600));
    server.sent.clear();
    let mut late = Node::client(6000, WireFormat::Native, 77);
    late.dial(address(9000), at(601));
    settle(&mut [&mut server, &mut late], at(601));
    assert_eq!(late.accepted(), 1);
}

#[test]
fn expired_peer_leaves_nothing_behind() {
    let (mut server, _) = pair();
    server.tick(at(600));
    server.tick(at(60_100));
    let expired = |event: &Event| matches!(event, Event::Removed(_, RemovalReason::Expired));
    assert_eq!(server.count(expired), 1);
    assert!(server.outbound.peers().is_empty());
    assert_eq!(server.inbound.next_timeout(), None);
}

#[test]
fn datagrams_lost_at_the_end_are_counted_after_the_next_heartbeat() {
    let (mut server, mut client) = pair();
    for _ in 0..10 {
        client.send(b"1", at(1));
    }
    client.sent.clear();
    client.tick(at(101));
    settle(&mut [&mut server, &mut client], at(101));
    server.tick(at(1200));
    let Some(Event::Added(peer)) = server.events.first() else { panic!() };
    assert_eq!((peer.rx.snapshot().lost, peer.rx.snapshot().missing), (10, 0));
}

#[test]
fn missing_datagrams_of_a_removed_peer_are_counted_as_lost() {
    let (mut server, mut client) = pair();
    for _ in 0..5 {
        client.send(b"1", at(1));
    }
    client.sent.drain(1..4);
    client.close();
    settle(&mut [&mut server, &mut client], at(1));
    assert_eq!((support::rx(&server).lost, support::rx(&server).missing), (3, 0));
}

#[test]
fn a_lost_probe_of_a_removed_peer_is_not_counted_as_lost() {
    let (mut server, mut client) = pair();
    for _ in 0..5 {
        client.send(b"1", at(1));
    }
    let header = parse(&client.sent[1].bytes).expect("in order").0;
    client.sent.drain(1..4);
    // It names the second of the three that are missing.
    let mut bytes = Vec::new();
    begin_datagram(&mut bytes);
    let probe = PathProbe { named: header.sequence + 1, ..PathProbe::default() };
    write_control(&mut bytes, &Control::PathProbe(probe));
    seal(&mut bytes, Header { sequence: header.sequence + 4, ..header });
    client.sent.push_back(Packet { from: client.address, to: server.address, bytes });
    settle(&mut [&mut server, &mut client], at(1));
    let counted = |server: &Node| {
        let rx = support::rx(server);
        assert_eq!(rx.datagrams + rx.lost + rx.missing + rx.probes_lost, rx.expected_sequence);
        (rx.lost, rx.missing, rx.probes_lost)
    };
    assert_eq!(counted(&server), (0, 2, 1));
    server.tick(at(60_100));
    assert_eq!(server.count(|event| matches!(event, Event::Removed(_, RemovalReason::Expired))), 1);
    assert_eq!(counted(&server), (2, 0, 1));
}
