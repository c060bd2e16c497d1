//! The size of a path is found by probes, kept, and found again, in simulated networks that drop what is larger.

#![allow(clippy::print_stdout)] // the sizes that were found

use std::sync::Arc;
use std::time::Duration;

use tautline_proto::endpoint::{Event, Role};
use tautline_proto::sim::{Clock, Impairments, NodeId, Probability, SimEvent, World, config};
use tautline_proto::{MessageType, PeerRxCounters};

const SECOND: Duration = Duration::from_secs(1);

/// A server and a client with datagrams of up to 1,472 bytes.
struct Link {
    world: World,
    nodes: [NodeId; 2],
    /// The size that each node was told of last.
    sizes: [usize; 2],
    /// What counts the datagrams of each peer.
    peers: Vec<Arc<PeerRxCounters>>,
    accepted: usize,
    received: usize,
}

impl Link {
    fn new(impairments: Impairments, seed: u64) -> Self {
        let mut world = World::new(impairments, seed);
        let [there, here] = ["10.0.0.1:9000", "10.0.0.2:5000"].map(|text| text.parse().expect("an address"));
        let sized = |role, name| {
            let mut config = config(role, name);
            config.datagram_size = 1_472;
            config
        };
        let server = world.add(there, sized(Role::Server, "plant"), Clock::default());
        let client = world.add(here, sized(Role::Client, "controller"), Clock::default());
        world.dial(client, there);
        Self {
            world,
            nodes: [server, client],
            sizes: [1_200; 2],
            peers: Vec::new(),
            accepted: 0,
            received: 0,
        }
    }

    /// Lets time pass. Both ends send a message of this many bytes every 10 ms.
    fn pass(&mut self, time: Duration, payload: usize) {
        let end = self.world.elapsed() + time;
        while self.world.elapsed() < end {
            for node in self.nodes {
                let head = self.world.head(node, MessageType::Data);
                self.world.send(node, &head, &vec![1; payload]);
            }
            let next = self.world.elapsed() + Duration::from_millis(10);
            while let Some((node, event)) = self.world.next(next) {
                match event {
                    SimEvent::Event(Event::PathSize(_, size)) => {
                        self.sizes[usize::from(node == self.nodes[1])] = size;
                    }
                    SimEvent::Event(Event::Added(peer)) => self.peers.push(peer.rx),
                    SimEvent::Event(Event::Accepted(_)) => self.accepted += 1,
                    SimEvent::Message(_) => self.received += 1,
                    _ => {}
                }
            }
        }
    }

    /// Each number that was sent is received, missing, lost or a lost probe.
    fn check_sums(&self) {
        for peer in self.peers.iter().map(|peer| peer.snapshot()) {
            let sum = peer.datagrams + peer.missing + peer.lost + peer.probes_lost;
            assert_eq!(sum, peer.expected_sequence, "{peer:?}");
        }
    }

    fn carries(&mut self, size: usize) {
        let now = Impairments { max_size: Some(size), ..Impairments::default() };
        self.world.network().impair_all(now);
    }
}

#[test]
fn the_size_of_a_path_is_found_and_lost_probes_are_not_lost() {
    for size in [1_252, 1_300, 1_372, 1_472, 9_000] {
        let mut link = Link::new(Impairments { max_size: Some(size), ..Impairments::default() }, size as u64);
        link.pass(6 * SECOND, 64);
        let right = size.min(1_472);
        for found in link.sizes {
            assert!(found <= right && right - found < 16, "{found} of {right}");
        }
        assert_eq!(link.accepted, 2);
        let network = link.world.network().total();
        assert!(network.too_large < 40, "few probes: {}", network.too_large);
        assert_eq!(link.peers.len(), 2);
        let received: Vec<_> = link.peers.iter().map(|peer| peer.snapshot()).collect();
        for peer in &received {
            assert_eq!((peer.lost, peer.duplicate), (0, 0), "a path of {size}");
        }
        let probes_lost: u64 = received.iter().map(|peer| peer.probes_lost).sum();
        assert_eq!(probes_lost, network.too_large, "a path of {size}: nothing else was too large");
        println!("a path of {size}: found {:?}, {} probes lost", link.sizes, network.too_large);
    }
}

#[test]
fn a_path_that_shrinks_is_a_black_hole_for_less_than_two_seconds() {
    let mut link = Link::new(Impairments::default(), 5);
    // 1,260 bytes of payload are 1,300 in all.
    link.pass(2 * SECOND, 1_260);
    assert_eq!(link.sizes, [1_472; 2]);
    link.carries(1_250);
    let begun = link.world.elapsed();
    while link.sizes != [1_200; 2] && link.world.elapsed() < begun + 5 * SECOND {
        link.pass(SECOND / 20, 1_260);
    }
    let took = link.world.elapsed() - begun;
    println!("noticed after {took:?}");
    assert!(took < 2 * SECOND, "{took:?}");
    link.pass(5 * SECOND, 64);
    assert!(link.sizes.iter().all(|size| (1_234..=1_250).contains(size)), "{:?}", link.sizes);
    link.check_sums();
    link.carries(1_472);
    link.pass(70 * SECOND, 64);
    link.check_sums();
    assert_eq!(link.sizes, [1_472; 2], "larger sizes are tried again");
}

#[test]
fn loss_by_chance_is_no_black_hole() {
    let loss = Probability::percent(10.0).expect("a share");
    let mut link = Link::new(Impairments { loss, ..Impairments::default() }, 9);
    link.pass(60 * SECOND, 1_000);
    link.check_sums();
    assert_eq!(link.sizes, [1_472; 2]);
    assert!(link.received > 10_000, "{}", link.received);
}
