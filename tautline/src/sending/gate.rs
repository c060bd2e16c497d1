//! The gate: lets messages that follow one another closely share datagrams and system calls.
//!
//! Whether a message waits is decided under the transmit lock, from the time of sending alone. The first of a
//! stream go out at once, and so does everything that control loops do: a command and a status sent together, a
//! question after every answer. What waits goes when the pack is full, when it has waited for the gate's length and
//! another message comes, or when the driver looks, whichever is first.

use std::time::{Duration, Instant};

use tautline_proto::wire::native::{Pack, Packed};
use tautline_proto::{Priority, WallTime};

use crate::message::target::Target;
use crate::sending::job::Terms;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// So many messages in a row must follow closely before one waits.
const STREAM: u32 = 16;

/// A turn that brought messages counts against so many sent: who sends one for each that comes is in a dialogue and
/// never waits, who streams both ways does.
const DIALOGUE: u32 = 4;

/// A stream is over when nothing has been sent for so many times the gate's length.
const PAUSE: i64 = 10;

/// Messages of several threads come to the lock in another order than they were made in, but not by more than this.
const DISORDER_NS: i64 = 1_000_000;

/// Messages gather for at most so many times the gate's length: it says how closely a stream's messages follow, and a
/// pack takes about that long to fill.
const WAIT: i64 = 5;

/// The least time between two looks of the driver at the gate, and the most, as long as the stream goes on and its sender
/// looks after itself: so looking costs a core a hundredth or two.
const SHORTEST_WATCH: Duration = Duration::from_micros(50);
const LONGEST_WATCH: Duration = Duration::from_micros(200);

/// What senders and driver tell one another without a lock.
///
/// Nobody is forgotten: a sender counts its pack as begun *before* it asks whether the driver watches, and the driver
/// stops watching *before* it asks for the last time whether a pack waits (all four sequentially consistent). So
/// either the driver sees the pack, or the sender sees that nobody watches and wakes the driver.
/// `src/tests/shuttle/wakeups.rs` tries the schedules.
#[derive(Debug, Default)]
pub(crate) struct GateSigns {
    sent: SenderSigns,
    driven: DriverSigns,
}

/// Written under the transmit lock. On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct SenderSigns {
    /// Packs that messages began to wait in, and those of them that are gone.
    begun: AtomicU64,
    ended: AtomicU64,
}

/// Written by the driver, but for a sender that wakes it. On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct DriverSigns {
    watched: AtomicBool,
    /// Turns that brought messages. Order: relaxed; a late look only makes a message wait or not.
    turns: AtomicU64,
}

impl GateSigns {
    /// Whether messages wait that no driver is going to look after: it is to be woken. Says so once.
    pub(crate) fn need_a_watch(&self) -> bool {
        self.is_waiting()
            && !self.driven.watched.load(Ordering::SeqCst)
            && !self.driven.watched.swap(true, Ordering::SeqCst)
    }

    /// Whether messages wait.
    pub(crate) fn is_waiting(&self) -> bool {
        // In this order: a pack that ends between the two reads is only looked at for nothing.
        let ended = self.sent.ended.load(Ordering::SeqCst);
        self.sent.begun.load(Ordering::SeqCst) != ended
    }

    /// Records that a turn brought messages.
    pub(crate) fn turned(&self) {
        // The driver is the only writer.
        let turns = self.driven.turns.load(Ordering::Relaxed);
        self.driven.turns.store(turns + 1, Ordering::Relaxed);
    }
}

/// The driver's side: looks after what waits, and stops looking when nothing does.
#[derive(Debug)]
pub(crate) struct Watch {
    signs: Arc<GateSigns>,
    /// Between two looks: the first time, and now.
    shortest: Duration,
    period: Duration,
    begun: u64,
    watching: bool,
}

impl Watch {
    pub(crate) fn new(signs: Arc<GateSigns>, gate: Duration) -> Self {
        let shortest = gate.max(SHORTEST_WATCH);
        Self { signs, shortest, period: shortest, begun: 0, watching: false }
    }

