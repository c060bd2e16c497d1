//! The queue that `receive()` reads.
//!
//! The driver offers, any number of threads and tasks take. Messages wait in [lanes](crate::lanes), one
//! per priority; whoever takes gets the oldest of the highest. When nothing waits, takers stand in one line,
//! blocking and async ones alike: a message that arrives is handed to the first, who is woken to collect it.
//! A taker that gives up before that loses nothing: its message goes to the next in line, or back to where
//! it would have waited. And when something more urgent has come meanwhile, it collects that instead.
//!
//! The lock is held for a bounded number of steps and one copy of a message; wake-ups, and the drop of
//! messages and wakers, come after it is released. Lock order: the inbox, then the pool.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::lanes::Lanes;
use crate::message::{Arrival, Message};
use crate::pool::Pool;
use crate::sync::{self, Arc, Mutex, lock};
use crate::{DropReason, Drops, InboxPolicy, MessageRef, Priority};

/// Why `receive` returned no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Nothing came in the given time.
    TimedOut,
    /// The interface is not connected.
    NotConnected,
    /// The interface was disconnected during the wait.
    Closed,
    /// The inbox was full and its policy is to refuse; reported once, the next call goes on.
    Overrun {
        /// Messages dropped since the last report.
        refused: u64,
    },
    /// The interface has no inbox: its capacity is 0.
    InboxOff,
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no message came in time"),
            Self::NotConnected => f.write_str("not connected: call connect() before receive()"),
            Self::Closed => f.write_str("the interface was disconnected while waiting for a message"),
            Self::Overrun { refused } => {
                write!(
                    f,
                    "{refused} messages were refused: the inbox was full; read faster or raise `inbox_capacity`"
                )
            }
            Self::InboxOff => f.write_str("there is no inbox to read: `inbox_capacity` is 0"),
        }
    }
}

impl std::error::Error for ReceiveError {}

/// What happened to the messages offered to the inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxStats {
    /// Messages handed out by `receive`.
    pub taken: u64,
    /// Messages dropped, by reason: `InboxFull` or `Closed`.
    pub dropped: Drops,
    /// Messages waiting now.
    pub waiting: u64,
}

impl InboxStats {
    /// Messages offered while the inbox was open.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.taken + self.dropped.total() + self.waiting
    }
}

/// The queue. Made closed; the interface opens it for each connection.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    pool: Arc<Pool>,
}

/// What the lock guards.
///
/// Invariants: while anyone is in `line`, `lanes` is empty; tickets rise along `handed` and on along `line`.
/// `lanes` holds at most `capacity` messages, and those that takers handed back.
#[derive(Debug, Default)]
struct State {
    open: bool,
    capacity: usize,
    policy: InboxPolicy,
    /// Counts the openings, so that who waited in an earlier one learns that it was closed.
    opening: u64,
    lanes: Lanes<Kept>,
    next_serial: u64,
    /// Those who wait.
    line: VecDeque<Waiter>,
    next_ticket: u64,
    /// Messages for those who were woken and have not come yet.
    handed: VecDeque<Handed>,
    taken: u64,
    dropped: Drops,
    /// Drops that the refusing policy has yet to report.
    refused: u64,
}

/// A message that nobody has taken yet, and its place in the order of arrival.
#[derive(Debug)]
struct Kept {
    serial: u64,
    message: Message,
}

/// One who waits for a message.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    wake: Wake,
}

/// A message on its way to the holder of a ticket.
#[derive(Debug)]
struct Handed {
    ticket: u64,
    kept: Kept,
}

/// How to wake a waiter.
#[derive(Debug)]
enum Wake {
    Thread(sync::Thread),
    Task(Waker),
}

impl Wake {
    /// Never under the lock: a task's waker is code of the user's executor.
    fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}

/// A place in the line of one opening.
#[derive(Clone, Copy, Debug)]
struct Place {
    opening: u64,
    ticket: u64,
}

/// The first answer to one who asks for a message.
#[allow(clippy::large_enum_variant)] // matched at once; a box would be an allocation per message
enum Asked {
    Answer(Result<Message, ReceiveError>),
    Wait(Place),
}

