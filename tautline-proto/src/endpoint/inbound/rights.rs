//! What peers may not send: noted while messages are read, to be told afterwards.

use core::cell::Cell;

use crate::message::MessageType;
use crate::peer::PeerId;

/// The first message of a datagram that its sender may not send.
///
/// Messages are read while the rest of the inbound half is borrowed, so it is noted here and becomes an event later.
#[derive(Debug, Default)]
pub(super) struct NotAllowed(Cell<Option<(PeerId, MessageType)>>);

impl NotAllowed {
    #[cold]
    pub(super) fn note(&self, peer: PeerId, message_type: MessageType) {
        self.0.set(self.0.get().or(Some((peer, message_type))));
    }

    #[inline]
    pub(super) fn is_noted(&self) -> bool {
        self.0.get().is_some()
    }

    pub(super) fn take(&self) -> Option<(PeerId, MessageType)> {
        self.0.take()
    }
}
