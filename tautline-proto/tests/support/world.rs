//! Two ends and the network between them, one step at a time, and what must hold after every step.
//!
//! The model check tries every order of steps, the fuzz target `delivery` the orders that its input says. The ends are
//! the endpoint itself; only a [`Fault`] puts something between it and its user.
#![allow(dead_code)] // each user takes its part

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use tautline_proto::endpoint::{EndpointConfig, Event, Outcome, Role, WireFormat};
use tautline_proto::wire::native::{Frame, Head, parse};
use tautline_proto::{Delivery, Instant, MessageType, Now, PeerId, WallTime};

use crate::support::{self, Node, Packet, address, plain_head};

const PORTS: [u16; 2] = [9000, 5000];

/// Longer than a datagram of the ends, shorter than two.
const LARGE: usize = 700;
const DATAGRAM: usize = 548;

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

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    BestEffort,
    Reliable,
    Ordered,
    /// Reliable, in two parts.
    Large,
    /// Ordered, in two parts.
    LargeOrdered,
    /// Reliable, and worth nothing after 50 ms.
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

/// One step. Datagrams are named by their place among those under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A datagram arrives.
    Deliver(usize),
    /// A datagram arrives, and is still under way.
    Repeat(usize),
    /// A datagram is lost.
    Lose(usize),
    /// Time passes until one of the ends has something to do.
    Wait,
    /// An end hands a message over.
    Send(End, Kind),
    /// An end is killed, and begins anew, which takes a millisecond.
    Restart(End),
    /// An end closes, and begins anew, likewise.
    Close(End),
}

/// What must hold, whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// No message is delivered twice.
    DeliveredOnce,
    /// No message is delivered in another session than the one that it was sent in.
    OwnSession,
    /// Ordered messages are delivered in their order.
    Order,
    /// No message has two outcomes.
    OneOutcome,
    /// What is said to be delivered was: handed to the user, or held back behind an earlier ordered message.
    DeliveredTruly,
    /// No end goes back to an older session.
    SessionsForward,
    /// Datagrams received are accepted or dropped.
    Accounts,
    /// Once the network is whole again, the ends find one another and each message gets its outcome.
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
            Self::DeliveredTruly => "what is said to be delivered was",
            Self::SessionsForward => "sessions never go backwards",
            Self::Accounts => "every datagram is counted",
            Self::Recovery => "a whole network brings the ends together again",
        }
    }
}

/// Something wrong between the endpoint and its user, which the rules must notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    #[default]
    None,
    /// What the endpoint drops as a duplicate is handed to the user all the same.
    ForgetsDuplicates,
    /// What came in while another message waited is lost after it was acknowledged.
    AcknowledgesBeforeTaking,
    /// A restarted end takes the same session, and the same numbers again.
    ReusesNumbers,
}

/// The times of both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) heartbeat_interval: Duration,
    pub(crate) liveness_timeout: Duration,
    pub(crate) max_tries: u32,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(100),
            liveness_timeout: Duration::from_millis(500),
            max_tries: 3,
        }
    }
}

/// A message that was handed over.
#[derive(Clone, Debug, Hash)]
struct Message {
    from: End,
    /// Its sender's life, and what it is called there; nothing for best effort.
    life: u8,
    receipt: Option<u64>,
    kind: Kind,
    session: u64,
    deliveries: u8,
    outcome: Option<Outcome>,
}

/// See the module's head.
pub(crate) struct World {
    pub(crate) nodes: [Node; 2],
    times: Times,
    fault: Fault,
    now_ns: u64,
    lives: [u8; 2],
    /// How many datagrams this life of each end was given.
    given: [u64; 2],
    pub(crate) flying: Vec<Packet>,
    /// The sessions that each end's peers have or had.
    peers: [Vec<(PeerId, u64)>; 2],
    /// All sessions that a client has called for, in this order.
    sessions: Vec<u64>,
    /// How far in `sessions` each end has come.
    newest: [Option<usize>; 2],
    messages: Vec<Message>,
    pub(crate) broken: Option<Rule>,
}

impl World {
    /// Two ends that do not know one another, the client having called.
    pub(crate) fn new(times: Times, fault: Fault) -> Self {
        let mut world = Self {
            nodes: End::BOTH.map(|end| node(end, 0, times)),
            times,
            fault,
            now_ns: 1_000_000,
            lives: [0; 2],
            given: [0; 2],
            flying: Vec::new(),
            peers: [Vec::new(), Vec::new()],
            sessions: Vec::new(),
            newest: [None; 2],
            messages: Vec::new(),
            broken: None,
        };
        world.call();
        world
    }

