//! Two tests of reliable messages. At heavy loss, each of millions of messages must be delivered once and have one outcome. On a
//! slow socket, retransmissions must not delay best-effort messages.

use std::time::Duration;

use super::ends::Ends;
use tautline_proto::endpoint::{Outcome, Role};
use tautline_proto::sim::{BitRate, Clock, Impairments, NodeId, Probability, SimEvent, World};
use tautline_proto::wire::native::Head;
use tautline_proto::{Delivery, MessageType};

const MS: Duration = Duration::from_millis(1);

/// What happened to the reliable messages.
#[derive(Debug, Default)]
pub(crate) struct Reliable {
    pub(crate) offered: u64,
    pub(crate) delivered: u64,
    pub(crate) other_outcomes: u64,
    pub(crate) without_outcome: u64,
    pub(crate) second_outcomes: u64,
    pub(crate) received: u64,
    pub(crate) twice: u64,
    pub(crate) datagrams: u64,
    /// How long the simulation took, in simulated time.
    pub(crate) took: Duration,
    pub(crate) trace: u64,
}

impl Reliable {
    /// Returns whether each message was delivered once and has one outcome.
    pub(crate) const fn is_perfect(&self) -> bool {
        self.offered == self.delivered
            && self.offered == self.received
            && self.other_outcomes + self.without_outcome + self.second_outcomes + self.twice == 0
    }
}

/// A client and a server that are connected.
struct Pair {
    world: World,
    server: NodeId,
    client: NodeId,
}

impl Pair {
    fn connected(ends: Ends, impairments: Impairments, seed: u64) -> Self {
        let mut world = World::new(impairments, seed);
        let address = "10.0.0.1:9000".parse().expect("an address");
        let server = world.add(address, ends.config(Role::Server, "server"), Clock::default());
        let here = "10.0.0.2:5000".parse().expect("an address");
        let client = world.add(
            here,
            ends.config(Role::Client, "client"),
            Clock { drift_ppm: 200, ..Clock::default() },
        );
        world.dial(client, address);
        while world.peers(client).is_empty() || world.peers(server).is_empty() {
            let until = world.elapsed() + MS;
            while world.next(until).is_some() {}
        }
        Self { world, server, client }
    }

    fn head(&self, delivery: Delivery) -> Head<'static> {
        Head { delivery, ..self.world.head(self.client, MessageType::Data) }
    }
}

/// Sends `count` reliable messages at 30 % loss, with duplicates and reordering, as fast as the window takes them.
pub(crate) fn reliable(ends: Ends, count: u64, seed: u64) -> Reliable {
    let share = |percent| Probability::percent(percent).expect("a share");
    let impairments = Impairments {
        loss: share(30.0),
        duplicate: share(5.0),
        reorder: share(5.0),
        delay: MS,
        jitter: MS / 2,
        ..Impairments::default()
    };
    let mut pair = Pair::connected(ends, impairments, seed);
    let mut sums = Reliable::default();
    // Receipts count from 1.
    let length = usize::try_from(count).expect("they fit memory") + 1;
    let (mut ended, mut arrived) = (vec![false; length], vec![false; length]);
    let begin = pair.world.elapsed();
    let mut last_news = begin;
    while sums.delivered + sums.other_outcomes < count
        && pair.world.elapsed() - last_news < Duration::from_secs(60)
    {
        while sums.offered < count {
            let (peer, head) = (pair.world.peers(pair.client)[0], pair.head(Delivery::Reliable));
            let payload = [sums.offered.to_be_bytes(); 16].concat();
            if pair.world.offer(pair.client, peer, &head, &payload).is_err() {
                break;
            }
            sums.offered += 1;
        }
        let until = pair.world.elapsed() + MS / 4;
        while let Some((node, event)) = pair.world.next(until) {
            match event {
                SimEvent::Message(message) if node == pair.server => {
                    let number =
                        message.payload.first_chunk().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
                    let number = usize::try_from(number).expect("we sent it");
                    sums.twice += u64::from(std::mem::replace(&mut arrived[number], true));
                    sums.received += 1;
                }
                SimEvent::Outcome { receipt, outcome } => {
                    last_news = pair.world.elapsed();
                    let receipt = usize::try_from(receipt).expect("we sent it");
                    sums.second_outcomes += u64::from(std::mem::replace(&mut ended[receipt], true));
                    let is_delivered = outcome == Outcome::Delivered;
                    *(if is_delivered { &mut sums.delivered } else { &mut sums.other_outcomes }) += 1;
                }
                _ => {}
            }
        }
    }
    sums.without_outcome = ended[1..].iter().filter(|ended| !**ended).count() as u64;
    sums.datagrams = pair.world.datagrams();
    sums.took = pair.world.elapsed() - begin;
    sums.trace = pair.world.trace();
    sums
}

/// How long best-effort messages waited.
#[derive(Debug, Default)]
pub(crate) struct Saturated {
    /// How long each best-effort message waited for the socket, sorted.
    pub(crate) waits: Vec<Duration>,
    /// How many datagrams the socket took.
    pub(crate) datagrams: u64,
    /// How many of them were retransmissions at least.
    pub(crate) retransmissions: u64,
    /// How long the longest datagram takes.
    pub(crate) serialisation: Duration,
}

/// Measures how long best-effort messages wait for a socket of 10 Mbit/s. Half of all datagrams are lost, so that reliable messages
/// and their retransmissions fill the socket. A best-effort message is sent every 5 ms.
pub(crate) fn saturated(ends: Ends, seconds: u64, seed: u64) -> Saturated {
    const PAYLOAD: [u8; 1300] = [0; 1300];
    let mut pair = Pair::connected(ends, Impairments::default(), seed);
    let rate: BitRate = "10Mbit".parse().expect("a rate");
    pair.world.limit(pair.client, rate);
    let direction = pair.world.direction(pair.client, pair.server);
    let lossy = Impairments { loss: Probability::percent(50.0).expect("a share"), ..Impairments::default() };
    pair.world.network().impair(direction, lossy);
    let serialisation = rate.time_for(ends.config(Role::Client, "").datagram_size);
    let mut found = Saturated { serialisation, ..Saturated::default() };
    let (begin, mut sent, mut offered) = (pair.world.elapsed(), Vec::new(), 0u64);
    while pair.world.elapsed() < begin + Duration::from_secs(seconds) {
        let (peer, head) = (pair.world.peers(pair.client)[0], pair.head(Delivery::Reliable));
        while pair.world.offer(pair.client, peer, &head, &PAYLOAD).is_ok() {
            offered += 1;
        }
        let number = (sent.len() as u64).to_be_bytes();
        sent.push(pair.world.elapsed());
        let head = pair.head(Delivery::BestEffort);
        assert_eq!(pair.world.send(pair.client, &head, &number), 1, "the link stays up");
        let until = pair.world.elapsed() + 5 * MS;
        while let Some((_, event)) = pair.world.next(until) {
            let SimEvent::Message(message) = event else { continue };
            if message.delivery == Delivery::BestEffort {
                let number =
                    message.payload.first_chunk().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
                // The path has no delay, so the message arrives when the socket has sent it.
                let at = sent[usize::try_from(number).expect("we sent it")];
                found.waits.push(pair.world.elapsed() - at);
            }
        }
    }
    found.waits.sort_unstable();
    let counts = pair.world.network().counts().find(|(taken, _)| *taken == direction);
    found.datagrams = counts.map_or(0, |(_, counts)| counts.offered);
    // There are about twenty heartbeats and acknowledgements in a second.
    found.retransmissions = found.datagrams.saturating_sub(offered + sent.len() as u64 + 20 * seconds);
    found
}
