//! All watchdogs of an interface: registered from any thread, fed by the driver, looked at by their thread.
//!
//! A change replaces the whole list, so that readers take no lock. The watchdogs' thread never takes the lock around the
//! changes.

use crate::sync::Ordering;
use crate::sync::{Arc, Mutex};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use tautline_proto::Instant as Steady;

use super::feed::Feed;
use super::periods::Periods;
use super::spec::{WatchId, Watchdog, WatchdogEvent, Watched};
use super::thread::Running;
use super::watch::{FailsafeSlot, Totals, Watch, WatchdogState, WatchdogStats};
use crate::machine::clock::Clock;
use crate::machine::realtime::WatchdogWishes;
use crate::sync::lock;
use tautline_proto::{MessageRef, PeerId};

/// The list of watchdogs at one moment.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// Watchdogs that any datagram feeds.
    peers: Vec<Arc<Watch>>,
    /// Watchdogs that messages feed.
    messages: Vec<Arc<Watch>>,
    /// The templates of which each peer gets a watchdog.
    pub(super) each_peer: Vec<Arc<Template>>,
}

/// The template of the watchdogs of each peer.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) id: WatchId,
    pub(super) spec: Watchdog,
    pub(super) periods: Periods,
    pub(super) failsafe: Arc<FailsafeSlot>,
    /// The configuration asked for it. The next configuration replaces it.
    pub(super) is_configured: bool,
}

impl List {
    /// Records a datagram of this peer.
    #[inline]
    pub(crate) fn heard(&self, peer: PeerId, now: Steady) {
        for watch in &self.peers {
            if watch.is_of(peer) {
                watch.feed.feed(now.as_nanos());
            }
        }
    }

