//! One seed: a server and two clients on a bad network. Then the network heals, and the counters are checked.

use std::net::SocketAddr;
use std::time::Duration;

use tautline_proto::endpoint::{Event, Role};
use tautline_proto::sim::{Clock, Impairments, NodeId, Probability, Random, SimEvent, World};
use tautline_proto::{Delivery, WallTime};

use super::ends::Ends;
use super::ledger::{Ledger, MessageSpec};
use super::truth::{Fates, Truth};
use super::window::QUIET;

const MS: Duration = Duration::from_millis(1);

/// How long the network is bad.
const BAD_TIME: Duration = Duration::from_millis(2500);
/// The length of a tick.
const TICK: Duration = Duration::from_millis(5);
/// A node sends a message once in this many ticks, on average.
const SENDS: u64 = 2;
/// A node is restarted once in this many ticks, on average.
const RESTARTS: u64 = 200;
/// The network is cut once in this many ticks, on average.
const CUTS: u64 = 250;
/// On a secured link, a client's address changes once in this many ticks, on average.
const MOVES: u64 = 100;
/// On a secured link, a client calls with another key once in this many ticks, on average.
const KEYS: u64 = 60;
/// How old the keys of a secured session get.
const REKEY_AFTER: Duration = Duration::from_millis(1000);
/// The longest cut, in milliseconds.
const MAX_CUT_MS: u64 = 1200;

/// After healing, all nodes must be connected again within this time plus three round trips.
const HEALED_WITHIN: Duration = Duration::from_secs(2);

/// The figures of one seed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) datagrams: u64,
    pub(crate) messages: u64,
    pub(crate) received: u64,
    pub(crate) restarts: u64,
    pub(crate) cuts: u64,
    pub(crate) moves: u64,
    /// How often a client called with another key, and how often that has taken over in its session.
    pub(crate) keys: u64,
    pub(crate) replaced: u64,
    pub(crate) network: tautline_proto::sim::PathCounts,
    pub(crate) fates: Fates,
    pub(crate) outcomes: Vec<(&'static str, u64)>,
    /// The time from healing until messages had travelled in both directions between the server and each client.
    pub(crate) healed_in: Duration,
    pub(crate) trace: u64,
}

/// A node with the truth about it.
struct TrackedNode {
    id: NodeId,
    address: SocketAddr,
    /// The addresses that it had before.
    former: Vec<SocketAddr>,
    truth: Truth,
    /// When the latest message from each other node was sent that this node has received.
    heard: Vec<(NodeId, Duration)>,
}

struct Scenario {
    ends: Ends,
    world: World,
    nodes: Vec<TrackedNode>,
    ledger: Ledger,
    /// When each message was sent, by its number.
    sent_at: Vec<Duration>,
    random: Random,
    bad: Impairments,
    figures: Figures,
}

/// Runs one seed.
///
/// # Errors
///
/// The first violation.
pub(crate) fn run(ends: Ends, seed: u64) -> Result<Figures, String> {
    let mut scenario = Scenario::new(ends, seed);
    scenario.bad_network_time()?;
    scenario.heal()?;
    scenario.check_counters()?;
    Ok(scenario.finish())
}

pub(crate) fn bad_network(random: &mut Random) -> Impairments {
    let share = |percent: u64| Probability::percent(percent as f64).expect("from 0 to 100");
    let burst = (random.below(3) == 0).then(|| 1.0 + random.unit() * 10.0);
    let impairments = Impairments {
        loss: share(random.below(51)),
        burst,
        duplicate: share(20),
        corrupt: share(10),
        reorder: share(random.below(11)),
        delay: random.up_to(20 * MS),
        jitter: random.up_to(8 * MS),
        rate: (random.below(4) == 0).then(|| "256kbit".parse().expect("a rate")),
        queue: 4000,
        max_size: None,
        partition: false,
    };
    Impairments { burst: burst.filter(|_| impairments.check().is_ok()), ..impairments }
}

fn random_clock(random: &mut Random) -> Clock {
    let drift_ppm = i32::try_from(random.below(1001)).expect("small") - 500;
    let steady = tautline_proto::Instant::from_nanos(1 + random.below(1 << 50));
    let wall = WallTime::from_nanos(1_700_000_000_000_000_000 + random.below(1 << 40).cast_signed());
    Clock { steady, wall, drift_ppm }
}

