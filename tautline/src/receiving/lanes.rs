//! A queue with a lane for each priority. The inbox and the backlogs of handlers are made of it.
//!
//! It has neither a lock nor a bound: its owner has both. It decides which item is next, and which item gives way.

use std::collections::VecDeque;
use std::ops::Range;

use tautline_proto::Priority;

/// The number of lanes.
pub(crate) const LANES: usize = Priority::ALL.len();

/// Items in the order of priority, and of arrival within a priority.
///
/// An item that is taken out of the middle leaves a gap. The gap is removed when it comes to the front, or when there are
/// more gaps than items. So taking out costs a binary search, and moves nothing.
#[derive(Debug)]
// The length comes last, beside what follows in the driver: each turn asks for it, and needs nothing else if it is 0.
#[repr(C)]
pub(crate) struct Lanes<T> {
    /// From the lowest priority to the highest. Serials rise along each lane.
    lanes: [VecDeque<LaneSlot<T>>; LANES],
    /// The number of gaps among the items, and of items.
    gaps: usize,
    len: usize,
}

#[derive(Debug)]
struct LaneSlot<T> {
    serial: u64,
    item: Option<T>,
}

/// The number of gaps up to which the lanes are not compacted.
const FEW_GAPS: usize = 16;

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { lanes: Default::default(), len: 0, gaps: 0 }
    }
}

impl<T> Lanes<T> {
    /// The number of items.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The item that `pop` would take.
    pub(crate) fn first(&self) -> Option<&T> {
        self.lanes.iter().rev().find_map(|lane| lane.iter().find_map(|slot| slot.item.as_ref()))
    }

    /// Adds an item behind all others of its priority. Its serial is above theirs.
    pub(crate) fn push(&mut self, priority: Priority, serial: u64, item: T) {
        self.lanes[lane_of(priority)].push_back(LaneSlot { serial, item: Some(item) });
        self.len += 1;
    }

    /// Puts an item that was here before back to where it was.
    pub(crate) fn put_back(&mut self, priority: Priority, serial: u64, item: T) {
        let lane = &mut self.lanes[lane_of(priority)];
        let index = lane.partition_point(|other| other.serial < serial);
        lane.insert(index, LaneSlot { serial, item: Some(item) });
        self.len += 1;
    }

    /// Takes out the item with this priority and serial, if it is here.
    pub(crate) fn remove(&mut self, priority: Priority, serial: u64) -> Option<T> {
        let lane = &mut self.lanes[lane_of(priority)];
        let index = lane.binary_search_by_key(&serial, |slot| slot.serial).ok()?;
        let item = lane[index].item.take()?;
        self.leave_gap();
        Some(item)
    }

    /// Takes the oldest item of the highest priority.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.first_of((0..LANES).rev(), VecDeque::pop_front)
    }

    /// As `pop`, if the item is above `priority`.
    pub(crate) fn pop_above(&mut self, priority: Priority) -> Option<T> {
        self.first_of((lane_of(priority) + 1..LANES).rev(), VecDeque::pop_front)
    }

    /// Takes the first item, in the order of `pop`, that `wanted` accepts.
    ///
    /// Looks at every item before it.
    pub(crate) fn pop_where(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        for lane in self.lanes.iter_mut().rev() {
            let found = lane.iter().position(|slot| slot.item.as_ref().is_some_and(&wanted));
            let Some(index) = found else { continue };
            if index == 0 {
                self.len -= 1;
                return lane.pop_front()?.item;
            }
            let item = lane[index].item.take();
            self.leave_gap();
            return item;
        }
        None
    }

    /// Takes the newest or the oldest item of the lowest of these lanes that has one which `wanted` accepts.
    ///
    /// Looks at every item before it.
    pub(crate) fn evict(
        &mut self,
        lanes: Range<usize>,
        newest: bool,
        wanted: impl Fn(&T) -> bool,
    ) -> Option<T> {
        for lane in lanes {
            self.trim(lane);
            let lane = &mut self.lanes[lane];
            let fits = |slot: &LaneSlot<T>| slot.item.as_ref().is_some_and(&wanted);
            let found = if newest { lane.iter().rposition(fits) } else { lane.iter().position(fits) };
            let Some(index) = found else { continue };
            if index > 0 && index + 1 < lane.len() {
                let item = lane[index].item.take();
                self.leave_gap();
                return item;
            }
            self.len -= 1;
            return if index == 0 { lane.pop_front()?.item } else { lane.pop_back()?.item };
        }
        None
    }

    /// Removes the gaps at both ends of a lane.
    fn trim(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        let is_gap = |slot: Option<&LaneSlot<T>>| slot.is_some_and(|slot| slot.item.is_none());
        while is_gap(lane.front()) {
            lane.pop_front();
            self.gaps -= 1;
        }
        while is_gap(lane.back()) {
            lane.pop_back();
            self.gaps -= 1;
        }
    }

    /// Takes all items, in no particular order. The memory of the lanes goes with them.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        (self.len, self.gaps) = (0, 0);
        std::mem::take(&mut self.lanes).into_iter().flatten().filter_map(|slot| slot.item)
    }

    /// Returns the first item that `take` takes out of one of these lanes. Removes the gaps before it.
    fn first_of(
        &mut self,
        lanes: impl Iterator<Item = usize>,
        take: impl Fn(&mut VecDeque<LaneSlot<T>>) -> Option<LaneSlot<T>>,
    ) -> Option<T> {
        for lane in lanes {
            while let Some(slot) = take(&mut self.lanes[lane]) {
                if let Some(item) = slot.item {
                    self.len -= 1;
                    return Some(item);
                }
                self.gaps -= 1;
            }
        }
        None
    }

    /// Records an item that was taken out of the middle.
    fn leave_gap(&mut self) {
        self.len -= 1;
        self.gaps += 1;
        if self.gaps > FEW_GAPS.max(self.len) {
            self.lanes.iter_mut().for_each(|lane| lane.retain(|slot| slot.item.is_some()));
            self.gaps = 0;
        }
    }
}

