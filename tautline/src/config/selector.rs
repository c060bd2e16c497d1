//! The messages that a setting, a handler or a watchdog is for.

use tautline_proto::MessageType;

/// Selects the messages of a type, or of one channel of a type, for a handler or a setting.
///
/// A selector with the exact channel wins over a selector for the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// The type of the messages.
    pub message_type: MessageType,
    /// The channel; `None` for every channel that is not selected by itself.
    pub channel: Option<u16>,
}

impl Selector {
    /// Whether messages of this type and channel are selected.
    #[inline]
    pub(crate) fn selects(self, message_type: MessageType, channel: u16) -> bool {
        self.message_type == message_type && self.channel.is_none_or(|selected| selected == channel)
    }
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
