//! A live link: a server and a client with an established session. One of them is attacked.

use std::net::SocketAddr;

use tautline_proto::endpoint::{Role, WireFormat};
use tautline_proto::json::{self, JsonLimits};
use tautline_proto::wire::native::{Head, begin_datagram, begin_message, finish_message};
use tautline_proto::{Id, InboundStats, Now};

use super::mutate::Rng;
use super::support::{Got, Node, Packet, address, at, config, plain_head};

/// The server's port.
const SERVER: u16 = 9000;
/// The client's port.
const CLIENT: u16 = 5000;

/// How many datagrams one datagram may cause at most.
const MAX_ANSWERS: usize = 4;
/// How many events one datagram may cause at most.
const MAX_EVENTS: usize = 8;

pub(crate) struct Link {
    pub(crate) target: Node,
    pub(crate) other: Node,
    wire: WireFormat,
    now_ns: u64,
    fed: u64,
    exchanges: u64,
}

impl Link {
    pub(crate) fn new(wire: WireFormat, target: Role, seed: u8) -> Self {
        let server = Node::new(SERVER, config(Role::Server, wire), seed);
        let client = Node::new(CLIENT, config(Role::Client, wire), seed.wrapping_add(1));
        let (target, other) = if target == Role::Server { (server, client) } else { (client, server) };
        let mut link = Self { target, other, wire, now_ns: 0, fed: 0, exchanges: 0 };
        let now = link.now();
        if link.target.address.port() == CLIENT {
            link.target.dial(address(SERVER), now);
        } else {
            link.other.dial(address(SERVER), now);
        }
        link.carry();
        // A classic server learns of its clients by their first message.
        link.target.send(b"0", now);
        link.other.send(b"0", now);
        link.carry();
        link
    }

    pub(crate) fn now(&self) -> Now {
        at(self.now_ns / 1_000_000)
    }

    pub(crate) fn stats(&self) -> InboundStats {
        self.target.inbound.counters().snapshot()
    }

