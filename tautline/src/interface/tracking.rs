//! Messages of which their sender learns what became: those with a receipt, and requests.

use std::time::Duration;

use serde::Serialize;

use super::UdpInterface;
use crate::error::SendError;
use crate::message::Message;
use crate::message::metadata::Metadata;
use crate::message::target::Target;
use crate::payload::Payload;
use crate::receiving::requests::{Request, RequestError};
use crate::sending::receipt::Receipt;

impl UdpInterface {
    /// Sends a value reliably: again and again until the peer acknowledges it, `reliable_tries` are spent or its lifespan is
    /// over. Delivered once, at once, or with [`Delivery::Ordered`](crate::Delivery::Ordered) in the order of its type
    /// and channel. The receipt tells the outcome. Never blocks; native wire only.
    ///
    /// A message whose metadata or stream settings ask for a reliable class are sent in the same way by all the other
    /// methods, which give no receipt: there a failure is counted, and an [event](crate::Event::DeliveryFailed).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::{Config, Metadata, Outcome, create_udp_client, create_udp_server};
    ///
    /// # let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
    /// # plant.connect()?;
    /// # let address = plant.local_address().expect("connected").to_string();
    /// # let controller = create_udp_client(Config::client(address))?;
    /// # controller.connect()?;
    /// let receipt = controller.send_reliable(&"gains 2", &Metadata::configuration())?;
    /// assert_eq!(receipt.wait(Some(Duration::from_secs(5))), Some(Outcome::Delivered));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), and [`WindowFull`](SendError::WindowFull).
    pub fn send_reliable<T: Serialize + ?Sized>(
        &self,
        value: &T,
        metadata: &Metadata,
    ) -> Result<Receipt, SendError> {
        self.send_reliable_to(Target::All, value, metadata)
    }

    /// As [`send_reliable`](Self::send_reliable), to one peer.
    ///
    /// # Errors
    ///
    /// As for [`send_reliable`](Self::send_reliable), and [`UnknownPeer`](SendError::UnknownPeer).
    pub fn send_reliable_to<T: Serialize + ?Sized>(
        &self,
        target: impl Into<Target>,
        value: &T,
        metadata: &Metadata,
    ) -> Result<Receipt, SendError> {
        let target = target.into();
        self.shared().sender.send_reliably(target, metadata, None, |link, out| link.encode_value(out, value))
    }

    /// As [`send_reliable_to`](Self::send_reliable_to), with a payload as it is.
    ///
    /// # Errors
    ///
    /// As for [`send_reliable_to`](Self::send_reliable_to).
    pub fn send_payload_reliable_to(
        &self,
        target: impl Into<Target>,
        payload: &Payload,
        metadata: &Metadata,
    ) -> Result<Receipt, SendError> {
        let (target, content_type) = (target.into(), Some(payload.content_type()));
        self.shared()
            .sender
            .send_reliably(target, metadata, content_type, |link, out| link.append(out, payload.bytes()))
    }

    /// Sends a value and waits for the message that answers it: the first whose correlation id is this one's message id, which
    /// is what [`reply`](Self::reply) and a handler's [`Reply`](crate::Reply) send. The answer goes to nobody else. Of several
    /// peers that are asked the first answers; no other peer than those that are asked can.
    ///
    /// Where nothing else is said, the request is sent reliably on the native wire. On a caller-driven interface somebody must
    /// turn meanwhile; from an inline handler it would wait for itself.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::{Config, Handler, Metadata, MessageType, create_udp_client, create_udp_server};
    ///
    /// # let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
    /// # plant.connect()?;
    /// # let address = plant.local_address().expect("connected").to_string();
    /// # let controller = create_udp_client(Config::client(address))?;
    /// # controller.connect()?;
    /// plant.register_message_handler(MessageType::Configuration, Handler::inline(|_, reply| {
    ///     let _ = reply.send(&[1.5, 2.5], &Metadata::acknowledgment());
    /// }));
    /// let answer = controller.request(&"gains?", &Metadata::configuration(), Duration::from_secs(1))?;
    /// assert_eq!(answer.decode::<[f64; 2]>()?, [1.5, 2.5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub fn request<T: Serialize + ?Sized>(
        &self,
        value: &T,
        metadata: &Metadata,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        self.request_to(Target::All, value, metadata, timeout)
    }

    /// As [`request`](Self::request), to one peer.
    ///
    /// # Errors
    ///
    /// As for [`request`](Self::request).
    pub fn request_to<T: Serialize + ?Sized>(
        &self,
        target: impl Into<Target>,
        value: &T,
        metadata: &Metadata,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        self.request_async(target, value, metadata)?.wait(Some(timeout))
    }

    /// As [`request_to`](Self::request_to), on any executor; sent at once, without a time-out.
    ///
    /// # Errors
    ///
    /// Why it was not sent.
    pub fn request_async<T: Serialize + ?Sized>(
        &self,
        target: impl Into<Target>,
        value: &T,
        metadata: &Metadata,
    ) -> Result<Request, SendError> {
        let (shared, target) = (self.shared(), target.into());
        Request::begin(&shared.requests, target, |id| {
            let metadata = &shared.sender.as_request(metadata.clone().message_id(id));
            shared.sender.send_value(target, value, metadata, None).map(drop)
        })
    }

    /// As [`request_async`](Self::request_async), with a payload as it is.
    ///
    /// # Errors
    ///
    /// As for [`request_async`](Self::request_async).
    pub fn request_payload_async(
        &self,
        target: impl Into<Target>,
        payload: &Payload,
        metadata: &Metadata,
    ) -> Result<Request, SendError> {
        let (shared, target) = (self.shared(), target.into());
        Request::begin(&shared.requests, target, |id| {
            let metadata = &shared.sender.as_request(metadata.clone().message_id(id));
            shared.sender.send_payload(target, payload, metadata, None).map(drop)
        })
    }
}
