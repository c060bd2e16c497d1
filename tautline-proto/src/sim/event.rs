//! What happens at the nodes of a simulation.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::drops::DropReason;
use crate::endpoint::{Event, Outcome};
use crate::message::{ContentType, Delivery, MessageRef, MessageType, Priority};
use crate::peer::PeerId;
use crate::time::{Instant, WallTime};

/// Something that happened at a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SimEvent {
    /// A datagram reached the node. It follows the events that it caused and precedes its messages.
    Datagram(ReceivedDatagram),
    /// The node received a message.
    Message(ReceivedMessage),
    /// Something happened to the node's peers.
    Event(Event),
    /// A reliable message has its outcome.
    Outcome {
        /// The receipt that [`World::offer`](super::World::offer) returned for it.
        receipt: u64,
        /// How it ended.
        outcome: Outcome,
    },
}

/// A datagram that reached a node, and what the network did to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedDatagram {
    /// The sender's address.
    pub from: SocketAddr,
    /// Its bytes as they arrived.
    pub datagram: Vec<u8>,
    /// Whether the network has flipped bits of it.
    pub is_corrupted: bool,
    /// Why the node dropped it. `None` if the node accepted it.
    pub dropped: Option<DropReason>,
    /// How many messages it holds, whether they are handed out or not. A fragment does not count as a message. 0 if the node
    /// dropped the datagram.
    pub messages: usize,
}

/// A message that a node received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedMessage {
    /// The sender, as the receiving node knows it.
    pub peer: PeerId,
    /// The number of the datagram that brought it. `None` if datagrams have no numbers.
    pub number: Option<u64>,
    /// Whether that datagram came after a newer one.
    pub is_late: bool,
    /// What the message is for.
    pub message_type: MessageType,
    /// How urgent it is.
    pub priority: Priority,
    /// Separates streams of one type.
    pub channel: u16,
    /// When the sender created it, on the sender's wall clock.
    pub timestamp: WallTime,
    /// When it was created, on the node's own steady clock, by the estimate of the sender's clock. `None` while there is no
    /// estimate.
    pub made: Option<Instant>,
    /// Its id.
    pub message_id: String,
    /// Who created it.
    pub source: String,
    /// Whom it is meant for, if the sender set it.
    pub destination: Option<String>,
    /// The id of the message that this message answers.
    pub correlation_id: Option<String>,
    /// How it was sent.
    pub delivery: Delivery,
    /// For how long after `timestamp` it is useful, if the sender set it.
    pub lifespan: Option<Duration>,
    /// How the payload is encoded.
    pub content_type: ContentType,
    /// The payload.
    pub payload: Vec<u8>,
}

impl ReceivedMessage {
    pub(super) fn new(message: &MessageRef<'_>, peer: PeerId, number: Option<u64>, is_late: bool) -> Self {
        Self {
            made: None,
            peer,
            number,
            is_late,
            message_type: message.message_type,
            priority: message.priority,
            channel: message.channel,
            timestamp: message.timestamp,
            message_id: message.message_id.to_string(),
            source: message.source.as_deref().unwrap_or_default().to_string(),
            destination: message.destination.as_ref().map(ToString::to_string),
            correlation_id: message.correlation_id.as_ref().map(ToString::to_string),
            delivery: message.delivery,
            lifespan: message.lifespan,
            content_type: message.content_type,
            payload: message.payload.to_vec(),
        }
    }
}
