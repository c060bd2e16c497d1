//! Writes what the library logs to stderr (`--verbose`). `cli` starts it.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::tools::output::{self, FAINT, Styled};

/// Writes every log line of the library from now on. Without this, only its warnings and errors that a subcommand shows.
pub(crate) fn start() {
    begin(Log { of: None });
}

/// Writes where a black box was written to from now on, or why it was not.
pub(crate) fn start_for_black_boxes() {
    begin(Log { of: Some("tautline::shared::black_box") });
}

fn begin(log: Log) {
    // Fails only if it was started before.
    let _ = tracing::subscriber::set_global_default(log);
}

/// Formats events. There are no spans in the library.
#[derive(Debug)]
struct Log {
    /// The module whose events are shown. `None`: those of all.
    of: Option<&'static str>,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // In this program, only the demo acts on commands, and it guards them.
        let is_wanted = metadata.target() != "tautline::unguarded";
        is_wanted
            && *metadata.level() <= Level::INFO
            && self.of.is_none_or(|module| metadata.target() == module)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level().as_str().to_lowercase();
        let Line { message, fields, left_out } = line;
        output::log(&format!("{} {message}{fields}{left_out}", Styled(FAINT, format!("{level}:"))));
    }
}

/// The message of an event, and its other fields as `name=value`.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: String,
    left_out: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        // A peer chooses its name. In quotes, a name that holds a line end or a comma cannot look like more of the log.
        if field.name() == "message" || value.bytes().all(is_plain) {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match (field.name(), value) {
            ("left_out", 0) => {}
            // The number of lines that were left out before this one.
            ("left_out", 1) => self.left_out = " (1 line before was left out)".to_owned(),
            ("left_out", _) => self.left_out = format!(" ({value} lines before were left out)"),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {name}={value:?}"),
        };
    }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}
