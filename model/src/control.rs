//! Two clients that want to command one server, tried in every order: who owns the stream, and what the rules behind it let pass.
//!
//! The ends are real endpoints. Behind the server stands the rule of histories, as in the library. The truth is kept apart, and
//! knows only what the users did and saw. A [`Fault`] breaks a rule on purpose.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use stateright::{Model, Property};
use tautline_proto::endpoint::{ClaimOutcome, Event, Role, WireFormat};
use tautline_proto::history::Newest;
use tautline_proto::silence::{self, Periods, Silence, Verdict};
use tautline_proto::wire::native::{Frame, Frames, Head, OwnershipAct, parse};
use tautline_proto::{DropReason, Instant, MessageType, Now, PeerId, StreamId, WallTime};

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

/// The bounds of a check.
#[derive(Clone, Debug)]
pub(crate) struct ControlPlan {
    pub(crate) name: &'static str,
    /// What happens first, before every order is tried.
    pub(crate) begins: &'static [ControlStep],
    /// How many commands each client sends at most, how often it claims, and how often it releases.
    pub(crate) commands: [usize; 2],
    pub(crate) claims: [usize; 2],
    pub(crate) releases: [usize; 2],
    /// How often clients close their sessions. They do not come back.
    pub(crate) closes: usize,
    /// Whether a watchdog that latches stands behind the owner's rule, and how often the user resets it.
    pub(crate) latches: bool,
    pub(crate) resets: usize,
    pub(crate) losses: usize,
    pub(crate) waits: usize,
    pub(crate) max_steps: usize,
    pub(crate) fault: Fault,
}

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    #[default]
    None,
    /// The server takes commands of every client.
    NoOwner,
    /// A claim that is repeated counts as a new one.
    ClaimsAnew,
    /// Commands that a newer one has overtaken are handed out.
    NoHistory,
    /// Commands are handed out again after a silence, before anybody has reset the watchdog.
    NoLatch,
}

/// The checks.
pub(crate) const CONTROL_PLANS: [ControlPlan; 4] = [
    // Claims are lost, repeated and reordered, and the owner falls silent.
    ControlPlan {
        name: "claims",
        begins: &[],
        commands: [2, 1],
        claims: [1, 1],
        releases: [0, 0],
        closes: 0,
        latches: false,
        resets: 0,
        losses: 1,
        waits: 2,
        max_steps: 6,
        fault: Fault::None,
    },
    // A claim is repeated although it has taken effect, and its claimant falls silent meanwhile.
    ControlPlan {
        name: "repeats",
        begins: &[ControlStep::Claim(0), ControlStep::Deliver(0), ControlStep::Wait],
        commands: [1, 1],
        claims: [1, 0],
        releases: [0, 0],
        closes: 0,
        latches: false,
        resets: 0,
        losses: 0,
        waits: 2,
        max_steps: 10,
        fault: Fault::None,
    },
    // Commands stop, a watchdog trips and latches, and the user resets it, too early or in time.
    ControlPlan {
        name: "latch",
        begins: &[],
        commands: [2, 1],
        claims: [0, 0],
        releases: [0, 0],
        closes: 0,
        latches: true,
        resets: 1,
        losses: 0,
        waits: 2,
        max_steps: 8,
        fault: Fault::None,
    },
    // An owner releases or closes, and its commands come late.
    ControlPlan {
        name: "releases",
        begins: &[],
        commands: [2, 1],
        claims: [0, 0],
        releases: [1, 0],
        closes: 1,
        latches: false,
        resets: 0,
        losses: 0,
        waits: 1,
        max_steps: 7,
        fault: Fault::None,
    },
];

/// One step. Datagrams are named by their place among the datagrams in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ControlStep {
    Deliver(usize),
    Lose(usize),
    /// Time passes.
    Wait,
    /// A client sends a command.
    Command(usize),
    Claim(usize),
    Release(usize),
    /// A client closes its session, and stays away.
    Close(usize),
    /// The user at the server resets the watchdog.
    Reset,
}

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
struct Rig {
    server: Node,
    clients: [Node; 2],
    in_flight: Vec<Packet>,
    now_ns: u64,
    fault: Fault,
    newest: Newest,
    watchdog: Option<Silence>,
    /// When the last command since the last reset was handed out. A reset counts only after a silence.
    signed: Option<u64>,
    /// The client of each peer of the server.
    peers: Vec<(PeerId, usize)>,
    gone: [bool; 2],
    /// The client that sent each command.
    sent: Vec<usize>,
    /// The last command that was handed out, and when.
    last: Option<(usize, u64)>,
    newest_of: [Option<usize>; 2],
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
    seen: [bool; 3],
    broken: Option<ControlRule>,
}

