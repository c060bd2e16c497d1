//! One node of a simulation: both halves of an endpoint, its clocks, and its socket.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::clock::Clock;
use super::event::{ReceivedDatagram, ReceivedMessage, SimEvent};
use super::path;
use super::quantities::BitRate;
use super::random::Random;
use crate::drops::DropReason;
use crate::endpoint::{
    Accepted, ClaimError, Command, Encoder, EndpointConfig, Event, Inbound, Outbound, Refusal, Role,
    SentDatagrams, Start, WireFormat, endpoint,
};
use crate::peer::PeerId;
use crate::ring::Ring;
use crate::time::{Instant, Now};
use crate::wire::native::{HEADER_LEN, Head};

/// While other datagrams wait, one in this many is left to the reliable messages.
const RELIABLE_TURN: u32 = 10;

/// Returns the configuration of an endpoint that speaks the native wire, with the library's usual sizes and times.
#[must_use]
pub fn config(role: Role, name: &str) -> EndpointConfig {
    EndpointConfig { name: String::from(name), ..EndpointConfig::new(role, WireFormat::Native) }
}

/// A node of a [`World`](super::World).
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: SocketAddr,
    config: EndpointConfig,
    pub(super) clock: Clock,
    seed: u64,
    pub(super) life: u64,
    server: Option<SocketAddr>,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    encoder: Encoder,
    receipts: u64,
    /// Datagrams that the socket has not taken yet.
    waiting: VecDeque<Waiting>,
    /// The speed of the socket. It takes a datagram when the datagram before it was sent.
    pub(super) uplink: Option<BitRate>,
    busy_until: Instant,
    since_reliable: u32,
    pub(super) events: VecDeque<SimEvent>,
    /// How large the rings of its black boxes are; `None` without them.
    ring: Option<usize>,
    /// The black boxes of its lives.
    pub(super) black_boxes: Vec<BlackBox>,
}

/// The rings of one life of a node.
#[derive(Clone, Debug)]
pub struct BlackBox {
    /// That of the receiving half.
    pub inbound: Arc<Ring>,
    /// That of the sending half.
    pub outbound: Arc<Ring>,
}

#[derive(Debug)]
enum Waiting {
    /// A datagram outside any session.
    Plain { to: SocketAddr, datagram: Vec<u8> },
    /// A datagram that gets its number when the socket takes it.
    Numbered { peer: PeerId, body: Vec<u8>, messages: u64 },
}

impl Node {
    pub(super) fn new(
        address: SocketAddr,
        config: EndpointConfig,
        clock: Clock,
        seed: u64,
        ring: Option<usize>,
    ) -> Self {
        let (inbound, outbound) = endpoint(config.clone(), start(seed, 0));
        let mut node = Self {
            address,
            encoder: Encoder::new(&config),
            config,
            clock,
            seed,
            life: 0,
            server: None,
            inbound,
            outbound,
            receipts: 0,
            waiting: VecDeque::new(),
            uplink: None,
            busy_until: Instant::default(),
            since_reliable: 0,
            events: VecDeque::new(),
            ring,
            black_boxes: Vec::new(),
        };
        node.record();
        node
    }

    /// Begins the black box of a new life.
    fn record(&mut self) {
        let Some(bytes) = self.ring else { return };
        let [inbound, outbound] = [(); 2].map(|()| Ring::with_segments(2, bytes));
        self.inbound.record(Arc::clone(&inbound));
        self.outbound.record(Arc::clone(&outbound));
        self.black_boxes.push(BlackBox { inbound, outbound });
    }

    pub(super) fn dial(&mut self, server: SocketAddr, now: Now) {
        self.server = Some(server);
        self.inbound.dial(server, now);
        self.drain(now);
    }

    /// Starts again without any memory of the time before.
    pub(super) fn restart(&mut self, now: Now) {
        self.life += 1;
        self.waiting.clear();
        (self.inbound, self.outbound) = endpoint(self.config.clone(), start(self.seed, self.life));
        self.record();
        if let Some(server) = self.server {
            self.dial(server, now);
        }
    }

