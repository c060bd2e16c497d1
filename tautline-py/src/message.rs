//! A received message.

use std::sync::OnceLock;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView, PyString, PyTuple};
use tautline::{ContentType, Id, MessageType, Priority};

use crate::errors;
use crate::life::Own;
use crate::peer::PeerId;
use crate::value::Decoded;

/// A received message: its data, and what came with them. It is yours alone: no handler and no other receiver shares it.
#[pyclass(frozen, freelist = 1024, module = "tautline")]
pub(crate) struct Message {
    message: Own<tautline::Message>,
    /// The value, once it was asked for. Raw bytes are in `payload`.
    value: OnceLock<Py<PyAny>>,
    payload: OnceLock<Py<PyBytes>>,
}

impl Message {
    pub(crate) fn new(message: tautline::Message) -> Self {
        Self { message: Own::new(message), value: OnceLock::new(), payload: OnceLock::new() }
    }

    pub(crate) fn inner(&self, py: Python<'_>) -> PyResult<&tautline::Message> {
        self.message.get(py)
    }
}

/// Returns the object of `cell`, which is made at the first look. Two threads may make one at once; the first one counts.
fn once<T>(
    py: Python<'_>,
    cell: &OnceLock<Py<T>>,
    make: impl FnOnce() -> PyResult<Py<T>>,
) -> PyResult<Py<T>> {
    if let Some(made) = cell.get() {
        return Ok(made.clone_ref(py));
    }
    let made = make()?;
    // Not `PyOnceLock`, which lets go of the interpreter for each message. Nothing of Python runs inside this call.
    Ok(cell.get_or_init(|| made).clone_ref(py))
}

#[pymethods]
impl Message {
    /// The data: bytes if they were sent raw, else the value. Decoded at the first look, and the same object from then on.
    #[getter]
    fn data(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let message = self.inner(py)?;
        if message.content_type() == ContentType::Raw {
            return Ok(self.payload(py)?.into_any());
        }
        once(py, &self.value, || decode(py, message))
    }

    /// The payload as it travelled, as bytes.
    #[getter]
    fn payload(&self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        let message = self.inner(py)?;
        once(py, &self.payload, || Ok(PyBytes::new(py, message.payload()).unbind()))
    }

    /// The payload as a memoryview, to take it apart without copies: `message.view().cast("d")`.
    fn view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        PyMemoryView::from(self.payload(py)?.bind(py).as_any())
    }

    /// What the message is for, such as MessageType.COMMAND. It compares equal to its name, "command".
    #[getter]
    fn r#type(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        type_of(py, self.inner(py)?.message_type())
    }

    /// How urgent it is, from Priority.LOW (1) to Priority.CRITICAL (4).
    #[getter]
    fn priority(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        priority_of(py, self.inner(py)?.priority())
    }

    /// The channel: tells streams of one type apart. 0 on the classic wire.
    #[getter]
    fn channel(&self, py: Python<'_>) -> PyResult<u16> {
        Ok(self.inner(py)?.channel())
    }

    /// How the payload is encoded: "raw", "json", "msgpack" or "cbor".
    #[getter]
    fn content_type(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(self.inner(py)?.content_type().name())
    }

    /// How it was sent: "best_effort", "reliable" or "ordered".
    #[getter]
    fn delivery(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(self.inner(py)?.delivery().name())
    }

    /// Who made it: the name of the sending interface, unless the sender says otherwise.
    #[getter]
    fn source(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.inner(py)?.source().to_owned())
    }

    /// Whether it has a source. On the classic wire the source may be null.
    #[getter]
    fn has_source(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.inner(py)?.has_source())
    }

    /// Whom it is meant for, if the sender said so. For information only.
    #[getter]
    fn destination(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.inner(py)?.destination().map(str::to_owned))
    }

    /// Its id: a number or a text. On the classic wire it may be any number, or None.
    #[getter]
    fn message_id(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        id(py, Some(self.inner(py)?.message_id()))
    }

    /// The id of the message that it answers, if it answers one.
    #[getter]
    fn correlation_id(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        id(py, self.inner(py)?.correlation_id())
    }

    /// When its data were made, in seconds on the sender's wall clock (or whatever number the sender put there).
    #[getter]
    fn timestamp(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.inner(py)?.stamp() {
            tautline::Timestamp::WholeSeconds(seconds) => Ok(seconds.into_pyobject(py)?.into_any().unbind()),
            stamp => Ok(stamp.as_secs_f64().into_pyobject(py)?.into_any().unbind()),
        }
    }

    /// When it arrived, in seconds on this machine's wall clock.
    #[getter]
    fn arrived(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.inner(py)?.arrived().as_secs_f64())
    }

    /// How old its data are now at most, in seconds. No step of a wall clock changes it.
    #[getter]
    fn age(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.inner(py)?.age().as_secs_f64())
    }

    /// How long it is valid after it was made, in seconds, if the sender said so.
    #[getter]
    fn lifespan(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        Ok(self.inner(py)?.lifespan().map(|lifespan| lifespan.as_secs_f64()))
    }

    /// Whether a newer message of this peer arrived before it.
    #[getter]
    fn is_late(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.inner(py)?.is_late())
    }

    /// The peer that sent it.
    #[getter]
    fn peer(&self, py: Python<'_>) -> PyResult<PeerId> {
        Ok(PeerId(self.inner(py)?.peer()))
    }

    /// Who sent it by its key, on a secured link whose server tells keys apart (`keys`).
    #[getter]
    fn identity(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.inner(py)?.identity().map(str::to_owned))
    }

    /// The address that it came from, such as "10.0.0.5:9000".
    #[getter]
    fn address(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.inner(py)?.address().to_string())
    }

    /// What the module's `MessageMetadata` holds: the fields that travel in its order, and the lifespan.
    #[getter]
    fn module_metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let message = self.inner(py)?;
        let fields = (
            self.message_id(py)?,
            self.timestamp(py)?,
            self.r#type(py)?,
            self.priority(py)?,
            message.has_source().then(|| message.source()),
            message.destination(),
            self.correlation_id(py)?,
            self.lifespan(py)?,
        );
        fields.into_pyobject(py)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a message cannot be copied or pickled: take out of it what you need, such as message.data and message.source",
        ))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let message = self.inner(py)?;
        let (kind, source, size) = (message.message_type(), message.source(), message.payload().len());
        Ok(format!("<message: {kind} from {source:?}, {} of {size} bytes>", message.content_type()))
    }
}

