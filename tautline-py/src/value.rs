//! Values of Python as values of serde, so that the library encodes and decodes them.

use std::fmt;

use pyo3::BoundObject as _;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple, PyType};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::errors;

/// A value to send.
pub(crate) struct Value<'a, 'py>(pub(crate) &'a Bound<'py, PyAny>);

impl Serialize for Value<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0;
        if let Ok(number) = value.cast::<PyFloat>() {
            serializer.serialize_f64(number.value())
        } else if let Ok(text) = value.cast::<PyString>() {
            serializer.serialize_str(text.to_str().map_err(ser::Error::custom)?)
        } else if let Ok(flag) = value.cast::<PyBool>() {
            serializer.serialize_bool(flag.is_true())
        } else if let Ok(number) = value.cast::<PyInt>() {
            integer(number, serializer)
        } else if let Ok(map) = value.cast::<PyDict>() {
            dictionary(map, serializer)
        } else if let Ok(list) = value.cast::<PyList>() {
            sequence(list.len(), list.iter(), serializer)
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            sequence(tuple.len(), tuple.iter(), serializer)
        } else if value.is_none() {
            serializer.serialize_unit()
        } else {
            rare(value, serializer)
        }
    }
}

fn integer<S: Serializer>(number: &Bound<'_, PyInt>, serializer: S) -> Result<S::Ok, S::Error> {
    if let Ok(number) = number.extract::<i64>() {
        return serializer.serialize_i64(number);
    }
    if let Ok(number) = number.extract::<u64>() {
        return serializer.serialize_u64(number);
    }
    if serializer.is_human_readable() {
        if let Ok(number) = number.extract::<i128>() {
            return serializer.serialize_i128(number);
        }
        return Err(ser::Error::custom("an int has more than 127 bits: send it as a text"));
    }
    Err(ser::Error::custom("an int has more than 64 bits: send it as a text, or with the codec json"))
}

fn sequence<'py, S: Serializer>(
    length: usize,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut sequence = serializer.serialize_seq(Some(length))?;
    for item in items {
        sequence.serialize_element(&Value(&item))?;
    }
    sequence.end()
}

fn dictionary<S: Serializer>(map: &Bound<'_, PyDict>, serializer: S) -> Result<S::Ok, S::Error> {
    // JSON has only texts as keys. Python's `json` writes other keys as text, and so do we.
    let as_text = serializer.is_human_readable();
    let mut entries = serializer.serialize_map(Some(map.len()))?;
    for (key, value) in map.iter() {
        if !as_text || key.is_instance_of::<PyString>() {
            entries.serialize_entry(&Value(&key), &Value(&value))?;
        } else {
            entries.serialize_entry(&text_of_key(&key).map_err(ser::Error::custom)?, &Value(&value))?;
        }
    }
    entries.end()
}

/// Returns the text that Python's `json` writes for a key that is not text.
fn text_of_key(key: &Bound<'_, PyAny>) -> PyResult<String> {
    if key.is_none() {
        return Ok("null".to_owned());
    }
    if let Ok(flag) = key.cast::<PyBool>() {
        return Ok(flag.is_true().to_string());
    }
    if key.is_instance_of::<PyInt>() {
        return key.str()?.extract();
    }
    if let Ok(number) = key.cast::<PyFloat>() {
        if number.value().is_finite() {
            return number.repr()?.extract();
        }
        return Err(PyTypeError::new_err("a key is NaN or an infinity"));
    }
    let kind = key.get_type().name()?;
    Err(PyTypeError::new_err(format!("a key is a {kind}: use texts as keys")))
}

/// What is no plain value: bytes inside a value, and numbers of other libraries.
fn rare<S: Serializer>(value: &Bound<'_, PyAny>, serializer: S) -> Result<S::Ok, S::Error> {
    let view = PyMemoryView::from(value).ok();
    if let Some(view) = view.as_ref().filter(|_| is_bytes_like(value)) {
        if serializer.is_human_readable() {
            return Err(ser::Error::custom(
                "bytes inside a value cannot be written as JSON: use the codec msgpack or cbor, or a list",
            ));
        }
        return serializer.serialize_bytes(bytes_of(view).map_err(ser::Error::custom)?.as_bytes());
    }
    match number_of(value, view.as_ref()) {
        Some(number) => Value(&number).serialize(serializer),
        None => Err(ser::Error::custom(refusal(value, view.is_some()))),
    }
}

/// Returns a number of another library as one of Python. An array is none, even if it has one element.
fn number_of<'py>(
    value: &Bound<'py, PyAny>,
    view: Option<&Bound<'py, PyMemoryView>>,
) -> Option<Bound<'py, PyAny>> {
    let method = |name| value.call_method0(name).ok();
    if is_number_of_numpy(value) {
        // A `longdouble` is its own item. A complex number has no float that says all.
        return method("item").filter(|item| !is_number_of_numpy(item)).or_else(|| method("__float__"));
    }
    let is_array = view.is_some_and(|view| {
        view.getattr("ndim").and_then(|count| count.extract::<usize>()).is_ok_and(|count| count > 0)
    });
    if is_array {
        return None;
    }
    method("__index__").or_else(|| method("__float__"))
}

