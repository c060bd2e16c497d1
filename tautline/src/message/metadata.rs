//! The metadata of a message to send.

use std::time::Duration;

use super::borrowed::MessageRef;
use super::made::MadeAt;
use tautline_proto::{Delivery, Id, MessageType, Priority, Timestamp};

/// The metadata of a message to send. A field that is `None` gets its default.
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
    /// What the message is for. It selects the handler.
    pub message_type: MessageType,
    /// How urgent the message is. Default: normal.
    pub priority: Priority,
    /// Tells streams of one type apart, for example two joints. Default 0, the only channel on the classic wire.
    pub channel: u16,
    /// When the data of the message were made. Default: the time of sending.
    pub made: Option<MadeAt>,
    /// The time stamp as it travels, whatever `made` says. Default: the time stamp of `made`. The classic wire carries any
    /// number of seconds; the native wire carries the nearest [`WallTime`](crate::WallTime).
    pub timestamp: Option<Timestamp>,
    /// The id of the message. Default: its number in the session (native wire), or `udp_` and the time in microseconds
    /// (classic wire).
    pub message_id: Option<Id<'static>>,
    /// Who made the message. Default: the name of the interface.
    pub source: Option<String>,
    /// Whether the message has a source at all. If not, the classic wire carries null; the native wire always has one.
    pub has_source: bool,
    /// Whom the message is meant for. For information only: nothing is routed by it.
    pub destination: Option<String>,
    /// The id of the message that this message answers.
    pub correlation_id: Option<Id<'static>>,
    /// The delivery class: best effort, reliable or ordered. Default: the setting of its stream, and best effort
    /// without one. Native wire only.
    pub delivery: Option<Delivery>,
    /// How long after its time stamp the message is valid; sent with the message. Default: the setting of its stream,
    /// and without end if there is none. Native wire only.
    pub lifespan: Option<Duration>,
}

impl Default for Metadata {
    /// A data message of normal priority.
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
    /// Metadata of this type and normal priority. Everything else has its default.
    #[must_use]
    pub const fn new(message_type: MessageType) -> Self {
        Self {
            message_type,
            priority: Priority::Normal,
            channel: 0,
            made: None,
            timestamp: None,
            message_id: None,
            source: None,
            has_source: true,
            destination: None,
            correlation_id: None,
            delivery: None,
            lifespan: None,
        }
    }

    /// A command: an order to act.
    #[must_use]
    pub const fn command() -> Self {
        Self::new(MessageType::Command)
    }

    /// Data: any message without a type of its own.
    #[must_use]
    pub const fn data() -> Self {
        Self::new(MessageType::Data)
    }

    /// A status: the state of the sender.
    #[must_use]
    pub const fn status() -> Self {
        Self::new(MessageType::Status)
    }

    /// An error: something went wrong at the sender.
    #[must_use]
    pub const fn error() -> Self {
        Self::new(MessageType::Error)
    }

    /// A heartbeat of the application. It does not replace the heartbeats of the native wire.
    #[must_use]
    pub const fn heartbeat() -> Self {
        Self::new(MessageType::Heartbeat)
    }

    /// An acknowledgment: the application's answer to a message.
    #[must_use]
    pub const fn acknowledgment() -> Self {
        Self::new(MessageType::Acknowledgment)
    }

    /// A configuration: parameters.
    #[must_use]
    pub const fn configuration() -> Self {
        Self::new(MessageType::Configuration)
    }

    /// Sets how urgent the message is.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the channel, which tells streams of one type apart. Native wire only.
    #[must_use]
    pub const fn channel(mut self, channel: u16) -> Self {
        self.channel = channel;
        self
    }

    /// Sets when the data of the message were made, for example when the sensor was read: an
    /// [`Instant`](std::time::Instant), or a wall-clock time ([`SystemTime`](std::time::SystemTime)). The age of the message
    /// and its lifespan count from then, at both ends. A time in the future counts as the time of sending.
    ///
    /// A loop that sends with a publisher sets it for each message: [`Publisher::made_at`](crate::Publisher::made_at).
    #[must_use]
    pub fn made_at(mut self, made: impl Into<MadeAt>) -> Self {
        self.made = Some(made.into());
        self
    }

    /// Sets the time stamp as it travels: a [`WallTime`](crate::WallTime), or a number of seconds, for example of simulated
    /// time. [`Message::stamp`](crate::Message::stamp) passes on the time stamp of a message as it came.
    ///
    /// On the native wire age and lifespan count from it as if it were of this connection's clock. For data of your own use
    /// [`made_at`](Self::made_at).
    ///
    /// ```
    /// use tautline::{Metadata, Timestamp};
    ///
    /// let simulated = Metadata::status().timestamp(12.345678901234567);
    /// assert_eq!(simulated.timestamp, Some(Timestamp::Seconds(12.345678901234567)));
    /// ```
    #[must_use]
    pub fn timestamp(mut self, timestamp: impl Into<Timestamp>) -> Self {
        self.timestamp = Some(timestamp.into());
        self
    }

    /// Sets the id of the message: a number, or text (1 to 255 bytes on the native wire).
    #[must_use]
    pub fn message_id(mut self, id: impl Into<Id<'static>>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// Sets who made the message: 1 to 255 bytes.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sends null in place of a source. Classic wire only: on the native wire the interface's name stands for none.
    #[must_use]
    pub const fn without_source(mut self) -> Self {
        self.has_source = false;
        self
    }

    /// Sets whom the message is meant for: 1 to 255 bytes.
    #[must_use]
    pub fn destination(mut self, destination: impl Into<String>) -> Self {
        self.destination = Some(destination.into());
        self
    }

    /// Sets the id of the message that this message answers.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<Id<'static>>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Sets the delivery class. Native wire only.
    #[must_use]
    pub const fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// Sets how long after its time stamp the message is valid: 1 us to about 71 minutes. A shorter or longer duration
    /// is set to the nearest bound. A message that is older is dropped, by the sender or by the receiver. Native wire
    /// only.
    #[must_use]
    pub const fn lifespan(mut self, lifespan: Duration) -> Self {
        self.lifespan = Some(lifespan);
        self
    }

    /// Metadata of an answer to `message`: the same type, priority and channel, and its id as the correlation id.
    #[must_use]
    pub fn answering(message: &MessageRef<'_>) -> Self {
        Self::new(message.message_type())
            .priority(message.priority())
            .channel(message.channel())
            .correlation_id(message.message_id().into_owned())
    }
}
