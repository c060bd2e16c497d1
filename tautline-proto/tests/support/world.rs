//! Two ends and the network between them, advanced step by step, and the rules that must hold after every step.
//!
//! The model check tries every order of steps. The fuzz target `delivery` tries the orders that its input describes. The ends
//! are real endpoints. Only a [`Fault`] changes what they pass to their users.
#![allow(dead_code)] // each user uses a part of it

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use tautline_proto::endpoint::{Event, Outcome, Role, WireFormat};
use tautline_proto::secure::{Identity, Key, Keys};
use tautline_proto::wire::native::{Frame, Head, is_sealed, parse, parse_sealed};
use tautline_proto::{Delivery, Instant, MessageType, Now, PeerId, WallTime};

use crate::support::{self, Node, Packet, address, plain_head};

const PORTS: [u16; 2] = [9000, 5000];

/// The length of a large message: longer than one datagram of the ends, shorter than two.
const LARGE: usize = 700;
const DATAGRAM: usize = 548;

/// How long a client with a key repeats its echo before it calls anew. docs/protocol.md §11.1.
const GIVES_UP_CALL: Duration = Duration::from_millis(1550);

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Server = 0,
    Client = 1,
}

impl End {
    pub(crate) const BOTH: [Self; 2] = [Self::Server, Self::Client];

    const fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    BestEffort,
    Reliable,
    Ordered,
    /// Reliable, in two fragments.
    Large,
    /// Ordered, in two fragments.
    LargeOrdered,
    /// Reliable, with a lifespan of 50 ms.
    ShortLived,
}

impl Kind {
    const fn delivery(self) -> Delivery {
        match self {
            Self::BestEffort => Delivery::BestEffort,
            Self::Reliable | Self::Large | Self::ShortLived => Delivery::Reliable,
            Self::Ordered | Self::LargeOrdered => Delivery::Ordered,
        }
    }

    const fn is_large(self) -> bool {
        matches!(self, Self::Large | Self::LargeOrdered)
    }
}

/// One step. Datagrams are named by their place among the datagrams in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A datagram arrives.
    Deliver(usize),
    /// A datagram arrives, and a copy of it stays in flight.
    Repeat(usize),
    /// A datagram is lost.
    Lose(usize),
    /// Time passes until one of the ends has something to do.
    Wait,
    /// The user of an end sends a message.
    Send(End, Kind),
    /// An end is killed and starts again, which takes a millisecond.
    Restart(End),
    /// An end closes its session and starts again, which takes a millisecond.
    Close(End),
    /// The client has another address, and does not know it. What is on its way to the old one is lost. Secured links only.
    Move,
    /// The client calls with the other one of the two keys that the server accepts. Secured links only.
    ChangeKey,
}

impl Step {
    /// Whether it is something that an end or its network does besides sending and waiting.
    pub(crate) const fn is_crash(&self) -> bool {
        matches!(self, Self::Restart(_) | Self::Close(_) | Self::Move | Self::ChangeKey)
    }
}

/// A rule that must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// No message is delivered twice.
    DeliveredOnce,
    /// No message is delivered in another session than the session in which it was sent.
    OwnSession,
    /// Ordered messages are delivered in their order.
    Order,
    /// No message has two outcomes.
    OneOutcome,
    /// A message with the outcome "delivered" was received: it was passed to the user, or waits for an earlier ordered message.
    DeliveredTruly,
    /// No end goes back to an older session.
    SessionsForward,
    /// Datagrams received are accepted or dropped.
    Accounts,
    /// When the network works again, the ends connect and each message gets its outcome.
    Recovery,
}

impl Rule {
    pub(crate) const ALL: [Self; 8] = [
        Self::DeliveredOnce,
        Self::OwnSession,
        Self::Order,
        Self::OneOutcome,
        Self::DeliveredTruly,
        Self::SessionsForward,
        Self::Accounts,
        Self::Recovery,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DeliveredOnce => "no message is delivered twice",
            Self::OwnSession => "messages stay in their session",
            Self::Order => "ordered messages keep their order",
            Self::OneOutcome => "no message has two outcomes",
            Self::DeliveredTruly => "a message with the outcome delivered was received",
            Self::SessionsForward => "sessions never go backwards",
            Self::Accounts => "every datagram is counted",
            Self::Recovery => "the ends connect again when the network works",
        }
    }
}

