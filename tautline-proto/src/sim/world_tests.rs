//! Tests of the world: time, restarts, partitions, slow sockets and the trace.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::*;
use crate::endpoint::{Event, Outcome, Role};
use crate::message::{Delivery, MessageType};

const MS: Duration = Duration::from_millis(1);

struct Pair {
    world: World,
    server: NodeId,
    client: NodeId,
}

fn pair(impairments: Impairments, seed: u64) -> Pair {
    let mut world = World::new(impairments, seed);
    let [there, here] =
        ["10.0.0.1:9000", "10.0.0.2:5000"].map(|text| text.parse::<SocketAddr>().expect("an address"));
    let server = world.add(there, config(Role::Server, "plant"), Clock::default());
    let clock =
        Clock { drift_ppm: -300, steady: crate::Instant::from_nanos(77_000_000_000), ..Clock::default() };
    let client = world.add(here, config(Role::Client, "controller"), clock);
    world.dial(client, there);
    Pair { world, server, client }
}

/// Returns the events until `until`.
fn run(world: &mut World, until: Duration) -> Vec<(NodeId, SimEvent)> {
    core::iter::from_fn(|| world.next(until)).collect()
}

fn messages(events: &[(NodeId, SimEvent)]) -> Vec<(NodeId, &ReceivedMessage)> {
    let mut messages = Vec::new();
    for (node, event) in events {
        if let SimEvent::Message(message) = event {
            messages.push((*node, message));
        }
    }
    messages
}

#[test]
fn time_passes_only_until_the_given_end() {
    let Pair { mut world, .. } = pair(Impairments { delay: 10 * MS, ..Impairments::default() }, 1);
    let early = run(&mut world, 9 * MS);
    assert!(early.is_empty(), "{early:?}");
    assert_eq!(world.elapsed(), 9 * MS);
    let first = run(&mut world, 10 * MS);
    assert!(matches!(&first[..], [(_, SimEvent::Datagram(_))]), "the hello: {first:?}");
    let rest = run(&mut world, 1000 * MS);
    let accepted = rest.iter().filter(|(_, event)| matches!(event, SimEvent::Event(Event::Accepted(_))));
    assert_eq!((accepted.count(), world.elapsed()), (2, 1000 * MS));
}

#[test]
fn messages_travel_in_both_directions_before_and_after_restarts() {
    let Pair { mut world, server, client } = pair(Impairments { delay: MS, ..Impairments::default() }, 1);
    run(&mut world, 100 * MS);
    for (round, restarted) in [(1, None), (2, Some(server)), (3, Some(client))] {
        if let Some(node) = restarted {
            world.restart(node);
        }
        run(&mut world, round * 1000 * MS);
        let mut head = world.head(client, MessageType::Command);
        head.channel = 3;
        assert_eq!(world.send(client, &head, b"push"), 1, "round {round}");
        assert_eq!(world.send(server, &world.head(server, MessageType::Status), b"leans"), 1);
        let happened = run(&mut world, round * 1000 * MS + 50 * MS);
        let got = messages(&happened);
        assert_eq!(got.len(), 2, "{happened:?}");
        for (node, message) in got {
            let expected = if node == server {
                (MessageType::Command, 3, "controller", &b"push"[..], head.timestamp)
            } else {
                (MessageType::Status, 0, "plant", &b"leans"[..], message.timestamp)
            };
            let ReceivedMessage { message_type, channel, source, payload, timestamp, .. } = message;
            assert_eq!((*message_type, *channel, source.as_str(), &payload[..], *timestamp), expected);
        }
    }
    assert_eq!((world.life(server), world.life(client)), (1, 1));
}

#[test]
fn partition_is_detected_and_ends() {
    let Pair { mut world, server, .. } = pair(Impairments::default(), 1);
    run(&mut world, 500 * MS);
    world.network().impair_all(Impairments { partition: true, ..Impairments::default() });
    let cut = run(&mut world, 1500 * MS);
    let silent = cut.iter().filter(|(_, event)| matches!(event, SimEvent::Event(Event::Silent(_))));
    assert_eq!(silent.count(), 2, "each node detects the other's silence");
    world.network().impair_all(Impairments::default());
    run(&mut world, 3000 * MS);
    assert_eq!(world.peers(server).len(), 1);
    assert!(world.network().total().partitioned > 5);
}

#[test]
fn same_seed_and_acts_give_the_same_trace() {
    let trace = |seed, payload: &[u8]| {
        let loss = Probability::percent(20.0).expect("a share");
        let Pair { mut world, client, .. } =
            pair(Impairments { loss, jitter: MS, ..Impairments::default() }, seed);
        for tick in 0..100 {
            world.send(client, &world.head(client, MessageType::Data), payload);
            run(&mut world, tick * 10 * MS);
        }
        (world.trace(), world.datagrams())
    };
    assert_eq!(trace(3, b"x"), trace(3, b"x"));
    assert_ne!(trace(3, b"x").0, trace(4, b"x").0);
    assert_ne!(trace(3, b"x").0, trace(3, b"y").0);
}

#[test]
fn slow_socket_sends_best_effort_messages_before_reliable_messages() {
    let Pair { mut world, server, client } = pair(Impairments::default(), 1);
    run(&mut world, 500 * MS);
    // 1,200 bytes take about 1 ms.
    world.limit(client, "10Mbit".parse().expect("a rate"));
    let peer = world.peers(client)[0];
    for _ in 0..50 {
        let head = crate::wire::native::Head {
            delivery: Delivery::Reliable,
            ..world.head(client, MessageType::Data)
        };
        world.offer(client, peer, &head, &[0; 1150]).expect("the window has room");
    }
    world.send(client, &world.head(client, MessageType::Command), b"stop");
    let begin = world.elapsed();
    let mut order = Vec::new();
    while let Some((node, event)) = world.next(begin + 200 * MS) {
        if let (SimEvent::Message(message), true) = (event, node == server) {
            order.push((message.payload == b"stop", world.elapsed() - begin));
        }
    }
    assert_eq!(order.len(), 51);
    let stop = order.iter().position(|(is_stop, _)| *is_stop);
    assert_eq!(stop, Some(1), "directly after the datagram that was being sent");
    assert!(order[1].1 < 2 * MS && order[50].1 > 40 * MS, "{order:?}");
}

#[test]
fn every_reliable_message_has_one_outcome() {
    let loss = Probability::percent(30.0).expect("a share");
    let Pair { mut world, server, client } = pair(Impairments { loss, ..Impairments::default() }, 1);
    run(&mut world, 1000 * MS);
    let peer = world.peers(client)[0];
    let head =
        crate::wire::native::Head { delivery: Delivery::Reliable, ..world.head(client, MessageType::Data) };
    let receipts: Vec<u64> = (0..50).filter_map(|_| world.offer(client, peer, &head, b"1").ok()).collect();
    let happened = run(&mut world, 5000 * MS);
    let mut ended: Vec<u64> = happened
        .iter()
        .filter_map(|(node, event)| match event {
            SimEvent::Outcome { receipt, outcome: Outcome::Delivered } if *node == client => Some(*receipt),
            _ => None,
        })
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, receipts);
    assert_eq!(messages(&happened).iter().filter(|(node, _)| *node == server).count(), 50);
}
