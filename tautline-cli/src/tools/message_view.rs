//! A message as the program shows and records it: received by an interface, or read from a datagram that passed by.
//!
//! `listen`, `record`, `hz` and `tap` make one from what they have. [`message_line`](super::message_line),
//! [`people_line`](super::people_line) and [`recording`](super::recording) write it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use tautline::{ContentType, Delivery, Id, Message, MessageType, Payload, Priority, Timestamp, WallTime};

use crate::tools::transcode::{JsonText, hexadecimal};

/// A message with its metadata, and how it arrived.
#[derive(Debug)]
pub(crate) struct MessageView<'a> {
    pub(crate) message_type: MessageType,
    pub(crate) priority: Priority,
    pub(crate) channel: u16,
    pub(crate) stamp: Timestamp,
    pub(crate) message_id: Id<'a>,
    /// `None` for null on the classic wire.
    pub(crate) source: Option<&'a str>,
    pub(crate) destination: Option<&'a str>,
    pub(crate) correlation_id: Option<Id<'a>>,
    pub(crate) delivery: Delivery,
    pub(crate) lifespan: Option<Duration>,
    pub(crate) content_type: ContentType,
    pub(crate) payload: &'a [u8],
    /// The sender's address. An IPv4 address that an IPv6 socket reports as mapped is shown as IPv4.
    pub(crate) peer: SocketAddr,
    /// When it arrived, on the wall clock of this machine.
    pub(crate) received: WallTime,
    /// How old the data are at most. `None` if nothing is known of the sender's clock.
    pub(crate) age: Option<Duration>,
}

impl<'a> MessageView<'a> {
    /// Returns a message that an interface has received.
    pub(crate) fn of(message: &'a Message) -> Self {
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
            received: message.arrived(),
            age: Some(message.age()),
        }
    }

    /// Returns the payload as JSON text on one line: JSON unchanged, MessagePack and CBOR translated, raw bytes in hexadecimal.
    pub(crate) fn data(&self) -> Cow<'a, str> {
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

    /// Returns what the sender calls itself; its address if it has no name.
    pub(crate) fn sender(&self) -> Cow<'a, str> {
        match self.source.filter(|name| !name.is_empty()) {
            Some(name) => Cow::Borrowed(name),
            None => self.peer.to_string().into(),
        }
    }
}

/// Returns the address in the form that people know: an IPv4 address that is mapped to IPv6 as IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
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
