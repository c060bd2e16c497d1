//! Messages for a handler that is written in Python.
//!
//! The library gives each message as a job, with its own limits and counts. A thread or an event loop of Python takes the job,
//! calls the handler, and says how that ended. So no thread of the library ever runs Python.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pyo3::prelude::*;
use tautline::{Handler, HandlerFuture, QueuedHandler};

use crate::bell::Bell;
use crate::life::Own;
use crate::message::Message;
use crate::queue::{Feed, Queue};
use crate::reply::Reply;

/// The jobs that wait here are in hand already, so the library's `handler_concurrency` bounds them.
const LIMIT: usize = usize::MAX;

/// The messages for one handler.
#[pyclass(frozen, module = "tautline._native")]
pub(crate) struct Jobs {
    queue: Own<Arc<Queue<Work>>>,
}

/// One message in hand.
pub(crate) struct Work {
    message: tautline::Message,
    reply: tautline::Reply,
    end: End,
}

impl Work {
    /// Whether the library still waits for it: its time limit is not over, and its handler is registered.
    fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.end.0.0) > 1
    }
}

/// Limits of one handler; see the library's `QueuedHandler`.
pub(crate) struct Limits {
    pub(crate) concurrency: Option<usize>,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) backlog: Option<usize>,
    pub(crate) is_unordered: bool,
}

impl Jobs {
    /// Makes the queue, and the library's handler that fills it.
    pub(crate) fn handler(limits: &Limits) -> (Self, Handler) {
        let queue = Queue::new();
        let feed = Feed::new(&queue, LIMIT);
        let mut handler: QueuedHandler = Handler::spawned(Task::start, move |message, reply| {
            let outcome = Outcome::default();
            feed.push(Work { message, reply, end: End(outcome.clone()) });
            outcome
        });
        if let Some(count) = limits.concurrency {
            handler = handler.concurrency(count);
        }
        if let Some(limit) = limits.time_limit {
            handler = handler.time_limit(limit);
        }
        if let Some(count) = limits.backlog {
            handler = handler.backlog(count);
        }
        if limits.is_unordered {
            handler = handler.unordered();
        }
        (Self { queue: Own::new(queue) }, handler.into())
    }
}

#[pymethods]
impl Jobs {
    /// Takes the next job, and tells how many wait. Waits for one; None once the handler is gone.
    fn next(&self, py: Python<'_>) -> PyResult<Option<(Job, usize)>> {
        loop {
            match self.queue.get(py)?.next(py)? {
                Some((work, _)) if !work.is_wanted() => {}
                found => return Ok(found.map(|(work, waiting)| (Job::new(work), waiting))),
            }
        }
    }

    /// Takes the next job, if there is one.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Job>> {
        let queue = self.queue.get(py)?;
        let mut works = std::iter::from_fn(|| queue.poll());
        Ok(works.find(Work::is_wanted).map(Job::new))
    }

    /// Lets the bell ring with each job.
    fn ring(&self, py: Python<'_>, bell: &Bell, token: u64) -> PyResult<()> {
        self.queue.get(py)?.ring_with(bell.ring_of(token));
        Ok(())
    }

    /// Whether no job will come any more.
    #[getter]
    fn is_closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.queue.get(py)?.is_closed())
    }
}

/// A message for a handler.
#[pyclass(frozen, module = "tautline._native")]
pub(crate) struct Job {
    parts: Mutex<Option<(tautline::Message, tautline::Reply)>>,
    end: Own<Mutex<Option<End>>>,
}

impl Job {
    fn new(work: Work) -> Self {
        let Work { message, reply, end } = work;
        Self { parts: Mutex::new(Some((message, reply))), end: Own::new(Mutex::new(Some(end))) }
    }
}

#[pymethods]
impl Job {
    /// Takes the message and its reply. None the second time.
    fn take(&self) -> Option<(Message, Reply)> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).take();
        parts.map(|(message, reply)| (Message::new(message), Reply::new(reply)))
    }

    /// Tells the library how the handler ended.
    fn finish(&self, py: Python<'_>, succeeded: bool) -> PyResult<()> {
        let end = self.end.get(py)?.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(end) = end {
            // The library goes on with the next message, on this thread.
            py.detach(move || end.tell(succeeded));
        }
        Ok(())
    }
}

/// How the handler ended, once it is known. The library awaits it.
#[derive(Clone, Default)]
struct Outcome(Arc<Mutex<(Option<bool>, Option<Waker>)>>);

impl Future for Outcome {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.0 {
            Some(true) => Poll::Ready(()),
            Some(false) => {
                drop(state);
                // The library counts it as it counts a handler of Rust that panics. No message is printed.
                std::panic::resume_unwind(Box::new("the handler raised an exception"))
            }
            None => {
                state.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Tells the outcome. One that is dropped tells of a failure.
struct End(Outcome);

impl End {
    fn tell(&self, succeeded: bool) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waker = match state.0 {
            Some(_) => None,
            None => {
                state.0 = Some(succeeded);
                state.1.take()
            }
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.tell(false);
    }
}

/// Runs the library's part of a job: it is polled where it was woken, and never waits.
struct Task(Mutex<Option<HandlerFuture>>);

impl Task {
    fn start(future: HandlerFuture) {
        Arc::new(Self(Mutex::new(Some(future)))).poll();
    }

    fn poll(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut future = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = future.as_mut() else { return };
        if running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            *future = None;
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.poll();
    }
}
