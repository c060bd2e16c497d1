//! What the calls take: durations, types, priorities, targets, and the options of a message.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyString};
use tautline::{
    Delivery, Id, MessageType, Metadata, Priority, Selector, StreamId, Target, Timestamp, parse_duration,
};

use crate::peer::PeerId;

/// The options that `send` and its kin know, for error messages.
const OPTIONS: &str = "channel, priority, delivery, lifespan, age, to, message_id, correlation_id, source, destination and \
                       timestamp";

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

/// Reads a priority: its name, its number from 1 to 4, or an enum with one of these values.
fn priority(value: &Bound<'_, PyAny>) -> PyResult<Priority> {
    let value = plain(value);
    let Ok(number) = value.extract::<u8>() else { return named("priority", &value) };
    Priority::from_wire(number).ok_or_else(|| {
        PyValueError::new_err(format!("priority: 1 (low) to 4 (critical) is expected, not {number}"))
    })
}

/// Reads the messages that a handler or a watchdog is for: a type, and perhaps a channel.
pub(crate) fn selector(kind: &Bound<'_, PyAny>, channel: Option<u16>) -> PyResult<Selector> {
    let kind = message_type(kind)?;
    Ok(channel.map_or_else(|| Selector::from(kind), |channel| Selector::from((kind, channel))))
}

/// Reads a stream: a type and a channel.
pub(crate) fn stream(kind: &Bound<'_, PyAny>, channel: u16) -> PyResult<StreamId> {
    Ok(StreamId::from((message_type(kind)?, channel)))
}

/// Reads an id: a number or a text. Other values are for the classic wire, which carries all that JSON can.
fn id(value: &Bound<'_, PyAny>) -> PyResult<Id<'static>> {
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
    let json = PyModule::import(value.py(), "json")?.getattr("dumps")?.call1((value,));
    let json: String = json.and_then(|text| text.extract()).map_err(|error| {
        PyTypeError::new_err(format!("an id is a text, a number or another value of JSON: {error}"))
    })?;
    Ok(Id::Json(json.into()))
}

/// Reads a target: a peer of this link, or the address of one.
fn target(value: &Bound<'_, PyAny>) -> PyResult<Target> {
    if let Ok(peer) = value.cast::<PeerId>() {
        return Ok(Target::Peer(peer.get().0));
    }
    let Ok(text) = value.extract::<String>() else {
        return Err(PyTypeError::new_err("to: a peer (such as `message.peer`) or an address is expected"));
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
    Ok(Timestamp::from(value.extract::<f64>()?))
}

/// Returns an attribute; `None` for None.
fn attribute<'py>(
    given: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    given.getattr(name).map(|value| (!value.is_none()).then_some(value))
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
                read.set(name.extract::<String>()?.as_str(), &value)?;
            }
        }
        Ok(read)
    }

    /// Reads an object with the attributes of the Python module's `MessageMetadata`.
    pub(crate) fn of_metadata(given: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = given.py();
        let mut metadata = Metadata::new(message_type(&given.getattr(intern!(py, "message_type"))?)?);
        metadata.priority = priority(&given.getattr(intern!(py, "priority"))?)?;
        // An id of None travels as null, as it does from the Python module.
        metadata.message_id = Some(id(&given.getattr(intern!(py, "message_id"))?)?);
        metadata.timestamp =
            attribute(given, intern!(py, "timestamp"))?.as_ref().map(timestamp).transpose()?;
        metadata.source =
            attribute(given, intern!(py, "source"))?.map(|source| source.extract()).transpose()?;
        metadata.destination =
            attribute(given, intern!(py, "destination"))?.map(|name| name.extract()).transpose()?;
        metadata.correlation_id =
            attribute(given, intern!(py, "correlation_id"))?.as_ref().map(id).transpose()?;
        Ok(Self { metadata, target: Target::All })
    }

    fn set(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let metadata = &mut self.metadata;
        match name {
            "channel" => metadata.channel = value.extract()?,
            "priority" => metadata.priority = priority(value)?,
            "delivery" => metadata.delivery = Some(named::<Delivery>("delivery", value)?),
            "lifespan" => metadata.lifespan = Some(duration(value)?),
            "age" => metadata.made = Instant::now().checked_sub(duration(value)?).map(Into::into),
            "to" => self.target = target(value)?,
            "message_id" => metadata.message_id = Some(id(value)?),
            "correlation_id" => metadata.correlation_id = Some(id(value)?),
            "source" => metadata.source = Some(value.extract()?),
            "destination" => metadata.destination = Some(value.extract()?),
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
