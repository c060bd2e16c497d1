//! Messages and their metadata, as users see them.
//!
//! [`MessageRef`] borrows from the datagram in which it arrived. Copy a message to keep it.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;

use crate::snapshot::{Reader, Saved, Writer, saved};
use crate::time::{Timestamp, WallTime};

/// Defines an enum whose variants have a number on the native wire and a name on the classic wire.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vdoc])* $variant = $number),+ }

        impl $name {
            /// Every value, in the order of the numbers on the wire.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the number on the wire.
            #[must_use]
            pub const fn to_wire(self) -> u8 {
                self as u8
            }

            /// Returns the value with this number on the wire.
            #[must_use]
            pub const fn from_wire(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// Returns the name, in lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Returns the value with this name, in lower case.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl core::str::FromStr for $name {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, UnknownName> {
                Self::from_name(name).ok_or(UnknownName { expected: &[$($text),+] })
            }
        }

        impl Saved for $name {
            fn save(&self, out: &mut Writer) {
                self.to_wire().save(out);
            }

            fn load(from: &mut Reader<'_>) -> Option<Self> {
                u8::load(from).and_then(Self::from_wire)
            }
        }
    };
}

wire_enum! {
    /// What a message is for. Handlers are registered by message type.
    MessageType {
        /// An order to act: a set point, a force, a mode.
        Command = 1, "command";
        /// Anything else. The default.
        Data = 2, "data";
        /// The state of the sender.
        Status = 3, "status";
        /// A failure at the sender.
        Error = 4, "error";
        /// A sign of life that the user sends. The native wire's own heartbeats are not messages.
        Heartbeat = 5, "heartbeat";
        /// The answer to the message that the correlation id names.
        Acknowledgment = 6, "acknowledgment";
        /// Parameters.
        Configuration = 7, "configuration";
    }
}

wire_enum! {
    /// How urgent a message is. In every queue, messages of a higher priority come first.
    #[derive(Default)]
    Priority {
        /// May wait. Dropped before messages of a higher priority.
        Low = 1, "low";
        /// The default.
        #[default]
        Normal = 2, "normal";
        /// Before messages of normal priority.
        High = 3, "high";
        /// For an emergency stop: it never waits behind messages of a lower priority, and is never dropped for them.
        Critical = 4, "critical";
    }
}

wire_enum! {
    /// How a payload is encoded.
    ContentType {
        /// Bytes whose meaning the two ends have agreed on.
        Raw = 0, "raw";
        /// JSON text (RFC 8259).
        Json = 1, "json";
        /// MessagePack.
        MessagePack = 2, "msgpack";
        /// CBOR (RFC 8949).
        Cbor = 3, "cbor";
    }
}

wire_enum! {
    /// What is done to make a message arrive. The classic wire has best effort only.
    #[derive(Default)]
    Delivery {
        /// Sent once. A loss delays no other message. The default, for values that the next message replaces.
        #[default]
        BestEffort = 0, "best_effort";
        /// Retransmitted until it is acknowledged, its lifespan is over or its tries are used up. Delivered once, as soon as it
        /// arrives.
        Reliable = 1, "reliable";
        /// As reliable, and delivered after the earlier ordered messages of its type and channel.
        Ordered = 2, "ordered";
    }
}

/// A stream of messages: those of one type on one channel.
///
/// A type alone means channel 0, where messages go that name no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The type of the messages.
    pub message_type: MessageType,
    /// Their channel.
    pub channel: u16,
}

impl StreamId {
    /// Returns the stream in one word of a black box.
    pub(crate) fn to_word(self) -> u64 {
        u64::from(self.message_type.to_wire()) << 16 | u64::from(self.channel)
    }

    #[allow(clippy::cast_possible_truncation)] // the two parts
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        let message_type = MessageType::from_wire((word >> 16) as u8)?;
        Some(Self { message_type, channel: word as u16 })
    }
}

impl From<MessageType> for StreamId {
    fn from(message_type: MessageType) -> Self {
        Self { message_type, channel: 0 }
    }
}

