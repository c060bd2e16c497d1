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
pub(crate) mod pool;
pub(crate) mod target;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::machine::clock::wall_now;
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
    /// When it arrived, on the wall clock of this machine.
    pub time: WallTime,
    /// The earliest time at which it can have been made, on the monotonic clock of this machine. Computed from its time
    /// stamp, the estimated offset of the peer's clock, and the error bound of that estimate. It is the time of arrival
    /// if that is earlier, and if there is no estimate (on the classic wire, and at the start of a link).
    pub made: Instant,
    /// Whether a newer datagram of the same peer arrived before it.
    pub late: bool,
}

impl Arrival {
    /// Returns an arrival now, of a message that was made now and is not late. For tests of code that handles messages;
    /// change the fields that matter.
    #[must_use]
    pub fn now(peer: PeerId, address: SocketAddr) -> Self {
        Self { peer, address, time: wall_now(), made: Instant::now(), late: false }
    }

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
    message_type: MessageType,
    priority: Priority,
    channel: u16,
    timestamp: WallTime,
    exact: Option<Timestamp>,
    delivery: Delivery,
    lifespan: Option<Duration>,
    content_type: ContentType,
    message_id: StoredId,
    correlation_id: Option<StoredId>,
    source: Option<Span>,
    destination: Option<Span>,
    identity: Option<Span>,
    payload: Span,
    arrival: Arrival,
    /// All parts of variable length, one after the other.
    bytes: Vec<u8>,
    pool: Arc<Pool>,
}

/// The range of a part in `bytes`.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// An [`Id`] whose text is in `bytes`.
#[derive(Clone, Copy)]
enum StoredId {
    Number(u64),
    Text(Span),
    Null,
    Json(Span),
}

impl Message {
    /// How many bytes of memory a copy of this message takes.
    #[inline]
    pub(crate) fn size_of(message: &MessageRef<'_>) -> usize {
        size_of::<Self>() + variable_len(message)
    }

    /// How many bytes of memory the message takes.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }

    /// Copies a borrowed message into one buffer of the pool.
    pub(crate) fn copy(pool: &Arc<Pool>, message: &MessageRef<'_>, arrival: Arrival) -> Self {
        let mut bytes = pool.take(variable_len(message));
        Self {
            message_type: message.message_type,
            priority: message.priority,
            channel: message.channel,
            timestamp: message.timestamp,
            exact: message.exact,
            delivery: message.delivery,
            lifespan: message.lifespan,
            content_type: message.content_type,
            payload: append(&mut bytes, message.payload),
            source: message.source.as_ref().map(|text| append(&mut bytes, text.as_bytes())),
            destination: message.destination.as_ref().map(|text| append(&mut bytes, text.as_bytes())),
            identity: message.identity.map(|text| append(&mut bytes, text.as_bytes())),
            message_id: append_id(&mut bytes, &message.message_id),
            correlation_id: message.correlation_id.as_ref().map(|id| append_id(&mut bytes, id)),
            arrival,
            bytes,
            pool: Arc::clone(pool),
        }
    }

    /// Returns the same message with another arrival.
    #[must_use]
    pub fn with_arrival(mut self, arrival: Arrival) -> Self {
        self.arrival = arrival;
        self
    }

    /// What the message is for.
    #[must_use]
    pub const fn message_type(&self) -> MessageType {
        self.message_type
    }

    /// How urgent the message is.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// The channel, which tells streams of one type apart; 0 on the classic wire.
    #[must_use]
    pub const fn channel(&self) -> u16 {
        self.channel
    }

    /// When the sender made the message, on the sender's wall clock.
    ///
    /// On the classic wire, [`stamp`](Self::stamp) is exact. This is the nearest time in nanoseconds.
    #[must_use]
    pub const fn timestamp(&self) -> WallTime {
        self.timestamp
    }

    /// The time stamp as it travelled. On the classic wire it is any number, for example of simulated time.
    #[must_use]
    pub fn stamp(&self) -> Timestamp {
        self.exact.unwrap_or(Timestamp::Wall(self.timestamp))
    }

