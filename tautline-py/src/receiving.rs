//! Takes messages out of the inbox of a link. Those that are there are taken at once. Other threads of Python run only while the
//! caller waits.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyList;
use tautline::{ReceiveError, UdpInterface};

use crate::errors;
use crate::life;
use crate::message::Message;
use crate::wait::{LOOK_EVERY, look_around};

/// A look at what is there. The library does not count it as a time-out if nothing is.
const LOOK: Option<Duration> = Some(Duration::ZERO);

/// The last look of a receiver whose time is over. It does not wait either, but the library counts the time-out.
const LAST_LOOK: Option<Duration> = Some(Duration::from_nanos(1));

fn told<T>(py: Python<'_>, result: Result<T, ReceiveError>) -> PyResult<T> {
    result.map_err(|error| errors::receive(py, &error))
}

/// Takes the next message. Waits for one, at most for `timeout`.
pub(crate) fn receive(
    py: Python<'_>,
    interface: &UdpInterface,
    timeout: Option<Duration>,
) -> PyResult<Message> {
    let taken = match interface.receive(LOOK) {
        Err(ReceiveError::TimedOut) if timeout != LOOK => wait(py, interface, timeout)?,
        taken => taken,
    };
    told(py, taken.map(Message::new))
}

/// Takes the next message, if one is there.
pub(crate) fn poll(py: Python<'_>, interface: &UdpInterface) -> PyResult<Option<Message>> {
    match interface.receive(LOOK) {
        Err(ReceiveError::TimedOut) => Ok(None),
        taken => told(py, taken.map(|message| Some(Message::new(message)))),
    }
}

/// Takes up to `limit` messages. Waits for the first one, at most for `timeout`.
pub(crate) fn receive_many<'py>(
    py: Python<'py>,
    interface: &UdpInterface,
    limit: usize,
    timeout: Option<Duration>,
) -> PyResult<Bound<'py, PyList>> {
    let mut messages = Vec::new();
    let mut taken = interface.receive_many(&mut messages, limit, LOOK).map(drop);
    if taken == Err(ReceiveError::TimedOut) && timeout != LOOK {
        taken = wait(py, interface, timeout)?.map(|first| messages.push(first));
        if taken.is_ok() {
            // If this fails, the next call tells.
            let _ = interface.receive_many(&mut messages, limit - 1, LOOK);
        }
    }
    match taken {
        Ok(()) | Err(ReceiveError::TimedOut) => PyList::new(py, messages.into_iter().map(Message::new)),
        Err(error) => Err(errors::receive(py, &error)),
    }
}

/// Counts a receiver whose time is over. Takes a message that came in this moment.
pub(crate) fn last_look(py: Python<'_>, interface: &UdpInterface) -> PyResult<Message> {
    told(py, interface.receive(LAST_LOOK).map(Message::new))
}

/// What an event loop that waited for a message is given.
pub(crate) fn arrived(py: Python<'_>, taken: Result<tautline::Message, ReceiveError>) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, told(py, taken.map(Message::new))?)?.into_any())
}

/// Waits for a message. An error of Python is that of a signal's handler, such as `KeyboardInterrupt`.
fn wait(
    py: Python<'_>,
    interface: &UdpInterface,
    timeout: Option<Duration>,
) -> PyResult<Result<tautline::Message, ReceiveError>> {
    let mut raised = None;
    let taken = life::detached(py, || {
        interface.receive_while(timeout, LOOK_EVERY, &mut || {
            raised = look_around().err();
            raised.is_none()
        })
    })?;
    match (&taken, raised) {
        (Err(_), Some(error)) => Err(error),
        _ => Ok(taken),
    }
}
