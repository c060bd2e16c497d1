//! One watchdog: its feed, its state, its counts, and its failsafe.

use crate::sync::Arc;
use crate::sync::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tautline_proto::silence::{State, Word};
use tautline_proto::{Counter, Instant as Steady};

use super::failsafe::FailsafeSlot;
use super::feed::Feed;
use super::gaps::Told;
use crate::config::{WatchId, WatchdogChange, WatchdogEvent, WatchdogState, Watched};
use crate::machine::clock::Clock;
use tautline_proto::{MessageRef, PeerId};

/// The state and the counts of a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchdogStats {
    /// The id of the watchdog.
    pub watch: WatchId,
    /// What it watches.
    pub watched: Watched,
    /// Its state, as its failsafe was told.
    pub state: WatchdogState,
    /// Periods without the expected traffic since it was armed, also while disconnected.
    pub missed: u64,
    /// How often it tripped.
    pub trips: u64,
    /// How often it recovered by itself.
    pub recoveries: u64,
    /// How often it was reset.
    pub resets: u64,
    /// How often its failsafe panicked.
    pub panicked: u64,
    /// The greatest delay from the due time until a trip was noticed.
    pub worst_late: Duration,
}

/// The counts of all watchdogs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) missed: u64,
    pub(crate) trips: u64,
    pub(crate) recoveries: u64,
    pub(crate) resets: u64,
    pub(crate) panicked: u64,
}

impl Totals {
    pub(super) fn add(&mut self, stats: &WatchdogStats) {
        self.missed += stats.missed;
        self.trips += stats.trips;
        self.recoveries += stats.recoveries;
        self.resets += stats.resets;
        self.panicked += stats.panicked;
    }
}

/// A registered watchdog.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(super) id: WatchId,
    pub(super) watched: Watched,
    pub(super) feed: Feed,
    pub(super) failsafe: Arc<FailsafeSlot>,
    pub(super) armed_at_connect: bool,
    /// The connected peers of the identity that it watches; `None` if that does not matter. Changed with the lock of the
    /// registry held.
    pub(super) of_identity: Option<ArcSwap<Vec<PeerId>>>,
    /// Its peer is gone: it trips at once, and is then removed. Order: set before the thread is woken and before its state is
    /// read (`Watchdogs::peer_left`), read after its state has changed (`tell_all`).
    pub(super) leaves: AtomicBool,
    /// What the failsafe was told last. Written only by the thread.
    state: AtomicU8,
    /// The due time of the last trip that was told.
    told_trip: Counter,
    trips: Counter,
    recoveries: Counter,
    resets: Counter,
    panicked: Counter,
    worst_late_ns: Counter,
}

/// What the thread needs to tell of a change.
pub(super) struct Teller<'a> {
    pub(super) clock: Clock,
    pub(super) tell: &'a mut dyn FnMut(WatchdogEvent),
}

impl Watch {
    pub(super) fn new(
        id: WatchId,
        watched: Watched,
        feed: Feed,
        failsafe: Arc<FailsafeSlot>,
        armed_at_connect: bool,
    ) -> Self {
        Self {
            id,
            watched,
            feed,
            failsafe,
            armed_at_connect,
            of_identity: watched.identity.map(|_| ArcSwap::default()),
            leaves: AtomicBool::new(false),
            state: AtomicU8::new(WatchdogState::Waiting as u8),
            told_trip: Counter::new(),
            trips: Counter::new(),
            recoveries: Counter::new(),
            resets: Counter::new(),
            panicked: Counter::new(),
            worst_late_ns: Counter::new(),
        }
    }

    #[inline]
    pub(super) fn is_fed_by(&self, message: &MessageRef<'_>, peer: PeerId) -> bool {
        self.watches(message) && self.is_of(peer)
    }

    /// Whether it watches such messages, of this peer or of another.
    #[inline]
    pub(super) fn watches(&self, message: &MessageRef<'_>) -> bool {
        self.watched.selector.is_none_or(|selector| selector.selects(message.message_type, message.channel))
    }

    #[inline]
    pub(super) fn is_of(&self, peer: PeerId) -> bool {
        self.watched.peer.is_none_or(|watched| watched == peer)
            && self.of_identity.as_ref().is_none_or(|peers| peers.load().contains(&peer))
    }

    /// Replaces the connected peers of the identity that it watches.
    pub(super) fn change_peers(&self, change: impl FnOnce(&mut Vec<PeerId>)) {
        if let Some(peers) = &self.of_identity {
            let mut changed = Vec::clone(&peers.load());
            change(&mut changed);
            peers.store(Arc::new(changed));
        }
    }

    pub(super) fn state(&self) -> WatchdogState {
        match self.state.load(Ordering::SeqCst) {
            0 => WatchdogState::Waiting,
            1 => WatchdogState::Armed,
            _ => WatchdogState::Tripped,
        }
    }

    /// Whether it has nothing to tell any more, after its peer has left.
    pub(super) fn has_left(&self) -> bool {
        self.state() == WatchdogState::Tripped || self.feed.word() == Word::WAITING
    }