    /// Looks: `flush` is called where messages wait. When to look again, at the latest.
    pub(crate) fn look(&mut self, mut flush: impl FnMut()) -> Option<Duration> {
        let begun = self.signs.sent.begun.load(Ordering::SeqCst);
        // More than one since the last look: its sender sends them by itself.
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
            // Not `self.watching`: a sender may have asked for the watch after its message was sent already.
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

/// What waits, and the rule who does. Behind the transmit lock.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How long messages wait; 0 where none ever does.
    length_ns: i64,
    /// The size of a pack's datagrams.
    datagram_size: usize,
    pack: Pack,
    target: Target,
    /// Of the most urgent of those that wait.
    priority: Priority,
    /// From when on none of those that wait is worth anything; `None` where one is for ever.
    expires: Option<Instant>,
    /// When the first and the last of those that wait were made.
    first: WallTime,
    last: WallTime,
    /// How many messages in a row have followed closely on one another, to whom, and when the last one was sent.
    row: u32,
    row_target: Target,
    sent_at: WallTime,
    turns_seen: u64,
    signs: Arc<GateSigns>,
}

impl Gate {
    pub(crate) fn new(length: Duration, datagram_size: usize, signs: Arc<GateSigns>) -> Self {
        let length_ns = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        let mut gate = Self { length_ns, datagram_size, signs, ..Self::default() };
        gate.pack.begin(datagram_size);
        gate
    }

    /// The size of a pack's datagrams, in bytes.
    pub(crate) const fn datagram_size(&self) -> usize {
        self.datagram_size
    }

    pub(crate) const fn is_off(&self) -> bool {
        self.length_ns == 0
    }

    /// Records a message made at `made`; whether it is part of a stream and waits.
    #[inline]
    pub(crate) fn is_streaming(&mut self, target: &Target, made: WallTime) -> bool {
        let turns = self.signs.driven.turns.load(Ordering::Relaxed);
        let answered = std::mem::replace(&mut self.turns_seen, turns) != turns;
        let gap = made.nanos_since(self.sent_at);
        let is_other = *target != self.row_target;
        let closely = (-DISORDER_NS..self.length_ns).contains(&gap) && !is_other;
        let pause = is_other || !(-DISORDER_NS..self.length_ns * PAUSE).contains(&gap);
        self.sent_at = if closely { made.max(self.sent_at) } else { made };
        self.row = match (closely, answered) {
            _ if pause => 0,
            // A stream is not over because its sender was interrupted once.
            (false, _) | (true, true) => self.row.saturating_sub(DIALOGUE),
            (true, false) => (self.row + 1).min(2 * STREAM),
        };
        if is_other {
            self.row_target = *target;
        }
        self.row >= STREAM
    }

    /// Whether the stream goes on, as far as is known.
    pub(crate) const fn was_streaming(&self) -> bool {
        self.row >= STREAM
    }

    /// The time from here counts as the last message's: the socket took its time, not the sender.
    pub(crate) fn sent_until(&mut self, now: WallTime) {
        self.sent_at = now;
    }

    /// Whether the pack is empty, or for this target.
    #[inline]
    pub(crate) fn is_for(&self, target: &Target) -> bool {
        self.pack.is_empty() || self.target == *target
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pack.is_empty()
    }

    /// Lets the message wait; `false` where the pack is full and must go first.
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

    /// Lets the message wait whose frame `write` appends; where it went, as for [`Pack::write`].
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

    /// Takes note of a message that waits now.
    #[inline]
    fn note(&mut self, is_first: bool, terms: &Terms) {
        if is_first {
            self.target = terms.target;
            self.priority = terms.priority;
            self.expires = terms.expires;
            self.first = terms.made;
            let begun = self.signs.sent.begun.load(Ordering::Relaxed) + 1;
            self.signs.sent.begun.store(begun, Ordering::SeqCst);
        }
        self.priority = self.priority.max(terms.priority);
        self.expires = self.expires.zip(terms.expires).map(|(waiting, new)| waiting.max(new));
        self.last = terms.made;
    }

    /// The priority of the most urgent message that waits.
    pub(crate) const fn priority(&self) -> Priority {
        self.priority
    }

    /// Whether all that wait have outlived their lifespans.
    pub(crate) fn is_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= Instant::now())
    }

    /// Whether those that wait have waited for long enough.
    pub(crate) fn is_due(&self) -> bool {
        self.last.nanos_since(self.first) >= WAIT * self.length_ns
    }

    /// Takes those that wait out, with their target and when the last was made; to be given back empty.
    pub(crate) fn take(&mut self) -> (Pack, Target, WallTime) {
        let begun = self.signs.sent.begun.load(Ordering::Relaxed);
        self.signs.sent.ended.store(begun, Ordering::SeqCst);
        (std::mem::take(&mut self.pack), self.target, self.last)
    }

    /// Gives the pack's memory back.
    pub(crate) fn give_back(&mut self, mut pack: Pack) {
        pack.begin(self.datagram_size);
        self.pack = pack;
    }
}
