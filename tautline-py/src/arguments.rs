//! What the calls take: durations, types, priorities, targets, and the options of a message.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBool, PyDict, PyInt, PyString};
use tautline::{
    ConnectionState, Delivery, EncodeError, Id, MessageType, Metadata, Priority, Selector, StreamId, Target,
    Timestamp, parse_duration,
};

use crate::errors;
use crate::peer::PeerId;

/// The options that `send` and the methods like it know, for error messages.
const OPTIONS: &str = "channel, priority, delivery, lifespan, age, to, message_id, correlation_id, source, destination and \
                       timestamp";

/// The states of a connection, for `wait_for_state`.
const STATES: [ConnectionState; 7] = [
    ConnectionState::Disconnected,
    ConnectionState::Connecting,
    ConnectionState::Connected,
    ConnectionState::Stale,
    ConnectionState::Reconnecting,
    ConnectionState::Error,
    ConnectionState::Closed,
];

/// The error for a value of the wrong kind.
fn wrong_kind(found: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    let sentence = format!("{expected}, not {found:?}");
    // A number that does not fit is of the right kind.
    if found.is_instance_of::<PyInt>() {
        return PyValueError::new_err(sentence);
    }
    PyTypeError::new_err(sentence)
}

/// Reads a text.
fn text(what: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    value.extract().map_err(|_| PyTypeError::new_err(format!("{what}: a text is expected, not {value:?}")))
}

/// A channel, as an argument.
pub(crate) struct Channel(pub(crate) u16);

impl<'py> FromPyObject<'_, 'py> for Channel {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        whole("channel", "a whole number from 0 to 65535", &value).map(Self)
    }
}

/// A number of things, as an argument.
pub(crate) struct Count(pub(crate) usize);

impl<'py> FromPyObject<'_, 'py> for Count {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        value.extract().map(Self).map_err(|_| wrong_kind(&value, "a whole number, 0 or more, is expected"))
    }
}

/// Reads a whole number.
pub(crate) fn whole<'py, T>(what: &str, expected: &str, value: &Bound<'py, PyAny>) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    value.extract().map_err(|_| wrong_kind(value, &format!("{what}: {expected} is expected")))
}

/// Reads a duration: a number of seconds, a text such as "20ms", or a `timedelta`.
pub(crate) fn duration(value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_str()?;
        return parse_duration(text).map_err(|error| PyValueError::new_err(format!("{text:?}: {error}")));
    }
    let seconds = if let Ok(seconds) = value.extract::<f64>() {
        seconds
    } else {
        let total = value.call_method0("total_seconds").map_err(|_| {
            PyTypeError::new_err("a duration is a number of seconds, a text such as \"20ms\", or a timedelta")
        })?;
        total.extract()?
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        PyValueError::new_err(format!("a duration cannot be {seconds} seconds: expected 0 or more"))
    })
}

/// Reads how old data are, and returns when they were made. `None` if that was before this clock began.
pub(crate) fn made(age: &Bound<'_, PyAny>) -> PyResult<Option<Instant>> {
    Ok(Instant::now().checked_sub(duration(age)?))
}

/// Reads a time-out: a [`duration`], or `None` for as long as it takes. An infinity is as long as it takes, too.
pub(crate) fn timeout(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    if value.extract::<f64>().is_ok_and(|seconds| seconds == f64::INFINITY) {
        return Ok(None);
    }
    duration(value).map(Some)
}

/// Returns the value of an enum, and anything else unchanged.
fn plain<'py>(value: &Bound<'py, PyAny>) -> Bound<'py, PyAny> {
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyInt>() {
        return value.clone();
    }
    value.getattr("value").unwrap_or_else(|_| value.clone())
}

/// Reads a name of one of the library's enums.
fn named<T: std::str::FromStr<Err = tautline::UnknownName>>(
    what: &str,
    value: &Bound<'_, PyAny>,
) -> PyResult<T> {
    let value = plain(value);
    let Ok(text) = value.cast::<PyString>() else {
        let found = value.repr()?;
        return Err(PyTypeError::new_err(format!("{what}: a text or an enum is expected, not {found}")));
    };
    let text = text.to_str()?;
    text.parse().map_err(|error| PyValueError::new_err(format!("{what}: {error}, not {text:?}")))
}

