//! Ends and wakes a connection's driver from any thread.

use crate::machine::socket::Waker;
use crate::sync::{AtomicBool, Ordering};

/// Ends a connection from any thread.
#[derive(Debug)]
pub(crate) struct Life {
    /// Order: set (release) before the waker is called, read (acquire) by the driver between two datagrams: one
    /// that sees it takes in nothing more.
    stopped: AtomicBool,
    /// Order: relaxed; only the driver itself, from inside a handler, sets it.
    orphaned: AtomicBool,
    waker: Waker,
}

impl Life {
    pub(crate) const fn new(waker: Waker) -> Self {
        Self { stopped: AtomicBool::new(false), orphaned: AtomicBool::new(false), waker }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The connection was ended by the driver itself, from inside a handler: nobody waits until the driver has
    /// finished, so another connection may have begun, which it must leave alone.
    pub(crate) fn orphan(&self) {
        self.orphaned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_orphaned(&self) -> bool {
        self.orphaned.load(Ordering::Relaxed)
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}