impl From<(MessageType, u16)> for StreamId {
    fn from((message_type, channel): (MessageType, u16)) -> Self {
        Self { message_type, channel }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.channel {
            0 => write!(f, "{}", self.message_type),
            channel => write!(f, "{} on channel {channel}", self.message_type),
        }
    }
}

/// The error for a name that is none of the expected names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// The names that are allowed.
    pub expected: &'static [&'static str],
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected ")?;
        for (index, name) in self.expected.iter().enumerate() {
            let separator = match index {
                0 => "",
                _ if index + 1 == self.expected.len() => " or ",
                _ => ", ",
            };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownName {}

/// The id of a message or a correlation: a number or text.
///
/// On the classic wire it may be any JSON value, as in Python, and an answer carries it back unchanged. The native wire carries
/// an id that is neither a number nor text as its JSON text, and leaves null out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Id<'a> {
    /// A number. The native wire gives one to each message without an id of its own.
    Number(u64),
    /// Text, of 1 to 255 bytes on the native wire.
    Text(Cow<'a, str>),
    /// No id: null on the classic wire.
    Null,
    /// Another value of the classic wire, as its JSON text: a negative number, one of more than 64 bits, one with a fraction,
    /// a list. Text that is no JSON is refused when it is sent.
    Json(Box<str>),
}

impl Id<'_> {
    /// Returns a copy that owns its text.
    #[must_use]
    pub fn into_owned(self) -> Id<'static> {
        match self {
            Self::Number(number) => Id::Number(number),
            Self::Text(text) => Id::Text(Cow::Owned(text.into_owned())),
            Self::Null => Id::Null,
            Self::Json(text) => Id::Json(text),
        }
    }

    /// Returns the same id, which borrows this id's text.
    #[must_use]
    pub fn borrowed(&self) -> Id<'_> {
        match self {
            Self::Number(number) => Id::Number(*number),
            Self::Text(text) => Id::Text(Cow::Borrowed(text)),
            Self::Null => Id::Null,
            Self::Json(text) => Id::Json(text.clone()),
        }
    }
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
            Self::Null => f.write_str("null"),
            Self::Json(text) => f.write_str(text),
        }
    }
}

impl From<u64> for Id<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Id<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<alloc::string::String> for Id<'_> {
    fn from(text: alloc::string::String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

/// A message that borrows its texts and its payload: from the datagram in which it arrived, or from its sender.
///
/// [`MessageRef::new`] and the `with_` methods make one by hand, for example to test a handler.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MessageRef<'a> {
    /// What the message is for.
    pub message_type: MessageType,
    /// How urgent it is.
    pub priority: Priority,
    /// Separates streams of one type, for example of two joints. 0 on the classic wire.
    pub channel: u16,
    /// When the sender created it, on the sender's wall clock.
    pub timestamp: WallTime,
    /// The number that travels in place of `timestamp`, which is then the nearest time (classic). See
    /// [`stamp`](MessageRef::stamp).
    pub exact: Option<Timestamp>,
    /// Its id, which is unique within the sender's session.
    pub message_id: Id<'a>,
    /// Who created it: the name of the sending interface, unless the sender set another source. `None` for null (classic).
    pub source: Option<Cow<'a, str>>,
    /// Whom it is meant for, if the sender set it. For information only: it does not route the message.
    pub destination: Option<Cow<'a, str>>,
    /// The id of the message that this message answers.
    pub correlation_id: Option<Id<'a>>,
    /// How it was sent.
    pub delivery: Delivery,
    /// For how long after `timestamp` it is useful, if the sender set it.
    pub lifespan: Option<Duration>,
    /// Who sent it, by its key: the identity that this end gives the key. `None` on a plain link. It does not travel.
    pub identity: Option<&'a str>,
    /// How the payload is encoded.
    pub content_type: ContentType,
    /// The payload. The endpoint has checked it against its content type and the limits.
    pub payload: &'a [u8],
}

