//! Sends sealed datagrams to the two ends of a secured link: forged ones, which must not open, and frames that the fuzzer writes and
//! the other end seals, which must do no harm.
#![no_main]

#[path = "common/steps.rs"]
mod steps;
#[path = "../../tautline-proto/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use steps::steps;
use support::{Node, Packet, address, at, config, settle};
use tautline_proto::endpoint::{Role, WireFormat};
use tautline_proto::secure::{Key, Keys};
use tautline_proto::wire::native::begin_datagram;

/// How many datagrams one datagram may cause at most.
const MAX_ANSWERS: usize = 6;
/// How many events one datagram may cause at most.
const MAX_EVENTS: usize = 8;

fuzz_target!(|input: &[u8]| {
    let mut world = World::new();
    steps(input).for_each(|(operation, bytes)| world.step(operation, bytes));
});

struct World {
    server: Node,
    client: Node,
    ms: u64,
}

impl World {
    fn new() -> Self {
        let secured = |role| {
            let mut config = config(role, WireFormat::Native);
            config.security = Some(Keys::shared(Key::from_bytes([1; 32])));
            config.rekey_after = Duration::from_millis(400);
            config
        };
        let server = Node::new(9000, secured(Role::Server), 1);
        let client = Node::new(5000, secured(Role::Client), 2);
        let mut world = Self { server, client, ms: 0 };
        world.client.dial(address(9000), at(0));
        settle(&mut [&mut world.server, &mut world.client], at(0));
        world
    }

    fn step(&mut self, operation: u8, bytes: &[u8]) {
        let to_server = operation & 1 == 0;
        let (from, to) = match to_server {
            true => (&mut self.client, &mut self.server),
            false => (&mut self.server, &mut self.client),
        };
        let Some(&peer) = from.outbound.peers().first() else { return self.wait(20) };
        let mut frames = Vec::new();
        begin_datagram(&mut frames);
        // An end whose keys are worn out seals nothing.
        match operation >> 1 & 7 {
            // Frames that the fuzzer writes, sealed by the other end.
            0..=2 => {
                frames.extend_from_slice(bytes);
                from.send_datagram(peer, frames, 0);
                let Some(packet) = from.sent.pop_back() else { return self.wait(20) };
                feed(to, &packet, self.ms, None);
            }
            // A true header, and whatever the fuzzer writes behind it.
            3 | 4 => {
                from.send_datagram(peer, frames, 0);
                let Some(mut packet) = from.sent.pop_back() else { return self.wait(20) };
                packet.bytes.truncate(16);
                packet.bytes.extend_from_slice(bytes);
                feed(to, &packet, self.ms, Some("forged"));
            }
            // A true datagram, changed.
            5 => {
                from.send(b"true", at(self.ms));
                let Some(mut packet) = from.sent.pop_back() else { return self.wait(20) };
                let before = packet.bytes.clone();
                for (byte, change) in packet.bytes.iter_mut().zip(bytes) {
                    *byte ^= change;
                }
                if packet.bytes != before {
                    feed(to, &packet, self.ms, Some("changed"));
                }
            }
            6 => return self.wait(bytes.first().map_or(1, |&byte| u64::from(byte))),
            _ => drop(from.send(b"1", at(self.ms))),
        }
        self.carry();
    }

    fn wait(&mut self, ms: u64) {
        self.ms += ms;
        self.server.tick(at(self.ms));
        self.client.tick(at(self.ms));
        self.carry();
    }

    fn carry(&mut self) {
        settle(&mut [&mut self.server, &mut self.client], at(self.ms));
        for node in [&mut self.server, &mut self.client] {
            node.got.clear();
            node.events.clear();
        }
    }
}

/// Hands a datagram to a node. One that is `bad` must be dropped.
fn feed(node: &mut Node, packet: &Packet, ms: u64, bad: Option<&str>) {
    let before = node.inbound.counters().snapshot();
    node.handle(packet, at(ms));
    let after = node.inbound.counters().snapshot();
    assert_eq!(after.datagrams_received(), before.datagrams_received() + 1);
    assert!(node.sent.len() <= MAX_ANSWERS && node.events.len() <= MAX_EVENTS);
    if let Some(bad) = bad {
        assert_eq!(after.datagrams_accepted, before.datagrams_accepted, "{bad}");
        assert!(node.got.is_empty(), "{bad}");
    }
}
