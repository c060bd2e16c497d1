//! What a half of an endpoint writes into its ring: each input, and a digest of all outputs so far.
//!
//! `inbound` and `outbound` call it at the beginning of each call that changes something, and with everything that they return.
//! `rerun` reads it. A half without a ring has no recorder.

use alloc::sync::Arc;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::network::halves;
use crate::peer::PeerId;
use crate::ring::{Entry, Head, Ring, RingWriter};
use crate::snapshot::{Reader, Saved, Writer};
use crate::time::{Instant, Now};

/// The format of what rings hold: their entries, and the states in their marks. Raise it whenever one of them changes, so that a
/// build with another format refuses the file. `tests/rerun.rs` notices most changes. States of a build without keys have fewer fields.
pub const RECORD_FORMAT: &str = if cfg!(feature = "secure") { "5" } else { "5-without-keys" };

/// What an entry of a ring is.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Kind { $($(#[$doc])* $kind = $number),+ }

        impl Kind {
            pub(crate) const fn of(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$kind),)+ _ => None }
            }
        }
    };
}

kinds! {
    /// The whole state. It begins each segment.
    Mark = 1,
    /// From now on, datagrams come from this address.
    From = 2,
    /// From now on, the wall clock is ahead of the steady clock by this.
    Shift = 3,
    /// Answers that were drawn from the secret seed, for the input before.
    Drawn = 4,
    /// A size of a path that the input before has seen.
    Seen = 6,
    /// What a key gave for the input before, if the word is 1: what was in a datagram, or a part of a handshake.
    Opened = 7,
    /// The number of the next datagram to a peer, which the input before has seen.
    SeenNumber = 8,
    /// Something that is not an input: what the driver knows of the machine.
    Note = 5,
    // The receiving half.
    Datagram = 16,
    Timeout = 17,
    Dial = 18,
    Claim = 20,
    Release = 21,
    Free = 22,
    RefuseStrangers = 23,
    Unreachable = 24,
    Polled = 25,
    Hold = 26,
    /// A datagram that is sealed with a key: its header, and its length.
    Sealed = 27,
    /// Who holds which keys from now on.
    NewHolders = 28,
    // The sending half.
    Command = 48,
    Seal = 49,
    SealPack = 50,
    Sent = 51,
    Offer = 52,
    Deliver = 53,
    NotSent = 54,
    Abandon = 55,
    Fits = 56,
    PathTold = 57,
    ProbeNotSent = 58,
}

/// What a half puts out beside what calls return, apart: whoever drives it may ask for one kind before another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    Event = 0,
    Command = 1,
    Reply = 2,
}

/// A flag of an input of the receiving half: outputs waited to be polled, so the digest does not include them yet. Without the flag, all
/// outputs had been polled.
pub(crate) const OUTPUTS_WAIT: u8 = 1;

/// A flag of a sealed datagram: the kernel has taken it. The number of the entry says how many messages were in it.
pub(crate) const WAS_SENT: u8 = 2;

/// Stands for a time that is not known.
const UNKNOWN: u64 = u64::MAX;

/// Stands for a difference of the clocks that is not known.
const NO_SHIFT: i64 = i64::MIN;

/// Returns a time that may be unknown.
pub(crate) fn known(at: u64) -> Option<Instant> {
    (at != UNKNOWN).then_some(Instant::from_nanos(at))
}

/// The longest entry beside a mark and a datagram: a message in the largest datagram.
const LARGEST_ENTRY: usize = 65_536 + 256;

/// The bytes that the entries before an input can take: its origin, the clocks, answers.
pub(crate) const ENTRIES_BEFORE: usize = 512;

/// The datagram that was sealed last: its peer, its length with the seal, and where its entry begins and ends.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    peer: PeerId,
    len: usize,
    begins: usize,
    ends: usize,
}

impl Sealed {
    const fn none() -> Self {
        Self { peer: PeerId::none(), len: 0, begins: 0, ends: 0 }
    }
}

/// Writes the ring of one half, and adds up the digest of its outputs.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// `None` in a rerun, which needs the digest alone.
    ring: Option<RingWriter>,
    digests: Digests,
    from: Option<SocketAddr>,
    /// [`NO_SHIFT`] before the first clocks of a segment.
    shift: i64,
    /// The time of the latest input that had one.
    now: Instant,
    /// When the next datagrams came: most probably, and at the earliest.
    came: [u64; 2],
    sealed: Sealed,
    /// How many messages of the datagram have been read.
    pub(crate) read: u64,
    /// The messages of a datagram are still to be read: no mark can be made now.
    pub(crate) is_reading: bool,
    writer: Writer,
}