    /// Two ends that are connected, nothing under way.
    pub(crate) fn connected(times: Times, fault: Fault) -> Self {
        let mut world = Self::new(times, fault);
        world.deliver_all();
        assert!(world.is_connected(), "a whole network connects at once");
        world
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Deliver(index) => {
                let packet = self.flying.remove(index);
                self.arrive(&packet);
            }
            Step::Repeat(index) => {
                let packet = self.flying[index].clone();
                self.arrive(&packet);
            }
            Step::Lose(index) => drop(self.flying.remove(index)),
            Step::Wait => self.wait(),
            Step::Send(end, kind) => self.send(end, kind),
            Step::Restart(end) => self.restart(end),
            Step::Close(end) => {
                let node = &mut self.nodes[end as usize];
                node.close();
                node.outbound.abandon();
                node.deliver(now(self.now_ns));
                self.harvest(end);
                self.restart(end);
            }
        }
    }

    /// Whether this end can be handed a message.
    pub(crate) fn can_send(&self, end: End) -> bool {
        !self.nodes[end as usize].outbound.peers().is_empty()
    }

    /// Everything that decides what can follow, in one number.
    pub(crate) fn digest(&self) -> u64 {
        let mut text = String::with_capacity(1 << 14);
        for node in &self.nodes {
            write!(text, "{:?}{:?}{}", node.inbound, node.outbound, node.receipts)
                .expect("a string takes all");
        }
        let mut flying: Vec<_> = self.flying.iter().map(|packet| (packet.to, &packet.bytes)).collect();
        flying.sort_unstable();
        let mut hasher = DefaultHasher::new();
        (text, flying, &self.peers, &self.sessions, &self.messages).hash(&mut hasher);
        (self.now_ns, self.lives, self.given, self.newest, self.broken).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether this outcome has been told of any message.
    pub(crate) fn has_outcome(&self, outcome: Outcome) -> bool {
        self.messages.iter().any(|message| message.outcome == Some(outcome))
    }

    /// Whether every message that was handed over has been delivered, and there was one.
    pub(crate) fn all_delivered(&self) -> bool {
        !self.messages.is_empty() && self.messages.iter().all(|message| message.deliveries == 1)
    }

    /// Lets everything arrive that is under way, and what that brings.
    pub(crate) fn deliver_all(&mut self) {
        for _ in 0..1000 {
            if self.flying.is_empty() {
                return;
            }
            self.step(Step::Deliver(0));
        }
        panic!("the ends never fall silent");
    }

    /// From now on nothing is lost: both ends must be connected, and all messages settled, within a bound.
    pub(crate) fn heal(&mut self) {
        let patience = self.times.liveness_timeout + self.times.heartbeat_interval * 2;
        let end = self.now_ns + nanos(patience + Duration::from_millis(1500));
        self.deliver_all();
        while self.now_ns < end {
            if self.is_connected() && self.all_settled() {
                return;
            }
            self.wait();
            self.deliver_all();
        }
        self.demand(false, Rule::Recovery);
    }

    fn is_connected(&self) -> bool {
        let session = |end: End| match self.nodes[end as usize].outbound.peers() {
            [peer] => self.session_of(end, *peer),
            _ => None,
        };
        session(End::Server).is_some() && session(End::Server) == session(End::Client)
    }

    /// Whether each message that its sender can still hear of has its outcome.
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
        node.handle(packet, time);
        // The turn ends: what arrived is acknowledged.
        node.tick(time);
        self.given[end as usize] += 1;
        self.interfere(end, packet);
        self.harvest(end);
    }

    /// Does what is wrong on purpose.
    fn interfere(&mut self, end: End, packet: &Packet) {
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

    /// Until one of the ends wants to do something.
    fn wait(&mut self) {
        let wishes =
            self.nodes.iter().flat_map(|node| [node.inbound.next_timeout(), node.outbound.next_delivery()]);
        let soonest = wishes.flatten().min().unwrap_or(Instant::from_nanos(0));
        self.now_ns = self.now_ns.max(soonest.as_nanos());
        for end in End::BOTH {
            self.nodes[end as usize].tick(now(self.now_ns));
            self.harvest(end);
        }
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
        self.harvest(end);
    }

    fn restart(&mut self, end: End) {
        let place = end as usize;
        self.lives[place] += 1;
        self.now_ns += 1_000_000;
        let seed = if self.fault == Fault::ReusesNumbers { 0 } else { self.lives[place] };
        self.nodes[place] = node(end, seed, self.times);
        self.given[place] = 0;
        self.peers[place].clear();
        if end == End::Client {
            self.call();
        }
    }

    fn call(&mut self) {
        self.nodes[End::Client as usize].dial(address(PORTS[End::Server as usize]), now(self.now_ns));
        self.harvest(End::Client);
    }

    /// Looks at what an end has done.
    fn harvest(&mut self, end: End) {
        for event in core::mem::take(&mut self.nodes[end as usize].events) {
            self.note(end, &event);
        }
        for packet in core::mem::take(&mut self.nodes[end as usize].sent) {
            self.notice_session(end, &packet);
            self.flying.push(packet);
        }
        for got in core::mem::take(&mut self.nodes[end as usize].got) {
            let session = self.session_of(end, got.peer);
            self.take(end, session, &got.payload);
        }
        for (receipt, outcome) in core::mem::take(&mut self.nodes[end as usize].outcomes) {
            self.settle(end, receipt, outcome);
        }
        let counted = self.nodes[end as usize].inbound.counters().snapshot().datagrams_received();
        self.demand(counted == self.given[end as usize], Rule::Accounts);
    }

    fn note(&mut self, end: End, event: &Event) {
        let Event::Added(peer) = event else { return };
        let session = peer.session.expect("native peers have sessions").bits();
        self.peers[end as usize].push((peer.id, session));
        let place = self.sessions.iter().position(|&known| known == session);
        let newest = self.newest[end as usize];
        self.demand(place.is_some() && place > newest, Rule::SessionsForward);
        self.newest[end as usize] = place.max(newest);
    }

    fn notice_session(&mut self, end: End, packet: &Packet) {
        let (header, _) = parse(&packet.bytes).expect("an end's own datagram");
        let session = header.session.bits();
        if end == End::Client && !self.sessions.contains(&session) {
            self.sessions.push(session);
        }
    }

    fn session_of(&self, end: End, peer: PeerId) -> Option<u64> {
        self.peers[end as usize].iter().find(|(id, _)| *id == peer).map(|&(_, session)| session)
    }

    /// A message reaches a user.
    fn take(&mut self, end: End, session: Option<u64>, payload: &[u8]) {
        let Some(index) = number(payload).filter(|&index| index < self.messages.len()) else {
            return self.demand(false, Rule::OwnSession);
        };
        let message = &mut self.messages[index];
        message.deliveries += 1;
        let message = message.clone();
        self.demand(message.deliveries == 1, Rule::DeliveredOnce);
        self.demand(message.from == end.other() && session == Some(message.session), Rule::OwnSession);
        if message.kind.delivery() == Delivery::Ordered {
            let overtaken = self.messages[index + 1..]
                .iter()
                .any(|later| is_same_stream(later, &message) && later.deliveries > 0);
            self.demand(!overtaken, Rule::Order);
        }
    }

    fn settle(&mut self, end: End, receipt: u64, outcome: Outcome) {
        let life = self.lives[end as usize];
        let is_meant = |message: &Message| {
            message.from == end && message.life == life && message.receipt == Some(receipt)
        };
        let Some(index) = self.messages.iter().position(is_meant) else {
            return self.demand(false, Rule::OneOutcome);
        };
        let before = self.messages[index].outcome.replace(outcome);
        self.demand(before.is_none(), Rule::OneOutcome);
        if outcome == Outcome::Delivered {
            let message = &self.messages[index];
            let waits = message.kind.delivery() == Delivery::Ordered
                && self.messages[..index]
                    .iter()
                    .any(|earlier| is_same_stream(earlier, message) && earlier.deliveries == 0);
            self.demand(message.deliveries > 0 || waits, Rule::DeliveredTruly);
        }
    }

    fn demand(&mut self, holds: bool, rule: Rule) {
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

/// An end in its life number `life`.
fn node(end: End, life: u8, times: Times) -> Node {
    let role = [Role::Server, Role::Client][end as usize];
    let mut config = support::config(role, WireFormat::Native);
    config.heartbeat_interval = times.heartbeat_interval;
    config.liveness_timeout = times.liveness_timeout;
    config.max_tries = times.max_tries;
    config.datagram_size = DATAGRAM;
    Node::new(PORTS[end as usize], config, 2 * life + end as u8)
}

fn now(ns: u64) -> Now {
    let wall = WallTime::from_nanos(1_700_000_000_000_000_000 + ns.cast_signed());
    Now { steady: Instant::from_nanos(ns), wall }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("short")
}

/// Which message this is.
fn number(payload: &[u8]) -> Option<usize> {
    std::str::from_utf8(payload).ok()?.trim_end().parse().ok()
}
