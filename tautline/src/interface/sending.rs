//! Sending one message, answering one, and sending at once what is being coalesced.
#![allow(clippy::needless_pass_by_value)] // content is a reference, or a view of bytes

use super::UdpInterface;
use crate::error::SendError;
use crate::message::Message;
use crate::message::metadata::Metadata;
use crate::message::target::Target;
use crate::payload::Content;
use crate::sending::link::Sent;
use crate::sending::sender::Outgoing;

impl UdpInterface {
    /// Sends a value, [`Raw`](crate::Raw) bytes or a [`Payload`](crate::Payload): from a client to its server, from a
    /// server to all its clients.
    ///
    /// A [`publisher`](Self::publisher) does the same with metadata that are chosen once. It also sends to one peer,
    /// sends batches, sends reliably, and sends requests.
    ///
    /// # Errors
    ///
    /// As for [`Publisher::send`](crate::Publisher::send).
    #[inline]
    pub fn send<C: Content>(&self, content: C, metadata: &Metadata) -> Result<Sent, SendError> {
        self.shared().sender.send(Outgoing::new(Target::All, metadata), &content)
    }

    /// Answers a received message: goes to its sender and carries its id as correlation id.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), and [`UnknownPeer`](SendError::UnknownPeer) if the sender is gone.
    pub fn reply<C: Content>(
        &self,
        message: &Message,
        content: C,
        metadata: &Metadata,
    ) -> Result<Sent, SendError> {
        let (target, id) = (Target::Peer(message.peer()), message.message_id());
        self.shared().sender.send(Outgoing::answering(target, metadata, &id), &content)
    }

    /// Sends at once the messages that wait to share a datagram (setting `coalescing_delay`).
    ///
    /// For loops that are their own driver and have set a `coalescing_delay`: there nobody else sends these messages before the next
    /// turn. Waits for the thread that is writing, if there is one, and writes what others have queued. A failure is an
    /// [event](crate::Event::SendFailed), as for everything queued.
    pub fn flush(&self) {
        self.shared().sender.flush();
    }
}
