//! The bell of an event loop: the list of what has rung, and what wakes the loop. On Linux the loop watches an eventfd. On other
//! systems not every loop can watch one (asyncio's own on Windows cannot), so a thread waits for the bell and tells the loop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use pyo3::prelude::*;

#[cfg(not(target_os = "linux"))]
use condition::Wakeup;
#[cfg(target_os = "linux")]
use descriptor::Wakeup;

/// One for each event loop. The loop reads all that has rung at once.
#[pyclass(frozen, module = "tautline._native")]
pub(crate) struct Bell {
    shared: Arc<Shared>,
    /// The number of the next token. Relaxed: only the number counts.
    next: AtomicU64,
}

struct Shared {
    wakeup: Wakeup,
    /// The tokens that have rung since the loop looked. If it is not empty, the loop was woken.
    rung: Mutex<Vec<u64>>,
}

/// Rings the bell with one token.
pub(crate) struct Ring {
    shared: Arc<Shared>,
    token: u64,
}

impl Ring {
    pub(crate) fn ring(&self) {
        let mut rung = self.shared.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = rung.is_empty();
        rung.push(self.token);
        drop(rung);
        if is_first {
            self.shared.wakeup.wake();
        }
    }
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

impl Bell {
    pub(crate) fn ring_of(&self, token: u64) -> Arc<Ring> {
        Arc::new(Ring { shared: Arc::clone(&self.shared), token })
    }
}

#[pymethods]
impl Bell {
    #[new]
    fn new() -> PyResult<Self> {
        let shared = Arc::new(Shared { wakeup: Wakeup::new()?, rung: Mutex::default() });
        Ok(Self { shared, next: AtomicU64::new(0) })
    }

    /// Returns the descriptor that is readable after a ring.
    #[cfg(target_os = "linux")]
    fn fileno(&self) -> i32 {
        self.shared.wakeup.fileno()
    }

    /// Waits for a ring. Returns false once the bell is closed.
    #[cfg(not(target_os = "linux"))]
    fn wait(&self, py: Python<'_>) -> bool {
        py.detach(|| self.shared.wakeup.wait())
    }

    /// Ends every wait.
    #[cfg(not(target_os = "linux"))]
    fn close(&self) {
        self.shared.wakeup.close();
    }

    /// Returns a number that has not been used yet.
    fn token(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the tokens that have rung.
    fn drain(&self) -> Vec<u64> {
        // First the wake-up: what rings after this wakes the loop again.
        self.shared.wakeup.clear();
        std::mem::take(&mut self.shared.rung.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(target_os = "linux")]
mod descriptor {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};

    use rustix::event::{EventfdFlags, eventfd};

    /// An eventfd.
    pub(super) struct Wakeup(OwnedFd);

    impl Wakeup {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
        }

        pub(super) fn fileno(&self) -> i32 {
            self.0.as_raw_fd()
        }

        pub(super) fn wake(&self) {
            // It cannot fail: the counter of the eventfd is far from its end.
            let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
        }

        pub(super) fn clear(&self) {
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod condition {
    use std::io;
    use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum State {
        Quiet,
        Rung,
        Closed,
    }

    /// What one thread waits for.
    pub(super) struct Wakeup {
        state: Mutex<State>,
        changed: Condvar,
    }

    impl Wakeup {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self { state: Mutex::new(State::Quiet), changed: Condvar::new() })
        }

        fn state(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(super) fn wake(&self) {
            let mut state = self.state();
            if *state == State::Quiet {
                *state = State::Rung;
                self.changed.notify_all();
            }
        }

        /// Does nothing: `wait` has taken the ring.
        pub(super) fn clear(&self) {}

        pub(super) fn wait(&self) -> bool {
            let waited = self.changed.wait_while(self.state(), |state| *state == State::Quiet);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            let is_open = *state != State::Closed;
            if is_open {
                *state = State::Quiet;
            }
            is_open
        }

        pub(super) fn close(&self) {
            *self.state() = State::Closed;
            self.changed.notify_all();
        }
    }
}
