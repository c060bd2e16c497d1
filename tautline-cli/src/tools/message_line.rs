//! Formats a message as one line of JSON. Used by `listen`, `tap` and `send --request`; recordings hold the same document.
//!
//! A JSON payload is copied unchanged, with its key order and its digits. (`output` escapes control characters in it.) MessagePack and CBOR are translated and keep
//! their order. Raw bytes are written in hexadecimal.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tautline::{ContentType, Delivery, Id, Message, Timestamp};

use crate::tools::message_view::MessageView;

/// The seven keys of the classic envelope, and the keys of the native wire that differ from their defaults.
#[derive(Debug, Serialize)]
struct Metadata<'a> {
    message_id: Box<RawValue>,
    timestamp: Box<RawValue>,
    message_type: &'a str,
    priority: u8,
    source: Option<&'a str>,
    destination: Option<&'a str>,
    correlation_id: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifespan_ms: Option<f64>,
}

/// Formats a received message as a line that ends with a newline.
pub(crate) fn line(message: &Message) -> String {
    document(&MessageView::of(message)) + "\n"
}

/// Formats a message as a JSON object: its metadata, its data, the sender's address, its age, and when it was received.
pub(crate) fn document(message: &MessageView<'_>) -> String {
    let metadata = serde_json::to_string(&metadata(message)).expect("text and numbers are JSON");
    let age = match message.age {
        Some(age) => format!("{:.3}", age.as_secs_f64() * 1e3),
        None => "null".to_owned(),
    };
    format!(
        "{{\"metadata\":{metadata},\"data\":{},\"peer\":\"{}\",\"age_ms\":{age},\"received\":{}}}",
        message.data(),
        message.peer,
        message.received.as_secs_f64(),
    )
}

fn metadata<'a>(message: &MessageView<'a>) -> Metadata<'a> {
    let content_type = message.content_type;
    Metadata {
        message_id: id(&message.message_id),
        timestamp: timestamp(message.stamp),
        message_type: message.message_type.name(),
        priority: message.priority.to_wire(),
        source: message.source,
        destination: message.destination,
        correlation_id: message.correlation_id.as_ref().map(id),
        channel: Some(message.channel).filter(|channel| *channel != 0),
        content_type: Some(content_type.name()).filter(|_| content_type != ContentType::Json),
        delivery: Some(message.delivery).filter(|class| *class != Delivery::BestEffort).map(Delivery::name),
        lifespan_ms: message.lifespan.map(|lifespan| lifespan.as_secs_f64() * 1e3),
    }
}

/// Returns an id as the JSON value that it is.
fn id(id: &Id<'_>) -> Box<RawValue> {
    let json = match id {
        Id::Number(number) => to_raw_value(number),
        Id::Text(text) => to_raw_value(text),
        Id::Null => to_raw_value(&()),
        Id::Json(json) => RawValue::from_string(json.to_string()),
    };
    json.expect("numbers and text are JSON, and the library has checked what is JSON already")
}

/// Returns a time stamp as the number that travelled.
fn timestamp(stamp: Timestamp) -> Box<RawValue> {
    let json = match stamp {
        Timestamp::WholeSeconds(seconds) => to_raw_value(&seconds),
        stamp => to_raw_value(&stamp.as_secs_f64()),
    };
    json.expect("numbers are JSON")
}
