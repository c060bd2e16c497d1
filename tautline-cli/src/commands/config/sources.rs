//! Finds where each setting was written: in which line of the file, or in which variable.
//!
//! The library reads the values. This only finds their places, so a place that it does not know is no error.

use std::collections::BTreeMap;
use std::path::Path;

use tautline::{Config, ConfigError, KeyPath, MessageType};
use toml::de::{DeTable, DeValue};

use crate::tools::exit::Failure;

/// The place of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    Line { file: String, line: usize },
    Variable(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// A value as it was written, and its place.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) place: Place,
    /// In TOML.
    pub(super) value: String,
}

/// What was written, by key: `max_peers`, `command.deadline`, `command.3.history`, `keys.hmi.file`.
#[derive(Debug, Default)]
pub(super) struct Sources {
    by_key: BTreeMap<String, Written>,
    /// Texts that are keys of secured links, and that somebody wrote where a path belongs.
    secrets: Vec<String>,
}

impl Sources {
    /// Reads the file's text and the environment, which overrides it.
    pub(super) fn find(file: Option<&Path>, text: Option<&str>) -> Self {
        let mut sources = Self::default();
        if let (Some(path), Some(text)) = (file, text)
            && let Ok(table) = DeTable::parse(text)
        {
            sources.take_table(&path.display().to_string(), text, "", table.get_ref());
        }
        for (name, value) in std::env::vars_os() {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            if let Some(key) = name.strip_prefix("TAUTLINE_").and_then(key_of_variable) {
                let place = Place::Variable(name.into_owned());
                sources.keep_secret(&value);
                sources.by_key.insert(key, Written { place, value: toml_text(&value) });
            }
        }
        sources
    }

    fn take_table(&mut self, file: &str, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let line = text[..key.span().start].matches('\n').count() + 1;
            let place = Place::Line { file: file.to_owned(), line };
            if let DeValue::Table(inner) = value.get_ref() {
                self.take_table(file, text, &format!("{name}."), inner);
                // The table itself may be at fault.
                self.by_key.insert(name, Written { place, value: String::new() });
                continue;
            }
            let written = text[value.span()].split_whitespace().collect::<Vec<_>>().join(" ");
            if let Some(text) = value.get_ref().as_str() {
                self.keep_secret(text);
            }
            self.by_key.insert(name, Written { place, value: written });
        }
    }

    fn keep_secret(&mut self, text: &str) {
        let keys = text.split_whitespace().filter(|word| KeyPath::from(*word).path().is_none());
        self.secrets.extend(keys.map(str::to_owned));
    }

    pub(super) fn get(&self, key: &str) -> Option<&Written> {
        self.by_key.get(key)
    }

    /// Returns the error as a failure that names the place of the fault, and no key.
    pub(super) fn failure(&self, error: &ConfigError) -> Failure {
        // `key` is as it was written: the name of a variable, or the key in the file.
        let place = error.key().and_then(|key| self.by_key.get(key)).map(|written| &written.place);
        let sentence = match (error, place) {
            (ConfigError::InFile { path, error }, Some(Place::Line { line, .. })) => {
                format!("{path}:{line}: {error}")
            }
            (in_file @ ConfigError::InFile { path, error }, _) => match &**error {
                ConfigError::Toml { line, problem } => format!("{path}:{line}: not TOML: {problem}"),
                _ => in_file.to_string(),
            },
            (error, Some(place)) => format!("{place}: {error}"),
            (error, None) => error.to_string(),
        };
        Failure::usage(self.hidden(&sentence))
    }

    /// Returns the text without keys of secured links.
    pub(super) fn hidden(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

/// Stands for a key that somebody wrote where the path of a key file belongs.
const HIDDEN: &str = "(a key, which is not shown: write it to a file, and name the file)";

/// Returns the key that a variable sets: COMMAND_3_HISTORY is `command.3.history`.
fn key_of_variable(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    if Config::keys().iter().any(|key| key.name() == name) {
        return Some(name);
    }
    if let Some(of_holder) = name.strip_prefix("keys_") {
        let key = ["file", "may_send", "may"].iter().find(|key| of_holder.ends_with(*key))?;
        let holder = of_holder.strip_suffix(key)?.strip_suffix('_')?;
        return Some(format!("keys.{holder}.{key}"));
    }
    let types = MessageType::ALL.iter().map(|message_type| message_type.name());
    let (of_type, rest) = types.filter_map(|of_type| Some((of_type, name.strip_prefix(of_type)?))).next()?;
    let rest = rest.strip_prefix('_')?;
    let is_channel = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match rest.split_once('_').filter(|(channel, _)| is_channel(channel)) {
        Some((channel, key)) => Some(format!("{of_type}.{channel}.{key}")),
        None => Some(format!("{of_type}.{rest}")),
    }
}

/// Writes text from a source without types in TOML.
pub(super) fn toml_text(text: &str) -> String {
    let is_bare =
        matches!(text, "true" | "false") || text.parse::<i64>().is_ok_and(|n| n.to_string() == text);
    if is_bare { text.to_owned() } else { serde_json::to_string(text).expect("text is JSON") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_variable_leads_to_its_key() {
        for (name, key) in [
            ("MAX_PEERS", Some("max_peers")),
            ("COMMAND_DEADLINE", Some("command.deadline")),
            ("COMMAND_3_HISTORY", Some("command.3.history")),
            ("KEYS_HMI_2_FILE", Some("keys.hmi_2.file")),
            ("KEYS_HMI_MAY_SEND", Some("keys.hmi.may_send")),
            ("NONSENSE", None),
        ] {
            assert_eq!(key_of_variable(name).as_deref(), key, "{name}");
        }
    }
}
