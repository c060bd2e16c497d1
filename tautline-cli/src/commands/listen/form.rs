//! The form in which a message is printed: JSON, a short line for people, or a part of its data.

use std::io::IsTerminal;

use serde_json::value::RawValue;
use tautline::{Message, WallTime};

use super::Args;
use crate::tools::message_line;
use crate::tools::output::{FAINT, Styled, columns, cut};
use crate::tools::people_line;
use tautline::recording::MessageView;

/// The form of all messages.
#[derive(Debug)]
pub(super) enum Form {
    /// The whole message as JSON.
    Json,
    /// A line of the terminal's width.
    People,
    /// The data as JSON.
    Data,
    /// A field of the data as JSON, with the names or numbers that lead to it. A message without it is left out.
    Field(Vec<String>),
}

impl Form {
    /// Returns the form that the options and stdout ask for.
    pub(super) fn of(args: &Args) -> Self {
        match &args.only {
            Some(field) => Self::Field(field.split('.').map(str::to_owned).collect()),
            None if args.data => Self::Data,
            None if !args.json && std::io::stdout().is_terminal() => Self::People,
            None => Self::Json,
        }
    }

    /// Returns a message as a line that ends with a newline. `None` if it has nothing to print.
    pub(super) fn line(&self, message: &Message) -> Option<String> {
        let view = MessageView::of(message);
        Some(match self {
            Self::Json => message_line::line(message),
            Self::People => people(&view),
            Self::Data => format!("{}\n", view.data()),
            Self::Field(path) => format!("{}\n", field(&view.data(), path)?),
        })
    }
}

/// Returns time, type, sender, age and data, cut to the terminal.
fn people(message: &MessageView<'_>) -> String {
    let line = format!(
        "{} {} {:<12} {} {}",
        Styled(FAINT, time_of_day(message.received)),
        people_line::kind(message),
        people_line::sender(message),
        people_line::age(message.age),
        people_line::data(message),
    );
    format!("{}\n", cut(&line, columns()))
}

/// Returns the time of day (UTC).
fn time_of_day(time: WallTime) -> String {
    let ms = time.as_nanos().rem_euclid(86_400_000_000_000) / 1_000_000;
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// Returns the field of JSON data that a path leads to, as it stands there.
fn field(data: &str, path: &[String]) -> Option<String> {
    let mut found = RawValue::from_string(data.to_owned()).ok()?;
    for name in path {
        found = match found.get().as_bytes().first()? {
            b'{' => {
                let mut members: std::collections::HashMap<String, Box<RawValue>> =
                    serde_json::from_str(found.get()).ok()?;
                members.remove(name)?
            }
            b'[' => {
                let mut items: Vec<Box<RawValue>> = serde_json::from_str(found.get()).ok()?;
                let place = name.parse().ok().filter(|place| *place < items.len())?;
                items.swap_remove(place)
            }
            _ => return None,
        };
    }
    Some(found.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_through_objects_and_arrays() {
        let data = r#"{"arm": {"force": 1.50, "axes": [0, {"x": null}]}, "a b": true}"#;
        for (path, expected) in [
            ("arm.force", Some("1.50")),
            ("arm.axes.1.x", Some("null")),
            ("arm.axes.2", None),
            ("arm.force.x", None),
            ("a b", Some("true")),
            ("legs", None),
        ] {
            let names: Vec<String> = path.split('.').map(str::to_owned).collect();
            assert_eq!(field(data, &names).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn the_time_of_day_is_that_of_utc() {
        let time = WallTime::from_nanos(1_700_000_000_123_456_789);
        assert_eq!(time_of_day(time), "22:13:20.123");
    }
}
