//! The clock of a control loop.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use pyo3::prelude::*;
use tautline::{LockState, Wake};

use crate::arguments::{self, Channel};
use crate::errors;
use crate::life;
use crate::link::Link;
use crate::pending::Pending;
use crate::wait::LOOK_EVERY;

/// The clock of a control loop: wakes it once in each period, and never drifts. A cycle that is missed is not made up for.
///
///     for wake in tautline.Cycle(0.001):
///         ...
#[pyclass(frozen, subclass, module = "tautline._native")]
pub(crate) struct Cycle {
    cycle: Arc<Mutex<tautline::Cycle>>,
}

/// The next cycle, as a future.
struct NextWake(Arc<Mutex<tautline::Cycle>>);

impl Future for NextWake {
    type Output = Wake;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Wake> {
        Pin::new(&mut lock(&self.0).wait_async()).poll(context)
    }
}

fn lock(cycle: &Mutex<tautline::Cycle>) -> MutexGuard<'_, tautline::Cycle> {
    cycle.lock().unwrap_or_else(PoisonError::into_inner)
}

fn object_of(py: Python<'_>, wake: &Wake) -> PyResult<Py<PyAny>> {
    let Wake { number, missed, phase, is_late, .. } = *wake;
    let class = PyModule::import(py, "tautline._types")?.getattr("Wake")?;
    Ok(class.call1((number, missed, phase.as_secs_f64(), is_late))?.unbind())
}

#[pymethods]
impl Cycle {
    #[new]
    fn new(py: Python<'_>, period: &Bound<'_, PyAny>) -> PyResult<Self> {
        let cycle = tautline::Cycle::every(arguments::duration(period)?)
            .map_err(|error| errors::raise(py, "PeriodError", error.to_string()))?;
        Ok(Self { cycle: Arc::new(Mutex::new(cycle)) })
    }

    /// Waits for the next cycle. Returns its number, how many cycles were missed before it, how late it is (in seconds), and
    /// whether that is too late.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let is_far =
            || lock(&self.cycle).deadline().saturating_duration_since(Instant::now()) > 2 * LOOK_EVERY;
        while life::detached(py, || {
            let waits = is_far();
            if waits {
                std::thread::sleep(LOOK_EVERY);
            }
            waits
        })? {
            py.check_signals()?;
        }
        let wake = life::detached(py, || lock(&self.cycle).wait())?;
        py.check_signals()?;
        object_of(py, &wake)
    }

    /// Begins to wait for the next cycle.
    #[pyo3(name = "_begin")]
    fn begin(&self) -> Pending {
        let next = NextWake(Arc::clone(&self.cycle));
        Pending::new(next, |py, wake| object_of(py, &wake))
    }

    /// Follows a peer: from now on each cycle comes `offset` seconds after a time stamp of these messages. So two loops whose
    /// clocks run at different speeds stay together, and each cycle finds one new message (docs/realtime.md).
    #[pyo3(signature = (link, r#type, offset, channel=None))]
    fn follow(
        &self,
        py: Python<'_>,
        link: &Bound<'_, Link>,
        r#type: &Bound<'_, PyAny>,
        offset: &Bound<'_, PyAny>,
        channel: Option<Channel>,
    ) -> PyResult<()> {
        let interface = link.get().interface(py)?;
        let messages = arguments::selector(r#type, channel)?;
        let offset = arguments::duration(offset)?;
        life::detached(py, || lock(&self.cycle).follow(interface, messages, offset))
    }

    /// Follows no peer any more.
    fn unfollow(&self, py: Python<'_>) -> PyResult<()> {
        life::detached(py, || lock(&self.cycle).unfollow())
    }

    /// How well it follows: the state, the last error in seconds, the rate in ppm, and how often it jumped. None: nobody.
    #[getter(_following_parts)]
    fn following_parts(&self, py: Python<'_>) -> PyResult<Option<(&'static str, f64, f64, u64)>> {
        let following = life::detached(py, || lock(&self.cycle).following())?;
        let Some(following) = following else { return Ok(None) };
        let state = match following.state {
            LockState::Locking => "locking",
            LockState::Locked => "locked",
            LockState::Coasting => "coasting",
            _ => "waiting",
        };
        Ok(Some((state, following.error.as_secs_f64(), following.rate_ppm, following.relocks)))
    }

    /// The counts: wakes, late wakes, missed cycles, and how late the worst wake-up was, in seconds.
    #[getter(_statistics_parts)]
    fn statistics_parts(&self, py: Python<'_>) -> PyResult<(u64, u64, u64, f64)> {
        let stats = life::detached(py, || lock(&self.cycle).stats())?;
        Ok((stats.wakes, stats.late, stats.missed, stats.max_phase.as_secs_f64()))
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.wait(py)
    }

    /// The period, in seconds.
    #[getter]
    fn period(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(life::detached(py, || lock(&self.cycle).period())?.as_secs_f64())
    }
}
