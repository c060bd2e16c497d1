//! Watchdogs: their ids, and their changes for failsafes that are written in Python.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use pyo3::prelude::*;
use tautline::{WatchId, WatchdogEvent, WatchdogState};

use crate::event::change_of;
use crate::life::Own;
use crate::queue::{Feed, Queue};

/// The most changes that wait for a failsafe. As many as the library keeps for subscribers.
const LIMIT: usize = 1024;

/// The id of a watchdog.
#[pyclass(frozen, eq, module = "tautline")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watch(pub(crate) WatchId);

#[pymethods]
impl Watch {
    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __copy__(&self) -> Self {
        *self
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        *self
    }

    fn __repr__(&self) -> String {
        format!("<{:?}>", self.0)
    }
}

pub(crate) const fn state_name(state: WatchdogState) -> &'static str {
    match state {
        WatchdogState::Armed => "armed",
        WatchdogState::Tripped => "tripped",
        _ => "waiting",
    }
}

/// The changes of watchdogs for one failsafe. The watchdogs' thread puts them in, and never waits for Python.
#[pyclass(frozen, module = "tautline._native")]
pub(crate) struct Changes {
    queue: Own<Arc<Queue<WatchdogEvent>>>,
}

impl Changes {
    /// Makes the queue, and the failsafe that fills it.
    pub(crate) fn failsafe() -> (Self, impl Fn(&WatchdogEvent) + Send + Sync + 'static) {
        let queue = Queue::new();
        let feed = Feed::new(&queue, LIMIT);
        (Self { queue: Own::new(queue) }, move |event: &WatchdogEvent| feed.push(*event))
    }
}

#[pymethods]
impl Changes {
    /// Takes the next change. Waits for one; None once the watchdog is gone.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let found = self.queue.get(py)?.next(py)?;
        found.map(|(event, _)| change_of(py, &event)).transpose()
    }

    /// Whether no change waits.
    #[getter]
    fn is_empty(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.queue.get(py)?.is_empty())
    }
}
