//! The simulated world: nodes, the network between them, and a time that passes only when it is told to.

use alloc::vec::Vec;
use core::hash::Hasher;
use core::net::SocketAddr;
use core::time::Duration;

use siphasher::sip::SipHasher13;

use super::clock::Clock;
use super::happening::Happening;
use super::impairments::Impairments;
use super::network::{Network, Way};
use super::node::Node;
use super::quantities::BitRate;
use super::random::Random;
use crate::endpoint::{EndpointConfig, Refusal};
use crate::message::MessageType;
use crate::peer::PeerId;
use crate::stats::InboundStats;
use crate::time::{Instant, Now};
use crate::wire::native::Head;

/// A node of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

/// Endpoints on a simulated network, in simulated time: a test of a control loop that waits for nothing and always ends
/// the same way.
///
/// [`next`](Self::next) goes on to the next thing that happens; between two calls the test acts: sends, cuts the
/// network, restarts a node. The same seed and the same acts give the same [trace](Self::trace).
///
/// ```
/// use core::time::Duration;
/// use tautline_proto::MessageType;
/// use tautline_proto::endpoint::Role;
/// use tautline_proto::sim::{Clock, Happening, Impairments, World, config};
///
/// let bad_day = Impairments { loss: "10%".parse()?, jitter: Duration::from_millis(5), ..Impairments::default() };
/// let mut world = World::new(bad_day, 7);
/// let address = "10.0.0.1:9000".parse()?;
/// let plant = world.add(address, config(Role::Server, "plant"), Clock::default());
/// let client = config(Role::Client, "controller");
/// let controller = world.add("10.0.0.2:5000".parse()?, client, Clock { drift_ppm: 50, ..Clock::default() });
/// world.dial(controller, address);
///
/// // The controller commands every 10 ms for two seconds; half of them are enough here.
/// let (mut sent, mut came) = (0, 0);
/// for tick in 0..200 {
///     sent += world.send(controller, &world.head(controller, MessageType::Command), b"1.5");
///     while let Some((node, happening)) = world.next(Duration::from_millis(10 * tick)) {
///         came += usize::from(node == plant && matches!(happening, Happening::Message(_)));
///     }
/// }
/// assert!(came > sent / 2 && came < sent);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct World {
    now: Instant,
    network: Network,
    nodes: Vec<Node>,
    seed: u64,
    trace: SipHasher13,
    datagrams: u64,
}

impl World {
    /// An empty world; `impairments` are those of every path, `seed` decides about everything that chance decides about.
    #[must_use]
    pub fn new(impairments: Impairments, seed: u64) -> Self {
        Self {
            now: Instant::default(),
            network: Network::new(impairments, seed),
            nodes: Vec::new(),
            seed,
            trace: SipHasher13::new(),
            datagrams: 0,
        }
    }

    /// Adds a node at an address that no other one has.
    pub fn add(&mut self, address: SocketAddr, config: EndpointConfig, clock: Clock) -> NodeId {
        let number = self.nodes.len();
        // The paths take the first streams of the seed; there are never so many.
        let seed = Random::stream(self.seed, u64::MAX - number as u64).next_u64();
        self.nodes.push(Node::new(address, config, clock, seed));
        NodeId(number)
    }

    /// Lets a client call its server; it calls again after each restart.
    pub fn dial(&mut self, node: NodeId, server: SocketAddr) {
        let now = self.clocks(node);
        self.nodes[node.0].dial(server, now);
        self.flush(node.0);
    }

    /// Goes on to the next thing that happens before `until`, counted from the simulation's begin; `None` when nothing
    /// does, and it is `until`.
    pub fn next(&mut self, until: Duration) -> Option<(NodeId, Happening)> {
        let until = Instant::default().plus(until);
        loop {
            let told = self.nodes.iter_mut().zip(0..).find_map(|(node, index)| {
                node.happened.pop_front().map(|happening| (NodeId(index), happening))
            });
            if let Some(told) = told {
                self.note(&told);
                return Some(told);
            }
            let Some((due, turn)) = self.next_turn().filter(|(due, _)| *due <= until) else {
                self.now = self.now.max(until);
                return None;
            };
            self.now = self.now.max(due);
            self.take(turn);
        }
    }

