//! Compares a pair of endpoints, over a network that loses, repeats and reorders datagrams, with a slow and obvious twin that
//! remembers every number of every session.

mod support;

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use support::{Node, Packet, address, at, config};
use tautline_proto::endpoint::{Event, Role, WireFormat};
use tautline_proto::wire::classic::{self, ClassicFormat};
use tautline_proto::wire::native;
use tautline_proto::{Instant, PeerRxStats, PeerTxStats, window};

const CLASSIC: WireFormat = WireFormat::Classic(ClassicFormat { use_crc: true, use_sequence: true });

/// A step of the test.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send {
        from_client: bool,
    },
    WaitMs(u64),
    /// The client is killed and starts again on its port.
    Restart,
}

/// What the network does, in per cent of the datagrams, and how long it delays them.
#[derive(Clone, Copy, Debug)]
struct Conditions {
    lost: u64,
    repeated: u64,
    delayed: u64,
    longest_ms: u64,
    seed: u64,
}

/// The numbers of one session as they arrived at one end.
#[derive(Default)]
struct Twin {
    /// The first number.
    start: u64,
    received: BTreeMap<u64, ()>,
    /// When each missing number became missing.
    missing_since: BTreeMap<u64, Instant>,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Delivered { late: bool },
    Dropped,
}

impl Twin {
    fn next(&self) -> u64 {
        self.received.last_key_value().map_or(self.start, |(&highest, ())| highest + 1)
    }

    fn receive(&mut self, number: u64, now: Instant) -> Expected {
        let next = self.next();
        if number >= next {
            self.missing_since.extend((next..number).map(|missing| (missing, now)));
            self.received.insert(number, ());
            return Expected::Delivered { late: false };
        }
        let is_lost = self
            .missing_since
            .get(&number)
            .is_none_or(|since| since.plus(window::LOSS_TIMEOUT) <= now || number + window::SPAN < next);
        if is_lost || self.received.contains_key(&number) {
            return Expected::Dropped;
        }
        self.received.insert(number, ());
        Expected::Delivered { late: true }
    }
}

struct World {
    wire: WireFormat,
    conditions: Conditions,
    random: u64,
    server: Node,
    client: Node,
    /// The datagrams in flight, by the time of arrival, then by the order in which they were sent.
    network: BTreeMap<(u64, u64), Packet>,
    now_ms: u64,
    carried: u64,
    sent: u64,
    lives: u8,
    /// By receiving port and session (0 on the classic wire).
    twins: BTreeMap<(u16, u64), Twin>,
    /// The messages that were sent and not delivered yet: receiving port and payload.
    open: HashSet<(u16, Vec<u8>)>,
}

impl World {
    fn new(wire: WireFormat, conditions: Conditions) -> Self {
        let mut world = Self {
            wire,
            conditions,
            random: conditions.seed,
            server: Node::new(9000, config(Role::Server, wire), 1),
            client: Node::new(5000, config(Role::Client, wire), 2),
            network: BTreeMap::new(),
            now_ms: 0,
            carried: 0,
            sent: 0,
            lives: 2,
            twins: BTreeMap::new(),
            open: HashSet::new(),
        };
        world.client.dial(address(9000), at(0));
        world.post();
        world
    }

    fn percent(&mut self) -> u64 {
        // A linear congruential generator with PCG's multiplier. Its high bits are random enough.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % 100
    }