/// An error that is made on purpose, which the rules must detect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Messages that the endpoint drops as duplicates are passed to the user.
    ForgetsDuplicates,
    /// Messages are lost after they were acknowledged.
    AcknowledgesBeforeTaking,
    /// An end that was restarted uses the same session and the same numbers again.
    ReusesNumbers,
}

/// The settings of both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) heartbeat_interval: Duration,
    pub(crate) liveness_timeout: Duration,
    pub(crate) max_tries: u32,
    /// After which time the two ends of a secured link agree on new keys; `None`: the link is plain.
    pub(crate) rekey_after: Option<Duration>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(100),
            liveness_timeout: Duration::from_millis(500),
            max_tries: 3,
            rekey_after: None,
        }
    }
}

/// A message that was sent.
#[derive(Clone, Debug, Hash)]
struct Message {
    from: End,
    /// How often its sender had been restarted.
    life: u8,
    /// `None` for best-effort messages.
    receipt: Option<u64>,
    kind: Kind,
    session: u64,
    deliveries: u8,
    outcome: Option<Outcome>,
}

/// Two ends and the network between them.
pub(crate) struct World {
    pub(crate) nodes: [Node; 2],
    times: Times,
    fault: Fault,
    now_ns: u64,
    lives: [u8; 2],
    /// How often the client has moved, and how often it has changed its key.
    moves: u16,
    keys_changed: u8,
    /// A hash of the handshakes that each end has taken part in. What it keeps of them does not show what it was made of.
    handshakes: [u64; 2],
    /// How many datagrams each end has received since its last restart.
    received: [u64; 2],
    pub(crate) in_flight: Vec<Packet>,
    /// The peers of each end, including those that are gone, with their sessions.
    peers: [Vec<(PeerId, u64)>; 2],
    /// All sessions for which the client has called, in this order.
    sessions: Vec<u64>,
    /// The place in `sessions` of each end's newest session.
    newest: [Option<usize>; 2],
    messages: Vec<Message>,
    pub(crate) broken: Option<Rule>,
}

impl World {
    /// Two ends that are not connected. The client has sent its first hello.
    pub(crate) fn new(times: Times, fault: Fault) -> Self {
        let mut world = Self {
            nodes: End::BOTH.map(|end| node(end, 0, 0, times)),
            times,
            fault,
            now_ns: 1_000_000,
            lives: [0; 2],
            moves: 0,
            keys_changed: 0,
            handshakes: [0; 2],
            received: [0; 2],
            in_flight: Vec::new(),
            peers: [Vec::new(), Vec::new()],
            sessions: Vec::new(),
            newest: [None; 2],
            messages: Vec::new(),
            broken: None,
        };
        world.call();
        world
    }

