//! One owner for each stream: the receiving side. docs/protocol.md §7.6.
//!
//! A stream with an owner takes the messages of one peer at a time. `accepted` and `sorting` ask about each message,
//! `sessions` passes claims and releases on, and `registry` says when a peer is gone. Nothing here reads a clock, and nothing
//! happens by time alone: an owner that was silent for too long keeps the stream until another peer wants it.
//!
//! All tables are ordered, so that the same inputs give the same outputs.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::outputs::Outputs;
use crate::endpoint::command::Command;
use crate::endpoint::event::Event;
use crate::endpoint::owner::{MAX_OWNED_STREAMS, OwnedStreams, OwnerChange, OwnerReason, Tenure};
use crate::message::StreamId;
use crate::peer::PeerId;
use crate::snapshot::saved;
use crate::time::Instant;
use crate::wire::native::{Ownership, OwnershipAct};

/// How many pairs of a stream and a peer that does not own it are remembered, so that each is told once for each owner. The
/// messages of further peers are dropped and counted, but neither end is told.
const MAX_TOLD: usize = 1024;

/// The shortest time between two notices to a peer about the same owner of a stream. A notice may be lost, so it is repeated while
/// the peer sends on.
const NOTICE_INTERVAL: Duration = Duration::from_millis(100);

/// A full table is not searched for room again within this time, so that a peer with many streams costs little.
const SEARCH_INTERVAL: Duration = Duration::from_millis(10);

/// The owners of the streams that have one.
#[derive(Debug)]
pub(super) struct Owners {
    rules: OwnedStreams,
    /// Whether the wire has notices.
    has_notices: bool,
    places: BTreeMap<StreamId, u16>,
    streams: Vec<OwnedStream>,
    /// Places in `streams` that no stream has.
    unused: Vec<u16>,
    /// The number of the last period.
    periods: u64,
    told: BTreeMap<(StreamId, PeerId), Told>,
    next_search: Instant,
    next_cleaning: Instant,
    /// Whether the datagram that is being read has caused no notice yet. At most one is sent for each datagram.
    may_notify: bool,
    /// When the datagram that is being read came, at the earliest; `None` if only the time of reading is known.
    came: Option<Instant>,
}

#[derive(Debug)]
struct OwnedStream {
    id: StreamId,
    silence: Duration,
    owner: Option<PeerId>,
    /// When the owner's last message was offered, or its claim came.
    heard: Instant,
    /// The number of the present period, or of the last.
    period: u64,
    /// The peer that has released the stream, and the number of the datagram that said so. Messages that it sent before, and that
    /// arrive only now, do not make it the owner again.
    released: Option<(PeerId, u64)>,
}

/// What a peer that does not own a stream was told.
#[derive(Debug)]
struct Told {
    /// The owner's period.
    period: u64,
    /// When to tell it again.
    notice_at: Instant,
}

/// The origin of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) peer: PeerId,
    /// The number of its datagram.
    pub(super) number: Option<u64>,
    pub(super) now: Instant,
}

/// What a message of one datagram is judged with.
#[derive(Debug)]
pub(super) struct Gate<'a> {
    pub(super) owners: &'a mut Owners,
    pub(super) outputs: &'a mut Outputs,
    pub(super) origin: Origin,
}

impl Gate<'_> {
    /// As [`Owners::admits`].
    #[inline]
    pub(super) fn admits(&mut self, stream: StreamId) -> bool {
        self.owners.admits(stream, self.origin, self.outputs)
    }

    /// As [`Owners::hold`].
    #[inline]
    pub(super) fn hold(&mut self, stream: StreamId) -> Option<Tenure> {
        self.owners.hold(stream, self.origin, self.outputs)
    }
}

