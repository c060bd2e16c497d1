//! The server, two clients, the network, and the truth.
//!
//! The ends are real endpoints. Behind the server stands the rule of histories, as in the library. The truth is kept apart, and
//! knows only what the users did and saw. A [`Fault`] breaks a rule on purpose.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use tautline_proto::endpoint::{ClaimOutcome, Event, Role, WireFormat};
use tautline_proto::history::Newest;
use tautline_proto::secure::{Key, Keys};
use tautline_proto::silence::{self, Periods, Silence, Verdict};
use tautline_proto::wire::native::{Head, OwnershipAct};
use tautline_proto::{DropReason, Instant, MessageType, Now, PeerId, StreamId, WallTime};

use super::plan::{ControlPlan, ControlStep, Fault};
use crate::support::{self, Node, Packet, address, plain_head};

const SERVER: u16 = 9000;
const CLIENTS: [u16; 2] = [5000, 5001];

const COMMANDS: StreamId = StreamId { message_type: MessageType::Command, channel: 0 };

/// The time of one wait: after it, a claim without an answer is repeated.
const WAIT: Duration = Duration::from_millis(25);

/// For how long an owner may be silent: two waits are longer.
const SILENCE: Duration = Duration::from_millis(40);

/// The time-out of the watchdog: two waits are longer.
const TIME_OUT: Duration = Duration::from_millis(45);

/// A rule that must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ControlRule {
    /// A command of another client follows only after a silence, the end of a session, a release, or a claim. Each claim counts
    /// once, however often it is repeated.
    OneOwner,
    /// No command is handed out after a newer one of its client.
    NewestOnly,
    /// After a silence, no command is handed out before a reset.
    StoppedUntilReset,
    /// Each claim has one outcome at most, and one when the network works again.
    OneOutcome,
    /// Each command that arrived was handed out, or counted under one reason.
    Accounts,
}

impl ControlRule {
    pub(crate) const ALL: [Self; 5] =
        [Self::OneOwner, Self::NewestOnly, Self::StoppedUntilReset, Self::OneOutcome, Self::Accounts];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OneOwner => "commands of two owners are not interleaved",
            Self::NewestOnly => "no command follows a newer one",
            Self::StoppedUntilReset => "after a silence nothing is handed out before a reset",
            Self::OneOutcome => "each claim has one outcome",
            Self::Accounts => "every command is accounted for",
        }
    }
}

/// The server, the clients, the network, and the truth.
pub(super) struct Rig {
    server: Node,
    clients: [Node; 2],
    pub(super) in_flight: Vec<Packet>,
    now_ns: u64,
    fault: Fault,
    newest: Newest,
    watchdog: Option<Silence>,
    /// When the last command since the last reset was handed out. A reset counts only after a silence.
    signed: Option<u64>,
    /// The client of each peer of the server.
    peers: Vec<(PeerId, usize)>,
    pub(super) gone: [bool; 2],
    /// The client that sent each command.
    sent: Vec<usize>,
    /// The datagrams of the commands.
    commands: Vec<Vec<u8>>,
    /// The last command that was handed out, and when.
    last: Option<(usize, u64)>,
    pub(super) newest_of: [Option<usize>; 2],
    /// How many claims and releases each client's user has begun, and how many of them have arrived.
    begun: [u64; 2],
    taken: [u64; 2],
    /// Who may take the stream over although its owner is not silent: a client whose claim has arrived, and, after a release, the
    /// other client.
    entitled: [bool; 2],
    arrived: u64,
    handed_out: u64,
    stale: u64,
    latched: u64,
    /// The claims without an outcome, and the client of each.
    open: Vec<(u64, usize)>,
    last_ticket: u64,
    pub(super) seen: [bool; 3],
    pub(super) broken: Option<ControlRule>,
}

impl Rig {
    pub(super) fn new(plan: &ControlPlan) -> Self {
        let fault = plan.fault;
        let config = |role| {
            let mut config = support::config(role, WireFormat::Native);
            // Longer than everything here, so that heartbeats do not come between.
            config.heartbeat_interval = Duration::from_secs(10);
            config.liveness_timeout = Duration::from_secs(30);
            config.security = plan.has_key.then(|| Keys::shared(Key::from_bytes([7; Key::LEN])));
            config
        };
        let mut plant = config(Role::Server);
        if fault != Fault::NoOwner {
            plant.owned.set(MessageType::Command, None, Some(SILENCE));
        }
        let mut rig = Self {
            server: Node::new(SERVER, plant, 1),
            clients: [(CLIENTS[0], 2), (CLIENTS[1], 3)]
                .map(|(port, seed)| Node::new(port, config(Role::Client), seed)),
            in_flight: Vec::new(),
            now_ns: 1_000_000,
            fault,
            newest: Newest::default(),
            watchdog: plan.latches.then(|| {
                let periods = Periods::strict(nanos(TIME_OUT));
                Silence::new(silence::Rule { periods, latches: fault != Fault::NoLatch })
            }),
            signed: None,
            peers: Vec::new(),
            gone: [false; 2],
            sent: Vec::new(),
            commands: Vec::new(),
            last: None,
            newest_of: [None; 2],
            begun: [0; 2],
            taken: [0; 2],
            entitled: [false; 2],
            arrived: 0,
            handed_out: 0,
            stale: 0,
            latched: 0,
            open: Vec::new(),
            last_ticket: 0,
            seen: [false; 3],
            broken: None,
        };
        let time = rig.now();
        rig.clients.iter_mut().for_each(|client| client.dial(address(SERVER), time));
        rig.collect();
        rig.deliver_all();
        assert_eq!(rig.peers.len(), 2, "a network without losses connects at once");
        rig
    }

