//! The coalescer: small messages of a stream share datagrams and system calls.
//!
//! Called by the line, under the transmit lock, and by the driver, which looks for messages that wait. Whether a message
//! waits is decided from the time of sending alone. The first messages of a stream are sent at once. So are the messages of
//! a control loop: a command and a status that are sent together, a request after every answer. Waiting messages are sent
//! when their pack is full, when they have waited for the coalescing delay and another message comes, or when the driver
//! looks, whichever is first.

use std::time::{Duration, Instant};

use tautline_proto::wire::native::{Pack, Packed};
use tautline_proto::{Instant as Steady, Priority};

use crate::message::target::Target;
use crate::sending::job::Terms;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// The number of messages in a row that must follow closely before one waits.
const STREAM: u32 = 16;

/// The number of sent messages that a turn with received messages takes off the row. So request/response traffic is never
/// coalesced, and streams in both directions are.
const DIALOGUE: u32 = 4;

/// A stream is over when nothing was sent for this many coalescing delays.
const PAUSE: i64 = 10;

/// The most by which messages of several threads reach the lock in another order than they were made in.
const DISORDER_NS: i64 = 1_000_000;

/// The time of the last message before the first one: far from every time.
const NEVER: Steady = Steady::from_nanos(1 << 62);

/// The most coalescing delays that a message waits. The delay says how closely the messages of a stream follow one another;
/// a pack takes about this time to fill.
const WAIT: i64 = 5;

/// The least time between two looks of the driver, and the most while the stream goes on and its sender sends full packs
/// itself. So the looks cost one or two percent of a core.
const SHORTEST_WATCH: Duration = Duration::from_micros(50);
const LONGEST_WATCH: Duration = Duration::from_micros(200);

/// What senders and the driver tell one another without a lock.
///
/// No pack is forgotten: a sender counts its pack as begun *before* it asks whether the driver watches, and the driver
/// stops watching *before* it asks for the last time whether a pack waits (all four sequentially consistent). So either
/// the driver sees the pack, or the sender sees that the driver does not watch, and wakes it.
/// `src/tests/shuttle/wakeups.rs` tries the schedules.
#[derive(Debug, Default)]
pub(crate) struct CoalescerSignals {
    sent: SenderSigns,
    driven: DriverSigns,
}

/// Written under the transmit lock. On a cache line of its own, so that senders and driver do not share one.
#[derive(Debug, Default)]
#[repr(align(128))]
struct SenderSigns {
    /// The number of packs that messages began to wait in, and the number of those packs that were sent.
    begun: AtomicU64,
    ended: AtomicU64,
}

/// Written by the driver, and by a sender that wakes it. On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct DriverSigns {
    watched: AtomicBool,
    /// The number of turns with received messages. Order: relaxed; an old value only decides whether a message waits.
    turns: AtomicU64,
}

impl CoalescerSignals {
    /// Whether messages wait and the driver does not watch, so that it must be woken. Returns `true` once.
    pub(crate) fn need_a_watch(&self) -> bool {
        self.is_waiting()
            && !self.driven.watched.load(Ordering::SeqCst)
            && !self.driven.watched.swap(true, Ordering::SeqCst)
    }

    /// Whether messages wait.
    pub(crate) fn is_waiting(&self) -> bool {
        // In this order: if a pack ends between the two reads, the driver looks once in vain.
        let ended = self.sent.ended.load(Ordering::SeqCst);
        self.sent.begun.load(Ordering::SeqCst) != ended
    }

    /// Records a turn with received messages.
    pub(crate) fn turned(&self) {
        // The driver is the only writer.
        let turns = self.driven.turns.load(Ordering::Relaxed);
        self.driven.turns.store(turns + 1, Ordering::Relaxed);
    }
}

/// The driver's side: looks for waiting messages, and stops looking when none wait.
#[derive(Debug)]
pub(crate) struct CoalescerWatch {
    signs: Arc<CoalescerSignals>,
    /// The time between two looks: at first, and now.
    shortest: Duration,
    period: Duration,
    begun: u64,
    watching: bool,
}

