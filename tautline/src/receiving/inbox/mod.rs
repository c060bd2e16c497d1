//! The queue that `receive()` reads.
//!
//! The driver offers messages. Any number of threads and tasks receive them. Messages [wait](super::waiting) in lanes, one
//! for each priority. A receiver gets the oldest message of the highest priority whose lifespan is not over. If no message
//! waits, receivers stand in one line, blocking and async ones alike: a new message is assigned to the first, which is
//! woken to collect it. If that receiver gives up before, nothing is lost: its message goes to the next in line, or back to
//! where it would have waited. If a more urgent message has come meanwhile, the receiver collects that one.
//!
//! The lock is held for a bounded number of steps and one copy of a message. Wake-ups, and the drop of messages and wakers,
//! come after it is released. Lock order: the inbox, then the pool.

mod receive;
mod state;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::config::InboxPolicy;
use crate::message::pool::Pool;
use crate::message::{Arrival, Message};
use crate::receiving::lag::{Behind, Lag};
use crate::receiving::shares::Room;
use crate::receiving::waiting::{Limits, Stream};
use crate::sync::latches::Latches;
use crate::sync::{self, Arc, AtomicBool, Mutex, MutexGuard, Ordering, Pause, lock};
use tautline_proto::{Counter, DropReason, Drops, MessageRef};

pub use receive::Receive;
use state::{InboxState, LinePlace, Lookup, ReceiverWaker};

/// Why `receive` returned no message.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiveError {
    /// No message came in the given time.
    TimedOut,
    /// The interface is not connected.
    NotConnected,
    /// The interface was disconnected during the wait.
    Disconnected,
    /// The inbox was full and its policy is to refuse. Reported once; the next call goes on.
    Overrun {
        /// Messages dropped since the last report.
        refused: u64,
    },
    /// The interface has no inbox: its capacity is 0.
    InboxOff,
}

/// `main` and `unwrap` print the `Debug` of an error, and people read it. So it is the sentence.
impl fmt::Debug for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no message came in time"),
            Self::NotConnected => f.write_str("not connected: call connect() before receive() (or make a new interface, if this one was cleaned up)"),
            Self::Disconnected => f.write_str("the interface was disconnected while waiting for a message"),
            Self::Overrun { refused } => {
                write!(
                    f,
                    "{refused} messages were refused: the inbox was full; read faster, or raise `inbox_capacity` or `queue_bytes`"
                )
            }
            Self::InboxOff => f.write_str(
                "there is no inbox to receive from, because `inbox_capacity` is 0: raise it, or use handlers alone",
            ),
        }
    }
}

impl std::error::Error for ReceiveError {}

/// The counts of the messages that were offered to the inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxStats {
    /// Messages that `receive` returned.
    pub taken: u64,
    /// Messages dropped, by reason: `InboxFull`, `Superseded`, `Expired`, `NotOwner`, `Latched` or `Closed`.
    pub dropped: Drops,
    /// Messages that wait now.
    pub waiting: u64,
    /// The bytes of memory that they take.
    pub waiting_bytes: usize,
}

impl InboxStats {
    /// Messages that were offered, also while the connection was being ended.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.taken + self.dropped.total() + self.waiting
    }
}

/// The most messages that are taken under one hold of the lock.
const TAKEN_AT_ONCE: usize = 256;

/// The queue. It is closed at first; each connection opens it.
///
/// Nobody needs copies in the inbox of what handlers have, if nobody ever receives. So once [`NOBODY_READS`] messages have
/// come, such copies are made no more, and those that wait are dropped. From the first call of `receive` on, everything is
/// kept.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    pool: Arc<Pool>,
    /// Nobody has ever received, and no copies are kept of what handlers have. Order: relaxed; written under the lock, and a
    /// late look costs a copy, or a message that came as the first receiver did.
    is_unread: AtomicBool,
    /// Somebody has received, or tried to, since the driver asked. Order: relaxed; it decides how the driver waits.
    was_asked: AtomicBool,
    /// How many were left out. The driver is the only writer.
    left_out: Counter,
}

/// The first answer to a receiver that asks for a message.
#[allow(clippy::large_enum_variant)] // matched at once; a box would be an allocation per message
enum AskResult {
    Answer(Result<Message, ReceiveError>),
    Wait(LinePlace),
}

impl Inbox {
    /// Makes a closed inbox. Its messages use buffers of `pool`, and `latches` may stop them.
    pub(crate) fn new(pool: Arc<Pool>, latches: Arc<Latches>) -> Self {
        let state = InboxState { latches, ..InboxState::default() };
        let [is_unread, was_asked] = [const { AtomicBool::new(false) }; 2];
        Self { state: Mutex::new(state), pool, is_unread, was_asked, left_out: Counter::default() }
    }

