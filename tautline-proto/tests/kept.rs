//! Incomplete and held-back messages of many peers: what a server keeps of all of them is bounded, and none keeps another out.

mod support;

use support::{Node, address, at, config, plain_head, settle};
use tautline_proto::endpoint::{Role, WireFormat};
use tautline_proto::wire::native::{HEADER_LEN, Head, Pack, TRAILER_LEN};
use tautline_proto::{Delivery, DropReason};

const SERVER: u16 = 9000;
const PEERS: usize = 150;
const SIZE: usize = 60_000;

/// What a server keeps of all peers, in bytes. docs/protocol.md §4.5.
const MOST: usize = 16 << 20;

fn node(role: Role, port: u16) -> Node {
    let mut config = config(role, WireFormat::Native);
    (config.max_message_size, config.max_peers) = (SIZE, 256);
    Node::new(port, config, u8::try_from(port % 251).expect("small"))
}

/// A server, and clients that are connected to it.
struct Crowd {
    server: Node,
    clients: Vec<Node>,
    ms: u64,
}

impl Crowd {
    fn new(count: usize) -> Self {
        let mut crowd = Self { server: node(Role::Server, SERVER), clients: Vec::new(), ms: 0 };
        (0..count).for_each(|_| crowd.add());
        crowd
    }

    /// Connects one more client. A server admits only some at once.
    fn add(&mut self) {
        self.ms += 2;
        let mut client = node(Role::Client, 10_000 + u16::try_from(self.clients.len()).expect("few"));
        client.dial(address(SERVER), at(self.ms));
        settle(&mut [&mut self.server, &mut client], at(self.ms));
        assert!(!client.outbound.peers().is_empty());
        self.clients.push(client);
    }

    /// Hands the server the first of what each client has sent last.
    fn deliver_first(&mut self, index: usize, count: usize) {
        let packets: Vec<_> = self.clients[index].sent.drain(..).take(count).collect();
        // Not by `Node::handle`: its checks walk all tables after each datagram.
        for packet in &packets {
            let (now, mut scratch) = (at(self.ms), Vec::new());
            let accepted = self.server.inbound.handle(now, packet.from, &packet.bytes, &mut scratch);
            if let Some(accepted) = accepted {
                assert_eq!(self.server.inbound.messages(&accepted).count(), 0, "nothing is complete");
            }
            while self.server.inbound.poll_command().is_some() {}
        }
        self.server.tick(at(self.ms));
        self.server.sent.clear();
    }

    fn dropped(&self, reason: DropReason) -> usize {
        let count = self.server.inbound.counters().snapshot().messages_dropped.of(reason);
        usize::try_from(count).expect("few")
    }

    /// How many peers of those before could keep two of their messages.
    fn with_two() -> usize {
        MOST / (2 * SIZE)
    }

    /// Lets one more client send a large message, whole.
    fn one_more_sends(&mut self, send: impl Fn(&mut Node, u64)) {
        self.add();
        let index = self.clients.len() - 1;
        send(&mut self.clients[index], self.ms);
        for _ in 0..20 {
            self.ms += 1;
            let mut client = self.clients.pop().expect("one");
            client.tick(at(self.ms));
            settle(&mut [&mut self.server, &mut client], at(self.ms));
            self.clients.push(client);
        }
        let got: Vec<_> = self.server.got.iter().map(|got| got.payload.len()).collect();
        assert_eq!(got, [SIZE]);
    }
}

/// Sends a large best-effort message.
fn send_large(client: &mut Node, ms: u64) {
    let peer = client.outbound.peers()[0];
    let mut body = Vec::new();
    let started = client.encoder.begin(&mut body, &plain_head(at(ms))).expect("no texts");
    body.extend_from_slice(&[b'1'; SIZE]);
    let _ = client.encoder.finish(&mut body, started);
    let (number, size) = (client.encoder.next_large(), client.outbound.datagram_size_to(peer));
    for pack in Pack::of_large(&body[HEADER_LEN..], number, size).expect("few fragments") {
        for (fragment, messages) in pack.datagrams() {
            let end = if messages == 0 { fragment.len() - TRAILER_LEN } else { fragment.len() };
            client.send_datagram(peer, fragment[..end].to_vec(), messages);
        }
    }
}

fn offer(client: &mut Node, delivery: Delivery, ms: u64) {
    let head = Head { delivery, ..plain_head(at(ms)) };
    client.offer(&head, &[b'1'; SIZE], at(ms)).expect("room");
}

#[test]
fn incomplete_best_effort_messages_of_all_peers_are_bounded() {
    let mut crowd = Crowd::new(PEERS);
    for index in (0..2).flat_map(|_| 0..PEERS) {
        send_large(&mut crowd.clients[index], crowd.ms);
        crowd.deliver_first(index, 3);
    }
    // The first ones have room for a second message. It takes the place of the first one of the others.
    let (dropped, expected) = (crowd.dropped(DropReason::Incomplete), 2 * (PEERS - Crowd::with_two()));
    assert!((expected - 3..=expected + 3).contains(&dropped), "{dropped} dropped, {expected} expected");
    crowd.one_more_sends(send_large);
}

#[test]
fn incomplete_reliable_messages_of_all_peers_are_bounded() {
    let mut crowd = Crowd::new(PEERS);
    for index in 0..PEERS {
        // Of the first message one fragment is missing, of the second most.
        offer(&mut crowd.clients[index], Delivery::Reliable, crowd.ms);
        crowd.clients[index].sent.pop_front();
        offer(&mut crowd.clients[index], Delivery::Reliable, crowd.ms);
        crowd.deliver_first(index, 55);
    }
    let refused = crowd.dropped(DropReason::NoRoom);
    assert!(refused >= PEERS - Crowd::with_two() - 3, "{refused} refused");
    crowd.one_more_sends(|client, ms| offer(client, Delivery::Reliable, ms));
}

#[test]
fn held_back_messages_of_all_peers_are_bounded() {
    let mut crowd = Crowd::new(250);
    for index in 0..250 {
        // The first message never comes, so the second is held back when it is complete.
        let (ms, client) = (crowd.ms, &mut crowd.clients[index]);
        let head = Head { delivery: Delivery::Ordered, ..plain_head(at(ms)) };
        client.offer(&head, b"1", at(ms)).expect("room");
        client.sent.clear();
        offer(client, Delivery::Ordered, ms);
        for _ in 0..30 {
            client.offer(&head, &[b'2'; 1_000], at(ms)).expect("room");
        }
        crowd.deliver_first(index, 100);
    }
    let refused = crowd.dropped(DropReason::NoRoom);
    assert!(refused > 0 && crowd.server.got.is_empty(), "{refused} refused");
    crowd.one_more_sends(|client, ms| offer(client, Delivery::Ordered, ms));
}

#[test]
fn what_peers_kept_makes_room_when_they_leave() {
    let mut crowd = Crowd::new(PEERS);
    for index in 0..PEERS {
        send_large(&mut crowd.clients[index], crowd.ms);
        crowd.deliver_first(index, 3);
        offer(&mut crowd.clients[index], Delivery::Reliable, crowd.ms);
        crowd.deliver_first(index, 3);
    }
    for index in 0..PEERS {
        crowd.clients[index].close();
        crowd.deliver_first(index, 1);
    }
    // Every message is counted, and the invariants that `support` checks hold.
    assert_eq!(crowd.dropped(DropReason::Incomplete) + crowd.dropped(DropReason::NoRoom), 2 * PEERS);
    crowd.one_more_sends(send_large);
}