impl CoalescerWatch {
    pub(crate) fn new(signs: Arc<CoalescerSignals>, delay: Duration) -> Self {
        let shortest = delay.max(SHORTEST_WATCH);
        Self { signs, shortest, period: shortest, begun: 0, watching: false }
    }

    /// Looks once, and calls `flush` if messages wait. Returns after which time to look again, at the latest.
    #[inline]
    pub(crate) fn look(&mut self, flush: impl FnMut()) -> Option<Duration> {
        let begun = self.signs.sent.begun.load(Ordering::SeqCst);
        if begun == self.begun
            && !self.signs.is_waiting()
            && !self.signs.driven.watched.load(Ordering::SeqCst)
        {
            // Nothing was coalesced since the last look, and nobody waits for one.
            self.period = self.shortest;
            return None;
        }
        self.look_closely(begun, flush)
    }

    #[inline(never)]
    fn look_closely(&mut self, begun: u64, mut flush: impl FnMut()) -> Option<Duration> {
        // More than one pack since the last look: the sender sends full packs itself.
        let packs = begun - std::mem::replace(&mut self.begun, begun);
        let streaming = packs > 0;
        self.period =
            if packs > 1 { (self.period * 2).min(LONGEST_WATCH.max(self.shortest)) } else { self.shortest };
        if self.signs.is_waiting() {
            flush();
        }
        if streaming || self.signs.is_waiting() {
            self.set_watching(true);
        } else if self.signs.driven.watched.load(Ordering::SeqCst) {
            // Not `self.watching`: a sender may have asked for the watch after its message was already sent.
            self.set_watching(false);
            if self.signs.is_waiting() {
                flush();
                self.set_watching(true);
            }
        }
        self.watching.then_some(self.period)
    }

    fn set_watching(&mut self, watching: bool) {
        self.watching = watching;
        self.signs.driven.watched.store(watching, Ordering::SeqCst);
    }
}

/// The messages that wait, and the rule which messages wait. Behind the transmit lock.
#[derive(Debug, Default)]
// In this order, so that what every message uses shares few cache lines.
#[repr(C)]
pub(crate) struct Coalescer {
    /// The coalescing delay; 0 turns coalescing off.
    length_ns: i64,
    signs: Arc<CoalescerSignals>,
    sent_at: Steady,
    turns_seen: u64,
    /// How many messages in a row followed closely on one another, to whom, and when the last of them was sent.
    row: u32,
    row_target: Target,
    /// The size of the next pack's datagrams.
    datagram_size: usize,
    pack: Pack,
    target: Target,
    /// The priority of the most urgent waiting message.
    priority: Priority,
    /// When the lifespan of the last waiting message ends; `None` if one of them has no lifespan.
    expires: Option<Instant>,
    /// When the first and the last waiting message were given to send.
    first: Steady,
    last: Steady,
}

impl Coalescer {
    pub(crate) fn new(length: Duration, datagram_size: usize, signs: Arc<CoalescerSignals>) -> Self {
        let length_ns = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        let mut coalescer = Self { length_ns, datagram_size, signs, sent_at: NEVER, ..Self::default() };
        coalescer.pack.begin(datagram_size);
        coalescer
    }

    /// Sets the size of the next pack's datagrams: what the paths to its peers carry. A pack with messages keeps its size.
    pub(crate) fn set_datagram_size(&mut self, size: usize) {
        if self.datagram_size != size {
            self.datagram_size = size;
            if self.pack.is_empty() {
                self.pack.begin(size);
            }
        }
    }

    /// The size of a pack's datagrams, in bytes.
    pub(crate) const fn datagram_size(&self) -> usize {
        self.datagram_size
    }

    pub(crate) const fn is_off(&self) -> bool {
        self.length_ns == 0
    }

