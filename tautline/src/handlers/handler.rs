//! What users register: a closure, the way to call it, and its settings.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::MessageRef;
use crate::message::Message;

/// What an async handler runs, and what its spawner is given.
pub type HandlerFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) type InlineFn<R> = Box<dyn FnMut(&MessageRef<'_>, &R) + Send>;
pub(super) type BlockingFn<R> = Box<dyn Fn(Message, R) + Send + Sync>;
pub(super) type StartFn<R> = Box<dyn Fn(Message, R) -> HandlerFuture + Send + Sync>;
pub(super) type SpawnFn = Box<dyn Fn(HandlerFuture) + Send + Sync>;

/// A handler for messages of a type; `R` is the reply handle that it is given.
///
/// Three ways, by name: [`inline`](Self::inline), [`blocking`](Self::blocking) and
/// [`asynchronous`](Self::asynchronous). The latter two have settings.
pub struct Handler<R> {
    pub(super) kind: Kind<R>,
}

pub(super) enum Kind<R> {
    Inline(InlineFn<R>),
    Queued(Work<R>, Wishes),
}

/// What is done with a queued message.
pub(super) enum Work<R> {
    /// Call it on a worker.
    Blocking(BlockingFn<R>),
    /// Start a future, and run it on a worker or give it to the user's spawner.
    Async(StartFn<R>, Option<SpawnFn>),
}

/// What holds for a queued handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) time_limit: Duration,
    pub(crate) concurrency: usize,
    pub(crate) backlog: usize,
    pub(crate) ordered: bool,
}

/// What a queued handler says of its settings; the interface's configuration says the rest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wishes {
    time_limit: Option<Duration>,
    concurrency: Option<usize>,
    backlog: Option<usize>,
    unordered: bool,
}

impl Wishes {
    pub(super) fn or(self, defaults: Settings) -> Settings {
        Settings {
            time_limit: self.time_limit.unwrap_or(defaults.time_limit),
            concurrency: self.concurrency.unwrap_or(defaults.concurrency),
            backlog: self.backlog.unwrap_or(defaults.backlog),
            ordered: defaults.ordered && !self.unordered,
        }
    }
}

impl<R> Handler<R> {
    /// Called by the driver itself, with the message as it stands in the datagram.
    ///
    /// The fastest way: no copy, no other thread. The price is that nothing else is received meanwhile, so it
    /// must neither block nor take long; no time limit guards it. A panic is caught and counted.
    pub fn inline(call: impl FnMut(&MessageRef<'_>, &R) + Send + 'static) -> Self {
        Self { kind: Kind::Inline(Box::new(call)) }
    }

    /// Called on worker threads of its own, so that it may block without delaying anything else.
    ///
    /// Messages of one peer and priority are handled one after the other, in order, unless it is
    /// [`unordered`](QueuedHandler::unordered).
    pub fn blocking(call: impl Fn(Message, R) + Send + Sync + 'static) -> QueuedHandler<Blocking<R>> {
        QueuedHandler { work: Blocking(Box::new(call)), wishes: Wishes::default() }
    }

    /// Returns a future, which runs on worker threads of its own or on a given
    /// [`spawner`](QueuedHandler::spawner).
    ///
    /// Ordered as [`blocking`](Self::blocking) ones are. Allocates the future for every message.
    pub fn asynchronous<F>(
        start: impl Fn(Message, R) -> F + Send + Sync + 'static,
    ) -> QueuedHandler<Asynchronous<R>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let start: StartFn<R> = Box::new(move |message, reply| Box::pin(start(message, reply)));
        QueuedHandler { work: Asynchronous { start, spawner: None }, wishes: Wishes::default() }
    }
}

/// A handler with a backlog, and its settings; `W` says whether it is blocking or async.
pub struct QueuedHandler<W> {
    work: W,
    wishes: Wishes,
}

/// Marks a [`QueuedHandler`] that is called on a worker.
pub struct Blocking<R>(BlockingFn<R>);

/// Marks a [`QueuedHandler`] that returns a future.
pub struct Asynchronous<R> {
    start: StartFn<R>,
    spawner: Option<SpawnFn>,
}

impl<W> QueuedHandler<W> {
    /// How long it may take for one message; the configuration's `handler_time_limit` (5 s) unless set.
    ///
    /// Past it the message is counted as timed out and the next one of its peer goes on. An async handler is
    /// cancelled: its future is dropped. A blocking one cannot be; another worker takes its place, within a
    /// bound, and it ends when it returns. Checked when the driver turns.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.wishes.time_limit = Some(limit);
        self
    }

    /// How many messages it works on at once: `handler_concurrency` (10) unless set, at least 1.
    #[must_use]
    pub fn concurrency(mut self, count: usize) -> Self {
        self.wishes.concurrency = Some(count.max(1));
        self
    }

    /// How many messages may wait: `handler_backlog` (1,000) unless set, at least 1.
    ///
    /// When that many wait, an arriving one is dropped and counted, unless one of lower priority waits: then
    /// the newest of the lowest priority is.
    #[must_use]
    pub fn backlog(mut self, count: usize) -> Self {
        self.wishes.backlog = Some(count.max(1));
        self
    }

    /// Works on several messages of one peer at once, in any order.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.wishes.unordered = true;
        self
    }
}

impl<R> QueuedHandler<Asynchronous<R>> {
    /// Runs the futures on the user's executor instead of on worker threads.
    ///
    /// `spawn` is called on the driver and on the executor's threads and must return at once. A future that
    /// the executor drops before it is ready counts as dropped, with the reason `Closed`.
    #[must_use]
    pub fn spawner(mut self, spawn: impl Fn(HandlerFuture) + Send + Sync + 'static) -> Self {
        self.work.spawner = Some(Box::new(spawn));
        self
    }
}

impl<R> From<QueuedHandler<Blocking<R>>> for Handler<R> {
    fn from(handler: QueuedHandler<Blocking<R>>) -> Self {
        Self { kind: Kind::Queued(Work::Blocking(handler.work.0), handler.wishes) }
    }
}

impl<R> From<QueuedHandler<Asynchronous<R>>> for Handler<R> {
    fn from(handler: QueuedHandler<Asynchronous<R>>) -> Self {
        let Asynchronous { start, spawner } = handler.work;
        Self { kind: Kind::Queued(Work::Async(start, spawner), handler.wishes) }
    }
}

impl<R> fmt::Debug for Handler<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Inline(_) => f.write_str("Handler(inline)"),
            Kind::Queued(Work::Blocking(_), wishes) => write!(f, "Handler(blocking, {wishes:?})"),
            Kind::Queued(Work::Async(..), wishes) => write!(f, "Handler(async, {wishes:?})"),
        }
    }
}

impl<W> fmt::Debug for QueuedHandler<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedHandler").field("wishes", &self.wishes).finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for Blocking<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}

impl<R> fmt::Debug for Asynchronous<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asynchronous")
    }
}