impl Inbox {
    /// A closed inbox whose messages use buffers of `pool`.
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { state: Mutex::new(State::default()), pool }
    }

    /// Opens for a connection, for at most `capacity` messages; with 0 nothing is kept or counted.
    ///
    /// Does nothing while open.
    pub(crate) fn open(&self, capacity: usize, policy: InboxPolicy) {
        let mut state = lock(&self.state);
        if !state.open {
            state.open = true;
            state.opening += 1;
            state.capacity = capacity;
            state.policy = policy;
        }
    }

    /// Wakes everyone who waits with [`ReceiveError::Closed`] and drops what waits, counted.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.open = false;
        state.refused = 0;
        let waiting = state.waiting();
        state.dropped.add(DropReason::Closed, waiting);
        let messages = (state.lanes.take_all(), std::mem::take(&mut state.handed));
        let line = std::mem::take(&mut state.line);
        drop(state);
        drop(messages);
        line.into_iter().for_each(|waiter| waiter.wake.wake());
    }

    /// Keeps a copy of the message, or drops it or another one as the policy says.
    ///
    /// Never waits for a taker.
    pub(crate) fn offer(&self, message: &MessageRef<'_>, arrival: Arrival) {
        let mut state = lock(&self.state);
        if !state.open || state.capacity == 0 {
            return;
        }
        let Some(displaced) = state.make_room(message.priority) else { return };
        let wake = state.add(Message::copy(&self.pool, message, arrival));
        drop(state);
        drop(displaced);
        if let Some(wake) = wake {
            wake.wake();
        }
    }

    /// The next message; waits for at most `timeout`, with `None` for as long as it takes.
    ///
    /// A zero time-out never waits, and never overtakes those who do.
    pub(crate) fn receive(&self, timeout: Option<Duration>) -> Result<Message, ReceiveError> {
        let place = if timeout == Some(Duration::ZERO) {
            match lock(&self.state).ready() {
                Some(answer) => return answer,
                None => return Err(ReceiveError::TimedOut),
            }
        } else {
            match self.ask(|| Wake::Thread(sync::current())) {
                Asked::Answer(answer) => return answer,
                Asked::Wait(place) => place,
            }
        };
        // A time-out beyond the clock's end is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        while sync::park_until(deadline) {
            if let Some(answer) = lock(&self.state).collect(place) {
                return answer;
            }
        }
        self.last_look(place)
    }

    /// What the one who waited too long still gets.
    fn last_look(&self, place: Place) -> Result<Message, ReceiveError> {
        let mut state = lock(&self.state);
        state.collect(place).unwrap_or_else(|| {
            state.leave_line(place);
            Err(ReceiveError::TimedOut)
        })
    }

    /// As [`receive`](Self::receive) without a time-out, for any executor.
    pub(crate) fn receive_async(self: &Arc<Self>) -> Receive {
        Receive { inbox: Arc::clone(self), progress: Progress::New }
    }

    /// The counts now.
    pub(crate) fn stats(&self) -> InboxStats {
        let state = lock(&self.state);
        InboxStats { taken: state.taken, dropped: state.dropped, waiting: state.waiting() }
    }

    /// An answer at once, or a place in the line.
    fn ask(&self, wake: impl FnOnce() -> Wake) -> Asked {
        let mut state = lock(&self.state);
        match state.ready() {
            Some(answer) => Asked::Answer(answer),
            None => Asked::Wait(state.join_line(wake())),
        }
    }

    /// Gives up a place; what was handed to it goes to the next in line, or back.
    fn cancel(&self, place: Place) {
        let mut state = lock(&self.state);
        let left = state.leave_line(place);
        let wake = state.take_handed(place).and_then(|kept| state.hand_on(kept));
        drop(state);
        drop(left);
        if let Some(wake) = wake {
            wake.wake();
        }
    }
}

impl State {
    /// Makes room for one message of this priority: `None` when it is the one to be dropped.
    fn make_room(&mut self, priority: Priority) -> Option<Option<Kept>> {
        if self.lanes.len() < self.capacity {
            return Some(None);
        }
        self.dropped.add(DropReason::InboxFull, 1);
        let displaced = match self.policy {
            InboxPolicy::DropOldest => self.lanes.evict_oldest_up_to(priority),
            InboxPolicy::DropNewest => self.lanes.evict_newest_below(priority),
            InboxPolicy::Refuse => {
                self.refused += 1;
                self.lanes.evict_newest_below(priority)
            }
        };
        displaced.map(Some)
    }

    /// Hands a new message to the first in line, or keeps it for whoever comes.
    #[must_use = "whoever was handed a message must be woken"]
    fn add(&mut self, message: Message) -> Option<Wake> {
        let kept = Kept { serial: self.next_serial, message };
        self.next_serial += 1;
        match self.line.pop_front() {
            Some(waiter) => Some(self.hand_to(waiter, kept)),
            None => {
                self.lanes.push(kept.message.priority(), kept);
                None
            }
        }
    }

