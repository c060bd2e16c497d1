//! Endpoints in memory, and the datagrams between them. No sockets, no clocks, no sleeps.
#![allow(dead_code)] // each test file uses a part of it

use std::collections::VecDeque;
use std::net::SocketAddr;

use tautline_proto::endpoint::{
    Command, Encoder, EndpointConfig, Event, Inbound, Outbound, Outcome, Refusal, Role, SentDatagrams, Start,
    WireFormat, endpoint,
};
use tautline_proto::wire::native::{HEADER_LEN, Head, OwnershipAct};
use tautline_proto::{ContentType, Instant, Now, PeerId, PeerRxStats, WallTime};

/// A datagram in flight.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// A message that a node received.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Got {
    pub peer: PeerId,
    /// The full number of the datagram that brought it.
    pub number: Option<u64>,
    pub id: String,
    pub source: String,
    pub payload: Vec<u8>,
    pub late: bool,
}

/// One endpoint at one address.
pub(crate) struct Node {
    pub address: SocketAddr,
    pub inbound: Inbound,
    pub outbound: Outbound,
    pub encoder: Encoder,
    pub sent: VecDeque<Packet>,
    pub got: Vec<Got>,
    pub events: Vec<Event>,
    /// The receipts and outcomes of reliable messages, in the order in which they ended.
    pub outcomes: Vec<(u64, Outcome)>,
    pub receipts: u64,
    /// The claims and releases that were sent, each with its datagram.
    pub asked: Vec<(Vec<u8>, OwnershipAct)>,
}

pub(crate) fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

/// Returns the time `ms` milliseconds after the start, on both clocks.
pub(crate) fn at(ms: u64) -> Now {
    let ns = (ms + 1) * 1_000_000;
    Now {
        steady: Instant::from_nanos(ns),
        wall: WallTime::from_nanos(1_700_000_000_000_000_000 + ns.cast_signed()),
    }
}

pub(crate) fn config(role: Role, wire: WireFormat) -> EndpointConfig {
    let mut config = EndpointConfig::new(role, wire);
    config.name = match role {
        Role::Server => "plant".into(),
        Role::Client => "controller".into(),
    };
    config.max_peers = 4;
    config.max_message_size = 1000;
    config
}

/// Returns the metadata of a message without optional fields.
pub(crate) fn plain_head(now: Now) -> Head<'static> {
    Head { timestamp: now.wall, content_type: ContentType::Json, ..Head::default() }
}

impl Node {
    pub(crate) fn new(port: u16, config: EndpointConfig, seed: u8) -> Self {
        let encoder = Encoder::new(&config);
        let (inbound, outbound) = endpoint(config, Start { seed: [seed; 16], ..Start::default() });
        Self {
            address: address(port),
            inbound,
            outbound,
            encoder,
            sent: VecDeque::new(),
            got: Vec::new(),
            events: Vec::new(),
            outcomes: Vec::new(),
            receipts: 0,
            asked: Vec::new(),
        }
    }

    pub(crate) fn server(wire: WireFormat) -> Self {
        Self::new(9000, config(Role::Server, wire), 1)
    }

    pub(crate) fn client(port: u16, wire: WireFormat, seed: u8) -> Self {
        Self::new(port, config(Role::Client, wire), seed)
    }

    pub(crate) fn dial(&mut self, server: SocketAddr, now: Now) {
        self.inbound.dial(server, now);
        self.drain(now);
    }

    pub(crate) fn handle(&mut self, packet: &Packet, now: Now) {
        let mut scratch = Vec::new();
        let accepted = self.inbound.handle(now, packet.from, &packet.bytes, &mut scratch);
        self.carry_out_commands(now);
        if let Some(accepted) = accepted {
            let (peer, number, late) = (accepted.peer(), accepted.number(), accepted.is_late());
            self.got.extend(self.inbound.messages(&accepted).map(|message| Got {
                peer,
                number,
                id: message.message_id.to_string(),
                source: message.source.as_deref().unwrap_or_default().to_string(),
                payload: message.payload.to_vec(),
                late,
            }));
        }
        self.drain(now);
    }

    pub(crate) fn tick(&mut self, now: Now) {
        self.inbound.handle_timeout(now);
        self.drain(now);
        self.deliver(now);
    }

    /// Queues a reliable message for the first peer, and sends what is due. Returns its receipt.
    pub(crate) fn offer(&mut self, head: &Head<'_>, payload: &[u8], now: Now) -> Result<u64, Refusal> {
        self.offer_until(head, payload, now, None)
    }