impl Recorder {
    /// `beside`: the bytes that entries beside each input can take.
    pub(crate) fn new(ring: Option<Arc<Ring>>, beside: usize) -> Self {
        let ring = ring.map(|ring| RingWriter::new(ring, beside));
        let mark = ring.as_ref().map_or(0, RingWriter::room_for_mark);
        let writer = Writer::with_room_for(mark.max(LARGEST_ENTRY));
        let (digests, now) = (Default::default(), Instant::default());
        Self {
            ring,
            digests,
            from: None,
            shift: NO_SHIFT,
            now,
            came: [UNKNOWN; 2],
            sealed: Sealed::none(),
            read: 0,
            is_reading: false,
            writer,
        }
    }

    /// Returns whether a new segment must begin before the next input.
    #[inline]
    pub(crate) fn needs_mark(&self, bytes: usize) -> bool {
        self.ring.as_ref().is_some_and(|ring| !ring.has_room(bytes))
    }

    /// Begins a segment with a mark: the state before the next input.
    #[cold]
    pub(crate) fn mark(&mut self, save: impl FnOnce(&mut Writer)) {
        let Self { ring: Some(ring), digests, writer, now, .. } = self else { return };
        self.sealed = Sealed::none();
        let most = ring.room_for_mark();
        let mark = writer.write(|out| {
            digests.save(out);
            save(out);
        });
        match mark.filter(|mark| mark.len() <= most) {
            Some(mark) => {
                ring.begin_segment();
                ring.push(head(Kind::Mark, 0, *now, digests), [], mark);
                (self.from, self.shift) = (None, NO_SHIFT);
            }
            None => ring.leave_out(),
        }
    }

    /// Begins with the digests of a mark. Returns `None` if it has none.
    pub(crate) fn begin(&mut self, mark: &mut Reader<'_>) -> Option<()> {
        self.digests = Digests::load(mark)?;
        Some(())
    }

    pub(crate) fn save_digests(&self, out: &mut Writer) {
        self.digests.save(out);
    }

    /// Records an input at the time of the input before.
    #[inline(never)]
    pub(crate) fn input<const WORDS: usize>(&mut self, kind: Kind, words: [u64; WORDS], bytes: &[u8]) {
        self.flagged_input(kind, 0, words, bytes);
    }

    /// As [`input`](Self::input), with flags. For datagrams.
    #[inline(always)]
    pub(crate) fn flagged_input<const WORDS: usize>(
        &mut self,
        kind: Kind,
        flags: u8,
        words: [u64; WORDS],
        bytes: &[u8],
    ) {
        if let Some(ring) = &mut self.ring {
            ring.push(head(kind, flags, self.now, &self.digests), words, bytes);
        }
    }

    /// As [`flagged_input`](Self::flagged_input), with a value that is saved as bytes.
    pub(crate) fn saved_input<const WORDS: usize>(
        &mut self,
        kind: Kind,
        flags: u8,
        words: [u64; WORDS],
        value: &impl Saved,
    ) {
        let Some(ring) = &mut self.ring else { return };
        match self.writer.write(|out| value.save(out)) {
            Some(bytes) => ring.push(head(kind, flags, self.now, &self.digests), words, bytes),
            None => ring.leave_out(),
        }
    }

    /// Notes the time of the next input.
    pub(crate) const fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Notes when the next datagrams came: most probably, and at the earliest.
    pub(crate) const fn set_came(&mut self, at: Instant, not_before: Instant) {
        self.came = [at.as_nanos(), not_before.as_nanos()];
    }

    /// Returns when the next datagrams came: most probably, and at the earliest.
    #[inline]
    pub(crate) const fn came(&self) -> [u64; 2] {
        self.came
    }

    /// Records a datagram that is sealed next.
    #[inline(always)]
    pub(crate) fn seal(&mut self, peer: PeerId, datagram: &[u8]) {
        if let Some(ring) = &mut self.ring {
            self.sealed.begins = ring.used();
            ring.push(head(Kind::Seal, 0, self.now, &self.digests), [peer.to_word()], datagram);
            self.sealed.ends = ring.used();
        }
    }

