//! Sessions that move to another address, and those who want them to. docs/protocol.md §11.7.

mod support;

use std::net::SocketAddr;

use support::{Node, Packet, address, at, config, plain_head};
use tautline_proto::endpoint::{Event, RemovalReason, Role, WireFormat};
use tautline_proto::secure::{Identity, Key, Keys};
use tautline_proto::wire::native::{Head, begin_datagram};
use tautline_proto::{Delivery, DropReason, Network, PeerId};

/// The time from one end to the other, in milliseconds.
const WAY: u64 = 10;

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

/// A server and a client, whose address changes. What is sent to an address at which nobody is gets lost.
struct Link {
    server: Node,
    client: Node,
    ms: u64,
    /// What is on its way, and when it arrives.
    flying: Vec<(u64, Packet)>,
    /// What the server has sent to addresses at which the client was not.
    astray: Vec<Packet>,
    attacker: Option<Attacker>,
    /// How many milliseconds longer it takes to the client's first address.
    slower: u64,
}

/// Somebody who sees everything, is faster than the network, and cannot open anything.
#[derive(Clone, Copy)]
struct Attacker {
    address: SocketAddr,
    /// Whether it passes on to the client what the server sends it.
    relays: bool,
}

impl Link {
    fn new() -> Self {
        Self::with(4, |_| {})
    }

    fn with(max_peers: usize, set: impl FnOnce(&mut tautline_proto::endpoint::EndpointConfig)) -> Self {
        let keys = || Keys::new([Identity::new("arm", [key(1)]), Identity::new("hmi", [key(2)])]);
        let secured = |role, keys: Keys| {
            let mut config = config(role, WireFormat::Native);
            (config.security, config.max_peers) = (Some(keys), max_peers);
            config
        };
        let mut server_config = secured(Role::Server, keys().expect("in order"));
        set(&mut server_config);
        let mut link = Self {
            server: Node::new(9000, server_config, 1),
            client: Node::new(5000, secured(Role::Client, Keys::shared(key(1))), 2),
            ms: 0,
            flying: Vec::new(),
            astray: Vec::new(),
            attacker: None,
            slower: 0,
        };
        link.client.dial(address(9000), at(0));
        link.run(500);
        assert_eq!(link.server.outbound.peers().len(), 1);
        link
    }

    /// Lets this many milliseconds pass.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            self.client.tick(at(self.ms));
            self.server.tick(at(self.ms));
            self.launch();
            let (due, later) = self.flying.drain(..).partition(|(at, _)| *at <= self.ms);
            self.flying = later;
            for (_, packet) in Vec::from_iter(due) {
                self.arrive(packet);
            }
            self.launch();
        }
    }

    /// As [`run`](Self::run), with a message each way in each millisecond.
    fn talk(&mut self, ms: u64) {
        for _ in 0..ms {
            self.client.send(self.ms.to_string().as_bytes(), at(self.ms));
            self.server.send(self.ms.to_string().as_bytes(), at(self.ms));
            self.run(1);
        }
    }

    fn launch(&mut self) {
        let sent: Vec<_> = self.client.sent.drain(..).chain(self.server.sent.drain(..)).collect();
        for packet in sent {
            if let Some(attacker) = self.attacker.filter(|_| packet.to == self.server.address) {
                self.flying.push((self.ms + 1, Packet { from: attacker.address, ..packet.clone() }));
            }
            let slower = if packet.to == address(5000) { self.slower } else { 0 };
            self.flying.push((self.ms + WAY + slower, packet));
        }
    }

    fn arrive(&mut self, packet: Packet) {
        if packet.to == self.server.address {
            return self.server.handle(&packet, at(self.ms));
        }
        let is_relayed =
            self.attacker.is_some_and(|attacker| attacker.relays && packet.to == attacker.address);
        if packet.to == self.client.address || is_relayed {
            self.client.handle(&Packet { to: self.client.address, ..packet }, at(self.ms));
        } else {
            self.astray.push(packet);
        }
    }

    /// The client has another address, and does not know it.
    fn rebind(&mut self, port: u16) {
        self.client.address = address(port);
    }

    fn peer(&self) -> PeerId {
        self.server.outbound.peers()[0]
    }

    fn address(&self) -> Option<SocketAddr> {
        self.server.outbound.address_of(self.peer())
    }

    fn moves(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let of = |event: &Event| match event {
            Event::Moved { from, to, .. } => Some((*from, *to)),
            _ => None,
        };
        self.server.events.iter().filter_map(of).collect()
    }

    fn sessions(&self) -> (usize, usize) {
        (self.server.accepted(), self.client.accepted())
    }

    fn assert_each_message_came_once(&self) {
        for node in [&self.server, &self.client] {
            let mut payloads = node.payloads();
            let all = payloads.len();
            payloads.sort_unstable();
            payloads.dedup();
            assert_eq!(payloads.len(), all);
        }
    }
}

