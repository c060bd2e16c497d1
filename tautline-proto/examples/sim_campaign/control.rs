//! Commands on bad networks: a plant and three controllers that want the same stream. Each seed checks what a plant relies on:
//! that commands of two owners are not interleaved, that no command overtaken by a newer one is acted on, and that after a silence
//! nothing is acted on before a reset.
//!
//! The plant is a node whose commands have one owner. Behind it stand the rules that the library puts there: the history of the
//! stream, and a watchdog that latches. The truth is kept apart from all of them, and knows only what the users did and saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tautline_proto::endpoint::{ClaimOutcome, Event, Role};
use tautline_proto::history::Newest;
use tautline_proto::silence::{Periods, Rule, Silence, Verdict};
use tautline_proto::sim::{Clock, Impairments, NodeId, Random, ReceivedMessage, SimEvent, World};
use tautline_proto::{DropReason, Instant, MessageType, PeerId, StreamId};

use super::ends::Ends;
use super::scenario::bad_network;

const MS: Duration = Duration::from_millis(1);

/// The stream that the controllers want.
const COMMANDS: StreamId = StreamId { message_type: MessageType::Command, channel: 0 };

/// For how long an owner may be silent.
const SILENCE: Duration = Duration::from_millis(60);

/// The time-out of the watchdog behind the owner's rule. A stream changes hands by silence in less.
const TIME_OUT: Duration = Duration::from_millis(70);

/// The user resets the watchdog once in this many ticks, on average, also if it has not tripped.
const RESETS: u64 = 20;

/// How long the network is bad, and how long it is good afterwards, so that every claim gets its outcome.
const BAD_TIME: Duration = Duration::from_millis(4000);
const GOOD_TIME: Duration = Duration::from_millis(2500);

/// The length of a tick. Each controller sends one command in it.
const TICK: Duration = Duration::from_millis(5);

/// Once in this many ticks, on average, something happens to a controller: it claims, releases, pauses or is restarted.
const ACTS: u64 = 30;

/// A rule that is broken on purpose. The truth must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The plant takes commands of every controller.
    NoOwner,
    /// A claim that is repeated counts as a new one.
    ClaimsAnew,
    /// Commands that a newer one has overtaken are handed out.
    NoHistory,
    /// Commands are acted on again after a silence, before anybody has reset the watchdog.
    NoLatch,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] =
        [Self::None, Self::NoOwner, Self::ClaimsAnew, Self::NoHistory, Self::NoLatch];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NoOwner => "no-owner",
            Self::ClaimsAnew => "claims-anew",
            Self::NoHistory => "no-history",
            Self::NoLatch => "no-latch",
        }
    }
}

/// What happened in a seed, or in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ControlFigures {
    pub(crate) commands: u64,
    pub(crate) acted_on: u64,
    pub(crate) refused: u64,
    pub(crate) stale: u64,
    pub(crate) latched: u64,
    pub(crate) resets: u64,
    pub(crate) hand_overs: u64,
    pub(crate) claims: u64,
    pub(crate) granted: u64,
    pub(crate) releases: u64,
    pub(crate) restarts: u64,
    pub(crate) trace: u64,
}

impl ControlFigures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        self.acted_on += other.acted_on;
        self.refused += other.refused;
        self.stale += other.stale;
        self.latched += other.latched;
        self.resets += other.resets;
        self.hand_overs += other.hand_overs;
        self.claims += other.claims;
        self.granted += other.granted;
        self.releases += other.releases;
        self.restarts += other.restarts;
        self.trace ^= other.trace;
    }
}

/// Runs one seed.
///
/// # Errors
///
/// The first violation.
pub(crate) fn run(ends: Ends, seed: u64, fault: Fault) -> Result<ControlFigures, String> {
    let mut rig = Rig::new(ends, seed, fault);
    while rig.world.elapsed() < BAD_TIME {
        rig.tick(true)?;
    }
    rig.world.network().impair_all(Impairments { delay: rig.bad.delay, ..Impairments::default() });
    while rig.world.elapsed() < BAD_TIME + GOOD_TIME {
        rig.tick(false)?;
    }
    rig.check()
}

/// A controller, as its user knows it.
struct Controller {
    node: NodeId,
    paused_until: Duration,
}

/// What the users did and saw.
#[derive(Default)]
struct Truth {
    /// The sender and the life of each command.
    sent: Vec<(NodeId, u64)>,
    /// The last command that was acted on, and when.
    last: Option<(usize, Instant)>,
    /// How often a stream may change hands although its owner is not silent: once for each claim and each release.
    credit: u64,
    /// The sender of the last command has lost its session since.
    was_lost: bool,
    /// When the last command since the last reset was acted on. A reset counts only after a silence.
    signed: Option<Instant>,
    /// The newest command of each life that was acted on.
    newest: BTreeMap<(NodeId, u64), usize>,
}

