//! All watchdogs of an interface: registered from any thread, fed by the driver, looked at by their thread.
//!
//! A change replaces the [list](super::list). The watchdogs' thread never takes the lock around the changes.

use crate::sync::{Arc, AtomicUsize, Mutex, Ordering};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use tautline_proto::Instant as Steady;

use super::WatchdogEvent;
use super::feed::Feed;
use super::list::{BUCKETS, List, Template, Watches, bucket_of};
use super::register::OfFailsafe;
use super::thread::Running;
use super::watch::{Totals, Watch, WatchdogStats};
use crate::config::{Selector, WatchId, Watched};
use crate::machine::clock::Clock;
use crate::machine::realtime::WatchdogWishes;
use crate::sync::driver_flags::DriverFlags;
use crate::sync::latches::{Latch, Latches, MAX_LATCHES};
use crate::sync::lock;
use tautline_proto::{MessageType, PeerId};

/// The most watchdogs of former peers that wait to be told. Beyond that they are counted, and not told.
const MAX_LEAVING: usize = 256;

/// Publishes and logs an event of a watchdog.
pub(crate) type Tell = Arc<dyn Fn(WatchdogEvent) + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// The registry.
pub(crate) struct Watchdogs {
    pub(super) clock: Clock,
    pub(super) tell: Tell,
    /// Written under the lock of `registered`, by [`set_list`](Self::set_list) alone.
    pub(super) list: Arc<ArcSwap<List>>,
    /// Its `watches` says whether the list has any.
    flags: Arc<DriverFlags>,
    pub(super) registered: Mutex<Registered>,
    pub(crate) latches: Arc<Latches>,
    /// Watchdogs of former peers that are still in the list. Order: relaxed, a bound.
    leaving: AtomicUsize,
}

#[derive(Debug, Default)]
pub(super) struct Registered {
    pub(super) last_id: u64,
    pub(super) running: Option<Running>,
    /// What the thread was last told to ask of the machine for.
    pub(super) wishes: Option<WatchdogWishes>,
    pub(super) closed: bool,
    /// The watchdog of the configuration's failsafe.
    pub(super) of_failsafe: Option<OfFailsafe>,
    /// The latches that are in use, one bit each, and the one that was given out last.
    latches: (u64, usize),
    /// The counts of former watchdogs.
    gone: Totals,
}

impl Registered {
    /// Gives out a latch. Those that are free are given out in turn, so that a latch is free for long: messages that wait
    /// behind its former owner would also wait behind the next one.
    pub(super) fn take_latch(&mut self, latches: &Arc<Latches>) -> Option<Latch> {
        let (in_use, last) = self.latches;
        let index = (1..=MAX_LATCHES)
            .map(|step| (last + step) % MAX_LATCHES)
            .find(|index| in_use >> index & 1 == 0)?;
        self.latches = (in_use | 1 << index, index);
        Some(Latch::new(Arc::clone(latches), index))
    }

    fn free_latch(&mut self, latch: &Latch, now: Steady) {
        latch.end(now.as_nanos());
        self.latches.0 &= !(1 << latch.index());
    }
}

impl Watchdogs {
    /// A registry whose events go to `tell`.
    pub(crate) fn new(clock: Clock, tell: Tell, flags: Arc<DriverFlags>) -> Self {
        Self {
            clock,
            tell,
            list: Arc::default(),
            flags,
            registered: Mutex::default(),
            latches: Arc::default(),
            leaving: AtomicUsize::new(0),
        }
    }

    pub(crate) fn watches(&self) -> Watches {
        Cache::new(Arc::clone(&self.list))
    }

    /// Whether a watchdog with a failsafe notices when messages of this type stop, or when all traffic does.
    pub(crate) fn guard(&self, message_type: MessageType) -> bool {
        let list = self.list();
        let is_of = |of: Option<Selector>| of.is_none_or(|selector| selector.message_type == message_type);
        // Those that a `deadline` alone asks for call nobody.
        let templates = list.each_peer.iter().filter(|of| !of.is_configured).map(|of| of.spec.selector);
        let watches = list.peers.iter().chain(&list.messages).map(|watch| watch.watched.selector);
        templates.chain(watches).any(is_of)
    }

    /// Replaces the list. Called with `registered` locked: so the flag is that of the latest list.
    pub(super) fn set_list(&self, list: Arc<List>) {
        let has_any = !list.is_empty();
        self.list.store(list);
        self.flags.watches.store(has_any, Ordering::Release);
    }

    pub(super) fn list(&self) -> Arc<List> {
        self.list.load_full()
    }

    /// Removes the watchdogs that `keep` does not accept, and keeps their counts. Returns how many.
    pub(super) fn retain(&self, now: Steady, keep: impl Fn(&Watch) -> bool) -> usize {
        let mut registered = lock(&self.registered);
        let (kept, others) = self.list.load().split(keep);
        others.iter().for_each(|watch| self.forget(&mut registered, watch, now));
        self.set_list(Arc::new(kept));
        drop(registered);
        others.len()
    }

