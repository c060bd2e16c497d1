//! What the inbox's lock guards: the messages that wait, the receivers in line, and the counts.
//!
//! Nothing here wakes anybody or drops a message: the caller does, when it has released the lock.

use std::collections::VecDeque;
use std::task::Waker;

use super::ReceiveError;
use crate::config::InboxPolicy;
use crate::message::Message;
use crate::receiving::lag::Lag;
use crate::receiving::shares::Room;
use crate::receiving::waiting::{Limits, Step, Stream, Waiting, WaitingEntry};
use crate::sync::latches::Latches;
use crate::sync::{self, Arc};
use tautline_proto::{DropReason, Drops, PeerId, Priority};

/// The driver leaves datagrams in the kernel for a reader that has more than this part of the inbox before it. A pack of
/// small messages then still fits into the default inbox.
const ROOM_FOR_A_READ: usize = 4;

/// Once so many messages have come without a receiver, and more than there is room for, there will be none.
pub(super) const NOBODY_READS: usize = 10_000;

/// What the lock guards.
///
/// Invariants: while a receiver is in `line`, nothing is in `waiting`. Tickets rise along `handed`, and then along `line`.
/// `waiting` holds at most what `room` says, and those that receivers gave back.
#[derive(Debug, Default)]
pub(super) struct InboxState {
    pub(super) latches: Arc<Latches>,
    pub(super) open: bool,
    pub(super) room: Room,
    pub(super) policy: InboxPolicy,
    /// Counts the openings, so that a receiver of an earlier opening learns that it was closed.
    pub(super) opening: u64,
    pub(super) waiting: Waiting<Message>,
    /// The receivers that wait.
    pub(super) line: VecDeque<WaitingReceiver>,
    pub(super) next_ticket: u64,
    /// Messages for receivers that were woken and have not come yet.
    pub(super) handed: VecDeque<HandedMessage>,
    pub(super) taken: u64,
    pub(super) dropped: Drops,
    /// Drops that the refusing policy has not reported yet.
    pub(super) refused: u64,
    /// Calls of `receive` whose time-out passed. A call that does not wait is none.
    pub(super) timeouts: u64,
    /// The stream of a message that was superseded, until the driver asks.
    pub(super) superseded: Option<Stream>,
    pub(super) lag: Lag,
    /// Somebody has received, or tried to, since the interface was made.
    pub(super) has_reader: bool,
    /// Somebody has received, or tried to, since the driver asked.
    pub(super) was_read: bool,
    /// How many messages have come while there was no reader.
    pub(super) unread: usize,
}

/// A receiver that waits for a message.
#[derive(Debug)]
pub(super) struct WaitingReceiver {
    pub(super) ticket: u64,
    pub(super) wake: ReceiverWaker,
}

/// A message that is assigned to the holder of a ticket.
#[derive(Debug)]
pub(super) struct HandedMessage {
    pub(super) ticket: u64,
    pub(super) entry: WaitingEntry<Message>,
}

/// Wakes a receiver.
#[derive(Debug)]
pub(super) enum ReceiverWaker {
    Thread(sync::thread::Thread),
    Task(Waker),
}

impl ReceiverWaker {
    /// Never called under the lock: a task's waker is code of the user's executor.
    pub(super) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}

/// A place in the line of one opening.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinePlace {
    pub(super) opening: u64,
    pub(super) ticket: u64,
}

/// The result for a receiver that asks for a message, or that was woken.
#[allow(clippy::large_enum_variant)] // matched at once; a box would be an allocation per message
pub(super) enum Lookup {
    Answer(Result<Message, ReceiveError>),
    /// A message that is expired or superseded, or whose stream was stopped or has another owner; already counted. Drop it
    /// where no lock is held, and look again.
    Spent(Message),
    Nothing,
}

impl InboxState {
    /// Takes out the message that a new message of the same stream replaces, if there is one.
    #[inline]
    pub(super) fn supersede(&mut self, priority: Priority, limits: &Limits) -> Option<Message> {
        let superseded = self.waiting.supersede(priority, limits);
        if superseded.is_some() {
            self.count_superseded(limits);
        }
        superseded
    }

    fn count_superseded(&mut self, limits: &Limits) {
        self.dropped.add(DropReason::Superseded, 1);
        self.superseded = limits.keep.map(|keep| keep.stream);
    }

    /// Makes room for a message of this priority, from this peer and with so many bytes. Returns the messages that had to go, one
    /// and then more, or `None` if that message itself must be dropped.
    #[inline]
    pub(super) fn make_room(
        &mut self,
        priority: Priority,
        from: (PeerId, usize),
    ) -> Option<(Option<Message>, Vec<Message>)> {
        // A vector allocates nothing before the second message.
        let mut displaced = (None, Vec::new());
        loop {
            let oldest = self.policy == InboxPolicy::DropOldest;
            let step = self.waiting.make_room(priority, from, self.room, oldest);
            if matches!(step, Step::Fits) {
                return Some(displaced);
            }
            self.dropped.add(DropReason::InboxFull, 1);
            self.refused += u64::from(self.policy == InboxPolicy::Refuse);
            match step {
                Step::Displaced(message) if displaced.0.is_none() => displaced.0 = Some(message),
                Step::Displaced(message) => displaced.1.push(message),
                Step::Fits | Step::Refused => return None,
            }
        }
    }

