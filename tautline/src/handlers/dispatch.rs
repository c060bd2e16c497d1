//! The driver's side of the handlers: from a message to its handler, and the time limits.

use crate::sync::{Arc, Mutex};
use crate::sync::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use super::Handlers;
use super::backlog::{Backlog, Job};
use super::handler::{Handler, InlineFn, Kind, Settings};
use super::stats::HandlerStats;
use super::task::CancelHandle;
use super::worker::Queue;
use crate::config::Selector;
use crate::sync::quietly::{DropQuietly, quietly};
use tautline_proto::Counter;

use crate::message::borrowed;
use crate::message::pool::Pool;
use crate::message::{Arrival, Message};
use crate::receiving::waiting::Limits;
use crate::sync::lock;
use tautline_proto::{DropReason, MessageRef, MessageType};

/// The number of message types.
const TYPES: usize = MessageType::ALL.len();

/// Who handles what, at one moment.
pub(super) struct Table<R> {
    by_type: [Routes<R>; TYPES],
}

/// The handlers of one type, sorted by channel; `None` (every channel) stands first.
type Routes<R> = Vec<(Option<u16>, Arc<Entry<R>>)>;

/// One registered handler.
pub(super) enum Entry<R> {
    Inline(Arc<Inline<R>>),
    Queued(Arc<Queue<R>>),
}

/// A handler that the driver calls itself.
pub(super) struct Inline<R> {
    /// Out of its place while a driver has it, so that no lock is held while it runs.
    call: Mutex<Option<DropQuietly<InlineFn<R>>>>,
    counts: Arc<InlineCounts>,
}

/// What happened to the messages of an inline handler.
#[derive(Default)]
pub(super) struct InlineCounts {
    /// These two have one writer: who has the closure. The lock that it is taken from orders one holder's writes before
    /// the next one's.
    handled: Counter,
    panicked: Counter,
    /// Dropped, because the handler was still running: it has no backlog.
    busy: AtomicU64,
}

/// The counts of a handler, which outlive it.
pub(super) enum Tally<R> {
    Inline(Arc<InlineCounts>),
    Queued(Arc<Backlog<R>>),
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self { by_type: Default::default() }
    }
}

impl<R> Clone for Table<R> {
    fn clone(&self) -> Self {
        Self { by_type: self.by_type.clone() }
    }
}

impl<R> Table<R> {
    /// Puts an entry in; hands out the one that it replaces.
    pub(super) fn insert(&mut self, selector: Selector, entry: Arc<Entry<R>>) -> Option<Arc<Entry<R>>> {
        let list = &mut self.by_type[index_of(selector.message_type)];
        match list.binary_search_by_key(&selector.channel, |(channel, _)| *channel) {
            Ok(index) => Some(std::mem::replace(&mut list[index].1, entry)),
            Err(index) => {
                list.insert(index, (selector.channel, entry));
                None
            }
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, selector: Selector) -> Option<Arc<Entry<R>>> {
        let list = &mut self.by_type[index_of(selector.message_type)];
        let index = list.binary_search_by_key(&selector.channel, |(channel, _)| *channel).ok()?;
        Some(list.remove(index).1)
    }

    /// The handler for such a message.
    fn find(&self, message_type: MessageType, channel: u16) -> Option<&Entry<R>> {
        let list = &self.by_type[index_of(message_type)];
        let (first, _) = list.first()?;
        let index = match list.binary_search_by_key(&Some(channel), |(channel, _)| *channel) {
            Ok(index) => index,
            Err(_) if first.is_none() => 0,
            Err(_) => return None,
        };
        Some(&list[index].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Selector, &Arc<Entry<R>>)> {
        MessageType::ALL.iter().zip(&self.by_type).flat_map(|(&message_type, list)| {
            list.iter().map(move |(channel, entry)| (Selector { message_type, channel: *channel }, entry))
        })
    }
}

/// Message types are numbered from 1 on the wire.
fn index_of(message_type: MessageType) -> usize {
    usize::from(message_type.to_wire() - 1)
}

impl<R: Send + 'static> Entry<R> {
    pub(super) fn new(handler: Handler<R>, defaults: Settings) -> Self {
        match handler.kind {
            Kind::Inline(call) => Self::Inline(Arc::new(Inline {
                call: Mutex::new(Some(DropQuietly::new(call))),
                counts: Arc::default(),
            })),
            Kind::Queued(work, wishes) => Self::Queued(Arc::new(Queue::new(work, wishes.or(defaults)))),
        }
    }
}

impl<R> Entry<R> {
    pub(super) fn tally(&self) -> Tally<R> {
        match self {
            Self::Inline(inline) => Tally::Inline(Arc::clone(&inline.counts)),
            Self::Queued(queue) => Tally::Queued(Arc::clone(queue.backlog())),
        }
    }