impl Rig {
    fn new(plan: &ControlPlan) -> Self {
        let fault = plan.fault;
        let config = |role| {
            let mut config = support::config(role, WireFormat::Native);
            // Longer than everything here, so that heartbeats do not come between.
            config.heartbeat_interval = Duration::from_secs(10);
            config.liveness_timeout = Duration::from_secs(30);
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

    fn step(&mut self, step: ControlStep) {
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
        let (header, frames) = parse(&packet.bytes).expect("an end's own datagram");
        let before = self.server.inbound.counters().snapshot().datagrams_accepted;
        self.server.handle(packet, time);
        if self.server.inbound.counters().snapshot().datagrams_accepted > before {
            self.note_requests(usize::from(packet.from.port() == CLIENTS[1]), frames.clone());
            self.arrived += frames.filter(|frame| matches!(frame, Frame::Message(_))).count() as u64;
        }
        for got in core::mem::take(&mut self.server.got) {
            let number = u64::from(header.sequence);
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
    fn note_requests(&mut self, client: usize, frames: Frames<'_>) {
        for frame in frames {
            let Frame::Ownership(request) = frame else { continue };
            if self.taken[client] == self.begun[client] {
                // Repeated: it has been acted on.
                continue;
            }
            match request.act {
                OwnershipAct::Claim => self.entitled = [client == 0, client == 1],
                OwnershipAct::Release => self.entitled[1 - client] = true,
                _ => continue,
            }
            self.taken[client] += 1;
        }
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
    fn heal(&mut self) {
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
    fn digest(&self) -> u64 {
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

/// A state, as stateright keeps it.
#[derive(Clone, Debug)]
pub(crate) struct ControlState {
    steps: Vec<ControlStep>,
    open: Vec<ControlStep>,
    digest: u64,
    spent: [usize; 2],
    broken: Option<ControlRule>,
    seen: [bool; 3],
    both: bool,
}

impl ControlState {
    fn after(plan: &ControlPlan, steps: Vec<ControlStep>) -> Self {
        let mut rig = Rig::new(plan);
        plan.begins.iter().chain(&steps).for_each(|&step| rig.step(step));
        let digest = rig.digest();
        let steps_taken: Vec<_> = plan.begins.iter().chain(&steps).copied().collect();
        let open = if rig.broken.is_some() { Vec::new() } else { plan.open_steps(&rig, &steps_taken) };
        let (seen, both) = (rig.seen, rig.newest_of.iter().all(Option::is_some));
        if digest.is_multiple_of(crate::model::HEAL_ONE_IN) {
            rig.heal();
        }
        let count = |wanted: fn(&ControlStep) -> bool| steps.iter().filter(|step| wanted(step)).count();
        let spent = [
            count(|step| matches!(step, ControlStep::Lose(_))),
            count(|step| matches!(step, ControlStep::Wait)),
        ];
        Self { steps, open, digest, spent, broken: rig.broken, seen, both }
    }
}

impl Hash for ControlState {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.digest, self.spent).hash(hasher);
    }
}

impl PartialEq for ControlState {
    fn eq(&self, other: &Self) -> bool {
        (self.digest, self.spent) == (other.digest, other.spent)
    }
}

impl ControlPlan {
    fn open_steps(&self, rig: &Rig, steps: &[ControlStep]) -> Vec<ControlStep> {
        if steps.len() >= self.max_steps {
            return Vec::new();
        }
        let count = |step: ControlStep| steps.iter().filter(|taken| **taken == step).count();
        let losses = steps.iter().filter(|step| matches!(step, ControlStep::Lose(_))).count();
        let closes = steps.iter().filter(|step| matches!(step, ControlStep::Close(_))).count();
        let mut open = Vec::new();
        for (index, packet) in rig.in_flight.iter().enumerate() {
            let is_known = |other: &&Packet| (other.to, &other.bytes) == (packet.to, &packet.bytes);
            if rig.in_flight[..index].iter().find(is_known).is_some() {
                continue;
            }
            open.push(ControlStep::Deliver(index));
            open.extend((losses < self.losses).then_some(ControlStep::Lose(index)));
        }
        for client in (0..2).filter(|&client| !rig.gone[client]) {
            let mut offer = |step, most| open.extend((count(step) < most).then_some(step));
            offer(ControlStep::Command(client), self.commands[client]);
            offer(ControlStep::Claim(client), self.claims[client]);
            offer(ControlStep::Release(client), self.releases[client]);
            offer(ControlStep::Close(client), usize::from(closes < self.closes));
        }
        open.extend((count(ControlStep::Reset) < self.resets).then_some(ControlStep::Reset));
        open.extend((count(ControlStep::Wait) < self.waits).then_some(ControlStep::Wait));
        open
    }
}

impl Model for ControlPlan {
    type State = ControlState;
    type Action = ControlStep;

    fn init_states(&self) -> Vec<ControlState> {
        vec![ControlState::after(self, Vec::new())]
    }

    fn actions(&self, state: &ControlState, actions: &mut Vec<ControlStep>) {
        actions.extend(&state.open);
    }

    fn next_state(&self, state: &ControlState, step: ControlStep) -> Option<ControlState> {
        let mut steps = state.steps.clone();
        steps.push(step);
        Some(ControlState::after(self, steps))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        /// A macro, because the checker takes functions and not closures.
        macro_rules! always {
            ($($rule:ident),*) => {
                [$(Property::always(ControlRule::$rule.name(), |_, state: &ControlState| {
                    state.broken != Some(ControlRule::$rule)
                })),*]
            };
        }
        let rules = always![OneOwner, NewestOnly, StoppedUntilReset, OneOutcome, Accounts];
        let seen = [
            Property::sometimes("granted", |_, state: &ControlState| state.seen[0]),
            Property::sometimes("released", |_, state: &ControlState| state.seen[1]),
            Property::sometimes("overtaken", |_, state: &ControlState| state.seen[2]),
            Property::sometimes("commands of both", |_, state: &ControlState| state.both),
        ];
        rules.into_iter().chain(seen).collect()
    }
}
