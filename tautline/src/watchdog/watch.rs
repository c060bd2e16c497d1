//! One watchdog: its feed, its state, its counts, and its failsafe.

use crate::sync::{Arc, Mutex};
use crate::sync::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tautline_proto::{Counter, Instant as Steady};

use super::feed::{Feed, Seen};
use super::spec::{WatchId, WatchdogChange, WatchdogEvent, Watched};
use crate::machine::clock::Clock;
use crate::sync::quietly::{DropQuietly, quietly};
use crate::sync::{lock, try_lock};
use tautline_proto::{MessageRef, PeerId};

/// The user's failsafe.
pub(super) type Failsafe = Box<dyn FnMut(&WatchdogEvent) + Send>;

/// Holds a failsafe. The thread takes the failsafe out to call it, so that the lock is held for an exchange only. The thread
/// never waits for the lock: another thread that holds it removes the failsafe.
pub(super) struct FailsafeSlot(Mutex<InSlot>);

enum InSlot {
    Here(DropQuietly<Failsafe>),
    /// There is no failsafe, or the thread has taken it out.
    Out,
    TakenAway,
}

impl FailsafeSlot {
    pub(super) fn new(failsafe: Option<Failsafe>) -> Self {
        let held = failsafe.map_or(InSlot::Out, |failsafe| InSlot::Here(DropQuietly::new(failsafe)));
        Self(Mutex::new(held))
    }

    /// Calls the failsafe, if there is one. Returns `false` if it panicked.
    fn call(&self, event: &WatchdogEvent) -> bool {
        let Some(mut failsafe) = self.take_out() else { return true };
        let went_well = quietly(|| (*failsafe)(event)).is_ok();
        self.put_back(failsafe);
        went_well
    }

    fn take_out(&self) -> Option<DropQuietly<Failsafe>> {
        let mut held = try_lock(&self.0)?;
        match std::mem::replace(&mut *held, InSlot::Out) {
            InSlot::Here(failsafe) => Some(failsafe),
            other => {
                *held = other;
                None
            }
        }
    }

    fn put_back(&self, failsafe: DropQuietly<Failsafe>) {
        if let Some(mut held) = try_lock(&self.0)
            && !matches!(*held, InSlot::TakenAway)
        {
            *held = InSlot::Here(failsafe);
        }
    }

    /// Drops the failsafe. If it is being called, the thread drops it afterwards.
    pub(super) fn take_away(&self) {
        let held = std::mem::replace(&mut *lock(&self.0), InSlot::TakenAway);
        // Dropping runs users' code, so not under the lock.
        drop(held);
    }
}

impl std::fmt::Debug for FailsafeSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FailsafeSlot").finish_non_exhaustive()
    }
}

/// The state of a watchdog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WatchdogState {
    /// Not armed yet.
    #[default]
    Waiting,
    /// Armed, and the expected traffic comes.
    Armed,
    /// The expected traffic has stopped.
    Tripped,
}

/// The state and the counts of a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchdogStats {
    /// The id of the watchdog.
    pub watch: WatchId,
    /// What it watches.
    pub watched: Watched,
    /// Its state.
    pub state: WatchdogState,
    /// Periods without the expected traffic since it was armed, also while disconnected.
    pub missed: u64,
    /// How often it tripped.
    pub trips: u64,
    /// How often it recovered.
    pub recoveries: u64,
    /// How often its failsafe panicked.
    pub panicked: u64,
    /// The greatest delay from the due time to a trip.
    pub worst_late: Duration,
}

/// The counts of all watchdogs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) missed: u64,
    pub(crate) trips: u64,
    pub(crate) recoveries: u64,
    pub(crate) panicked: u64,
}