/// Reads a message type: its name, or an enum whose value is its name.
pub(crate) fn message_type(value: &Bound<'_, PyAny>) -> PyResult<MessageType> {
    named("type", value)
}

/// Reads the state of a connection: its name, or an enum whose value is its name.
pub(crate) fn state(value: &Bound<'_, PyAny>) -> PyResult<ConnectionState> {
    let value = plain(value);
    let names = STATES.map(ConnectionState::name);
    let found = value.cast::<PyString>().ok().and_then(|text| {
        let text = text.to_str().ok()?;
        STATES.into_iter().find(|state| state.name() == text)
    });
    found.ok_or_else(|| {
        PyValueError::new_err(format!("state: one of {} is expected, not {value:?}", names.join(", ")))
    })
}

/// Reads a priority: its name, its number from 1 to 4, or an enum with one of these values.
fn priority(value: &Bound<'_, PyAny>) -> PyResult<Priority> {
    let value = plain(value);
    // As on the wire, 2.0 is 2.
    let Ok(number) = value.extract::<f64>() else { return named("priority", &value) };
    let found = (1..=4).find(|known| f64::from(*known) == number).and_then(Priority::from_wire);
    found.ok_or_else(|| {
        PyValueError::new_err(format!("priority: 1 (low) to 4 (critical) is expected, not {number}"))
    })
}

/// Reads the messages that a handler or a watchdog is for: a type, and perhaps a channel.
pub(crate) fn selector(kind: &Bound<'_, PyAny>, channel: Option<Channel>) -> PyResult<Selector> {
    let kind = message_type(kind)?;
    Ok(channel.map_or_else(|| Selector::from(kind), |Channel(channel)| Selector::from((kind, channel))))
}

/// Reads a stream: a type and a channel.
pub(crate) fn stream(kind: &Bound<'_, PyAny>, channel: Channel) -> PyResult<StreamId> {
    Ok(StreamId::from((message_type(kind)?, channel.0)))
}

/// Reads an id: a number or a text. Other values are for the classic wire, which carries all that JSON can.
fn id(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Id<'static>> {
    let is_truth = value.is_instance_of::<PyBool>();
    if let Ok(number) = value.extract::<u64>()
        && !is_truth
    {
        return Ok(Id::Number(number));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Id::from(text.to_str()?.to_owned()));
    }
    if value.is_none() {
        return Ok(Id::Null);
    }
    let py = value.py();
    let dumps = PyModule::import(py, "json")?.getattr("dumps")?;
    let text = |allow_nan: bool| -> PyResult<String> {
        dumps.call((value,), Some(&[("allow_nan", allow_nan)].into_py_dict(py)?))?.extract()
    };
    text(false).map(|text| Id::Json(text.into())).map_err(|error| match text(true) {
        Ok(_) => errors::encode(py, &EncodeError::NotFinite { path: Some(name.to_owned()) }),
        Err(_) => {
            PyTypeError::new_err(format!("an id is a text, a number or another value of JSON: {error}"))
        }
    })
}

/// Reads a target: a peer of this link, or the address of one.
fn target(value: &Bound<'_, PyAny>) -> PyResult<Target> {
    if let Ok(peer) = value.cast::<PeerId>() {
        return Ok(Target::Peer(peer.get().0));
    }
    let Ok(text) = value.extract::<String>() else {
        return Err(PyTypeError::new_err(
            "to: a peer (such as `message.peer`) or an address (such as \"10.0.0.5:9000\") is expected",
        ));
    };
    let address: SocketAddr = text.parse().map_err(|_| {
        PyValueError::new_err(format!("to: an address such as 10.0.0.5:9000 is expected, not {text:?}"))
    })?;
    Ok(Target::Address(address))
}

