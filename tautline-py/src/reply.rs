//! Answers a message, from inside a handler.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use tautline::MessageType;

use crate::arguments::Options;
use crate::life::Own;
use crate::sending::{sent, with_content};

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
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        value: &Bound<'py, PyAny>,
        r#type: Option<&Bound<'py, PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyString>> {
        let reply = self.reply.get(py)?;
        let options = Options::read(r#type, MessageType::Acknowledgment, options)?;
        let metadata = &options.metadata;
        sent(py, &with_content!(py, reply, value, |content| reply.send(content, metadata))?)
    }
}
