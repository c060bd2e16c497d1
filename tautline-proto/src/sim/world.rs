//! The simulated world: nodes, the network between them, and simulated time.

use alloc::vec::Vec;
use core::hash::Hasher;
use core::net::SocketAddr;
use core::time::Duration;

use siphasher::sip::SipHasher13;

use super::clock::Clock;
use super::event::SimEvent;
use super::impairments::Impairments;
use super::network::{Direction, Network};
use super::node::{BlackBox, Node};
use super::quantities::BitRate;
use super::random::Random;
use crate::endpoint::{EndpointConfig, Refusal};
use crate::message::{MessageType, StreamId};
use crate::peer::PeerId;
use crate::stats::InboundStats;
use crate::time::{Instant, Now};
use crate::wire::native::Head;

/// A node of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

/// Endpoints on a simulated network, in simulated time. A test of a control loop never has to wait, and gives the same result
/// every time.
///
/// [`next`](Self::next) advances to the next event. Between two calls the test acts: it sends, cuts the network or restarts a
/// node. The same seed and the same acts give the same [trace](Self::trace).
///
/// ```
/// use core::time::Duration;
/// use tautline_proto::MessageType;
/// use tautline_proto::endpoint::Role;
/// use tautline_proto::sim::{Clock, SimEvent, Impairments, World, config};
///
/// let bad_day = Impairments { loss: "10%".parse()?, jitter: Duration::from_millis(5), ..Impairments::default() };
/// let mut world = World::new(bad_day, 7);
/// let address = "10.0.0.1:9000".parse()?;
/// let plant = world.add(address, config(Role::Server, "plant"), Clock::default());
/// let client = config(Role::Client, "controller");
/// let controller = world.add("10.0.0.2:5000".parse()?, client, Clock { drift_ppm: 50, ..Clock::default() });
/// world.dial(controller, address);
///
/// // The controller sends a command every 10 ms for two seconds. The network loses a tenth of them.
/// let (mut sent, mut arrived) = (0, 0);
/// for tick in 0..200 {
///     sent += world.send(controller, &world.head(controller, MessageType::Command), b"1.5");
///     while let Some((node, event)) = world.next(Duration::from_millis(10 * tick)) {
///         arrived += usize::from(node == plant && matches!(event, SimEvent::Message(_)));
///     }
/// }
/// assert!(arrived > sent / 2 && arrived < sent);
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
    ring: Option<usize>,
}

impl World {
    /// Creates an empty world. Every path has these `impairments`. All random decisions follow from `seed`.
    #[must_use]
    pub fn new(impairments: Impairments, seed: u64) -> Self {
        Self {
            now: Instant::default(),
            network: Network::new(impairments, seed),
            nodes: Vec::new(),
            seed,
            trace: SipHasher13::new(),
            datagrams: 0,
            ring: None,
        }
    }

    /// Gives each node that is added from now on a black box: two rings of this many bytes for each of its lives, in two segments
    /// each, so that they wrap early. Nodes with keys have none.
    pub fn record(&mut self, bytes: usize) {
        self.ring = Some(bytes);
    }

    /// Returns the black boxes of a node, one for each of its lives.
    #[must_use]
    pub fn black_boxes(&self, node: NodeId) -> &[BlackBox] {
        &self.nodes[node.0].black_boxes
    }

    /// Adds a node at an address that no other node has.
    pub fn add(&mut self, address: SocketAddr, config: EndpointConfig, clock: Clock) -> NodeId {
        let number = self.nodes.len();
        // The paths use the streams of the seed from 0 upwards, the nodes from the highest downwards.
        let seed = Random::stream(self.seed, u64::MAX - number as u64).next_u64();
        self.nodes.push(Node::new(address, config, clock, seed, self.ring));
        NodeId(number)
    }

    /// Lets a client call its server. It calls again after each restart.
    pub fn dial(&mut self, node: NodeId, server: SocketAddr) {
        let now = self.clocks(node);
        self.nodes[node.0].dial(server, now);
        self.flush(node.0);
    }

    /// Advances to the next event that happens until `until`, counted from the beginning of the simulation. Returns `None` if
    /// there is none; the time is then `until`.
    pub fn next(&mut self, until: Duration) -> Option<(NodeId, SimEvent)> {
        let until = Instant::default().plus(until);
        loop {
            let event = self
                .nodes
                .iter_mut()
                .zip(0..)
                .find_map(|(node, index)| node.events.pop_front().map(|event| (NodeId(index), event)));
            if let Some(event) = event {
                self.note(&event);
                return Some(event);
            }
            let Some((due, turn)) = self.next_turn().filter(|(due, _)| *due <= until) else {
                self.now = self.now.max(until);
                return None;
            };
            self.now = self.now.max(due);
            self.take(turn);
        }
    }

