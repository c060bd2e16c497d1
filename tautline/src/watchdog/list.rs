//! The list of watchdogs at one moment: which of them a datagram or a message feeds.
//!
//! A change replaces the list, so that readers take no lock. The watchdogs of single peers are in buckets, so that a peer that
//! comes or goes changes one bucket, and a datagram looks at one bucket, however many peers there are.

use arc_swap::{ArcSwap, Cache};
use tautline_proto::silence::Rule;
use tautline_proto::{Instant as Steady, MessageRef, PeerId};

use super::failsafe::FailsafeSlot;
use super::notice::Sighting;
use super::spec::{ResetBy, Watchdog};
use super::table::Watchdogs;
use super::watch::Watch;
use crate::config::{Selector, WatchId};
use crate::sync::Arc;
use crate::sync::latches::Admission;

/// The number of buckets. A bucket of the most peers that the default allows has 16 of them.
pub(super) const BUCKETS: usize = 64;

/// Watchdogs that belong together.
pub(super) type Bucket = Arc<Vec<Arc<Watch>>>;

/// The driver's view of the list.
pub(crate) type Watches = Cache<Arc<ArcSwap<List>>, Arc<List>>;

/// The list.
#[derive(Clone, Debug)]
pub(crate) struct List {
    /// Watchdogs that any datagram feeds.
    pub(super) peers: Vec<Arc<Watch>>,
    /// Watchdogs that messages feed.
    pub(super) messages: Vec<Arc<Watch>>,
    /// The messages that reset latches, and whose.
    pub(super) resets: Vec<(ResetBy, Arc<Watch>)>,
    /// The templates of which each peer gets a watchdog.
    pub(super) each_peer: Vec<Arc<Template>>,
    /// The watchdogs from templates, by their peers.
    pub(super) of_peers: Vec<Bucket>,
}

/// The template of the watchdogs of each peer.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) id: WatchId,
    pub(super) spec: Watchdog,
    pub(super) rule: Rule,
    pub(super) failsafe: Arc<FailsafeSlot>,
    /// The configuration asked for it. The next configuration replaces it.
    pub(super) is_configured: bool,
}

/// A message that may be a sign of life.
#[derive(Clone, Copy)]
pub(crate) struct Sign<'a> {
    pub(crate) message: &'a MessageRef<'a>,
    pub(crate) peer: PeerId,
    /// When it is handed out. Read just before: this process may have been stopped since the message was read, and whether it
    /// comes in time must be judged by when it is acted on.
    pub(crate) now: Steady,
    /// When it was made, at the earliest.
    pub(crate) made: Steady,
}

impl Default for List {
    fn default() -> Self {
        let of_peers = vec![Bucket::default(); BUCKETS];
        Self { peers: Vec::new(), messages: Vec::new(), resets: Vec::new(), each_peer: Vec::new(), of_peers }
    }
}

/// The index of the bucket of a peer.
pub(super) const fn bucket_of(peer: PeerId) -> usize {
    peer.serial() as usize % BUCKETS
}