    /// Notes the peer and the length of the datagram that was [recorded](Self::seal) last, now that it is sealed.
    #[inline]
    pub(crate) const fn set_sealed(&mut self, peer: PeerId, len: usize) {
        (self.sealed.peer, self.sealed.len) = (peer, len);
    }

    /// Notes in the entry of the datagram that was sealed last that it was sent. Returns `false` if something else was sent, or
    /// recorded since then.
    #[inline(always)]
    pub(crate) fn was_sent(&mut self, peer: PeerId, len: usize, messages: u64) -> bool {
        let Self { ring: Some(ring), sealed, .. } = self else { return false };
        let Ok(messages) = u8::try_from(messages) else { return false };
        let is_sealed = sealed.peer == peer && sealed.len == len && sealed.ends == ring.used();
        if is_sealed {
            ring.amend(sealed.begins, WAS_SENT, messages);
            sealed.peer = PeerId::none();
        }
        is_sealed
    }

    /// Records a datagram of an endpoint without owners: only owners need the earliest time at which it may have come. Returns
    /// `false` if an entry must come before it: a mark, or what the clocks show.
    #[inline(always)]
    pub(crate) fn usual_datagram(&mut self, now: Now, from: &SocketAddr, datagram: &[u8]) -> bool {
        if self.ring.is_none() || self.needs_mark(datagram.len()) || self.shift != shift_of(now) {
            return false;
        }
        self.now = now.steady;
        (self.read, self.is_reading) = (0, true);
        self.origin(from);
        self.flagged_input(Kind::Datagram, 0, [self.came[0]], datagram);
        true
    }

    /// Records a datagram.
    pub(crate) fn datagram(&mut self, flags: u8, datagram: &[u8]) {
        (self.read, self.is_reading) = (0, true);
        self.flagged_input(Kind::Datagram, flags, self.came, datagram);
    }

    /// Records a datagram that a key opens: its header, and its length.
    pub(crate) fn sealed_datagram(&mut self, flags: u8, len: usize, header: &[u8]) {
        (self.read, self.is_reading) = (0, true);
        let [at, not_before] = self.came;
        self.flagged_input(Kind::Sealed, flags, [at, not_before, len as u64], header);
    }

    /// Records what the clocks show.
    #[inline]
    pub(crate) fn clocks(&mut self, now: Now) {
        self.now = now.steady;
        let shift = shift_of(now);
        if self.shift != shift {
            self.new_shift(shift);
        }
    }

    #[cold]
    fn new_shift(&mut self, shift: i64) {
        self.shift = shift;
        self.input(Kind::Shift, [shift.cast_unsigned()], &[]);
    }

    /// Records where the next datagram comes from.
    #[inline]
    pub(crate) fn origin(&mut self, from: &SocketAddr) {
        if self.from.as_ref() != Some(from) {
            self.new_origin(*from);
        }
    }

    #[inline(never)] // a server's datagrams come from its peers in turn
    fn new_origin(&mut self, from: SocketAddr) {
        self.from = Some(from);
        match from {
            SocketAddr::V4(from) => {
                let words = [u64::from(from.ip().to_bits()) << 16 | u64::from(from.port())];
                self.input(Kind::From, words, &[]);
            }
            SocketAddr::V6(from) => {
                let [high, low] = halves(*from.ip());
                let scope = u64::from(from.scope_id()) << 32 | u64::from(from.flowinfo());
                self.input(Kind::From, [high, low, from.port().into(), scope], &[]);
            }
        }
    }

    /// Returns the digest of all outputs so far.
    pub(crate) fn digest(&self) -> u64 {
        self.digests.sum()
    }

    /// Returns the digest of what calls return, to add to it.
    #[inline]
    pub(crate) const fn returned(&mut self) -> &mut Digest {
        &mut self.digests.returned
    }

    /// Adds to the digest of other outputs.
    pub(crate) fn add(&mut self, output: Output, add: impl FnOnce(&mut Digest)) {
        self.digests.add(output, add);
    }

    /// Adds all of an output that can be saved.
    pub(crate) fn add_saved(&mut self, output: Output, value: &impl Saved) {
        if let Some(bytes) = self.writer.write(|out| value.save(out)) {
            self.digests.add(output, |digest| digest.add_all(bytes));
        }
    }
}

