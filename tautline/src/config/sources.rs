//! Settings from text: the environment and TOML. Both only find keys and values; what those mean is the
//! business of the one table.

use std::ffi::OsString;

use super::error::{ConfigError, nearest_key};
use super::keys::{Config, KEYS, Key};
use super::value::Given;

/// What the names of our environment variables begin with; the rest is a key in upper case.
const PREFIX: &str = "TAUTLINE_";

impl Config {
    /// A configuration from the environment alone: every `TAUTLINE_` variable, such as
    /// `TAUTLINE_ENDPOINT`. Nothing reads the environment unless this or [`apply_env`](Self::apply_env) is
    /// called.
    ///
    /// # Errors
    /// As for [`apply_variables`](Self::apply_variables).
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::default().apply_env()
    }

    /// Lays the environment over this configuration: what a variable sets, wins.
    ///
    /// # Errors
    /// As for [`apply_variables`](Self::apply_variables).
    pub fn apply_env(self) -> Result<Self, ConfigError> {
        self.apply_variables(std::env::vars_os())
    }

    /// Lays variables over this configuration as if they were the environment. Those that do not begin
    /// with `TAUTLINE_` are passed over.
    ///
    /// # Errors
    /// When a `TAUTLINE_` variable is no key's, or its value is not one of the key's.
    pub fn apply_variables<N, V>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        for (name, value) in variables {
            let name = name.into();
            let name = name.to_string_lossy();
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            // Not lossy: U+FFFD in a name or endpoint would be a value that nobody wrote.
            let value = value.into();
            let given = value.to_str().map_or(Given::Other("not valid UTF-8"), Given::Untyped);
            let key = find(&key.to_ascii_lowercase()).ok_or_else(|| ConfigError::UnknownKey {
                key: name.clone().into_owned(),
                nearest: nearest_key(&key.to_ascii_lowercase())
                    .map(|nearest| format!("{PREFIX}{}", nearest.to_ascii_uppercase())),
            })?;
            key.set(&mut self, &name, given)?;
        }
        Ok(self)
    }

    /// Sets one key from text, as a command line would: `set("max_peers", "16")`.
    ///
    /// # Errors
    /// When there is no such key, or the text is not one of its values.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        find(key).ok_or_else(|| unknown(key))?.set(self, key, Given::Untyped(text))
    }
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name() == name)
}

fn unknown(key: &str) -> ConfigError {
    ConfigError::UnknownKey { key: key.to_owned(), nearest: nearest_key(key).map(str::to_owned) }
}

#[cfg(feature = "toml")]
mod from_toml {
    use std::path::Path;

    use toml::{Table, Value};

    use super::{Config, ConfigError, Given, find, unknown};

    impl Config {
        /// A configuration from TOML text: one key a line, no tables. Needs the Cargo feature `toml`.
        ///
        /// ```
        /// use tautline::Config;
        ///
        /// let config = Config::from_toml("role = \"client\"\nendpoint = \"plant:9000\"\nconnect_timeout = \"2s\"")?;
        /// assert_eq!(config.validate(), Ok(()));
        ///
        /// let error = Config::from_toml("max_peer = 3").expect_err("no such key");
        /// assert_eq!(error.to_string(), "there is no key `max_peer`: did you mean `max_peers`?");
        /// # Ok::<(), tautline::ConfigError>(())
        /// ```
        ///
        /// # Errors
        /// When the text is not TOML, a key is unknown, or a value is not one of its key's. What depends on
        /// several keys is left to [`validate`](Self::validate), because more may be laid over this.
        pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
            let table: Table = text.parse().map_err(|error| not_toml(text, &error))?;
            let mut config = Self::default();
            for (name, value) in &table {
                find(name).ok_or_else(|| unknown(name))?.set(&mut config, name, given(value))?;
            }
            Ok(config)
        }

        /// A configuration from a file of TOML. Needs the Cargo feature `toml`.
        ///
        /// # Errors
        /// When the file cannot be read, and as for [`from_toml`](Self::from_toml); the error names the file.
        pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
            let path = path.as_ref();
            std::fs::read_to_string(path)
                .map_err(|error| ConfigError::Unreadable { problem: error.to_string() })
                .and_then(|text| Self::from_toml(&text))
                .map_err(|error| ConfigError::InFile {
                    path: path.display().to_string(),
                    error: Box::new(error),
                })
        }
    }

    fn given(value: &Value) -> Given<'_> {
        match value {
            Value::String(text) => Given::Text(text),
            Value::Integer(number) => Given::Integer(*number),
            Value::Boolean(value) => Given::Boolean(*value),
            Value::Float(_) => Given::Other("a number with a fraction"),
            Value::Datetime(_) => Given::Other("a date or time"),
            Value::Array(_) => Given::Other("an array"),
            Value::Table(_) => Given::Other("a table"),
        }
    }

    fn not_toml(text: &str, error: &toml::de::Error) -> ConfigError {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        ConfigError::Toml { line, problem: error.message().replace('\n', "; ") }
    }
}
