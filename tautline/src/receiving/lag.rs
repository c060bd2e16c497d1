//! Notices that a queue's reader is behind for good. The inbox and the backlogs of handlers each have one, behind their lock.
//!
//! A reader is behind for good when for [`LOOKS`] looks in a row (a second) its queue was never empty, and each look found
//! that the next message was older than [`FRESH`]. Such a reader never catches up: it acts on old messages for ever. A pause
//! that the reader makes up for is no such case, and neither is a queue that nobody reads.

use std::time::Duration;

/// The time between two looks of the driver.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// The looks in a row after which a reader counts as behind.
const LOOKS: u8 = 4;

/// A next message that is younger is in time: the queue of a fast stream may never be empty.
const FRESH: Duration = Duration::from_millis(20);

/// A reader that is behind, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    /// The messages that wait.
    pub(crate) waiting: usize,
    /// The age of the next message.
    pub(crate) age: Duration,
}

/// What was seen of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lag {
    /// Somebody has taken a message, or asked for one.
    is_read: bool,
    /// The queue was empty since the last look.
    was_empty: bool,
    /// The looks in a row that found the reader behind.
    looks: u8,
}

impl Lag {
    /// Records that a reader came, and how many messages it leaves.
    #[inline]
    pub(crate) fn came(&mut self, left: usize) {
        self.is_read = true;
        self.was_empty |= left == 0;
    }

    /// Looks at the queue, which holds so many messages. `age`: of the next one. Returns `Some` once, when the reader has
    /// become behind for good; then again only after it had caught up.
    pub(crate) fn look(&mut self, waiting: usize, age: impl FnOnce() -> Option<Duration>) -> Option<Behind> {
        let caught_up = std::mem::take(&mut self.was_empty) || waiting == 0 || !self.is_read;
        let age = if caught_up { None } else { age().filter(|age| *age >= FRESH) };
        let Some(age) = age else {
            self.looks = 0;
            return None;
        };
        let told = self.looks >= LOOKS;
        self.looks = self.looks.saturating_add(1).min(LOOKS);
        (!told && self.looks == LOOKS).then_some(Behind { waiting, age })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Option<Duration> = Some(Duration::from_millis(250));

    fn read() -> Lag {
        let mut lag = Lag::default();
        lag.came(5);
        lag
    }

    /// The looks of 20 that tell, with this age each time and `act` before each.
    fn told(mut lag: Lag, age: Option<Duration>, act: impl Fn(&mut Lag, usize)) -> Vec<usize> {
        let mut looks = 0..20;
        looks
            .by_ref()
            .filter(|&index| {
                act(&mut lag, index);
                lag.look(5, || age).is_some()
            })
            .collect()
    }

    #[test]
    fn a_reader_that_is_behind_for_a_second_is_told_once() {
        assert_eq!(told(read(), OLD, |lag, _| lag.came(5)), [3]);
        assert_eq!(told(read(), OLD, |_, _| {}), [3], "it has stopped reading");
    }

    #[test]
    fn a_reader_that_catches_up_is_told_again_the_next_time() {
        assert_eq!(told(read(), OLD, |lag, index| lag.came(usize::from(index != 5))), [3, 9]);
        assert_eq!(
            told(read(), OLD, |lag, index| lag.came(index % 3)),
            [] as [usize; 0],
            "it empties the queue"
        );
    }

    #[test]
    fn a_queue_of_young_messages_or_without_a_reader_is_not_told() {
        assert!(told(read(), Some(FRESH / 2), |_, _| {}).is_empty());
        assert!(told(Lag::default(), OLD, |_, _| {}).is_empty());
        assert_eq!(read().look(0, || OLD), None);
    }
}