impl OwnedStream {
    /// Returns whether this peer may send on the stream now. `came`: when its message came, at the earliest. If this end was held
    /// up itself, the owner's messages may still wait unread: they came since then.
    fn admits(&self, from: Origin, came: Instant) -> bool {
        match self.owner {
            Some(owner) => owner == from.peer || self.is_over(came),
            None => self
                .released
                .is_none_or(|(peer, number)| peer != from.peer || from.number.is_none_or(|its| its > number)),
        }
    }

    /// Returns whether the owner was silent for too long.
    fn is_over(&self, now: Instant) -> bool {
        now.since(self.heard) > self.silence
    }
}

impl Owners {
    /// Returns `None` if no stream has an owner.
    pub(super) fn new(rules: &OwnedStreams, has_notices: bool) -> Option<Self> {
        (!rules.is_empty()).then(|| Self {
            rules: rules.clone(),
            has_notices,
            places: BTreeMap::new(),
            streams: Vec::new(),
            unused: Vec::new(),
            periods: 0,
            told: BTreeMap::new(),
            next_search: Instant::default(),
            next_cleaning: Instant::default(),
            may_notify: has_notices,
            came: None,
        })
    }

    /// Notes when the next datagrams came, at the earliest.
    pub(super) fn came(&mut self, at: Instant) {
        self.came = Some(at);
    }

    /// Notes that the next datagram is handled.
    pub(super) fn begin_datagram(&mut self) {
        self.may_notify = self.has_notices;
    }

    /// Returns whether a message of this stream may pass. If not, tells both ends, once for each owner.
    #[inline]
    pub(super) fn admits(&mut self, stream: StreamId, from: Origin, outputs: &mut Outputs) -> bool {
        if self.rules.silence(stream).is_none() {
            return true;
        }
        match self.places.get(&stream) {
            Some(&place) => {
                let owned = &self.streams[usize::from(place)];
                owned.admits(from, self.came.unwrap_or(from.now)) || self.refuse(place, from, outputs)
            }
            None => self.make_room(from.now, outputs) || self.refuse_without_room(stream, from, outputs),
        }
    }

    #[cold]
    fn refuse(&mut self, place: u16, from: Origin, outputs: &mut Outputs) -> bool {
        let &OwnedStream { id: stream, owner, period, .. } = &self.streams[usize::from(place)];
        // Without an owner, the message was sent before its sender released the stream.
        if owner.is_some() {
            self.tell(Refused { stream, from, owner, period }, outputs);
        }
        false
    }

    #[cold]
    fn refuse_without_room(&mut self, stream: StreamId, from: Origin, outputs: &mut Outputs) -> bool {
        self.tell(Refused { stream, from, owner: None, period: 0 }, outputs);
        false
    }

    /// Notes that a message that was admitted is offered to the user. Its sender owns the stream from now on. Returns `None` for a
    /// stream without owners.
    #[inline]
    pub(super) fn hold(&mut self, stream: StreamId, from: Origin, outputs: &mut Outputs) -> Option<Tenure> {
        let silence = self.rules.silence(stream)?;
        let place = match self.places.get(&stream) {
            Some(&place) => place,
            None => self.add(stream, silence, from.now, outputs)?,
        };
        let owned = &mut self.streams[usize::from(place)];
        owned.heard = from.now;
        match owned.owner {
            Some(owner) if owner == from.peer => {}
            Some(_) => self.change(place, Some(from.peer), OwnerReason::Silent, outputs),
            None => self.change(place, Some(from.peer), OwnerReason::First, outputs),
        }
        Some(Tenure { place, period: self.streams[usize::from(place)].period })
    }