fn dropped(node: &Node, reason: DropReason) -> u64 {
    node.inbound.counters().snapshot().datagrams_dropped.of(reason)
}

fn all_dropped(node: &Node) -> u64 {
    node.inbound.counters().snapshot().datagrams_dropped.total()
}

#[test]
fn a_session_follows_its_client_within_two_round_trips_and_nothing_of_the_client_is_lost() {
    let mut link = Link::new();
    let before = (all_dropped(&link.server), all_dropped(&link.client));
    for port in 5001..5021 {
        let (got, sent_at) = (link.client.got.len(), link.ms);
        let from_client = link.server.got.len();
        link.rebind(port);
        link.talk(4 * WAY + 10);
        assert_eq!(link.address(), Some(address(port)));
        assert!(link.client.got.len() > got, "nothing came within 2 round trips and 10 ms");
        link.talk(500);
        link.run(2 * WAY);
        assert_eq!(link.server.got.len() - from_client, usize::try_from(link.ms - sent_at).unwrap() - 20);
    }
    assert_eq!((link.moves().len(), link.sessions()), (20, (1, 1)));
    assert_eq!((all_dropped(&link.server), all_dropped(&link.client)), before);
    link.assert_each_message_came_once();
    assert!(link.server.count(|event| matches!(event, Event::Stale(_) | Event::Silent(_))) == 0);
}

#[test]
fn an_idle_session_follows_with_its_next_heartbeat() {
    let mut link = Link::new();
    link.rebind(5001);
    link.run(100 + 4 * WAY + 10);
    assert_eq!((link.address(), link.sessions()), (Some(address(5001)), (1, 1)));
    // A datagram that is shorter than a challenge asks for none.
    assert!(link.astray.iter().all(|packet| packet.to == address(5000)));
}

#[test]
fn nothing_but_challenges_goes_to_an_address_that_has_not_answered_and_they_are_no_longer_than_what_came() {
    let mut link = Link::new();
    link.talk(50);
    // Somebody sends copies from another address, which arrive first, and answers nothing.
    link.attacker = Some(Attacker { address: address(6666), relays: false });
    let before = link.server.inbound.counters().snapshot().datagrams_accepted;
    link.astray.clear();
    link.talk(1000);
    for _ in 0..100 {
        // Its acknowledgement rides on what follows, and not on a challenge.
        let head = Head { delivery: Delivery::Reliable, ..plain_head(at(link.ms)) };
        link.client.offer(&head, b"\"reliable\"", at(link.ms)).expect("it has room");
        link.run(10);
    }
    let came = link.server.inbound.counters().snapshot().datagrams_accepted - before;
    assert!(came > 1000);
    let there: Vec<_> = link.astray.iter().filter(|packet| packet.to == address(6666)).collect();
    assert!(
        there.iter().all(|packet| packet.bytes.len() == 45),
        "{:?}",
        there.iter().map(|p| p.bytes.len()).max()
    );
    assert!(
        (2..=2000 / (2 * WAY)).contains(&(there.len() as u64)),
        "{} challenges in 100 round trips",
        there.len()
    );
    assert_eq!((link.address(), link.moves()), (Some(address(5000)), vec![]));
    link.attacker = None;
    link.run(200);
    assert_eq!((link.server.got.len(), link.client.got.len()), (1150, 1050));
}

