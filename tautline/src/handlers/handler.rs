//! What a user registers: a closure, how it is called, and its settings.
//!
//! `interface` wraps these types in the public `Handler` and `QueuedHandler`, which document them for users.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::config;
use crate::message::Message;
use crate::message::borrowed::MessageRef;
use crate::receiving::shares::Room;

/// The future of one message, which [`Handler::spawned`](crate::Handler::spawned) gives to your executor.
pub type HandlerFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) type InlineFn<R> = Box<dyn FnMut(&MessageRef<'_>, &R) + Send>;
pub(super) type BlockingFn<R> = Box<dyn Fn(Message, R) + Send + Sync>;
pub(super) type SpawnedFn<R> = Box<dyn Fn(Message, R) -> HandlerFuture + Send + Sync>;
pub(super) type SpawnFn = Box<dyn Fn(HandlerFuture) + Send + Sync>;

/// A future that stays on its worker. So it may borrow from its closure, and it need not be `Send`.
pub(super) type LocalFuture<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// An async closure. The trait makes it possible to box it.
pub(super) trait AsyncHandler<R>: Send + Sync {
    fn start(&self, message: Message, reply: R) -> LocalFuture<'_>;
}

impl<R: 'static, C: AsyncFn(Message, R) + Send + Sync> AsyncHandler<R> for C {
    fn start(&self, message: Message, reply: R) -> LocalFuture<'_> {
        Box::pin(self(message, reply))
    }
}

/// A handler for messages of a type. `R` is the type of its reply handle.
///
/// Made by [`inline`](Self::inline), [`blocking`](Self::blocking), [`asynchronous`](Self::asynchronous) or
/// [`spawned`](Self::spawned). All but the first have settings.
pub(crate) struct Handler<R> {
    pub(super) kind: HandlerKind<R>,
}

pub(super) enum HandlerKind<R> {
    Inline(InlineFn<R>),
    Queued(QueuedCall<R>, SettingOverrides),
}

/// How a queued message is handled.
pub(super) enum QueuedCall<R> {
    /// A worker calls the closure.
    Blocking(BlockingFn<R>),
    /// A worker runs the future.
    Async(Box<dyn AsyncHandler<R>>),
    /// The user's spawner gets the future.
    Spawned(SpawnedFn<R>, SpawnFn),
}

/// The settings of a queued handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandlerSettings {
    pub(crate) time_limit: Duration,
    pub(crate) concurrency: usize,
    /// The room of its backlog.
    pub(crate) room: Room,
    pub(crate) ordered: bool,
}

impl HandlerSettings {
    /// The default settings of handlers in this configuration.
    pub(crate) const fn of(settings: &config::Settings) -> Self {
        Self {
            time_limit: settings.handler_time_limit,
            concurrency: settings.handler_concurrency,
            room: Room { count: settings.handler_backlog, bytes: settings.queue_bytes },
            ordered: true,
        }
    }
}

/// The settings that the user chose for one handler. The configuration gives the others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SettingOverrides {
    time_limit: Option<Duration>,
    concurrency: Option<usize>,
    backlog: Option<usize>,
    unordered: bool,
}

impl SettingOverrides {
    /// Fills in `defaults` for what was not chosen.
    pub(super) fn or(self, defaults: HandlerSettings) -> HandlerSettings {
        HandlerSettings {
            time_limit: self.time_limit.unwrap_or(defaults.time_limit),
            concurrency: self.concurrency.unwrap_or(defaults.concurrency),
            room: Room { count: self.backlog.unwrap_or(defaults.room.count), ..defaults.room },
            ordered: defaults.ordered && !self.unordered,
        }
    }
}

impl<R> Handler<R> {
    /// A handler that the driver itself calls, with the message in its datagram. Has no time limit.
    pub(crate) fn inline(call: impl FnMut(&MessageRef<'_>, &R) + Send + 'static) -> Self {
        Self { kind: HandlerKind::Inline(Box::new(call)) }
    }

    /// A handler that runs on its own worker threads. Messages of one peer and priority are handled one after the
    /// other, in order, unless it is [`unordered`](QueuedHandler::unordered).
    pub(crate) fn blocking(call: impl Fn(Message, R) + Send + Sync + 'static) -> QueuedHandler<R> {
        QueuedHandler::new(QueuedCall::Blocking(Box::new(call)))
    }

    /// An async closure that runs on its own worker threads, in the order of [`blocking`](Self::blocking) handlers.
    /// Allocates the future of each message.
    pub(crate) fn asynchronous(start: impl AsyncFn(Message, R) + Send + Sync + 'static) -> QueuedHandler<R>
    where
        R: 'static,
    {
        QueuedHandler::new(QueuedCall::Async(Box::new(start)))
    }

    /// As [`asynchronous`](Self::asynchronous), but `spawn` gives each future to the user's executor.
    ///
    /// `spawn` is called on the driver and on the executor's threads. If the executor drops a future before it is
    /// ready, its message counts as dropped, with the reason `Closed`.
    pub(crate) fn spawned<F>(
        spawn: impl Fn(HandlerFuture) + Send + Sync + 'static,
        start: impl Fn(Message, R) -> F + Send + Sync + 'static,
    ) -> QueuedHandler<R>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let start: SpawnedFn<R> = Box::new(move |message, reply| Box::pin(start(message, reply)));
        QueuedHandler::new(QueuedCall::Spawned(start, Box::new(spawn)))
    }
}

/// The shortest time limit. With a shorter limit, the driver would spend its time on checking limits.
const MIN_TIME_LIMIT: Duration = Duration::from_millis(1);

/// A handler with a backlog and workers, and its settings.
pub(crate) struct QueuedHandler<R> {
    call: QueuedCall<R>,
    overrides: SettingOverrides,
}

impl<R> QueuedHandler<R> {
    fn new(call: QueuedCall<R>) -> Self {
        Self { call, overrides: SettingOverrides::default() }
    }

    /// Sets how long it may take for one message, at least `MIN_TIME_LIMIT`. The driver checks it in each turn.
    #[must_use]
    pub(crate) fn time_limit(mut self, limit: Duration) -> Self {
        self.overrides.time_limit = Some(limit.max(MIN_TIME_LIMIT));
        self
    }

    /// Sets how many messages it handles at once, at least 1.
    #[must_use]
    pub(crate) fn concurrency(mut self, count: usize) -> Self {
        self.overrides.concurrency = Some(count.max(1));
        self
    }

    /// Sets how many messages may wait, at least 1.
    #[must_use]
    pub(crate) fn backlog(mut self, count: usize) -> Self {
        self.overrides.backlog = Some(count.max(1));
        self
    }

    /// Lets it handle several messages of one peer at once, in any order.
    #[must_use]
    pub(crate) fn unordered(mut self) -> Self {
        self.overrides.unordered = true;
        self
    }
}

impl<R> From<QueuedHandler<R>> for Handler<R> {
    fn from(handler: QueuedHandler<R>) -> Self {
        Self { kind: HandlerKind::Queued(handler.call, handler.overrides) }
    }
}

impl<R> fmt::Debug for Handler<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            HandlerKind::Inline(_) => f.write_str("Handler(inline)"),
            HandlerKind::Queued(call, overrides) => write!(f, "Handler({}, {overrides:?})", call.name()),
        }
    }
}

impl<R> fmt::Debug for QueuedHandler<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueuedHandler({}, {:?})", self.call.name(), self.overrides)
    }
}

impl<R> QueuedCall<R> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Blocking(_) => "blocking",
            Self::Async(_) => "asynchronous",
            Self::Spawned(..) => "spawned",
        }
    }
}
