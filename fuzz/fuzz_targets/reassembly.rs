//! Sends fragments, reliable messages and raw frames from a hostile peer that has proven its address. The memory that they take
//! must be bounded, and every datagram must be counted.
#![no_main]

#[path = "../../tautline-proto/tests/support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use libfuzzer_sys::fuzz_target;
use support::{Node, Packet, address, at, settle};
use tautline_proto::endpoint::WireFormat;
use tautline_proto::wire::native::{Header, begin_datagram, parse, seal};

/// The `max_message_size` of the endpoints.
const LARGEST: usize = 1000;

/// How much memory a peer may take at its other end, in bytes. There are four kinds of messages: incomplete best-effort, incomplete
/// reliable, held back, and delivered last. Each may take two of the largest messages with metadata. The tables come on top.
const MAX_KEPT: usize = 4 * (2 * LARGEST + 4096) + (128 << 10);

fuzz_target!(|input: &[u8]| {
    let mut peer = Hostile::new();
    let before = LIVE.get();
    let mut rest = input;
    while let Some(after) = peer.act(rest) {
        rest = after;
        let kept = LIVE.get().saturating_sub(before);
        assert!(kept <= MAX_KEPT, "{kept} bytes are kept");
    }
});

struct Hostile {
    server: Node,
    header: Header,
    ms: u64,
    given: u64,
}

impl Hostile {
    fn new() -> Self {
        let mut server = Node::server(WireFormat::Native);
        let mut client = Node::client(5000, WireFormat::Native, 2);
        client.dial(address(9000), at(0));
        settle(&mut [&mut server, &mut client], at(0));
        client.send(b"0", at(0));
        let (header, _) = parse(&client.sent[0].bytes).expect("an end's own datagram");
        // Allocates the memory of the test's own lists beforehand.
        for list in [&mut server.got] {
            list.reserve(4096);
        }
        server.events = Vec::with_capacity(64);
        let given = received(&server);
        Self { server, header, ms: 0, given }
    }

    /// Carries out the first operation. Returns the remaining input, or `None` at the end.
    fn act<'a>(&mut self, input: &'a [u8]) -> Option<&'a [u8]> {
        let (&operation, rest) = input.split_first()?;
        match operation % 8 {
            0 => {
                let (&len, rest) = rest.split_first()?;
                let (frames, rest) = rest.split_at(rest.len().min(len.into()));
                self.give(frames);
                Some(rest)
            }
            1..=3 => {
                let (fields, rest) = rest.split_first_chunk()?;
                self.give(&fragment(*fields));
                Some(rest)
            }
            4 | 5 => {
                let (fields, rest) = rest.split_first_chunk()?;
                self.give(&message(*fields));
                Some(rest)
            }
            6 => {
                let (base, rest) = rest.split_first_chunk::<2>()?;
                self.give(&[12, 0, 0, 4, 0, 0, base[0], base[1]]);
                Some(rest)
            }
            _ => {
                let (&ms, rest) = rest.split_first()?;
                self.ms += u64::from(ms) * 8;
                self.server.tick(at(self.ms));
                self.look();
                Some(rest)
            }
        }
    }

    /// Sends a valid datagram with these frames.
    fn give(&mut self, frames: &[u8]) {
        let mut bytes = Vec::new();
        begin_datagram(&mut bytes);
        bytes.extend_from_slice(frames);
        seal(&mut bytes, self.header);
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.given += 1;
        let packet = Packet { from: address(5000), to: address(9000), bytes };
        self.server.handle(&packet, at(self.ms));
        self.look();
    }

    fn look(&mut self) {
        let server = &mut self.server;
        assert!(server.sent.len() <= 8 && server.events.len() <= 8);
        assert!(server.got.iter().all(|got| got.payload.len() <= LARGEST));
        server.sent.clear();
        server.events.clear();
        server.got.clear();
        assert_eq!(received(server), self.given);
    }
}

fn received(node: &Node) -> u64 {
    node.inbound.counters().snapshot().datagrams_received()
}

/// Returns a fragment with a piece of the right length. docs/protocol.md §4.5.
fn fragment([class, number, high, behind, index, count, total_high, total]: [u8; 8]) -> Vec<u8> {
    let class = class % 3;
    let (count, total) = (u16::from(count), u32::from(u16::from_be_bytes([total_high, total])));
    let piece = total.div_ceil(u32::from(count).max(1));
    let start = (piece * u32::from(index)).min(total);
    let piece = (start + piece).min(total) - start;
    let mut body = vec![0, class << 6];
    body.extend_from_slice(&u16::from(index).to_be_bytes());
    body.extend_from_slice(&count.to_be_bytes());
    body.extend_from_slice(&total.to_be_bytes());
    body.extend_from_slice(&[0, 0, high & 7, number]);
    if class == 2 {
        body.extend_from_slice(&[0, behind]);
    }
    // The first piece begins like a valid message: type 2, raw.
    let begin = body.len();
    body.resize(begin + piece as usize, 0);
    if index == 0 && piece >= 2 {
        body[begin] = class << 6 | 0x12;
    }
    frame(11, &body)
}

/// Returns a raw message. docs/protocol.md §4.1 and §4.4.
fn message([class, number, high, behind, len]: [u8; 5]) -> Vec<u8> {
    let class = class % 3;
    let mut body = vec![class << 6 | 0x12, 0, 0, 0];
    body.extend_from_slice(&[0; 8]);
    if class > 0 {
        body.extend_from_slice(&[0, 0, high & 7, number]);
    }
    if class == 2 {
        body.extend_from_slice(&[0, behind]);
    }
    body.resize(body.len() + usize::from(len) * 4, 0);
    frame(1, &body)
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind, 0];
    frame.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

thread_local! {
    /// How many bytes this thread has allocated now.
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.set(LIVE.get().wrapping_add(layout.size()));
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub(layout.size()));
        // SAFETY: the caller guarantees what the system's allocator requires.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