/// Reads a time stamp: an integer of 64 bits, or a float.
fn timestamp(value: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() {
        let too_large =
            |_| PyValueError::new_err("timestamp: an integer has more than 64 bits; give a float");
        return value.extract().map(Timestamp::WholeSeconds).map_err(too_large);
    }
    let seconds = value.extract::<f64>();
    seconds.map(Timestamp::from).map_err(|_| {
        PyTypeError::new_err(format!(
            "timestamp: a number of seconds is expected, such as that of time.time(), not {value:?}"
        ))
    })
}

/// Returns an attribute; `None` for None.
fn attribute<'py>(
    given: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    given.getattr(name).map(|value| (!value.is_none()).then_some(value))
}

/// Returns an attribute that is a text.
fn text_attribute(given: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<Option<String>> {
    let Some(value) = attribute(given, name)? else { return Ok(None) };
    text(&name.to_string(), &value).map(Some)
}

/// The metadata and the target of a message.
pub(crate) struct Options {
    pub(crate) metadata: Metadata,
    pub(crate) target: Target,
}

impl Options {
    /// Reads the type and the keywords of a call.
    pub(crate) fn read(
        kind: Option<&Bound<'_, PyAny>>,
        default: MessageType,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let kind = kind.map_or(Ok(default), message_type)?;
        let mut read = Self { metadata: Metadata::new(kind), target: Target::All };
        for (name, value) in options.into_iter().flatten() {
            if !value.is_none() {
                read.set(name.cast::<PyString>()?.to_str()?, &value)?;
            }
        }
        Ok(read)
    }

    /// Reads an object with the attributes of the Python module's `MessageMetadata`. On the native wire an empty text is none.
    pub(crate) fn of_metadata(given: &Bound<'_, PyAny>, is_native: bool) -> PyResult<Self> {
        let py = given.py();
        let mut metadata = Metadata::new(message_type(&given.getattr(intern!(py, "message_type"))?)?);
        metadata.priority = priority(&given.getattr(intern!(py, "priority"))?)?;
        // An id of None travels as null, as it does from the Python module.
        metadata.message_id = Some(id("message_id", &given.getattr(intern!(py, "message_id"))?)?);
        metadata.timestamp =
            attribute(given, intern!(py, "timestamp"))?.as_ref().map(timestamp).transpose()?;
        metadata.source = text_attribute(given, intern!(py, "source"))?;
        // A source of None travels as null, too.
        metadata.has_source = metadata.source.is_some();
        metadata.destination = text_attribute(given, intern!(py, "destination"))?;
        metadata.correlation_id = attribute(given, intern!(py, "correlation_id"))?
            .as_ref()
            .map(|value| id("correlation_id", value))
            .transpose()?;
        if is_native {
            metadata.source = metadata.source.filter(|text| !text.is_empty());
            metadata.destination = metadata.destination.filter(|text| !text.is_empty());
        }
        Ok(Self { metadata, target: Target::All })
    }

    fn set(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let metadata = &mut self.metadata;
        match name {
            "channel" => metadata.channel = value.extract::<Channel>()?.0,
            "priority" => metadata.priority = priority(value)?,
            "delivery" => metadata.delivery = Some(named::<Delivery>("delivery", value)?),
            "lifespan" => metadata.lifespan = Some(duration(value)?),
            "age" => metadata.made = made(value)?.map(Into::into),
            "to" => self.target = target(value)?,
            "message_id" => metadata.message_id = Some(id(name, value)?),
            "correlation_id" => metadata.correlation_id = Some(id(name, value)?),
            "source" => metadata.source = Some(text("source", value)?),
            "destination" => metadata.destination = Some(text("destination", value)?),
            "timestamp" => metadata.timestamp = Some(timestamp(value)?),
            _ => {
                return Err(PyTypeError::new_err(format!(
                    "there is no option {name:?}: the options are {OPTIONS}"
                )));
            }
        }
        Ok(())
    }
}

/// Reads a duration, and returns it in seconds.
#[pyfunction]
pub(crate) fn seconds(duration: &Bound<'_, PyAny>) -> PyResult<f64> {
    Ok(self::duration(duration)?.as_secs_f64())
}
