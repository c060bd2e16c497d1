//! The configuration of a link.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use tautline::sim::Impairments;
use tautline::{Key, KeyHolder};

use crate::arguments;
use crate::errors;

const STREAMS_EXPECTED: &str =
    "qos: a dict from streams to their settings is expected, such as {\"command\": {\"lifespan\": 0.02}}";

/// The settings of a link. Each key of docs/configuration.md is a keyword. Durations are numbers of seconds, or texts
/// such as "250ms". A key that does not exist, or a value that is not possible, is a ConfigError that names the key.
#[pyclass(frozen, module = "tautline")]
pub(crate) struct Config {
    pub(crate) config: tautline::Config,
    /// The failsafe that is called with each change of a configured watchdog.
    #[pyo3(get)]
    pub(crate) failsafe: Option<Py<PyAny>>,
}

#[pymethods]
impl Config {
    #[new]
    #[pyo3(signature = (**settings), text_signature = "(**settings)")]
    fn new(py: Python<'_>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut made = Self { config: tautline::Config::default(), failsafe: None };
        made.apply(py, settings)?;
        Ok(made)
    }

    /// Reads a configuration from a TOML file.
    #[staticmethod]
    fn from_toml_file(py: Python<'_>, path: std::path::PathBuf) -> PyResult<Self> {
        let config = tautline::Config::from_toml_file(path).map_err(|error| errors::config(py, &error))?;
        Ok(Self { config, failsafe: None })
    }

    /// Reads a configuration from TOML text.
    #[staticmethod]
    fn from_toml(py: Python<'_>, text: &str) -> PyResult<Self> {
        let config = tautline::Config::from_toml(text).map_err(|error| errors::config(py, &error))?;
        Ok(Self { config, failsafe: None })
    }

    /// Reads a configuration from the variables TAUTLINE_*.
    #[staticmethod]
    fn from_env(py: Python<'_>) -> PyResult<Self> {
        let config = tautline::Config::from_env().map_err(|error| errors::config(py, &error))?;
        Ok(Self { config, failsafe: None })
    }

    /// Returns a copy in which the variables TAUTLINE_* have replaced settings.
    fn apply_env(&self, py: Python<'_>) -> PyResult<Self> {
        let config = self.config.clone().apply_env().map_err(|error| errors::config(py, &error))?;
        Ok(Self { config, failsafe: self.failsafe.as_ref().map(|failsafe| failsafe.clone_ref(py)) })
    }

    /// Returns a copy with other settings.
    #[pyo3(signature = (**settings))]
    fn replace(&self, py: Python<'_>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let failsafe = self.failsafe.as_ref().map(|failsafe| failsafe.clone_ref(py));
        let mut made = Self { config: self.config.clone(), failsafe };
        made.apply(py, settings)?;
        Ok(made)
    }

    /// Checks that everything fits together. Making a link does the same.
    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        self.config.validate().map_err(|error| errors::config(py, &error))
    }

    /// The settings that are set, as texts.
    #[getter]
    fn settings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let settings = PyDict::new(py);
        for key in tautline::Config::keys() {
            if let Some(value) = key.value(&self.config) {
                settings.set_item(key.name(), value)?;
            }
        }
        Ok(settings)
    }

    /// Every key: its name, what its value may be, and what it is for.
    #[staticmethod]
    fn keys() -> Vec<(&'static str, String, &'static str)> {
        tautline::Config::keys().iter().map(|key| (key.name(), key.expected(), key.doc().trim())).collect()
    }

    // A configuration does not change, so a copy is the same object.
    fn __copy__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __deepcopy__(this: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        this
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let settings = self.settings(py)?;
        let settings: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Ok(format!("<config: {}>", settings.join(", ")))
    }
}

impl Config {
    fn apply(&mut self, py: Python<'_>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        // The seed of the impairments goes with them, wherever it stands.
        let mut seed = 0;
        if let Some(value) = settings.map(|settings| settings.get_item("impair_seed")).transpose()?.flatten()
        {
            seed = arguments::whole("impair_seed", "a whole number, 0 or more,", &value)?;
        }
        for (name, value) in settings.into_iter().flatten() {
            let name: String = name.extract()?;
            match name.as_str() {
                _ if value.is_none() => {}
                "impair_seed" => {}
                "failsafe" if !value.is_callable() => {
                    return Err(PyTypeError::new_err(
                        "failsafe: a function of one WatchdogEvent is expected",
                    ));
                }
                "failsafe" => self.failsafe = Some(value.unbind()),
                "impair" => self.config = self.config.clone().impair(impairments(&value)?, seed),
                "qos" => self.set_streams(py, &value)?,
                "keys" => self.set_holders(py, &value)?,
                key => self.set(py, key, &value, is_duration(key))?,
            }
        }
        Ok(())
    }

