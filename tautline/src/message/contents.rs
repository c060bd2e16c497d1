//! Decodes the payload of an owned message, and makes messages that were never sent.

use crate::sync::Arc;
use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::machine::clock::wall_now;
use crate::message::made::MadeAt;
use crate::message::metadata::Metadata;
use crate::message::pool::Pool;
use crate::message::{Arrival, Message};
use crate::payload::{self, DecodeError, Payload};
use tautline_proto::{Id, MessageRef, PeerId, WallTime};

impl Message {
    /// Makes a message that was never sent, for tests of code that handles messages and for other transports.
    ///
    /// Defaults for what the metadata leave open: the time stamp is now, the id is the number 0, and the source is
    /// empty. The message arrives now, from [`PeerId::none`] and the address 0.0.0.0:0.
    ///
    /// ```
    /// use tautline::{Message, Metadata, Payload};
    ///
    /// let message = Message::new(&Payload::json(&[1.5, 2.5])?, &Metadata::command());
    /// assert_eq!(message.decode::<Vec<f64>>()?, [1.5, 2.5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(payload: &Payload, metadata: &Metadata) -> Self {
        let age_ns = metadata.made.map_or(0, MadeAt::age_ns);
        let made = WallTime::from_nanos(wall_now().as_nanos().saturating_sub_unsigned(age_ns));
        let mut message = MessageRef::new(payload.content_type(), payload.bytes())
            .with_message_type(metadata.message_type)
            .with_priority(metadata.priority)
            .with_channel(metadata.channel)
            .with_timestamp(metadata.timestamp.unwrap_or_else(|| made.into()))
            .with_message_id(metadata.message_id.as_ref().map_or(Id::Number(0), Id::borrowed))
            .with_source(Cow::Borrowed(metadata.source.as_deref().unwrap_or_default()))
            .with_destination(metadata.destination.as_deref().map(Cow::Borrowed))
            .with_correlation_id(metadata.correlation_id.as_ref().map(Id::borrowed))
            .with_delivery(metadata.delivery.unwrap_or_default())
            .with_lifespan(metadata.lifespan);
        message.source = message.source.filter(|_| metadata.has_source);
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let now = Instant::now();
        let made = now.checked_sub(Duration::from_nanos(age_ns)).unwrap_or(now);
        let arrival = Arrival { peer: PeerId::none(), address, time: wall_now(), made, late: false };
        Self::copy(&Arc::new(Pool::default()), &message, arrival)
    }

    /// Decodes the payload with the codec of its content type.
    ///
    /// # Errors
    /// The payload is not a `T`, it is raw, or its codec is not built in.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        payload::decode(self.content_type(), self.payload())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tautline_proto::{MessageType, Priority};

    #[test]
    fn a_message_made_by_hand_has_the_given_metadata() {
        let metadata = Metadata::status()
            .priority(Priority::High)
            .channel(3)
            .message_id("m")
            .source("plant")
            .destination("controller")
            .correlation_id(7)
            .timestamp(WallTime::from_nanos(5));
        let message = Message::new(&Payload::raw(*b"bytes"), &metadata);
        assert_eq!(message.message_type(), MessageType::Status);
        assert_eq!((message.priority(), message.channel()), (Priority::High, 3));
        assert_eq!((message.message_id(), message.correlation_id()), ("m".into(), Some(Id::Number(7))));
        assert_eq!((message.source(), message.destination()), ("plant", Some("controller")));
        assert!(!Message::new(&Payload::raw(*b"bytes"), &metadata.without_source()).has_source());
        assert_eq!((message.timestamp(), message.payload()), (WallTime::from_nanos(5), &b"bytes"[..]));
    }

    #[test]
    fn a_payload_of_another_type_does_not_decode() {
        let message = Message::new(&Payload::json("text").expect("plain text"), &Metadata::data());
        assert!(message.decode::<f64>().is_err());
        assert_eq!(message.decode::<String>().expect("it is text"), "text");
    }
}