/// Defines the methods that replace one field of a [`MessageRef`].
macro_rules! with_methods {
    ($($(#[$doc:meta])* $name:ident, $field:ident: $type:ty;)+) => {
        impl<'a> MessageRef<'a> {
            $($(#[$doc])*
            #[must_use]
            #[inline]
            pub fn $name(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            })+
        }
    };
}

with_methods! {
    /// Replaces the message type.
    with_message_type, message_type: MessageType;
    /// Replaces the priority.
    with_priority, priority: Priority;
    /// Replaces the channel.
    with_channel, channel: u16;
    /// Replaces the message id.
    with_message_id, message_id: Id<'a>;
    /// Replaces the destination.
    with_destination, destination: Option<Cow<'a, str>>;
    /// Replaces the correlation id.
    with_correlation_id, correlation_id: Option<Id<'a>>;
    /// Replaces the delivery class.
    with_delivery, delivery: Delivery;
    /// Replaces the lifespan.
    with_lifespan, lifespan: Option<Duration>;
    /// Replaces the payload.
    with_payload, payload: &'a [u8];
}

impl<'a> MessageRef<'a> {
    /// Replaces the time stamp.
    #[must_use]
    #[inline]
    pub fn with_timestamp(mut self, timestamp: impl Into<Timestamp>) -> Self {
        let timestamp = timestamp.into();
        self.timestamp = timestamp.wall();
        self.exact = timestamp.beyond_wall();
        self
    }

    /// Replaces the source.
    #[must_use]
    #[inline]
    pub fn with_source(mut self, source: Cow<'a, str>) -> Self {
        self.source = Some(source);
        self
    }

    /// Returns the time stamp as it travels.
    #[must_use]
    #[inline]
    pub fn stamp(&self) -> Timestamp {
        self.exact.unwrap_or(Timestamp::Wall(self.timestamp))
    }

    /// A best-effort data message of normal priority with this payload, and without optional fields.
    ///
    /// The time stamp is 0, the message id is 0, and the source is empty.
    #[must_use]
    #[inline]
    pub fn new(content_type: ContentType, payload: &'a [u8]) -> Self {
        Self {
            message_type: MessageType::Data,
            priority: Priority::Normal,
            channel: 0,
            timestamp: WallTime::from_nanos(0),
            exact: None,
            message_id: Id::Number(0),
            source: Some(Cow::Borrowed("")),
            destination: None,
            correlation_id: None,
            delivery: Delivery::BestEffort,
            lifespan: None,
            identity: None,
            content_type,
            payload,
        }
    }
}

impl MessageRef<'_> {
    /// Returns the stream that the message belongs to.
    #[must_use]
    #[inline]
    pub const fn stream(&self) -> StreamId {
        StreamId { message_type: self.message_type, channel: self.channel }
    }
}

impl MessageRef<'_> {
    /// Returns whether it owns memory. Then it must be dropped.
    #[inline]
    pub(crate) const fn owns_memory(&self) -> bool {
        let Self { message_id, source, destination, correlation_id, .. } = self;
        matches!(message_id, Id::Text(Cow::Owned(_)) | Id::Json(_))
            || matches!(correlation_id, Some(Id::Text(Cow::Owned(_)) | Id::Json(_)))
            || matches!((source, destination), (Some(Cow::Owned(_)), _) | (_, Some(Cow::Owned(_))))
    }
}

impl Default for MessageRef<'_> {
    /// As [`MessageRef::new`], with an empty raw payload.
    #[inline]
    fn default() -> Self {
        Self::new(ContentType::Raw, &[])
    }
}

saved!(StreamId { message_type, channel });

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn numbers_and_names_convert_back() {
        for &kind in MessageType::ALL {
            assert_eq!(MessageType::from_wire(kind.to_wire()), Some(kind));
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!(MessageType::from_wire(0), None);
        assert_eq!(Priority::from_wire(5), None);
    }

    #[test]
    fn error_for_an_unknown_name_lists_the_allowed_names() {
        let error = "urgent".parse::<Priority>().expect_err("no such priority");
        assert_eq!(error.to_string(), "expected low, normal, high or critical");
    }

    #[test]
    fn id_takes_no_more_room_than_its_text() {
        assert_eq!(size_of::<Option<Id<'_>>>(), size_of::<Cow<'_, str>>());
    }

    #[test]
    fn critical_is_the_highest_priority() {
        assert_eq!(Priority::ALL.iter().max(), Some(&Priority::Critical));
    }
}
