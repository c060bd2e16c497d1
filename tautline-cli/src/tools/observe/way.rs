//! One direction of a link: its numbers, its counts, its sender's name and clock, and its incomplete messages.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tautline::{Drops, Timestamp, WallTime};
use tautline_proto::{SessionId, Verdict, Window};

use super::clock::SenderClock;
use super::moment;
use super::pieces::Pieces;
use crate::tools::latency::Latencies;

/// How many former sessions are remembered, whose late datagrams must not count as a new session.
const FORMER_SESSIONS: usize = 8;
/// How many delivery numbers are remembered: twice the window of the wire (docs/protocol.md §7.5).
const DELIVERIES: usize = 2 * 1024;

/// Where a datagram stands among those that passed in its direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// It has no number.
    #[default]
    Unnumbered,
    /// It is the next one, and so many before it have not passed.
    Next { missing: u64 },
    /// It passed after a later one.
    Late,
    /// It passed before.
    Duplicate,
    /// It is older than the window, or of a former session.
    Old,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Way {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
    /// Reliable messages that were seen before.
    pub(crate) again: u64,
    /// Datagrams that are encrypted.
    pub(crate) sealed: u64,
    /// Datagrams and messages that a receiver would drop.
    pub(crate) wrong: Drops,
    /// The ages of the messages that were not seen before.
    pub(crate) ages: Option<Box<Latencies>>,
    pub(super) session: Option<SessionId>,
    former: VecDeque<SessionId>,
    window: Option<Window>,
    /// What the sender calls itself in the handshake.
    pub(super) name: String,
    pub(super) clock: SenderClock,
    pub(super) pieces: Pieces,
    deliveries: BTreeSet<u64>,
    /// The newest time stamp on the classic wire.
    newest: Option<WallTime>,
}

impl Way {
    /// Returns how many numbers were lost, late and duplicate.
    pub(crate) fn counts(&self) -> tautline_proto::WindowCounts {
        self.window.as_ref().map(Window::counts).unwrap_or_default()
    }

    /// Returns how many numbers are missing now: they are not counted as lost yet.
    pub(crate) fn missing(&self) -> u64 {
        self.window.as_ref().map_or(0, Window::missing)
    }

    /// Returns the round trip between here and the sender.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.clock.round_trip
    }

    /// Takes the number of a native datagram. Returns the full number, and where the datagram stands.
    pub(super) fn take_number(&mut self, session: SessionId, low: u32, at: WallTime) -> (u64, Order) {
        if self.session != Some(session) {
            if self.former.contains(&session) {
                return (low.into(), Order::Old);
            }
            self.begin_session(session, low);
        }
        let window = self.window.get_or_insert_with(|| Window::new(low.into()));
        let number = window.expand(low).unwrap_or(low.into());
        (number, order(window, number, at))
    }

    /// Begins another session. The counts go on.
    fn begin_session(&mut self, session: SessionId, low: u32) {
        if let Some(former) = self.session.replace(session) {
            self.former.truncate(FORMER_SESSIONS - 1);
            self.former.push_front(former);
        }
        // The numbers of a session begin with 0. If the first was missed, the session may have begun long ago.
        let first = if low < 64 { 0 } else { low.into() };
        match &mut self.window {
            Some(window) => window.restart(first),
            None => self.window = Some(Window::new(first)),
        }
        self.deliveries.clear();
        self.pieces = Pieces::default();
    }

    /// Takes the number of a classic datagram. Returns the full number, and where it stands. docs/protocol.md §8.3
    pub(super) fn take_classic_number(&mut self, low: u32, stamp: Timestamp, at: WallTime) -> (u64, Order) {
        let window = self.window.get_or_insert_with(|| Window::new(low.into()));
        let stamp = stamp.wall();
        let is_newest = self.newest.is_some_and(|newest| stamp > newest);
        let mut number = window.expand(low).unwrap_or(low.into());
        let judged = window.judge(number);
        if is_newest && matches!(judged, Verdict::TooOld | Verdict::Duplicate | Verdict::Leap) {
            number = low.into();
            window.restart(number);
        }
        self.newest = self.newest.max(Some(stamp));
        (number, order(window, number, at))
    }

    /// Excuses the loss of a probe of the path's size.
    pub(super) fn excuse(&mut self, low: u32) {
        if let Some(window) = &mut self.window
            && let Some(number) = window.expand(low)
        {
            window.excuse(number);
        }
    }

    /// Whether a reliable message was seen before.
    pub(super) fn is_again(&mut self, low: u32) -> bool {
        let newest = self.deliveries.last().copied().unwrap_or(low.into());
        #[allow(clippy::cast_possible_truncation)] // serial number arithmetic on the low half
        let ahead = low.wrapping_sub(newest as u32).cast_signed();
        let Some(number) = newest.checked_add_signed(ahead.into()) else { return false };
        let is_new = self.deliveries.insert(number);
        while self.deliveries.len() > DELIVERIES {
            self.deliveries.pop_first();
        }
        self.again += u64::from(!is_new);
        !is_new
    }

    /// Counts a message that was not seen before.
    pub(super) fn count_message(&mut self, age: Option<Duration>) {
        self.messages += 1;
        if let Some(age) = age {
            self.ages.get_or_insert_with(|| Box::new(Latencies::new())).record(age);
        }
    }

    pub(super) fn expire(&mut self, now: WallTime) {
        if let Some(window) = &mut self.window {
            window.expire(moment(now));
        }
    }
}

fn order(window: &mut Window, number: u64, at: WallTime) -> Order {
    window.expire(moment(at));
    let next = window.next();
    match window.receive(number, moment(at)) {
        Verdict::New => Order::Next { missing: number.saturating_sub(next) },
        Verdict::Late => Order::Late,
        Verdict::Duplicate => Order::Duplicate,
        Verdict::TooOld | Verdict::Leap => Order::Old,
    }
}