    /// Replaces its keys, for its next lives too.
    #[cfg(feature = "secure")]
    pub(super) fn replace_keys(&mut self, keys: crate::secure::Keys, now: Now) {
        self.config.security = Some(keys.clone());
        self.inbound.replace_keys(keys, now.steady);
        self.drain(now);
    }

    /// Handles a datagram.
    pub(super) fn handle(&mut self, now: Now, from: SocketAddr, delivery: path::DeliveredDatagram) {
        let mut scratch = Vec::new();
        self.inbound.came(now.steady, now.steady);
        let accepted = self.inbound.handle(now, from, &delivery.datagram, &mut scratch);
        self.carry_out_commands(now);
        let mut messages = Vec::new();
        let dropped = self.take_events(now);
        let held = accepted.as_ref().map_or(0, Accepted::messages_held);
        if let Some(accepted) = accepted {
            let (peer, number, is_late) = (accepted.peer(), accepted.number(), accepted.is_late());
            let read = self.inbound.messages(&accepted);
            let clock = read.peer_clock(now.steady);
            messages.extend(read.map(|message| {
                let made = clock.map(|clock| clock.moment(message.timestamp));
                ReceivedMessage { made, ..ReceivedMessage::new(&message, peer, number, is_late) }
            }));
        }
        let path::DeliveredDatagram { datagram, is_corrupted, .. } = delivery;
        let arrival = ReceivedDatagram { from, datagram, is_corrupted, dropped, messages: held };
        self.events.push_back(SimEvent::Datagram(arrival));
        self.events.extend(messages.into_iter().map(SimEvent::Message));
        self.drain(now);
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Now) {
        if self.inbound.next_timeout().is_some_and(|at| at <= now.steady) {
            self.inbound.handle_timeout(now);
        }
        self.drain(now);
    }

