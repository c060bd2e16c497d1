//! Received messages, owned and borrowed; the metadata and the target of a sent message; and the buffer pool.
//!
//! Called by all folders above that send, receive or handle messages. Uses `machine` (clocks), `payload` (decoding) and
//! `sync`.
//!
//! A [`Message`] is what `receive` and the queued handlers return. It is copied once, from its datagram into one buffer
//! of the [pool](pool). So a message that the user keeps does not hold a receive buffer.

pub(crate) mod borrowed;
pub(crate) mod contents;
pub(crate) mod made;
pub(crate) mod metadata;
pub(crate) mod parts;
pub(crate) mod pool;
pub(crate) mod target;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::message::parts::{Parts, Span, StoredId, variable_len};
use crate::message::pool::Pool;
use crate::sync::Arc;
use tautline_proto::{
    ContentType, Delivery, Id, MessageRef, MessageType, PeerId, Priority, Timestamp, WallTime,
};

/// How and when a message arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// The peer that sent it.
    pub peer: PeerId,
    /// The address that it came from.
    pub address: SocketAddr,
    /// When it arrived, on the wall clock of this machine: by the kernel's stamp where something needs it (docs/safety.md), otherwise
    /// when it was read.
    pub time: WallTime,
    /// The earliest time at which it can have been made, on the monotonic clock of this machine. Computed from its time
    /// stamp, the estimated offset of the peer's clock, and the error bound of that estimate. It is the time of arrival
    /// if that is earlier, and if there is no estimate (on the classic wire, and at the start of a link).
    pub made: Instant,
    /// Whether a newer datagram of the same peer arrived before it.
    pub late: bool,
}

impl Arrival {
    /// The greatest age that the message can have now: the time since it was [made](Self::made).
    #[must_use]
    pub fn age(&self) -> Duration {
        self.made.elapsed()
    }
}

/// A received message. It owns its bytes and does not change.
///
/// Its memory comes from a pool of the interface, and returns to the pool when the message is dropped.
pub struct Message {
    /// In a box, so that a message costs little to move: through a queue, and to its reader. `None` only while it is dropped.
    parts: Option<Box<Parts>>,
    pool: Arc<Pool>,
}

impl Message {
    /// How many bytes of memory a copy of this message takes.
    #[inline]
    pub(crate) fn size_of(message: &MessageRef<'_>) -> usize {
        size_of::<Parts>() + variable_len(message)
    }

