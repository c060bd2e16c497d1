//! Sends datagrams to a server with keys and to a client that calls it. The fuzzer writes the bytes behind a right header and token.
#![no_main]

#[path = "../../tautline-proto/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use support::{Node, Packet, address, at, config};
use tautline_proto::endpoint::{Role, WireFormat};
use tautline_proto::secure::{Key, Keys};

/// How many datagrams one datagram may cause at most.
const MAX_ANSWERS: usize = 4;
/// Where the body of a datagram's only frame begins.
const BODY: usize = 20;
/// The length of token and key id.
const PROVEN: usize = 24;

fuzz_target!(|input: &[u8]| {
    let mut world = World::new();
    let mut rest = input;
    while let Some((&[operation, len], after)) = rest.split_first_chunk() {
        let (bytes, after) = after.split_at(after.len().min(len.into()));
        world.step(operation, bytes);
        rest = after;
    }
});

struct World {
    server: Node,
    client: Node,
    /// The echo and the accept of a handshake that nobody disturbed.
    echo: Packet,
    accept: Packet,
    ms: u64,
}

impl World {
    fn new() -> Self {
        let secured = |role| {
            let mut config = config(role, WireFormat::Native);
            config.security = Some(Keys::shared(Key::from_bytes([1; 32])));
            config
        };
        let mut server = Node::new(9000, secured(Role::Server), 1);
        let mut twin = Node::new(9000, secured(Role::Server), 1);
        let mut client = Node::new(5000, secured(Role::Client), 2);
        client.dial(address(9000), at(0));
        let hello = client.sent.pop_front().expect("a hello");
        server.handle(&hello, at(0));
        client.handle(&server.sent.pop_front().expect("a token"), at(0));
        let echo = client.sent.pop_front().expect("an echo");
        twin.handle(&echo, at(0));
        let accept = twin.sent.pop_front().expect("an accept");
        Self { server, client, echo, accept, ms: 0 }
    }

    fn step(&mut self, operation: u8, bytes: &[u8]) {
        let is_echo = operation & 1 == 0;
        let mut packet = if is_echo { self.echo.clone() } else { self.accept.clone() };
        match operation >> 1 & 7 {
            // A true beginning, and whatever the fuzzer writes behind it.
            0 => packet.bytes.truncate(BODY),
            1 if is_echo => packet.bytes.truncate(BODY + PROVEN),
            // The true datagram with bytes changed from some place on.
            2 | 3 => {
                let place = usize::from(operation).min(packet.bytes.len() - 1);
                for (byte, change) in packet.bytes[place..].iter_mut().zip(bytes) {
                    *byte ^= change;
                }
            }
            4 => {
                self.ms += bytes.first().map_or(1, |&byte| u64::from(byte) * 8);
                self.server.tick(at(self.ms));
                self.client.tick(at(self.ms));
                self.server.sent.clear();
                self.client.sent.clear();
                return;
            }
            5 => {}
            _ => packet.bytes.truncate(16),
        }
        if matches!(operation >> 1 & 7, 0 | 1 | 6 | 7) {
            packet.bytes.extend_from_slice(bytes);
            if operation & 0x40 == 0 && packet.bytes.len() >= BODY {
                let len = u16::try_from(packet.bytes.len() - BODY).expect("short");
                packet.bytes[BODY - 2..BODY].copy_from_slice(&len.to_be_bytes());
            }
            packet.bytes.extend_from_slice(&[0; 4]);
        }
        if operation & 0x80 == 0 {
            let checked = packet.bytes.len() - 4;
            let crc = crc32fast::hash(&packet.bytes[..checked]);
            packet.bytes[checked..].copy_from_slice(&crc.to_be_bytes());
        }
        self.feed(is_echo, &packet);
    }

    fn feed(&mut self, to_server: bool, packet: &Packet) {
        let node = if to_server { &mut self.server } else { &mut self.client };
        let before = node.inbound.counters().snapshot();
        node.handle(packet, at(self.ms));
        let after = node.inbound.counters().snapshot();
        assert_eq!(after.datagrams_received(), before.datagrams_received() + 1);
        assert!(node.sent.len() <= MAX_ANSWERS && node.got.is_empty());
        let answered: usize = node.sent.drain(..).map(|answer| answer.bytes.len()).sum();
        if to_server {
            assert!(answered <= packet.bytes.len(), "{answered} bytes were sent for {}", packet.bytes.len());
            // Only the client can make itself a peer, by a sealed datagram.
            assert!(self.server.outbound.peers().is_empty());
        }
    }
}
