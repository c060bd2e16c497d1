//! The clock of a control loop.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use tautline::Wake;

use crate::arguments;
use crate::errors;
use crate::life;

/// The clock of a control loop: wakes it once in each period, and never drifts. A cycle that is missed is not made up for.
///
///     for wake in tautline.Cycle(0.001):
///         ...
#[pyclass(frozen, module = "tautline")]
pub(crate) struct Cycle {
    cycle: Mutex<tautline::Cycle>,
}

#[pymethods]
impl Cycle {
    #[new]
    fn new(py: Python<'_>, period: &Bound<'_, PyAny>) -> PyResult<Self> {
        let cycle = tautline::Cycle::every(arguments::duration(period)?)
            .map_err(|error| errors::raise(py, "PeriodError", error.to_string()))?;
        Ok(Self { cycle: Mutex::new(cycle) })
    }

    /// Waits for the next cycle. Returns its number, how many cycles were missed before it, how late it is (in seconds), and
    /// whether that is too late.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Wake { number, missed, phase, is_late, .. } =
            life::detached(py, || self.cycle.lock().unwrap_or_else(PoisonError::into_inner).wait())?;
        py.check_signals()?;
        let class = PyModule::import(py, "tautline._types")?.getattr("Wake")?;
        Ok(class.call1((number, missed, phase.as_secs_f64(), is_late))?.unbind())
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.wait(py)
    }

    /// The period, in seconds.
    #[getter]
    fn period(&self) -> f64 {
        self.cycle.lock().unwrap_or_else(PoisonError::into_inner).period().as_secs_f64()
    }
}