    fn now(&self) -> Now {
        let wall = WallTime::from_nanos(1_700_000_000_000_000_000 + self.now_ns.cast_signed());
        Now { steady: Instant::from_nanos(self.now_ns), wall }
    }

    pub(super) fn step(&mut self, step: ControlStep) {
        let time = self.now();
        match step {
            ControlStep::Deliver(index) => {
                let packet = self.in_flight.remove(index);
                self.arrive(&packet);
            }
            ControlStep::Lose(index) => drop(self.in_flight.remove(index)),
            ControlStep::Wait => self.wait(),
            ControlStep::Command(client) => {
                let payload = self.sent.len().to_string();
                let head = Head { message_type: MessageType::Command, ..plain_head(time) };
                self.sent.push(client);
                self.clients[client].send_as(&head, payload.as_bytes());
                self.commands.extend(self.clients[client].sent.back().map(|packet| packet.bytes.clone()));
            }
            ControlStep::Claim(client) | ControlStep::Release(client) => {
                self.begun[client] += 1;
                self.last_ticket += 1;
                self.open.push((self.last_ticket, client));
                self.ask(client, step, self.last_ticket);
            }
            ControlStep::Reset => {
                if let Some(watchdog) = &mut self.watchdog {
                    watchdog.look(self.now_ns);
                    watchdog.reset();
                }
                self.signed = self.signed.filter(|at| self.now_ns - at < nanos(TIME_OUT));
            }
            ControlStep::Close(client) => {
                self.clients[client].close();
                self.gone[client] = true;
                self.open.retain(|&(_, of)| of != client);
            }
        }
        self.collect();
    }

    fn ask(&mut self, client: usize, step: ControlStep, ticket: u64) {
        let time = self.now();
        let node = &mut self.clients[client];
        let Some(&peer) = node.outbound.peers().first() else { return };
        let asked = match step {
            ControlStep::Release(_) => node.inbound.release(peer, COMMANDS, ticket, time.steady),
            _ => node.inbound.claim(peer, COMMANDS, ticket, time.steady),
        };
        assert_eq!(asked, Ok(()));
        node.tick(time);
    }

    fn wait(&mut self) {
        self.now_ns += nanos(WAIT);
        if self.fault == Fault::ClaimsAnew {
            for (_, client) in self.open.clone() {
                self.ask(client, ControlStep::Claim(client), u64::MAX);
            }
        }
        let time = self.now();
        self.server.tick(time);
        for (client, gone) in self.clients.iter_mut().zip(self.gone) {
            if !gone {
                client.tick(time);
            }
        }
    }

    fn arrive(&mut self, packet: &Packet) {
        let time = self.now();
        if packet.to != self.server.address {
            let client = usize::from(packet.to.port() == CLIENTS[1]);
            if !self.gone[client] {
                self.clients[client].handle(packet, time);
            }
            return;
        }
        let before = self.server.inbound.counters().snapshot().datagrams_accepted;
        self.server.handle(packet, time);
        if self.server.inbound.counters().snapshot().datagrams_accepted > before {
            self.note_request(usize::from(packet.from.port() == CLIENTS[1]), &packet.bytes);
            self.arrived += u64::from(self.commands.contains(&packet.bytes));
        }
        for got in core::mem::take(&mut self.server.got) {
            let number = got.number.expect("native datagrams have numbers");
            let stale = self.newest.is_stale(got.peer, COMMANDS, number, got.late);
            if stale && self.fault != Fault::NoHistory {
                self.stale += 1;
                continue;
            }
            let verdict = self.watchdog.as_mut().map(|watchdog| watchdog.sign(self.now_ns));
            if let Some(Verdict::Refused(_)) = verdict {
                self.latched += 1;
                continue;
            }
            let command = String::from_utf8_lossy(&got.payload).parse().expect("a number was sent");
            self.hand_out(command);
        }
        let refused = self.server.inbound.counters().snapshot().messages_dropped.of(DropReason::NotOwner);
        self.require(
            self.arrived == self.handed_out + self.stale + self.latched + refused,
            ControlRule::Accounts,
        );
    }

