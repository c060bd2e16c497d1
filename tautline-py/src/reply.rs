//! Answers a message, from inside a handler.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tautline::{MessageType, Raw};

use crate::arguments::Options;
use crate::errors;
use crate::life::{self, Own};
use crate::link::sent;
use crate::value::Content;

/// Answers the message that a handler was given: goes to its sender, and carries its id as correlation id.
#[pyclass(frozen, module = "tautline")]
pub(crate) struct Reply {
    reply: Own<tautline::Reply>,
}

impl Reply {
    pub(crate) fn new(reply: tautline::Reply) -> Self {
        Self { reply: Own::new(reply) }
    }
}

#[pymethods]
impl Reply {
    /// Sends the answer. Takes what `Link.send` takes; the type is "acknowledgment" unless you choose another one.
    #[pyo3(signature = (value, r#type=None, **options))]
    fn __call__(
        &self,
        py: Python<'_>,
        value: &Bound<'_, PyAny>,
        r#type: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<&'static str> {
        let reply = self.reply.get(py)?;
        let options = Options::read(r#type, MessageType::Acknowledgment, options)?;
        let metadata = &options.metadata;
        match Content::of(value) {
            Content::Raw(bytes) => {
                let bytes = bytes.as_bytes();
                sent(py, &life::detached(py, || reply.send(Raw(bytes), metadata))?)
            }
            Content::Value(value) => {
                let payload =
                    reply.encode(&value).map_err(|error| errors::encode_value(py, &error, value.0))?;
                sent(py, &life::detached(py, || reply.send(&payload, metadata))?)
            }
        }
    }
}