    /// Returns when something is due, in true time.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let when = |at: Option<Instant>| at.map(|at| self.clock.when(at));
        let waits = (!self.waiting.is_empty()).then_some(Instant::default());
        let sends = when(self.outbound.next_delivery()).into_iter().chain(waits).min();
        when(self.inbound.next_timeout()).into_iter().chain(sends.map(|at| at.max(self.busy_until))).min()
    }

    /// Sends a best-effort message to these peers. Returns to how many.
    pub(super) fn send(&mut self, peers: &[PeerId], head: &Head<'_>, payload: &[u8]) -> usize {
        let Some(body) = self.encode(head, payload) else { return 0 };
        let outbound = &mut self.outbound;
        let known = peers.iter().filter(|&&peer| outbound.knows(peer) && outbound.fits(peer, body.len()));
        let waiting = known.map(|&peer| Waiting::Numbered { peer, body: body.clone(), messages: 1 });
        let before = self.waiting.len();
        self.waiting.extend(waiting);
        self.waiting.len() - before
    }

    /// Queues a reliable message. Returns its receipt.
    pub(super) fn offer(
        &mut self,
        peer: PeerId,
        head: &Head<'_>,
        payload: &[u8],
        expires: Option<Instant>,
    ) -> Result<u64, Refusal> {
        let body = self.encode(head, payload).ok_or(Refusal::TooLarge)?;
        self.outbound.offer(peer, &body[HEADER_LEN..], self.receipts + 1, expires)?;
        self.receipts += 1;
        Ok(self.receipts)
    }

    /// Asks all peers for something about the owner of a stream. Returns how many.
    pub(super) fn ask(
        &mut self,
        now: Now,
        ask: impl Fn(&mut Inbound, PeerId) -> Result<(), ClaimError>,
    ) -> usize {
        let peers = self.outbound.peers().to_vec();
        let begun = peers.into_iter().filter(|&peer| ask(&mut self.inbound, peer).is_ok()).count();
        self.drain(now);
        begun
    }

    /// Closes the sessions with all peers.
    pub(super) fn close(&mut self) {
        for peer in self.outbound.peers().to_vec() {
            let mut body = Vec::new();
            if self.outbound.write_close(&mut body) {
                self.waiting.push_back(Waiting::Numbered { peer, body, messages: 0 });
            }
        }
    }

    /// Lets the socket take what it can now, and passes each datagram to `send`.
    pub(super) fn pump(&mut self, at: Instant, now: Now, mut send: impl FnMut(SocketAddr, &[u8])) {
        while self.busy_until <= at {
            let Some((to, datagram)) = self.next_datagram(now) else { break };
            if let Some(rate) = self.uplink {
                self.busy_until = at.plus(rate.time_for(datagram.len()));
            }
            send(to, &datagram);
        }
        while let Some((receipt, outcome)) = self.outbound.poll_outcome() {
            self.events.push_back(SimEvent::Outcome { receipt, outcome });
        }
    }

    /// Returns the next datagram for the socket. Datagrams that wait go first, except for one in [`RELIABLE_TURN`].
    fn next_datagram(&mut self, now: Now) -> Option<(SocketAddr, Vec<u8>)> {
        loop {
            let others_wait = !self.waiting.is_empty();
            if !others_wait || self.since_reliable >= RELIABLE_TURN {
                self.since_reliable = 0;
                let mut body = Vec::new();
                if let Some(due) = self.outbound.poll_delivery(now.steady, others_wait, &mut body) {
                    return self.seal(due.peer, body, due.messages);
                }
            }
            self.since_reliable += 1;
            let sealed = match self.waiting.pop_front()? {
                Waiting::Plain { to, datagram } => Some((to, datagram)),
                Waiting::Numbered { peer, body, messages } => self.seal(peer, body, messages),
            };
            if sealed.is_some() {
                return sealed;
            }
            // The datagram's peer is gone: takes the next one.
        }
    }

    fn seal(&mut self, peer: PeerId, mut body: Vec<u8>, messages: u64) -> Option<(SocketAddr, Vec<u8>)> {
        let mut sealed = Vec::new();
        let (to, datagram) = self.outbound.seal(peer, &mut body, &mut sealed)?;
        self.outbound.sent(peer, SentDatagrams::one(datagram.len(), messages));
        Some((to, datagram.to_vec()))
    }

    fn encode(&self, head: &Head<'_>, payload: &[u8]) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        let started = self.encoder.begin(&mut body, head).ok()?;
        body.extend_from_slice(payload);
        self.encoder.finish(&mut body, started).then_some(body)
    }

    fn drain(&mut self, now: Now) {
        self.take_events(now);
        self.carry_out_commands(now);
    }

    /// Records the events. Returns why a datagram was dropped, if one was.
    fn take_events(&mut self, now: Now) -> Option<DropReason> {
        let mut dropped = None;
        while let Some(event) = self.inbound.poll_event(now) {
            if let Event::Dropped { reason, .. } = event {
                dropped = Some(reason);
            }
            self.events.push_back(SimEvent::Event(event));
        }
        while let Some((to, datagram)) = self.inbound.poll_reply() {
            self.waiting.push_back(Waiting::Plain { to, datagram });
        }
        dropped
    }

    fn carry_out_commands(&mut self, now: Now) {
        while let Some(command) = self.inbound.poll_command() {
            if matches!(command, Command::Probe(_)) && !self.waiting.is_empty() {
                // It would not get the number that it is named by.
                continue;
            }
            let mut body = Vec::new();
            if let Some(peer) = self.outbound.apply(command, now, &mut body) {
                self.waiting.push_back(Waiting::Numbered { peer, body, messages: 0 });
            }
        }
    }
}

/// Returns the start of a life, with a seed that no other life of any node has.
fn start(seed: u64, life: u64) -> Start {
    let mut random = Random::stream(seed, life);
    let bits = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
    let mut entropy = [0; 32];
    entropy.chunks_mut(8).for_each(|word| word.copy_from_slice(&random.next_u64().to_be_bytes()));
    Start { seed: bits.to_be_bytes(), entropy, ..Start::default() }
}
