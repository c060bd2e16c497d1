//! Something that ends later: a message that is waited for, a receipt, an answer, a claim.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pyo3::prelude::*;

use crate::arguments;
use crate::bell::Bell;
use crate::errors;
use crate::life::Own;
use crate::wait::block;

/// Makes the result, once somebody looks at it.
pub(crate) type Result = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// Ends later. A thread waits for it, or an event loop asks it each time its bell rings.
#[pyclass(frozen, module = "tautline._native")]
pub(crate) struct Pending {
    stage: Own<Mutex<Stage>>,
}

enum Stage {
    Waiting(Pin<Box<dyn Future<Output = Result> + Send>>),
    Ready(Result),
    Told(PyResult<Py<PyAny>>),
    Dropped,
}

impl Pending {
    /// Waits for the future, and makes its output an object of Python.
    pub(crate) fn new<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
        make: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Self {
        let future = async {
            let output = future.await;
            Box::new(move |py: Python<'_>| make(py, output)) as Result
        };
        Self { stage: Own::new(Mutex::new(Stage::Waiting(Box::pin(future)))) }
    }
}

fn lock(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of a [`Pending`], as a future. Several threads may wait for it; the one that asked last is woken, and the others
/// look when they next look around.
struct End<'a>(&'a Mutex<Stage>);

impl Future for End<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut stage = lock(self.0);
        let Stage::Waiting(future) = &mut *stage else { return Poll::Ready(()) };
        match future.as_mut().poll(context) {
            Poll::Ready(result) => *stage = Stage::Ready(result),
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(())
    }
}

#[pymethods]
impl Pending {
    /// Returns whether it has ended. If not, the bell rings with this token when it is worth asking again.
    fn poll(&self, py: Python<'_>, bell: &Bell, token: u64) -> PyResult<bool> {
        let stage = self.stage.get(py)?;
        let waker = Waker::from(bell.ring_of(token));
        Ok(Pin::new(&mut End(stage)).poll(&mut Context::from_waker(&waker)).is_ready())
    }

    /// Returns whether it has ended, without waiting.
    fn look(&self, py: Python<'_>) -> PyResult<bool> {
        let stage = self.stage.get(py)?;
        Ok(Pin::new(&mut End(stage)).poll(&mut Context::from_waker(Waker::noop())).is_ready())
    }

    /// Waits for the end. Returns whether it has come in time.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let stage = self.stage.get(py)?;
        Ok(block(py, &mut End(stage), arguments::timeout(timeout)?)?.is_some())
    }

    /// Returns how it ended, or raises that.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let stage = self.stage.get(py)?;
        let taken = std::mem::replace(&mut *lock(stage), Stage::Dropped);
        let told = match taken {
            Stage::Ready(make) => make(py),
            Stage::Told(told) => told,
            other => {
                *lock(stage) = other;
                return Err(errors::raise(py, "TautlineError", "it has not ended yet"));
            }
        };
        let copy = match &told {
            Ok(value) => Ok(value.clone_ref(py)),
            Err(error) => Err(error.clone_ref(py)),
        };
        *lock(stage) = Stage::Told(copy);
        told
    }

    /// Gives up waiting. A message that was meant for it goes to the next receiver.
    fn drop(&self, py: Python<'_>) -> PyResult<()> {
        let stage = self.stage.get(py)?;
        let former = std::mem::replace(&mut *lock(stage), Stage::Dropped);
        if let Stage::Ready(_) | Stage::Told(_) = former {
            *lock(stage) = former;
        }
        Ok(())
    }
}
