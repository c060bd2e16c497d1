//! Turns the library's errors into the exceptions of `tautline._errors`: one class for each kind, with the library's sentence.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;
use tautline::{
    ClaimError, ConfigError, ConnectError, DecodeError, EncodeError, ReceiveError, RequestError, SendError,
    WatchError,
};

static CLASSES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// What the library says of an interface that is not connected, in words of Python.
const NOT_CONNECTED: &str =
    "not connected: call connect() first. A link that was closed stays closed: make a new one";

/// Makes the exception of this class.
pub(crate) fn raise(py: Python<'_>, class: &str, sentence: impl Into<String>) -> PyErr {
    with_detail(py, class, sentence, None)
}

/// Makes the exception of this class, with one attribute beside its sentence.
fn with_detail(
    py: Python<'_>,
    class: &str,
    sentence: impl Into<String>,
    detail: Option<(&str, Option<String>)>,
) -> PyErr {
    let made = CLASSES
        .get_or_try_init(py, || PyModule::import(py, "tautline._errors").map(Bound::unbind))
        .and_then(|module| module.bind(py).getattr(class)?.call1((sentence.into(),)))
        .and_then(|error| {
            if let Some((name, value)) = detail {
                error.setattr(name, value)?;
            }
            Ok(error)
        });
    made.map_or_else(|problem| problem, PyErr::from_value)
}

pub(crate) fn config(py: Python<'_>, error: &ConfigError) -> PyErr {
    let key = error.key().map(str::to_owned);
    with_detail(py, "ConfigError", error.to_string(), Some(("key", key)))
}

pub(crate) fn connect(py: Python<'_>, error: &ConnectError) -> PyErr {
    let class = match error {
        ConnectError::Config(problem) => return config(py, problem),
        ConnectError::TimedOut { .. } | ConnectError::Unreachable { .. } => "ConnectTimedOut",
        ConnectError::Unresolved { .. } => "Unresolved",
        ConnectError::Socket { .. } => "SocketError",
        ConnectError::ServerFull { .. } => "ServerFull",
        ConnectError::KeyNotAccepted { .. } | ConnectError::KeyNeeded { .. } => "WrongKey",
        ConnectError::Closed => return raise(py, "Disconnected", "the link was closed: make a new one"),
        ConnectError::Disconnected => "Disconnected",
        _ => "ConnectError",
    };
    raise(py, class, error.to_string())
}

pub(crate) fn encode(py: Python<'_>, error: &EncodeError) -> PyErr {
    match error {
        EncodeError::NotFinite { path } => {
            with_detail(py, "NotFinite", error.to_string(), Some(("path", path.clone())))
        }
        EncodeError::TooLarge { .. } => raise(py, "TooLarge", error.to_string()),
        EncodeError::TooDeep { .. } => raise(py, "TooDeep", error.to_string()),
        _ => raise(py, "EncodeError", error.to_string()),
    }
}

/// The error for a value that cannot be encoded. It names the place in the value.
pub(crate) fn encode_value(py: Python<'_>, error: &SendError, value: &Bound<'_, PyAny>) -> PyErr {
    let SendError::Encode(problem) = error else { return send(py, error) };
    let known = match problem {
        EncodeError::NotFinite { path } => path.clone(),
        _ => None,
    };
    let found = || PyModule::import(py, "tautline._errors")?.call_method1("locate", (value,))?.extract();
    let path: Option<String> = match known {
        Some(path) => Some(path),
        None => found().unwrap_or(None),
    };
    match (problem, path) {
        (EncodeError::NotFinite { .. }, Some(path)) => {
            let error = EncodeError::NotFinite { path: Some(path) };
            encode(py, &error)
        }
        (EncodeError::Value { .. }, Some(path)) => {
            with_detail(py, "EncodeError", format!("{path}: {problem}"), Some(("path", Some(path))))
        }
        _ => encode(py, problem),
    }
}

pub(crate) fn send(py: Python<'_>, error: &SendError) -> PyErr {
    let class = match error {
        SendError::Encode(problem) => return encode(py, problem),
        SendError::NotConnected => return raise(py, "NotConnected", NOT_CONNECTED),
        SendError::NoPeers => "NoPeers",
        SendError::UnknownPeer { .. } => "UnknownPeer",
        SendError::TooLarge { .. } | SendError::TooManyParts { .. } => "TooLarge",
        SendError::Busy => "Busy",
        SendError::WindowFull { .. } => "WindowFull",
        SendError::Expired { .. } => "Expired",
        SendError::Refused { .. } => "Refused",
        SendError::NotOnThisWire { .. } => "NotOnThisWire",
        SendError::Partly { .. } => "PartlySent",
        SendError::NotAllowed { .. } => "NotAllowed",
        _ => "SendError",
    };
    raise(py, class, error.to_string())
}

pub(crate) fn receive(py: Python<'_>, error: &ReceiveError) -> PyErr {
    let class = match error {
        ReceiveError::TimedOut => "TimedOut",
        ReceiveError::NotConnected => return raise(py, "NotConnected", NOT_CONNECTED),
        ReceiveError::Disconnected => "Disconnected",
        ReceiveError::Overrun { .. } => "Overrun",
        ReceiveError::InboxOff => "InboxOff",
        _ => "ReceiveError",
    };
    raise(py, class, error.to_string())
}

pub(crate) fn request(py: Python<'_>, error: &RequestError) -> PyErr {
    match error {
        RequestError::Send(problem) => send(py, problem),
        RequestError::TimedOut => raise(py, "TimedOut", error.to_string()),
        RequestError::Disconnected => raise(py, "Disconnected", error.to_string()),
        RequestError::NotDelivered(outcome) => {
            with_detail(py, "NotDelivered", error.to_string(), Some(("outcome", Some(outcome.to_string()))))
        }
        _ => raise(py, "TautlineError", error.to_string()),
    }
}

pub(crate) fn claim(py: Python<'_>, error: &ClaimError) -> PyErr {
    let class = match error {
        ClaimError::NotConnected => return raise(py, "NotConnected", NOT_CONNECTED),
        ClaimError::NoPeers => "NoPeers",
        _ => "ClaimError",
    };
    raise(py, class, error.to_string())
}

pub(crate) fn watch(py: Python<'_>, error: &WatchError) -> PyErr {
    raise(py, "WatchError", error.to_string())
}

pub(crate) fn decode(py: Python<'_>, error: &DecodeError) -> PyErr {
    raise(py, "DecodeError", error.to_string())
}