    pub(super) fn queue(&self) -> Option<&Arc<Queue<R>>> {
        match self {
            Self::Inline(_) => None,
            Self::Queued(queue) => Some(queue),
        }
    }

    /// Takes no more messages.
    pub(super) fn stop(&self) {
        if let Self::Queued(queue) = self {
            drop(queue.backlog().stop());
        }
    }
}

/// An inline handler whose closure a driver has taken out, to call it for one message after the other.
struct Held<R> {
    inline: Arc<Inline<R>>,
    call: Option<DropQuietly<InlineFn<R>>>,
}

impl<R> Held<R> {
    /// Puts the one that is held back, if any, and takes another.
    #[inline(never)] // seldom, where messages of one kind follow each other
    fn exchange<'a>(held: &'a mut Option<Self>, inline: &Arc<Inline<R>>) -> &'a mut Self {
        *held = None;
        held.insert(Self { call: lock(&inline.call).take(), inline: Arc::clone(inline) })
    }

    #[inline]
    fn call(&mut self, message: &borrowed::MessageRef<'_>, reply: &R) {
        let counts = &self.inline.counts;
        let Some(call) = &mut self.call else {
            // It disconnected and connected again, and the old connection's driver is still inside it.
            counts.busy.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match quietly(|| (*call)(message, reply)) {
            Ok(()) => counts.handled.add(1),
            Err(_) => counts.panicked.add(1),
        }
    }
}

impl<R> Drop for Held<R> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            *lock(&self.inline.call) = Some(call);
        }
    }
}

impl InlineCounts {
    fn stats(&self) -> HandlerStats {
        let mut stats = HandlerStats {
            handled: self.handled.value(),
            panicked: self.panicked.value(),
            ..HandlerStats::default()
        };
        stats.dropped.add(DropReason::BacklogFull, self.busy.load(Ordering::Relaxed));
        stats
    }
}

impl<R> Tally<R> {
    pub(super) fn stats(&self) -> HandlerStats {
        match self {
            Self::Inline(counts) => counts.stats(),
            Self::Queued(backlog) => backlog.stats(),
        }
    }

    pub(super) fn into_backlog(self) -> Option<Arc<Backlog<R>>> {
        match self {
            Self::Inline(_) => None,
            Self::Queued(backlog) => Some(backlog),
        }
    }

    /// Whether this is the only reference, so that nobody is left to count.
    pub(super) fn is_final(&self) -> bool {
        let users = match self {
            Self::Inline(counts) => Arc::strong_count(counts),
            Self::Queued(backlog) => Arc::strong_count(backlog),
        };
        // Paired with the release of whoever let go: what it counted before is seen after this.
        fence(Ordering::Acquire);
        users == 1
    }
}

impl<R> Clone for Tally<R> {
    fn clone(&self) -> Self {
        match self {
            Self::Inline(counts) => Self::Inline(Arc::clone(counts)),
            Self::Queued(backlog) => Self::Queued(Arc::clone(backlog)),
        }
    }
}

/// Calls the handlers; the driver has the only one.
pub(crate) struct Dispatcher<R> {
    handlers: Arc<Handlers<R>>,
    pool: Arc<Pool>,
    table: Arc<Table<R>>,
    /// The registry's generation that `table` is of; `None` before the first message.
    seen: Option<u64>,
    /// When a time limit may have passed.
    next_check: Option<Instant>,
    /// The shortest limit that `next_check` is early enough for, of messages since the last check.
    armed_for: Option<Duration>,
    /// The inline handler of the last message, until [`release`](Self::release).
    held: Option<Held<R>>,
    /// The reply handle of the last message, to be made into the next one's.
    reply: Option<R>,
}

