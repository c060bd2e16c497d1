//! Times and events of black boxes in words.

use serde_json::Value;

use crate::tools::output::escaped;

/// A time in words.
pub(super) fn span(nanos: u64) -> String {
    const LONG_SPAN: u64 = 10_000_000_000;
    if nanos < LONG_SPAN {
        format!("{:.1} ms", nanos as f64 / 1e6)
    } else {
        format!("{:.1} s", nanos as f64 / 1e9)
    }
}

/// An event in words. Strangers choose names, so nothing of it controls the terminal.
pub(super) fn told(event: &Value) -> String {
    escaped(&in_words(event)).into_owned()
}

fn in_words(event: &Value) -> String {
    let kind = event["event"].as_str().unwrap_or_default();
    let fields = event["fields"].as_object().into_iter().flatten();
    let fields: Vec<String> = fields.filter_map(|(name, value)| field(name, value)).collect();
    let separator = if fields.is_empty() { "" } else { ": " };
    format!("{}{separator}{}", spaced(kind), fields.join(", "))
}

/// The name of a variant in words: "PeerSilent" is "peer silent".
fn spaced(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

/// The fields that hold the name of a variant. (Those of `PeerMoved` that are called so hold addresses, which have no upper case.)
const NAMES: [&str; 4] = ["fault", "from", "to", "cause"];

/// A field of an event in words. `None` if it is not set.
fn field(name: &str, value: &Value) -> Option<String> {
    let value = match (name.strip_suffix("_ns"), value) {
        (_, Value::Null) => return None,
        (Some(name), value) => return Some(format!("{name} {:.1} ms", value.as_f64()? / 1e6)),
        // The names of variants: the fault of an address, and what a state has changed to.
        (None, Value::String(text)) if NAMES.contains(&name) => spaced(text),
        (None, Value::String(text)) => text.clone(),
        (None, value) => value.to_string(),
    };
    Some(format!("{} {value}", name.replace('_', " ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_told_in_words() {
        let event = json!({
            "event": "Watchdog",
            "text": "Watchdog(WatchdogEvent { .. })",
            "fields": { "change": "tripped", "late_ns": 155_581, "missed": 1, "watched": "command" },
        });
        assert_eq!(told(&event), "watchdog: change tripped, late 0.2 ms, missed 1, watched command");
        let event =
            json!({ "event": "PeerUnreachable", "fields": { "address": null, "fault": "NetworkDown" } });
        assert_eq!(told(&event), "peer unreachable: fault network down");
        let event = json!({ "event": "CommandsUnguarded", "text": "CommandsUnguarded", "fields": {} });
        assert_eq!(told(&event), "commands unguarded");
        let event = json!({ "event": "PeerConnected", "fields": { "name": "arm\n  0.0 ms  plant: \u{1b}[31mthe trip" } });
        assert_eq!(told(&event), "peer connected: name arm\\u000a  0.0 ms  plant: \\u001b[31mthe trip");
    }
}
