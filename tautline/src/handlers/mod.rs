//! Handlers: who is called for which messages, and how.
//!
//! [`Handlers`] is the registry that any thread changes at any time, also from inside a handler. The driver
//! has a [`Dispatcher`], which looks at the registry's generation per message and copies the table's
//! pointer only when it changed. Inline handlers run right there; queued ones have a
//! [backlog](backlog) and [workers](worker) of their own.
//!
//! Generic over `R`, the reply handle: the interface says what that is.
//!
//! Lock order: the registry, then one backlog. No lock is held while users' code runs, its destructors
//! included.

mod backlog;
mod dispatch;
mod handler;
mod stats;
mod task;
#[cfg(test)]
mod tests;
mod worker;

use crate::sync::{Arc, Mutex};
use crate::sync::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) use dispatch::Dispatcher;
pub use handler::HandlerFuture;
pub(crate) use handler::Settings;
pub(crate) use handler::{Handler, QueuedHandler};
pub use stats::HandlerStats;

use crate::config::Selector;
use crate::sync::lock;
use backlog::Backlog;
use dispatch::{Entry, Table, Tally};
use worker::Queue;

/// The registry.
pub(crate) struct Handlers<R> {
    registered: Mutex<Registered<R>>,
    /// Changes with the table; written under the lock.
    generation: AtomicU64,
    /// What holds where a handler does not say otherwise, from its registration on.
    defaults: Mutex<Settings>,
}

type Backlogs<R> = Vec<Arc<Backlog<R>>>;

struct Registered<R> {
    table: Arc<Table<R>>,
    /// The counts of handlers that were unregistered while somebody still used them.
    leaving: Vec<Tally<R>>,
    /// The final counts of those that nobody uses any more.
    gone: HandlerStats,
}

impl<R> Handlers<R> {
    /// An empty registry.
    pub(crate) fn new(defaults: Settings) -> Self {
        let registered =
            Registered { table: Arc::default(), leaving: Vec::new(), gone: HandlerStats::default() };
        let (registered, defaults) = (Mutex::new(registered), Mutex::new(defaults));
        Self { registered, generation: AtomicU64::new(0), defaults }
    }

    /// Replaces what holds where a handler does not say otherwise, for those registered from now on.
    pub(crate) fn set_defaults(&self, defaults: Settings) {
        *lock(&self.defaults) = defaults;
    }
}

impl<R: Send + 'static> Handlers<R> {
    /// Registers a handler; says whether it replaced one.
    ///
    /// A replaced handler's waiting messages are dropped and counted as closed; what it is working on it
    /// finishes.
    pub(crate) fn register(&self, selector: Selector, handler: Handler<R>) -> bool {
        let defaults = *lock(&self.defaults);
        self.change(|table| table.insert(selector, Arc::new(Entry::new(handler, defaults))))
    }

    /// Unregisters a handler; says whether there was one. Its messages fare as those of a replaced one.
    pub(crate) fn unregister(&self, selector: Selector) -> bool {
        self.change(|table| table.remove(selector))
    }

    /// Changes a copy of the table, and puts it in place for the driver to see with the next message.
    fn change(&self, edit: impl FnOnce(&mut Table<R>) -> Option<Arc<Entry<R>>>) -> bool {
        let mut registered = lock(&self.registered);
        let mut table = Table::clone(&registered.table);
        let old_entry = edit(&mut table);
        let old_table = std::mem::replace(&mut registered.table, Arc::new(table));
        if let Some(entry) = &old_entry {
            registered.leaving.push(entry.tally());
        }
        registered.sweep();
        self.generation.fetch_add(1, Ordering::Release);
        drop(registered);
        // Users' closures and reply handles are dropped here or by the driver: never under the lock.
        drop(old_table);
        old_entry.is_some_and(|entry| {
            entry.stop();
            true
        })
    }

    /// Drops the messages that wait for handlers, counted as closed, then waits for those being handled, at
    /// most `bound` and not for the calling handler itself. Says whether all had finished.
    ///
    /// For a disconnect: the handlers stay registered.
    pub(crate) fn quiesce(&self, bound: Duration) -> bool {
        let backlogs = self.backlogs();
        backlogs.iter().for_each(|backlog| drop(backlog.discard()));
        wait_quiet(&backlogs, bound)
    }

    /// Unregisters every handler and waits as `quiesce` does; then cancels the async ones still at work.
    ///
    /// Blocking ones still at work are left to themselves. Says whether all had finished in time. Handlers
    /// may be registered again afterwards.
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

    /// The counts of the handlers registered now.
    pub(crate) fn stats(&self) -> Vec<(Selector, HandlerStats)> {
        let table = Arc::clone(&lock(&self.registered).table);
        table.iter().map(|(selector, entry)| (selector, entry.tally().stats())).collect()
    }

    /// The counts of all handlers that ever were.
    pub(crate) fn totals(&self) -> HandlerStats {
        let mut registered = lock(&self.registered);
        registered.sweep();
        let mut totals = registered.gone;
        let present = registered.table.iter().map(|(_, entry)| entry.tally().stats());
        let leaving = registered.leaving.iter().map(Tally::stats);
        present.chain(leaving).for_each(|stats| totals.merge(&stats));
        totals
    }

    /// The backlogs of all queued handlers, those leaving included.
    fn backlogs(&self) -> Backlogs<R> {
        let registered = lock(&self.registered);
        let present = registered.table.iter().map(|(_, entry)| entry.tally());
        present.chain(registered.leaving.iter().cloned()).filter_map(Tally::into_backlog).collect()
    }

    /// What the driver looks at for time limits: the queues registered, and the backlogs leaving.
    fn timed(&self) -> (Vec<Arc<Queue<R>>>, Backlogs<R>) {
        let registered = lock(&self.registered);
        let queues = registered.table.iter().filter_map(|(_, entry)| entry.queue().cloned()).collect();
        let leaving = registered.leaving.iter().cloned().filter_map(Tally::into_backlog).collect();
        (queues, leaving)
    }
}

impl<R> Registered<R> {
    /// Adds the counts that can change no more to `gone`.
    fn sweep(&mut self) {
        let gone = &mut self.gone;
        self.leaving.retain(|tally| {
            // Asked once: the last user may let go at any moment, and is to be counted.
            let is_final = tally.is_final();
            if is_final {
                gone.merge(&tally.stats());
            }
            !is_final
        });
    }
}

impl<R> Drop for Handlers<R> {
    /// Lets the workers end; waits for none.
    fn drop(&mut self) {
        let table = Arc::clone(&lock(&self.registered).table);
        table.iter().for_each(|(_, entry)| entry.stop());
    }
}

fn wait_quiet<R>(backlogs: &[Arc<Backlog<R>>], bound: Duration) -> bool {
    let deadline = Instant::now().checked_add(bound);
    backlogs.iter().all(|backlog| backlog.wait_quiet(deadline, backlog.own_job()))
}

impl<R> std::fmt::Debug for Handlers<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}
