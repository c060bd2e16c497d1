//! Sending: values, payloads and bytes, one or many, to all or to one; and answering.

use serde::Serialize;

use super::UdpInterface;
use crate::error::SendError;
use crate::message::Message;
use crate::message::metadata::Metadata;
use crate::message::target::Target;
use crate::payload::Payload;
use crate::sending::link::Sent;
use tautline_proto::ContentType;

impl UdpInterface {
    /// Sends any serialisable value, encoded with the configured `codec`: from a client to its server, from a
    /// server to all its clients.
    ///
    /// Never blocks. On the native wire small values that follow one another closely share datagrams (`gate`), and large ones
    /// are cut up; on the classic wire, which needs the JSON codec, each is a datagram.
    ///
    /// # Errors
    ///
    /// Why it was not sent, before a sequence number was spent: not connected, nobody there, not encodable
    /// (NaN, too deep, too large), refused by the kernel.
    pub fn send<T: Serialize + ?Sized>(&self, value: &T, metadata: &Metadata) -> Result<Sent, SendError> {
        self.shared().sender.send_value(Target::All, value, metadata, None)
    }

    /// As [`send`](Self::send), to one peer.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), and [`UnknownPeer`](SendError::UnknownPeer).
    pub fn send_to<T: Serialize + ?Sized>(
        &self,
        target: impl Into<Target>,
        value: &T,
        metadata: &Metadata,
    ) -> Result<Sent, SendError> {
        self.shared().sender.send_value(target.into(), value, metadata, None)
    }

    /// Sends a payload as it is: raw bytes, or a value encoded before.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_payload(&self, payload: &Payload, metadata: &Metadata) -> Result<Sent, SendError> {
        self.shared().sender.send_payload(Target::All, payload, metadata, None)
    }

    /// As [`send_payload`](Self::send_payload), to one peer.
    ///
    /// # Errors
    ///
    /// As for [`send_to`](Self::send_to).
    pub fn send_payload_to(
        &self,
        target: impl Into<Target>,
        payload: &Payload,
        metadata: &Metadata,
    ) -> Result<Sent, SendError> {
        self.shared().sender.send_payload(target.into(), payload, metadata, None)
    }

    /// Sends bytes that mean what the two ends agreed on, without copying them into a [`Payload`] first: nothing is
    /// allocated. The native wire carries them, the classic one cannot.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_raw(&self, bytes: &[u8], metadata: &Metadata) -> Result<Sent, SendError> {
        self.shared().sender.send_bytes(Target::All, ContentType::Raw, bytes, metadata, None)
    }

    /// As [`send_raw`](Self::send_raw), to one peer.
    ///
    /// # Errors
    ///
    /// As for [`send_to`](Self::send_to).
    pub fn send_raw_to(
        &self,
        target: impl Into<Target>,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Sent, SendError> {
        self.shared().sender.send_bytes(target.into(), ContentType::Raw, bytes, metadata, None)
    }

    /// Sends many values at once, packed into as few datagrams and system calls as they fit: the fastest way to send
    /// much. They are messages of their own, with the same metadata, in this order. On the classic wire each is a
    /// datagram.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), and [`Partly`](SendError::Partly) where some were sent: before one that could not
    /// be encoded, before nobody could be sent to any more, or to some peers only, who get those that follow too.
    pub fn send_batch<T: Serialize>(&self, values: &[T], metadata: &Metadata) -> Result<Sent, SendError> {
        self.shared().sender.send_values(Target::All, values, metadata)
    }

    /// As [`send_batch`](Self::send_batch), to one peer.
    ///
    /// # Errors
    ///
    /// As for [`send_batch`](Self::send_batch), and [`UnknownPeer`](SendError::UnknownPeer).
    pub fn send_batch_to<T: Serialize>(
        &self,
        target: impl Into<Target>,
        values: &[T],
        metadata: &Metadata,
    ) -> Result<Sent, SendError> {
        self.shared().sender.send_values(target.into(), values, metadata)
    }

    /// As [`send_batch`](Self::send_batch), with payloads as they are.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tautline::{Config, Metadata, Payload, create_udp_client, create_udp_server};
    /// # let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
    /// # plant.connect()?;
    /// # let address = plant.local_address().expect("connected").to_string();
    /// # let recorder = create_udp_client(Config::client(address))?;
    /// # recorder.connect()?;
    /// let samples = [[1; 8], [2; 8], [3; 8]].map(Payload::raw);
    /// recorder.send_payload_batch(&samples, &Metadata::data())?;
    /// for sample in &samples {
    ///     assert_eq!(plant.receive(Some(Duration::from_secs(1)))?.payload(), sample.bytes());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`send_batch`](Self::send_batch).
    pub fn send_payload_batch(&self, payloads: &[Payload], metadata: &Metadata) -> Result<Sent, SendError> {
        self.shared().sender.send_payloads(Target::All, payloads, metadata)
    }

    /// As [`send_payload_batch`](Self::send_payload_batch), to one peer.
    ///
    /// # Errors
    ///
    /// As for [`send_batch_to`](Self::send_batch_to).
    pub fn send_payload_batch_to(
        &self,
        target: impl Into<Target>,
        payloads: &[Payload],
        metadata: &Metadata,
    ) -> Result<Sent, SendError> {
        self.shared().sender.send_payloads(target.into(), payloads, metadata)
    }

    /// Sends at once what waits at the `gate`. For loops that are their own driver and have set one: there nobody else
    /// does, until the next turn. What then fails is an [event](crate::Event::SendFailed), as for everything queued.
    pub fn flush(&self) {
        self.shared().sender.flush();
    }

    /// Answers a received message: goes to its sender and carries its id as correlation id.
    ///
    /// # Errors
    ///
    /// As for [`send_to`](Self::send_to).
    pub fn reply<T: Serialize + ?Sized>(
        &self,
        message: &Message,
        value: &T,
        metadata: &Metadata,
    ) -> Result<Sent, SendError> {
        self.shared().sender.send_value(message.peer().into(), value, metadata, Some(&message.message_id()))
    }

    /// As [`reply`](Self::reply), with a payload as it is.
    ///
    /// # Errors
    ///
    /// As for [`send_to`](Self::send_to).
    pub fn reply_payload(
        &self,
        message: &Message,
        payload: &Payload,
        metadata: &Metadata,
    ) -> Result<Sent, SendError> {
        self.shared().sender.send_payload(
            message.peer().into(),
            payload,
            metadata,
            Some(&message.message_id()),
        )
    }
}