    /// Passes the datagrams that the nodes have sent to the network.
    fn post(&mut self) {
        let packets: Vec<_> = self.server.sent.drain(..).chain(self.client.sent.drain(..)).collect();
        for packet in packets {
            if self.percent() < self.conditions.lost {
                continue;
            }
            let copies = if self.percent() < self.conditions.repeated { 2 } else { 1 };
            for _ in 0..copies {
                let slow = self.percent() < self.conditions.delayed;
                let delay = if slow { 1 + self.percent() * self.conditions.longest_ms / 100 } else { 1 };
                self.carried += 1;
                self.network.insert((self.now_ms + delay, self.carried), packet.clone());
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send { from_client } => {
                self.sent += 1;
                let payload = format!("{}", self.sent);
                let (node, to) =
                    if from_client { (&mut self.client, 9000) } else { (&mut self.server, 5000) };
                if node.send(payload.as_bytes(), at(self.now_ms)) > 0 {
                    self.open.insert((to, payload.into_bytes()));
                }
                self.post();
                // Two messages have different time stamps, as those of a fast sender.
                self.wait(1);
            }
            Step::WaitMs(ms) => self.wait(ms),
            Step::Restart => {
                self.lives += 1;
                self.client = Node::new(5000, config(Role::Client, self.wire), self.lives);
                self.client.dial(address(9000), at(self.now_ms));
                self.twins.retain(|&(port, _), _| port != 5000);
                self.open.retain(|&(port, _)| port != 5000);
                self.post();
                self.wait(1);
            }
        }
    }

    /// Lets time pass, from one event to the next.
    fn wait(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            let arrival = self.network.first_key_value().map(|(&(at, _), _)| at);
            let due = [self.server.inbound.next_timeout(), self.client.inbound.next_timeout()];
            // `at(ms)` is ms + 1 on the steady clock. A deadline within a millisecond waits for the millisecond's end.
            let due =
                due.into_iter().flatten().map(|due| (due.as_nanos().div_ceil(1_000_000)).saturating_sub(1));
            let next = arrival.into_iter().chain(due).min().unwrap_or(end);
            self.now_ms = next.clamp(self.now_ms + 1, end);
            while let Some(entry) = self.network.first_entry()
                && entry.key().0 <= self.now_ms
            {
                let packet = entry.remove();
                self.deliver(&packet);
            }
            self.server.tick(at(self.now_ms));
            self.client.tick(at(self.now_ms));
            self.post();
        }
    }

    fn deliver(&mut self, packet: &Packet) {
        let now = at(self.now_ms);
        let node = if packet.to == self.server.address { &mut self.server } else { &mut self.client };
        let before = node.inbound.counters().snapshot();
        let got_before = node.got.len();
        node.handle(packet, now);
        let after = node.inbound.counters().snapshot();
        assert_eq!(after.datagrams_received(), before.datagrams_received() + 1);
        let accepted = after.datagrams_accepted > before.datagrams_accepted;
        let got: Vec<_> = node.got[got_before..].to_vec();
        for got in &got {
            let sent = self.open.remove(&(packet.to.port(), got.payload.clone()));
            assert!(sent, "{got:?} was not sent to this end in this session, or arrived twice");
        }
        if let Some((session, number)) = numbered(self.wire, &packet.bytes) {
            let expected = self.expect(packet, session, number, now.steady);
            let late = got.first().map(|got| got.late);
            match expected {
                Expected::Delivered { late: expected } => {
                    assert!(accepted, "{number} was dropped");
                    assert!(late.is_none_or(|late| late == expected), "{number} is late: {expected}");
                }
                Expected::Dropped => assert!(!accepted && got.is_empty(), "{number} was accepted"),
            }
        }
        self.post();
    }

    /// Returns what the twin expects. Datagrams of sessions that the receiver does not know are dropped.
    fn expect(&mut self, packet: &Packet, session: u64, number: u64, now: Instant) -> Expected {
        let node = if packet.to == self.server.address { &self.server } else { &self.client };
        if self.wire == WireFormat::Native && !knows(node, session) {
            return Expected::Dropped;
        }
        let start = if self.wire == WireFormat::Native { 0 } else { number };
        let twin = self.twins.entry((packet.to.port(), session));
        twin.or_insert_with(|| Twin { start, ..Twin::default() }).receive(number, now)
    }

