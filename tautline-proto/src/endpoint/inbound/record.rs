//! What the inbound half writes into its black box: every input that changes it, and a digest of everything that it returns.
//!
//! [`Inbound`](super::Inbound) calls it. A mark is made between two datagrams, when nothing waits to be polled, so that it holds no
//! outputs.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::accepted::Accepted;
use super::registry::{Registry, Seen};
use super::sessions::Sessions;
use crate::endpoint::recorder::{Kind, Output, Recorder};
use crate::ring::Ring;
#[cfg(feature = "secure")]
use crate::secure::Keys;
use crate::snapshot::{Reader, Saved, Writer};
use crate::time::{Instant, Now};
use crate::wire::native::{HEADER_LEN, is_sealed};

/// The bytes that the results of operations with keys take for one input, beside the contents of a datagram.
const ROOM_FOR_ANSWERS: usize = 1_024;

/// An input, and its contents.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    Datagram(Now, SocketAddr, &'a [u8]),
    Timeout(Now),
    Dial(Now, SocketAddr),
    Polled(Now),
    Unreachable(SocketAddr),
    At(Kind, Instant, [u64; 3]),
    Other(Kind, [u64; 2]),
    #[cfg(feature = "secure")]
    Holders(Instant, &'a Keys),
}

impl Input<'_> {
    /// The most bytes that it takes.
    fn room(self) -> usize {
        match self {
            Self::Datagram(.., datagram) => datagram.len(),
            #[cfg(feature = "secure")]
            Self::Holders(_, keys) => keys.saved_len(),
            _ => 64,
        }
    }
}

/// Begins to record into this ring.
pub(super) fn begin(registry: &mut Registry, sessions: &mut Sessions, ring: Arc<Ring>) -> Box<Recorder> {
    sessions.handshake.secrets.record();
    #[cfg(feature = "secure")]
    sessions.secured.iter_mut().for_each(|secured| secured.record());
    registry.seen = Some(Vec::with_capacity(16));
    Box::new(Recorder::new(Some(ring)))
}

/// Records an input. What belongs to the input before comes first, and a mark if the segment is full.
#[inline]
pub(super) fn input(
    recorder: &mut Recorder,
    registry: &mut Registry,
    sessions: &mut Sessions,
    input: Input<'_>,
) {
    answers(recorder, registry, sessions);
    let room = input.room() + if registry.config.is_secured() { ROOM_FOR_ANSWERS } else { 0 };
    if recorder.needs_mark(room) && !recorder.is_reading && !registry.has_news() {
        recorder.mark(|out| {
            registry.save(out);
            sessions.save(out);
        });
    }
    // Outputs that wait are not in the digest yet.
    let waiting: &[u64] = if registry.has_news() { &[1] } else { &[] };
    match input {
        Input::Datagram(now, from, datagram) if registry.config.is_secured() && is_sealed(datagram) => {
            write_sealed(recorder, (now, from), datagram, waiting);
        }
        input => {
            // What a peer was not allowed to send is told last, so the order depends on when it was polled.
            let is_plain = matches!(input, Input::Datagram(..) | Input::Timeout(_));
            if registry.config.is_secured() && !is_plain && waiting.is_empty() {
                recorder.input(Kind::Drained, &[], &[]);
            }
            write(recorder, input, waiting);
        }
    }
}

/// Records what the present input, or the one before, has drawn, has seen of the other half, and has got from a key.
#[inline]
pub(super) fn answers(recorder: &mut Recorder, registry: &mut Registry, sessions: &mut Sessions) {
    while let Some(answer) = sessions.handshake.secrets.take_answer() {
        recorder.input(Kind::Drawn, &[answer], &[]);
    }
    for seen in registry.seen.iter_mut().flat_map(|seen| seen.drain(..)) {
        match seen {
            Seen::Size(peer, size) => recorder.input(Kind::Seen, &[peer.to_word(), size], &[]),
            #[cfg(feature = "secure")]
            Seen::Number(peer, number) => recorder.input(Kind::SeenNumber, &[peer.to_word(), number], &[]),
        }
    }
    #[cfg(feature = "secure")]
    if let Some(secured) = &mut sessions.secured {
        secured.take_answers(|is_some, bytes| recorder.input(Kind::Opened, &[is_some.into()], bytes));
    }
}

/// Writes the header of a sealed datagram. What is in it follows, as the answer of the key that has opened it.
fn write_sealed(recorder: &mut Recorder, (now, from): (Now, SocketAddr), datagram: &[u8], waiting: &[u64]) {
    recorder.clocks(now);
    recorder.origin(from);
    let words = [datagram.len() as u64, 1];
    recorder.input(Kind::Sealed, &words[..=waiting.len()], &datagram[..HEADER_LEN.min(datagram.len())]);
    recorder.read = 0;
}

#[inline]
fn write(recorder: &mut Recorder, input: Input<'_>, waiting: &[u64]) {
    match input {
        Input::Datagram(now, from, datagram) => {
            recorder.clocks(now);
            recorder.origin(from);
            recorder.input(Kind::Datagram, waiting, datagram);
            recorder.read = 0;
        }
        Input::Timeout(now) => {
            recorder.clocks(now);
            recorder.input(Kind::Timeout, waiting, &[]);
        }
        Input::Dial(now, server) => {
            recorder.clocks(now);
            recorder.saved_input(Kind::Dial, &[], &server);
        }
        Input::Polled(now) => {
            recorder.clocks(now);
            recorder.input(Kind::Polled, &[], &[]);
        }
        Input::Unreachable(address) => recorder.saved_input(Kind::Unreachable, &[], &address),
        Input::At(kind, now, words) => {
            recorder.set_now(now);
            recorder.input(kind, &words, &[]);
        }
        Input::Other(kind, words) => recorder.input(kind, &words, &[]),
        #[cfg(feature = "secure")]
        Input::Holders(now, keys) => {
            recorder.set_now(now);
            recorder.saved_input(Kind::NewHolders, &[], keys);
        }
    }
}

/// Adds what [`Inbound::handle`](super::Inbound::handle) returns to the digest.
pub(super) fn accepted(recorder: &mut Recorder, accepted: &Accepted<'_>) {
    recorder.is_reading = true;
    let digest = recorder.digest_of(Output::Returned);
    digest.add(u64::from(accepted.peer.serial()) << 1 | u64::from(accepted.late));
    digest.add(accepted.number.unwrap_or(u64::MAX));
}

/// Reads the state of a mark. The recorder adds up digests alone.
pub(super) fn read_mark(mark: &[u8]) -> Option<(Registry, Sessions, Box<Recorder>)> {
    let mut from = Reader(mark);
    let mut recorder = Recorder::new(None);
    recorder.begin(&mut from)?;
    let (registry, sessions) = (Saved::load(&mut from)?, Saved::load(&mut from)?);
    from.0.is_empty().then_some((registry, sessions, Box::new(recorder)))
}

/// Writes the state as a mark does.
pub(super) fn write_mark(recorder: &Recorder, registry: &Registry, sessions: &Sessions, out: &mut Writer) {
    recorder.save_digests(out);
    registry.save(out);
    sessions.save(out);
}
