//! The dispatcher: the driver uses it to find the handler of a message, and to check the time limits of handlers.

use crate::sync::{Arc, Mutex};
use crate::sync::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use super::Handlers;
use super::backlog::{HandlerBacklog, HandlerJob};
use super::handler::{Handler, HandlerKind, HandlerSettings, InlineFn};
use super::stats::HandlerStats;
use super::task::CancelHandle;
use super::worker::HandlerQueue;
use crate::config::Selector;
use crate::sync::driver_flags::DriverFlags;
use crate::sync::latches::Latches;
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

/// The registered handlers, by message type and channel. A table never changes: each change makes a new table.
pub(super) struct HandlerTable<R> {
    by_type: [Routes<R>; TYPES],
}

/// The handlers of one type, sorted by channel. `None` (every channel) is first.
type Routes<R> = Vec<(Option<u16>, RegisteredHandler<R>)>;

/// One registered handler. Clones are the same handler.
pub(super) enum RegisteredHandler<R> {
    Inline(Arc<InlineHandler<R>>),
    Queued(Arc<HandlerQueue<R>>),
}

/// A handler that the driver calls itself.
pub(super) struct InlineHandler<R> {
    /// `None` while a driver has the closure, so that no lock is held while it runs.
    call: Mutex<Option<DropQuietly<InlineFn<R>>>>,
    counts: Arc<InlineCounts>,
}

/// What happened to the messages of an inline handler.
#[derive(Default)]
pub(super) struct InlineCounts {
    /// `handled` and `panicked` have one writer at a time: the driver that has the closure. The lock of the closure
    /// orders the writes of one driver before the writes of the next driver.
    handled: Counter,
    panicked: Counter,
    /// Messages that were dropped because the handler was running: an inline handler has no backlog.
    busy: AtomicU64,
}

/// The counts of a handler. They outlive the handler.
pub(super) enum HandlerCounts<R> {
    Inline(Arc<InlineCounts>),
    Queued(Arc<HandlerBacklog<R>>),
}

impl<R> Default for HandlerTable<R> {
    fn default() -> Self {
        Self { by_type: Default::default() }
    }
}

impl<R> Clone for HandlerTable<R> {
    fn clone(&self) -> Self {
        Self { by_type: self.by_type.clone() }
    }
}

impl<R> HandlerTable<R> {
    /// Adds an entry. Returns the entry that it replaces.
    pub(super) fn insert(
        &mut self,
        selector: Selector,
        entry: RegisteredHandler<R>,
    ) -> Option<RegisteredHandler<R>> {
        let list = &mut self.by_type[index_of(selector.message_type)];
        match list.binary_search_by_key(&selector.channel, |(channel, _)| *channel) {
            Ok(index) => Some(std::mem::replace(&mut list[index].1, entry)),
            Err(index) => {
                list.insert(index, (selector.channel, entry));
                None
            }
        }
    }

    /// Removes an entry and returns it.
    pub(super) fn remove(&mut self, selector: Selector) -> Option<RegisteredHandler<R>> {
        let list = &mut self.by_type[index_of(selector.message_type)];
        let index = list.binary_search_by_key(&selector.channel, |(channel, _)| *channel).ok()?;
        Some(list.remove(index).1)
    }

    /// Finds the handler for a message of this type and channel.
    fn find(&self, message_type: MessageType, channel: u16) -> Option<&RegisteredHandler<R>> {
        let list = &self.by_type[index_of(message_type)];
        let (first, _) = list.first()?;
        let index = match list.binary_search_by_key(&Some(channel), |(channel, _)| *channel) {
            Ok(index) => index,
            Err(_) if first.is_none() => 0,
            Err(_) => return None,
        };
        Some(&list[index].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Selector, &RegisteredHandler<R>)> {
        MessageType::ALL.iter().zip(&self.by_type).flat_map(|(&message_type, list)| {
            list.iter().map(move |(channel, entry)| (Selector { message_type, channel: *channel }, entry))
        })
    }
}

/// Message types are numbered from 1 on the wire.
fn index_of(message_type: MessageType) -> usize {
    usize::from(message_type.to_wire() - 1)
}

impl<R: Send + 'static> RegisteredHandler<R> {
    pub(super) fn new(handler: Handler<R>, defaults: HandlerSettings, latches: &Arc<Latches>) -> Self {
        match handler.kind {
            HandlerKind::Inline(call) => Self::Inline(Arc::new(InlineHandler {
                call: Mutex::new(Some(DropQuietly::new(call))),
                counts: Arc::default(),
            })),
            HandlerKind::Queued(call, overrides) => {
                let settings = overrides.or(defaults);
                Self::Queued(Arc::new(HandlerQueue::new(call, settings, Arc::clone(latches))))
            }
        }
    }
}

impl<R> Clone for RegisteredHandler<R> {
    fn clone(&self) -> Self {
        match self {
            Self::Inline(inline) => Self::Inline(Arc::clone(inline)),
            Self::Queued(queue) => Self::Queued(Arc::clone(queue)),
        }
    }
}