/// Says why a value cannot be encoded, and what can be sent in its place.
fn refusal(value: &Bound<'_, PyAny>, has_buffer: bool) -> String {
    const INSTEAD: [(&str, &str); 7] = [
        ("__dataclass_fields__", "use dataclasses.asdict(value)"),
        ("isoformat", "use its isoformat() or timestamp()"),
        ("total_seconds", "use its total_seconds()"),
        ("_value_", "use its value"),
        ("keys", "use dict(value)"),
        ("__iter__", "use list(value)"),
        ("__fspath__", "use str(value)"),
    ];
    let kind = value.get_type().name().map_or_else(|_| "value".to_owned(), |name| name.to_string());
    let is_class = value.is_instance_of::<PyType>();
    let known = INSTEAD.iter().find(|(name, _)| !is_class && value.hasattr(*name).unwrap_or(false));
    let hint = match known {
        _ if has_buffer => "call its tolist()",
        Some((_, hint)) => hint,
        None => "use dict, list, str, int, float, bool or None",
    };
    let article = if kind.starts_with(['a', 'A', 'e', 'E', 'i', 'I', 'o', 'O']) { "an" } else { "a" };
    format!("{article} {kind} cannot be encoded: {hint}")
}

/// Whether this is a number of numpy, such as `float32`. It has a buffer as an array has, but it is a number.
fn is_number_of_numpy(value: &Bound<'_, PyAny>) -> bool {
    static CLASSES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    // So numpy is never imported for a program that does not use it.
    if !value.get_type().module().is_ok_and(|module| module == "numpy") {
        return false;
    }
    let classes = CLASSES.get_or_try_init(py, || {
        let numpy = PyModule::import(py, "numpy")?;
        let classes = (numpy.getattr("number")?, numpy.getattr("bool_")?);
        Ok::<_, PyErr>(classes.into_pyobject(py)?.into_any().unbind())
    });
    classes.is_ok_and(|classes| value.is_instance(classes.bind(py)).unwrap_or(false))
}

/// Whether a buffer is one of bytes inside a value, and not an array of numbers.
pub(crate) fn is_bytes_like(value: &Bound<'_, PyAny>) -> bool {
    let kind = value.get_type();
    kind.name().is_ok_and(|name| ["bytes", "bytearray", "memoryview"].iter().any(|known| name == *known))
}

/// Returns the bytes of a buffer, in the order of its elements.
fn bytes_of<'py>(view: &Bound<'py, PyMemoryView>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(view.call_method0("tobytes")?.cast_into()?)
}

/// Whether the elements of a buffer are objects of Python: their bytes are addresses of this process.
fn holds_objects(view: &Bound<'_, PyMemoryView>) -> bool {
    let Ok(format) = view.getattr("format").and_then(|format| format.extract::<String>()) else {
        return false;
    };
    // The names of fields stand between colons.
    format.split(':').step_by(2).any(|codes| codes.contains('O'))
}

/// What `send` is given: bytes to send as they are, or a value to encode.
pub(crate) enum Content<'a, 'py> {
    Raw(Bound<'py, PyBytes>),
    Value(Value<'a, 'py>),
}

impl<'a, 'py> Content<'a, 'py> {
    /// Anything with a buffer is raw, everything else a value. An error for an array of objects.
    pub(crate) fn of(value: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Self::Raw(bytes.clone()));
        }
        let is_plain = value.is_instance_of::<PyDict>()
            || value.is_instance_of::<PyList>()
            || value.is_instance_of::<PyFloat>()
            || value.is_instance_of::<PyString>()
            || value.is_instance_of::<PyInt>()
            || value.is_none();
        if is_plain || is_number_of_numpy(value) {
            return Ok(Self::Value(Value(value)));
        }
        match PyMemoryView::from(value) {
            Ok(view) if holds_objects(&view) => Err(errors::raise(
                value.py(),
                "EncodeError",
                "the elements of this array are objects: send its tolist(), or an array of numbers",
            )),
            Ok(view) => Ok(Self::Raw(bytes_of(&view)?)),
            Err(_) => Ok(Self::Value(Value(value))),
        }
    }
}

/// A received value.
pub(crate) struct Decoded(pub(crate) Py<PyAny>);

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

/// Defines the methods that take a plain value. The caller holds the interpreter already, so attaching is cheap.
macro_rules! plain {
    ($($method:ident: $type:ty),+) => {
        $(fn $method<E: de::Error>(self, value: $type) -> Result<Decoded, E> {
            Python::attach(|py| value.into_pyobject_or_pyerr(py).map(|value| value.into_any().unbind()))
                .map(Decoded)
                .map_err(E::custom)
        })+
    };
}

/// `into_pyobject` with one kind of error, for owned and borrowed results.
trait IntoObject<'py> {
    fn into_pyobject_or_pyerr(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>>;
}

impl<'py, T: IntoPyObject<'py>> IntoObject<'py> for T {
    fn into_pyobject_or_pyerr(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let object = self.into_pyobject(py).map_err(Into::into)?;
        Ok(object.into_any().into_bound())
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Decoded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    plain!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128, visit_f64: f64);
    plain!(visit_str: &str);

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Decoded, E> {
        Ok(Decoded(Python::attach(|py| PyBytes::new(py, bytes).into_any().unbind())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Decoded, E> {
        #[allow(clippy::redundant_closure_for_method_calls)] // the method itself is not general enough
        let none = Python::attach(|py| py.None());
        Ok(Decoded(none))
    }

    fn visit_none<E: de::Error>(self) -> Result<Decoded, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decoded, D::Error> {
        Decoded::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decoded, D::Error> {
        Decoded::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Decoded, A::Error> {
        let list = Python::attach(|py| PyList::empty(py).unbind());
        while let Some(Decoded(item)) = items.next_element()? {
            Python::attach(|py| list.bind(py).append(item)).map_err(de::Error::custom)?;
        }
        Ok(Decoded(list.into_any()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Decoded, A::Error> {
        let map = Python::attach(|py| PyDict::new(py).unbind());
        while let Some((Decoded(key), Decoded(value))) = entries.next_entry()? {
            Python::attach(|py| map.bind(py).set_item(key, value)).map_err(de::Error::custom)?;
        }
        Ok(Decoded(map.into_any()))
    }
}