    /// Keeps the counts of a watchdog that has left the list.
    fn forget(&self, registered: &mut Registered, watch: &Watch, now: Steady) {
        registered.gone.add(&watch.stats(now));
        if watch.leaves.load(Ordering::SeqCst) {
            self.leaving.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(latch) = watch.feed.latch() {
            registered.free_latch(latch, now);
        }
    }

    /// Ends a watchdog, or the watchdogs of each peer with this id. Returns whether there was one.
    pub(crate) fn remove(&self, id: WatchId, now: Steady) -> bool {
        let template = {
            let _registered = lock(&self.registered);
            let list = self.list.load();
            let mut kept = List::clone(&list);
            kept.each_peer.retain(|template| template.id != id);
            let template = list.each_peer.iter().find(|template| template.id == id).cloned();
            self.set_list(Arc::new(kept));
            template
        };
        let failsafe =
            self.list().iter().find(|watch| watch.id == id).map(|watch| Arc::clone(&watch.failsafe));
        let removed = self.retain(now, |watch| watch.id != id);
        let failsafe = failsafe.or_else(|| template.as_ref().map(|template| Arc::clone(&template.failsafe)));
        failsafe.inspect(|failsafe| failsafe.take_away());
        removed > 0 || template.is_some()
    }

    /// Resets a watchdog that latches, or all of them. Returns how many had tripped.
    pub(crate) fn reset(&self, id: Option<WatchId>, now: Steady) -> usize {
        let list = self.list.load();
        let watches = list.fixed().filter(|watch| id.is_none_or(|id| watch.id == id));
        watches.filter(|watch| watch.feed.reset(now.as_nanos())).count()
    }

    /// A peer's link is established: adds those of its watchdogs that this arms. The others are made when they are fed first.
    pub(crate) fn peer_came(&self, peer: PeerId, identity: Option<&str>) {
        if let Some(identity) = identity {
            self.came_with(peer, identity);
        }
        for template in self.list.load().each_peer.iter().filter(|template| template.spec.armed_at_connect) {
            self.add_of_peer(template, peer);
        }
    }

    /// Lets the watchdogs of an identity know its peer.
    #[cold]
    fn came_with(&self, peer: PeerId, identity: &str) {
        let _registered = lock(&self.registered);
        let list = self.list.load();
        for watch in list.fixed().filter(|watch| watch.watched.identity == Some(identity)) {
            watch.change_peers(|peers| {
                peers.retain(|known| *known != peer);
                peers.push(peer);
            });
        }
    }

    /// Lets the watchdogs of identities forget a peer, or all peers.
    #[cold]
    fn left_with(&self, peer: Option<PeerId>) {
        let _registered = lock(&self.registered);
        for watch in self.list.load().fixed() {
            watch.change_peers(|peers| peers.retain(|known| peer.is_some_and(|peer| *known != peer)));
        }
    }

    /// Adds the watchdog of a peer, or returns the one that is there. `None` if the interface was cleaned up.
    #[cold]
    pub(super) fn add_of_peer(&self, template: &Arc<Template>, peer: PeerId) -> Option<Arc<Watch>> {
        let registered = lock(&self.registered);
        let running = registered.running.as_ref()?;
        let list = self.list.load();
        let is_its = |watch: &&Arc<Watch>| watch.id == template.id && watch.watched.peer == Some(peer);
        if let Some(found) = list.of_peers[bucket_of(peer)].iter().find(is_its) {
            return Some(Arc::clone(found));
        }
        let watch = template.watch(peer, running, self.clock.steady(Instant::now()));
        let mut changed = List::clone(&list);
        changed.add_of_peer(Arc::clone(&watch), peer);
        self.set_list(Arc::new(changed));
        running.look_at_the_list();
        Some(watch)
    }

    /// A peer is gone (`None`: all peers). Its watchdogs from templates trip at once, and are removed.
    pub(crate) fn peer_left(&self, peer: Option<PeerId>, now: Steady) {
        if self.list.load().fixed().any(|watch| watch.of_identity.is_some()) {
            self.left_with(peer);
        }
        let buckets = peer.map_or(0..BUCKETS, |peer| bucket_of(peer)..bucket_of(peer) + 1);
        let list = self.list.load();
        let concerns = |watch: &Watch| peer.is_none_or(|peer| watch.watched.peer == Some(peer));
        let concerned = |bucket: usize| list.of_peers[bucket].iter().any(|watch| concerns(watch));
        buckets.filter(|&bucket| concerned(bucket)).for_each(|bucket| self.leave(bucket, &concerns, now));
    }

    /// Lets watchdogs of a bucket trip and leave.
    #[cold]
    fn leave(&self, bucket: usize, concerns: &dyn Fn(&Watch) -> bool, now: Steady) {
        let mut registered = lock(&self.registered);
        let list = self.list.load();
        let stays = |watch: &Arc<Watch>| {
            if !concerns(watch) || watch.leaves.load(Ordering::SeqCst) {
                return true;
            }
            if self.leaving.fetch_add(1, Ordering::Relaxed) >= MAX_LEAVING {
                self.leaving.fetch_sub(1, Ordering::Relaxed);
                return false;
            }
            watch.leaves.store(true, Ordering::SeqCst);
            !watch.has_left()
        };
        let (stay, leave): (Vec<_>, Vec<_>) = list.of_peers[bucket].iter().cloned().partition(stays);
        for watch in &leave {
            // Nobody trips it any more. Without this, a trip that is not told would not be counted either.
            registered.gone.trips += u64::from(!watch.has_left());
            self.forget(&mut registered, watch, now);
        }
        let mut changed = List::clone(&list);
        changed.of_peers[bucket] = Arc::new(stay);
        self.set_list(Arc::new(changed));
        if let Some(running) = &registered.running {
            running.look_at_the_list();
        }
    }

    /// Whether watchdogs of former peers are still in the list.
    pub(super) fn is_left(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) > 0
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
        {
            let _registered = lock(&self.registered);
            self.set_list(Arc::default());
        }
        list.iter().for_each(|watch| watch.failsafe.take_away());
        list.each_peer.iter().for_each(|template| template.failsafe.take_away());
    }
}

impl Template {
    pub(super) fn watch(&self, peer: PeerId, running: &Running, now: Steady) -> Arc<Watch> {
        let watched = Watched::new(self.spec.selector, Some(peer));
        let feed = Feed::new(self.rule, None, running.alarm());
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
