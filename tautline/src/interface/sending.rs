//! Sending one message, answering one, and sending at once what is being coalesced.
#![allow(clippy::needless_pass_by_value)] // content is a reference, or a view of bytes

use serde::Serialize;

use super::UdpInterface;
use crate::error::SendError;
use crate::message::Message;
use crate::message::metadata::Metadata;
use crate::message::target::Target;
use crate::payload::{Content, Payload};
use crate::sending::link::Sent;
use crate::sending::sender::Outgoing;
use tautline_proto::MessageType;

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

    /// Encodes a value with the codec and the limits of this interface, without sending it: for values that are sent several
    /// times, or whose encoding must not share a lock with the sending.
    ///
    /// ```
    /// use tautline::{Config, Metadata, create_udp_server};
    ///
    /// let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
    /// plant.connect()?;
    /// let state = plant.encode(&[0.1, 0.0])?;
    /// assert_eq!(state.bytes(), b"[0.1, 0.0]");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The interface is not connected, or as for [`send`](Self::send) if the value cannot be encoded.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Payload, SendError> {
        self.shared().sender.encode(value)
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

    /// Returns whether the server takes messages of this type from the key of this client (`may` and `may_send` of `[keys.NAME]`).
    /// If it does not, [`send`](Self::send) fails with [`NotAllowed`](SendError::NotAllowed). True for a server, on a plain link,
    /// and until the server has told the client its rights.
    #[must_use]
    pub fn may_send(&self, message_type: MessageType) -> bool {
        self.shared().sender.may_send(message_type)
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
