//! A message as it stands in its datagram: what inline handlers are given.

use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tautline_proto::{ContentType, Delivery, Id, MessageType, PeerId, Priority, WallTime};

use super::Arrival;
use crate::payload::{self, DecodeError};

/// A received message, borrowed from the datagram that it came in: nothing is copied.
///
/// [Inline handlers](crate::Handler::inline) and [`Driver::turn_with`](crate::Driver::turn_with) show it. Its methods are
/// those of [`Message`](crate::Message), which owns its bytes.
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'a> {
    message: &'a tautline_proto::MessageRef<'a>,
    arrival: &'a Arrival,
}

impl<'a> MessageRef<'a> {
    #[inline]
    pub(crate) const fn new(message: &'a tautline_proto::MessageRef<'a>, arrival: &'a Arrival) -> Self {
        Self { message, arrival }
    }

    /// The payload as a value, decoded by its own content type.
    ///
    /// # Errors
    /// The payload is not such a value, it is raw, or its codec is not built in.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        payload::decode(self.message.content_type, self.message.payload)
    }

    /// The payload, checked against its content type and the limits.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.message.payload
    }

    /// How the payload is encoded.
    #[must_use]
    pub const fn content_type(&self) -> ContentType {
        self.message.content_type
    }

    /// What the message is for.
    #[must_use]
    pub const fn message_type(&self) -> MessageType {
        self.message.message_type
    }

    /// How urgent it is.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.message.priority
    }

    /// Which stream of its type it belongs to; 0 on the classic wire.
    #[must_use]
    pub const fn channel(&self) -> u16 {
        self.message.channel
    }

    /// When the sender made it, on the sender's wall clock.
    #[must_use]
    pub const fn timestamp(&self) -> WallTime {
        self.message.timestamp
    }

    /// Its identity; unique within the sender's session.
    #[must_use]
    pub fn message_id(&self) -> Id<'a> {
        self.message.message_id.borrowed()
    }

    /// Who made it: the sending interface's name unless the sender said otherwise.
    #[must_use]
    pub fn source(&self) -> &'a str {
        &self.message.source
    }

    /// Whom it is meant for, if the sender said so.
    #[must_use]
    pub fn destination(&self) -> Option<&'a str> {
        self.message.destination.as_deref()
    }

    /// The id of the message that this one answers.
    #[must_use]
    pub fn correlation_id(&self) -> Option<Id<'a>> {
        self.message.correlation_id.as_ref().map(Id::borrowed)
    }

    /// The delivery class that it was sent with.
    #[must_use]
    pub const fn delivery(&self) -> Delivery {
        self.message.delivery
    }

    /// For how long after its time stamp it is worth anything, if its sender said so.
    #[must_use]
    pub const fn lifespan(&self) -> Option<Duration> {
        self.message.lifespan
    }

    /// The peer that sent it.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.arrival.peer
    }

    /// The address that it came from.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.arrival.address
    }

    /// When it came, on this machine's wall clock.
    #[must_use]
    pub const fn arrived(&self) -> WallTime {
        self.arrival.time
    }

    /// Whether a newer datagram of the same peer came before it.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.arrival.late
    }

    /// How it came in.
    #[must_use]
    pub const fn arrival(&self) -> Arrival {
        *self.arrival
    }

    /// How old it is now, at most, as far as is known; see [`Arrival::made`].
    #[must_use]
    pub fn age(&self) -> Duration {
        self.arrival.age()
    }
}
