//! What strangers cannot do to a server and its peers, on both wires. docs/protocol.md §5.4, §5.5, §6, §8.4.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use support::{Node, Packet, address, at, config, rx, settle};
use tautline_proto::endpoint::{Event, Role, WireFormat};
use tautline_proto::wire::classic::ClassicFormat;
use tautline_proto::wire::native::{
    Control, Frame, Header, Heartbeat, begin_datagram, parse, seal, write_control,
};
use tautline_proto::{DropReason, Network, window};

const CLASSIC: WireFormat = WireFormat::Classic(ClassicFormat { use_crc: true, use_sequence: true });
const NATIVE: WireFormat = WireFormat::Native;

/// A client of this wire, on a host of its own.
fn client_at(host: u8, port: u16, wire: WireFormat) -> Node {
    // No two clients of a test may draw the same session.
    static SEED: AtomicU8 = AtomicU8::new(2);
    let mut node = Node::client(port, wire, SEED.fetch_add(1, Ordering::Relaxed));
    node.address = SocketAddr::from(([10, 0, 0, host], port));
    node
}

/// Lets a client become a peer of the server, and say something.
fn join(server: &mut Node, client: &mut Node, ms: u64) {
    if client.outbound.peers().is_empty() {
        client.dial(server.address, at(ms));
    }
    client.tick(at(ms));
    settle(&mut [server, client], at(ms));
    client.send(b"0", at(ms));
    settle(&mut [server, client], at(ms));
}

fn drops(node: &Node, wanted: DropReason) -> usize {
    node.count(|event| matches!(event, Event::Dropped { reason, .. } if *reason == wanted))
}

/// Turns the server alone until `end`, in steps of 1 ms, while it sends to all. Returns what it sent to the address.
fn broadcast(server: &mut Node, to: SocketAddr, from: u64, end: u64) -> Vec<Packet> {
    for ms in from..end {
        server.tick(at(ms));
        server.send(b"\"a state of the plant\"", at(ms));
    }
    server.sent.drain(..).filter(|packet| packet.to == to).collect()
}

#[test]
fn a_silent_native_peer_gets_heartbeats_at_most() {
    let (mut server, mut client) = (Node::server(NATIVE), client_at(1, 5000, NATIVE));
    join(&mut server, &mut client, 0);
    assert_eq!(server.send(b"1", at(1)), 1);
    server.sent.clear();
    let sent = broadcast(&mut server, client.address, 1, 5000);
    let is_message = |packet: &&Packet| {
        parse(&packet.bytes).expect("in order").1.clone().any(|frame| matches!(frame, Frame::Message(_)))
    };
    let messages = sent.iter().filter(is_message).count();
    assert!((499..=501).contains(&messages), "{messages} messages");
    let others = sent.len() - messages;
    assert!(
        (8..=12).contains(&others),
        "{others} heartbeats: ten a second, and one a second when it is silent"
    );
    client.send(b"1", at(5000));
    settle(&mut [&mut server, &mut client], at(5000));
    assert_eq!(server.send(b"2", at(5001)), 1, "it is heard again");
    server.sent.clear();
    server.tick(at(5002));
    assert_eq!(server.sent.len(), 1, "a heartbeat at once");
}

#[test]
fn a_client_sends_on_to_its_silent_server() {
    for wire in [NATIVE, CLASSIC] {
        let (mut server, mut client) = (Node::server(wire), client_at(1, 5000, wire));
        join(&mut server, &mut client, 0);
        (0..3000).for_each(|ms| client.tick(at(ms)));
        assert_eq!(client.send(b"1", at(3000)), 1, "{wire:?}");
    }
}

#[test]
fn one_classic_datagram_brings_a_quarter_of_a_second_of_messages() {
    let (mut server, mut client) = (Node::server(CLASSIC), client_at(1, 5000, CLASSIC));
    join(&mut server, &mut client, 0);
    let sent = broadcast(&mut server, client.address, 0, 8000);
    assert_eq!(sent.len(), 250);
    assert_eq!(server.count(|event| matches!(event, Event::Silent(_))), 1);
}

#[test]
fn a_classic_peer_that_is_heard_gets_every_message() {
    let mut server = Node::server(CLASSIC);
    let mut client = client_at(1, 5000, CLASSIC);
    join(&mut server, &mut client, 0);
    let mut got = 0;
    for ms in 1..4000 {
        // Five times a second, then every 400 ms.
        if ms % 200 == 0 && (ms < 2000 || ms % 400 == 0) {
            client.send(b"1", at(ms));
        }
        settle(&mut [&mut server, &mut client], at(ms));
        server.tick(at(ms));
        got += server.send(b"1", at(ms));
    }
    assert_eq!(got, 3999);
}