    /// Returns the time since the beginning of the simulation.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        self.now.since(Instant::from_nanos(0))
    }

    /// Returns what a node's clocks show now.
    #[must_use]
    pub fn clocks(&self, node: NodeId) -> Now {
        self.nodes[node.0].clock.read(self.now)
    }

    /// Returns the metadata of a best-effort message that the node creates now, without optional fields.
    #[must_use]
    pub fn head(&self, node: NodeId, message_type: MessageType) -> Head<'static> {
        Head { message_type, timestamp: self.clocks(node).wall, ..Head::default() }
    }

    /// Sends a best-effort message to all peers of a node. Returns to how many, or 0 if the message does not fit a datagram.
    pub fn send(&mut self, node: NodeId, head: &Head<'_>, payload: &[u8]) -> usize {
        let peers = self.nodes[node.0].outbound.listeners().to_vec();
        let count = self.nodes[node.0].send(&peers, head, payload);
        self.flush(node.0);
        count
    }

    /// Sends a reliable message to one peer. Returns its receipt, which [`SimEvent::Outcome`] will name.
    ///
    /// # Errors
    ///
    /// Why the message is refused. It then has no outcome.
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

    /// Claims a stream at all peers of a node. [`Event::ClaimEnded`](crate::endpoint::Event::ClaimEnded) with this ticket says how
    /// that ended at each of them. Returns at how many it was begun.
    pub fn claim(&mut self, node: NodeId, stream: StreamId, ticket: u64) -> usize {
        let now = self.clocks(node);
        let begun =
            self.nodes[node.0].ask(now, |inbound, peer| inbound.claim(peer, stream, ticket, now.steady));
        self.flush(node.0);
        begun
    }

    /// Releases a stream at all peers of a node. As [`claim`](Self::claim).
    pub fn release(&mut self, node: NodeId, stream: StreamId, ticket: u64) -> usize {
        let now = self.clocks(node);
        let begun =
            self.nodes[node.0].ask(now, |inbound, peer| inbound.release(peer, stream, ticket, now.steady));
        self.flush(node.0);
        begun
    }

    /// Restarts a node without a warning to its peers. The node forgets everything, and a client calls its server again.
    pub fn restart(&mut self, node: NodeId) {
        let now = self.clocks(node);
        self.nodes[node.0].restart(now);
        self.flush(node.0);
    }

    /// Gives a node another address, which no other node has, as a network does that translates addresses. The node is not told. What
    /// is on its way to the old address is lost.
    pub fn rebind(&mut self, node: NodeId, address: SocketAddr) {
        self.nodes[node.0].address = address;
    }

    /// Lets a node accept these keys from now on, and no others. It keeps them when it restarts.
    #[cfg(feature = "secure")]
    pub fn replace_keys(&mut self, node: NodeId, keys: crate::secure::Keys) {
        let now = self.clocks(node);
        self.nodes[node.0].replace_keys(keys, now);
        self.flush(node.0);
    }

    /// Closes a node's sessions with all peers, as an interface does before it ends.
    pub fn close(&mut self, node: NodeId) {
        self.nodes[node.0].close();
        self.flush(node.0);
    }

    /// Limits the speed of a node's socket: it takes a datagram when the datagram before it was sent. Of the datagrams that
    /// wait, best-effort messages are sent before reliable messages.
    pub fn limit(&mut self, node: NodeId, uplink: BitRate) {
        self.nodes[node.0].uplink = Some(uplink);
    }

    /// Returns the peers that a node can send to.
    #[must_use]
    pub fn peers(&self, node: NodeId) -> &[PeerId] {
        self.nodes[node.0].outbound.peers()
    }

    /// Returns the address of a node's peer, or `None` if the peer is gone.
    #[must_use]
    pub fn address_of(&self, node: NodeId, peer: PeerId) -> Option<SocketAddr> {
        self.nodes[node.0].outbound.address_of(peer)
    }

    /// Returns how often a node was restarted.
    #[must_use]
    pub fn life(&self, node: NodeId) -> u64 {
        self.nodes[node.0].life
    }

    /// Returns the counts of all datagrams that reached a node since its last restart.
    #[must_use]
    pub fn stats(&self, node: NodeId) -> InboundStats {
        self.nodes[node.0].inbound.counters().snapshot()
    }

    /// Checks that the tables of a node agree with one another.
    ///
    /// # Errors
    ///
    /// The name of the first rule that does not hold.
    pub fn check(&self, node: NodeId) -> Result<(), &'static str> {
        self.nodes[node.0].inbound.check_invariants()
    }

    /// Returns the direction from one node to another, which identifies their path in the network.
    #[must_use]
    pub fn direction(&self, from: NodeId, to: NodeId) -> Direction {
        Direction { from: self.nodes[from.0].address, to: self.nodes[to.0].address }
    }

    /// Returns the network, to change its impairments or read its counts.
    pub const fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Returns a hash of everything that happened so far: what was sent, when and by whom, and what followed.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// Returns how many datagrams were sent so far.
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
                let Some((direction, delivery)) = self.network.poll(self.now) else { return };
                let reached = self.nodes.iter().position(|node| node.address == direction.to);
                let Some(index) = reached else { return };
                let now = self.nodes[index].clock.read(self.now);
                self.nodes[index].handle(now, direction.from, delivery);
                index
            }
        };
        self.flush(index);
    }

    /// Lets a node's socket take datagrams that wait.
    fn flush(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let (from, now) = (node.address, node.clock.read(self.now));
        node.pump(self.now, now, |to, datagram| {
            self.trace.write_u64(self.now.as_nanos());
            self.trace.write_usize(index);
            self.trace.write(datagram);
            self.datagrams += 1;
            self.network.send(self.now, Direction { from, to }, datagram);
        });
    }

    fn note(&mut self, (node, event): &(NodeId, SimEvent)) {
        self.trace.write_usize(node.0);
        match event {
            SimEvent::Datagram(arrival) => {
                self.trace.write_u64(self.now.as_nanos());
                self.trace.write(&arrival.datagram);
                self.trace.write(arrival.dropped.map_or("", |reason| reason.name()).as_bytes());
            }
            SimEvent::Message(message) => self.trace.write(&message.payload),
            SimEvent::Outcome { receipt, outcome } => {
                self.trace.write_u64(*receipt);
                self.trace.write(outcome.name().as_bytes());
            }
            // Peer events follow from the datagrams and the times.
            SimEvent::Event(_) => {}
        }
    }
}

/// What happens next: a datagram arrives, or something is due at a node.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Network,
    Node(usize),
}