/// Reads where the next datagrams come from.
#[allow(clippy::cast_possible_truncation)] // the parts of a word
pub(crate) fn origin_of(entry: &Entry<'_>) -> Option<SocketAddr> {
    let first = entry.word(0)?;
    let Some(low) = entry.word(1) else {
        return Some(SocketAddr::new(Ipv4Addr::from_bits((first >> 16) as u32).into(), first as u16));
    };
    let (port, scope) = (entry.word(2)? as u16, entry.word(3)?);
    let ip = Ipv6Addr::from_bits(u128::from(first) << 64 | u128::from(low));
    Some(SocketAddrV6::new(ip, port, scope as u32, (scope >> 32) as u32).into())
}

/// By how much the wall clock is ahead.
const fn shift_of(now: Now) -> i64 {
    now.wall.as_nanos().wrapping_sub(now.steady.as_nanos().cast_signed())
}

#[inline]
const fn head(kind: Kind, flags: u8, now: Instant, digests: &Digests) -> Head {
    Head { kind: kind as u8, flags, time: now.as_nanos(), digest: digests.sum() }
}

/// The digests of all outputs. Their sum stands in each entry.
#[derive(Clone, Copy, Debug, Default)]
struct Digests {
    /// Of what calls return: accepted datagrams, messages, results. Nearly every input adds to it.
    returned: Digest,
    others: [Digest; 3],
    sum_of_others: u64,
}

impl Digests {
    #[inline]
    const fn sum(&self) -> u64 {
        self.returned.0.wrapping_add(self.sum_of_others)
    }

    fn add(&mut self, output: Output, add: impl FnOnce(&mut Digest)) {
        add(&mut self.others[output as usize]);
        self.sum_up();
    }

    fn sum_up(&mut self) {
        self.sum_of_others = self.others.iter().fold(0, |sum, digest| sum.wrapping_add(digest.0));
    }
}

impl Saved for Digests {
    fn save(&self, out: &mut Writer) {
        self.returned.0.save(out);
        self.others.map(|digest| digest.0).save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let (returned, others) = (Digest(u64::load(from)?), <[u64; 3]>::load(from)?.map(Digest));
        let mut digests = Self { returned, others, sum_of_others: 0 };
        digests.sum_up();
        Some(digests)
    }
}

/// Odd, and without a pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A digest of outputs. It protects from nobody: it finds what differs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Digest(u64);

impl Digest {
    #[inline]
    pub(crate) const fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(FACTOR).rotate_left(29);
    }

    /// Adds a word in fewer steps. Whatever is added next must mix it with the others.
    #[inline(always)]
    pub(crate) const fn add_quickly(&mut self, word: u64) {
        self.0 = (self.0 ^ word).rotate_left(29);
    }

    /// Adds two words at once.
    #[inline]
    pub(crate) fn add_pair(&mut self, first: u64, second: u64) {
        let (low, high) = (self.0 ^ first).carrying_mul(second ^ FACTOR, 0);
        self.0 = (low ^ high).rotate_left(29);
    }

    /// Adds a word, the length of the bytes, and their ends: eight bytes each. Only these are read: a native datagram ends with the
    /// CRC of all of it, and a classic one begins with it.
    #[inline]
    pub(crate) fn add_ends(&mut self, word: u64, bytes: &[u8]) {
        self.0 ^= word ^ (bytes.len() as u64).rotate_left(32);
        match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => self.add_pair(u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => self.add_short(bytes),
        }
    }

    /// Adds less than eight bytes.
    #[inline(never)] // payloads are seldom so short
    fn add_short(&mut self, bytes: &[u8]) {
        self.add(bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }

    /// Adds all of the bytes.
    fn add_all(&mut self, bytes: &[u8]) {
        let (whole, rest) = bytes.as_chunks::<16>();
        for pair in whole {
            let word = |half: usize| u64::from_le_bytes(pair.as_chunks::<8>().0[half]);
            self.add_pair(word(0), word(1));
        }
        self.add_ends(0, rest);
    }

    /// Adds an output as programmers see it. For rare ones.
    pub(crate) fn add_text(&mut self, value: &impl core::fmt::Debug) {
        let _ = core::fmt::write(self, format_args!("{value:?}"));
    }
}

impl core::fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.add_all(text.as_bytes());
        Ok(())
    }
}