    /// Assigns a new message to the first in line, or keeps it for the next receiver.
    #[must_use = "whoever was handed a message must be woken"]
    #[inline]
    pub(super) fn add(
        &mut self,
        priority: Priority,
        limits: Limits,
        message: Message,
    ) -> Option<ReceiverWaker> {
        let entry = self.waiting.enter(priority, limits, message);
        match self.line.pop_front() {
            Some(waiter) => Some(self.hand_to(waiter, entry)),
            None => {
                self.waiting.put(entry);
                None
            }
        }
    }

    /// Assigns a message that was given back to the next in line, or keeps it for the next receiver. Returns it, counted, if
    /// newer messages of its stream have come meanwhile.
    #[must_use = "whoever was handed a message must be woken"]
    pub(super) fn hand_on(
        &mut self,
        entry: WaitingEntry<Message>,
    ) -> (Option<ReceiverWaker>, Option<Message>) {
        match self.line.pop_front() {
            Some(waiter) => return (Some(self.hand_to(waiter, entry)), None),
            None if self.waiting.is_superseded(&entry) => {
                self.count_superseded(&entry.limits);
                return (None, Some(entry.item));
            }
            None => self.waiting.put(entry),
        }
        (None, None)
    }

    #[must_use = "whoever was handed a message must be woken"]
    fn hand_to(&mut self, waiter: WaitingReceiver, entry: WaitingEntry<Message>) -> ReceiverWaker {
        self.handed.push_back(HandedMessage { ticket: waiter.ticket, entry });
        waiter.wake
    }

    /// The result for a receiver that has just come.
    #[inline]
    pub(super) fn ready(&mut self) -> Lookup {
        if !self.open {
            return Lookup::Answer(Err(ReceiveError::NotConnected));
        }
        if self.room.count == 0 {
            return Lookup::Answer(Err(ReceiveError::InboxOff));
        }
        if self.refused > 0 {
            let refused = std::mem::take(&mut self.refused);
            return Lookup::Answer(Err(ReceiveError::Overrun { refused }));
        }
        self.next()
    }

    /// The next message that waits.
    #[inline]
    pub(super) fn next(&mut self) -> Lookup {
        let next = self.waiting.pop();
        self.lag.came(self.waiting.len());
        (self.has_reader, self.was_read) = (true, true);
        match next {
            Some(entry) => self.hand_out(entry),
            None => Lookup::Nothing,
        }
    }

    /// Whether it is of no use to keep copies of what handlers have: nobody has ever received, however many messages have come,
    /// and only such copies wait.
    #[inline]
    pub(super) fn is_of_no_use(&mut self, limits: &Limits) -> bool {
        if self.has_reader || !limits.is_handled || self.policy != InboxPolicy::DropOldest {
            return false;
        }
        self.unread += 1;
        self.unread > self.room.count.max(NOBODY_READS) && self.waiting.unhandled() == 0
    }

    /// Whether a reader has come since the last call, and whether it leaves so much that one more read might not find room.
    pub(super) fn readers(&mut self) -> (bool, bool) {
        (std::mem::take(&mut self.was_read), self.waiting.len() > self.room.count / ROOM_FOR_A_READ)
    }

    /// Whether a receiver in the line has its message, or will get none.
    pub(super) fn has_answer(&self, place: LinePlace) -> bool {
        !self.is_current(place) || self.handed.iter().any(|handed| handed.ticket == place.ticket)
    }

    /// The result for a receiver that was woken; `None` if it was woken in vain.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(super) fn collect(&mut self, place: LinePlace) -> Lookup {
        if !self.is_current(place) {
            return Lookup::Answer(Err(ReceiveError::Disconnected));
        }
        let Some(mut entry) = self.take_handed(place) else { return Lookup::Nothing };
        if self.waiting.is_superseded(&entry) {
            self.count_superseded(&entry.limits);
            return Lookup::Spent(entry.item);
        }
        if let Some(urgent) = self.waiting.pop_above(entry.priority) {
            // A message waited, so no receiver is in line for the other message.
            let later = std::mem::replace(&mut entry, urgent);
            self.waiting.put(later);
        }
        self.hand_out(entry)
    }

    /// Returns the message, unless its lifespan is over, or its stream was stopped or has another owner.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    fn hand_out(&mut self, entry: WaitingEntry<Message>) -> Lookup {
        if let Some(reason) = entry.limits.spent(&self.latches) {
            self.dropped.add(reason, 1);
            return Lookup::Spent(entry.item);
        }
        self.taken += 1;
        Lookup::Answer(Ok(entry.item))
    }

    /// The number of messages that were not collected yet.
    pub(super) fn untaken(&self) -> u64 {
        (self.waiting.len() + self.handed.len()) as u64
    }

    pub(super) fn join_line(&mut self, wake: ReceiverWaker) -> LinePlace {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.line.push_back(WaitingReceiver { ticket, wake });
        LinePlace { opening: self.opening, ticket }
    }

    pub(super) fn leave_line(&mut self, place: LinePlace) -> Option<WaitingReceiver> {
        let index = self.index_of(place)?;
        self.line.remove(index)
    }

    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(super) fn take_handed(&mut self, place: LinePlace) -> Option<WaitingEntry<Message>> {
        let index = self.handed.binary_search_by_key(&place.ticket, |handed| handed.ticket).ok()?;
        self.handed.remove(index).map(|handed| handed.entry)
    }

    /// The index of this place in the line.
    pub(super) fn index_of(&self, place: LinePlace) -> Option<usize> {
        self.line.binary_search_by_key(&place.ticket, |waiter| waiter.ticket).ok()
    }

    fn is_current(&self, place: LinePlace) -> bool {
        self.open && self.opening == place.opening
    }
}
