//! The handlers that users register: closures that are given a message and a [`Reply`].

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::handlers::{self, HandlerFuture};
use crate::message::Message;
use crate::message::borrowed::MessageRef;
use crate::sending::reply::Reply;

/// A handler for messages of a type; see
/// [`UdpInterface::register_message_handler`](crate::UdpInterface::register_message_handler). docs/handlers.md tells the
/// kinds apart.
///
/// ```
/// use tautline::{Config, Handler, MessageType, Metadata, create_udp_server};
///
/// let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
/// // On the driver itself: the fastest, must not block.
/// plant.register_message_handler(MessageType::Command, Handler::inline(|command, reply| {
///     let Ok(force) = command.decode::<f64>() else { return };
///     let _ = reply.send(&(2.0 * force), &Metadata::status());
/// }));
/// // On a worker of its own: may block.
/// plant.register_message_handler(MessageType::Configuration, Handler::blocking(|message, _reply| {
///     std::fs::write("/dev/null", message.payload()).expect("always possible");
/// }));
/// // An async closure, with a time limit after which it is cancelled.
/// let greeting = String::from("hello");
/// let greet = Handler::asynchronous(async move |_message, reply| {
///     let _ = reply.send(&greeting, &Metadata::data());
/// });
/// plant.register_message_handler(
///     (MessageType::Data, 7),
///     greet.time_limit(std::time::Duration::from_millis(500)),
/// );
/// # Ok::<(), tautline::ConfigError>(())
/// ```
pub struct Handler(pub(super) handlers::Handler<Reply>);

impl Handler {
    /// A handler that the driver itself calls, with the message as it stands in the datagram.
    ///
    /// The fastest kind: no copy, no other thread. Nothing else is received while it runs, so it must neither block nor
    /// take long; no time limit guards it. A panic is caught and counted.
    pub fn inline(call: impl FnMut(&MessageRef<'_>, &Reply) + Send + 'static) -> Self {
        Self(handlers::Handler::inline(call))
    }

    /// A handler that is called on worker threads of its own, so that it may block without delaying anything else.
    ///
    /// Messages of one peer and priority are handled one after the other, in order, unless the handler is
    /// [`unordered`](QueuedHandler::unordered).
    pub fn blocking(call: impl Fn(Message, Reply) + Send + Sync + 'static) -> QueuedHandler {
        QueuedHandler(handlers::Handler::blocking(call))
    }

    /// An async closure, or a closure that returns a future, run on worker threads of its own.
    ///
    /// Ordered like [`blocking`](Self::blocking) handlers. Allocates the future of each message.
    pub fn asynchronous(start: impl AsyncFn(Message, Reply) + Send + Sync + 'static) -> QueuedHandler {
        QueuedHandler(handlers::Handler::asynchronous(start))
    }

    /// As [`asynchronous`](Self::asynchronous), run on your executor: `spawn` is given each future, for example
    /// `|future| drop(tokio::spawn(future))`.
    ///
    /// `spawn` is called on the driver and on the executor's threads, and must return at once. If the executor drops a
    /// future before it is ready, its message counts as dropped, with the reason `Closed`.
    pub fn spawned<F>(
        spawn: impl Fn(HandlerFuture) + Send + Sync + 'static,
        start: impl Fn(Message, Reply) -> F + Send + Sync + 'static,
    ) -> QueuedHandler
    where
        F: Future<Output = ()> + Send + 'static,
    {
        QueuedHandler(handlers::Handler::spawned(spawn, start))
    }
}

/// A [`Handler`] with a backlog of its own, and its settings.
pub struct QueuedHandler(handlers::QueuedHandler<Reply>);

impl QueuedHandler {
    /// Sets how long it may take for one message: at least 1 ms; `handler_time_limit` (5 s) by default.
    ///
    /// After that time the message counts as timed out, and the next message of its peer is handled. An async handler is
    /// cancelled: its future is dropped. A blocking handler cannot be cancelled: another worker takes its place, within a
    /// bound. Checked when the driver turns.
    #[must_use]
    pub fn time_limit(self, limit: Duration) -> Self {
        Self(self.0.time_limit(limit))
    }

    /// Sets how many messages it handles at once: at least 1; `handler_concurrency` (10) by default.
    #[must_use]
    pub fn concurrency(self, count: usize) -> Self {
        Self(self.0.concurrency(count))
    }

    /// Sets how many messages may wait: at least 1; `handler_backlog` (1,000) by default.
    ///
    /// If that many wait, an arriving message is dropped and counted. If a message of lower priority waits, the newest
    /// message of the lowest priority is dropped instead.
    #[must_use]
    pub fn backlog(self, count: usize) -> Self {
        Self(self.0.backlog(count))
    }

    /// Lets it handle several messages of one peer at once, in any order.
    #[must_use]
    pub fn unordered(self) -> Self {
        Self(self.0.unordered())
    }
}

impl From<QueuedHandler> for Handler {
    fn from(handler: QueuedHandler) -> Self {
        Self(handler.0.into())
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for QueuedHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
