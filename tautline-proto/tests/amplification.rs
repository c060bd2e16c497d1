//! A server cannot be used to amplify traffic: it never sends more bytes to an address that has not echoed a token than came
//! from there. docs/protocol.md §5.

mod support;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use proptest::prelude::*;
use support::{Node, Packet, address, at, plain_head, settle};
use tautline_proto::SessionId;
use tautline_proto::endpoint::WireFormat;
use tautline_proto::wire::classic::{self, ClassicFormat};
use tautline_proto::wire::native::{
    Ack, Control, Frame, HEADER_LEN, Header, Heartbeat, TRAILER_LEN, Token, begin_datagram, begin_message,
    finish_message, parse, seal, write_control,
};

/// The port of the honest client.
const HONEST: u16 = 5000;

/// How many strangers send. Their ports follow that of the honest client.
const STRANGERS: u16 = 4;

/// A datagram of a stranger.
#[derive(Clone, Debug)]
struct Step {
    stranger: u16,
    session: Whose,
    kind: Kind,
    damage: Damage,
    wait_ms: u64,
    from_server: bool,
}

#[derive(Clone, Copy, Debug)]
enum Whose {
    Own,
    Random(u64),
    Honest,
}

#[derive(Clone, Debug)]
enum Kind {
    Hello,
    Heartbeat,
    Close,
    ForgedToken,
    /// An echo of the token that the stranger got last. It proves the address.
    Echo,
    /// An echo of the token that another address got.
    ForeignEcho,
    ForgedEcho(u64),
    Accept,
    Ack,
    Forward,
    UnknownSession,
    Refused,
    /// Several frames in one datagram.
    Several,
    Message(usize),
    Classic,
    Bytes(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    None,
    /// Only this many bytes are left.
    Cut(usize),
    /// Cut, and sealed with a right CRC.
    CutAndSealed(usize),
    Flip(usize),
    Version(u8),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Hello),
        1 => Just(Kind::Heartbeat),
        1 => Just(Kind::Close),
        1 => Just(Kind::ForgedToken),
        1 => Just(Kind::Echo),
        2 => Just(Kind::ForeignEcho),
        2 => any::<u64>().prop_map(Kind::ForgedEcho),
        1 => Just(Kind::Accept),
        1 => Just(Kind::Ack),
        1 => Just(Kind::Forward),
        1 => Just(Kind::UnknownSession),
        1 => Just(Kind::Refused),
        1 => Just(Kind::Several),
        2 => (0usize..100).prop_map(Kind::Message),
        1 => Just(Kind::Classic),
        1 => proptest::collection::vec(any::<u8>(), 0..60).prop_map(Kind::Bytes),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        6 => Just(Damage::None),
        1 => (0usize..60).prop_map(Damage::Cut),
        2 => (16usize..60).prop_map(Damage::CutAndSealed),
        1 => (0usize..60).prop_map(Damage::Flip),
        1 => any::<u8>().prop_map(Damage::Version),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let whose = prop_oneof![3 => Just(Whose::Own), 1 => any::<u64>().prop_map(Whose::Random), 1 => Just(Whose::Honest)];
    let wait_ms = prop_oneof![4 => Just(0), 2 => 1..300u64, 1 => 300..4000u64];
    (0..STRANGERS, whose, kind(), damage(), wait_ms, prop::bool::weighted(0.1)).prop_map(
        |(stranger, session, kind, damage, wait_ms, from_server)| Step {
            stranger: HONEST + 1 + stranger,
            session,
            kind,
            damage,
            wait_ms,
            from_server,
        },
    )
}

/// A server with an honest client, and what the server has exchanged with strangers.
struct World {
    server: Node,
    client: Node,
    now_ms: u64,
    honest: SessionId,
    /// The token that each stranger got last.
    tokens: HashMap<u16, Token>,
    proven: HashSet<SocketAddr>,
    received: HashMap<SocketAddr, usize>,
    sent: HashMap<SocketAddr, usize>,
}