    /// Handles a claim. Returns the answer, and the owner's period.
    pub(super) fn claim(
        &mut self,
        stream: StreamId,
        peer: PeerId,
        now: Instant,
        outputs: &mut Outputs,
    ) -> (OwnershipAct, u64) {
        let Some(silence) = self.rules.silence(stream) else { return (OwnershipAct::Unowned, 0) };
        let place = self.places.get(&stream).copied();
        let Some(place) = place.or_else(|| self.add(stream, silence, now, outputs)) else {
            return (OwnershipAct::Refused, 0);
        };
        let owned = &mut self.streams[usize::from(place)];
        owned.heard = now;
        let before = owned.owner;
        if before != Some(peer) {
            self.change(place, Some(peer), OwnerReason::Claimed, outputs);
        }
        let period = self.streams[usize::from(place)].period;
        if let Some(before) = before.filter(|&before| before != peer && self.has_notices) {
            outputs.commands.push_back(notice(before, stream, period));
        }
        (OwnershipAct::Granted, period)
    }

    /// Handles a release that came in the datagram with this number. Returns the answer.
    pub(super) fn release(
        &mut self,
        stream: StreamId,
        peer: PeerId,
        number: u64,
        outputs: &mut Outputs,
    ) -> (OwnershipAct, u64) {
        if self.rules.silence(stream).is_none() {
            return (OwnershipAct::Unowned, 0);
        }
        if let Some(&place) = self.places.get(&stream) {
            let owner = self.streams[usize::from(place)].owner;
            if owner == Some(peer) {
                self.change(place, None, OwnerReason::Released, outputs);
            }
            if owner.is_none_or(|owner| owner == peer) {
                self.streams[usize::from(place)].released = Some((peer, number));
            }
        }
        (OwnershipAct::Released, 0)
    }

    /// Ends this period of a stream, unless it has ended.
    pub(super) fn free(&mut self, tenure: Tenure, outputs: &mut Outputs) {
        let owned = self.streams.get(usize::from(tenure.place));
        if owned.is_some_and(|owned| owned.period == tenure.period && owned.owner.is_some()) {
            self.change(tenure.place, None, OwnerReason::Freed, outputs);
        }
    }

    /// Notes that a peer, or a former life of it, is gone: it owns nothing any more.
    pub(super) fn forget(&mut self, peer: PeerId, outputs: &mut Outputs) {
        for place in 0..self.streams.len() {
            if self.streams[place].owner == Some(peer) {
                #[allow(clippy::cast_possible_truncation)] // below MAX_OWNED_STREAMS
                self.change(place as u16, None, OwnerReason::Gone, outputs);
            }
        }
        self.told.retain(|&(_, told), _| told != peer);
    }

    fn change(&mut self, place: u16, to: Option<PeerId>, reason: OwnerReason, outputs: &mut Outputs) {
        let owned = &mut self.streams[usize::from(place)];
        let from = core::mem::replace(&mut owned.owner, to);
        if to.is_some() {
            self.periods += 1;
            owned.period = self.periods;
        }
        owned.released = None;
        self.next_search = Instant::default();
        let tenure = Tenure { place, period: owned.period };
        let change = OwnerChange { stream: owned.id, from, to, reason, tenure };
        outputs.events.push_back(Event::OwnerChanged(change));
    }

    /// Adds a stream without an owner. Returns `None` if there is no room.
    #[cold]
    fn add(
        &mut self,
        stream: StreamId,
        silence: Duration,
        now: Instant,
        outputs: &mut Outputs,
    ) -> Option<u16> {
        if !self.make_room(now, outputs) {
            return None;
        }
        let owned = OwnedStream { id: stream, silence, owner: None, heard: now, period: 0, released: None };
        let place = if let Some(place) = self.unused.pop() {
            self.streams[usize::from(place)] = owned;
            place
        } else {
            self.streams.push(owned);
            u16::try_from(self.streams.len() - 1).expect("MAX_OWNED_STREAMS bounds the places")
        };
        self.places.insert(stream, place);
        Some(place)
    }

