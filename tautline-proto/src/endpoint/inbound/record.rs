//! What the inbound half writes into its black box: every input that changes it, and a digest of everything that it returns.
//!
//! [`Inbound`](super::Inbound) calls it. A mark is made between two datagrams, when nothing waits to be polled, so that it holds no
//! outputs.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::SocketAddr;

use super::registry::{Registry, Seen, SeenList};
use super::sessions::Sessions;
use crate::endpoint::recorder::{ENTRIES_BEFORE, Kind, OUTPUTS_WAIT, Recorder, known};
use crate::peer::PeerId;
use crate::ring::Ring;
#[cfg(feature = "secure")]
use crate::secure::Keys;
use crate::snapshot::{Reader, Saved, Writer};
use crate::time::{Instant, Now};
use crate::wire::native::{HEADER_LEN, is_sealed};

/// The bytes that the results of operations with keys take for one input, beside the contents of a datagram.
const ROOM_FOR_ANSWERS: usize = 1_024;

/// An input that is no datagram, and its contents.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    Timeout(Now),
    Dial(Now, &'a SocketAddr),
    Polled(Now),
    Unreachable(&'a SocketAddr),
    At(Kind, Instant, [u64; 3]),
    Other(Kind, [u64; 2]),
    #[cfg(feature = "secure")]
    Holders(Instant, &'a Keys),
}

impl Input<'_> {
    /// The most bytes that it takes.
    fn room(self) -> usize {
        match self {
            #[cfg(feature = "secure")]
            Self::Holders(_, keys) => keys.saved_len(),
            _ => ROOM_FOR_INPUT,
        }
    }
}

/// The most bytes that a note takes, or an input that is neither a datagram nor a set of keys.
const ROOM_FOR_INPUT: usize = 64;

/// Begins to record into this ring.
pub(super) fn begin(registry: &mut Registry, sessions: &mut Sessions, ring: Arc<Ring>) -> Box<Recorder> {
    sessions.handshake.secrets.record();
    #[cfg(feature = "secure")]
    sessions.secured.iter_mut().for_each(|secured| secured.record());
    registry.seen = SeenList::kept();
    let answers = if sessions.is_secured() { ROOM_FOR_ANSWERS } else { 0 };
    Box::new(Recorder::new(Some(ring), ENTRIES_BEFORE + answers))
}

/// Records a datagram, if its entry is all that must be written. This is the usual case. Returns `false` otherwise: call
/// [`any_datagram`] then.
#[inline(always)]
pub(super) fn usual_datagram(
    recorder: &mut Recorder,
    registry: &Registry,
    sessions: &Sessions,
    now: Now,
    from: &SocketAddr,
    datagram: &[u8],
) -> bool {
    // One comparison for all of them.
    let is_bare =
        registry.owners.is_none() & !sessions.is_secured() & !sessions.have_answers() & !registry.has_seen();
    is_bare && !registry.has_news() && recorder.usual_datagram(now, from, datagram)
}

/// Records a datagram, and what must be written before it.
#[inline(never)] // keeps this code out of `usual_datagram`
pub(super) fn any_datagram(
    recorder: &mut Recorder,
    registry: &mut Registry,
    sessions: &mut Sessions,
    now: Now,
    from: &SocketAddr,
    datagram: &[u8],
) {
    // All messages of the datagram before it were read.
    recorder.is_reading = false;
    prepare(recorder, registry, sessions, datagram.len());
    recorder.clocks(now);
    recorder.origin(from);
    let flags = flags(registry);
    if sessions.is_secured() && is_sealed(datagram) {
        // What is in it follows, as the answer of the key that has opened it.
        let header = &datagram[..HEADER_LEN.min(datagram.len())];
        recorder.sealed_datagram(flags, datagram.len(), header);
    } else {
        recorder.datagram(flags, datagram);
    }
    if let Some(owners) = &mut registry.owners
        && let Some(at) = known(recorder.came()[1])
    {
        owners.came(at);
    }
}

/// Records another input.
#[inline(never)] // keeps this code out of the path of datagrams
pub(super) fn input(
    recorder: &mut Recorder,
    registry: &mut Registry,
    sessions: &mut Sessions,
    input: Input<'_>,
) {
    let is_timeout = matches!(input, Input::Timeout(_));
    recorder.is_reading &= !is_timeout;
    prepare(recorder, registry, sessions, input.room());
    write(recorder, flags(registry), input);
}

/// Records what is no input. A segment that is full ends before it, so that the note about the last datagram of a segment is not
/// missing.
pub(super) fn note(
    recorder: &mut Recorder,
    registry: &mut Registry,
    sessions: &mut Sessions,
    words: [u64; 3],
) {
    // As for a datagram.
    recorder.is_reading = false;
    prepare(recorder, registry, sessions, ROOM_FOR_INPUT);
    // Without a note, the record is whole all the same.
    if !recorder.needs_mark(ROOM_FOR_INPUT) {
        recorder.input(Kind::Note, words, &[]);
    }
}

/// Outputs that wait are not in the digest yet.
#[inline]
fn flags(registry: &Registry) -> u8 {
    if registry.has_news() { OUTPUTS_WAIT } else { 0 }
}

/// Prepares for an input with so many bytes. What belongs to the input before comes first, and a mark if the segment is full.
#[inline]
fn prepare(recorder: &mut Recorder, registry: &mut Registry, sessions: &mut Sessions, bytes: usize) {
    if registry.has_seen() || sessions.have_answers() {
        answers(recorder, registry, sessions);
    }
    if recorder.needs_mark(bytes) && !recorder.is_reading && !registry.has_news() {
        mark(recorder, registry, sessions);
    }
}

#[cold]
fn mark(recorder: &mut Recorder, registry: &Registry, sessions: &Sessions) {
    recorder.mark(|out| {
        registry.save(out);
        sessions.save(out);
    });
}

/// Records what the present input, or the one before, has drawn, has seen of the other half, and has got from a key.
#[inline(never)] // plain links seldom have something
pub(super) fn answers(recorder: &mut Recorder, registry: &mut Registry, sessions: &mut Sessions) {
    while let Some(answer) = sessions.handshake.secrets.take_answer() {
        recorder.input(Kind::Drawn, [answer], &[]);
    }
    if registry.has_seen() {
        seen(recorder, registry);
    }
    #[cfg(feature = "secure")]
    if let Some(secured) = &mut sessions.secured {
        secured.take_answers(|is_some, bytes| {
            recorder.flagged_input(Kind::Opened, 0, [is_some.into()], bytes);
        });
    }
}

#[cold]
fn seen(recorder: &mut Recorder, registry: &mut Registry) {
    for seen in registry.seen.take() {
        match seen {
            Seen::Size(peer, size) => recorder.input(Kind::Seen, [peer.to_word(), size], &[]),
            #[cfg(feature = "secure")]
            Seen::Number(peer, number) => recorder.input(Kind::SeenNumber, [peer.to_word(), number], &[]),
        }
    }
}

fn write(recorder: &mut Recorder, flags: u8, input: Input<'_>) {
    match input {
        Input::Timeout(now) => {
            recorder.clocks(now);
            recorder.flagged_input(Kind::Timeout, flags, [], &[]);
        }
        Input::Dial(now, server) => {
            recorder.clocks(now);
            recorder.saved_input(Kind::Dial, flags, [], server);
        }
        Input::Polled(now) => {
            recorder.clocks(now);
            recorder.flagged_input(Kind::Polled, flags, [], &[]);
        }
        Input::Unreachable(address) => recorder.saved_input(Kind::Unreachable, flags, [], address),
        Input::At(kind, now, words) => {
            recorder.set_now(now);
            recorder.flagged_input(kind, flags, words, &[]);
        }
        Input::Other(kind, words) => recorder.flagged_input(kind, flags, words, &[]),
        #[cfg(feature = "secure")]
        Input::Holders(now, keys) => {
            recorder.set_now(now);
            recorder.saved_input(Kind::NewHolders, flags, [], keys);
        }
    }
}

/// Adds what [`Inbound::handle`](super::Inbound::handle) has returned to the digest, before its messages are read.
#[inline(always)]
pub(super) fn accepted(recorder: &mut Recorder, peer: PeerId, late: bool, number: Option<u64>) {
    recorder.is_reading = false;
    let peer = u64::from(peer.serial()) << 1 | u64::from(late);
    recorder.returned().add_quickly(peer ^ number.unwrap_or(u64::MAX).rotate_left(33));
}

/// Reads the state of a mark. The recorder adds up digests alone.
pub(super) fn read_mark(mark: &[u8]) -> Option<(Registry, Sessions, Box<Recorder>)> {
    let mut from = Reader(mark);
    let mut recorder = Recorder::new(None, 0);
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
