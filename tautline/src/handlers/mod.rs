//! Handlers: which user function is called for which messages, and on which thread.
//!
//! Called by `interface` (registers handlers), `connection` and `shared` (own the registry), and `driver` (hands out
//! messages). Uses `receiving`, `message`, `machine`, `config` and `sync`.
//!
//! [`Handlers`] is the registry. Any thread may change it at any time, also from inside a handler. The driver has a
//! [`Dispatcher`], which reads for each message how often the table has changed and fetches the table only if it changed.
//! Inline handlers run on the driver. Each queued handler has its own [backlog](backlog) and [workers](worker).
//!
//! The types are generic over `R`, the reply handle. `interface` chooses it, so this folder does not use `sending`.
//!
//! Lock order: the registry, then one backlog. No lock is held while user code runs, including its destructors.

mod backlog;
mod dispatch;
mod handler;
mod stats;
mod task;
#[cfg(test)]
mod tests;
mod worker;

use crate::sync::{Arc, Mutex};
use crate::sync::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) use dispatch::Dispatcher;
pub use handler::HandlerFuture;
pub(crate) use handler::HandlerSettings;
pub(crate) use handler::{Handler, QueuedHandler};
pub use stats::HandlerStats;

use crate::config::Selector;
use crate::receiving::lag::Behind;
use crate::sync::driver_flags::DriverFlags;
use crate::sync::latches::Latches;
use crate::sync::lock;
use backlog::HandlerBacklog;
use dispatch::{HandlerCounts, HandlerTable, RegisteredHandler};
use tautline_proto::MessageType;
use worker::HandlerQueue;

/// The registry of all handlers of an interface.
pub(crate) struct Handlers<R> {
    registered: Mutex<RegistryState<R>>,
    /// Its `handlers` changes whenever the table changes; written under the lock of `registered`.
    flags: Arc<DriverFlags>,
    /// Whether there are inline handlers. Order: relaxed; written under the lock of `registered`.
    has_inline: AtomicBool,
    has_handlers: AtomicBool,
    has_queued: AtomicBool,
    /// The settings of a handler that does not set its own; copied when the handler is registered.
    defaults: Mutex<HandlerSettings>,
    /// What may stop messages that wait for handlers.
    latches: Arc<Latches>,
}

type Backlogs<R> = Vec<Arc<HandlerBacklog<R>>>;

struct RegistryState<R> {
    table: Arc<HandlerTable<R>>,
    /// The counts of unregistered handlers that a thread still uses.
    leaving: Vec<HandlerCounts<R>>,
    /// The sum of the counts of unregistered handlers that no thread uses any more.
    final_counts: HandlerStats,
}

/// Whether a handler runs on the calling thread, or an async handler is polled there.
pub(crate) fn run_here() -> bool {
    task::current().is_some()
}

impl<R> Handlers<R> {
    /// Makes an empty registry.
    pub(crate) fn new(defaults: HandlerSettings, latches: Arc<Latches>, flags: Arc<DriverFlags>) -> Self {
        let registered = RegistryState {
            table: Arc::default(),
            leaving: Vec::new(),
            final_counts: HandlerStats::default(),
        };
        let (registered, defaults) = (Mutex::new(registered), Mutex::new(defaults));
        Self {
            registered,
            flags,
            has_inline: AtomicBool::new(false),
            has_handlers: AtomicBool::new(false),
            has_queued: AtomicBool::new(false),
            defaults,
            latches,
        }
    }

    /// Sets the default settings of the handlers that are registered from now on.
    pub(crate) fn set_defaults(&self, defaults: HandlerSettings) {
        *lock(&self.defaults) = defaults;
    }
}

