//! All settings with their values and sources, as TOML for people or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use tautline::{Config, Qos, Role, Selector, Settings};

use super::sources::{Place, Sources, toml_text};
use super::wire;
use crate::tools::output::{BOLD, FAINT, Styled};

/// One setting.
#[derive(Debug, Serialize)]
pub(super) struct Value {
    /// The table in TOML, empty at the top level.
    #[serde(skip)]
    table: String,
    #[serde(skip)]
    name: &'static str,
    key: String,
    /// In TOML.
    value: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

const DEFAULT: &str = "default";

/// Returns the settings in the order of the documentation. Without `checked`, what a profile sets is left out.
pub(super) fn of(config: &Config, checked: Option<&Settings>, sources: &Sources) -> Vec<Value> {
    let mut values = Vec::new();
    let by_profile = checked.map(real_time).unwrap_or_default();
    for key in Config::keys() {
        let value = match (key.value(config), by_profile.value_of(key.name())) {
            (Some(value), _) => Some((value, "code")),
            (None, Some(value)) if Some(&value) != key.default(wire(config)).as_ref() => {
                Some((value, "realtime"))
            }
            _ => key.default(wire(config)).filter(|_| concerns(key.scope(), config)).map(|v| (v, DEFAULT)),
        };
        if let Some((value, otherwise)) = value {
            values.push(Value::new("", key.name(), &value, otherwise, sources));
        }
    }
    for (selector, qos) in checked.map_or(&config.streams, |settings| &settings.streams).iter() {
        let without_profile = without_profile(config, selector);
        for key in Config::stream_keys() {
            if let Some(value) = key.value(&qos) {
                let is_default = key.value(&without_profile).as_ref() == Some(&value);
                let otherwise = if is_default { DEFAULT } else { "profile" };
                values.push(Value::new(&table(selector), key.name(), &value, otherwise, sources));
            }
        }
    }
    for holder in config.key_holders.keys() {
        let table = format!("keys.{holder}");
        for name in ["file", "may", "may_send"] {
            if let Some(written) = sources.get(&format!("{table}.{name}")) {
                values.push(Value::new(&table, name, &written.value.clone(), "code", sources));
            }
        }
    }
    values
}

impl Value {
    /// `value` is what the library has read; `otherwise` is its source if nobody wrote it.
    fn new(table: &str, name: &'static str, value: &str, otherwise: &str, sources: &Sources) -> Self {
        let key = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
        let written = sources.get(&key);
        let shown = written.map_or_else(|| toml_text(value), |written| written.value.clone());
        let (file, line) = match written.map(|written| written.place.clone()) {
            Some(Place::Line { file, line }) => (Some(file), Some(line)),
            _ => (None, None),
        };
        Self {
            table: table.to_owned(),
            name,
            key,
            value: sources.hidden(&shown),
            source: written.map_or_else(|| otherwise.to_owned(), |written| written.place.to_string()),
            file,
            line,
        }
    }
}

/// Whether a key with this scope has an effect for these settings.
fn concerns(scope: &str, config: &Config) -> bool {
    let of_role = match config.role {
        Some(Role::Server) => !scope.contains("clients"),
        Some(Role::Client) => !scope.contains("servers"),
        None => true,
    };
    let other = if wire(config) == tautline::Wire::Native { "classic" } else { "native" };
    of_role && !scope.contains(other)
}

/// The settings that `realtime` may have set, as a configuration.
fn real_time(settings: &Settings) -> RealTime {
    if !settings.realtime {
        return RealTime::default();
    }
    let Settings { thread_priority, lock_memory, low_latency_cpu, busy_poll, .. } = *settings;
    RealTime(Some(
        Config::default()
            .thread_priority(thread_priority)
            .lock_memory(lock_memory)
            .low_latency_cpu(low_latency_cpu)
            .busy_poll(busy_poll),
    ))
}

#[derive(Debug, Default)]
struct RealTime(Option<Config>);

impl RealTime {
    fn value_of(&self, name: &str) -> Option<String> {
        let config = self.0.as_ref()?;
        Config::keys().iter().find(|key| key.name() == name)?.value(config)
    }
}

/// Returns how a stream would be treated without the profile.
fn without_profile(config: &Config, selector: Selector) -> Qos {
    let mut plain = Config::server("127.0.0.1:0").wire(wire(config));
    plain.streams = config.streams.clone();
    let Ok(settings) = plain.settings() else { return Qos::new() };
    settings.streams.iter().find(|(found, _)| *found == selector).map_or_else(Qos::new, |(_, qos)| qos)
}

fn table(selector: Selector) -> String {
    let of_type = selector.message_type;
    selector.channel.map_or_else(|| of_type.to_string(), |channel| format!("{of_type}.{channel}"))
}

pub(super) fn json(values: &[Value]) -> String {
    serde_json::to_string(values).expect("text and numbers are JSON") + "\n"
}

/// The column of the sources, unless a line is longer.
const SOURCES: usize = 36;

pub(super) fn text(values: &[Value]) -> String {
    let mut text = String::new();
    let mut tables = BTreeMap::<&str, Vec<&Value>>::new();
    values.iter().for_each(|value| tables.entry(&value.table).or_default().push(value));
    for (table, values) in tables {
        if !table.is_empty() {
            let _ = writeln!(text, "\n{}", Styled(BOLD, format!("[{table}]"))); // writing to a String cannot fail
        }
        for value in values {
            let line = format!("{} = {}", value.name, value.value);
            let _ = writeln!(text, "{line:<SOURCES$} {}", Styled(FAINT, format!("# {}", value.source)));
        }
    }
    text
}
