//! Sends datagrams to a server with keys and to a client that calls it. The fuzzer writes the bytes behind a right header and token.
#![no_main]

#[path = "common/steps.rs"]
mod steps;
#[path = "../../tautline-proto/tests/support/mod.rs"]
mod support;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use steps::steps;
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
    steps(input).for_each(|(operation, bytes)| world.step(operation, bytes));
});

/// A handshake that nobody disturbed. The ends of each input have the same seeds, so its datagrams are true there too.
static TRUE: LazyLock<Handshake> = LazyLock::new(Handshake::new);

struct Handshake {
    token: Packet,
    echo: Packet,
    accept: Packet,
}

impl Handshake {
    fn new() -> Self {
        let (mut server, mut client) = (server(), client());
        client.dial(address(9000), at(0));
        server.handle(&next(&mut client), at(0));
        let token = next(&mut server);
        client.handle(&token, at(0));
        let echo = next(&mut client);
        server.handle(&echo, at(0));
        Self { token, echo, accept: next(&mut server) }
    }
}

fn next(node: &mut Node) -> Packet {
    node.sent.pop_front().expect("it answers")
}

fn server() -> Node {
    node(9000, Role::Server, 1)
}

fn client() -> Node {
    node(5000, Role::Client, 2)
}

fn node(port: u16, role: Role, seed: u8) -> Node {
    let mut config = config(role, WireFormat::Native);
    config.security = Some(Keys::shared(Key::from_bytes([1; Key::LEN])));
    Node::new(port, config, seed)
}

struct World {
    server: Node,
    /// A client that waits for the accept. It is made when the first datagram goes to it, because that takes an X25519.
    client: Option<Node>,
    ms: u64,
}

impl World {
    fn new() -> Self {
        Self { server: server(), client: None, ms: 0 }
    }

    fn client(&mut self) -> &mut Node {
        self.client.get_or_insert_with(|| {
            let mut client = client();
            client.dial(address(9000), at(0));
            client.handle(&TRUE.token, at(0));
            client.sent.clear();
            client
        })
    }

    fn step(&mut self, operation: u8, bytes: &[u8]) {
        let is_echo = operation & 1 == 0;
        let mut packet = if is_echo { TRUE.echo.clone() } else { TRUE.accept.clone() };
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
                for node in [&mut self.server].into_iter().chain(&mut self.client) {
                    node.tick(at(self.ms));
                    node.sent.clear();
                }
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
        let now = at(self.ms);
        let node = if to_server { &mut self.server } else { self.client() };
        let before = node.inbound.counters().snapshot();
        node.handle(packet, now);
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