    /// Opens the inbox for a connection, with room for so many messages and bytes. With 0 messages nothing is kept or counted.
    ///
    /// Does nothing while open.
    pub(crate) fn open(&self, count: usize, bytes: usize, policy: InboxPolicy) {
        let mut state = lock(&self.state);
        if !state.open {
            state.open = true;
            state.opening += 1;
            state.room = Room { count, bytes };
            state.policy = policy;
            (state.superseded, state.lag) = (None, Lag::default());
            state.unread = 0;
        }
    }

    /// Wakes every receiver with [`ReceiveError::Disconnected`], and drops the waiting messages, counted.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.open = false;
        self.is_unread.store(false, Ordering::Relaxed);
        state.refused = 0;
        let untaken = state.untaken();
        state.dropped.add(DropReason::Closed, untaken);
        let messages = (state.waiting.take_all(), std::mem::take(&mut state.handed));
        let line = std::mem::take(&mut state.line);
        drop(state);
        drop(messages);
        for waiter in line {
            // A waker that panics must not keep the others waiting, nor the connection from ending. The payload of the panic
            // is leaked: its destructor is users' code too.
            catch_unwind(AssertUnwindSafe(|| waiter.wake.wake())).unwrap_or_else(std::mem::forget);
        }
    }

    /// Keeps a copy of the message, or drops it or another message, as its limits and the policy require.
    ///
    /// Never waits for a receiver. Returns the stream of a message that was superseded, by this one or since the last call.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn offer(&self, message: &MessageRef<'_>, arrival: Arrival, limits: Limits) -> Option<Stream> {
        if limits.is_handled && self.is_unread.load(Ordering::Relaxed) {
            self.left_out.add(1);
            return None;
        }
        let mut state = lock(&self.state);
        if state.room.count == 0 {
            return None;
        }
        if !state.open {
            // Another thread disconnects at this moment.
            state.dropped.add(DropReason::Closed, 1);
            return None;
        }
        if state.is_of_no_use(&limits) {
            self.keep_no_copies(state);
            return None;
        }
        let superseded = state.supersede(message.priority, &limits);
        let stream = state.superseded.take();
        let Some(displaced) = state.make_room(message.priority, (arrival.peer, Message::size_of(message)))
        else {
            return stream;
        };
        let wake = state.add(message.priority, limits, Message::copy(&self.pool, message, arrival));
        drop(state);
        drop((superseded, displaced));
        if let Some(wake) = wake {
            wake.wake();
        }
        stream
    }

    /// From now on, no copies are kept of what handlers have. Drops those that wait, and counts one more.
    #[cold]
    fn keep_no_copies(&self, mut state: MutexGuard<'_, InboxState>) {
        self.is_unread.store(true, Ordering::Relaxed);
        let waiting = state.waiting.len() as u64;
        state.dropped.add(DropReason::InboxFull, waiting + 1);
        let messages = state.waiting.take_all();
        drop(state);
        drop(messages);
    }

    /// Whether a reader has come since the last call, and whether so much waits that one more read might not find room.
    pub(crate) fn readers(&self) -> (bool, bool) {
        lock(&self.state).readers()
    }

    /// Whether somebody has received, or tried to, since the last call.
    pub(crate) fn take_asked(&self) -> bool {
        self.was_asked.load(Ordering::Relaxed) && self.was_asked.swap(false, Ordering::Relaxed)
    }

    /// Whether no message waits.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).untaken() == 0
    }

    /// Looks whether the reader is behind for good.
    pub(crate) fn look(&self) -> Option<Behind> {
        let mut state = lock(&self.state);
        let InboxState { waiting, lag, .. } = &mut *state;
        lag.look(waiting.len(), || waiting.first().map(Message::age))
    }

    /// Counts a message as dropped, because the connection that it belongs to has ended.
    #[cold]
    pub(crate) fn miss(&self) {
        lock(&self.state).dropped.add(DropReason::Closed, 1);
    }

    /// Takes the next message. Waits at most for `timeout`; `None` waits as long as it takes.
    ///
    /// A zero time-out never waits, and never overtakes receivers that wait.
    #[cfg(test)]
    pub(crate) fn receive(&self, timeout: Option<Duration>) -> Result<Message, ReceiveError> {
        self.receive_with(timeout, &mut |deadline, _| sync::park_until(deadline))
    }

    /// As [`receive`](Self::receive). `pause` waits, and may do the driver's work meanwhile.
    pub(crate) fn receive_with(
        &self,
        timeout: Option<Duration>,
        pause: Pause<'_>,
    ) -> Result<Message, ReceiveError> {
        if timeout == Some(Duration::ZERO) {
            return self.poll();
        }
        let received = self.receive_within(timeout, pause);
        if matches!(received, Err(ReceiveError::TimedOut)) {
            self.count_timeout();
        }
        received
    }

    /// Counts a call of `receive` whose time-out has passed.
    #[cold]
    pub(crate) fn count_timeout(&self) {
        lock(&self.state).timeouts += 1;
    }

    /// Returns how many calls of `receive` ran into their time-out.
    pub(crate) fn timeouts(&self) -> u64 {
        lock(&self.state).timeouts
    }

    /// As [`receive_with`](Self::receive_with), but a time-out is not counted, and zero looks once.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn receive_within(
        &self,
        timeout: Option<Duration>,
        pause: Pause<'_>,
    ) -> Result<Message, ReceiveError> {
        let mut until = None;
        loop {
            let place = match self.ask(|| ReceiverWaker::Thread(sync::thread::current())) {
                AskResult::Answer(answer) => return answer,
                AskResult::Wait(place) => place,
            };
            // Not before: a message that is there needs no clock. A time-out beyond the end of the clock is none.
            let deadline =
                *until.get_or_insert_with(|| timeout.and_then(|timeout| Instant::now().checked_add(timeout)));
            if let Some(answer) = self.wait(place, deadline, pause) {
                return answer;
            }
        }
    }

    /// Takes up to `limit` messages that wait, the most urgent first. Returns how many.
    pub(crate) fn take_waiting(&self, messages: &mut Vec<Message>, limit: usize) -> usize {
        let before = messages.len();
        loop {
            let left = limit - (messages.len() - before);
            let mut state = lock(&self.state);
            for _ in 0..left.min(TAKEN_AT_ONCE) {
                match state.next() {
                    Lookup::Answer(Ok(message)) => messages.push(message),
                    Lookup::Spent(_) => {}
                    Lookup::Answer(Err(_)) | Lookup::Nothing => return messages.len() - before,
                }
            }
            if left <= TAKEN_AT_ONCE {
                return messages.len() - before;
            }
        }
    }

    /// Waits in the line. `None`: the message that it was woken for is expired or superseded, and its place is gone.
    fn wait(
        &self,
        place: LinePlace,
        deadline: Option<Instant>,
        pause: Pause<'_>,
    ) -> Option<Result<Message, ReceiveError>> {
        while pause(deadline, &mut || lock(&self.state).has_answer(place)) {
            let found = lock(&self.state).collect(place);
            match found {
                Lookup::Answer(answer) => return Some(answer),
                Lookup::Spent(_) => return None,
                Lookup::Nothing => {}
            }
        }
        let found = self.last_look(place);
        Some(match found {
            Lookup::Answer(answer) => answer,
            Lookup::Spent(_) => self.poll(),
            Lookup::Nothing => Err(ReceiveError::TimedOut),
        })
    }

    /// Leaves the line after the deadline. Returns a message that was assigned meanwhile.
    fn last_look(&self, place: LinePlace) -> Lookup {
        let mut state = lock(&self.state);
        let found = state.collect(place);
        if let Lookup::Nothing = found {
            state.leave_line(place);
        }
        found
    }

    /// Returns what is there without waiting.
    pub(crate) fn poll(&self) -> Result<Message, ReceiveError> {
        loop {
            let found = lock(&self.state).ready();
            self.has_reader();
            match found {
                Lookup::Answer(answer) => return answer,
                Lookup::Spent(_) => {}
                Lookup::Nothing => return Err(ReceiveError::TimedOut),
            }
        }
    }

    /// As [`receive`](Self::receive) without a time-out, for any executor.
    pub(crate) fn receive_async(self: &Arc<Self>) -> Receive {
        Receive::new(Arc::clone(self))
    }

    /// Returns the counts.
    pub(crate) fn stats(&self) -> InboxStats {
        let state = lock(&self.state);
        let mut dropped = state.dropped;
        dropped.add(DropReason::InboxFull, self.left_out.value());
        InboxStats {
            taken: state.taken,
            dropped,
            waiting: state.untaken(),
            waiting_bytes: state.waiting.bytes(),
        }
    }

    /// Returns an answer at once, or a place in the line.
    fn ask(&self, wake: impl FnOnce() -> ReceiverWaker) -> AskResult {
        loop {
            let mut state = lock(&self.state);
            self.has_reader();
            match state.ready() {
                Lookup::Answer(answer) => return AskResult::Answer(answer),
                Lookup::Nothing => return AskResult::Wait(state.join_line(wake())),
                Lookup::Spent(message) => {
                    drop(state);
                    drop(message);
                }
            }
        }
    }

    /// From now on, copies of everything are kept.
    #[inline]
    fn has_reader(&self) {
        if !self.was_asked.load(Ordering::Relaxed) {
            self.was_asked.store(true, Ordering::Relaxed);
        }
        if self.is_unread.load(Ordering::Relaxed) {
            self.is_unread.store(false, Ordering::Relaxed);
        }
    }

    /// Gives up a place. A message that was assigned to it goes to the next in line, or back.
    fn cancel(&self, place: LinePlace) {
        let mut state = lock(&self.state);
        let left = state.leave_line(place);
        let (wake, superseded) = state.take_handed(place).map_or((None, None), |entry| state.hand_on(entry));
        drop(state);
        drop((left, superseded));
        if let Some(wake) = wake {
            wake.wake();
        }
    }
}
