//! The messages that wait in the inbox or in the backlog of a handler: [lanes](super::lanes) by priority, and for streams
//! with a bound (`history`) at most that many messages.
//!
//! Like the lanes, it has neither a lock nor a bound of the whole: its owner has them. It costs nothing for streams without a
//! bound. For the others it costs one look into a table, whatever the number of messages.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::receiving::lanes::{LANES, Lanes, lane_of};
use crate::receiving::shares::{Room, Shares, Waits};
use crate::sync::latches::{Admission, Latches};
use crate::sync::{Arc, AtomicU64, Ordering};
use tautline_proto::{DropReason, MessageType, PeerId, Priority};

/// The messages of one peer, type and channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stream {
    pub(crate) peer: PeerId,
    pub(crate) message_type: MessageType,
    pub(crate) channel: u16,
}

/// The bound of a stream: the newest `count` messages are kept, 1 or more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    pub(crate) stream: Stream,
    pub(crate) count: usize,
}

/// The limits of a message that waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// When its lifespan ends.
    pub(crate) expires: Option<Instant>,
    pub(crate) keep: Option<Keep>,
    /// The right of its sender, if its stream has an owner.
    pub(crate) right: Option<Right>,
    /// The latches that it has passed.
    pub(crate) admission: Admission,
    /// A handler has it too, or the caller of `turn_with`.
    pub(crate) is_handled: bool,
}

/// The right of a peer to send on a stream that has one owner at a time. It ends when another peer becomes the owner.
#[derive(Clone, Debug)]
pub(crate) struct Right {
    /// The number of the period of the stream's owner. Order: the driver, its only writer, stores it (release) before it offers
    /// the first message of the new owner, so whoever takes that message sees (acquire) that the former right is over.
    current: Arc<AtomicU64>,
    period: u64,
}

impl Right {
    pub(crate) const fn new(current: Arc<AtomicU64>, period: u64) -> Self {
        Self { current, period }
    }

    /// Whether another peer has become the owner.
    pub(crate) fn is_over(&self) -> bool {
        self.current.load(Ordering::Acquire) != self.period
    }

    /// Whether both are rights to the same stream.
    pub(crate) fn is_of_stream(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.current, &other.current)
    }
}

impl Limits {
    /// No limits.
    pub(crate) const NONE: Self =
        Self { expires: None, keep: None, right: None, admission: Admission::NONE, is_handled: false };

    /// Whether the lifespan of the message is over. Reads the clock only if it has a lifespan.
    #[inline]
    pub(crate) fn is_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= Instant::now())
    }

    /// Returns why the message must not be handed out any more.
    #[inline]
    pub(crate) fn spent(&self, latches: &Latches) -> Option<DropReason> {
        if self.right.as_ref().is_some_and(Right::is_over) {
            return Some(DropReason::NotOwner);
        }
        if !latches.admit(self.admission) {
            return Some(DropReason::Latched);
        }
        self.is_expired().then_some(DropReason::Expired)
    }
}

/// An item that waits, or that was taken out and may come back.
#[derive(Debug)]
pub(crate) struct WaitingEntry<T> {
    serial: u64,
    pub(crate) priority: Priority,
    pub(crate) limits: Limits,
    pub(crate) item: T,
}

/// One step of [`Waiting::make_room`].
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // matched at once; a box would be an allocation per message
pub(crate) enum Step<T> {
    /// There is room.
    Fits,
    /// This item has made room. More may have to.
    Displaced(T),
    /// The new item itself must be dropped.
    Refused,
}

/// The waiting items. Invariant: `shares` and `unhandled` count exactly the items in `lanes`, and `streams` has the serials of exactly the items in `lanes` whose stream has a bound.
#[derive(Debug)]
#[repr(C)] // as the lanes
pub(crate) struct Waiting<T> {
    streams: HashMap<Stream, Depths>,
    shares: Shares,
    /// How many items no handler has.
    unhandled: usize,
    /// Empty entries whose memory is reused: as many as streams waited at once so far.
    spare: Vec<Depths>,
    next_serial: u64,
    lanes: Lanes<WaitingEntry<T>>,
}

/// The serials of the waiting messages of a stream, by priority, the oldest first.
type Depths = [VecDeque<u64>; LANES];

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            lanes: Lanes::default(),
            streams: HashMap::new(),
            shares: Shares::default(),
            unhandled: 0,
            spare: Vec::new(),
            next_serial: 0,
        }
    }
}

impl<T: Waits> Waiting<T> {
    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// How many of them no handler has.
    pub(crate) const fn unhandled(&self) -> usize {
        self.unhandled
    }

    /// The item that `pop` would take.
    pub(crate) fn first(&self) -> Option<&T> {
        self.lanes.first().map(|entry| &entry.item)
    }