impl Scenario {
    fn new(ends: Ends, seed: u64) -> Self {
        let mut random = Random::stream(seed, 1 << 32);
        let bad = bad_network(&mut random);
        let mut world = World::new(bad, seed);
        let address = |host: u8, port: u16| SocketAddr::from(([10, 0, 0, host], port));
        let roles = [(Role::Server, 9000), (Role::Client, 5000), (Role::Client, 5001)];
        let nodes: Vec<TrackedNode> = (1..)
            .zip(roles)
            .map(|(host, (role, port))| {
                let mut config = ends.config(role, "node");
                config.rekey_after = REKEY_AFTER;
                let id = world.add(address(host, port), config, random_clock(&mut random));
                let (address, truth) = (address(host, port), Truth::default());
                TrackedNode { id, address, former: Vec::new(), truth, heard: Vec::new() }
            })
            .collect();
        for client in &nodes[1..] {
            world.dial(client.id, nodes[0].address);
        }
        let (ledger, figures) = (Ledger::default(), Figures::default());
        Self { ends, world, nodes, ledger, sent_at: Vec::new(), random, bad, figures }
    }

    fn bad_network_time(&mut self) -> Result<(), String> {
        let mut cut_until = Duration::ZERO;
        while self.world.elapsed() < BAD_TIME {
            if self.random.below(RESTARTS) == 0 {
                self.restart()?;
            }
            if self.ends.are_secured() && self.random.below(MOVES) == 0 {
                self.move_client();
            }
            if self.ends.are_secured() && self.random.below(KEYS) == 0 {
                self.figures.keys += 1;
                let client = self.nodes[1 + usize::from(self.random.below(2) == 0)].id;
                self.ends.change_key(&mut self.world, client, self.random.below(2) == 0);
            }
            if self.world.elapsed() >= cut_until {
                let is_cut = self.random.below(CUTS) == 0;
                if is_cut {
                    self.figures.cuts += 1;
                    cut_until = self.world.elapsed() + self.random.up_to(Duration::from_millis(MAX_CUT_MS));
                }
                self.world.network().impair_all(Impairments { partition: is_cut, ..self.bad });
            }
            self.talk(SENDS)?;
            self.run_for(TICK)?;
        }
        Ok(())
    }

    /// Restarts a node. In half of the cases the node closes its sessions first.
    fn restart(&mut self) -> Result<(), String> {
        self.figures.restarts += 1;
        let index = usize::try_from(self.random.below(self.nodes.len() as u64)).expect("small");
        let id = self.nodes[index].id;
        if self.random.below(2) == 0 {
            self.world.close(id);
        }
        self.check_node(index)?;
        let (server, node) = (self.nodes[0].id, &self.nodes[index]);
        let mut known =
            self.world.peers(server).iter().filter_map(|&peer| self.world.address_of(server, peer));
        if known.any(|address| node.former.contains(&address)) {
            self.ledger.left_behind.insert(id);
        }
        self.world.restart(id);
        self.ledger.restarted(id);
        self.nodes[index].truth = Truth::default();
        self.nodes[index].heard.clear();
        self.run_for(Duration::ZERO)
    }

    /// Gives a client another address. In a third of the cases it knows that.
    fn move_client(&mut self) {
        self.figures.moves += 1;
        let (client, host) =
            (1 + self.figures.moves % 2, u8::try_from(self.figures.moves).unwrap_or(u8::MAX));
        let server = self.nodes[0].address;
        let node = &mut self.nodes[usize::try_from(client).expect("small")];
        let port = node.address.port();
        node.former.push(std::mem::replace(&mut node.address, SocketAddr::from(([10, 0, 1, host], port))));
        self.world.rebind(node.id, node.address);
        if self.random.below(3) == 0 {
            self.world.dial(node.id, server);
        }
    }