impl World {
    fn new() -> Self {
        let mut server = Node::server(WireFormat::Native);
        let mut client = Node::client(HONEST, WireFormat::Native, 2);
        client.dial(server.address, at(0));
        settle(&mut [&mut server, &mut client], at(0));
        client.send(b"0", at(0));
        let honest = parse(&client.sent[0].bytes).expect("in order").0.session;
        client.sent.clear();
        Self {
            server,
            client,
            now_ms: 1,
            honest,
            tokens: HashMap::new(),
            proven: HashSet::from([address(HONEST)]),
            received: HashMap::new(),
            sent: HashMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        let bytes = self.datagram(step);
        let from = address(step.stranger);
        if matches!(step.kind, Kind::Echo) && self.tokens.contains_key(&step.stranger) {
            self.proven.insert(from);
        }
        *self.received.entry(from).or_default() += bytes.len();
        let packet = Packet { from, to: self.server.address, bytes };
        self.server.handle(&packet, at(self.now_ms));
        self.carry();
        self.now_ms += step.wait_ms;
        self.server.tick(at(self.now_ms));
        self.client.tick(at(self.now_ms));
        self.server.send(b"to all", at(self.now_ms));
        self.carry();
    }

    /// Counts what the server sends, and passes the honest client its datagrams.
    fn carry(&mut self) {
        while let Some(packet) = self.server.sent.pop_front() {
            *self.sent.entry(packet.to).or_default() += packet.bytes.len();
            if packet.to == self.client.address {
                self.client.handle(&packet, at(self.now_ms));
            }
            let token = parse(&packet.bytes).ok().and_then(|(_, mut frames)| match frames.next() {
                Some(Frame::Token(token)) => Some(token),
                _ => None,
            });
            if let Some(token) = token {
                self.tokens.insert(packet.to.port(), token);
            }
        }
        while let Some(packet) = self.client.sent.pop_front() {
            self.server.handle(&packet, at(self.now_ms));
        }
    }

    fn datagram(&self, step: &Step) -> Vec<u8> {
        let session = match step.session {
            Whose::Own => SessionId::from_bits(u64::from(step.stranger)),
            Whose::Random(bits) => SessionId::from_bits(bits),
            Whose::Honest => self.honest,
        };
        let header = Header { session, sequence: 0, from_server: step.from_server };
        let mut bytes = self.undamaged(step, header);
        match step.damage {
            Damage::None => {}
            Damage::Cut(len) => bytes.truncate(len),
            Damage::CutAndSealed(len) => {
                // Without the old CRC, but with room for the header.
                bytes.resize(len.min(bytes.len().saturating_sub(TRAILER_LEN)).max(HEADER_LEN), 0);
                seal(&mut bytes, header);
            }
            Damage::Flip(at) => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 0x10;
                }
            }
            Damage::Version(version) => {
                if let Some(byte) = bytes.get_mut(2) {
                    *byte = version;
                }
            }
        }
        bytes
    }

    fn undamaged(&self, step: &Step, header: Header) -> Vec<u8> {
        let forged = Token { issued_ms: self.now_ms, proof: 7 };
        let given = |port: u16| self.tokens.get(&port).copied().unwrap_or(forged);
        let echo = |token| Control::Echo { token, name: "stranger" };
        let foreign = HONEST + 1 + (step.stranger - HONEST) % STRANGERS;
        let frames: Vec<Control<'_>> = match &step.kind {
            Kind::Hello => vec![Control::Hello],
            Kind::Heartbeat => vec![Control::Heartbeat(Heartbeat::default())],
            Kind::Close => vec![Control::Close],
            Kind::ForgedToken => vec![Control::Token(forged)],
            Kind::Echo => vec![echo(given(step.stranger))],
            Kind::ForeignEcho => vec![echo(given(foreign))],
            Kind::ForgedEcho(proof) => vec![echo(Token { proof: *proof, ..forged })],
            Kind::Accept => vec![Control::Accept("server")],
            Kind::Ack => vec![Control::Ack(Ack { base: 1, bitmap: &[255; 8] })],
            Kind::Forward => vec![Control::Forward(1)],
            Kind::UnknownSession => vec![Control::UnknownSession],
            Kind::Refused => vec![Control::Refused],
            Kind::Several => vec![Control::Hello, echo(forged), Control::Hello, Control::Close],
            Kind::Message(len) => return message(*len, header),
            Kind::Classic => {
                let format = ClassicFormat { use_crc: true, use_sequence: true };
                let mut bytes = vec![b' '; format.prefix_len() + 20];
                classic::seal(&mut bytes, format, 0);
                return bytes;
            }
            Kind::Bytes(bytes) => return bytes.clone(),
        };
        let mut bytes = Vec::new();
        begin_datagram(&mut bytes);
        frames.iter().for_each(|frame| write_control(&mut bytes, frame));
        seal(&mut bytes, header);
        bytes
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (to, &sent) in &self.sent {
            let received = self.received.get(to).copied().unwrap_or(0);
            let is_allowed = self.proven.contains(to) || sent <= received;
            prop_assert!(is_allowed, "{to}: {sent} bytes sent, {received} received");
        }
        Ok(())
    }
}

fn message(len: usize, header: Header) -> Vec<u8> {
    let mut bytes = Vec::new();
    begin_datagram(&mut bytes);
    let start = begin_message(&mut bytes, &plain_head(at(0))).expect("no texts");
    bytes.extend(std::iter::repeat_n(b'1', len));
    assert!(finish_message(&mut bytes, start), "it is short");
    seal(&mut bytes, header);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn unproven_address_gets_no_more_bytes_than_it_sent(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check()?;
        }
        // The honest client stays connected.
        prop_assert_eq!(world.client.accepted(), 1);
        prop_assert_eq!(world.client.send(b"1", at(world.now_ms)), 1);
    }
}

/// Tries each kind alone and at every length, so that none depends on chance.
#[test]
fn single_datagram_of_a_stranger_gets_no_longer_answer() {
    let kinds = [
        Kind::Hello,
        Kind::Heartbeat,
        Kind::Close,
        Kind::ForgedToken,
        Kind::ForeignEcho,
        Kind::ForgedEcho(1),
        Kind::Accept,
        Kind::Ack,
        Kind::Forward,
        Kind::UnknownSession,
        Kind::Refused,
        Kind::Several,
        Kind::Message(40),
        Kind::Classic,
    ];
    let mut answered = 0;
    for kind in kinds {
        for len in 16..120 {
            let mut world = World::new();
            let step = Step {
                stranger: HONEST + 1,
                session: Whose::Own,
                kind: kind.clone(),
                damage: Damage::CutAndSealed(len),
                wait_ms: 0,
                from_server: false,
            };
            world.step(&step);
            world.check().unwrap_or_else(|error| panic!("{kind:?} cut to {len}: {error}"));
            answered += usize::from(world.sent.contains_key(&address(HONEST + 1)));
        }
    }
    assert!(answered > 0, "nothing was answered, so nothing was tested");
}