    /// Sends one datagram to the target and checks the rules. Returns the messages that it brought.
    pub(crate) fn attack(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<Vec<Got>, String> {
        let now = self.now();
        self.now_ns += 10_000;
        self.target.got.clear();
        self.target.events.clear();
        self.target.sent.clear();
        self.fed += 1;
        let packet = Packet { from, to: self.target.address, bytes: bytes.to_vec() };
        self.target.handle(&packet, now);
        self.check_bounds(bytes.len())?;
        let got = std::mem::take(&mut self.target.got);
        got.iter().try_for_each(|got| self.check_message(got))?;
        Ok(got)
    }

    /// Checks that every datagram was accepted or dropped, and that the tables agree.
    pub(crate) fn check_counts(&self) -> Result<(), String> {
        let stats = self.stats();
        if stats.datagrams_received() != self.fed {
            return Err(format!(
                "{} datagrams were sent and {} counted",
                self.fed,
                stats.datagrams_received()
            ));
        }
        self.target.inbound.check_invariants().map_err(|rule| format!("the tables disagree: {rule}"))
    }

    fn check_bounds(&self, received: usize) -> Result<(), String> {
        if self.target.sent.len() > MAX_ANSWERS || self.target.events.len() > MAX_EVENTS {
            return Err(format!("{} answers, {} events", self.target.sent.len(), self.target.events.len()));
        }
        let to_strangers = self.target.sent.iter().filter(|packet| packet.to != self.other.address);
        let answered: usize = to_strangers.map(|packet| packet.bytes.len()).sum();
        if answered > received {
            return Err(format!("{received} bytes of a stranger were answered with {answered} bytes"));
        }
        self.check_counts()
    }

    fn check_message(&self, got: &Got) -> Result<(), String> {
        let limit = config(Role::Server, self.wire).max_message_size;
        let well_formed = match self.wire {
            WireFormat::Native => got.id.len() <= 255 && got.source.len() <= 255,
            WireFormat::Classic(_) => json::check(&got.payload, &JsonLimits::default()).is_ok(),
        };
        if well_formed && got.payload.len() <= limit { Ok(()) } else { Err(format!("delivered: {got:?}")) }
    }

    /// Lets time pass and sends one message in each direction. Returns whether both arrived once and in order.
    pub(crate) fn exchange(&mut self) -> Result<bool, String> {
        self.now_ns += 20_000_000;
        self.exchanges += 1;
        let now = self.now();
        self.target.tick(now);
        self.other.tick(now);
        self.carry();
        (self.target.got, self.other.got) = (Vec::new(), Vec::new());
        let text = format!("{}", self.exchanges);
        let own = |node: &mut Node, to: SocketAddr| {
            node.send(text.as_bytes(), now);
            node.sent.retain(|packet| packet.to == to);
        };
        own(&mut self.target, self.other.address);
        own(&mut self.other, self.target.address);
        self.carry();
        self.check_counts()?;
        let arrived =
            |node: &Node| matches!(&node.got[..], [got] if got.payload == text.as_bytes() && !got.late);
        Ok(arrived(&self.target) && arrived(&self.other))
    }

    /// Carries all datagrams between the two ends.
    fn carry(&mut self) {
        let now = self.now();
        loop {
            if let Some(packet) = self.target.sent.pop_front() {
                if packet.to == self.other.address {
                    self.other.handle(&packet, now);
                }
            } else if let Some(packet) = self.other.sent.pop_front() {
                self.fed += 1;
                self.target.handle(&packet, now);
            } else {
                return;
            }
        }
    }

    /// Returns valid datagrams that the target has not received: messages of all sizes, control frames and handshakes.
    pub(crate) fn fresh_datagrams(&mut self, rng: &mut Rng) -> Vec<Vec<u8>> {
        let now = self.now();
        self.other.sent.clear();
        for _ in 0..12 {
            let len = rng.below(20) * rng.below(60);
            let payload = format!("\"{}\"", "x".repeat(len));
            self.other.send_as(&plain_head(now), payload.as_bytes());
            let full = Head {
                source: Some("rig"),
                destination: Some("hmi"),
                correlation_id: Some(&Id::Number(7)),
                message_id: Some(&Id::from("m")),
                ..plain_head(now)
            };
            self.other.send_as(&full, br#"{"force": [1.5, -2], "on": true}"#);
        }
        if self.wire == WireFormat::Native {
            self.other.tick(Now { steady: now.steady.plus(std::time::Duration::from_millis(100)), ..now });
            self.send_packed(now);
            self.send_handshakes(now);
            self.other.close();
        }
        self.other.sent.drain(..).map(|packet| packet.bytes).collect()
    }

    fn send_packed(&mut self, now: Now) {
        let mut datagram = Vec::new();
        begin_datagram(&mut datagram);
        for _ in 0..5 {
            let start = begin_message(&mut datagram, &plain_head(now)).expect("no texts");
            datagram.extend_from_slice(b"[1, 2, 3]");
            assert!(finish_message(&mut datagram, start), "short");
        }
        datagram.extend_from_slice(&[0; 20]);
        if let Some(&peer) = self.other.outbound.peers().first() {
            self.other.send_datagram(peer, datagram, 5);
        }
    }

    /// Adds the datagrams of a handshake, which the target could receive from the other end's address.
    fn send_handshakes(&mut self, now: Now) {
        let mut server = Node::new(SERVER, config(Role::Server, self.wire), 77);
        let mut client = Node::new(CLIENT, config(Role::Client, self.wire), 78);
        client.dial(address(SERVER), now);
        for _ in 0..3 {
            for packet in client.sent.drain(..).collect::<Vec<_>>() {
                self.other.sent.push_back(packet.clone());
                server.handle(&packet, now);
            }
            for packet in server.sent.drain(..).collect::<Vec<_>>() {
                self.other.sent.push_back(packet.clone());
                client.handle(&packet, now);
            }
        }
    }
}