#[test]
fn a_classic_peer_that_is_allowed_by_name_gets_messages_until_it_expires() {
    let mut settings = config(Role::Server, CLASSIC);
    settings.allow = Arc::new(["10.0.0.0/24".parse().expect("a network")]);
    let (mut server, mut client) = (Node::new(9000, settings, 1), client_at(1, 5000, CLASSIC));
    join(&mut server, &mut client, 0);
    assert_eq!(broadcast(&mut server, client.address, 0, 61_000).len(), 60_000);
}

#[test]
fn only_hosts_that_are_allowed_become_peers() {
    let networks = ["10.0.0.4/30", "fd00::/8"].map(|text| text.parse::<Network>().expect("a network"));
    for wire in [NATIVE, CLASSIC] {
        let mut settings = config(Role::Server, wire);
        settings.allow = Arc::new(networks);
        let mut server = Node::new(9000, settings, 1);
        for (host, allowed) in [
            ("10.0.0.5", true),
            ("10.0.0.8", false),
            ("::ffff:10.0.0.6", true),
            ("::ffff:10.0.0.9", false),
            ("fd00::5", true),
            ("fe80::5", false),
        ] {
            let mut client = client_at(1, 5000, wire);
            client.address = SocketAddr::new(host.parse().expect("an address"), 5000);
            let (before, refused) = (server.got.len(), drops(&server, DropReason::NotAllowed));
            join(&mut server, &mut client, 0);
            assert_eq!(server.got.len() > before, allowed, "{wire:?} {host}");
            assert_eq!(drops(&server, DropReason::NotAllowed) > refused, !allowed, "{wire:?} {host}");
            assert!(allowed || client.events.iter().all(|event| !matches!(event, Event::Dropped { .. })));
        }
        assert_eq!(server.outbound.peers().len(), 3);
    }
}

#[test]
fn a_crowd_of_one_host_keeps_no_established_peer_out() {
    for wire in [NATIVE, CLASSIC] {
        let mut server = Node::server(wire);
        let mut controller = client_at(1, 5000, wire);
        join(&mut server, &mut controller, 0);
        let mut crowd: Vec<_> = (0..12).map(|number| client_at(2, 6000 + number, wire)).collect();
        let refused = |server: &Node| drops(server, DropReason::PeerTableFull);
        for (client, ms) in crowd.iter_mut().zip(10..) {
            join(&mut server, client, ms);
        }
        assert_eq!((server.outbound.peers().len(), refused(&server) > 0), (4, true), "{wire:?}");
        // The controller pauses. The crowd goes on, with new ports and old ones.
        for ms in 20..800 {
            for client in &mut crowd {
                if ms % 100 == 0 {
                    join(&mut server, client, ms);
                }
            }
            server.tick(at(ms));
            settle(&mut [&mut server], at(ms));
        }
        let before = server.got.len();
        controller.send(b"1", at(800));
        settle(&mut [&mut server, &mut controller], at(800));
        assert_eq!(server.got.len(), before + 1, "{wire:?}: it still has its place");
    }
}

#[test]
fn who_had_to_make_room_comes_back_into_its_place() {
    let mut server = Node::server(NATIVE);
    let mut controller = client_at(1, 5000, NATIVE);
    join(&mut server, &mut controller, 0);
    let mut others = [2, 3, 4].map(|host| client_at(host, 5000, NATIVE));
    others.iter_mut().for_each(|client| join(&mut server, client, 10));
    // All are heard but the controller. Newcomers come from a host that has a peer already, and from a new one.
    let keep_alive = |server: &mut Node, clients: &mut [Node], from: u64, to: u64| {
        for ms in from..to {
            for client in &mut *clients {
                client.tick(at(ms));
                client.send(b"1", at(ms));
                settle(&mut [server, client], at(ms));
            }
            server.tick(at(ms));
            settle(&mut [server], at(ms));
        }
    };
    keep_alive(&mut server, &mut others, 20, 700);
    let mut same_host = client_at(2, 5001, NATIVE);
    join(&mut server, &mut same_host, 700);
    let mut newcomer = client_at(9, 5000, NATIVE);
    join(&mut server, &mut newcomer, 701);
    assert_eq!((same_host.accepted(), newcomer.accepted()), (1, 0), "only one place was free to take");
    assert!(
        server
            .events
            .iter()
            .any(|event| matches!(event, Event::Removed(_, reason) if reason.name() == "displaced"))
    );
    // The controller finds out by a notice, and takes its place back from the newcomer, which is heard.
    controller.send(b"2", at(720));
    settle(&mut [&mut server, &mut controller], at(720));
    controller.tick(at(721));
    settle(&mut [&mut server, &mut controller, &mut same_host], at(721));
    assert_eq!(controller.accepted(), 2);
    controller.send(b"3", at(722));
    settle(&mut [&mut server, &mut controller], at(722));
    assert_eq!(server.got.last().expect("a message").payload, b"3");
    assert_eq!(server.outbound.peers().len(), 4);
    assert_eq!(server.outbound.peer_at(same_host.address), None, "of the larger crowd, the last one to come");
}

