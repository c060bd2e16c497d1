//! What a message consists of, and how it gets there from its datagram.
//!
//! Called by [`Message`](super::Message), and kept by the [pool](super::pool).

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::Arrival;
use tautline_proto::{ContentType, Delivery, Id, MessageRef, MessageType, Priority, Timestamp, WallTime};

/// What a message consists of. The pool keeps it, so that messages allocate nothing in steady state.
pub(crate) struct Parts {
    pub(super) message_type: MessageType,
    pub(super) priority: Priority,
    pub(super) channel: u16,
    pub(super) timestamp: WallTime,
    pub(super) exact: Option<Timestamp>,
    pub(super) delivery: Delivery,
    pub(super) lifespan: Option<Duration>,
    pub(super) content_type: ContentType,
    pub(super) message_id: StoredId,
    pub(super) correlation_id: Option<StoredId>,
    pub(super) source: Option<Span>,
    pub(super) destination: Option<Span>,
    pub(super) identity: Option<Span>,
    pub(super) payload: Span,
    pub(super) arrival: Arrival,
    /// All parts of variable length, one after the other.
    pub(crate) bytes: Vec<u8>,
}

/// The range of a part in `bytes`.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    pub(super) const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// An [`Id`] whose text is in `bytes`.
#[derive(Clone, Copy)]
pub(super) enum StoredId {
    Number(u64),
    Text(Span),
    Null,
    Json(Span),
}

impl Parts {
    /// An empty message.
    pub(crate) fn empty(arrival: Arrival) -> Box<Self> {
        Box::new(Self {
            message_type: MessageType::Data,
            priority: Priority::Normal,
            channel: 0,
            timestamp: WallTime::from_nanos(0),
            exact: None,
            delivery: Delivery::BestEffort,
            lifespan: None,
            content_type: ContentType::Raw,
            message_id: StoredId::Null,
            correlation_id: None,
            source: None,
            destination: None,
            identity: None,
            payload: Span { start: 0, end: 0 },
            arrival,
            bytes: Vec::new(),
        })
    }

    /// How many bytes of variable length fit in without an allocation.
    pub(crate) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Copies a message in. Field by field: the parts stay where they are.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(super) fn set(&mut self, message: &MessageRef<'_>, arrival: &Arrival) {
        let bytes = &mut self.bytes;
        bytes.clear();
        self.message_type = message.message_type;
        self.priority = message.priority;
        self.channel = message.channel;
        self.timestamp = message.timestamp;
        self.exact = message.exact;
        self.delivery = message.delivery;
        self.lifespan = message.lifespan;
        self.content_type = message.content_type;
        self.payload = append(bytes, message.payload);
        self.source = message.source.as_ref().map(|text| append(bytes, text.as_bytes()));
        self.destination = message.destination.as_ref().map(|text| append(bytes, text.as_bytes()));
        self.identity = message.identity.map(|text| append(bytes, text.as_bytes()));
        self.message_id = append_id(bytes, &message.message_id);
        self.correlation_id = message.correlation_id.as_ref().map(|id| append_id(bytes, id));
        self.arrival = *arrival;
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// The number of bytes that [`Parts::set`] will append.
pub(super) fn variable_len(message: &MessageRef<'_>) -> usize {
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
