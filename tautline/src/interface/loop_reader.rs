//! An event loop that reads the socket while it waits for messages, so that no other thread has to wake it.

#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};

use crate::connection::Connection;
use crate::sync::{Arc, AtomicUsize, Ordering};

/// Lets an event loop do the driver's work while one of its tasks awaits [`receive_async`](crate::UdpInterface::receive_async). Made by
/// [`UdpInterface::loop_reader`](crate::UdpInterface::loop_reader); one for each event loop.
///
/// Without it, the driver's thread reads a message and wakes the event loop: two threads wake up for each message. An event loop
/// that receives every 2 ms or more often saves the first of them. The driver's thread stands by meanwhile, and goes on when the
/// loop comes late.
///
/// ```
/// use tautline::{Config, create_udp_server};
///
/// let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
/// plant.connect()?;
/// let reader = plant.loop_reader();
/// // A task begins to wait. If the loop may lead, it watches the socket once ...
/// if reader.begin_wait() {
///     // ... and when the socket is readable, it turns, and watches again if it did.
///     reader.turn();
/// }
/// // The task has its message, or waits no more.
/// reader.end_wait();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LoopReader {
    connection: Arc<Connection>,
    /// How many tasks of the loop wait. Order: relaxed; the loop's thread alone changes it.
    waits: AtomicUsize,
}

impl LoopReader {
    pub(super) const fn new(connection: Arc<Connection>) -> Self {
        Self { connection, waits: AtomicUsize::new(0) }
    }

    /// A task of the loop begins to wait for a message. Returns whether the loop may lead: if so, watch the socket.
    pub fn begin_wait(&self) -> bool {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.connection.loop_waits()
    }

    /// A task has stopped waiting. Call it once for each [`begin_wait`](Self::begin_wait).
    pub fn end_wait(&self) {
        self.waits.fetch_sub(1, Ordering::Relaxed);
        self.connection.loop_left();
    }

    /// Reads what has come, without waiting, and hands it out. Returns whether the loop should watch the socket again: not if
    /// another thread reads, and not if no task waits.
    pub fn turn(&self) -> bool {
        self.connection.turn_now() && self.waits.load(Ordering::Relaxed) > 0
    }

    /// Runs `act` with the socket, to watch it. `None` while disconnected. Do not read from the socket, do not call the interface
    /// from inside `act`, and watch the socket in a way that ends when it is closed, as an epoll does.
    #[cfg(unix)]
    pub fn with_socket<R>(&self, act: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        self.connection.shared.directory.with_socket(|socket| act(socket.udp().as_fd()))
    }
}
