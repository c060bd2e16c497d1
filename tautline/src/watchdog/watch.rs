//! One watchdog: its signs of life, how it stands, what it has done, and whom it calls.

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

/// A failsafe's place. The thread takes it out to call it, so that the lock is held for an exchange only; it never waits for
/// that lock, because who else takes it takes the failsafe away.
pub(super) struct Place(Mutex<Held>);

enum Held {
    Here(DropQuietly<Failsafe>),
    /// There is none, or the thread has it.
    Out,
    TakenAway,
}

impl Place {
    pub(super) fn new(failsafe: Option<Failsafe>) -> Self {
        let held = failsafe.map_or(Held::Out, |failsafe| Held::Here(DropQuietly::new(failsafe)));
        Self(Mutex::new(held))
    }

    /// Calls the failsafe, if there is one; whether that went well.
    fn call(&self, event: &WatchdogEvent) -> bool {
        let Some(mut failsafe) = self.take_out() else { return true };
        let went_well = quietly(|| (*failsafe)(event)).is_ok();
        self.put_back(failsafe);
        went_well
    }

    fn take_out(&self) -> Option<DropQuietly<Failsafe>> {
        let mut held = try_lock(&self.0)?;
        match std::mem::replace(&mut *held, Held::Out) {
            Held::Here(failsafe) => Some(failsafe),
            other => {
                *held = other;
                None
            }
        }
    }

    fn put_back(&self, failsafe: DropQuietly<Failsafe>) {
        if let Some(mut held) = try_lock(&self.0)
            && !matches!(*held, Held::TakenAway)
        {
            *held = Held::Here(failsafe);
        }
    }

    /// Lets go of the failsafe; if it is being called, the thread does so afterwards.
    pub(super) fn take_away(&self) {
        let held = std::mem::replace(&mut *lock(&self.0), Held::TakenAway);
        // Users' code, so not under the lock.
        drop(held);
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

/// How a watchdog stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WatchdogState {
    /// Not armed yet.
    #[default]
    Waiting,
    /// Armed, and signs of life come.
    Armed,
    /// They have stopped.
    Tripped,
}

/// What a watchdog has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchdogStats {
    /// Which one.
    pub watch: WatchId,
    /// What it watches.
    pub watched: Watched,
    /// How it stands.
    pub state: WatchdogState,
    /// Periods without a sign of life since it was armed, also while disconnected.
    pub missed: u64,
    /// How often it tripped.
    pub trips: u64,
    /// How often it recovered.
    pub recoveries: u64,
    /// How often its closure panicked.
    pub panicked: u64,
    /// The latest after it was due that it tripped.
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
    pub(super) place: Arc<Place>,
    pub(super) armed_at_connect: bool,
    /// Its peer is gone: once it has tripped, it goes too. Order: set before its state is looked at (`Table::peer_left`),
    /// looked at after that has changed (`Told`).
    pub(super) leaves: AtomicBool,
    /// Written by the thread alone.
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
        place: Arc<Place>,
        armed_at_connect: bool,
    ) -> Self {
        Self {
            id,
            watched,
            feed,
            place,
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

    /// Trips or recovers where it is time, calling the failsafe and then `tell`; when it wants to be looked at again, `None`:
    /// it will wake the thread. For the thread alone. `is_last` trips what is armed, whenever it would be due.
    pub(super) fn look(
        &self,
        clock: Clock,
        is_last: bool,
        tell: &mut dyn FnMut(WatchdogEvent),
    ) -> Option<Steady> {
        loop {
            // Before the look: what is due by then has not been fed since. The other way round, a sign of life that came in
            // time, while this thread was kept from running between the two, would be overlooked.
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
        if !self.place.call(&event) {
            self.panicked.add(1);
        }
        tell(event);
    }
}