/// The members of an enum of the package. They are looked up once.
type Members = PyOnceLock<Vec<Py<PyAny>>>;

/// Returns the member at this place among all members, which have these values.
fn member<'py, V: IntoPyObject<'py>>(
    py: Python<'py>,
    members: &Members,
    class: &str,
    values: impl Iterator<Item = V>,
    place: usize,
) -> PyResult<Py<PyAny>> {
    let found = members.get_or_try_init(py, || {
        let class = PyModule::import(py, "tautline._types")?.getattr(class)?;
        values.map(|value| Ok(class.call1((value,))?.unbind())).collect::<PyResult<_>>()
    })?;
    Ok(found[place].clone_ref(py))
}

/// Returns a member of `MessageType`.
pub(crate) fn type_of(py: Python<'_>, kind: MessageType) -> PyResult<Py<PyAny>> {
    static MEMBERS: Members = PyOnceLock::new();
    let names = MessageType::ALL.iter().map(|kind| kind.name());
    let place = MessageType::ALL.iter().position(|known| *known == kind).expect("it is one of all");
    member(py, &MEMBERS, "MessageType", names, place)
}

/// Returns a member of `Priority`.
fn priority_of(py: Python<'_>, priority: Priority) -> PyResult<Py<PyAny>> {
    static MEMBERS: Members = PyOnceLock::new();
    let numbers = Priority::ALL.iter().map(|priority| priority.to_wire());
    let place = Priority::ALL.iter().position(|known| *known == priority).expect("it is one of all");
    member(py, &MEMBERS, "Priority", numbers, place)
}

fn id(py: Python<'_>, id: Option<Id<'_>>) -> PyResult<Py<PyAny>> {
    match id {
        None | Some(Id::Null) => Ok(py.None()),
        Some(Id::Number(number)) => Ok(number.into_pyobject(py)?.into_any().unbind()),
        Some(Id::Text(text)) => Ok(PyString::new(py, &text).into_any().unbind()),
        Some(Id::Json(text)) => from_json(py, &text),
    }
}

fn decode(py: Python<'_>, message: &tautline::Message) -> PyResult<Py<PyAny>> {
    if message.content_type() != ContentType::Json {
        return message
            .decode::<Decoded>()
            .map(|decoded| decoded.0)
            .map_err(|error| errors::decode(py, &error));
    }
    // The library has checked the text.
    let text = std::str::from_utf8(message.payload())
        .map_err(|error| errors::raise(py, "DecodeError", format!("the payload is not text: {error}")))?;
    from_json(py, text)
}

/// Reads JSON as Python's own `json` does: integers of any size, and floats to the last bit.
pub(crate) fn from_json(py: Python<'_>, text: &str) -> PyResult<Py<PyAny>> {
    static SCAN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let scan = SCAN.get_or_try_init(py, || {
        let decoder = PyModule::import(py, "json")?.getattr("JSONDecoder")?.call0()?;
        Ok::<_, PyErr>(decoder.getattr("scan_once")?.unbind())
    })?;
    let found = scan.bind(py).call1((text.trim_ascii_start(), 0));
    match found.and_then(|pair| pair.get_item(0)) {
        Ok(value) => Ok(value.unbind()),
        Err(error) => Err(errors::raise(py, "DecodeError", format!("the payload cannot be read: {error}"))),
    }
}