    /// Stops all losses and sends a last datagram in each direction. Then each number must be received or lost.
    fn check_numbers(&mut self) {
        self.conditions = Conditions { lost: 0, repeated: 0, delayed: 0, ..self.conditions };
        self.wait(5000);
        for from_client in [true, false] {
            self.step(Step::Send { from_client });
        }
        self.wait(1400);
        for (receiver, sender) in [(&self.server, &self.client), (&self.client, &self.server)] {
            let (rx, tx) = (last_peer(receiver).0, last_peer(sender).1);
            let before_start = match self.wire {
                WireFormat::Native => 0,
                WireFormat::Classic(_) => self.twins[&(receiver.address.port(), 0)].start,
            };
            let seen = rx.datagrams + rx.lost + rx.missing + before_start;
            // A heartbeat may be in flight.
            let in_flight =
                self.network.values().filter(|packet| packet.to == receiver.address).count() as u64;
            assert_eq!(tx.next_sequence, seen + in_flight, "{rx:?}");
            assert_eq!(rx.missing, 0);
        }
        assert!(self.open.len() as u64 <= self.sent);
    }
}

/// Returns the session and the number of a datagram. `None` for datagrams outside any numbering.
fn numbered(wire: WireFormat, datagram: &[u8]) -> Option<(u64, u64)> {
    match wire {
        WireFormat::Native => {
            let (header, mut frames) = native::parse(datagram).expect("the network damages no datagram");
            let unnumbered = frames.next().is_some_and(|frame| frame.is_unnumbered());
            (!unnumbered).then_some((header.session.bits(), header.sequence.into()))
        }
        WireFormat::Classic(format) => {
            let (number, _) = classic::open(datagram, format).expect("the network damages no datagram");
            Some((0, number?.into()))
        }
    }
}

/// Returns whether the session belongs to one of the node's peers, according to its events.
fn knows(node: &Node, session: u64) -> bool {
    let mut known = None;
    for event in &node.events {
        match event {
            Event::Added(peer) if peer.session.is_some_and(|id| id.bits() == session) => {
                known = Some(peer.id);
            }
            Event::Removed(id, _) if known == Some(*id) => known = None,
            _ => {}
        }
    }
    known.is_some()
}

fn last_peer(node: &Node) -> (PeerRxStats, PeerTxStats) {
    let added = |event: &Event| match event {
        Event::Added(peer) => Some((peer.rx.snapshot(), peer.tx.snapshot())),
        _ => None,
    };
    node.events.iter().rev().find_map(added).expect("a peer")
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => any::<bool>().prop_map(|from_client| Step::Send { from_client }),
        4 => (0u64..60).prop_map(Step::WaitMs),
        1 => (0u64..1500).prop_map(Step::WaitMs),
    ];
    prop::collection::vec(step, 1..250)
}

fn conditions() -> impl Strategy<Value = Conditions> {
    (0u64..40, 0u64..30, 0u64..60, prop_oneof![Just(20u64), Just(300), Just(1500)], any::<u64>()).prop_map(
        |(lost, repeated, delayed, longest_ms, seed)| Conditions {
            lost,
            repeated,
            delayed,
            longest_ms,
            seed,
        },
    )
}

fn run(wire: WireFormat, conditions: Conditions, steps: &[Step]) -> World {
    let mut world = World::new(wire, conditions);
    steps.iter().for_each(|&step| world.step(step));
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn native_endpoints_agree_with_their_twin(conditions in conditions(), steps in steps()) {
        run(WireFormat::Native, conditions, &steps).check_numbers();
    }

    #[test]
    fn classic_endpoints_agree_with_their_twin(conditions in conditions(), steps in steps()) {
        // The first message lets the server know its client.
        let mut world = World::new(CLASSIC, Conditions { lost: 0, ..conditions });
        world.step(Step::Send { from_client: true });
        world.wait(2000);
        world.conditions = conditions;
        steps.iter().for_each(|&step| world.step(step));
        world.check_numbers();
    }

    #[test]
    fn restarted_native_clients_are_heard_again(
        conditions in conditions(), lives in prop::collection::vec(steps(), 1..4)
    ) {
        let mut world = run(WireFormat::Native, conditions, &[]);
        for steps in &lives {
            steps.iter().for_each(|&step| world.step(step));
            world.step(Step::Restart);
        }
        world.check_numbers();
    }
}
