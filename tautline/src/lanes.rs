//! A queue with a lane per priority: what waits in the inbox and in a handler's backlog.
//!
//! Not a lock, not a bound: its owner has both. It answers which item goes next and which one gives way.

use std::collections::VecDeque;

use crate::Priority;

/// The number of lanes.
const LANES: usize = Priority::ALL.len();

/// Items in order of priority, and in order of arrival within one.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    /// From the lowest priority to the highest.
    lanes: [VecDeque<T>; LANES],
    len: usize,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { lanes: Default::default(), len: 0 }
    }
}

impl<T> Lanes<T> {
    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds an item behind all others of its priority.
    pub(crate) fn push(&mut self, priority: Priority, item: T) {
        self.lanes[lane_of(priority)].push_back(item);
        self.len += 1;
    }

    /// Adds an item that was here before to where it was; `serial` rises along each lane.
    pub(crate) fn put_back(&mut self, priority: Priority, item: T, serial: impl Fn(&T) -> u64) {
        let lane = &mut self.lanes[lane_of(priority)];
        let index = lane.partition_point(|other| serial(other) < serial(&item));
        lane.insert(index, item);
        self.len += 1;
    }

    /// Takes the oldest item of the highest priority.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = self.lanes.iter_mut().rev().find_map(VecDeque::pop_front);
        self.len -= usize::from(item.is_some());
        item
    }

    /// As `pop`, if that is above `priority`.
    pub(crate) fn pop_above(&mut self, priority: Priority) -> Option<T> {
        let item = self.lanes[lane_of(priority) + 1..].iter_mut().rev().find_map(VecDeque::pop_front);
        self.len -= usize::from(item.is_some());
        item
    }

    /// Takes the first item, in the order of `pop`, for which `wanted` holds.
    ///
    /// Looks at every item before it.
    pub(crate) fn pop_where(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        for lane in self.lanes.iter_mut().rev() {
            if let Some(index) = lane.iter().position(&wanted) {
                self.len -= 1;
                return lane.remove(index);
            }
        }
        None
    }

    /// Takes the newest item of the lowest priority, if that is below `priority`.
    pub(crate) fn evict_newest_below(&mut self, priority: Priority) -> Option<T> {
        let item = self.lanes[..lane_of(priority)].iter_mut().find_map(VecDeque::pop_back);
        self.len -= usize::from(item.is_some());
        item
    }

    /// Takes the oldest item of the lowest priority, if that is not above `priority`.
    pub(crate) fn evict_oldest_up_to(&mut self, priority: Priority) -> Option<T> {
        let item = self.lanes[..=lane_of(priority)].iter_mut().find_map(VecDeque::pop_front);
        self.len -= usize::from(item.is_some());
        item
    }

    /// Takes everything, in no particular order; the memory of the lanes goes with it.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.len = 0;
        std::mem::take(&mut self.lanes).into_iter().flatten()
    }
}

/// The index of a priority's lane; priorities are numbered from 1 on the wire.
fn lane_of(priority: Priority) -> usize {
    usize::from(priority.to_wire() - Priority::Low.to_wire())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Critical, High, Low, Normal};

    fn lanes(items: &[(Priority, u32)]) -> Lanes<u32> {
        let mut lanes = Lanes::default();
        for &(priority, item) in items {
            lanes.push(priority, item);
        }
        lanes
    }

    fn in_order(mut lanes: Lanes<u32>) -> Vec<u32> {
        let items: Vec<_> = std::iter::from_fn(|| lanes.pop()).collect();
        assert_eq!(lanes.len(), 0);
        items
    }

    #[test]
    fn higher_priorities_go_first_and_equals_in_order_of_arrival() {
        let lanes = lanes(&[(Low, 1), (Critical, 2), (Normal, 3), (Critical, 4), (High, 5), (Low, 6)]);
        assert_eq!(lanes.len(), 6);
        assert_eq!(in_order(lanes), [2, 4, 5, 3, 1, 6]);
    }

    #[test]
    fn an_item_that_comes_back_goes_to_where_it_was() {
        let mut lanes = lanes(&[(Low, 3), (Normal, 9)]);
        for item in [1, 4, 2] {
            lanes.put_back(Low, item, |&item| u64::from(item));
        }
        assert_eq!(lanes.len(), 5);
        assert_eq!(in_order(lanes), [9, 1, 2, 3, 4]);
    }

    #[test]
    fn only_something_higher_is_above() {
        let mut lanes = lanes(&[(Low, 1), (Normal, 2), (High, 3)]);
        assert_eq!(lanes.pop_above(Critical), None);
        assert_eq!(lanes.pop_above(Normal), Some(3));
        assert_eq!(lanes.pop_above(Normal), None);
        assert_eq!(in_order(lanes), [2, 1]);
    }

    #[test]
    fn the_newest_of_the_lowest_lane_gives_way_to_something_higher_only() {
        let mut lanes = lanes(&[(Normal, 1), (Low, 2), (Low, 3)]);
        assert_eq!(lanes.evict_newest_below(Low), None);
        assert_eq!(lanes.evict_newest_below(Critical), Some(3));
        assert_eq!(lanes.evict_newest_below(Normal), Some(2));
        assert_eq!(lanes.evict_newest_below(Normal), None);
        assert_eq!(in_order(lanes), [1]);
    }

    #[test]
    fn the_oldest_of_the_lowest_lane_gives_way_to_its_equals_too() {
        let mut lanes = lanes(&[(High, 1), (Normal, 2), (Normal, 3)]);
        assert_eq!(lanes.evict_oldest_up_to(Low), None);
        assert_eq!(lanes.evict_oldest_up_to(Normal), Some(2));
        assert_eq!(lanes.evict_oldest_up_to(Critical), Some(3));
        assert_eq!(in_order(lanes), [1]);
    }

    #[test]
    fn a_wanted_item_is_found_behind_others() {
        let mut lanes = lanes(&[(Low, 1), (High, 2), (High, 3), (Low, 5)]);
        assert_eq!(lanes.pop_where(|item| item % 2 == 1), Some(3));
        assert_eq!(lanes.pop_where(|item| item % 2 == 1), Some(1));
        assert_eq!(lanes.pop_where(|&item| item > 9), None);
        assert_eq!(in_order(lanes), [2, 5]);
    }

    #[test]
    fn taking_all_leaves_nothing() {
        let mut lanes = lanes(&[(Low, 1), (High, 2)]);
        assert_eq!(lanes.take_all().count(), 2);
        assert_eq!(lanes.len(), 0);
        assert_eq!(lanes.pop(), None);
    }
}
