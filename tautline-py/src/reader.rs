//! An event loop that reads the socket of a link while one of its tasks waits for a message.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use pyo3::prelude::*;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use tautline::LoopReader;

use crate::life::{self, Own};
use crate::link::Link;

/// One for each event loop and link. The loop watches an epoll that holds the socket: so the loop need not know when the link has
/// another socket, and a closed socket leaves the epoll by itself.
#[pyclass(frozen, module = "tautline._native")]
pub(crate) struct Reader {
    reader: Own<LoopReader>,
    epoll: OwnedFd,
}

impl Reader {
    /// Watches the socket until it is readable once. Afterwards another thread may be the one that reads.
    fn watch(&self, reader: &LoopReader) {
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        let watch = |socket: BorrowedFd<'_>| {
            let watched = epoll::modify(&self.epoll, socket, EventData::new_u64(0), flags);
            watched.or_else(|_| epoll::add(&self.epoll, socket, EventData::new_u64(0), flags))
        };
        // If this fails, the link's own thread reads, as it does without this class.
        let _ = reader.with_socket(watch);
    }
}

#[pymethods]
impl Reader {
    #[new]
    fn new(py: Python<'_>, link: &Bound<'_, Link>) -> PyResult<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(std::io::Error::from)?;
        Ok(Self { reader: Own::new(link.get().interface(py)?.loop_reader()), epoll })
    }

    fn fileno(&self) -> i32 {
        self.epoll.as_fd().as_raw_fd()
    }

    /// A task of the loop begins to wait for a message.
    fn begin(&self, py: Python<'_>) -> PyResult<()> {
        let reader = self.reader.get(py)?;
        if reader.begin_wait() {
            self.watch(reader);
        }
        Ok(())
    }

    /// A task has stopped waiting.
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        self.reader.get(py)?.end_wait();
        Ok(())
    }

    /// Reads what has come, and watches the socket again.
    fn turn(&self, py: Python<'_>) -> PyResult<()> {
        let reader = self.reader.get(py)?;
        // Fetching the event ends the readiness of the epoll. `watch` then looks at the state of the socket itself.
        let mut events = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
        let _ = epoll::wait(
            &self.epoll,
            &mut events[..],
            Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }),
        );
        if life::detached(py, || reader.turn())? {
            self.watch(reader);
        }
        Ok(())
    }
}
