//! Formats a received message as one line of JSON. Used by `listen` and `send --request`.
//!
//! A JSON payload is copied unchanged, with its key order and its digits. (`output` escapes control characters in it.) MessagePack and CBOR are translated and keep
//! their order. Raw bytes are written in hexadecimal.

use std::net::SocketAddr;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tautline::{ContentType, Delivery, Id, Message, Timestamp};

use crate::tools::transcode::{JsonText, hexadecimal};

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

/// Formats `message` as a line that ends with a newline.
pub(crate) fn line(message: &Message) -> String {
    let content_type = message.content_type();
    let metadata = Metadata {
        message_id: id(&message.message_id()),
        timestamp: timestamp(message.stamp()),
        message_type: message.message_type().name(),
        priority: message.priority().to_wire(),
        source: Some(message.source()).filter(|_| message.has_source()),
        destination: message.destination(),
        correlation_id: message.correlation_id().map(|answered| id(&answered)),
        channel: Some(message.channel()).filter(|channel| *channel != 0),
        content_type: Some(content_type.name()).filter(|_| content_type != ContentType::Json),
        delivery: Some(message.delivery()).filter(|class| *class != Delivery::BestEffort).map(Delivery::name),
        lifespan_ms: message.lifespan().map(|lifespan| lifespan.as_secs_f64() * 1e3),
    };
    let metadata = serde_json::to_string(&metadata).expect("text and numbers are JSON");
    let age_ms = message.age().as_secs_f64() * 1e3;
    format!(
        "{{\"metadata\":{metadata},\"data\":{},\"peer\":\"{}\",\"age_ms\":{age_ms:.3}}}\n",
        data(content_type, message),
        peer(message.address()),
    )
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

/// Returns the sender's address. An IPv4 address that an IPv6 socket reports as mapped is shown as IPv4.
fn peer(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn data(content_type: ContentType, message: &Message) -> String {
    match content_type {
        ContentType::Json => one_line(message.payload()),
        ContentType::MessagePack | ContentType::Cbor => match message.decode::<JsonText>() {
            Ok(text) => text.0,
            // The library has checked the bytes already, so this happens only if the codec is not built in.
            Err(_) => hexadecimal(message.payload()),
        },
        _ => hexadecimal(message.payload()),
    }
}

/// Replaces line ends by spaces. Outside strings JSON ignores them, and inside strings it does not allow them.
fn one_line(json: &[u8]) -> String {
    String::from_utf8_lossy(json).replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_sender_is_shown_as_ipv4_on_an_ipv6_socket_too() {
        for (address, shown) in [
            ("[::ffff:10.0.0.2]:9000", "10.0.0.2:9000"),
            ("[::1]:9000", "[::1]:9000"),
            ("10.0.0.2:1", "10.0.0.2:1"),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(peer(address).to_string(), shown);
        }
    }

    #[test]
    fn json_keeps_its_order_and_digits_and_stays_on_one_line() {
        let text = "{\"z\": 123456789012345678901234567890,\r\n \"a\": \"line\\nend\"}";
        assert_eq!(
            one_line(text.as_bytes()),
            "{\"z\": 123456789012345678901234567890,   \"a\": \"line\\nend\"}"
        );
    }
}
