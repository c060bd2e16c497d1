//! When Python code may run, and when the library may be touched: not while the interpreter ends, and not in a child after `fork`.
//!
//! Every call that lets other threads of Python run goes through [`detached`]. So the exit hook of the package can wait until no
//! thread is inside the library, before the interpreter goes away.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use pyo3::prelude::*;

use crate::errors;

/// Set once, by the exit hook. SeqCst, with `GUESTS`: a thread either sees it, or is counted when the hook looks.
static IS_CLOSING: AtomicBool = AtomicBool::new(false);

/// The number of threads inside [`detached`].
static GUESTS: AtomicUsize = AtomicUsize::new(0);

/// How often this process was made by `fork`. Changed in the child, where there is one thread.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Counts a thread as inside the library.
struct Guest;

impl Guest {
    fn enter() -> Self {
        GUESTS.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // A child made by `fork` begins with 0 again, and may leave what its parent had entered.
        let _ = GUESTS.try_update(Ordering::SeqCst, Ordering::SeqCst, |guests| guests.checked_sub(1));
    }
}

/// Runs `work` while other threads of Python run. An error once the interpreter ends.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let _guest = Guest::enter();
    check(py)?;
    Ok(py.detach(work))
}

/// An error once the interpreter ends.
pub(crate) fn check(py: Python<'_>) -> PyResult<()> {
    if is_closing() {
        return Err(errors::raise(py, "Closing", "the interpreter ends, and all links are closed"));
    }
    Ok(())
}

/// Whether the interpreter ends.
pub(crate) fn is_closing() -> bool {
    IS_CLOSING.load(Ordering::SeqCst)
}

/// Lets no thread into the library from now on.
#[pyfunction]
pub(crate) fn begin_exit() {
    IS_CLOSING.store(true, Ordering::SeqCst);
}

/// Returns how many threads are inside the library.
#[pyfunction]
pub(crate) fn guests() -> usize {
    GUESTS.load(Ordering::SeqCst)
}

/// Tells that this process was made by `fork`: whatever was made before belongs to the parent.
#[pyfunction]
pub(crate) fn after_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    GUESTS.store(0, Ordering::SeqCst);
}

/// Something of the library that must not be touched in a child made by `fork`: its threads and its locks are the parent's.
pub(crate) struct Own<T> {
    /// `None` only while it is dropped.
    value: Option<T>,
    generation: u64,
}

impl<T> Own<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), generation: GENERATION.load(Ordering::Relaxed) }
    }

    fn is_ours(&self) -> bool {
        self.generation == GENERATION.load(Ordering::Relaxed)
    }

    /// Returns the value, unless this process is a child of the one that made it.
    pub(crate) fn get(&self, py: Python<'_>) -> PyResult<&T> {
        match &self.value {
            Some(value) if self.is_ours() => Ok(value),
            _ => Err(errors::raise(
                py,
                "ForkError",
                "this process was made by fork, and the link belongs to its parent: make a new link in the child, or start \
                 the child with the method \"spawn\"",
            )),
        }
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        if !self.is_ours() {
            std::mem::forget(value);
        }
    }
}