    /// Gives what somebody handed back to the next in line, or keeps it for whoever comes.
    #[must_use = "whoever was handed a message must be woken"]
    fn hand_on(&mut self, kept: Kept) -> Option<Wake> {
        match self.line.pop_front() {
            Some(waiter) => Some(self.hand_to(waiter, kept)),
            None => {
                self.put_back(kept);
                None
            }
        }
    }

    #[must_use = "whoever was handed a message must be woken"]
    fn hand_to(&mut self, waiter: Waiter, kept: Kept) -> Wake {
        self.handed.push_back(Handed { ticket: waiter.ticket, kept });
        waiter.wake
    }

    /// Keeps a message where it would have waited: several may come back, in any order.
    fn put_back(&mut self, kept: Kept) {
        self.lanes.put_back(kept.message.priority(), kept, |kept| kept.serial);
    }

    /// The answer to one who has just come, unless it is to wait.
    fn ready(&mut self) -> Option<Result<Message, ReceiveError>> {
        if !self.open {
            return Some(Err(ReceiveError::NotConnected));
        }
        if self.capacity == 0 {
            return Some(Err(ReceiveError::InboxOff));
        }
        if self.refused > 0 {
            return Some(Err(ReceiveError::Overrun { refused: std::mem::take(&mut self.refused) }));
        }
        let kept = self.lanes.pop()?;
        self.taken += 1;
        Some(Ok(kept.message))
    }

    /// The answer to one who was woken, unless it was for nothing.
    fn collect(&mut self, place: Place) -> Option<Result<Message, ReceiveError>> {
        if !self.is_current(place) {
            return Some(Err(ReceiveError::Closed));
        }
        let mut kept = self.take_handed(place)?;
        if let Some(urgent) = self.lanes.pop_above(kept.message.priority()) {
            // Something was in the lanes, so nobody is in line whom the other message could go to.
            let later = std::mem::replace(&mut kept, urgent);
            self.put_back(later);
        }
        self.taken += 1;
        Some(Ok(kept.message))
    }

    /// Messages that nobody has taken yet.
    fn waiting(&self) -> u64 {
        (self.lanes.len() + self.handed.len()) as u64
    }

    fn join_line(&mut self, wake: Wake) -> Place {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.line.push_back(Waiter { ticket, wake });
        Place { opening: self.opening, ticket }
    }

    fn leave_line(&mut self, place: Place) -> Option<Waiter> {
        let index = self.index_of(place)?;
        self.line.remove(index)
    }

    fn take_handed(&mut self, place: Place) -> Option<Kept> {
        let index = self.handed.binary_search_by_key(&place.ticket, |handed| handed.ticket).ok()?;
        self.handed.remove(index).map(|handed| handed.kept)
    }

    /// Where in the line this place is.
    fn index_of(&self, place: Place) -> Option<usize> {
        self.line.binary_search_by_key(&place.ticket, |waiter| waiter.ticket).ok()
    }

    fn is_current(&self, place: Place) -> bool {
        self.open && self.opening == place.opening
    }
}

/// Resolves to the next message; what `receive_async` returns.
///
/// Takes its place in the line when it is first polled. Dropping it gives the place up and loses nothing.
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct Receive {
    inbox: Arc<Inbox>,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    New,
    Waiting(Place),
    Done,
}

impl Receive {
    fn poll_waiting(&self, place: Place, waker: &Waker) -> Poll<Result<Message, ReceiveError>> {
        let mut wake = Wake::Task(waker.clone());
        let mut state = lock(&self.inbox.state);
        if let Some(answer) = state.collect(place) {
            return Poll::Ready(answer);
        }
        let index = state.index_of(place).expect("neither handed a message nor closed, so in the line");
        // The task may have moved to another waker; the old one is dropped after the lock is released.
        std::mem::swap(&mut state.line[index].wake, &mut wake);
        drop(state);
        Poll::Pending
    }
}

impl Future for Receive {
    type Output = Result<Message, ReceiveError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = match self.progress {
            Progress::New => {
                let waker = context.waker().clone();
                match self.inbox.ask(move || Wake::Task(waker)) {
                    Asked::Answer(answer) => Poll::Ready(answer),
                    Asked::Wait(place) => {
                        self.progress = Progress::Waiting(place);
                        Poll::Pending
                    }
                }
            }
            Progress::Waiting(place) => self.poll_waiting(place, context.waker()),
            Progress::Done => panic!("polled after it was ready"),
        };
        if poll.is_ready() {
            self.progress = Progress::Done;
        }
        poll
    }
}

impl Drop for Receive {
    fn drop(&mut self) {
        if let Progress::Waiting(place) = self.progress {
            self.inbox.cancel(place);
        }
    }
}
