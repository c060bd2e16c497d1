//! Which messages a setting, a handler or a watchdog is for.

use tautline_proto::MessageType;

/// Which messages a handler is for: those of a type, or of one channel of a type.
///
/// A handler for the exact channel wins over one for the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// The type of the messages.
    pub message_type: MessageType,
    /// Their channel; `None` for every channel without a handler of its own.
    pub channel: Option<u16>,
}

impl From<MessageType> for Selector {
    fn from(message_type: MessageType) -> Self {
        Self { message_type, channel: None }
    }
}

impl From<(MessageType, u16)> for Selector {
    fn from((message_type, channel): (MessageType, u16)) -> Self {
        Self { message_type, channel: Some(channel) }
    }
}