struct Rig {
    world: World,
    plant: NodeId,
    controllers: Vec<Controller>,
    random: Random,
    bad: Impairments,
    fault: Fault,
    newest: Newest,
    watchdog: Silence,
    /// The node of each peer of the plant.
    peers: BTreeMap<PeerId, NodeId>,
    truth: Truth,
    /// Claims and releases that have no outcome: the node and its life.
    open: BTreeMap<u64, (NodeId, u64)>,
    last_ticket: u64,
    /// Claims to repeat, if that is the fault.
    again: Vec<(NodeId, Duration)>,
    /// Command frames in datagrams that the plant accepted.
    arrived: u64,
    figures: ControlFigures,
}

impl Rig {
    fn new(ends: Ends, seed: u64, fault: Fault) -> Self {
        let mut random = Random::stream(seed, 1 << 33);
        let bad = bad_network(&mut random);
        let mut world = World::new(bad, seed);
        let address = |host: u8| SocketAddr::from(([10, 0, 1, host], 9000));
        let clock = |random: &mut Random| Clock {
            drift_ppm: i32::try_from(random.below(401)).expect("small") - 200,
            ..Clock::default()
        };
        let mut plant = ends.config(Role::Server, "plant");
        if fault != Fault::NoOwner {
            plant.owned.set(MessageType::Command, None, Some(SILENCE));
        }
        let plant = world.add(address(1), plant, Clock::default());
        let controllers = (2..=4).map(|host| {
            let node = world.add(address(host), ends.config(Role::Client, "controller"), clock(&mut random));
            world.dial(node, address(1));
            Controller { node, paused_until: Duration::ZERO }
        });
        let controllers = controllers.collect();
        Self {
            world,
            plant,
            controllers,
            random,
            bad,
            fault,
            newest: Newest::default(),
            watchdog: Silence::new(Rule {
                periods: Periods::strict(u64::try_from(TIME_OUT.as_nanos()).expect("short")),
                latches: fault != Fault::NoLatch,
            }),
            peers: BTreeMap::new(),
            truth: Truth::default(),
            open: BTreeMap::new(),
            last_ticket: 0,
            again: Vec::new(),
            arrived: 0,
            figures: ControlFigures::default(),
        }
    }

    fn tick(&mut self, acts: bool) -> Result<(), String> {
        for index in 0..self.controllers.len() {
            if acts && self.random.below(ACTS) == 0 {
                self.act(index);
            }
            let Controller { node, paused_until } = self.controllers[index];
            if self.world.elapsed() >= paused_until {
                self.command(node);
            }
        }
        if self.random.below(RESETS) == 0 {
            self.reset();
        }
        let now = self.world.elapsed();
        for (node, _) in self.again.extract_if(.., |(_, at)| *at <= now).collect::<Vec<_>>() {
            self.last_ticket += 1;
            self.world.claim(node, COMMANDS, self.last_ticket);
        }
        self.run_for(TICK)
    }

    /// Lets something happen to a controller.
    fn act(&mut self, index: usize) {
        let node = self.controllers[index].node;
        let now = self.world.elapsed();
        match self.random.below(8) {
            0..=3 => {
                self.figures.claims += 1;
                self.ask(node, World::claim);
                if self.fault == Fault::ClaimsAnew {
                    self.again.push((node, now + self.random.up_to(100 * MS)));
                }
            }
            4 => {
                self.figures.releases += 1;
                self.ask(node, World::release);
                self.controllers[index].paused_until = now + self.random.up_to(100 * MS);
            }
            5 => self.controllers[index].paused_until = now + self.random.up_to(200 * MS),
            closes => {
                self.figures.restarts += 1;
                if closes == 6 {
                    self.world.close(node);
                }
                self.world.restart(node);
                self.open.retain(|_, (of, _)| *of != node);
            }
        }
    }

    /// The user at the plant lets commands pass again.
    fn reset(&mut self) {
        let now = self.world.clocks(self.plant).steady;
        self.watchdog.look(now.as_nanos());
        self.figures.resets += u64::from(self.watchdog.reset());
        self.truth.signed = self.truth.signed.filter(|at| now.since(*at) < TIME_OUT);
    }

    fn ask(&mut self, node: NodeId, ask: fn(&mut World, NodeId, StreamId, u64) -> usize) {
        self.last_ticket += 1;
        if ask(&mut self.world, node, COMMANDS, self.last_ticket) > 0 {
            self.open.insert(self.last_ticket, (node, self.world.life(node)));
            self.truth.credit += 1;
        }
    }

    fn command(&mut self, node: NodeId) {
        let number = self.truth.sent.len() as u64;
        let head = self.world.head(node, MessageType::Command);
        if self.world.send(node, &head, &number.to_be_bytes()) > 0 {
            self.truth.sent.push((node, self.world.life(node)));
            self.figures.commands += 1;
        }
    }

    fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let until = self.world.elapsed() + time;
        while let Some((node, event)) = self.world.next(until) {
            let checked = if node == self.plant { self.at_plant(&event) } else { self.at_controller(&event) };
            checked.map_err(|violation| format!("at {:?}: {violation}", self.world.elapsed()))?;
        }
        Ok(())
    }

    fn at_plant(&mut self, event: &SimEvent) -> Result<(), String> {
        match event {
            SimEvent::Datagram(arrival) if arrival.dropped.is_none() => {
                self.arrived += arrival.messages as u64;
            }
            SimEvent::Event(Event::Added(peer)) => {
                let node = self.controllers.iter().map(|controller| controller.node).find(|&node| {
                    let of = self.world.direction(self.plant, node);
                    of.to == peer.address
                });
                self.peers.insert(peer.id, node.ok_or("a peer at an address that no node has")?);
            }
            SimEvent::Event(Event::Removed(peer, _)) => {
                self.newest.forget(*peer);
                let node = self.peers.remove(peer);
                let last = self.truth.last.map(|(number, _)| self.truth.sent[number].0);
                self.truth.was_lost |= node.is_some() && node == last;
            }
            SimEvent::Message(message) => return self.offered(message),
            _ => {}
        }
        Ok(())
    }

    /// A command passes the owner's rule, and then the rules of the library.
    fn offered(&mut self, message: &ReceivedMessage) -> Result<(), String> {
        let number = message.number.ok_or("native datagrams have numbers")?;
        let stale = self.newest.is_stale(message.peer, COMMANDS, number, message.is_late);
        if stale && self.fault != Fault::NoHistory {
            self.figures.stale += 1;
            return Ok(());
        }
        let now = self.world.clocks(self.plant).steady;
        if let Verdict::Refused(_) = self.watchdog.sign(now.as_nanos()) {
            self.figures.latched += 1;
            return Ok(());
        }
        let command = message.payload.first_chunk().map(|number| u64::from_be_bytes(*number));
        let command = command.and_then(|number| usize::try_from(number).ok());
        let command = command.filter(|&number| number < self.truth.sent.len()).ok_or("nobody sent it")?;
        self.figures.acted_on += 1;
        self.truth.acted_on(command, now, &mut self.figures)
    }

    fn at_controller(&mut self, event: &SimEvent) -> Result<(), String> {
        let SimEvent::Event(Event::ClaimEnded { ticket, outcome, .. }) = event else { return Ok(()) };
        self.figures.granted += u64::from(*outcome == ClaimOutcome::Granted);
        // Those that the fault has made were never open.
        if self.open.remove(ticket).is_none() && self.fault != Fault::ClaimsAnew {
            return Err(format!("claim {ticket} has a second outcome, {outcome}"));
        }
        Ok(())
    }

    /// Checks the sums, and that each claim has its outcome.
    fn check(mut self) -> Result<ControlFigures, String> {
        let refused = self.world.stats(self.plant).messages_dropped.of(DropReason::NotOwner);
        self.figures.refused = refused;
        let sum = self.figures.acted_on + self.figures.stale + self.figures.latched + refused;
        if sum != self.arrived {
            return Err(format!("{} commands arrived, {sum} are accounted for", self.arrived));
        }
        if let Some((ticket, (node, life))) = self.open.iter().next() {
            return Err(format!("claim {ticket} of {node:?} in life {life} has no outcome"));
        }
        self.world.check(self.plant)?;
        self.figures.trace = self.world.trace();
        Ok(self.figures)
    }
}

impl Truth {
    /// Checks that this command may be acted on now.
    fn acted_on(&mut self, number: usize, now: Instant, figures: &mut ControlFigures) -> Result<(), String> {
        let (sender, life) = self.sent[number];
        let silent = self.signed.replace(now).map_or(Duration::ZERO, |at| now.since(at));
        if silent >= TIME_OUT {
            return Err(format!(
                "command {number} is acted on after a silence of {silent:?}, and nobody has reset"
            ));
        }
        let newest = self.newest.entry((sender, life)).or_insert(number);
        if number < *newest {
            return Err(format!("command {number} of {sender:?} after its command {newest}"));
        }
        *newest = number;
        let before = self.last.replace((number, now));
        let Some((before, at)) = before else { return Ok(()) };
        let (former, former_life) = self.sent[before];
        if (former, former_life) != (sender, life) {
            figures.hand_overs += 1;
            let was_silent = now.since(at) > SILENCE;
            let was_lost = core::mem::take(&mut self.was_lost);
            if !was_silent && !was_lost && former != sender {
                self.credit = self.credit.checked_sub(1).ok_or_else(|| {
                    format!(
                        "command {number} of {sender:?} is interleaved: {former:?} was heard {:?} before, and nobody has claimed or \
                         released since the last hand-over",
                        now.since(at)
                    )
                })?;
            }
        }
        Ok(())
    }
}