#[test]
fn strangers_that_take_too_long_are_dropped_and_honest_ones_call_again() {
    for wire in [NATIVE, CLASSIC] {
        let mut server = Node::server(wire);
        let (mut friend, mut stranger) = (client_at(1, 5000, wire), client_at(2, 5000, wire));
        join(&mut server, &mut friend, 0);
        assert!(server.inbound.takes_service_of_stranger());
        friend.send(b"1", at(1));
        settle(&mut [&mut server, &mut friend], at(1));
        assert!(!server.inbound.takes_service_of_stranger(), "a peer is no stranger");
        server.inbound.refuse_strangers_until(at(100).steady);
        join(&mut server, &mut stranger, 50);
        assert!(drops(&server, DropReason::Overloaded) > 0, "{wire:?}");
        assert_eq!(server.accepted(), 1);
        friend.send(b"2", at(51));
        settle(&mut [&mut server, &mut friend], at(51));
        assert_eq!(server.got.len(), 3, "a peer is still heard");
        stranger.tick(at(150));
        stranger.send(b"1", at(150));
        settle(&mut [&mut server, &mut stranger], at(150));
        assert_eq!(server.accepted(), 2, "{wire:?}");
    }
}

#[test]
fn only_so_many_strangers_are_admitted_at_once() {
    for wire in [NATIVE, CLASSIC] {
        let mut roomy = config(Role::Server, wire);
        roomy.max_peers = 100;
        let mut server = Node::new(9000, roomy, 1);
        let mut crowd: Vec<_> = (0..80).map(|number| client_at(2, 6000 + number, wire)).collect();
        for (round, most) in [(0, 32), (1, 64), (2, 80)] {
            let ms = round * 100;
            crowd.iter_mut().for_each(|client| join(&mut server, client, ms));
            assert_eq!(server.outbound.peers().len(), most, "{wire:?} at {ms} ms");
        }
        assert!(drops(&server, DropReason::Overloaded) >= 48 + 16, "{wire:?}: each try is counted");
        assert_eq!(server.inbound.newcomers(), 80);
        for ms in 300..1300 {
            for client in &mut crowd[..10] {
                client.send(b"1", at(ms));
                settle(&mut [&mut server, client], at(ms));
            }
            server.tick(at(ms));
        }
        assert_eq!(server.inbound.newcomers(), 0, "ten have grown up, and the others are silent");
        server.inbound.check_invariants().expect("the tables agree");
    }
}

#[test]
fn the_word_that_nobody_listens_hushes_newcomers_alone() {
    let mut server = Node::server(NATIVE);
    let (mut friend, mut stranger) = (client_at(1, 5000, NATIVE), client_at(2, 5000, NATIVE));
    join(&mut server, &mut friend, 0);
    for ms in 1..1200 {
        friend.send(b"1", at(ms));
        settle(&mut [&mut server, &mut friend], at(ms));
        server.tick(at(ms));
    }
    join(&mut server, &mut stranger, 1200);
    assert_eq!(server.send(b"2", at(1201)), 2);
    for address in [friend.address, stranger.address] {
        server.inbound.unreachable(address);
        server.tick(at(1202));
    }
    assert_eq!(server.send(b"2", at(1202)), 1, "who is new is left out");
    stranger.send(b"1", at(1203));
    settle(&mut [&mut server, &mut stranger], at(1203));
    assert_eq!(server.send(b"2", at(1204)), 2, "it is heard again");
    server.inbound.check_invariants().expect("the tables agree");
}

#[test]
fn one_datagram_whose_number_leaps_adds_nothing_to_the_losses() {
    let (mut server, mut client) = (Node::server(NATIVE), client_at(1, 5000, NATIVE));
    join(&mut server, &mut client, 0);
    client.send(b"1", at(1));
    let session = parse(&client.sent[0].bytes).expect("in order").0.session;
    settle(&mut [&mut server, &mut client], at(1));
    let lost = rx(&server).lost;
    let far = |ahead: u32| {
        let mut bytes = Vec::new();
        begin_datagram(&mut bytes);
        write_control(&mut bytes, &Control::Heartbeat(Heartbeat::default()));
        seal(&mut bytes, Header { session, sequence: ahead, from_server: false });
        Packet { from: client.address, to: address(9000), bytes }
    };
    for ahead in [i32::MAX.cast_unsigned(), 1 << 30, 1 << 25] {
        server.handle(&far(ahead), at(2));
    }
    assert_eq!(drops(&server, DropReason::NumberLeap), 3);
    assert_eq!(rx(&server).lost, lost);
    let plausible = u32::try_from(window::MAX_LEAP).expect("small");
    server.handle(&far(plausible), at(3));
    assert!(rx(&server).lost <= lost + window::MAX_LEAP);
    // A sender that really is so far goes on there.
    server.handle(&far(1 << 31), at(4));
    server.handle(&far((1 << 31) + 1), at(4));
    assert_eq!(drops(&server, DropReason::NumberLeap), 4);
}
