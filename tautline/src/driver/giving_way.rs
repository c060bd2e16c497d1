//! When the driver's thread leaves datagrams in the kernel, for a reader that is behind.
//!
//! If messages come faster than a reader takes them, the driver's thread would read them only to drop what does not fit into the
//! inbox. It would take the core and the inbox's lock from the reader, and decode what nobody gets. So it stops reading, and a
//! reader that has emptied the inbox leads, or wakes the driver's thread if it must not lead. The kernel drops the surplus, which
//! costs least.
//!
//! A reader that is slow by itself does not come to lead in time. For it the driver's thread still turns, but seldom: so the
//! newest messages are in the inbox, and not the oldest ones in the kernel.
//!
//! If there are handlers, the driver's thread always goes on reading: they wait for the same datagrams.

use std::time::Duration;

use tautline_proto::Instant as Steady;

use super::Turner;

/// A reader that has not come for this time has stopped reading. On a busy machine a thread waits so long for a core.
const STOPPED: Duration = Duration::from_millis(100);

/// How many bytes a turn reads for a slow reader: as many as one pack has.
const SELDOM: usize = 65_536;

#[derive(Debug)]
pub(super) struct GivingWay {
    /// The interface has a driver's thread.
    has_thread: bool,
    /// The last turn of the driver's thread gave way.
    gave: bool,
    /// A reader has led since.
    was_led: bool,
    /// Nobody has led since the last turn gave way: this one reads [`SELDOM`] bytes.
    reads_on: bool,
    /// When a reader was seen last.
    read_at: Option<Steady>,
}

impl GivingWay {
    pub(super) const fn new(has_thread: bool) -> Self {
        Self { has_thread, gave: false, was_led: false, reads_on: false, read_at: None }
    }
}

impl Turner {
    /// Turns once on a thread that waits for a message: reads no further once there is one. As
    /// [`turn_quietly`](Self::turn_quietly).
    pub(crate) fn lead(&mut self, wait: Option<Duration>) {
        self.leads = true;
        self.giving_way.was_led = true;
        self.turn_quietly(wait);
        self.leads = false;
    }

    /// Turns once on the driver's thread. As [`turn_quietly`](Self::turn_quietly).
    pub(crate) fn turn_on_thread(&mut self) -> usize {
        let GivingWay { gave, was_led, reads_on, .. } = &mut self.giving_way;
        *reads_on = std::mem::take(gave) && !*was_led;
        let count = self.turn_quietly(None);
        self.giving_way.reads_on = false;
        self.look_at_readers(self.clock.steady_now(), 0);
        count
    }

    /// Whether the last turn ended to give way to a reader.
    pub(crate) const fn gives_way(&self) -> bool {
        self.giving_way.gave
    }

    /// Looks whether the turn, which has read so many bytes, must read no further for a reader's sake.
    #[inline]
    pub(super) fn look_at_readers(&mut self, now: Steady, bytes: usize) -> bool {
        self.giving_way.has_thread && self.look_closely_at_readers(now, bytes)
    }

    #[inline(never)] // leaves the turn of a caller's own loop small
    fn look_closely_at_readers(&mut self, now: Steady, bytes: usize) -> bool {
        let Self { giving_way, shared, .. } = self;
        let GivingWay { gave, was_led, reads_on, read_at, .. } = giving_way;
        let reads_on = *reads_on && bytes < SELDOM;
        if !*gave && !reads_on && !shared.handlers.are_registered() {
            let (was_read, is_behind) = shared.inbox.readers();
            if was_read {
                *read_at = Some(now);
            }
            let is_there = read_at.is_some_and(|at| now.since(at) < STOPPED);
            if is_there && is_behind {
                (*gave, *was_led) = (true, false);
            }
        }
        *gave
    }
}