    /// Sets the keys of streams: `qos={"command": {"history": 1}, "command.3": {"lifespan": 0.02}}`.
    fn set_streams(&mut self, py: Python<'_>, streams: &Bound<'_, PyAny>) -> PyResult<()> {
        for (stream, settings) in table(streams, STREAMS_EXPECTED)? {
            let stream = stream.extract::<String>().map_err(|_| PyTypeError::new_err(STREAMS_EXPECTED))?;
            let settings = table(&settings, STREAMS_EXPECTED)?;
            if settings.is_empty() {
                // Nothing is set, so no other check would notice a misspelt name.
                let (kind, _) = stream.split_once('.').unwrap_or((&stream, ""));
                arguments::message_type(PyString::new(py, kind).as_any())?;
            }
            for (key, value) in settings {
                let key: String = key.extract()?;
                let is_duration = tautline::Config::stream_keys()
                    .iter()
                    .any(|known| known.name() == key && known.expected().contains("duration"));
                self.set(py, &format!("{stream}.{key}"), &value, is_duration)?;
            }
        }
        Ok(())
    }

    /// Sets who may do what: `keys={"controller": {"file": "controller.key", "may": "command"}}`.
    fn set_holders(&mut self, py: Python<'_>, holders: &Bound<'_, PyAny>) -> PyResult<()> {
        const EXPECTED: &str = "keys: a dict from names to their keys is expected, such as {\"controller\": {\"file\": \"controller.key\"}}";
        let holders = table(holders, EXPECTED)?;
        if holders.is_empty() {
            // Otherwise the link would be plain, and its user would not know.
            return Err(PyTypeError::new_err(EXPECTED));
        }
        for (name, settings) in holders {
            let settings = table(&settings, EXPECTED)?;
            if settings.is_empty() {
                // Checking says what is missing.
                self.config = self.config.clone().key_holder(name.to_string(), KeyHolder::default());
            }
            for (key, value) in settings {
                self.set(py, &format!("keys.{name}.{key}"), &value, false)?;
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        py: Python<'_>,
        key: &str,
        value: &Bound<'_, PyAny>,
        is_duration: bool,
    ) -> PyResult<()> {
        let text = text_of(value, is_duration)?;
        self.config.set(key, &text).map_err(|error| errors::config(py, &error))
    }
}

fn table<'py>(value: &Bound<'py, PyAny>, expected: &'static str) -> PyResult<Bound<'py, PyDict>> {
    value.cast::<PyDict>().cloned().map_err(|_| PyTypeError::new_err(expected))
}

fn is_duration(key: &str) -> bool {
    let is_it = |known: &&Key| known.name() == key && known.expected().starts_with("a duration");
    tautline::Config::keys().iter().any(|known| is_it(&known))
}

/// Writes a value as the text that the library reads.
fn text_of(value: &Bound<'_, PyAny>, is_duration: bool) -> PyResult<String> {
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(flag.is_true().to_string());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return text.extract();
    }
    let is_number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
    if is_duration && (is_number || value.hasattr("total_seconds")?) {
        return Ok(format!("{}ns", arguments::duration(value)?.as_nanos()));
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let parts: Vec<String> =
            value.try_iter()?.map(|part| part?.str()?.extract()).collect::<PyResult<_>>()?;
        return Ok(parts.join(","));
    }
    match value.getattr("value") {
        Ok(inner) => text_of(&inner, is_duration),
        Err(_) => value.str()?.extract(),
    }
}

/// Reads impairments: `{"loss": 0.1, "burst": 3, "jitter": "5ms", ...}`.
pub(crate) fn impairments(value: &Bound<'_, PyAny>) -> PyResult<Impairments> {
    let known =
        "loss, burst, duplicate, reorder, corrupt, delay, jitter, rate, queue, max_size and partition";
    let Ok(parts) = value.cast::<PyDict>() else {
        return Err(PyTypeError::new_err(format!("impair: a dict is expected, with {known}")));
    };
    let mut made = Impairments::default();
    for (name, value) in parts {
        match name.extract::<String>()?.as_str() {
            "loss" => made.loss = quantity("loss", &value)?,
            "burst" => made.burst = Some(whole("burst", &value)?),
            "duplicate" => made.duplicate = quantity("duplicate", &value)?,
            "reorder" => made.reorder = quantity("reorder", &value)?,
            "corrupt" => made.corrupt = quantity("corrupt", &value)?,
            "delay" => made.delay = arguments::duration(&value)?,
            "jitter" => made.jitter = arguments::duration(&value)?,
            "rate" => made.rate = Some(quantity("rate", &value)?),
            "queue" => made.queue = whole("queue", &value)?,
            "max_size" => made.max_size = Some(whole("max_size", &value)?),
            "partition" => made.partition = value.extract()?,
            other => {
                return Err(PyTypeError::new_err(format!("impair: there is no {other:?}: expected {known}")));
            }
        }
    }
    Ok(made)
}

/// Reads a whole number.
fn whole<'py, T>(name: &str, value: &Bound<'py, PyAny>) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    arguments::whole(&format!("impair.{name}"), "a whole number, 0 or more,", value)
}

/// Reads a share (0.1 or "10%") or a rate ("1Mbit").
fn quantity<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    value: &Bound<'_, PyAny>,
) -> PyResult<T> {
    let text: String = value.str()?.extract()?;
    text.parse().map_err(|error| {
        pyo3::exceptions::PyValueError::new_err(format!("impair.{name}: {error}, not {text:?}"))
    })
}