impl<R: Send + 'static> Handlers<R> {
    /// Registers a handler. Returns whether it replaced another handler.
    ///
    /// The waiting messages of a replaced handler are dropped and counted as closed. Its running calls finish.
    pub(crate) fn register(&self, selector: Selector, handler: Handler<R>) -> bool {
        let defaults = *lock(&self.defaults);
        let entry = RegisteredHandler::new(handler, defaults, &self.latches);
        self.change(|table| table.insert(selector, entry))
    }

    /// Unregisters a handler. Returns whether there was a handler. Its messages are treated like those of a replaced
    /// handler.
    pub(crate) fn unregister(&self, selector: Selector) -> bool {
        self.change(|table| table.remove(selector))
    }

    /// Changes a copy of the table and publishes it. The driver sees it with the next message.
    fn change(&self, edit: impl FnOnce(&mut HandlerTable<R>) -> Option<RegisteredHandler<R>>) -> bool {
        let mut registered = lock(&self.registered);
        let mut table = HandlerTable::clone(&registered.table);
        let old_entry = edit(&mut table);
        self.has_handlers.store(table.iter().next().is_some(), Ordering::Relaxed);
        self.has_queued.store(table.iter().any(|(_, entry)| !entry.is_inline()), Ordering::Relaxed);
        self.has_inline.store(table.iter().any(|(_, entry)| entry.is_inline()), Ordering::Relaxed);
        let old_table = std::mem::replace(&mut registered.table, Arc::new(table));
        if let Some(entry) = &old_entry {
            registered.leaving.push(entry.counts());
        }
        registered.sweep();
        self.flags.handlers.fetch_add(1, Ordering::Release);
        drop(registered);
        // The user's closures and reply handles are dropped here or by the driver, never under the lock.
        drop(old_table);
        old_entry.is_some_and(|entry| {
            entry.stop();
            true
        })
    }

    /// Drops the messages that wait for handlers, and counts them as closed. Then waits for running calls, at most
    /// `bound` and never for the calling handler itself. Returns whether all calls have finished.
    ///
    /// For a disconnect: the handlers stay registered.
    pub(crate) fn quiesce(&self, bound: Duration) -> bool {
        let backlogs = self.backlogs();
        backlogs.iter().for_each(|backlog| drop(backlog.discard()));
        wait_quiet(&backlogs, bound)
    }

    /// Unregisters every handler and waits like `quiesce`. Then cancels the async calls that still run.
    ///
    /// Blocking calls that still run are left alone. Returns whether all calls finished in time. Handlers may be
    /// registered again afterwards.
    pub(crate) fn close(&self, bound: Duration) -> bool {
        let table = Arc::clone(&lock(&self.registered).table);
        for (selector, _) in table.iter() {
            self.unregister(selector);
        }
        drop(table);
        let backlogs = self.backlogs();
        let quiet = wait_quiet(&backlogs, bound);
        for backlog in &backlogs {
            backlog.cancel_running(backlog.own_job()).iter().for_each(task::CancelHandle::cancel);
        }
        quiet
    }

    /// Whether there are handlers that the thread calls that turns.
    pub(crate) fn have_inline(&self) -> bool {
        self.has_inline.load(Ordering::Relaxed)
    }

    /// Whether there are handlers that have threads of their own.
    pub(crate) fn have_queued(&self) -> bool {
        self.has_queued.load(Ordering::Relaxed)
    }

    /// Whether there are handlers.
    pub(crate) fn are_registered(&self) -> bool {
        self.has_handlers.load(Ordering::Relaxed)
    }

    /// Whether there is a handler for messages of this type, or of one of its channels.
    pub(crate) fn has_any(&self, message_type: MessageType) -> bool {
        let registered = lock(&self.registered);
        registered.table.iter().any(|(selector, _)| selector.message_type == message_type)
    }

    /// The queued handlers that have become behind for good since the last look.
    pub(crate) fn look(&self) -> Vec<(Selector, Behind)> {
        let registered = lock(&self.registered);
        let queues = registered.table.iter().filter_map(|(selector, entry)| Some((selector, entry.queue()?)));
        queues.filter_map(|(selector, queue)| Some((selector, queue.backlog().look()?))).collect()
    }

    /// The inline handler that a driver calls now, or has just called.
    pub(crate) fn inline_at_work(&self) -> Option<Selector> {
        let table = Arc::clone(&lock(&self.registered).table);
        table.iter().find_map(|(selector, entry)| entry.is_taken().then_some(selector))
    }

    /// Returns the counts of the registered handlers.
    pub(crate) fn stats(&self) -> Vec<(Selector, HandlerStats)> {
        let table = Arc::clone(&lock(&self.registered).table);
        table.iter().map(|(selector, entry)| (selector, entry.counts().stats())).collect()
    }

    /// Returns the sum of the counts of all handlers, including those that were unregistered.
    pub(crate) fn totals(&self) -> HandlerStats {
        let mut registered = lock(&self.registered);
        registered.sweep();
        let mut totals = registered.final_counts;
        let present = registered.table.iter().map(|(_, entry)| entry.counts().stats());
        let leaving = registered.leaving.iter().map(HandlerCounts::stats);
        present.chain(leaving).for_each(|stats| totals.merge(&stats));
        totals
    }

    /// The backlogs of all queued handlers, including unregistered handlers that a thread still uses.
    fn backlogs(&self) -> Backlogs<R> {
        let registered = lock(&self.registered);
        let present = registered.table.iter().map(|(_, entry)| entry.counts());
        present.chain(registered.leaving.iter().cloned()).filter_map(HandlerCounts::into_backlog).collect()
    }

    /// What the driver checks time limits of: the queues of registered handlers, and the backlogs of unregistered
    /// handlers that a thread still uses.
    fn timed(&self) -> (Vec<Arc<HandlerQueue<R>>>, Backlogs<R>) {
        let registered = lock(&self.registered);
        let queues = registered.table.iter().filter_map(|(_, entry)| entry.queue().cloned()).collect();
        let leaving = registered.leaving.iter().cloned().filter_map(HandlerCounts::into_backlog).collect();
        (queues, leaving)
    }
}

impl<R> RegistryState<R> {
    /// Adds the counts that cannot change any more to `final_counts`.
    fn sweep(&mut self) {
        let final_counts = &mut self.final_counts;
        self.leaving.retain(|counts| {
            // Read once, before the counts: the last user may leave at any moment, and its counts must not be lost.
            let is_final = counts.is_final();
            if is_final {
                final_counts.merge(&counts.stats());
            }
            !is_final
        });
    }
}

impl<R> Drop for Handlers<R> {
    /// Tells the workers to end, and does not wait for them.
    fn drop(&mut self) {
        let table = Arc::clone(&lock(&self.registered).table);
        table.iter().for_each(|(_, entry)| entry.stop());
    }
}

fn wait_quiet<R>(backlogs: &[Arc<HandlerBacklog<R>>], bound: Duration) -> bool {
    let deadline = Instant::now().checked_add(bound);
    backlogs.iter().all(|backlog| backlog.wait_quiet(deadline, backlog.own_job()))
}

impl<R> std::fmt::Debug for Handlers<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}