    /// The time since the simulation's begin.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        self.now.since(Instant::from_nanos(0))
    }

    /// What a node's clocks show now.
    #[must_use]
    pub fn clocks(&self, node: NodeId) -> Now {
        self.nodes[node.0].clock.read(self.now)
    }

    /// The head of a best-effort message that the node makes now, without optional fields.
    #[must_use]
    pub fn head(&self, node: NodeId, message_type: MessageType) -> Head<'static> {
        Head { message_type, timestamp: self.clocks(node).wall, ..Head::default() }
    }

    /// Sends a best-effort message to all peers of a node; how many there are, 0 when it does not fit a datagram.
    pub fn send(&mut self, node: NodeId, head: &Head<'_>, payload: &[u8]) -> usize {
        let peers = self.nodes[node.0].outbound.peers().to_vec();
        let count = self.nodes[node.0].send(&peers, head, payload);
        self.flush(node.0);
        count
    }

    /// Hands over a reliable message for one peer; its receipt, which [`Happening::Outcome`] will name.
    ///
    /// # Errors
    ///
    /// Why it is not taken; then there is no outcome.
    pub fn offer(
        &mut self,
        node: NodeId,
        peer: PeerId,
        head: &Head<'_>,
        payload: &[u8],
    ) -> Result<u64, Refusal> {
        let expires = head.lifespan.map(|lifespan| self.clocks(node).steady.plus(lifespan));
        let offered = self.nodes[node.0].offer(peer, head, payload, expires);
        self.flush(node.0);
        offered
    }

    /// Restarts a node: it knows nothing of its last life, and a client calls again. Nobody is told.
    pub fn restart(&mut self, node: NodeId) {
        let now = self.clocks(node);
        self.nodes[node.0].restart(now);
        self.flush(node.0);
    }

    /// Says goodbye to all peers of a node, as one that is about to end does.
    pub fn close(&mut self, node: NodeId) {
        self.nodes[node.0].close();
        self.flush(node.0);
    }

    /// Limits the speed of a node's socket: it takes a datagram once the last one is on the wire; what has to wait goes in
    /// turn, best effort before reliable.
    pub fn limit(&mut self, node: NodeId, uplink: BitRate) {
        self.nodes[node.0].uplink = Some(uplink);
    }

    /// The peers that a node can send to.
    #[must_use]
    pub fn peers(&self, node: NodeId) -> &[PeerId] {
        self.nodes[node.0].outbound.peers()
    }

    /// Where a node's peer is; `None` for one that is gone.
    #[must_use]
    pub fn address_of(&self, node: NodeId, peer: PeerId) -> Option<SocketAddr> {
        self.nodes[node.0].outbound.address_of(peer)
    }

    /// How often a node was restarted.
    #[must_use]
    pub fn life(&self, node: NodeId) -> u64 {
        self.nodes[node.0].life
    }

    /// What all datagrams that reached a node in this life did there.
    #[must_use]
    pub fn stats(&self, node: NodeId) -> InboundStats {
        self.nodes[node.0].inbound.counters().snapshot()
    }

    /// Whether the tables of a node agree with one another.
    ///
    /// # Errors
    ///
    /// The name of the first rule that does not hold.
    pub fn check(&self, node: NodeId) -> Result<(), &'static str> {
        self.nodes[node.0].inbound.check_invariants()
    }

    /// The way from one node to another, by which the network knows their path.
    #[must_use]
    pub fn way(&self, from: NodeId, to: NodeId) -> Way {
        Way { from: self.nodes[from.0].address, to: self.nodes[to.0].address }
    }

    /// The network, to be changed and looked at.
    pub const fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// A hash of everything that happened so far: what was sent, when and by whom, and what came of it.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// Datagrams sent so far.
    #[must_use]
    pub const fn datagrams(&self) -> u64 {
        self.datagrams
    }

    fn next_turn(&self) -> Option<(Instant, Turn)> {
        let network = self.network.next_timeout().map(|at| (at, Turn::Network));
        let nodes = self.nodes.iter().zip(0..);
        let nodes = nodes.filter_map(|(node, index)| Some((node.next_timeout()?, Turn::Node(index))));
        network.into_iter().chain(nodes).min_by_key(|(at, _)| *at)
    }

    fn take(&mut self, turn: Turn) {
        let index = match turn {
            Turn::Node(index) => {
                let now = self.nodes[index].clock.read(self.now);
                self.nodes[index].tick(now);
                index
            }
            Turn::Network => {
                let Some((way, delivery)) = self.network.poll(self.now) else { return };
                let reached = self.nodes.iter().position(|node| node.address == way.to);
                let Some(index) = reached else { return };
                let now = self.nodes[index].clock.read(self.now);
                self.nodes[index].handle(now, way.from, delivery);
                index
            }
        };
        self.flush(index);
    }

    /// Lets a node's socket take what waits.
    fn flush(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let (from, now) = (node.address, node.clock.read(self.now));
        node.pump(self.now, now, |to, datagram| {
            self.trace.write_u64(self.now.as_nanos());
            self.trace.write_usize(index);
            self.trace.write(datagram);
            self.datagrams += 1;
            self.network.send(self.now, Way { from, to }, datagram);
        });
    }

    fn note(&mut self, (node, happening): &(NodeId, Happening)) {
        self.trace.write_usize(node.0);
        match happening {
            Happening::Datagram(arrival) => {
                self.trace.write_u64(self.now.as_nanos());
                self.trace.write(&arrival.datagram);
                self.trace.write(arrival.dropped.map_or("", |reason| reason.name()).as_bytes());
            }
            Happening::Message(message) => self.trace.write(&message.payload),
            Happening::Outcome { receipt, outcome } => {
                self.trace.write_u64(*receipt);
                self.trace.write(outcome.name().as_bytes());
            }
            // Follows from the datagrams and the times.
            Happening::Event(_) => {}
        }
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Network,
    Node(usize),
}