impl<R: Send + 'static> Dispatcher<R> {
    /// The dispatcher of this registry, whose queued messages use buffers of `pool`. At most one at a time.
    pub(crate) fn new(handlers: Arc<Handlers<R>>, pool: Arc<Pool>) -> Self {
        // Some may still be at work on messages of the connection before.
        let next_check = Some(Instant::now());
        Self {
            handlers,
            pool,
            table: Arc::default(),
            seen: None,
            next_check,
            armed_for: None,
            held: None,
            reply: None,
        }
    }

    /// Gives the message to its handler; says whether there is one.
    ///
    /// `reply` is called only then: it makes the reply handle, out of an old one where there is one. A queued handler's
    /// message is copied; an inline handler has returned, or panicked, when this returns.
    #[inline]
    pub(crate) fn dispatch(
        &mut self,
        message: &MessageRef<'_>,
        arrival: &Arrival,
        limits: &Limits,
        reply: impl FnOnce(&mut Option<R>),
    ) -> bool {
        self.refresh();
        match self.table.find(message.message_type, message.channel) {
            None => return false,
            Some(Entry::Inline(inline)) => {
                reply(&mut self.reply);
                let handle = self.reply.as_ref().expect("just made");
                let held = match &mut self.held {
                    Some(held) if Arc::ptr_eq(&held.inline, inline) => held,
                    held => Held::exchange(held, inline),
                };
                held.call(&borrowed::MessageRef::new(message, arrival), handle);
            }
            Some(Entry::Queued(queue)) => {
                reply(&mut self.reply);
                let reply = self.reply.take().expect("just made");
                let copy = Message::copy(&self.pool, message, *arrival);
                queue.offer(message.priority, *limits, Job { message: copy, reply });
                let limit = queue.backlog().time_limit();
                self.arm(limit);
            }
        }
        true
    }

    /// Puts the inline handler of the last message back, if one is out: to be called before doing anything else than handing
    /// out messages.
    pub(crate) fn release(&mut self) {
        self.held = None;
    }

    /// Takes note of what was registered since the last call, and lets go of what was unregistered; per message,
    /// and once per turn.
    #[inline]
    pub(crate) fn refresh(&mut self) {
        // Acquire, paired with the registry's release: the table is at least as new as the generation.
        let generation = self.handlers.generation.load(Ordering::Acquire);
        if self.seen != Some(generation) {
            self.renew(generation);
        }
    }

    #[cold]
    fn renew(&mut self, generation: u64) {
        self.release();
        let table = Arc::clone(&lock(&self.handlers.registered).table);
        self.seen = Some(generation);
        // The last reference to an unregistered handler may go here, after the lock.
        self.table = table;
    }

    /// Has the limits checked in time for a message that may be started from now on.
    ///
    /// Reads the clock once between two checks, not per message: a message that starts later has later to go.
    fn arm(&mut self, limit: Duration) {
        if self.armed_for.is_some_and(|armed| armed <= limit) {
            return;
        }
        self.armed_for = Some(limit);
        let due = Instant::now().checked_add(limit);
        self.next_check = self.next_check.into_iter().chain(due).min();
    }

    /// Gives up what has taken longer than its handler's limit; once per turn.
    ///
    /// Costs one comparison as long as no limit can have passed.
    pub(crate) fn check_deadlines(&mut self, now: Instant) {
        if self.next_check.is_none_or(|due| due > now) {
            return;
        }
        let (queues, leaving) = self.handlers.timed();
        let present = queues.iter().map(|queue| queue.expire(now));
        let leaving = leaving.iter().map(|backlog| {
            let (overdue, next) = backlog.expire(now);
            overdue.iter().for_each(CancelHandle::cancel);
            next
        });
        self.next_check = present.chain(leaving).flatten().min();
        self.armed_for = None;
    }

    /// When `check_deadlines` is to be called next, at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_check
    }
}

impl<R> std::fmt::Debug for Dispatcher<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("next_check", &self.next_check).finish_non_exhaustive()
    }
}
