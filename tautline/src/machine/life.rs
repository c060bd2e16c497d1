//! Ends and wakes a connection's driver from any thread.

use crate::machine::socket::SocketWaker;
use crate::sync::{AtomicBool, Ordering};

/// Ends and wakes the driver of a connection.
#[derive(Debug)]
pub(crate) struct Life {
    /// Order: set (release) before the waker is called, read (acquire) by the driver between two datagrams. A driver that
    /// sees it processes no more datagrams.
    stopped: AtomicBool,
    /// Order: relaxed; only the driver itself sets it, from inside a handler.
    orphaned: AtomicBool,
    waker: SocketWaker,
}

impl Life {
    pub(crate) const fn new(waker: SocketWaker) -> Self {
        Self { stopped: AtomicBool::new(false), orphaned: AtomicBool::new(false), waker }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Records that the driver itself ended the connection, from inside a handler. No thread waits until the driver has
    /// finished, so another connection may have begun. The driver must not touch that one.
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
