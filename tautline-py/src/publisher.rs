//! Sends again and again with the same metadata, to the same target.

use std::time::Instant;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use tautline::{MessageType, Payload, SendError, Sent};

use crate::arguments::{self, Options};
use crate::errors;
use crate::life::{self, Own};
use crate::link::{Link, outcome};
use crate::message::Message;
use crate::pending::Pending;
use crate::sending::{sent, with_content};
use crate::value::{self, Content};
use crate::wait::block;

/// Sends what a loop sends again and again: the type, the channel and so on are chosen once. Made by `Link.publisher`.
#[pyclass(frozen, subclass, module = "tautline._native")]
pub(crate) struct Publisher {
    parts: Own<(tautline::UdpInterface, tautline::Publisher)>,
}

/// Sends data that were made at this time, or just now.
fn send(
    publisher: &tautline::Publisher,
    made: Option<Instant>,
    content: impl tautline::Content,
) -> Result<Sent, SendError> {
    match made {
        None => publisher.send(content),
        Some(made) => publisher.made_at(made).send(content),
    }
}

/// Reads the values of a batch. A text and bytes are one value, although they can be iterated over, and so is a dict.
fn many<'py>(values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    if let Ok(list) = values.cast::<PyList>() {
        return Ok(list.clone());
    }
    let is_one = value::is_bytes_like(values)
        || values.is_instance_of::<PyString>()
        || values.is_instance_of::<PyDict>();
    let items = (!is_one).then(|| values.try_iter().ok()).flatten().ok_or_else(|| {
        PyTypeError::new_err(format!(
            "send_batch: a list of values is expected, not {values:?}; send takes one value"
        ))
    })?;
    PyList::new(values.py(), items.collect::<PyResult<Vec<_>>>()?)
}

#[pymethods]
impl Publisher {
    #[new]
    #[pyo3(signature = (link, r#type=None, **options), text_signature = "(link, type='data', **options)")]
    fn new(
        py: Python<'_>,
        link: &Bound<'_, Link>,
        r#type: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let interface = link.get().interface(py)?;
        let Options { metadata, target } = Options::read(r#type, MessageType::Data, options)?;
        let publisher = interface.publisher(metadata).to(target);
        Ok(Self { parts: Own::new((interface.clone(), publisher)) })
    }

    /// Sends a value, or anything with a buffer as raw bytes. Returns "written", or "queued" if it is written in a moment.
    /// `age` is how old the data are already, in seconds: the age at the other end and the lifespan count from when they were
    /// made.
    #[pyo3(signature = (value, age=None))]
    fn send<'py>(
        &self,
        py: Python<'py>,
        value: &Bound<'py, PyAny>,
        age: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyString>> {
        let (interface, publisher) = self.parts.get(py)?;
        let made = age.map(arguments::made).transpose()?.flatten();
        sent(py, &with_content!(py, interface, value, |content| send(publisher, made, content))?)
    }

    /// Sends many values at once, in as few datagrams as they fit. If one of them cannot be encoded, none is sent.
    fn send_batch<'py>(&self, py: Python<'py>, values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
        let (interface, publisher) = self.parts.get(py)?;
        let values = many(values)?;
        let mut payloads = Vec::with_capacity(values.len());
        for value in values.iter() {
            payloads.push(match Content::of(&value)? {
                Content::Raw(bytes) => Payload::raw(bytes.as_bytes()),
                Content::Value(value) => {
                    interface.encode(&value).map_err(|error| errors::encode_value(py, &error, value.0))?
                }
            });
        }
        sent(py, &life::detached(py, || publisher.send_batch(&payloads))?)
    }

    /// Begins a request: sends a question, and waits for its answer for at most `timeout`.
    #[pyo3(name = "_begin_request", signature = (value, timeout=None))]
    fn begin_request(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Pending> {
        let (interface, publisher) = self.parts.get(py)?;
        let timeout = arguments::timeout(timeout)?;
        let request = with_content!(py, interface, value, |content| publisher.request(content, timeout))?;
        let request = request.map_err(|error| errors::send(py, &error))?;
        Ok(Pending::new(request, |py, answer| match answer {
            Ok(message) => Ok(Py::new(py, Message::new(message))?.into_any()),
            Err(error) => Err(errors::request(py, &error)),
        }))
    }

    /// Begins a reliable message: it is sent again until the peer has it.
    #[pyo3(name = "_begin_reliable")]
    fn begin_reliable(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Pending> {
        let (interface, publisher) = self.parts.get(py)?;
        let receipt = with_content!(py, interface, value, |content| publisher.send_reliable(content))?;
        let receipt = receipt.map_err(|error| errors::send(py, &error))?;
        Ok(Pending::new(receipt, |py, ended: tautline::Outcome| outcome(py, ended.name())))
    }

    /// Waits until one more reliable message finds room. Returns whether there is room.
    #[pyo3(signature = (timeout=None))]
    fn wait_for_room(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let (_, publisher) = self.parts.get(py)?;
        let mut room = Box::pin(publisher.room());
        Ok(block(py, &mut room, arguments::timeout(timeout)?)?.is_some())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let metadata = self.parts.get(py)?.1.metadata();
        Ok(format!("<publisher: {} on channel {}>", metadata.message_type, metadata.channel))
    }
}
