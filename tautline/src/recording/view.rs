//! A message as it is recorded and shown: received by an interface, or read from a datagram that passed by.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tautline_proto::{ContentType, Delivery, Id, MessageType, Priority, Timestamp, WallTime};

use super::json_text::{JsonText, hexadecimal};
use crate::message::Message;
use crate::payload::Payload;

/// A message with its metadata, and how it arrived.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs)] // whoever reads datagrams makes one
pub struct MessageView<'a> {
    /// Its type.
    pub message_type: MessageType,
    /// Its priority.
    pub priority: Priority,
    /// Its channel.
    pub channel: u16,
    /// When its sender says that it was made.
    pub stamp: Timestamp,
    /// Its id.
    pub message_id: Id<'a>,
    /// The name of its sender. `None` for null on the classic wire.
    pub source: Option<&'a str>,
    /// Who it is for.
    pub destination: Option<&'a str>,
    /// The id of the message that it answers.
    pub correlation_id: Option<Id<'a>>,
    /// How it is delivered.
    pub delivery: Delivery,
    /// How long it is valid.
    pub lifespan: Option<Duration>,
    /// How its payload is encoded.
    pub content_type: ContentType,
    /// Its payload.
    pub payload: &'a [u8],
    /// The sender's address. An IPv4 address that an IPv6 socket reports as mapped is shown as IPv4.
    pub peer: SocketAddr,
    /// Who sent it, by its key ([`Message::identity`]). `None` if the server names no holders of keys, and on a plain link.
    pub identity: Option<&'a str>,
    /// When it arrived, on the wall clock of this machine.
    pub received: WallTime,
    /// How old the data are at most. `None` if nothing is known of the sender's clock.
    pub age: Option<Duration>,
}

impl<'a> MessageView<'a> {
    /// Returns a message that an interface has received.
    #[must_use]
    pub fn of(message: &'a Message) -> Self {
        Self {
            message_type: message.message_type(),
            priority: message.priority(),
            channel: message.channel(),
            stamp: message.stamp(),
            message_id: message.message_id(),
            source: Some(message.source()).filter(|_| message.has_source()),
            destination: message.destination(),
            correlation_id: message.correlation_id(),
            delivery: message.delivery(),
            lifespan: message.lifespan(),
            content_type: message.content_type(),
            payload: message.payload(),
            peer: canonical(message.address()),
            identity: message.identity().filter(|name| !name.is_empty()),
            received: message.arrived(),
            age: Some(message.age()),
        }
    }

    /// Returns the payload as JSON text on one line: JSON unchanged, MessagePack and CBOR translated, raw bytes in hexadecimal.
    #[must_use]
    pub fn data(&self) -> Cow<'a, str> {
        match self.content_type {
            ContentType::Json => one_line(self.payload),
            ContentType::MessagePack | ContentType::Cbor => {
                let payload = Payload::encoded(self.content_type, self.payload);
                match payload.map(|payload| payload.decode::<JsonText>()) {
                    Ok(Ok(text)) => text.0.into(),
                    _ => hexadecimal(self.payload).into(),
                }
            }
            _ => hexadecimal(self.payload).into(),
        }
    }

    /// Returns the message as a JSON object: its metadata, its data, the sender's address and identity, its age, and when it was
    /// received. A JSON payload is copied unchanged, with its key order and its digits.
    ///
    /// # Panics
    ///
    /// Never: text and numbers are JSON.
    #[must_use]
    pub fn document(&self) -> String {
        let metadata = serde_json::to_string(&metadata(self)).expect("text and numbers are JSON");
        let age = match self.age {
            Some(age) => format!("{:.3}", age.as_secs_f64() * 1e3),
            None => "null".to_owned(),
        };
        let identity = self.identity.map_or_else(String::new, |name| {
            format!("\"identity\":{},", serde_json::to_string(name).expect("text is JSON"))
        });
        format!(
            "{{\"metadata\":{metadata},\"data\":{},\"peer\":\"{}\",{identity}\"age_ms\":{age},\"received\":{}}}",
            self.data(),
            self.peer,
            self.received.as_secs_f64(),
        )
    }

    /// Returns what the sender calls itself; its address if it has no name.
    #[must_use]
    pub fn sender(&self) -> Cow<'a, str> {
        match self.source.filter(|name| !name.is_empty()) {
            Some(name) => Cow::Borrowed(name),
            None => self.peer.to_string().into(),
        }
    }
}

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

/// Returns the address in the form that people know: an IPv4 address that is mapped to IPv6 as IPv4.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Replaces line ends by spaces. Outside strings JSON ignores them, and inside strings it does not allow them.
fn one_line(json: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(json);
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ").into() } else { text }
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
            assert_eq!(canonical(address).to_string(), shown);
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