    /// How many bytes of memory the message takes.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        size_of::<Parts>() + self.parts().bytes.len()
    }

    /// Copies a borrowed message into memory of the pool.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn copy(pool: &Arc<Pool>, message: &MessageRef<'_>, arrival: Arrival) -> Self {
        let len = variable_len(message);
        let mut parts = pool.take(len).unwrap_or_else(|| Parts::empty(arrival));
        parts.bytes.reserve(len);
        parts.set(message, &arrival);
        Self { parts: Some(parts), pool: Arc::clone(pool) }
    }

    /// Copies a borrowed message over this one, into the same memory.
    #[inline]
    pub(crate) fn replace(&mut self, message: &MessageRef<'_>, arrival: &Arrival) {
        self.parts.as_mut().expect("taken only when the message is dropped").set(message, arrival);
    }

    /// How many bytes of variable length fit in without an allocation.
    pub(crate) const fn capacity(&self) -> usize {
        self.parts().capacity()
    }

    const fn parts(&self) -> &Parts {
        self.parts.as_ref().expect("taken only when the message is dropped")
    }

    /// What the message is for.
    #[must_use]
    pub const fn message_type(&self) -> MessageType {
        self.parts().message_type
    }

    /// How urgent the message is.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.parts().priority
    }

    /// The channel, which tells streams of one type apart; 0 on the classic wire.
    #[must_use]
    pub const fn channel(&self) -> u16 {
        self.parts().channel
    }

    /// When the sender made the message, on the sender's wall clock.
    ///
    /// On the classic wire, [`stamp`](Self::stamp) is exact. This is the nearest time in nanoseconds.
    #[must_use]
    pub const fn timestamp(&self) -> WallTime {
        self.parts().timestamp
    }

    /// The time stamp as it travelled. On the classic wire it is any number, for example of simulated time.
    #[must_use]
    pub fn stamp(&self) -> Timestamp {
        self.parts().exact.unwrap_or(Timestamp::Wall(self.parts().timestamp))
    }

    /// The id of the message; unique within the sender's session.
    #[must_use]
    pub fn message_id(&self) -> Id<'_> {
        self.id(self.parts().message_id)
    }

    /// Who made the message: by default the name of the sending interface. Empty if the sender wrote null (classic wire).
    #[must_use]
    pub fn source(&self) -> &str {
        self.parts().source.map(|span| self.text(span)).unwrap_or_default()
    }

    /// Whether the sender named a source. False for null on the classic wire.
    #[must_use]
    pub const fn has_source(&self) -> bool {
        self.parts().source.is_some()
    }

    /// Whom the message is meant for, if the sender set it.
    #[must_use]
    pub fn destination(&self) -> Option<&str> {
        self.parts().destination.map(|span| self.text(span))
    }

    /// The id of the message that this one answers.
    #[must_use]
    pub fn correlation_id(&self) -> Option<Id<'_>> {
        self.parts().correlation_id.map(|id| self.id(id))
    }

    /// The delivery class that the message was sent with.
    #[must_use]
    pub const fn delivery(&self) -> Delivery {
        self.parts().delivery
    }

    /// How long after its time stamp the message is valid, if the sender set it.
    #[must_use]
    pub const fn lifespan(&self) -> Option<Duration> {
        self.parts().lifespan
    }

    /// How the payload is encoded.
    #[must_use]
    pub const fn content_type(&self) -> ContentType {
        self.parts().content_type
    }

    /// The payload, checked against its content type and the limits.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.parts().bytes[self.parts().payload.range()]
    }

    /// The peer that sent the message.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.parts().arrival.peer
    }

    /// Who sent the message, by its key: the NAME of the server's table `[keys.NAME]` that has the key. Empty for a key of
    /// `key_file`, which everybody shares. `None` on a plain link.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.parts().identity.map(|span| self.text(span))
    }

    /// The address that the message came from.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.parts().arrival.address
    }

    /// When the message arrived, on the wall clock of this machine.
    #[must_use]
    pub const fn arrived(&self) -> WallTime {
        self.parts().arrival.time
    }

    /// Whether a newer datagram of the same peer arrived before this message.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.parts().arrival.late
    }

    /// How and when the message arrived.
    #[must_use]
    pub const fn arrival(&self) -> Arrival {
        self.parts().arrival
    }

    /// The greatest age that the message can have now: the time since it was [made](Arrival::made).
    #[must_use]
    pub fn age(&self) -> Duration {
        self.parts().arrival.age()
    }

    /// The message in the form of the protocol.
    #[must_use]
    pub(crate) fn as_ref(&self) -> MessageRef<'_> {
        let mut message = MessageRef::new(self.parts().content_type, self.payload());
        message.source = self.parts().source.map(|span| Cow::Borrowed(self.text(span)));
        message.identity = self.identity();
        message
            .with_message_type(self.parts().message_type)
            .with_priority(self.parts().priority)
            .with_channel(self.parts().channel)
            .with_timestamp(self.stamp())
            .with_message_id(self.message_id())
            .with_destination(self.destination().map(Cow::Borrowed))
            .with_correlation_id(self.correlation_id())
            .with_delivery(self.parts().delivery)
            .with_lifespan(self.parts().lifespan)
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(&self.parts().bytes[span.range()]).expect("copied from a `str` and never changed")
    }

    fn id(&self, id: StoredId) -> Id<'_> {
        match id {
            StoredId::Number(number) => Id::Number(number),
            StoredId::Text(span) => Id::Text(Cow::Borrowed(self.text(span))),
            StoredId::Null => Id::Null,
            StoredId::Json(span) => Id::Json(self.text(span).into()),
        }
    }
}

impl Drop for Message {
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            self.pool.give(parts);
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("message", &self.as_ref())
            .field("arrival", &self.parts().arrival)
            .finish()
    }
}