    /// Records a message that is handed out.
    #[inline]
    pub(crate) fn took(&self, message: &MessageRef<'_>, peer: PeerId, now: Steady) {
        for watch in &self.messages {
            if watch.is_fed_by(message, peer) {
                watch.feed.feed(now.as_nanos());
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Watch>> {
        self.peers.iter().chain(&self.messages)
    }

    pub(super) fn add(&mut self, watch: Arc<Watch>) {
        let list = if watch.watched.selector.is_none() { &mut self.peers } else { &mut self.messages };
        list.push(watch);
    }

    /// Splits the list into the watchdogs that `keep` accepts, and the others.
    pub(super) fn split(&self, keep: impl Fn(&Watch) -> bool) -> (Self, Vec<Arc<Watch>>) {
        let mut kept = Self { each_peer: self.each_peer.clone(), ..Self::default() };
        let mut others = Vec::new();
        for watch in self.iter() {
            if keep(watch) { kept.add(Arc::clone(watch)) } else { others.push(Arc::clone(watch)) }
        }
        (kept, others)
    }
}

/// The driver's view of the list.
pub(crate) type Watches = Cache<Arc<ArcSwap<List>>, Arc<List>>;

/// Publishes and logs an event of a watchdog.
pub(crate) type Tell = Arc<dyn Fn(WatchdogEvent) + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// The registry.
pub(crate) struct Watchdogs {
    pub(super) clock: Clock,
    pub(super) tell: Tell,
    pub(super) list: Arc<ArcSwap<List>>,
    pub(super) registered: Mutex<Registered>,
}

#[derive(Debug, Default)]
pub(super) struct Registered {
    pub(super) last_id: u64,
    pub(super) running: Option<Running>,
    /// What the thread was last told to ask of the machine for.
    pub(super) wishes: Option<WatchdogWishes>,
    pub(super) closed: bool,
    /// The counts of former watchdogs.
    gone: Totals,
}

impl Watchdogs {
    /// A registry whose events go to `tell`.
    pub(crate) fn new(clock: Clock, tell: Tell) -> Self {
        Self { clock, tell, list: Arc::default(), registered: Mutex::default() }
    }

    pub(crate) fn watches(&self) -> Watches {
        Cache::new(Arc::clone(&self.list))
    }

    pub(super) fn list(&self) -> Arc<List> {
        self.list.load_full()
    }

    /// Removes the watchdogs that `keep` does not accept, and keeps their counts. Returns how many.
    pub(super) fn retain(&self, now: Steady, keep: impl Fn(&Watch) -> bool) -> usize {
        let mut registered = lock(&self.registered);
        let (kept, others) = self.list.load().split(keep);
        others.iter().for_each(|watch| registered.gone.add(&watch.stats(now)));
        self.list.store(Arc::new(kept));
        drop(registered);
        others.len()
    }

    /// Ends a watchdog, or the watchdogs of each peer with this id. Returns whether there was one.
    pub(crate) fn remove(&self, id: WatchId, now: Steady) -> bool {
        let template = {
            let _registered = lock(&self.registered);
            let list = self.list.load();
            let (mut kept, _) = list.split(|_| true);
            kept.each_peer.retain(|template| template.id != id);
            let template = list.each_peer.iter().find(|template| template.id == id).cloned();
            self.list.store(Arc::new(kept));
            template
        };
        let failsafe =
            self.list().iter().find(|watch| watch.id == id).map(|watch| Arc::clone(&watch.failsafe));
        let removed = self.retain(now, |watch| watch.id != id);
        let failsafe = failsafe.or_else(|| template.as_ref().map(|template| Arc::clone(&template.failsafe)));
        failsafe.inspect(|failsafe| failsafe.take_away());
        removed > 0 || template.is_some()
    }

    /// Adds the watchdogs of a peer whose link is established.
    pub(crate) fn peer_came(&self, peer: PeerId, now: Steady) {
        if self.list.load().each_peer.is_empty() {
            return;
        }
        let registered = lock(&self.registered);
        let Some(running) = &registered.running else { return };
        let (mut list, _) = self.list.load().split(|_| true);
        for template in list.each_peer.clone() {
            // If the template was registered just now, the peer may have its watchdog already.
            let is_there =
                list.iter().any(|watch| watch.id == template.id && watch.watched.peer == Some(peer));
            if !is_there {
                list.add(template.watch(peer, running, now));
            }
        }
        self.list.store(Arc::new(list));
        running.wake();
    }

    /// A peer is gone (`None`: all peers). Its watchdogs from templates trip once more, when they are due, and are removed.
    pub(crate) fn peer_left(&self, peer: Option<PeerId>, now: Steady) {
        let list = self.list.load();
        if list.each_peer.is_empty() && !list.iter().any(|watch| watch.watched.peer.is_some()) {
            return;
        }
        let is_template = |id: WatchId| list.each_peer.iter().any(|template| template.id == id);
        let concerns = |watch: &Watch| {
            watch.watched.peer.is_some_and(|its| peer.is_none_or(|peer| peer == its)) && is_template(watch.id)
        };
        list.iter()
            .filter(|watch| concerns(watch))
            .for_each(|watch| watch.leaves.store(true, Ordering::SeqCst));
        let has_left = |watch: &Watch| {
            concerns(watch) && (watch.feed.look().is_none() || watch.state() == WatchdogState::Tripped)
        };
        self.retain(now, |watch| !has_left(watch));
    }

    /// Arms the watchdogs that connecting arms.
    pub(super) fn arm(&self, now: Steady) {
        let list = self.list.load();
        list.iter().filter(|watch| watch.armed_at_connect).for_each(|watch| watch.feed.arm(now.as_nanos()));
    }

    /// Tells the thread what to ask of the machine.
    pub(super) fn schedule_anew(&self, wishes: WatchdogWishes) {
        let mut registered = lock(&self.registered);
        registered.wishes = Some(wishes);
        if let Some(running) = &registered.running {
            running.schedule_anew(wishes);
        }
    }

    /// The counts of all watchdogs, also of former ones.
    pub(crate) fn totals(&self, now: Steady) -> Totals {
        let registered = lock(&self.registered);
        let mut totals = registered.gone;
        self.list.load().iter().for_each(|watch| totals.add(&watch.stats(now)));
        totals
    }

    /// The state and counts of each watchdog.
    pub(crate) fn stats(&self, now: Steady) -> Vec<WatchdogStats> {
        self.list.load().iter().map(|watch| watch.stats(now)).collect()
    }

    /// Trips the armed watchdogs, ends the thread (waits for at most `patience`), and drops all failsafes. No watchdog can be
    /// registered any more.
    pub(crate) fn close(&self, now: Steady, patience: Duration) {
        let running = {
            let mut registered = lock(&self.registered);
            registered.closed = true;
            registered.running.take()
        };
        if let Some(running) = running {
            running.stop(patience);
        }
        let list = self.list();
        self.retain(now, |_| false);
        self.list.store(Arc::default());
        list.iter().for_each(|watch| watch.failsafe.take_away());
        list.each_peer.iter().for_each(|template| template.failsafe.take_away());
    }
}

impl Template {
    pub(super) fn watch(&self, peer: PeerId, running: &Running, now: Steady) -> Arc<Watch> {
        let watched = Watched { selector: self.spec.selector, peer: Some(peer) };
        let feed = Feed::new(self.periods, running.alarm());
        if self.spec.armed_at_connect {
            feed.arm(now.as_nanos());
        }
        let failsafe = Arc::clone(&self.failsafe);
        Arc::new(Watch::new(self.id, watched, feed, failsafe, self.spec.armed_at_connect))
    }
}

impl std::fmt::Debug for Watchdogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchdogs").field("list", &self.list).finish_non_exhaustive()
    }
}
