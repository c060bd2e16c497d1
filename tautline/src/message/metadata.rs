//! What goes with a message that is sent.

use std::time::Duration;

use super::borrowed::MessageRef;
use tautline_proto::{Delivery, Id, MessageType, Priority, WallTime};

/// The metadata of a message to be sent; whatever is `None` gets its default.
///
/// ```
/// use tautline::{Metadata, Priority};
///
/// let stop = Metadata::command().priority(Priority::Critical).message_id("stop-17");
/// assert_eq!(stop.priority, Priority::Critical);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// What the message is for; handlers are chosen by it.
    pub message_type: MessageType,
    /// How urgent it is.
    pub priority: Priority,
    /// Tells streams of one type apart: two joints, say. The classic wire carries only channel 0.
    pub channel: u16,
    /// When the message was made; by default when it is sent.
    pub timestamp: Option<WallTime>,
    /// Its identity; by default its place in the session (native) or `udp_` and microseconds (classic).
    pub message_id: Option<Id<'static>>,
    /// Who made it; by default the interface's name.
    pub source: Option<String>,
    /// Whom it is meant for. Information only: it routes nothing.
    pub destination: Option<String>,
    /// The id of the message that this one answers.
    pub correlation_id: Option<Id<'static>>,
    /// What is done for the message to arrive; by default what the configuration says for its type, else best effort. Native wire
    /// only.
    pub delivery: Option<Delivery>,
    /// For how long after its time stamp the message is worth anything; it travels with it. Native wire only.
    pub lifespan: Option<Duration>,
}

impl Default for Metadata {
    /// Data of normal priority.
    fn default() -> Self {
        Self::new(MessageType::Data)
    }
}

impl From<MessageType> for Metadata {
    fn from(message_type: MessageType) -> Self {
        Self::new(message_type)
    }
}

impl Metadata {
    /// Metadata of this type and normal priority, everything else by default.
    #[must_use]
    pub const fn new(message_type: MessageType) -> Self {
        Self {
            message_type,
            priority: Priority::Normal,
            channel: 0,
            timestamp: None,
            message_id: None,
            source: None,
            destination: None,
            correlation_id: None,
            delivery: None,
            lifespan: None,
        }
    }

    /// An order to act.
    #[must_use]
    pub const fn command() -> Self {
        Self::new(MessageType::Command)
    }

    /// Anything without a type of its own.
    #[must_use]
    pub const fn data() -> Self {
        Self::new(MessageType::Data)
    }

    /// The sender's state.
    #[must_use]
    pub const fn status() -> Self {
        Self::new(MessageType::Status)
    }

    /// Something went wrong at the sender.
    #[must_use]
    pub const fn error() -> Self {
        Self::new(MessageType::Error)
    }

    /// The user's own sign of life.
    #[must_use]
    pub const fn heartbeat() -> Self {
        Self::new(MessageType::Heartbeat)
    }

    /// The answer to a message.
    #[must_use]
    pub const fn acknowledgment() -> Self {
        Self::new(MessageType::Acknowledgment)
    }

    /// Parameters.
    #[must_use]
    pub const fn configuration() -> Self {
        Self::new(MessageType::Configuration)
    }

    /// How urgent the message is.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Tells streams of one type apart; native wire only.
    #[must_use]
    pub const fn channel(mut self, channel: u16) -> Self {
        self.channel = channel;
        self
    }

    /// When the message was made.
    #[must_use]
    pub const fn timestamp(mut self, timestamp: WallTime) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The message's identity: a number, or text of 1 to 255 bytes.
    #[must_use]
    pub fn message_id(mut self, id: impl Into<Id<'static>>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// Who made the message, if not this interface: 1 to 255 bytes.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whom the message is meant for: 1 to 255 bytes.
    #[must_use]
    pub fn destination(mut self, destination: impl Into<String>) -> Self {
        self.destination = Some(destination.into());
        self
    }

    /// The id of the message that this one answers.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<Id<'static>>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// What is done for the message to arrive; native wire only.
    #[must_use]
    pub const fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// For how long after its time stamp the message is worth anything: 1 us to about 71 minutes, anything beyond is taken as
    /// the nearer of the two. Whoever finds it older drops it. Native wire only.
    #[must_use]
    pub const fn lifespan(mut self, lifespan: Duration) -> Self {
        self.lifespan = Some(lifespan);
        self
    }

    /// The same type, priority and channel, answering `message`.
    #[must_use]
    pub fn answering(message: &MessageRef<'_>) -> Self {
        Self::new(message.message_type())
            .priority(message.priority())
            .channel(message.channel())
            .correlation_id(message.message_id().into_owned())
    }
}