    /// Two ends that are connected, with no datagram in flight.
    pub(crate) fn connected(times: Times, fault: Fault) -> Self {
        let mut world = Self::new(times, fault);
        world.deliver_all();
        assert!(world.is_connected(), "a network without losses connects at once");
        world
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Deliver(index) => {
                let packet = self.in_flight.remove(index);
                self.arrive(&packet);
            }
            Step::Repeat(index) => {
                let packet = self.in_flight[index].clone();
                self.arrive(&packet);
            }
            Step::Lose(index) => drop(self.in_flight.remove(index)),
            Step::Wait => self.wait(),
            Step::Send(end, kind) => self.send(end, kind),
            Step::Restart(end) => self.restart(end),
            Step::Close(end) => {
                let node = &mut self.nodes[end as usize];
                node.close();
                node.outbound.abandon();
                node.deliver(now(self.now_ns));
                self.collect(end);
                self.restart(end);
            }
            Step::Move => {
                self.moves += 1;
                self.nodes[End::Client as usize].address = address(PORTS[End::Client as usize] + self.moves);
                self.lose_what_is_astray();
            }
            Step::ChangeKey => {
                self.keys_changed += 1;
                let keys = keys(self.keys_changed);
                self.nodes[End::Client as usize].inbound.replace_keys(keys, now(self.now_ns).steady);
                self.tick(End::Client);
            }
        }
    }

    fn lose_what_is_astray(&mut self) {
        let addresses = [0, 1].map(|index| self.nodes[index].address);
        self.in_flight.retain(|packet| addresses.contains(&packet.to));
    }

    /// Returns whether this end has a peer to send to.
    pub(crate) fn can_send(&self, end: End) -> bool {
        !self.nodes[end as usize].outbound.peers().is_empty()
    }

    /// Returns a hash of everything that decides what can follow.
    pub(crate) fn digest(&self) -> u64 {
        let mut text = String::with_capacity(1 << 14);
        for node in &self.nodes {
            write!(text, "{:?}{:?}{}", node.inbound, node.outbound, node.receipts)
                .expect("a string takes any text");
        }
        let mut in_flight: Vec<_> = self.in_flight.iter().map(|packet| (packet.to, &packet.bytes)).collect();
        in_flight.sort_unstable();
        let mut hasher = DefaultHasher::new();
        (text, in_flight, &self.peers, &self.sessions, &self.messages).hash(&mut hasher);
        (self.now_ns, self.lives, self.received, self.newest, self.broken).hash(&mut hasher);
        (self.moves, self.keys_changed, self.handshakes).hash(&mut hasher);
        hasher.finish()
    }

    /// Returns whether any message has this outcome.
    pub(crate) fn has_outcome(&self, outcome: Outcome) -> bool {
        self.messages.iter().any(|message| message.outcome == Some(outcome))
    }

    /// Returns whether there are messages and all of them were delivered.
    pub(crate) fn all_delivered(&self) -> bool {
        !self.messages.is_empty() && self.messages.iter().all(|message| message.deliveries == 1)
    }

    /// Lets all datagrams arrive, including those that they cause.
    pub(crate) fn deliver_all(&mut self) {
        for _ in 0..1000 {
            if self.in_flight.is_empty() {
                return;
            }
            self.step(Step::Deliver(0));
        }
        panic!("the ends never stop sending");
    }

    /// Stops all losses. Both ends must be connected, all messages settled, and new ones arrive, within a bound.
    pub(crate) fn heal(&mut self) {
        let longest = self.times.liveness_timeout + self.times.heartbeat_interval * 2;
        // A client with a key goes on with a call that a restarted server does not know.
        let of_call = if self.is_secured() { GIVES_UP_CALL } else { Duration::ZERO };
        let end = self.now_ns + nanos(longest + of_call + Duration::from_millis(1500));
        self.deliver_all();
        while self.now_ns < end {
            if self.is_connected() && self.all_settled() && self.both_hear() {
                return;
            }
            self.wait();
            self.deliver_all();
        }
        self.require(false, Rule::Recovery);
    }

    /// Sends a message each way. Returns whether both arrive.
    fn both_hear(&mut self) -> bool {
        let before = self.messages.len();
        End::BOTH.into_iter().for_each(|end| self.send(end, Kind::BestEffort));
        self.deliver_all();
        self.messages[before..].iter().all(|message| message.deliveries > 0)
    }

    const fn is_secured(&self) -> bool {
        self.times.rekey_after.is_some()
    }

    fn is_connected(&self) -> bool {
        let session = |end: End| match self.nodes[end as usize].outbound.peers() {
            [peer] => self.session_of(end, *peer),
            _ => None,
        };
        let [server, client] = &self.nodes;
        let client_is_at = server.outbound.peers().first().and_then(|&peer| server.outbound.address_of(peer));
        session(End::Server).is_some()
            && session(End::Server) == session(End::Client)
            && client_is_at == Some(client.address)
    }

    /// Returns whether each message has its outcome, except for messages whose sender was restarted.
    fn all_settled(&self) -> bool {
        let is_open = |message: &Message| {
            message.receipt.is_some()
                && message.outcome.is_none()
                && message.life == self.lives[message.from as usize]
        };
        !self.messages.iter().any(is_open)
    }

    fn arrive(&mut self, packet: &Packet) {
        let end = if packet.to == self.nodes[0].address { End::Server } else { End::Client };
        let time = now(self.now_ns);
        let node = &mut self.nodes[end as usize];
        if self.times.rekey_after.is_some() && !is_sealed(&packet.bytes) {
            let mut hasher = DefaultHasher::new();
            (self.handshakes[end as usize], packet.from, &packet.bytes).hash(&mut hasher);
            self.handshakes[end as usize] = hasher.finish();
        }
        node.handle(packet, time);
        // Sends the acknowledgements.
        node.tick(time);
        self.received[end as usize] += 1;
        self.inject_fault(end, packet);
        self.collect(end);
    }

    /// Makes the error that `fault` names.
    fn inject_fault(&mut self, end: End, packet: &Packet) {
        let got = &mut self.nodes[end as usize].got;
        match self.fault {
            Fault::ForgetsDuplicates if got.is_empty() => self.deliver_again(end, packet),
            Fault::AcknowledgesBeforeTaking if self.messages.iter().any(|message| message.deliveries > 0) => {
                got.clear();
            }
            _ => {}
        }
    }

    fn deliver_again(&mut self, end: End, packet: &Packet) {
        let Ok((header, frames)) = parse(&packet.bytes) else { return };
        for frame in frames {
            let Frame::Message(frame) = frame else { continue };
            let Ok(message) = frame.decode(0, "") else { continue };
            let was_delivered = number(message.payload)
                .and_then(|index| self.messages.get(index))
                .is_some_and(|message| message.session == header.session.bits() && message.deliveries > 0);
            if was_delivered {
                self.take(end, Some(header.session.bits()), message.payload);
            }
        }
    }

    /// Lets time pass until one of the ends has something to do.
    fn wait(&mut self) {
        let due =
            self.nodes.iter().flat_map(|node| [node.inbound.next_timeout(), node.outbound.next_delivery()]);
        let soonest = due.flatten().min().unwrap_or(Instant::from_nanos(0));
        self.now_ns = self.now_ns.max(soonest.as_nanos());
        End::BOTH.into_iter().for_each(|end| self.tick(end));
    }

    fn tick(&mut self, end: End) {
        self.nodes[end as usize].tick(now(self.now_ns));
        self.collect(end);
    }

    fn send(&mut self, end: End, kind: Kind) {
        let time = now(self.now_ns);
        let index = self.messages.len();
        let mut payload = index.to_string().into_bytes();
        if kind.is_large() {
            payload.resize(LARGE, b' ');
        }
        let peer = self.nodes[end as usize].outbound.peers()[0];
        let session = self.session_of(end, peer).expect("known peers have sessions");
        let head = Head { delivery: kind.delivery(), message_type: MessageType::Data, ..plain_head(time) };
        let expires = (kind == Kind::ShortLived).then(|| time.steady.plus(Duration::from_millis(50)));
        let node = &mut self.nodes[end as usize];
        let receipt = match kind {
            Kind::BestEffort => {
                node.send_as(&head, &payload);
                None
            }
            _ => match node.offer_until(&head, &payload, time, expires) {
                Ok(receipt) => Some(receipt),
                Err(_) => return,
            },
        };
        let life = self.lives[end as usize];
        self.messages.push(Message { from: end, life, receipt, kind, session, deliveries: 0, outcome: None });
        self.collect(end);
    }

    fn restart(&mut self, end: End) {
        let index = end as usize;
        self.lives[index] += 1;
        self.now_ns += 1_000_000;
        let seed = if self.fault == Fault::ReusesNumbers { 0 } else { self.lives[index] };
        let at = self.nodes[index].address;
        self.nodes[index] = node(end, seed, self.keys_changed, self.times);
        self.nodes[index].address = at;
        self.handshakes[index] = 0;
        self.received[index] = 0;
        self.peers[index].clear();
        if end == End::Client {
            self.call();
        }
    }

    fn call(&mut self) {
        self.nodes[End::Client as usize].dial(address(PORTS[End::Server as usize]), now(self.now_ns));
        self.collect(End::Client);
    }

    /// Collects what an end has done.
    fn collect(&mut self, end: End) {
        for event in core::mem::take(&mut self.nodes[end as usize].events) {
            self.note(end, &event);
        }
        for packet in core::mem::take(&mut self.nodes[end as usize].sent) {
            self.notice_session(end, &packet);
            self.in_flight.push(packet);
        }
        self.lose_what_is_astray();
        for got in core::mem::take(&mut self.nodes[end as usize].got) {
            let session = self.session_of(end, got.peer);
            self.take(end, session, &got.payload);
        }
        for (receipt, outcome) in core::mem::take(&mut self.nodes[end as usize].outcomes) {
            self.settle(end, receipt, outcome);
        }
        let counted = self.nodes[end as usize].inbound.counters().snapshot().datagrams_received();
        self.require(counted == self.received[end as usize], Rule::Accounts);
    }

    fn note(&mut self, end: End, event: &Event) {
        let Event::Added(peer) = event else { return };
        let session = peer.session.expect("native peers have sessions").bits();
        self.peers[end as usize].push((peer.id, session));
        let place = self.sessions.iter().position(|&known| known == session);
        let newest = self.newest[end as usize];
        self.require(place.is_some() && place > newest, Rule::SessionsForward);
        self.newest[end as usize] = place.max(newest);
    }

    fn notice_session(&mut self, end: End, packet: &Packet) {
        let sealed =
            is_sealed(&packet.bytes).then(|| parse_sealed(&packet.bytes).map(|sealed| sealed.header));
        let header = sealed.unwrap_or_else(|| parse(&packet.bytes).map(|(header, _)| header));
        let session = header.expect("an end's own datagram").session.bits();
        if end == End::Client && !self.sessions.contains(&session) {
            self.sessions.push(session);
        }
    }

    fn session_of(&self, end: End, peer: PeerId) -> Option<u64> {
        self.peers[end as usize].iter().find(|(id, _)| *id == peer).map(|&(_, session)| session)
    }

    /// Records that a message reaches a user.
    fn take(&mut self, end: End, session: Option<u64>, payload: &[u8]) {
        let Some(index) = number(payload).filter(|&index| index < self.messages.len()) else {
            return self.require(false, Rule::OwnSession);
        };
        let message = &mut self.messages[index];
        message.deliveries += 1;
        let message = message.clone();
        self.require(message.deliveries == 1, Rule::DeliveredOnce);
        self.require(message.from == end.other() && session == Some(message.session), Rule::OwnSession);
        if message.kind.delivery() == Delivery::Ordered {
            let overtaken = self.messages[index + 1..]
                .iter()
                .any(|later| is_same_stream(later, &message) && later.deliveries > 0);
            self.require(!overtaken, Rule::Order);
        }
    }

    fn settle(&mut self, end: End, receipt: u64, outcome: Outcome) {
        let life = self.lives[end as usize];
        let is_meant = |message: &Message| {
            message.from == end && message.life == life && message.receipt == Some(receipt)
        };
        let Some(index) = self.messages.iter().position(is_meant) else {
            return self.require(false, Rule::OneOutcome);
        };
        let before = self.messages[index].outcome.replace(outcome);
        self.require(before.is_none(), Rule::OneOutcome);
        if outcome == Outcome::Delivered {
            let message = &self.messages[index];
            let waits = message.kind.delivery() == Delivery::Ordered
                && self.messages[..index]
                    .iter()
                    .any(|earlier| is_same_stream(earlier, message) && earlier.deliveries == 0);
            self.require(message.deliveries > 0 || waits, Rule::DeliveredTruly);
        }
    }

    fn require(&mut self, holds: bool, rule: Rule) {
        if !holds && self.broken.is_none() {
            self.broken = Some(rule);
        }
    }
}