impl List {
    /// Whether any datagram matters.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.messages.is_empty() && self.each_peer.is_empty()
    }

    /// Whether messages are watched.
    #[inline]
    pub(crate) fn watches_messages(&self) -> bool {
        !(self.messages.is_empty() && self.each_peer.is_empty())
    }

    /// Whether these messages feed or reset a watchdog, so that their arrival must be known.
    pub(crate) fn watches(&self, message: &MessageRef<'_>) -> bool {
        let selects = |selector: Option<Selector>| {
            selector.is_some_and(|of| of.selects(message.message_type, message.channel))
        };
        self.messages.iter().any(|watch| selects(watch.watched.selector))
            || self.each_peer.iter().any(|template| selects(template.spec.selector))
            || self.resets.iter().any(|(by, _)| selects(Some(by.selector)))
    }

    /// Records a datagram.
    pub(crate) fn heard(&self, watchdogs: &Watchdogs, sighting: &Sighting) {
        for watch in self.peers.iter().filter(|watch| watch.is_of(sighting.peer)) {
            watch.feed.notice(sighting);
            watch.feed.sign(sighting.read, sighting.read);
        }
        for template in self.each_peer.iter().filter(|template| template.spec.selector.is_none()) {
            self.with_own(watchdogs, template, sighting.peer, |watch| {
                watch.feed.notice(sighting);
                watch.feed.sign(sighting.read, sighting.read);
            });
        }
    }

    /// Notices a message, before it is known whether it is handed out.
    pub(crate) fn saw(&self, message: &MessageRef<'_>, sighting: &Sighting) {
        let own = self.of_peers[bucket_of(sighting.peer)].iter();
        for watch in self.messages.iter().chain(own).filter(|watch| watch.is_fed_by(message, sighting.peer)) {
            watch.feed.notice(sighting);
        }
    }

    /// Whether a latch is closed for a message, or closes with it. A latch that watches one peer stops the messages of all.
    pub(crate) fn is_closed(&self, sign: &Sign<'_>) -> bool {
        let (now, made) = (sign.now.as_nanos(), sign.made.as_nanos());
        self.messages
            .iter()
            .filter(|watch| watch.watches(sign.message))
            .any(|watch| watch.feed.is_closed(now, made))
    }

    /// Records a message that is to be handed out. Returns the latches that it passed; `None` if one has tripped.
    pub(crate) fn took(&self, watchdogs: &Watchdogs, sign: &Sign<'_>) -> Option<Admission> {
        let Sign { message, peer, now, made } = *sign;
        self.reset_by(sign);
        if self.is_closed(sign) {
            return self.refuse(sign);
        }
        let (now, made) = (now.as_nanos(), made.as_nanos());
        let mut admission = Some(watchdogs.latches.begin());
        for watch in self.messages.iter().filter(|watch| watch.watches(message)) {
            let Some(latch) = watch.feed.latch() else { continue };
            // It may have tripped meanwhile.
            let passes =
                if watch.is_of(peer) { watch.feed.sign(now, made) } else { !watch.feed.is_closed(now, made) };
            admission = admission.filter(|_| passes).map(|admission| admission.with(latch));
        }
        admission?;
        let fed = self.messages.iter().filter(|watch| watch.is_fed_by(message, peer));
        fed.filter(|watch| watch.feed.latch().is_none()).for_each(|watch| _ = watch.feed.sign(now, made));
        for template in &self.each_peer {
            let selector = template.spec.selector;
            if selector.is_some_and(|of| of.selects(message.message_type, message.channel)) {
                self.with_own(watchdogs, template, peer, |watch| {
                    _ = watch.feed.sign(now, made);
                });
            }
        }
        admission
    }

    /// Tells the latches that are closed of a message. It is no sign of life for any other watchdog.
    #[cold]
    fn refuse(&self, sign: &Sign<'_>) -> Option<Admission> {
        let (now, made) = (sign.now.as_nanos(), sign.made.as_nanos());
        let fed = self.messages.iter().filter(|watch| watch.is_fed_by(sign.message, sign.peer));
        fed.map(|watch| &watch.feed)
            .filter(|feed| feed.is_closed(now, made))
            .for_each(|feed| _ = feed.sign(now, made));
        None
    }

    /// Resets the latches that this message resets.
    fn reset_by(&self, sign: &Sign<'_>) {
        let message = sign.message;
        // On a secured link the key says who it is; a key that many share says nothing.
        let by_key = message.identity.filter(|name| !name.is_empty());
        let from = by_key.or(message.source.as_deref());
        for (by, watch) in &self.resets {
            // What was made before the trip says nothing of it.
            let is_later = |tripped: u64| sign.made.as_nanos() >= tripped;
            if by.selector.selects(message.message_type, message.channel)
                && from == Some(by.source.as_str())
                && watch.feed.latched_at().is_some_and(is_later)
            {
                watch.feed.reset(sign.now.as_nanos());
            }
        }
    }

    /// Calls `act` with the watchdog of this peer, which is made now if there is none.
    fn with_own(&self, watchdogs: &Watchdogs, template: &Arc<Template>, peer: PeerId, act: impl Fn(&Watch)) {
        let bucket = &self.of_peers[bucket_of(peer)];
        match bucket.iter().find(|watch| watch.id == template.id && watch.watched.peer == Some(peer)) {
            Some(watch) => act(watch),
            None => _ = watchdogs.add_of_peer(template, peer).map(|watch| act(&watch)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Watch>> {
        self.fixed().chain(self.of_peers.iter().flat_map(|bucket| bucket.iter()))
    }

    /// The watchdogs that are not from templates.
    pub(super) fn fixed(&self) -> impl Iterator<Item = &Arc<Watch>> {
        self.peers.iter().chain(&self.messages)
    }

    pub(super) fn add(&mut self, watch: Arc<Watch>, reset_by: Option<ResetBy>) {
        self.resets.extend(reset_by.map(|by| (by, Arc::clone(&watch))));
        let list = if watch.watched.selector.is_none() { &mut self.peers } else { &mut self.messages };
        list.push(watch);
    }

    pub(super) fn add_of_peer(&mut self, watch: Arc<Watch>, peer: PeerId) {
        Arc::make_mut(&mut self.of_peers[bucket_of(peer)]).push(watch);
    }

    /// Splits the list into the watchdogs that `keep` accepts, and the others.
    pub(super) fn split(&self, keep: impl Fn(&Watch) -> bool) -> (Self, Vec<Arc<Watch>>) {
        let mut others = Vec::new();
        let mut sort = |watches: &[Arc<Watch>]| {
            let (kept, left): (Vec<_>, Vec<_>) = watches.iter().cloned().partition(|watch| keep(watch));
            others.extend(left);
            kept
        };
        let kept = Self {
            peers: sort(&self.peers),
            messages: sort(&self.messages),
            resets: self.resets.iter().filter(|(_, watch)| keep(watch)).cloned().collect(),
            each_peer: self.each_peer.clone(),
            of_peers: self.of_peers.iter().map(|bucket| Arc::new(sort(bucket))).collect(),
        };
        (kept, others)
    }
}
