//! Values of Python as values of serde, so that the library encodes and decodes them.

use std::fmt;

use pyo3::BoundObject as _;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};

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

/// Returns the text that Python's `json` writes for a key that is no text.
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

/// What is no plain value: bytes inside a value, a scalar of numpy, an enum of texts or numbers is one already.
fn rare<S: Serializer>(value: &Bound<'_, PyAny>, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = as_bytes(value);
    if let Some(bytes) = bytes.as_ref().filter(|_| is_bytes_like(value)) {
        if serializer.is_human_readable() {
            return Err(ser::Error::custom(
                "bytes inside a value cannot be written as JSON: use the codec msgpack or cbor, or a list",
            ));
        }
        return serializer.serialize_bytes(bytes.as_bytes());
    }
    // Numbers of other libraries, such as numpy's scalars.
    if let Ok(number) = value.call_method0("__index__") {
        return Value(&number).serialize(serializer);
    }
    if let Ok(number) = value.call_method0("__float__") {
        return Value(&number).serialize(serializer);
    }
    let kind = value.get_type().name().map_or_else(|_| "value".to_owned(), |name| name.to_string());
    let hint = if bytes.is_some() {
        ": call its tolist()"
    } else {
        ": use dict, list, str, int, float, bool or None"
    };
    Err(ser::Error::custom(format!("a {kind} cannot be encoded{hint}")))
}

/// Whether a buffer is one of bytes inside a value, and not an array of numbers.
fn is_bytes_like(value: &Bound<'_, PyAny>) -> bool {
    let kind = value.get_type();
    kind.name().is_ok_and(|name| ["bytes", "bytearray", "memoryview"].iter().any(|known| name == *known))
}

/// Returns the bytes of anything with a buffer, in the order of its elements.
fn as_bytes<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyBytes>> {
    let view = PyMemoryView::from(value).ok()?;
    view.call_method0("tobytes").ok()?.cast_into().ok()
}

/// What `send` is given: bytes to send as they are, or a value to encode.
pub(crate) enum Content<'a, 'py> {
    Raw(Bound<'py, PyBytes>),
    Value(Value<'a, 'py>),
}

impl<'a, 'py> Content<'a, 'py> {
    /// Anything with a buffer is raw, everything else a value.
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
        match (!is_plain).then(|| as_bytes(value)).flatten() {
            Some(bytes) => Ok(Self::Raw(bytes)),
            None => Ok(Self::Value(Value(value))),
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
