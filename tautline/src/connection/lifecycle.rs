//! Connects and disconnects: one thread at a time. Threads that ask meanwhile wait, and share the outcome.
//!
//! Called by `interface`. What opening does in detail is in [`opening`](super::opening).

use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicU8, Condvar, Mutex, MutexGuard, Ordering, PoisonError};
use std::time::Duration;

use super::Connection;
use super::slot::Slot;
use crate::config::{Config, DrivenBy};
use crate::error::ConnectError;
use crate::machine::life::Life;
use crate::machine::realtime::Held;
use crate::machine::socket::Granted;
use crate::sync::{lock, wait_for};
use tautline_proto::{Cause, ConnectionState};

/// The running connection, if there is one, and whether a thread is changing that.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Where the thread that turns finds the connection.
    pub(super) slot: Arc<Slot>,
    /// Who turns the running connection. Order: relaxed; a late look costs a wake-up.
    driven_by: AtomicU8,
}

#[derive(Debug, Default)]
struct Inner {
    running: Option<Running>,
    /// A thread opens or closes a connection. It does not hold the lock meanwhile.
    busy: bool,
}

/// A connection that was opened and has not been ended.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) life: Arc<Life>,
    pub(super) thread: Option<JoinHandle<()>>,
    pub(super) granted: Granted,
    /// What a caller-driven connection holds of the machine. A driver's thread holds its own.
    pub(super) _held: Option<Held>,
}

impl Lifecycle {
    pub(crate) fn life(&self) -> Option<Arc<Life>> {
        lock(&self.inner).running.as_ref().map(|running| Arc::clone(&running.life))
    }

    pub(crate) fn granted(&self) -> Granted {
        lock(&self.inner).running.as_ref().map(|running| running.granted).unwrap_or_default()
    }

    /// Waits until no other thread opens or closes. Returns the lock, and whether the call had to wait.
    ///
    /// Returns `None` if the calling thread is the driver (`on_driver`) and would have to wait: it would wait for itself.
    fn enter(&self, on_driver: bool) -> Option<(MutexGuard<'_, Inner>, bool)> {
        let mut inner = lock(&self.inner);
        let mut waited = false;
        while inner.busy {
            if on_driver {
                return None;
            }
            waited = true;
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        Some((inner, waited))
    }

    /// Who turns the running connection. [`DrivenBy::Auto`]: callers, unless there are inline handlers.
    pub(super) fn driven_by(&self) -> DrivenBy {
        match self.driven_by.load(Ordering::Relaxed) {
            0 => DrivenBy::Thread,
            1 => DrivenBy::Auto,
            _ => DrivenBy::Callers,
        }
    }

    pub(super) fn set_driven_by(&self, driven_by: DrivenBy) {
        let code = match driven_by {
            DrivenBy::Thread => 0,
            DrivenBy::Auto => 1,
            DrivenBy::Callers => 2,
        };
        self.driven_by.store(code, Ordering::Relaxed);
    }

    fn set_running(&self, running: Running) {
        lock(&self.inner).running = Some(running);
    }
}

/// The calling thread opens or closes a connection, until this is dropped. A panic drops it too.
struct Changing<'a>(&'a Lifecycle);

impl<'a> Changing<'a> {
    /// Begins. Also returns the connection that is to end.
    fn begin(lifecycle: &'a Lifecycle, mut inner: MutexGuard<'_, Inner>) -> (Self, Option<Running>) {
        inner.busy = true;
        (Self(lifecycle), inner.running.take())
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        lock(&self.0.inner).busy = false;
        self.0.changed.notify_all();
    }
}

impl Connection {
    /// Opens a connection, unless there is one or another thread opens one. Returns when the socket is ready. The status
    /// tells the outcome.
    pub(crate) fn open(&self, replace: Option<Config>) -> Result<(), ConnectError> {
        let shared = &self.shared;
        let on_driver = shared.drivers.include_caller();
        let Some((inner, waited)) = self.lifecycle.enter(on_driver) else {
            return Err(ConnectError::FromHandler);
        };
        match shared.status.state() {
            ConnectionState::Closed => return Err(ConnectError::Closed),
            ConnectionState::Disconnected => {}
            // Another thread's attempt has just failed. This call shares its outcome.
            ConnectionState::Error if waited => return shared.status.outcome().unwrap_or(Ok(())),
            ConnectionState::Error => {}
            _ if replace.is_some() => return Err(ConnectError::StillConnected),
            _ => return Ok(()),
        }
        if on_driver {
            return Err(ConnectError::FromHandler);
        }
        let (_changing, old) = Changing::begin(&self.lifecycle, inner);
        // Left over if connecting failed in the background.
        self.end(old, false);
        let first_number = *lock(&shared.first_number);
        shared.status.apply(Cause::Connect);
        #[cfg(feature = "metrics")]
        let opened =
            self.serve_metrics(replace.as_ref()).and_then(|()| self.open_fresh(replace, first_number));
        #[cfg(not(feature = "metrics"))]
        let opened = self.open_fresh(replace, first_number);
        match opened {
            Ok(running) => {
                self.lifecycle.set_running(running);
                #[cfg(feature = "metrics")]
                self.show_in_metrics();
                Ok(())
            }
            Err(error) => {
                shared.status.fail(Cause::Failed, error.clone());
                Err(error)
            }
        }
    }

    /// Ends the connection, if there is one: tells the peers, wakes every waiter, closes the socket.
    pub(crate) fn shut(&self) {
        let on_driver = self.shared.drivers.include_caller();
        let Some((inner, _)) = self.lifecycle.enter(on_driver) else { return };
        // Held until the state has changed: a thread that still sees the old state must not take it for connected.
        let (_changing, running) = Changing::begin(&self.lifecycle, inner);
        self.end(running, on_driver);
        self.shared.status.apply(Cause::Disconnect);
    }

    fn end(&self, running: Option<Running>, on_driver: bool) {
        let Some(running) = running else { return };
        // Before the peers are told: a client that calls again at once must not be answered.
        running.life.stop();
        self.shared.shut_line();
        self.shared.inbox.close();
        // A driver cannot wait for itself. It ends, and the socket closes, when the handler that calls this returns.
        match running.thread {
            Some(thread) if thread.thread().id() == thread::current().id() => running.life.orphan(),
            // A driver that panicked is a bug of ours. Its connection ends here all the same.
            Some(thread) => {
                let leads = self.lifecycle.slot.is_led_by_caller();
                if leads {
                    running.life.orphan();
                }
                wait_for(thread);
                if !leads {
                    self.lifecycle.slot.clear();
                }
            }
            None if on_driver => running.life.orphan(),
            None => self.lifecycle.slot.clear(),
        }
        self.shared.recording.end();
        self.shared.handlers.quiesce(Duration::ZERO);
        self.shared.directory.end();
        self.shared.watchdogs.peer_left(None, self.shared.steady_now());
    }
}