#[test]
fn a_datagram_that_is_shorter_than_a_challenge_causes_none() {
    let mut link = Link::new();
    link.rebind(5001);
    let mut nothing = Vec::new();
    begin_datagram(&mut nothing);
    link.client.send_datagram(link.client.outbound.peers()[0], nothing, 0);
    link.client.send(b"long enough", at(link.ms));
    for challenges in [0, 2] {
        let packet = link.client.sent.pop_front().expect("sent");
        link.server.handle(&packet, at(link.ms));
        assert_eq!(link.server.sent.len(), challenges);
    }
}

#[test]
fn who_passes_copies_and_challenges_on_faster_does_not_get_the_session() {
    let mut link = Link::new();
    link.attacker = Some(Attacker { address: address(6666), relays: true });
    link.talk(2000);
    link.attacker = None;
    link.run(200);
    assert_eq!((link.address(), link.moves()), (Some(address(5000)), vec![]), "the old address answers too");
    assert_eq!((link.server.got.len(), link.client.got.len()), (2000, 2000));
    link.assert_each_message_came_once();
}

#[test]
fn a_late_answer_of_the_old_address_takes_the_session_back() {
    let mut link = Link::new();
    link.attacker = Some(Attacker { address: address(6666), relays: true });
    // The way to the old address takes longer than it did.
    link.slower = 2 * WAY;
    link.talk(100);
    link.attacker = None;
    link.run(500);
    let there_and_back = [(address(5000), address(6666)), (address(6666), address(5000))];
    let moves = link.moves();
    assert!(!moves.is_empty() && moves.chunks(2).all(|pair| pair == there_and_back), "{moves:?}");
    assert_eq!((link.address(), link.sessions()), (Some(address(5000)), (1, 1)));
    link.assert_each_message_came_once();
}

#[test]
fn what_was_recorded_moves_nothing() {
    let mut link = Link::new();
    link.client.send(b"stop", at(link.ms));
    let recorded: Vec<_> = link.client.sent.iter().cloned().collect();
    link.run(100);
    let before = dropped(&link.server, DropReason::Duplicate);
    for packet in &recorded {
        link.server.handle(&Packet { from: address(6666), ..packet.clone() }, at(link.ms));
    }
    assert_eq!(dropped(&link.server, DropReason::Duplicate) - before, recorded.len() as u64);
    assert!(link.server.sent.is_empty());
    let mut forged = recorded[0].clone();
    forged.from = address(6666);
    forged.bytes[15] += 50;
    link.server.handle(&forged, at(link.ms));
    assert_eq!((dropped(&link.server, DropReason::BadTag), link.server.sent.len()), (1, 0));
    assert_eq!(link.address(), Some(address(5000)));
}

#[test]
fn a_session_does_not_move_to_a_forbidden_address() {
    let network: Network = "10.0.0.1/32".parse().expect("a network");
    let mut link = Link::with(4, |config| config.allow = [network].into());
    link.client.address = SocketAddr::from(([10, 0, 0, 2], 5000));
    link.talk(300);
    assert_eq!((link.address(), link.moves().len()), (Some(address(5000)), 0));
    assert!(dropped(&link.server, DropReason::NotAllowed) >= 200);
    assert!(link.astray.iter().all(|packet| packet.to == address(5000)));
}

#[test]
fn a_session_moves_in_a_full_table_and_displaces_nobody() {
    let mut link = Link::with(1, |_| {});
    link.rebind(5001);
    link.talk(200);
    assert_eq!(link.address(), Some(address(5001)));
    assert_eq!(link.server.count(|event| matches!(event, Event::Removed(..))), 0);
}

