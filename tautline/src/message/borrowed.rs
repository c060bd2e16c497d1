//! A received message in its datagram, as inline handlers see it.

use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tautline_proto::{ContentType, Delivery, Id, MessageType, PeerId, Priority, Timestamp, WallTime};

use super::Arrival;
use crate::payload::{self, DecodeError};

/// A received message, borrowed from its datagram: nothing is copied.
///
/// [Inline handlers](crate::Handler::inline) and [`Driver::turn_with`](crate::Driver::turn_with) get it. It has the
/// methods of [`Message`](crate::Message), which owns its bytes.
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

    /// Decodes the payload with the codec of its content type.
    ///
    /// # Errors
    /// The payload is not a `T`, it is raw, or its codec is not built in.
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

    /// How urgent the message is.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.message.priority
    }

    /// The channel, which tells streams of one type apart; 0 on the classic wire.
    #[must_use]
    pub const fn channel(&self) -> u16 {
        self.message.channel
    }

    /// When the sender made the message, on the sender's wall clock.
    ///
    /// On the classic wire, [`stamp`](Self::stamp) is exact. This is the nearest time in nanoseconds.
    #[must_use]
    pub const fn timestamp(&self) -> WallTime {
        self.message.timestamp
    }

    /// The time stamp as it travelled. On the classic wire it is any number, for example of simulated time.
    #[must_use]
    pub fn stamp(&self) -> Timestamp {
        self.message.stamp()
    }

    /// The id of the message; unique within the sender's session.
    #[must_use]
    pub fn message_id(&self) -> Id<'a> {
        self.message.message_id.borrowed()
    }

    /// Who made the message: by default the name of the sending interface. Empty if the sender wrote null (classic wire).
    #[must_use]
    pub fn source(&self) -> &'a str {
        self.message.source.as_deref().unwrap_or_default()
    }

    /// Whether the sender named a source. False for null on the classic wire.
    #[must_use]
    pub const fn has_source(&self) -> bool {
        self.message.source.is_some()
    }

    /// Whom the message is meant for, if the sender set it.
    #[must_use]
    pub fn destination(&self) -> Option<&'a str> {
        self.message.destination.as_deref()
    }

    /// The id of the message that this one answers.
    #[must_use]
    pub fn correlation_id(&self) -> Option<Id<'a>> {
        self.message.correlation_id.as_ref().map(Id::borrowed)
    }

    /// The delivery class that the message was sent with.
    #[must_use]
    pub const fn delivery(&self) -> Delivery {
        self.message.delivery
    }

    /// How long after its time stamp the message is valid, if the sender set it.
    #[must_use]
    pub const fn lifespan(&self) -> Option<Duration> {
        self.message.lifespan
    }

    /// The peer that sent the message.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.arrival.peer
    }

    /// Who sent the message, by its key: the NAME of the server's table `[keys.NAME]` that has the key. Empty for a key of
    /// `key_file`, which everybody shares. `None` on a plain link.
    #[must_use]
    pub const fn identity(&self) -> Option<&'a str> {
        self.message.identity
    }

    /// The address that the message came from.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.arrival.address
    }

    /// When the message arrived, on the wall clock of this machine.
    #[must_use]
    pub const fn arrived(&self) -> WallTime {
        self.arrival.time
    }

    /// Whether a newer datagram of the same peer arrived before this message.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.arrival.late
    }

    /// How and when the message arrived.
    #[must_use]
    pub const fn arrival(&self) -> Arrival {
        *self.arrival
    }

    /// The greatest age that the message can have now: the time since it was [made](Arrival::made).
    #[must_use]
    pub fn age(&self) -> Duration {
        self.arrival.age()
    }
}
