//! What users register: a closure, the way to call it, and its settings.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::config;
use crate::message::Message;
use crate::message::borrowed::MessageRef;

/// What a spawner is given to run.
pub type HandlerFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) type InlineFn<R> = Box<dyn FnMut(&MessageRef<'_>, &R) + Send>;
pub(super) type BlockingFn<R> = Box<dyn Fn(Message, R) + Send + Sync>;
pub(super) type SpawnedFn<R> = Box<dyn Fn(Message, R) -> HandlerFuture + Send + Sync>;
pub(super) type SpawnFn = Box<dyn Fn(HandlerFuture) + Send + Sync>;

/// A future that stays on the worker that made it: it may borrow from its closure and need not be `Send`.
pub(super) type LocalFuture<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// An async closure in a box.
pub(super) trait AsyncHandler<R>: Send + Sync {
    fn start(&self, message: Message, reply: R) -> LocalFuture<'_>;
}

impl<R: 'static, C: AsyncFn(Message, R) + Send + Sync> AsyncHandler<R> for C {
    fn start(&self, message: Message, reply: R) -> LocalFuture<'_> {
        Box::pin(self(message, reply))
    }
}

/// A handler for messages of a type; `R` is the reply handle that it is given.
///
/// Three ways, by name: [`inline`](Self::inline), [`blocking`](Self::blocking) and
/// [`asynchronous`](Self::asynchronous), or [`spawned`](Self::spawned) where there is an executor. All but the
/// first have settings.
pub(crate) struct Handler<R> {
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
    /// Run its future on a worker.
    Async(Box<dyn AsyncHandler<R>>),
    /// Give its future to the user's spawner.
    Spawned(SpawnedFn<R>, SpawnFn),
}

/// What holds for a queued handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) time_limit: Duration,
    pub(crate) concurrency: usize,
    pub(crate) backlog: usize,
    pub(crate) ordered: bool,
}

impl Settings {
    /// The defaults that a configuration sets for handlers.
    pub(crate) const fn of(settings: &config::Settings) -> Self {
        Self {
            time_limit: settings.handler_time_limit,
            concurrency: settings.handler_concurrency,
            backlog: settings.handler_backlog,
            ordered: true,
        }
    }
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
    pub(crate) fn inline(call: impl FnMut(&MessageRef<'_>, &R) + Send + 'static) -> Self {
        Self { kind: Kind::Inline(Box::new(call)) }
    }

    /// Called on worker threads of its own, so that it may block without delaying anything else.
    ///
    /// Messages of one peer and priority are handled one after the other, in order, unless it is
    /// [`unordered`](QueuedHandler::unordered).
    pub(crate) fn blocking(call: impl Fn(Message, R) + Send + Sync + 'static) -> QueuedHandler<R> {
        QueuedHandler::new(Work::Blocking(Box::new(call)))
    }

    /// An async closure, or one that returns a future, run on worker threads of its own.
    ///
    /// Ordered as [`blocking`](Self::blocking) ones are. Allocates the future for every message.
    pub(crate) fn asynchronous(start: impl AsyncFn(Message, R) + Send + Sync + 'static) -> QueuedHandler<R>
    where
        R: 'static,
    {
        QueuedHandler::new(Work::Async(Box::new(start)))
    }

    /// As [`asynchronous`](Self::asynchronous), run on the user's executor: `spawn` is given each future, such as
    /// `|future| drop(tokio::spawn(future))`.
    ///
    /// `spawn` is called on the driver and on the executor's threads and must return at once. A future that the
    /// executor drops before it is ready counts as dropped, with the reason `Closed`.
    pub(crate) fn spawned<F>(
        spawn: impl Fn(HandlerFuture) + Send + Sync + 'static,
        start: impl Fn(Message, R) -> F + Send + Sync + 'static,
    ) -> QueuedHandler<R>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let start: SpawnedFn<R> = Box::new(move |message, reply| Box::pin(start(message, reply)));
        QueuedHandler::new(Work::Spawned(start, Box::new(spawn)))
    }
}

/// The shortest time limit: with less, the driver would do nothing but look at limits.
const MIN_TIME_LIMIT: Duration = Duration::from_millis(1);

/// A handler with a backlog, and its settings.
pub(crate) struct QueuedHandler<R> {
    work: Work<R>,
    wishes: Wishes,
}

impl<R> QueuedHandler<R> {
    fn new(work: Work<R>) -> Self {
        Self { work, wishes: Wishes::default() }
    }

    /// How long it may take for one message: `handler_time_limit` (5 s) unless set, at least 1 ms.
    ///
    /// Past it the message is counted as timed out and the next one of its peer goes on. An async handler is
    /// cancelled: its future is dropped. A blocking one cannot be; another worker takes its place, within a
    /// bound, and it ends when it returns. Checked when the driver turns.
    #[must_use]
    pub(crate) fn time_limit(mut self, limit: Duration) -> Self {
        self.wishes.time_limit = Some(limit.max(MIN_TIME_LIMIT));
        self
    }

    /// How many messages it works on at once: `handler_concurrency` (10) unless set, at least 1.
    #[must_use]
    pub(crate) fn concurrency(mut self, count: usize) -> Self {
        self.wishes.concurrency = Some(count.max(1));
        self
    }

    /// How many messages may wait: `handler_backlog` (1,000) unless set, at least 1.
    ///
    /// When that many wait, an arriving one is dropped and counted, unless one of lower priority waits: then
    /// the newest of the lowest priority is.
    #[must_use]
    pub(crate) fn backlog(mut self, count: usize) -> Self {
        self.wishes.backlog = Some(count.max(1));
        self
    }

    /// Works on several messages of one peer at once, in any order.
    #[must_use]
    pub(crate) fn unordered(mut self) -> Self {
        self.wishes.unordered = true;
        self
    }
}

impl<R> From<QueuedHandler<R>> for Handler<R> {
    fn from(handler: QueuedHandler<R>) -> Self {
        Self { kind: Kind::Queued(handler.work, handler.wishes) }
    }
}

impl<R> fmt::Debug for Handler<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Inline(_) => f.write_str("Handler(inline)"),
            Kind::Queued(work, wishes) => write!(f, "Handler({}, {wishes:?})", work.name()),
        }
    }
}

impl<R> fmt::Debug for QueuedHandler<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueuedHandler({}, {:?})", self.work.name(), self.wishes)
    }
}

impl<R> Work<R> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Blocking(_) => "blocking",
            Self::Async(_) => "asynchronous",
            Self::Spawned(..) => "spawned",
        }
    }
}