impl Totals {
    pub(super) fn add(&mut self, stats: &WatchdogStats) {
        self.missed += stats.missed;
        self.trips += stats.trips;
        self.recoveries += stats.recoveries;
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
    /// Its peer is gone: once it has tripped, it is removed. Order: set before its state is read (`Watchdogs::peer_left`),
    /// read after its state has changed (`tell_all`).
    pub(super) leaves: AtomicBool,
    /// Written only by the thread.
    state: AtomicU8,
    tripped_at: Counter,
    trips: Counter,
    recoveries: Counter,
    panicked: Counter,
    worst_late_ns: Counter,
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
            leaves: AtomicBool::new(false),
            state: AtomicU8::new(WatchdogState::Waiting as u8),
            tripped_at: Counter::new(),
            trips: Counter::new(),
            recoveries: Counter::new(),
            panicked: Counter::new(),
            worst_late_ns: Counter::new(),
        }
    }

    #[inline]
    pub(super) fn is_fed_by(&self, message: &MessageRef<'_>, peer: PeerId) -> bool {
        let is_one = |selector: crate::config::Selector| {
            selector.message_type == message.message_type
                && selector.channel.is_none_or(|channel| channel == message.channel)
        };
        self.watched.selector.is_none_or(is_one) && self.is_of(peer)
    }

    #[inline]
    pub(super) fn is_of(&self, peer: PeerId) -> bool {
        self.watched.peer.is_none_or(|watched| watched == peer)
    }

    pub(super) fn state(&self) -> WatchdogState {
        match self.state.load(Ordering::SeqCst) {
            0 => WatchdogState::Waiting,
            1 => WatchdogState::Armed,
            _ => WatchdogState::Tripped,
        }
    }

    fn set_state(&self, state: WatchdogState) {
        self.state.store(state as u8, Ordering::SeqCst);
    }

    pub(super) fn stats(&self, now: Steady) -> WatchdogStats {
        WatchdogStats {
            watch: self.id,
            watched: self.watched,
            state: self.state(),
            missed: self.feed.missed(now.as_nanos()),
            trips: self.trips.value(),
            recoveries: self.recoveries.value(),
            panicked: self.panicked.value(),
            worst_late: Duration::from_nanos(self.worst_late_ns.value()),
        }
    }

    /// Trips or recovers if it is time, and then calls the failsafe and `tell`. Returns when to look again; `None`: the feed
    /// wakes the thread. Only the thread calls it. `is_last`: trips if it is armed, also before it is due.
    pub(super) fn look(
        &self,
        clock: Clock,
        is_last: bool,
        tell: &mut dyn FnMut(WatchdogEvent),
    ) -> Option<Steady> {
        loop {
            // Read before the look: a watchdog that is due then was not fed since. In the other order, the thread could miss
            // traffic that came in time, if it was kept from running between the two.
            let now = clock.steady(Instant::now());
            let armed = self.state() == WatchdogState::Armed;
            let seen = if armed { self.feed.look() } else { self.feed.want() }?;
            let is_due = seen.due <= now.as_nanos();
            match self.state() {
                WatchdogState::Armed if is_due || is_last => {
                    let change = self.trip(&seen, now);
                    self.say(change, &seen, now, clock, tell);
                }
                WatchdogState::Armed => return Some(Steady::from_nanos(seen.due)),
                WatchdogState::Waiting => self.set_state(WatchdogState::Armed),
                WatchdogState::Tripped if is_due || is_last => return None,
                WatchdogState::Tripped => {
                    let change = self.recover(now);
                    self.say(change, &seen, now, clock, tell);
                }
            }
        }
    }

    fn trip(&self, seen: &Seen, now: Steady) -> WatchdogChange {
        let late_ns = now.as_nanos().saturating_sub(seen.due);
        self.trips.add(1);
        self.tripped_at.set(now.as_nanos());
        self.worst_late_ns.set(self.worst_late_ns.value().max(late_ns));
        self.set_state(WatchdogState::Tripped);
        let missed = self.feed.misses(seen, now.as_nanos());
        WatchdogChange::Tripped { late: Duration::from_nanos(late_ns), missed }
    }

    fn recover(&self, now: Steady) -> WatchdogChange {
        self.recoveries.add(1);
        self.set_state(WatchdogState::Armed);
        let tripped_at = Steady::from_nanos(self.tripped_at.value());
        WatchdogChange::Recovered { after: now.since(tripped_at) }
    }

    fn say(
        &self,
        change: WatchdogChange,
        seen: &Seen,
        now: Steady,
        clock: Clock,
        tell: &mut dyn FnMut(WatchdogEvent),
    ) {
        let last = (seen.last != 0).then(|| clock.instant(Steady::from_nanos(seen.last)));
        let (watch, watched, at) = (self.id, self.watched, clock.instant(now));
        let event = WatchdogEvent { watch, watched, at, last, change };
        if !self.failsafe.call(&event) {
            self.panicked.add(1);
        }
        tell(event);
    }
}