impl<R> RegisteredHandler<R> {
    pub(super) fn counts(&self) -> HandlerCounts<R> {
        match self {
            Self::Inline(inline) => HandlerCounts::Inline(Arc::clone(&inline.counts)),
            Self::Queued(queue) => HandlerCounts::Queued(Arc::clone(queue.backlog())),
        }
    }

    pub(super) const fn is_inline(&self) -> bool {
        matches!(self, Self::Inline(_))
    }

    /// Whether a driver has the closure of an inline handler.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Inline(inline) if lock(&inline.call).is_none())
    }

    pub(super) fn queue(&self) -> Option<&Arc<HandlerQueue<R>>> {
        match self {
            Self::Inline(_) => None,
            Self::Queued(queue) => Some(queue),
        }
    }

    /// Refuses messages from now on, and drops the waiting messages.
    pub(super) fn stop(&self) {
        if let Self::Queued(queue) = self {
            drop(queue.backlog().stop());
        }
    }
}

/// An inline handler whose closure the driver has taken out, to call it for several messages without locking each time.
struct TakenInline<R> {
    inline: Arc<InlineHandler<R>>,
    /// `None` too if another driver has the closure.
    call: Option<DropQuietly<InlineFn<R>>>,
    is_out: bool,
}

impl<R> TakenInline<R> {
    /// Puts back the closure that is taken, if any, and makes ready for that of `inline`.
    #[inline(never)] // rare, because messages of one type usually follow each other
    fn exchange<'a>(taken: &'a mut Option<Self>, inline: &Arc<InlineHandler<R>>) -> &'a mut Self {
        *taken = None;
        taken.insert(Self { inline: Arc::clone(inline), call: None, is_out: false })
    }

    /// Takes the closure out, unless it is out.
    #[inline]
    fn take_out(&mut self) {
        if !self.is_out {
            self.is_out = true;
            self.call = lock(&self.inline.call).take();
        }
    }

    /// Puts the closure back, if it is out. Returns whether it was out.
    #[inline(always)] // into `release`
    fn put_back(&mut self) -> bool {
        let was_out = std::mem::take(&mut self.is_out);
        if let Some(call) = self.call.take() {
            // Nobody else puts one there. (An assignment would also drop what was there.)
            lock(&self.inline.call).get_or_insert(call);
        }
        was_out
    }

    #[inline]
    fn call(&mut self, message: &borrowed::MessageRef<'_>, reply: &R) {
        let counts = &self.inline.counts;
        let Some(call) = &mut self.call else {
            // The handler disconnected and connected again, and the driver of the old connection still runs it.
            counts.busy.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match quietly(|| (*call)(message, reply)) {
            Ok(()) => counts.handled.add(1),
            Err(_) => counts.panicked.add(1),
        }
    }
}

impl<R> Drop for TakenInline<R> {
    fn drop(&mut self) {
        self.put_back();
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

impl<R> HandlerCounts<R> {
    pub(super) fn stats(&self) -> HandlerStats {
        match self {
            Self::Inline(counts) => counts.stats(),
            Self::Queued(backlog) => backlog.stats(),
        }
    }

    pub(super) fn into_backlog(self) -> Option<Arc<HandlerBacklog<R>>> {
        match self {
            Self::Inline(_) => None,
            Self::Queued(backlog) => Some(backlog),
        }
    }

    /// Whether this is the only reference: then the counts cannot change any more.
    pub(super) fn is_final(&self) -> bool {
        let users = match self {
            Self::Inline(counts) => Arc::strong_count(counts),
            Self::Queued(backlog) => Arc::strong_count(backlog),
        };
        // Paired with the release when another thread dropped its reference: what it counted before is visible after
        // this.
        fence(Ordering::Acquire);
        users == 1
    }
}

impl<R> Clone for HandlerCounts<R> {
    fn clone(&self) -> Self {
        match self {
            Self::Inline(counts) => Self::Inline(Arc::clone(counts)),
            Self::Queued(backlog) => Self::Queued(Arc::clone(backlog)),
        }
    }
}

/// Calls the handlers. Owned by the driver; a registry has at most one.
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(crate) struct Dispatcher<R> {
    /// When the time limits must be checked; `None` if no job can pass its limit.
    next_check: Option<Instant>,
    /// The registry's generation when `table` was fetched; `None` before the first message.
    seen: Option<u64>,
    /// A message has replaced one that its handler had not seen.
    superseded: bool,
    flags: Arc<DriverFlags>,
    handlers: Arc<Handlers<R>>,
    table: Arc<HandlerTable<R>>,
    /// The inline handler of the last message. Its closure is out until [`release`](Self::release).
    taken: Option<TakenInline<R>>,
    /// The reply handle of the last message, to reuse for the next message.
    reply: Option<R>,
    pool: Arc<Pool>,
    /// The shortest limit of a message since the last check. `next_check` is early enough for it.
    armed_for: Option<Duration>,
}

/// Gives a copy of the message to a queued handler. Returns whether it replaced one that the handler had not seen.
#[inline(never)] // keeps this code out of the path of inline handlers
fn enqueue<R: Send + 'static>(
    queue: &Arc<HandlerQueue<R>>,
    pool: &Arc<Pool>,
    reply: &mut Option<R>,
    message: &MessageRef<'_>,
    arrival: &Arrival,
    limits: Option<&Limits>,
) -> bool {
    let reply = reply.take().expect("the caller has made it");
    let job = HandlerJob { message: Message::copy(pool, message, *arrival), reply };
    queue.offer(message.priority, limits.cloned().unwrap_or_default(), job)
}

impl<R: Send + 'static> Dispatcher<R> {
    /// Makes the dispatcher of this registry. Queued messages are copied into buffers of `pool`.
    pub(crate) fn new(handlers: Arc<Handlers<R>>, pool: Arc<Pool>) -> Self {
        // Handlers may still run for messages of the previous connection.
        let next_check = Some(Instant::now());
        Self {
            flags: Arc::clone(&handlers.flags),
            handlers,
            pool,
            table: Arc::default(),
            seen: None,
            next_check,
            armed_for: None,
            taken: None,
            reply: None,
            superseded: false,
        }
    }

