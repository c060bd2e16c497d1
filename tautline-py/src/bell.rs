//! The bell of an event loop: an eventfd that the loop watches, and the list of what has rung.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use pyo3::prelude::*;
use rustix::event::{EventfdFlags, eventfd};

/// One for each event loop. The loop reads all that has rung at once.
#[pyclass(frozen, module = "tautline._native")]
pub(crate) struct Bell {
    shared: Arc<Shared>,
    /// The number of the next token. Relaxed: only the number counts.
    next: AtomicU64,
}

struct Shared {
    descriptor: OwnedFd,
    /// The tokens that have rung since the loop looked. If it is not empty, the eventfd is readable.
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
            // It cannot fail: the counter of the eventfd is far from its end.
            let _ = rustix::io::write(&self.shared.descriptor, &1_u64.to_ne_bytes());
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
        let descriptor =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
        let shared = Arc::new(Shared { descriptor, rung: Mutex::default() });
        Ok(Self { shared, next: AtomicU64::new(0) })
    }

    fn fileno(&self) -> i32 {
        self.shared.descriptor.as_raw_fd()
    }

    /// Returns a number that has not been used yet.
    fn token(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the tokens that have rung.
    fn drain(&self) -> Vec<u64> {
        // First the eventfd: what rings after this makes it readable again.
        let _ = rustix::io::read(&self.shared.descriptor, &mut [0; 8]);
        std::mem::take(&mut self.shared.rung.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
