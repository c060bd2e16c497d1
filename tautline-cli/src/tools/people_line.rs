//! A message in a few words, for people. Used by `listen` and `tap`.

use std::time::Duration;

use tautline::{ContentType, MessageType};

use crate::tools::output::{FAINT, Styled, escaped};
use tautline::recording::MessageView;

/// Returns type and channel, in the colour of the type.
pub(crate) fn kind(message: &MessageView<'_>) -> String {
    let channel = if message.channel == 0 { String::new() } else { format!("/{}", message.channel) };
    let text = format!("{}{channel}", message.message_type);
    Styled(colour(message.message_type), format!("{text:<10}")).to_string()
}

const fn colour(message_type: MessageType) -> anstyle::Style {
    use anstyle::AnsiColor::{Blue, Cyan, Green, Magenta, Red, Yellow};
    match message_type {
        MessageType::Command => Yellow.on_default(),
        MessageType::Status => Cyan.on_default(),
        MessageType::Error => Red.on_default(),
        MessageType::Acknowledgment => Green.on_default(),
        MessageType::Configuration => Magenta.on_default(),
        MessageType::Data => Blue.on_default(),
        _ => FAINT,
    }
}

/// Returns what the sender calls itself; its address if it has no name.
pub(crate) fn sender(message: &MessageView<'_>) -> String {
    escaped(&message.sender()).into_owned()
}

/// Returns the age of the data with a unit.
pub(crate) fn age(age: Option<Duration>) -> String {
    let text = age.map_or_else(|| "-".to_owned(), shown);
    Styled(FAINT, format!("{text:>8}")).to_string()
}

fn shown(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    match ms {
        _ if ms < 1.0 => format!("{:.0} µs", ms * 1e3),
        _ if ms < 10.0 => format!("{ms:.2} ms"),
        _ if ms < 1e3 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}

/// Returns the data as text on one line. Raw bytes follow the word `raw`, because their digits would look like JSON.
pub(crate) fn data(message: &MessageView<'_>) -> String {
    let data = message.data();
    match message.content_type {
        ContentType::Raw => format!("raw {}", data.trim_matches('"')),
        _ => escaped(&data).into_owned(),
    }
}