    /// As [`offer`](Self::offer), but the message is abandoned at `expires`.
    pub(crate) fn offer_until(
        &mut self,
        head: &Head<'_>,
        payload: &[u8],
        now: Now,
        expires: Option<Instant>,
    ) -> Result<u64, Refusal> {
        let peer = self.outbound.peers()[0];
        let mut body = Vec::new();
        let started = self.encoder.begin(&mut body, head).expect("texts that fit");
        body.extend_from_slice(payload);
        let _ = self.encoder.finish(&mut body, started);
        self.receipts += 1;
        self.outbound.offer(peer, &body[HEADER_LEN..], self.receipts, expires)?;
        self.deliver(now);
        Ok(self.receipts)
    }

    /// Sends the reliable messages that are due.
    pub(crate) fn deliver(&mut self, now: Now) {
        let mut out = Vec::new();
        while let Some(due) = self.outbound.poll_delivery(now.steady, false, &mut out) {
            self.send_datagram(due.peer, out.clone(), due.messages);
        }
        while let Some(outcome) = self.outbound.poll_outcome() {
            self.outcomes.push(outcome);
        }
    }

    /// Sends `payload` to all peers that listen. Returns how many there are.
    pub(crate) fn send(&mut self, payload: &[u8], now: Now) -> usize {
        self.send_as(&plain_head(now), payload)
    }

    /// Sends a message with this metadata to all peers that listen. Returns how many there are.
    pub(crate) fn send_as(&mut self, head: &Head<'_>, payload: &[u8]) -> usize {
        let mut body = Vec::new();
        let started = self.encoder.begin(&mut body, head).expect("texts that fit");
        body.extend_from_slice(payload);
        assert!(self.encoder.finish(&mut body, started));
        let peers = self.outbound.listeners().to_vec();
        for &peer in &peers {
            self.send_datagram(peer, body.clone(), 1);
        }
        peers.len()
    }

    /// Closes the sessions with all peers.
    pub(crate) fn close(&mut self) {
        for peer in self.outbound.peers().to_vec() {
            let mut close = Vec::new();
            assert!(self.outbound.write_close(&mut close), "the native wire has a close frame");
            self.send_datagram(peer, close, 0);
        }
    }

    pub(crate) fn send_datagram(&mut self, peer: PeerId, mut datagram: Vec<u8>, messages: u64) {
        let mut sealed = Vec::new();
        let Some((to, bytes)) = self.outbound.seal(peer, &mut datagram, &mut sealed) else { return };
        self.outbound.sent(peer, SentDatagrams::one(bytes.len(), messages));
        self.sent.push_back(Packet { from: self.address, to, bytes: bytes.to_vec() });
    }

    fn drain(&mut self, now: Now) {
        while let Some(event) = self.inbound.poll_event(now) {
            self.events.push(event);
        }
        while let Some((to, bytes)) = self.inbound.poll_reply() {
            self.sent.push_back(Packet { from: self.address, to, bytes });
        }
        self.carry_out_commands(now);
        self.deliver(now);
        assert_eq!(self.inbound.check_invariants(), Ok(()));
    }

    fn carry_out_commands(&mut self, now: Now) {
        let mut out = Vec::new();
        while let Some(command) = self.inbound.poll_command() {
            out.clear();
            let asked = match &command {
                Command::Ownership(_, frame) => Some(frame.act),
                _ => None,
            };
            if let Some(peer) = self.outbound.apply(command, now, &mut out) {
                self.send_datagram(peer, out.clone(), 0);
                let packet = self.sent.back();
                self.asked.extend(packet.zip(asked).map(|(packet, act)| (packet.bytes.clone(), act)));
            }
        }
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.count(|event| matches!(event, Event::Accepted(_)))
    }

    pub(crate) fn payloads(&self) -> Vec<String> {
        self.got.iter().map(|got| String::from_utf8_lossy(&got.payload).into_owned()).collect()
    }
}

/// Returns the counts of the peer that was added last.
pub(crate) fn rx(node: &Node) -> PeerRxStats {
    let added = |event: &Event| match event {
        Event::Added(peer) => Some(peer.rx.snapshot()),
        _ => None,
    };
    node.events.iter().rev().find_map(added).expect("a peer")
}

/// Carries datagrams between the nodes until none is in flight.
pub(crate) fn settle(nodes: &mut [&mut Node], now: Now) {
    for _ in 0..1000 {
        let Some(packet) = nodes.iter_mut().find_map(|node| node.sent.pop_front()) else { return };
        if let Some(node) = nodes.iter_mut().find(|node| node.address == packet.to) {
            node.handle(&packet, now);
        }
    }
    panic!("the nodes never stop sending");
}
