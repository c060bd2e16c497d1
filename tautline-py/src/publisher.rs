//! Sends again and again with the same metadata, to the same target.

use std::time::Instant;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tautline::{MessageType, Payload, Raw, SendError, Sent};

use crate::arguments::{self, Options};
use crate::errors;
use crate::life::{self, Own};
use crate::link::{Link, outcome, sent};
use crate::message::Message;
use crate::pending::Pending;
use crate::value::Content;
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
    fn send(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        age: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<&'static str> {
        let (interface, publisher) = self.parts.get(py)?;
        let made = age.map(arguments::made).transpose()?.flatten();
        match Content::of(value) {
            Content::Raw(bytes) => {
                let bytes = bytes.as_bytes();
                sent(py, &life::detached(py, || send(publisher, made, Raw(bytes)))?)
            }
            Content::Value(value) => {
                let payload =
                    interface.encode(&value).map_err(|error| errors::encode_value(py, &error, value.0))?;
                sent(py, &life::detached(py, || send(publisher, made, &payload))?)
            }
        }
    }

    /// Sends many values at once, in as few datagrams as they fit. If one of them cannot be encoded, none is sent.
    fn send_batch(&self, py: Python<'_>, values: &Bound<'_, PyAny>) -> PyResult<&'static str> {
        let (interface, publisher) = self.parts.get(py)?;
        let values = match values.cast::<PyList>() {
            Ok(list) => list.clone(),
            Err(_) => {
                let items = values.try_iter().map_err(|_| {
                    PyTypeError::new_err(format!("send_batch: a list of values is expected, not {values:?}"))
                })?;
                PyList::new(py, items.collect::<PyResult<Vec<_>>>()?)?
            }
        };
        let mut payloads = Vec::with_capacity(values.len());
        for value in values.iter() {
            payloads.push(match Content::of(&value) {
                Content::Raw(bytes) => Payload::raw(bytes.as_bytes()),
                Content::Value(value) => {
                    interface.encode(&value).map_err(|error| errors::encode_value(py, &error, value.0))?
                }
            });
        }
        sent(py, &life::detached(py, || publisher.send_batch(&payloads))?)
    }

    /// Begins a request: sends a question, and waits for its answer for at most `timeout`.
    #[pyo3(signature = (value, timeout=None))]
    fn begin_request(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Pending> {
        let (interface, publisher) = self.parts.get(py)?;
        let timeout = arguments::timeout(timeout)?;
        let request = match Content::of(value) {
            Content::Raw(bytes) => {
                let bytes = bytes.as_bytes();
                life::detached(py, || publisher.request(Raw(bytes), timeout))?
            }
            Content::Value(value) => {
                let payload =
                    interface.encode(&value).map_err(|error| errors::encode_value(py, &error, value.0))?;
                life::detached(py, || publisher.request(&payload, timeout))?
            }
        };
        let request = request.map_err(|error| errors::send(py, &error))?;
        Ok(Pending::new(request, |py, answer| match answer {
            Ok(message) => Ok(Py::new(py, Message::new(message))?.into_any()),
            Err(error) => Err(errors::request(py, &error)),
        }))
    }

    /// Begins a reliable message: it is sent again until the peer has it.
    fn begin_reliable(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<Pending> {
        let (interface, publisher) = self.parts.get(py)?;
        let receipt = match Content::of(value) {
            Content::Raw(bytes) => {
                let bytes = bytes.as_bytes();
                life::detached(py, || publisher.send_reliable(Raw(bytes)))?
            }
            Content::Value(value) => {
                let payload =
                    interface.encode(&value).map_err(|error| errors::encode_value(py, &error, value.0))?;
                life::detached(py, || publisher.send_reliable(&payload))?
            }
        };
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
}
