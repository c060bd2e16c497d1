//! The reply handle that handlers are given.

use crate::sync::Arc;
use std::fmt;

use serde::Serialize;

use crate::error::SendError;
use crate::message::Arrival;
use crate::message::metadata::Metadata;
use crate::message::target::Target;
use crate::payload::Payload;
use crate::sending::link::Sent;
use crate::sending::sender::Sender;
use tautline_proto::{ContentType, Id, MessageRef, PeerId};

/// Answers one message: goes to the peer that sent it and carries its id as correlation id.
#[derive(Clone)]
pub struct Reply {
    sender: Arc<Sender>,
    arrival: Arrival,
    message_id: Id<'static>,
}

impl Reply {
    /// Makes `handle` one for this message.
    #[inline]
    pub(crate) fn make(
        handle: &mut Option<Self>,
        sender: &Arc<Sender>,
        message: &MessageRef<'_>,
        arrival: &Arrival,
    ) {
        let reply = handle.get_or_insert_with(|| Self {
            sender: Arc::clone(sender),
            arrival: *arrival,
            message_id: Id::Number(0),
        });
        reply.arrival = *arrival;
        reply.message_id = match message.message_id {
            Id::Number(number) => Id::Number(number),
            Id::Text(ref text) => Id::Text(text.to_string().into()),
        };
    }

    /// How the message came in: from whom, when, and whether late.
    #[must_use]
    pub const fn arrival(&self) -> Arrival {
        self.arrival
    }

    /// Who sent the message.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.arrival.peer
    }

    /// Sends any serialisable value as the answer. The correlation id of `metadata` is replaced.
    ///
    /// # Errors
    ///
    /// As [`UdpInterface::send`](crate::UdpInterface::send); an unknown peer where it is gone meanwhile.
    pub fn send<T: Serialize + ?Sized>(&self, value: &T, metadata: &Metadata) -> Result<Sent, SendError> {
        let target = Target::Peer(self.arrival.peer);
        self.sender.send_value(target, value, metadata, Some(&self.message_id))
    }

    /// Sends raw bytes as the answer. The correlation id of `metadata` is replaced.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_raw(&self, bytes: &[u8], metadata: &Metadata) -> Result<Sent, SendError> {
        let target = Target::Peer(self.arrival.peer);
        self.sender.send_bytes(target, ContentType::Raw, bytes, metadata, Some(&self.message_id))
    }

    /// Sends a payload as the answer. The correlation id of `metadata` is replaced.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_payload(&self, payload: &Payload, metadata: &Metadata) -> Result<Sent, SendError> {
        let target = Target::Peer(self.arrival.peer);
        self.sender.send_payload(target, payload, metadata, Some(&self.message_id))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { arrival, message_id, .. } = self;
        f.debug_struct("Reply")
            .field("arrival", arrival)
            .field("message_id", message_id)
            .finish_non_exhaustive()
    }
}
