//! Ends and wakes a connection's driver from any thread.

use crate::machine::socket::SocketWaker;
use std::sync::OnceLock;

use crate::sync::thread::{self, Thread};
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
    /// The driver's thread was called. Order: set (release) before the thread is unparked, read (acquire) by that thread.
    called: AtomicBool,
    /// The driver's thread, if there is one.
    driver: OnceLock<Thread>,
    /// The system has refused to send from the socket's place. Order: relaxed; the thread that sets it wakes the driver
    /// afterwards, and a driver that overlooks it sees it at its next turn.
    displaced: AtomicBool,
}

impl Life {
    pub(crate) const fn new(waker: SocketWaker) -> Self {
        let [stopped, orphaned, called, displaced] = [const { AtomicBool::new(false) }; 4];
        Self { stopped, orphaned, waker, called, driver: OnceLock::new(), displaced }
    }

    /// Makes the calling thread the driver's thread.
    pub(crate) fn begin_driving(&self) {
        // There is only one for each connection.
        let _ = self.driver.set(thread::current());
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
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

    /// Ends the present wait of the thread that turns. If none turns, the driver's thread does.
    pub(crate) fn wake(&self) {
        self.called.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(driver) = self.driver.get() {
            driver.unpark();
        }
    }

    /// Tells the driver that the system refuses to send from where the socket is.
    #[cold]
    pub(crate) fn displaced(&self) {
        if !self.displaced.swap(true, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Whether the driver was told so since the last call of this method.
    #[inline]
    pub(crate) fn take_displaced(&self) -> bool {
        self.displaced.load(Ordering::Relaxed) && self.displaced.swap(false, Ordering::Relaxed)
    }

    /// Whether the driver's thread was called since the last call of this method.
    pub(crate) fn take_call(&self) -> bool {
        self.called.load(Ordering::Relaxed) && self.called.swap(false, Ordering::Acquire)
    }
}