    /// Gives the item its serial in the order of arrival.
    pub(crate) fn enter(&mut self, priority: Priority, limits: Limits, item: T) -> WaitingEntry<T> {
        let serial = self.next_serial;
        self.next_serial += 1;
        WaitingEntry { serial, priority, limits, item }
    }

    /// Takes out the item that a new item of this priority replaces: the oldest of its stream, if the bound is reached. Never
    /// a more urgent item.
    pub(crate) fn supersede(&mut self, priority: Priority, limits: &Limits) -> Option<T> {
        let keep = limits.keep?;
        let depths = &self.streams.get(&keep.stream)?[..=lane_of(priority)];
        if depths.iter().map(VecDeque::len).sum::<usize>() < keep.count {
            return None;
        }
        let oldest = Priority::ALL
            .iter()
            .zip(depths)
            .filter_map(|(&priority, depth)| Some((*depth.front()?, priority)));
        let (serial, priority) = oldest.min()?;
        let entry = self.lanes.remove(priority, serial)?;
        self.forget(&entry);
        Some(entry.item)
    }

    /// Whether an item that was taken out is superseded: as many newer items of its stream wait as the bound allows.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn is_superseded(&self, entry: &WaitingEntry<T>) -> bool {
        let Some(keep) = entry.limits.keep else { return false };
        let Some(depths) = self.streams.get(&keep.stream) else { return false };
        let newer =
            |depth: &VecDeque<u64>| depth.len() - depth.partition_point(|&serial| serial < entry.serial);
        depths[lane_of(entry.priority)..].iter().map(newer).sum::<usize>() >= keep.count
    }

    /// Lets an item wait in its order: a new one, or one that waited before.
    pub(crate) fn put(&mut self, entry: WaitingEntry<T>) {
        let (serial, priority) = (entry.serial, entry.priority);
        self.shares.add(entry.item.peer(), entry.item.bytes());
        self.unhandled += usize::from(!entry.limits.is_handled);
        if let Some(keep) = entry.limits.keep {
            let spare = &mut self.spare;
            let depths = self.streams.entry(keep.stream).or_insert_with(|| spare.pop().unwrap_or_default());
            let depth = &mut depths[lane_of(priority)];
            depth.insert(depth.partition_point(|&other| other < serial), serial);
        }
        if serial + 1 == self.next_serial {
            self.lanes.push(priority, serial, entry);
        } else {
            self.lanes.put_back(priority, serial, entry);
        }
    }

    /// As [`Lanes::pop`].
    pub(crate) fn pop(&mut self) -> Option<WaitingEntry<T>> {
        let entry = self.lanes.pop();
        self.removed(entry)
    }

    /// As [`Lanes::pop_above`].
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn pop_above(&mut self, priority: Priority) -> Option<WaitingEntry<T>> {
        let entry = self.lanes.pop_above(priority);
        self.removed(entry)
    }

    /// As [`Lanes::pop_where`].
    pub(crate) fn pop_where(&mut self, wanted: impl Fn(&T, &Limits) -> bool) -> Option<WaitingEntry<T>> {
        let entry = self.lanes.pop_where(|entry| wanted(&entry.item, &entry.limits));
        self.removed(entry)
    }

    /// Makes room for one more item: of this priority and peer, with so many bytes. Call it until it is [`Fits`](Step::Fits) or
    /// [`Refused`](Step::Refused). `oldest`: the oldest items give way, else the newest.
    ///
    /// A peer that would take more than its share of the room displaces its own items only, up to the priority of the new one, or
    /// below it if the newest give way. Otherwise another peer takes more than its share, and loses its least urgent item, even if
    /// that is more urgent than the new one. ("Longest queue drop": Suter, Lakshman, Stiliadis and Choudhury, IEEE Journal on
    /// Selected Areas in Communications 17(6), 1999.)
    pub(crate) fn make_room(
        &mut self,
        priority: Priority,
        (peer, bytes): (PeerId, usize),
        room: Room,
        oldest: bool,
    ) -> Step<T> {
        let fits = self.len() < room.count && self.shares.bytes() + bytes <= room.bytes;
        if fits || self.len() == 0 {
            Step::Fits
        } else {
            self.displace(priority, (peer, bytes), room, oldest)
        }
    }

    #[cold]
    fn displace(
        &mut self,
        priority: Priority,
        (peer, bytes): (PeerId, usize),
        room: Room,
        oldest: bool,
    ) -> Step<T> {
        let (shares, parts) = (&self.shares, self.shares.peers_with(peer));
        let entry = if shares.is_over(peer, Room { count: 1, bytes }, room, parts) {
            let lanes = 0..lane_of(priority) + usize::from(oldest);
            self.lanes.evict(lanes, !oldest, |entry| entry.item.peer().slot() == peer.slot())
        } else {
            let is_over =
                |entry: &WaitingEntry<T>| shares.is_over(entry.item.peer(), Room::default(), room, parts);
            self.lanes.evict(0..LANES, !oldest, is_over)
        };
        self.removed(entry).map_or(Step::Refused, |entry| Step::Displaced(entry.item))
    }

    /// The bytes of all items together.
    pub(crate) const fn bytes(&self) -> usize {
        self.shares.bytes()
    }

    /// Takes all items, in no particular order.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.streams = HashMap::new();
        self.shares = Shares::default();
        self.unhandled = 0;
        self.lanes.take_all().map(|entry| entry.item)
    }

    fn removed(&mut self, entry: Option<WaitingEntry<T>>) -> Option<WaitingEntry<T>> {
        self.forget(entry.as_ref()?);
        entry
    }

    /// Removes an item that has left the lanes from its stream, and from the share of its peer.
    fn forget(&mut self, entry: &WaitingEntry<T>) {
        self.shares.remove(entry.item.peer(), entry.item.bytes());
        self.unhandled -= usize::from(!entry.limits.is_handled);
        let Some(keep) = entry.limits.keep else { return };
        let Some(depths) = self.streams.get_mut(&keep.stream) else { return };
        let depth = &mut depths[lane_of(entry.priority)];
        if let Ok(index) = depth.binary_search(&entry.serial) {
            // Usually the first or the last; in a backlog an item may wait behind others of its peer.
            depth.remove(index);
        }
        if depths.iter().all(VecDeque::is_empty)
            && let Some(empty) = self.streams.remove(&keep.stream)
        {
            self.spare.push(empty);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Critical, High, Low, Normal};

    fn limits(channel: u16, count: usize) -> Limits {
        let stream = Stream { peer: PeerId::none(), message_type: MessageType::Command, channel };
        Limits { keep: Some(Keep { stream, count }), ..Limits::default() }
    }

    /// Lets an item wait. Returns the item that it replaces.
    fn add(waiting: &mut Waiting<u32>, priority: Priority, limits: &Limits, item: u32) -> Option<u32> {
        let superseded = waiting.supersede(priority, limits);
        let entry = waiting.enter(priority, limits.clone(), item);
        waiting.put(entry);
        superseded
    }

    /// Takes the item that makes room in a full queue of one peer.
    fn evict(waiting: &mut Waiting<u32>, priority: Priority, newest: bool) -> Option<u32> {
        match waiting.displace(priority, (PeerId::none(), 1), Room::of(0), !newest) {
            Step::Displaced(item) => Some(item),
            _ => None,
        }
    }

    fn rest(waiting: &mut Waiting<u32>) -> Vec<u32> {
        let rest = std::iter::from_fn(|| waiting.pop()).map(|entry| entry.item).collect();
        assert!(waiting.streams.is_empty() && waiting.len() == 0, "{waiting:?}");
        rest
    }

    #[test]
    fn a_new_item_replaces_the_oldest_of_its_full_stream() {
        let mut waiting = Waiting::default();
        for (item, replaced) in [(1, None), (2, None), (3, Some(1)), (4, Some(2))] {
            assert_eq!(add(&mut waiting, Normal, &limits(7, 2), item), replaced);
        }
        assert_eq!(add(&mut waiting, Normal, &limits(8, 1), 5), None, "another stream");
        assert_eq!(add(&mut waiting, Normal, &Limits::default(), 6), None, "no bound");
        assert_eq!(rest(&mut waiting), [3, 4, 5, 6]);
    }

    #[test]
    fn a_more_urgent_item_is_never_replaced() {
        let mut waiting = Waiting::default();
        let one = limits(7, 1);
        assert_eq!(add(&mut waiting, Critical, &one, 1), None);
        assert_eq!(add(&mut waiting, Normal, &one, 2), None);
        assert_eq!(add(&mut waiting, Low, &one, 3), None);
        assert_eq!(add(&mut waiting, High, &one, 4), Some(2));
        assert_eq!(add(&mut waiting, Critical, &one, 5), Some(1));
        assert_eq!(rest(&mut waiting), [5, 4, 3]);
    }

    #[test]
    fn a_stream_has_room_again_whichever_way_its_items_leave() {
        let mut waiting = Waiting::default();
        let two = limits(7, 2);
        for step in 0..100 {
            let (first, second) = (step * 2, step * 2 + 1);
            assert_eq!(add(&mut waiting, Normal, &two, first), None);
            assert_eq!(add(&mut waiting, Low, &two, second), None);
            let (one, other) = match step % 4 {
                0 => (
                    waiting.pop_where(|&item, _| item == second).map(|w| w.item),
                    evict(&mut waiting, High, false),
                ),
                1 => (evict(&mut waiting, Critical, true), waiting.pop_above(Low).map(|w| w.item)),
                2 => (evict(&mut waiting, High, true), waiting.pop().map(|w| w.item)),
                _ => (evict(&mut waiting, Critical, false), waiting.pop_where(|_, _| true).map(|w| w.item)),
            };
            assert_eq!((one, other), (Some(second), Some(first)), "{step}");
            assert!(waiting.streams.is_empty(), "{step}");
        }
        assert_eq!(waiting.spare.len(), 1, "its memory is reused");
    }

    #[test]
    fn an_item_taken_out_is_superseded_if_newer_ones_fill_its_stream() {
        let mut waiting = Waiting::default();
        let one = limits(7, 1);
        add(&mut waiting, Normal, &one, 1);
        let taken = waiting.pop().expect("it waits");
        assert!(!waiting.is_superseded(&taken));
        add(&mut waiting, Low, &one, 2);
        assert!(!waiting.is_superseded(&taken), "a less urgent item does not supersede it");
        add(&mut waiting, Normal, &one, 3);
        assert!(waiting.is_superseded(&taken));
        waiting.put(taken);
        assert_eq!(rest(&mut waiting), [1, 3]);
    }

    /// The rules in their plainest form: looks at all items.
    #[derive(Default)]
    struct Model(Vec<(Priority, Limits, u32)>);

    impl Model {
        fn add(&mut self, priority: Priority, limits: Limits, item: u32) -> Option<u32> {
            let keep = limits.keep.filter(|keep| self.of(keep, Low, priority).count() >= keep.count);
            let superseded = keep.and_then(|keep| self.of(&keep, Low, priority).next());
            self.0.push((priority, limits, item));
            superseded.and_then(|item| self.take(|_, other| other == item))
        }

        /// The items of the stream with these priorities, the oldest first.
        fn of(&self, keep: &Keep, lowest: Priority, highest: Priority) -> impl Iterator<Item = u32> {
            let stream = keep.stream;
            let is_of = move |limits: &Limits| limits.keep.is_some_and(|other| other.stream == stream);
            let of = self
                .0
                .iter()
                .filter(move |(priority, limits, _)| (lowest..=highest).contains(priority) && is_of(limits));
            of.map(|(_, _, item)| *item)
        }

        /// Takes the first item that `wanted` accepts, in the order of priority and age.
        fn take(&mut self, wanted: impl Fn(Priority, u32) -> bool) -> Option<u32> {
            let found = self.0.iter().enumerate().filter(|(_, (priority, _, item))| wanted(*priority, *item));
            let (index, _) =
                found.min_by_key(|(index, (priority, _, _))| (std::cmp::Reverse(*priority), *index))?;
            Some(self.0.remove(index).2)
        }

        /// Takes the newest item of the lowest priority below `priority`, or the oldest up to it.
        fn evict(&mut self, priority: Priority, newest: bool) -> Option<u32> {
            let fits = |other: Priority| if newest { other < priority } else { other <= priority };
            let found = self.0.iter().enumerate().filter(|(_, (other, _, _))| fits(*other));
            let order = |index: usize| if newest { usize::MAX - index } else { index };
            let (index, _) = found.min_by_key(|(index, (other, _, _))| (*other, order(*index)))?;
            Some(self.0.remove(index).2)
        }
    }

    proptest::proptest! {
        #[test]
        fn the_queue_agrees_with_a_simple_model(
            steps in proptest::collection::vec((0..10_u8, 0..4_usize, 0..4_u16, 1..4_usize), 1..400)
        ) {
            let (mut waiting, mut model) = (Waiting::default(), Model::default());
            for (item, (step, priority, channel, count)) in (0..).zip(steps) {
                let priority = Priority::ALL[priority];
                // Each stream has one bound. The last channel has none.
                let limits = if channel == 3 { Limits::default() } else { limits(channel, usize::from(channel) + 1) };
                let value = |entry: Option<WaitingEntry<u32>>| entry.map(|entry| entry.item);
                let (got, right) = match step {
                    0..5 => (add(&mut waiting, priority, &limits, item), model.add(priority, limits, item)),
                    5 => (value(waiting.pop()), model.take(|_, _| true)),
                    6 => (value(waiting.pop_above(priority)), model.take(|other, _| other > priority)),
                    7 => (evict(&mut waiting, priority, true), model.evict(priority, true)),
                    8 => (evict(&mut waiting, priority, false), model.evict(priority, false)),
                    _ => {
                        let wanted = |item: u32| (item as usize).is_multiple_of(count + 1);
                        (value(waiting.pop_where(|&item, _| wanted(item))), model.take(|_, item| wanted(item)))
                    }
                };
                proptest::prop_assert_eq!(got, right);
                proptest::prop_assert_eq!(waiting.len(), model.0.len());
            }
            let left: Vec<_> = std::iter::from_fn(|| model.take(|_, _| true)).collect();
            proptest::prop_assert_eq!(rest(&mut waiting), left);
        }
    }
}