    /// Gives the message to its handler. Returns whether there is a handler.
    ///
    /// If there is a handler, `reply` is called: it makes the reply handle, from an old handle if there is one. An
    /// inline handler runs inside this call. For a queued handler, the message is copied.
    #[inline]
    pub(crate) fn dispatch(
        &mut self,
        message: &MessageRef<'_>,
        arrival: &Arrival,
        limits: Option<&Limits>,
        reply: impl FnOnce(&mut Option<R>),
    ) -> bool {
        self.refresh();
        let Some(handler) = self.table.find(message.message_type, message.channel) else { return false };
        reply(&mut self.reply);
        match handler {
            RegisteredHandler::Inline(inline) => {
                let handle = self.reply.as_ref().expect("`reply` has made it");
                let taken = match &mut self.taken {
                    Some(taken) if Arc::ptr_eq(&taken.inline, inline) => taken,
                    taken => TakenInline::exchange(taken, inline),
                };
                taken.take_out();
                taken.call(&borrowed::MessageRef::new(message, arrival), handle);
            }
            RegisteredHandler::Queued(queue) => {
                self.superseded |= enqueue(queue, &self.pool, &mut self.reply, message, arrival, limits);
                let limit = queue.backlog().time_limit();
                self.arm(limit);
            }
        }
        true
    }

    /// Whether a message has replaced one that its handler had not seen, since the last call.
    pub(crate) fn has_superseded(&mut self) -> bool {
        std::mem::take(&mut self.superseded)
    }

    /// Puts back the closure of the last inline handler. Returns whether one was called since the last time. The driver calls this
    /// before it does anything other than handing out messages.
    #[inline]
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn release(&mut self) -> bool {
        self.taken.as_mut().is_some_and(TakenInline::put_back)
    }

    /// Fetches the table if it has changed, and drops the old table. Called for each message, and once in each turn.
    #[inline]
    pub(crate) fn refresh(&mut self) {
        // Acquire, paired with the release in the registry: the table is at least as new as the generation.
        let generation = self.flags.handlers.load(Ordering::Acquire);
        if self.seen != Some(generation) {
            self.renew(generation);
        }
    }

    #[cold]
    fn renew(&mut self, generation: u64) {
        // The handler may be unregistered: its closure must not outlive that.
        self.taken = None;
        let table = Arc::clone(&lock(&self.handlers.registered).table);
        self.seen = Some(generation);
        // This may drop the last reference to an unregistered handler. The lock is released before.
        self.table = table;
    }

    /// Makes sure that the limits are checked in time for a message that may start now.
    ///
    /// Reads the clock once between two checks, not for each message: a message that starts later passes its limit
    /// later.
    #[inline(never)] // keeps this code out of the path of inline handlers
    fn arm(&mut self, limit: Duration) {
        if self.armed_for.is_some_and(|armed| armed <= limit) {
            return;
        }
        self.armed_for = Some(limit);
        let due = Instant::now().checked_add(limit);
        self.next_check = self.next_check.into_iter().chain(due).min();
    }

    /// Abandons the jobs that are past the time limit of their handler. Called once in each turn.
    ///
    /// Costs one comparison if no limit can have passed.
    #[inline]
    pub(crate) fn check_deadlines(&mut self, now: Instant) {
        if self.next_check.is_some_and(|due| due <= now) {
            self.abandon_overdue(now);
        }
    }

    #[inline(never)]
    fn abandon_overdue(&mut self, now: Instant) {
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

    /// The latest time at which `check_deadlines` must be called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_check
    }
}

impl<R> std::fmt::Debug for Dispatcher<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("next_check", &self.next_check).finish_non_exhaustive()
    }
}
