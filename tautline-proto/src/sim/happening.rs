//! What a simulation tells of its nodes.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::drops::DropReason;
use crate::endpoint::{Event, Outcome};
use crate::message::{ContentType, Delivery, MessageRef, MessageType, Priority};
use crate::peer::PeerId;
use crate::time::WallTime;

/// Something that happened at a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Happening {
    /// A datagram reached it, after the events that it caused and before its messages.
    Datagram(Arrival),
    /// A message was handed out.
    Message(Received),
    /// Something happened to its peers.
    Event(Event),
    /// A reliable message ended.
    Outcome {
        /// What [`World::offer`](super::World::offer) gave for it.
        receipt: u64,
        /// How it ended.
        outcome: Outcome,
    },
}

/// A datagram that reached a node, with the truth about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// Who sent it.
    pub from: SocketAddr,
    /// Its bytes as they arrived.
    pub datagram: Vec<u8>,
    /// Whether the network flipped bits of it.
    pub is_corrupted: bool,
    /// Whether the network made it as a copy of another.
    pub is_copy: bool,
    /// Why the node dropped it; `None` when it was accepted.
    pub dropped: Option<DropReason>,
}

/// A message as it was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Who sent it, as the receiving node knows it.
    pub peer: PeerId,
    /// The number of the datagram that brought it; `None` where datagrams have none.
    pub number: Option<u64>,
    /// Whether that datagram came after a newer one.
    pub is_late: bool,
    /// What the message is for.
    pub message_type: MessageType,
    /// How urgent it is.
    pub priority: Priority,
    /// Tells streams of one type apart.
    pub channel: u16,
    /// When the sender made it, on the sender's wall clock.
    pub timestamp: WallTime,
    /// Its identity.
    pub message_id: String,
    /// Who made it.
    pub source: String,
    /// Whom it is meant for, if the sender said so.
    pub destination: Option<String>,
    /// The id of the message that it answers.
    pub correlation_id: Option<String>,
    /// How it was sent.
    pub delivery: Delivery,
    /// For how long it is worth anything, if the sender said so.
    pub lifespan: Option<Duration>,
    /// How the payload is encoded.
    pub content_type: ContentType,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Received {
    pub(super) fn new(message: &MessageRef<'_>, peer: PeerId, number: Option<u64>, is_late: bool) -> Self {
        Self {
            peer,
            number,
            is_late,
            message_type: message.message_type,
            priority: message.priority,
            channel: message.channel,
            timestamp: message.timestamp,
            message_id: message.message_id.to_string(),
            source: message.source.to_string(),
            destination: message.destination.as_ref().map(ToString::to_string),
            correlation_id: message.correlation_id.as_ref().map(ToString::to_string),
            delivery: message.delivery,
            lifespan: message.lifespan,
            content_type: message.content_type,
            payload: message.payload.to_vec(),
        }
    }
}
