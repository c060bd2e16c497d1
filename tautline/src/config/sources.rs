//! Settings from text: the environment and TOML. Both only find keys and values; what those mean is the
//! business of the one table.

use std::ffi::OsString;

use super::error::{ConfigError, nearest_key};
use super::keys::{Config, KEYS, Key};
use super::streams::StreamName;
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
            let write = |key: &str| format!("{PREFIX}{}", key.to_ascii_uppercase());
            self.set_named(&key.to_ascii_lowercase(), '_', &name, given, write)?;
        }
        Ok(self)
    }

    /// Sets one key from text, as a command line would: `set("max_peers", "16")`, `set("command.lifespan", "50ms")`,
    /// `set("command.3.history", "1")`.
    ///
    /// # Errors
    /// When there is no such key, or the text is not one of its values.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        self.set_named(key, '.', key, Given::Untyped(text), str::to_owned)
    }

    /// Sets the key `name`, the parts of a stream's being apart by `separator`; errors call it `written`, and others as
    /// `write` writes them.
    fn set_named(
        &mut self,
        name: &str,
        separator: char,
        written: &str,
        given: Given<'_>,
        write: impl Fn(&str) -> String,
    ) -> Result<(), ConfigError> {
        if let Some(key) = find(name) {
            return key.set(self, written, given);
        }
        match StreamName::parse(name, separator, written, &write) {
            Some(stream) => self.streams.set(stream?, written, given),
            None => {
                let nearest = nearest_key(name).map(write);
                Err(ConfigError::UnknownKey { key: written.to_owned(), nearest })
            }
        }
    }
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name() == name)
}

#[cfg(feature = "toml")]
mod from_toml {
    use std::path::Path;

    use toml::{Table, Value};

    use super::{Config, ConfigError, Given};
    use crate::config::invalid;
    use crate::config::streams::{StreamName, is_number};
    use tautline_proto::MessageType;

    impl Config {
        /// A configuration from TOML text: one key a line, and a table for each stream of messages. Needs the Cargo feature `toml`.
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
                match MessageType::from_name(name) {
                    Some(message_type) => config.read_type(message_type, value)?,
                    None => config.set_named(name, '.', name, given(value), str::to_owned)?,
                }
            }
            Ok(config)
        }

        /// Reads the table of a message type.
        fn read_type(&mut self, message_type: MessageType, value: &Value) -> Result<(), ConfigError> {
            let name = message_type.name();
            for (key, value) in stream_table(name, value)? {
                if is_number(key) {
                    for (inner, value) in stream_table(&format!("{name}.{key}"), value)? {
                        self.read_stream(message_type, Some(key), inner, value)?;
                    }
                } else {
                    self.read_stream(message_type, None, key, value)?;
                }
            }
            Ok(())
        }

        fn read_stream(
            &mut self,
            message_type: MessageType,
            channel: Option<&str>,
            key: &str,
            value: &Value,
        ) -> Result<(), ConfigError> {
            let table = channel.map_or_else(String::new, |channel| format!("{channel}."));
            let write = |key: &str| format!("{message_type}.{table}{key}");
            let written = write(key);
            let stream = StreamName::find(message_type, channel, key, &written, write)?;
            self.streams.set(stream, &written, given(value))
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

    /// The keys of a stream's table.
    fn stream_table<'a>(name: &str, value: &'a Value) -> Result<&'a Table, ConfigError> {
        value.as_table().ok_or_else(|| invalid(name, &given(value), &format!("a table, [{name}]")))
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
