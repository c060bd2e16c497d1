//! The reply handle that handlers are given.
#![allow(clippy::needless_pass_by_value)] // content is a reference, or a view of bytes

use crate::sync::Arc;
use std::fmt;

use serde::Serialize;

use crate::error::SendError;
use crate::message::Arrival;
use crate::message::metadata::Metadata;
use crate::message::target::Target;
use crate::payload::{Content, Payload};
use crate::sending::link::Sent;
use crate::sending::sender::{Outgoing, Sender};
use tautline_proto::{Id, MessageRef, PeerId};

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
        match (handle, &message.message_id) {
            // Changed in place: to make and drop another handle and another id takes longer.
            (Some(Self { arrival: kept, message_id: Id::Number(kept_id), .. }), Id::Number(id)) => {
                (*kept, *kept_id) = (*arrival, *id);
            }
            (handle, id) => Self::make_anew(handle, sender, id, arrival),
        }
    }

    #[inline(never)] // for queued handlers, and for ids that are no numbers
    fn make_anew(handle: &mut Option<Self>, sender: &Arc<Sender>, id: &Id<'_>, arrival: &Arrival) {
        let message_id = id.clone().into_owned();
        *handle = Some(Self { sender: Arc::clone(sender), arrival: *arrival, message_id });
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

    /// Encodes a value as [`UdpInterface::encode`](crate::UdpInterface::encode) does, without sending it.
    ///
    /// # Errors
    ///
    /// As for [`UdpInterface::encode`](crate::UdpInterface::encode).
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Payload, SendError> {
        self.sender.encode(value)
    }

    /// Sends the answer: a value, [`Raw`](crate::Raw) bytes, or a [`Payload`](crate::Payload). The correlation id of
    /// `metadata` is replaced.
    ///
    /// # Errors
    ///
    /// As [`UdpInterface::send`](crate::UdpInterface::send); an unknown peer if the peer has gone meanwhile.
    #[inline]
    pub fn send<C: Content>(&self, content: C, metadata: &Metadata) -> Result<Sent, SendError> {
        let target = Target::Peer(self.arrival.peer);
        self.sender.send(Outgoing::answering(target, metadata, &self.message_id), &content)
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