    /// Notes what a user's claim or release allows when it arrives for the first time.
    fn note_request(&mut self, client: usize, datagram: &[u8]) {
        let asked = self.clients[client].asked.iter().find(|(bytes, _)| bytes == datagram);
        let Some(&(_, act)) = asked.filter(|_| self.taken[client] < self.begun[client]) else {
            // Nothing was asked, or it is repeated: it has been acted on.
            return;
        };
        match act {
            OwnershipAct::Claim => self.entitled = [client == 0, client == 1],
            OwnershipAct::Release => self.entitled[1 - client] = true,
            _ => return,
        }
        self.taken[client] += 1;
    }

    /// A command reaches the user.
    fn hand_out(&mut self, command: usize) {
        self.handed_out += 1;
        let silent = self.signed.replace(self.now_ns).map_or(0, |at| self.now_ns - at);
        self.require(self.watchdog.is_none() || silent < nanos(TIME_OUT), ControlRule::StoppedUntilReset);
        let client = self.sent[command];
        let newest = self.newest_of[client].replace(command);
        self.require(newest.is_none_or(|newest| newest <= command), ControlRule::NewestOnly);
        let entitled = core::mem::take(&mut self.entitled)[client];
        let Some((before, at)) = self.last.replace((command, self.now_ns)) else { return };
        let former = self.sent[before];
        let was_silent = self.now_ns - at > nanos(SILENCE);
        let has_ended = !self.peers.iter().any(|&(_, of)| of == former);
        if former != client && !was_silent && !has_ended {
            self.require(entitled, ControlRule::OneOwner);
        }
    }

    fn collect(&mut self) {
        for event in core::mem::take(&mut self.server.events) {
            match event {
                Event::Added(peer) => {
                    self.peers.push((peer.id, usize::from(peer.address.port() == CLIENTS[1])));
                }
                Event::Removed(peer, _) => {
                    self.newest.forget(peer);
                    self.peers.retain(|&(id, _)| id != peer);
                }
                _ => {}
            }
        }
        for index in 0..2 {
            for event in core::mem::take(&mut self.clients[index].events) {
                let Event::ClaimEnded { ticket, outcome, .. } = event else { continue };
                if ticket == u64::MAX || self.gone[index] {
                    continue;
                }
                let place = self.open.iter().position(|&(open, of)| (open, of) == (ticket, index));
                self.require(place.is_some(), ControlRule::OneOutcome);
                place.map(|place| self.open.remove(place));
                let seen = [ClaimOutcome::Granted, ClaimOutcome::Released, ClaimOutcome::Overtaken];
                let seen = seen.into_iter().zip(&mut self.seen);
                seen.filter(|(known, _)| *known == outcome).for_each(|(_, seen)| *seen = true);
            }
        }
        let nodes = [&mut self.server].into_iter().chain(&mut self.clients);
        self.in_flight.extend(nodes.flat_map(|node| node.sent.drain(..)));
    }

    fn deliver_all(&mut self) {
        for _ in 0..1000 {
            if self.in_flight.is_empty() {
                return;
            }
            self.step(ControlStep::Deliver(0));
        }
        panic!("the ends never stop sending");
    }

    /// The network works again. Every claim must get its outcome.
    pub(super) fn heal(&mut self) {
        for _ in 0..80 {
            self.deliver_all();
            if self.open.is_empty() {
                return;
            }
            self.step(ControlStep::Wait);
        }
        self.require(false, ControlRule::OneOutcome);
    }

    fn require(&mut self, holds: bool, rule: ControlRule) {
        if !holds && self.broken.is_none() {
            self.broken = Some(rule);
        }
    }

    /// Returns a hash of everything that decides what can follow.
    pub(super) fn digest(&self) -> u64 {
        let mut text = String::with_capacity(1 << 14);
        for node in [&self.server].into_iter().chain(&self.clients) {
            write!(text, "{:?}{:?}", node.inbound, node.outbound).expect("a string takes any text");
        }
        let mut in_flight: Vec<_> = self.in_flight.iter().map(|packet| (packet.to, &packet.bytes)).collect();
        in_flight.sort_unstable();
        let mut hasher = DefaultHasher::new();
        (text, in_flight, &self.sent, self.last, self.newest_of, self.begun).hash(&mut hasher);
        (self.taken, self.entitled, self.signed, self.latched, format!("{:?}", self.watchdog))
            .hash(&mut hasher);
        (self.now_ns, self.arrived, self.handed_out, self.stale, &self.open, self.gone, self.broken)
            .hash(&mut hasher);
        hasher.finish()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("short")
}