    /// Lets each node send a message, with a probability of 1 in `once_in`.
    fn talk(&mut self, once_in: u64) -> Result<(), String> {
        for index in 0..self.nodes.len() {
            if self.random.below(once_in) == 0 {
                let id = self.nodes[index].id;
                let spec = MessageSpec::draw(&mut self.random);
                self.send(id, &spec)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, from: NodeId, spec: &MessageSpec) -> Result<(), String> {
        let timestamp = self.world.clocks(from).wall;
        let head = spec.head(timestamp);
        let record = |scenario: &mut Self| {
            let life = scenario.world.life(from);
            scenario.sent_at.push(scenario.world.elapsed());
            scenario.ledger.enter(from, life, spec.clone(), timestamp, &mut scenario.random)
        };
        if spec.delivery == Delivery::BestEffort {
            let payload = record(self);
            self.world.send(from, &head, &payload);
            return Ok(());
        }
        for peer in self.world.peers(from).to_vec() {
            let payload = record(self);
            let address = self.world.address_of(from, peer).ok_or("a peer without an address")?;
            let to = self.nodes.iter().find(|part| part.address == address || part.former.contains(&address));
            let to = to.ok_or("a peer at an address that no node has")?.id;
            if let Ok(receipt) = self.world.offer(from, peer, &head, &payload) {
                self.ledger.offered(from, to, receipt)?;
            }
        }
        Ok(())
    }

    /// Lets time pass, and checks every event.
    fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let until = self.world.elapsed() + time;
        while let Some((node, event)) = self.world.next(until) {
            self.check(node, &event)
                .map_err(|violation| format!("at {:?}, {node:?}: {violation}", self.world.elapsed()))?;
        }
        Ok(())
    }

    fn check(&mut self, node: NodeId, event: &SimEvent) -> Result<(), String> {
        let now = self.world.clocks(node).steady;
        let part = self.nodes.iter_mut().find(|part| part.id == node).expect("every node is tracked");
        match event {
            SimEvent::Datagram(arrival) => part.truth.arrive(arrival, now),
            SimEvent::Event(event) => {
                self.figures.replaced += u64::from(matches!(event, Event::KeyReplaced(_)));
                if let Some(fates) = part.truth.event(event, now)? {
                    self.figures.fates.add(fates);
                    self.ledger.session_ended(node);
                }
                Ok(())
            }
            SimEvent::Message(message) => {
                let (from, life) = self.ledger.received(node, self.world.life(node), message)?;
                let number = message.payload.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                let sent_at = self.sent_at[usize::try_from(number).expect("it was recorded")];
                part.heard.retain(|(other, _)| *other != from);
                part.heard.push((from, sent_at));
                part.truth.message(message, life)
            }
            SimEvent::Outcome { receipt, outcome } => self.ledger.ended(node, *receipt, *outcome),
            _ => Ok(()),
        }
    }

    /// Heals the network. Messages must travel between the server and each client again within a bound.
    fn heal(&mut self) -> Result<(), String> {
        let healed = Impairments { delay: self.bad.delay, ..Impairments::default() };
        self.world.network().impair_all(healed);
        let begin = self.world.elapsed();
        let bound = HEALED_WITHIN + 3 * (2 * healed.delay);
        while !self.all_heard_since(begin) {
            self.figures.healed_in = self.world.elapsed() - begin;
            if self.figures.healed_in > bound {
                return Err(format!("not connected {bound:?} after the healing"));
            }
            self.talk(SENDS)?;
            self.run_for(TICK)?;
        }
        Ok(())
    }

    /// Returns whether the server and each client have received messages from one another that were sent since `begin`.
    fn all_heard_since(&self, begin: Duration) -> bool {
        let [server, clients @ ..] = &self.nodes[..] else { return false };
        let heard = |at: &TrackedNode, from: &TrackedNode| {
            at.heard.iter().any(|(node, sent_at)| *node == from.id && *sent_at >= begin)
        };
        clients.iter().all(|client| heard(server, client) && heard(client, server))
    }

    /// Waits until only heartbeats are sent. Then every counter must equal the truth, and the counters of both ends must agree.
    fn check_counters(&mut self) -> Result<(), String> {
        // Reliable messages get their outcomes in this time.
        self.run_for(QUIET + Duration::from_secs(1))?;
        while self.world.network().next_timeout().is_some() {
            self.run_for(MS)?;
        }
        self.ledger.check_all_ended()?;
        for index in 0..self.nodes.len() {
            self.check_node(index)?;
            let now = self.world.clocks(self.nodes[index].id).steady;
            self.figures.fates.add(self.nodes[index].truth.check_sessions(now)?);
            self.world.check(self.nodes[index].id)?;
        }
        let [server, clients @ ..] = &self.nodes[..] else { return Ok(()) };
        for client in clients {
            client.truth.check_against(client.address, &server.truth, server.address)?;
            server.truth.check_against(server.address, &client.truth, client.address)?;
        }
        Ok(())
    }

    fn check_node(&self, index: usize) -> Result<(), String> {
        let part = &self.nodes[index];
        part.truth.check_totals(&self.world.stats(part.id))?;
        part.truth.check_sessions(self.world.clocks(part.id).steady).map(drop)
    }

    fn finish(mut self) -> Figures {
        self.figures.datagrams = self.world.datagrams();
        self.figures.messages = self.ledger.sent();
        self.figures.received = self.ledger.received;
        self.figures.network = self.world.network().total();
        self.figures.outcomes =
            self.ledger.outcomes.iter().map(|(outcome, count)| (outcome.name(), *count)).collect();
        self.figures.outcomes.sort_unstable();
        self.figures.trace = self.world.trace();
        self.figures
    }
}