    /// Records a message that was given to send at this time. Returns whether it is part of a stream, and so waits.
    #[inline(always)] // once for each message
    pub(crate) fn is_streaming(&mut self, target: &Target, at: Steady) -> bool {
        let turns = self.signs.driven.turns.load(Ordering::Relaxed);
        let answered = std::mem::replace(&mut self.turns_seen, turns) != turns;
        let gap = at.nanos_since(self.sent_at);
        let is_other = *target != self.row_target;
        let closely = (-DISORDER_NS..self.length_ns).contains(&gap) && !is_other;
        let pause = is_other || !(-DISORDER_NS..self.length_ns * PAUSE).contains(&gap);
        self.sent_at = if closely { at.max(self.sent_at) } else { at };
        self.row = match (closely, answered) {
            _ if pause => 0,
            // One interruption of the sender does not end the stream.
            (false, _) | (true, true) => self.row.saturating_sub(DIALOGUE),
            (true, false) => (self.row + 1).min(2 * STREAM),
        };
        if is_other {
            self.row_target = *target;
        }
        self.row >= STREAM
    }

    /// Whether the stream still went on at the last message.
    pub(crate) const fn was_streaming(&self) -> bool {
        self.row >= STREAM
    }

    /// Takes this time as that of the last message: the time until now was spent in the socket, not by the sender.
    pub(crate) fn sent_until(&mut self, now: Steady) {
        self.sent_at = now;
    }

    /// Whether the pack is empty or for this target.
    #[inline]
    pub(crate) fn is_for(&self, target: &Target) -> bool {
        self.pack.is_empty() || self.target == *target
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pack.is_empty()
    }

    /// Lets the message wait. Returns `false` if the pack is full and must be sent first.
    #[must_use]
    #[inline]
    pub(crate) fn push(&mut self, frame: &[u8], terms: &Terms) -> bool {
        let is_first = self.pack.is_empty();
        let pushed = self.pack.push(frame);
        if pushed {
            self.note(is_first, terms);
        }
        pushed
    }

    /// As [`push`](Self::push), for a message that is larger than a datagram: it waits in fragments.
    #[must_use]
    pub(crate) fn push_large(&mut self, frame: &[u8], number: u32, terms: &Terms) -> bool {
        let is_first = self.pack.is_empty();
        let pushed = self.pack.push_large(frame, number);
        if pushed {
            self.note(is_first, terms);
        }
        pushed
    }

    /// Lets the message wait whose frame `write` appends. Returns where the frame went, as [`Pack::write`] does.
    #[inline]
    pub(crate) fn write<E>(
        &mut self,
        terms: &Terms,
        apart: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Packed, E> {
        let is_first = self.pack.is_empty();
        let place = self.pack.write(apart, write)?;
        if place == Packed::InPack {
            self.note(is_first, terms);
        }
        Ok(place)
    }

    /// Records a message that waits now.
    #[inline]
    fn note(&mut self, is_first: bool, terms: &Terms) {
        if is_first {
            self.target = terms.target;
            self.priority = terms.priority;
            self.expires = terms.expires;
            self.first = terms.sent_at;
            let begun = self.signs.sent.begun.load(Ordering::Relaxed) + 1;
            self.signs.sent.begun.store(begun, Ordering::SeqCst);
        }
        self.priority = self.priority.max(terms.priority);
        self.expires = self.expires.zip(terms.expires).map(|(waiting, new)| waiting.max(new));
        self.last = terms.sent_at;
    }

    /// The priority of the most urgent waiting message.
    pub(crate) const fn priority(&self) -> Priority {
        self.priority
    }

    /// Whether the lifespans of all waiting messages are over.
    pub(crate) fn is_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= Instant::now())
    }

    /// Whether those that wait have waited for long enough.
    pub(crate) fn is_due(&self) -> bool {
        self.last.nanos_since(self.first) >= WAIT * self.length_ns
    }

    /// Takes the waiting messages out, with their target and the time when the last was given to send. Give the pack back empty.
    pub(crate) fn take(&mut self) -> (Pack, Target, Steady) {
        let begun = self.signs.sent.begun.load(Ordering::Relaxed);
        self.signs.sent.ended.store(begun, Ordering::SeqCst);
        (std::mem::take(&mut self.pack), self.target, self.last)
    }

    /// Gives the memory of the pack back.
    pub(crate) fn give_back(&mut self, mut pack: Pack) {
        pack.begin(self.datagram_size);
        self.pack = pack;
    }
}
