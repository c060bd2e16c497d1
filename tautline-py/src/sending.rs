//! Sends what Python gives: the part that the link, its publishers and the replies of handlers share.
//!
//! A value is encoded first, which needs the interpreter. Raw bytes, and everything after the encoding, do not: other threads of
//! Python run meanwhile.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;
use tautline::{SendError, Sent, Target, UdpInterface};

use crate::arguments::Options;
use crate::errors;

/// Evaluates `$act` with `$value` as `$content`, while other threads of Python run. `$encoder` encodes a value. Raw bytes and encoded
/// values are content of two types, so this is no function.
macro_rules! with_content {
    ($py:expr, $encoder:expr, $value:expr, |$content:ident| $act:expr) => {
        match $crate::value::Content::of($value)? {
            $crate::value::Content::Raw(bytes) => {
                let $content = tautline::Raw(bytes.as_bytes());
                $crate::life::detached($py, || $act)
            }
            $crate::value::Content::Value(value) => {
                let encoded = $encoder.encode(&value);
                let encoded = encoded.map_err(|error| $crate::errors::encode_value($py, &error, value.0))?;
                let $content = &encoded;
                $crate::life::detached($py, || $act)
            }
        }
    };
}
pub(crate) use with_content;

/// Names how far a message has come.
pub(crate) fn sent<'py>(py: Python<'py>, result: &Result<Sent, SendError>) -> PyResult<Bound<'py, PyString>> {
    match result {
        Ok(Sent::Written) => Ok(intern!(py, "written").clone()),
        Ok(_) => Ok(intern!(py, "queued").clone()),
        Err(error) => Err(errors::send(py, error)),
    }
}

/// Sends one message of a link.
pub(crate) fn send<'py>(
    py: Python<'py>,
    interface: &UdpInterface,
    value: &Bound<'py, PyAny>,
    options: Options,
) -> PyResult<Bound<'py, PyString>> {
    let Options { metadata, target } = options;
    let result = if target == Target::All {
        with_content!(py, interface, value, |content| interface.send(content, &metadata))?
    } else {
        let publisher = interface.publisher(metadata).to(target);
        with_content!(py, interface, value, |content| publisher.send(content))?
    };
    sent(py, &result)
}