#[test]
fn a_session_does_not_move_to_the_address_of_somebody_who_is_heard_there() {
    let mut link = Link::new();
    let mut other = Node::new(
        5009,
        {
            let mut config = config(Role::Client, WireFormat::Native);
            config.security = Some(Keys::shared(key(2)));
            config
        },
        7,
    );
    other.dial(address(9000), at(link.ms));
    support::settle(&mut [&mut other, &mut link.server], at(link.ms));
    assert_eq!(link.server.outbound.peers().len(), 2);
    link.rebind(5009);
    let before = dropped(&link.server, DropReason::WrongAddress);
    link.talk(100);
    assert!(dropped(&link.server, DropReason::WrongAddress) - before >= 80);
    assert_eq!(link.moves().len(), 0);
    // The other one is silent now. Its address is somebody else's.
    link.run(600);
    link.talk(200);
    assert_eq!(link.address(), Some(address(5009)));
    let gone = |event: &Event| matches!(event, Event::Removed(_, RemovalReason::Replaced));
    assert!(link.server.count(gone) >= 1);
}

#[test]
fn a_plain_session_does_not_move() {
    let mut server = Node::server(WireFormat::Native);
    let mut client = Node::client(5000, WireFormat::Native, 2);
    client.dial(address(9000), at(0));
    support::settle(&mut [&mut client, &mut server], at(0));
    client.address = address(5001);
    client.send(b"1", at(1));
    let before = server.got.len();
    support::settle(&mut [&mut client, &mut server], at(1));
    assert_eq!((server.got.len(), dropped(&server, DropReason::WrongAddress)), (before, 1));
}

#[test]
fn a_client_that_knows_of_its_new_address_keeps_its_session_and_is_back_after_a_round_trip() {
    let mut link = Link::new();
    link.rebind(5001);
    link.run(700);
    let (server, client) = link.sessions();
    // Its network was away, too.
    link.client.address = address(5002);
    link.client.sent.clear();
    link.client.dial(address(9000), at(link.ms));
    let heard_before = link.client.count(|event| matches!(event, Event::Heard(_)));
    link.run(2 * WAY + 2);
    assert_eq!(link.client.count(|event| matches!(event, Event::Heard(_))), heard_before + 1);
    link.talk(300);
    assert_eq!((link.sessions(), link.address()), ((server, client), Some(address(5002))));
}

#[test]
fn a_client_whose_server_has_forgotten_it_calls_after_a_heartbeat_interval() {
    let mut link = Link::new();
    let keys = Keys::new([Identity::new("arm", [key(1)])]).expect("in order");
    let mut config = config(Role::Server, WireFormat::Native);
    config.security = Some(keys);
    link.server = Node::new(9000, config, 9);
    link.rebind(5001);
    link.client.dial(address(9000), at(link.ms));
    link.run(100 + 6 * WAY);
    assert_eq!((link.sessions(), link.address()), ((1, 2), Some(address(5001))));
}

#[test]
fn the_size_of_the_path_begins_anew_where_the_session_has_moved() {
    let mut link = Link::with(4, |config| config.datagram_size = 1472);
    let size = |link: &Link| link.server.outbound.datagram_size_to(link.peer());
    assert!(size(&link) > 1200, "it was probed");
    link.rebind(5001);
    while link.moves().is_empty() {
        link.run(1);
    }
    assert_eq!(size(&link), 1200 - 12, "a tag takes twelve bytes more than a CRC");
    link.run(500);
    assert!(size(&link) > 1200, "it is probed again");
}

#[test]
fn reliable_messages_go_on_in_a_session_that_moves() {
    let mut link = Link::new();
    let offered = 60;
    for number in 0..offered {
        link.rebind(5001 + number / 10);
        for node in [&mut link.client, &mut link.server] {
            let head = Head { delivery: Delivery::Ordered, ..plain_head(at(link.ms)) };
            node.offer(&head, number.to_string().as_bytes(), at(link.ms)).expect("it has room");
        }
        link.run(20);
    }
    link.run(1000);
    let expected: Vec<_> = (0..offered).map(|number| number.to_string()).collect();
    assert_eq!((link.server.payloads(), link.client.payloads()), (expected.clone(), expected));
    assert_eq!((link.moves().len(), link.sessions()), (6, (1, 1)));
}

#[test]
fn a_report_of_the_network_silences_no_newcomer_who_has_a_key() {
    let mut link = Link::new();
    link.server.inbound.unreachable(address(5000));
    assert_eq!(link.server.send(b"1", at(link.ms)), 1);
}
