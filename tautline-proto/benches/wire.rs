//! How long the protocol takes for one message, without sockets and clocks.
//!
//! Run `cargo bench -p tautline-proto --bench wire`. `./check` runs each benchmark once, so that they keep working.
#![allow(missing_docs)] // divan generates items

// The endpoints of the tests. Parts that a benchmark does not use are not measured.
#[path = "../tests/support/mod.rs"]
mod support;

use std::borrow::Cow;
use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use support::{Node, at, plain_head, settle};
use tautline_proto::endpoint::WireFormat;
use tautline_proto::json::JsonLimits;
use tautline_proto::wire::classic::{self, ClassicFormat};
use tautline_proto::wire::native::{self, Frame, Pack};
use tautline_proto::{ContentType, Id, MessageRef, MessageType, PeerId, Window};

/// The payload of a control message: eight numbers.
const PAYLOAD: [u8; 64] = [7; 64];

/// The payload of a small classic message, as Python writes it.
const JSON: &[u8] = br#"{"force": 1.5, "angle": [0.25, -0.125], "mode": "run"}"#;

/// The largest UDP payload in an Ethernet packet over IPv4.
const DATAGRAM: usize = 1472;

/// How many messages are in a pack.
const PACKED: usize = 256;

fn main() {
    divan::main();
}

#[divan::bench]
fn encode_one_native_message(bencher: Bencher<'_, '_>) {
    let head = plain_head(at(0));
    let mut out = Vec::with_capacity(DATAGRAM);
    bencher.bench_local(|| {
        out.clear();
        native::begin_datagram(&mut out);
        append(&mut out, &head);
        black_box(&out);
    });
}

/// The rate shows the cost of each message in the pack.
#[divan::bench]
fn pack_and_seal_many(bencher: Bencher<'_, '_>) {
    let (mut client, peer) = connected_client();
    let frame = frame();
    let mut pack = Pack::default();
    bencher.counter(ItemsCount::new(PACKED)).bench_local(|| {
        fill(&mut pack, &frame, PACKED);
        black_box(client.outbound.seal_pack(peer, &mut pack, &mut Vec::new()));
    });
}

/// The rate shows the cost of each message in the datagram.
#[divan::bench]
fn parse_a_packed_datagram(bencher: Bencher<'_, '_>) {
    let datagram = packed_datagram();
    let messages = read_all(&datagram);
    assert!(messages > 10, "the datagram is packed");
    bencher.counter(ItemsCount::new(messages)).bench_local(|| read_all(black_box(&datagram)));
}

#[divan::bench]
fn window_receive(bencher: Bencher<'_, '_>) {
    let now = at(0).steady;
    let mut window = Window::new(0);
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        window.receive(black_box(number), now)
    });
}

#[divan::bench]
fn encode_one_classic_message(bencher: Bencher<'_, '_>) {
    let mut out = Vec::with_capacity(DATAGRAM);
    bencher.bench_local(|| {
        write_classic(&mut out);
        black_box(&out);
    });
}

#[divan::bench]
fn decode_one_classic_message(bencher: Bencher<'_, '_>) {
    let mut datagram = Vec::new();
    write_classic(&mut datagram);
    let (limits, mut scratch) = (JsonLimits::default(), Vec::new());
    bencher.bench_local(|| {
        let opened = classic::open(black_box(&datagram), ClassicFormat::default());
        let (_, envelope) = opened.expect("the CRC is right");
        let message = classic::read_envelope(envelope, &limits, &mut scratch);
        black_box(message.expect("it is complete"));
    });
}

fn append(out: &mut Vec<u8>, head: &native::Head<'_>) {
    let started = native::begin_message(out, head).expect("there are no texts");
    out.extend_from_slice(black_box(&PAYLOAD));
    assert!(native::finish_message(out, started), "it fits its frame");
}

fn frame() -> Vec<u8> {
    let mut frame = Vec::new();
    append(&mut frame, &plain_head(at(0)));
    frame
}

fn fill(pack: &mut Pack, frame: &[u8], count: usize) {
    pack.begin(DATAGRAM);
    for _ in 0..count {
        assert!(pack.push(black_box(frame)), "the pack has room");
    }
}

/// Returns a client after the handshake, because messages do not share datagrams before.
fn connected_client() -> (Node, PeerId) {
    let (mut server, mut client) =
        (Node::server(WireFormat::Native), Node::client(5000, WireFormat::Native, 2));
    client.dial(server.address, at(0));
    settle(&mut [&mut server, &mut client], at(1));
    client.send(b"1", at(2));
    settle(&mut [&mut server, &mut client], at(2));
    let peer = client.outbound.peers()[0];
    assert!(client.outbound.may_pack(peer), "the server has accepted");
    (client, peer)
}

/// Returns the first datagram of a pack, which is full.
fn packed_datagram() -> Vec<u8> {
    let (mut client, peer) = connected_client();
    let mut pack = Pack::default();
    fill(&mut pack, &frame(), PACKED);
    client.outbound.seal_pack(peer, &mut pack, &mut Vec::new()).expect("the peer is there");
    pack.datagrams().next().expect("it is not empty").0.to_vec()
}

/// Reads every message of a datagram. Returns how many there are.
fn read_all(datagram: &[u8]) -> usize {
    let (_, frames) = native::parse(datagram).expect("the datagram is in order");
    let messages = frames.filter_map(|frame| match frame {
        Frame::Message(frame) => Some(frame.decode(0, "controller").expect("the message is in order")),
        _ => None,
    });
    messages.map(black_box).count()
}

fn write_classic(out: &mut Vec<u8>) {
    let message = MessageRef::new(ContentType::Json, &[])
        .with_message_type(MessageType::Command)
        .with_timestamp(at(0).wall)
        .with_message_id(Id::Number(17))
        .with_source(Cow::Borrowed("controller"));
    out.clear();
    classic::begin_message(out, ClassicFormat::default(), &message);
    out.extend_from_slice(black_box(JSON));
    classic::finish_message(out);
    classic::seal(out, ClassicFormat::default(), 17);
}