    pub(super) fn stats(&self, now: Steady) -> WatchdogStats {
        WatchdogStats {
            watch: self.id,
            watched: self.watched,
            state: self.state(),
            missed: self.feed.missed(now.as_nanos()),
            trips: self.trips.value(),
            recoveries: self.recoveries.value(),
            resets: self.resets.value(),
            panicked: self.panicked.value(),
            worst_late: Duration::from_nanos(self.worst_late_ns.value()),
        }
    }

    /// Tells what has changed, and trips the watchdog if it is time. Returns when to look again; `None`: the feed wakes the
    /// thread. Only the thread calls it. `is_last`: trips if it is armed, also before it is due.
    ///
    /// What the driver noticed comes first, because it happened before the word that is read here, or will be told later. A
    /// trip is known by its due time, so that it is told once, whoever noticed it first.
    pub(super) fn look(&self, is_last: bool, teller: &mut Teller<'_>) -> Option<Steady> {
        let is_last = is_last || self.leaves.load(Ordering::SeqCst);
        let mut wants = false;
        loop {
            // Read before the look: a watchdog that is due then was not fed since. In the other order, the thread could miss
            // traffic that came in time, if it was kept from running between the two.
            let now = teller.clock.steady(Instant::now()).as_nanos();
            wants |= self.state() != WatchdogState::Armed;
            if wants {
                self.feed.want();
            }
            let word = self.feed.word();
            while let Some(told) = self.feed.next_gap() {
                self.tell_gap(&told, teller);
            }
            match word.state() {
                State::Armed { due } => {
                    let last = self.feed.last_before(due);
                    self.tell_armed(due, last, now, teller);
                    if due > now && !is_last {
                        return Some(Steady::from_nanos(due));
                    }
                    if self.feed.trip(word) {
                        self.tell_trip(due, last, now, self.feed.misses(due, now), teller);
                    }
                }
                State::Tripped { due } => {
                    self.tell_trip(due, self.feed.last_before(due), now, self.feed.misses(due, now), teller);
                    if wants {
                        return None;
                    }
                }
                State::Waiting => {
                    // If a trip was not told yet, the driver is about to write it.
                    if self.state() == WatchdogState::Tripped {
                        self.say(WatchdogChange::Reset, now, None, teller);
                    }
                    if wants {
                        return None;
                    }
                }
            }
            wants = self.state() != WatchdogState::Armed || word.state() == State::Waiting;
        }
    }

    /// Tells that traffic has come, if that was not told yet.
    fn tell_armed(&self, due: u64, last: Option<u64>, now: u64, teller: &mut Teller<'_>) {
        if self.state() == WatchdogState::Tripped && due > self.told_trip.value() {
            self.say(WatchdogChange::Reset, now, None, teller);
        }
        if let (WatchdogState::Waiting, Some(last)) = (self.state(), last) {
            self.say(WatchdogChange::Armed, last, None, teller);
        }
    }

    /// Tells of a trip, if it was not told yet.
    fn tell_trip(&self, due: u64, last: Option<u64>, at: u64, missed: u32, teller: &mut Teller<'_>) {
        if due <= self.told_trip.value() {
            return;
        }
        self.tell_armed(due, last, at, teller);
        let late = at.saturating_sub(due);
        self.told_trip.set(due);
        self.trips.add(1);
        self.worst_late_ns.set(self.worst_late_ns.value().max(late));
        self.say(WatchdogChange::Tripped { late: Duration::from_nanos(late), missed }, at, last, teller);
    }

    /// Tells of a silence that the driver noticed.
    fn tell_gap(&self, told: &Told, teller: &mut Teller<'_>) {
        let Told { gap, cause, is_refused, had_sign, count: silences } = *told;
        let last = had_sign.then_some(gap.from);
        // Silences that were merged may begin with one that was told.
        let goes_on = self.state() == WatchdogState::Tripped && !is_refused;
        if goes_on {
            self.told_trip.set(self.told_trip.value().max(gap.due));
        } else {
            self.tell_trip(gap.due, last, gap.until, gap.missed, teller);
        }
        self.trips.add(silences - 1);
        let silence = Duration::from_nanos(gap.until - gap.from);
        if !is_refused {
            self.recoveries.add(silences);
            self.say(WatchdogChange::Recovered { silence, cause, silences }, gap.until, last, teller);
        } else if self.state() == WatchdogState::Tripped && gap.due == self.told_trip.value() {
            self.say(WatchdogChange::Refusing { silence, cause }, gap.until, last, teller);
        }
    }

    fn say(&self, change: WatchdogChange, at: u64, last: Option<u64>, teller: &mut Teller<'_>) {
        let instant = |ns| teller.clock.instant(Steady::from_nanos(ns));
        let (watch, watched, at, last) = (self.id, self.watched, instant(at), last.map(instant));
        let event = WatchdogEvent { watch, watched, at, last, change };
        self.resets.add(u64::from(change == WatchdogChange::Reset));
        self.state.store(event.state() as u8, Ordering::SeqCst);
        if !self.failsafe.call(&event) {
            self.panicked.add(1);
        }
        (teller.tell)(event);
    }
}
