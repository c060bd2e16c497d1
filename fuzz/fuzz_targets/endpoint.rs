//! Sends datagrams to a live server and client on either wire, with waits and time-outs in any order.
#![no_main]

#[path = "../../tautline-proto/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use support::{Node, Packet, address, at, config, settle};
use tautline_proto::endpoint::{Role, WireFormat};
use tautline_proto::wire::classic::ClassicFormat;

/// How many datagrams one datagram may cause at most.
const MAX_ANSWERS: usize = 4;
/// How many events one datagram may cause at most.
const MAX_EVENTS: usize = 8;

fuzz_target!(|input: &[u8]| {
    let Some((&settings, operations)) = input.split_first() else { return };
    let (use_crc, use_sequence) = (settings & 2 == 0, settings & 4 == 0);
    let wire = match settings & 1 {
        0 => WireFormat::Native,
        _ => WireFormat::Classic(ClassicFormat { use_crc, use_sequence }),
    };
    let mut world = World::new(wire, use_crc);
    let mut operations = operations;
    while let Some(rest) = world.step(operations) {
        operations = rest;
    }
});

struct World {
    server: Node,
    client: Node,
    wire: WireFormat,
    /// Whether the CRC of fuzzed datagrams is corrected.
    repair: bool,
    now_ms: u64,
    fed: [u64; 2],
}

impl World {
    fn new(wire: WireFormat, repair: bool) -> Self {
        let server = Node::new(9000, config(Role::Server, wire), 1);
        let client = Node::new(5000, config(Role::Client, wire), 2);
        let mut world = Self { server, client, wire, repair, now_ms: 0, fed: [0; 2] };
        world.client.dial(address(9000), at(0));
        settle(&mut [&mut world.server, &mut world.client], at(0));
        world.fed = [received(&world.server), received(&world.client)];
        world
    }

    /// Carries out the first operation. Returns the remaining operations, or `None` at the end.
    fn step<'a>(&mut self, operations: &'a [u8]) -> Option<&'a [u8]> {
        let (&operation, rest) = operations.split_first()?;
        match operation % 7 {
            kind @ 0..=3 => {
                let (length, rest) = rest.split_first_chunk()?;
                let len = usize::from(u16::from_le_bytes(*length)).min(rest.len());
                let (bytes, rest) = rest.split_at(len);
                self.feed(kind, bytes);
                return Some(rest);
            }
            4 => {
                let (&ms, rest) = rest.split_first()?;
                self.now_ms += u64::from(ms) * 4;
                self.server.tick(at(self.now_ms));
                self.client.tick(at(self.now_ms));
                self.carry();
                return Some(rest);
            }
            5 => drop(self.client.send(b"1", at(self.now_ms))),
            _ => drop(self.server.send(b"2", at(self.now_ms))),
        }
        self.carry();
        Some(rest)
    }

    /// Sends a fuzzed datagram to one end, from the other end or from a stranger.
    fn feed(&mut self, kind: u8, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.seal(&mut bytes);
        let now = at(self.now_ms);
        let (node, peer) = if kind & 1 == 0 { (&mut self.server, 5000) } else { (&mut self.client, 9000) };
        let from = if kind & 2 == 0 { peer } else { 600 + u16::from(bytes.first().copied().unwrap_or(0)) };
        self.fed[usize::from(kind & 1)] += 1;
        node.events.clear();
        let packet = Packet { from: address(from), to: node.address, bytes };
        node.handle(&packet, now);
        assert!(node.sent.len() <= MAX_ANSWERS && node.events.len() <= MAX_EVENTS);
        if kind & 2 != 0 {
            let answered: usize = node
                .sent
                .iter()
                .filter(|answer| answer.to == packet.from)
                .map(|answer| answer.bytes.len())
                .sum();
            assert!(answered <= packet.bytes.len(), "{answered} bytes were sent for {}", packet.bytes.len());
        }
        assert_eq!(received(node), self.fed[usize::from(kind & 1)]);
        self.carry();
    }

    fn seal(&self, bytes: &mut [u8]) {
        let Some(checked) = bytes.len().checked_sub(4).filter(|_| self.repair) else { return };
        let at_front = self.wire != WireFormat::Native;
        let (covered, field) =
            if at_front { (4..bytes.len(), 0..4) } else { (0..checked, checked..bytes.len()) };
        let crc = crc32fast::hash(&bytes[covered]);
        bytes[field].copy_from_slice(&crc.to_be_bytes());
    }

    fn carry(&mut self) {
        settle(&mut [&mut self.server, &mut self.client], at(self.now_ms));
        self.fed = [received(&self.server), received(&self.client)];
        self.server.got.clear();
        self.client.got.clear();
    }
}

fn received(node: &Node) -> u64 {
    node.inbound.counters().snapshot().datagrams_received()
}
