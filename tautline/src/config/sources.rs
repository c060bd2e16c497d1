//! Settings from text: the environment, TOML and the command line. This file finds the keys and their values; the table
//! in `keys.rs` knows what they mean.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use super::error::{ConfigError, nearest_key, nearest_type_of_stream};
use super::holders::{is_of_holder, other_rights};
use super::invalid;
use super::keys::{Config, DEFAULT_WIRE, KEYS, Key};
use super::streams::StreamKeyName;
use super::value::SourceValue;

/// The prefix of our environment variables. The rest of the name is a key in upper case.
const PREFIX: &str = "TAUTLINE_";

impl Config {
    /// Makes a configuration from the environment alone: from every `TAUTLINE_` variable, such as `TAUTLINE_ENDPOINT`.
    /// Only this function and [`apply_env`](Self::apply_env) read the environment.
    ///
    /// # Errors
    /// As [`apply_variables`](Self::apply_variables).
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::default().apply_env()
    }

    /// Applies the environment to this configuration. A `TAUTLINE_` variable replaces the value of its key.
    ///
    /// # Errors
    /// As [`apply_variables`](Self::apply_variables).
    pub fn apply_env(self) -> Result<Self, ConfigError> {
        self.apply_variables(std::env::vars_os())
    }

    /// Applies variables to this configuration as if they were the environment. Names without the prefix `TAUTLINE_`
    /// are ignored.
    ///
    /// # Errors
    /// A `TAUTLINE_` variable has no key, or its value is not valid for the key.
    pub fn apply_variables<N, V>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let mut of_holders = BTreeSet::new();
        for (name, value) in variables {
            let name = name.into();
            let name = name.to_string_lossy();
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            // Not lossy, because U+FFFD in a name or endpoint would be a value that the user did not write.
            let value = value.into();
            let given = value.to_str().map_or(SourceValue::Other("not valid UTF-8"), SourceValue::Untyped);
            let write = |key: &str| format!("{PREFIX}{}", key.to_ascii_uppercase());
            let key = key.to_ascii_lowercase();
            if let Some(other) = other_rights(&key, '_') {
                // Their order is no one's choice, so the last one must not win.
                if of_holders.contains(&other) {
                    return Err(invalid(
                        &name,
                        &format!("set, and so is `{}`", write(&other)),
                        "one of the two",
                    ));
                }
                of_holders.insert(key.clone());
            }
            self.set_named(&key, '_', &name, given, write)?;
        }
        Ok(self)
    }

    /// Sets one key from text, for example from a command line: `set("max_peers", "16")`,
    /// `set("command.lifespan", "50ms")`, `set("command.3.history", "1")`.
    ///
    /// # Errors
    /// There is no such key, or the text is not a valid value of the key.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        self.set_named(key, '.', key, SourceValue::Untyped(text), str::to_owned)
    }

    /// Returns every value as text, by the name that [`set`](Self::set) takes; where none is set, the default. What is about keys is
    /// left out, and code (a failsafe) is no text.
    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        let wire = self.wire.unwrap_or(DEFAULT_WIRE);
        let value = |key: &Key| key.value(self).or_else(|| key.default(wire));
        let plain = KEYS.iter().filter(|key| !key.name().starts_with("key"));
        let plain = plain.filter_map(|key| Some((key.name().to_owned(), value(key)?)));
        plain.chain(self.streams.texts()).collect()
    }

    /// Reads what [`texts`](Self::texts) has returned, perhaps in another version: texts that mean nothing here are left out.
    pub(crate) fn of_texts(texts: &BTreeMap<String, String>) -> Self {
        let mut config = Self::default();
        if let Some(wire) = texts.get("wire") {
            let _ = config.set("wire", wire);
        }
        let wire = config.wire.unwrap_or(DEFAULT_WIRE);
        for (name, text) in texts {
            // A default may have no effect here, which is an error for a value that was set.
            if find(name).and_then(|key| key.default(wire)).as_ref() != Some(text) {
                let _ = config.set(name, text);
            }
        }
        config
    }

    /// Sets the key `name`. `separator` separates the parts of a stream's key. Errors show this key as `written`, and
    /// other keys as `write` writes them.
    fn set_named(
        &mut self,
        name: &str,
        separator: char,
        written: &str,
        given: SourceValue<'_>,
        write: impl Fn(&str) -> String,
    ) -> Result<(), ConfigError> {
        if let Some(key) = find(name) {
            return key.set(self, written, given);
        }
        if name == "key" {
            return Err(ConfigError::KeyInText { key: written.to_owned(), instead: write("key_file") });
        }
        if is_of_holder(name, separator) {
            return self.set_of_holder(name, separator, written, given, write);
        }
        match StreamKeyName::parse(name, separator, written, &write) {
            Some(stream) => self.streams.set(stream?, written, given),
            None => {
                let nearest = nearest_type_of_stream(name, separator);
                let nearest = nearest.or_else(|| nearest_key(name).map(str::to_owned)).map(|key| write(&key));
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

    use super::{Config, ConfigError, SourceValue, find, nearest_key};
    use crate::config::invalid;
    use crate::config::streams::{StreamKeyName, is_number};
    use tautline_proto::MessageType;

    /// The tables that there are. The error shows this to a user who tries others (`[server]`, `[qos.command]`).
    const TABLES: &str = "a table with the name of a message type, such as [command] or [command.3], or [keys.NAME]; \
                          every other key must stand above the first table";

    impl Config {
        /// Makes a configuration from TOML text: one key in each line, and a table for each stream of messages. Needs
        /// the Cargo feature `toml`.
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
        /// The text is not TOML, a key is unknown, or a value is not valid for its key. Rules about several keys are
        /// checked only by [`validate`](Self::validate), because other sources may be applied later.
        pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
            let table: Table = text.parse().map_err(|error| not_toml(text, &error))?;
            let mut config = Self::default();
            for (name, value) in &table {
                if name == "keys" {
                    config.read_holders(value)?;
                    continue;
                }
                match MessageType::from_name(name) {
                    Some(message_type) => config.read_type(message_type, value)?,
                    None if value.is_table() && find(name).is_none() && nearest_key(name).is_none() => {
                        return Err(invalid(name, &given(value), TABLES));
                    }
                    None => {
                        let list = list_of_texts(value);
                        let given = list.as_deref().map_or_else(|| given(value), SourceValue::List);
                        config.set_named(name, '.', name, given, str::to_owned)?;
                    }
                }
            }
            Ok(config)
        }

        /// Reads the tables of those who hold keys.
        fn read_holders(&mut self, value: &Value) -> Result<(), ConfigError> {
            let expected = "a table for each holder of keys, [keys.NAME]";
            let table = |name: &str, value: &Value| {
                value.as_table().cloned().ok_or_else(|| invalid(name, &given(value), expected))
            };
            let holders = table("keys", value)?;
            if holders.is_empty() {
                // Otherwise the link would be plain, and whoever wrote the table would not know.
                return Err(invalid("keys", &"an empty table", expected));
            }
            for (holder, value) in holders {
                let of_holder = table(&format!("keys.{holder}"), &value)?;
                if of_holder.contains_key("may") && of_holder.contains_key("may_send") {
                    let key = format!("keys.{holder}.may_send");
                    return Err(invalid(&key, &"set, and so is `may`", "one of the two"));
                }
                // Also if its table is empty: checking says what is missing.
                self.key_holders.entry(holder.clone()).or_default();
                for (key, value) in &of_holder {
                    let name = format!("keys.{holder}.{key}");
                    let list = list_of_texts(value);
                    let given = list.as_deref().map_or_else(|| given(value), SourceValue::List);
                    self.set_named(&name, '.', &name, given, str::to_owned)?;
                }
            }
            Ok(())
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
            let stream = StreamKeyName::find(message_type, channel, key, &written, write)?;
            self.streams.set(stream, &written, given(value))
        }

        /// Makes a configuration from a TOML file. Needs the Cargo feature `toml`.
        ///
        /// # Errors
        /// The file cannot be read. Otherwise as [`from_toml`](Self::from_toml). The error names the file.
        pub fn from_toml_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
            let path = path.as_ref();
            std::fs::read_to_string(path)
                .map_err(|error| ConfigError::Unreadable { problem: reading_problem(path, &error) })
                .and_then(|text| Self::from_toml(&text))
                .map(|mut config| {
                    config.key_files_below(path.parent().unwrap_or(Path::new("")));
                    config
                })
                .map_err(|error| ConfigError::InFile {
                    path: path.display().to_string(),
                    error: Box::new(error),
                })
        }
    }

    /// Says why a file cannot be read.
    fn reading_problem(path: &Path, error: &std::io::Error) -> String {
        if path.is_dir() { "it is a folder: name a file in it".to_owned() } else { error.to_string() }
    }

    /// Returns the value as the table of a stream.
    fn stream_table<'a>(name: &str, value: &'a Value) -> Result<&'a Table, ConfigError> {
        value.as_table().ok_or_else(|| invalid(name, &given(value), &format!("a table, [{name}]")))
    }

    fn given(value: &Value) -> SourceValue<'_> {
        match value {
            Value::String(text) => SourceValue::Text(text),
            Value::Integer(number) => SourceValue::Integer(*number),
            Value::Boolean(value) => SourceValue::Boolean(*value),
            Value::Float(_) => SourceValue::Other("a number with a fraction"),
            Value::Datetime(_) => SourceValue::Other("a date or time"),
            Value::Array(items) if items.is_empty() => SourceValue::Other("an empty list"),
            Value::Array(_) => SourceValue::Other("an array"),
            Value::Table(_) => SourceValue::Other("a table"),
        }
    }

    /// Returns the texts of an array, with commas between them. `None` for an empty array, and for other values.
    fn list_of_texts(value: &Value) -> Option<String> {
        let texts: Option<Vec<&str>> = value.as_array()?.iter().map(Value::as_str).collect();
        texts.filter(|texts| !texts.is_empty()).map(|texts| texts.join(","))
    }

    fn not_toml(text: &str, error: &toml::de::Error) -> ConfigError {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        let mut problem = error.message().replace('\n', "; ");
        // In double quotes a backslash begins an escape. So a Windows path in double quotes gives this error.
        let wrong = text.lines().nth(line - 1).unwrap_or_default();
        if wrong.contains('\\') {
            problem.push_str(r"; write a path with backslashes in single quotes, such as 'C:\keys\arm.key'");
        } else if wrong.split_once('=').is_some_and(|(_, value)| !value.contains(['"', '\''])) {
            problem.push_str("; write text in double quotes, such as \"127.0.0.1:9000\"");
        }
        ConfigError::Toml { line, problem }
    }
}