/// The index of the lane of a priority. The wire numbers priorities from 1.
pub(crate) fn lane_of(priority: Priority) -> usize {
    usize::from(priority.to_wire() - Priority::Low.to_wire())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Critical, High, Low, Normal};

    fn lanes(items: &[(Priority, u32)]) -> Lanes<u32> {
        let mut lanes = Lanes::default();
        for &(priority, item) in items {
            lanes.push(priority, u64::from(item), item);
        }
        lanes
    }

    fn in_order(mut lanes: Lanes<u32>) -> Vec<u32> {
        let items: Vec<_> = std::iter::from_fn(|| lanes.pop()).collect();
        assert_eq!(lanes.len(), 0);
        items
    }

    #[test]
    fn higher_priorities_come_first_and_equal_ones_in_order_of_arrival() {
        let lanes = lanes(&[(Low, 1), (Critical, 2), (Normal, 3), (Critical, 4), (High, 5), (Low, 6)]);
        assert_eq!(lanes.len(), 6);
        assert_eq!(in_order(lanes), [2, 4, 5, 3, 1, 6]);
    }

    #[test]
    fn an_item_that_is_put_back_returns_to_its_position() {
        let mut lanes = lanes(&[(Low, 3), (Normal, 9)]);
        for item in [1, 4, 2] {
            lanes.put_back(Low, u64::from(item), item);
        }
        assert_eq!(lanes.len(), 5);
        assert_eq!(in_order(lanes), [9, 1, 2, 3, 4]);
    }

    #[test]
    fn pop_above_takes_only_a_higher_priority() {
        let mut lanes = lanes(&[(Low, 1), (Normal, 2), (High, 3)]);
        assert_eq!(lanes.pop_above(Critical), None);
        assert_eq!(lanes.pop_above(Normal), Some(3));
        assert_eq!(lanes.pop_above(Normal), None);
        assert_eq!(in_order(lanes), [2, 1]);
    }

    #[test]
    fn the_newest_item_of_the_lowest_lane_is_evicted_only_for_a_higher_priority() {
        let mut lanes = lanes(&[(Normal, 1), (Low, 2), (Low, 3)]);
        assert_eq!(lanes.evict(0..lane_of(Low), true, |_| true), None);
        assert_eq!(lanes.evict(0..lane_of(Critical), true, |_| true), Some(3));
        assert_eq!(lanes.evict(0..lane_of(Normal), true, |_| true), Some(2));
        assert_eq!(lanes.evict(0..lane_of(Normal), true, |_| true), None);
        assert_eq!(in_order(lanes), [1]);
    }

    #[test]
    fn the_oldest_item_of_the_lowest_lane_is_evicted_also_for_an_equal_priority() {
        let mut lanes = lanes(&[(High, 1), (Normal, 2), (Normal, 3)]);
        assert_eq!(lanes.evict(0..lane_of(Low) + 1, false, |_| true), None);
        assert_eq!(lanes.evict(0..lane_of(Normal) + 1, false, |_| true), Some(2));
        assert_eq!(lanes.evict(0..lane_of(Critical) + 1, false, |_| true), Some(3));
        assert_eq!(in_order(lanes), [1]);
    }

    #[test]
    fn pop_where_finds_an_item_behind_others() {
        let mut lanes = lanes(&[(Low, 1), (High, 2), (High, 3), (Low, 5)]);
        assert_eq!(lanes.pop_where(|item| item % 2 == 1), Some(3));
        assert_eq!(lanes.pop_where(|item| item % 2 == 1), Some(1));
        assert_eq!(lanes.pop_where(|&item| item > 9), None);
        assert_eq!(in_order(lanes), [2, 5]);
    }

    #[test]
    fn an_item_is_removed_from_the_middle_once() {
        let mut lanes = lanes(&[(Low, 1), (Low, 2), (High, 3), (Low, 4)]);
        assert_eq!(lanes.remove(Low, 2), Some(2));
        assert_eq!((lanes.remove(Low, 2), lanes.remove(Low, 3), lanes.remove(Low, 9)), (None, None, None));
        assert_eq!(lanes.remove(Low, 1), Some(1));
        assert_eq!(lanes.len(), 2);
        assert_eq!(lanes.evict(0..lane_of(Normal), true, |_| true), Some(4));
        assert_eq!(in_order(lanes), [3]);
    }

    #[test]
    fn the_number_of_gaps_is_bounded() {
        let mut lanes = Lanes::default();
        lanes.push(Low, 0, 0);
        for item in 1..10_000 {
            lanes.push(Low, item, item);
            assert_eq!(lanes.remove(Low, item), Some(item));
            assert!(lanes.lanes[0].len() <= FEW_GAPS + 2, "{}", lanes.lanes[0].len());
        }
        assert_eq!((lanes.pop(), lanes.pop(), lanes.gaps), (Some(0), None, 0));
    }

    #[test]
    fn take_all_empties_the_lanes() {
        let mut lanes = lanes(&[(Low, 1), (High, 2)]);
        assert_eq!(lanes.take_all().count(), 2);
        assert_eq!(lanes.len(), 0);
        assert_eq!(lanes.pop(), None);
    }
}
