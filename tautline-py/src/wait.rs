//! Waits for a future of the library on the calling thread. Other threads of Python run meanwhile, and Ctrl-C ends the wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::life;

/// How long a thread waits before it looks for signals, and for the end of the interpreter.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Wakes a thread. The flag keeps the wake-up if other code on that thread consumes the token of `park`.
struct ThreadWaker {
    thread: Thread,
    /// Release when it is set, acquire when it is read: what was written before the wake-up is seen after it.
    woken: AtomicBool,
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

thread_local! {
    static HERE: (Arc<ThreadWaker>, Waker) = {
        let waker = Arc::new(ThreadWaker { thread: std::thread::current(), woken: AtomicBool::new(false) });
        (Arc::clone(&waker), Waker::from(waker))
    };
}

/// Looks for signals, and for the end of the interpreter, on a thread that waits inside the library.
pub(crate) fn look_around() -> PyResult<()> {
    Python::attach(|py| {
        life::check(py)?;
        py.check_signals()
    })
}

/// Waits until the future is ready, at most for `timeout`. `None`: the time is over.
pub(crate) fn block<F>(
    py: Python<'_>,
    future: &mut F,
    timeout: Option<Duration>,
) -> PyResult<Option<F::Output>>
where
    F: Future<Output: Send> + Unpin + Send,
{
    // A time-out beyond the end of the clock is none.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let found = life::detached(py, || HERE.with(|(here, waker)| slice(future, here, waker, deadline)))?;
        if found.is_some() {
            return Ok(found);
        }
        py.check_signals()?;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
    }
}

/// Waits in pieces, between which it looks around: `wait` waits at most so long, and returns whether it is over. Returns false
/// once `timeout` is over.
pub(crate) fn repeat(
    py: Python<'_>,
    timeout: Option<Duration>,
    wait: impl Fn(Duration) -> bool + Sync,
) -> PyResult<bool> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let slice = left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
        if life::detached(py, || wait(slice))? {
            return Ok(true);
        }
        py.check_signals()?;
        if left.is_some_and(|left| left <= slice) {
            return Ok(false);
        }
    }
}

/// Waits for the future until it is time to look around.
fn slice<F: Future + Unpin>(
    future: &mut F,
    here: &ThreadWaker,
    waker: &Waker,
    deadline: Option<Instant>,
) -> Option<F::Output> {
    let look = Instant::now() + LOOK_EVERY;
    let end = deadline.map_or(look, |deadline| deadline.min(look));
    loop {
        if let Poll::Ready(output) = Pin::new(&mut *future).poll(&mut Context::from_waker(waker)) {
            return Some(output);
        }
        while !here.woken.swap(false, Ordering::Acquire) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::park_timeout(left);
        }
    }
}