    /// Makes room for one more stream. Returns whether there is room.
    #[cold]
    fn make_room(&mut self, now: Instant, outputs: &mut Outputs) -> bool {
        if self.places.len() < MAX_OWNED_STREAMS {
            return true;
        }
        if now < self.next_search {
            return false;
        }
        let is_over = |owned: &OwnedStream| owned.owner.is_none() || owned.is_over(now);
        let Some(found) = self.streams.iter().position(is_over) else {
            self.next_search = now.plus(SEARCH_INTERVAL);
            return false;
        };
        #[allow(clippy::cast_possible_truncation)] // below MAX_OWNED_STREAMS
        let place = found as u16;
        if self.streams[found].owner.is_some() {
            self.change(place, None, OwnerReason::Silent, outputs);
        }
        self.places.remove(&self.streams[found].id);
        self.unused.push(place);
        true
    }

    /// Tells both ends that a message was refused: the user once for each owner, the sender now and again.
    fn tell(&mut self, refused: Refused, outputs: &mut Outputs) {
        let Refused { stream, from, owner, period } = refused;
        let key = (stream, from.peer);
        let knows = self.told.get(&key).filter(|told| told.period == period);
        if knows.is_some_and(|told| from.now < told.notice_at) {
            return;
        }
        if knows.is_none() {
            if !self.told.contains_key(&key) && !self.can_remember(from.now) {
                return;
            }
            let peer = from.peer;
            outputs.events.push_back(Event::NotOwner { peer, stream, owner });
        }
        let notifies = core::mem::take(&mut self.may_notify);
        if notifies {
            outputs.commands.push_back(notice(from.peer, stream, period));
        }
        // A notice that this datagram cannot cause any more goes with the next one.
        let wait = if notifies || !self.has_notices { NOTICE_INTERVAL } else { Duration::ZERO };
        self.told.insert(key, Told { period, notice_at: from.now.plus(wait) });
    }

    /// Returns whether one more refused peer can be remembered. A full table forgets what is about former owners.
    fn can_remember(&mut self, now: Instant) -> bool {
        if self.told.len() < MAX_TOLD {
            return true;
        }
        if now < self.next_cleaning {
            return false;
        }
        self.next_cleaning = now.plus(NOTICE_INTERVAL);
        let Self { told, places, streams, .. } = self;
        told.retain(|(stream, _), told| {
            places.get(stream).is_some_and(|&place| streams[usize::from(place)].period == told.period)
        });
        told.len() < MAX_TOLD
    }

    /// Checks that the tables agree with one another. For tests, because it walks all tables.
    ///
    /// # Errors
    ///
    /// The first rule that does not hold.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let is_placed = |(stream, &place): (&StreamId, &u16)| {
            self.streams.get(usize::from(place)).is_some_and(|owned| owned.id == *stream)
        };
        let rules = [
            ("places of owned streams", self.places.iter().all(is_placed)),
            ("unused places", self.places.len() + self.unused.len() == self.streams.len()),
            ("at most MAX_OWNED_STREAMS owned streams", self.streams.len() <= MAX_OWNED_STREAMS),
            ("at most MAX_TOLD refused peers", self.told.len() <= MAX_TOLD),
        ];
        rules.iter().find(|(_, holds)| !holds).map_or(Ok(()), |&(rule, _)| Err(rule))
    }
}

/// A message that was refused.
#[derive(Clone, Copy)]
struct Refused {
    stream: StreamId,
    from: Origin,
    /// `None` if there is no room for one more stream.
    owner: Option<PeerId>,
    period: u64,
}

/// Tells a peer that another peer owns the stream.
fn notice(peer: PeerId, stream: StreamId, period: u64) -> Command {
    let act = OwnershipAct::Denied;
    Command::Ownership(peer, Ownership { act, stream, number: 0, period: low_half(period) })
}

/// Returns the half of a period's number that travels.
#[allow(clippy::cast_possible_truncation)] // the low half travels
pub(super) const fn low_half(period: u64) -> u32 {
    period as u32
}

saved!(Owners {
    rules,
    has_notices,
    places,
    streams,
    unused,
    periods,
    told,
    next_search,
    next_cleaning,
    may_notify,
    came,
});
saved!(OwnedStream { id, silence, owner, heard, period, released });
saved!(Told { period, notice_at });