    /// The id of the message; unique within the sender's session.
    #[must_use]
    pub fn message_id(&self) -> Id<'_> {
        self.id(self.message_id)
    }

    /// Who made the message: by default the name of the sending interface. Empty if the sender wrote null (classic wire).
    #[must_use]
    pub fn source(&self) -> &str {
        self.source.map(|span| self.text(span)).unwrap_or_default()
    }

    /// Whether the sender named a source. False for null on the classic wire.
    #[must_use]
    pub const fn has_source(&self) -> bool {
        self.source.is_some()
    }

    /// Whom the message is meant for, if the sender set it.
    #[must_use]
    pub fn destination(&self) -> Option<&str> {
        self.destination.map(|span| self.text(span))
    }

    /// The id of the message that this one answers.
    #[must_use]
    pub fn correlation_id(&self) -> Option<Id<'_>> {
        self.correlation_id.map(|id| self.id(id))
    }

    /// The delivery class that the message was sent with.
    #[must_use]
    pub const fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// How long after its time stamp the message is valid, if the sender set it.
    #[must_use]
    pub const fn lifespan(&self) -> Option<Duration> {
        self.lifespan
    }

    /// How the payload is encoded.
    #[must_use]
    pub const fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// The payload, checked against its content type and the limits.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload.range()]
    }

    /// The peer that sent the message.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.arrival.peer
    }

    /// Who sent the message, by its key: the NAME of the server's table `[keys.NAME]` that has the key. Empty for a key of
    /// `key_file`, which everybody shares. `None` on a plain link.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.map(|span| self.text(span))
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
        self.arrival
    }

    /// The greatest age that the message can have now: the time since it was [made](Arrival::made).
    #[must_use]
    pub fn age(&self) -> Duration {
        self.arrival.age()
    }

    /// The message in the form of the protocol.
    #[must_use]
    pub(crate) fn as_ref(&self) -> MessageRef<'_> {
        let mut message = MessageRef::new(self.content_type, self.payload());
        message.source = self.source.map(|span| Cow::Borrowed(self.text(span)));
        message.identity = self.identity();
        message
            .with_message_type(self.message_type)
            .with_priority(self.priority)
            .with_channel(self.channel)
            .with_timestamp(self.stamp())
            .with_message_id(self.message_id())
            .with_destination(self.destination().map(Cow::Borrowed))
            .with_correlation_id(self.correlation_id())
            .with_delivery(self.delivery)
            .with_lifespan(self.lifespan)
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(&self.bytes[span.range()]).expect("copied from a `str` and never changed")
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
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.bytes));
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("message", &self.as_ref()).field("arrival", &self.arrival).finish()
    }
}

/// The number of bytes that `copy` will append.
fn variable_len(message: &MessageRef<'_>) -> usize {
    let id_len = |id: &Id<'_>| match id {
        Id::Number(_) | Id::Null => 0,
        Id::Text(text) => text.len(),
        Id::Json(text) => text.len(),
    };
    message.payload.len()
        + message.source.as_ref().map_or(0, |text| text.len())
        + message.destination.as_ref().map_or(0, |text| text.len())
        + message.identity.map_or(0, str::len)
        + id_len(&message.message_id)
        + message.correlation_id.as_ref().map_or(0, id_len)
}

fn append(bytes: &mut Vec<u8>, part: &[u8]) -> Span {
    let start = bytes.len();
    bytes.extend_from_slice(part);
    Span { start, end: bytes.len() }
}

fn append_id(bytes: &mut Vec<u8>, id: &Id<'_>) -> StoredId {
    match id {
        Id::Number(number) => StoredId::Number(*number),
        Id::Text(text) => StoredId::Text(append(bytes, text.as_bytes())),
        Id::Null => StoredId::Null,
        Id::Json(text) => StoredId::Json(append(bytes, text.as_bytes())),
    }
}