fn is_same_stream(one: &Message, other: &Message) -> bool {
    one.from == other.from
        && one.session == other.session
        && one.life == other.life
        && one.kind.delivery() == Delivery::Ordered
}

/// The keys of a client that has changed its key so often.
fn keys(changed: u8) -> Keys {
    Keys::new([Identity::new("arm", [key(changed % 2)])]).expect("one key")
}

fn key(number: u8) -> Key {
    Key::from_bytes([number + 1; Key::LEN])
}

/// Creates an end that was restarted `life` times, and that has changed its key so often.
fn node(end: End, life: u8, changed: u8, times: Times) -> Node {
    let role = [Role::Server, Role::Client][end as usize];
    let mut config = support::config(role, WireFormat::Native);
    config.heartbeat_interval = times.heartbeat_interval;
    config.liveness_timeout = times.liveness_timeout;
    config.max_tries = times.max_tries;
    config.datagram_size = DATAGRAM;
    if let Some(rekey_after) = times.rekey_after {
        config.rekey_after = rekey_after;
        config.security = Some(match end {
            End::Server => Keys::new([Identity::new("arm", [key(0), key(1)])]).expect("two keys"),
            End::Client => keys(changed),
        });
    }
    Node::new(PORTS[end as usize], config, 2 * life + end as u8)
}

fn now(ns: u64) -> Now {
    let wall = WallTime::from_nanos(1_700_000_000_000_000_000 + ns.cast_signed());
    Now { steady: Instant::from_nanos(ns), wall }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("short")
}

/// Returns the number of the message with this payload.
fn number(payload: &[u8]) -> Option<usize> {
    std::str::from_utf8(payload).ok()?.trim_end().parse().ok()
}
