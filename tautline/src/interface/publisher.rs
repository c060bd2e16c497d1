//! A publisher: sends what a loop sends again and again, with metadata and a target that are chosen once.
#![allow(clippy::needless_pass_by_value)] // content is a reference, or a view of bytes

use std::time::{Duration, Instant};

use super::UdpInterface;
use crate::connection::Connection;
use crate::error::SendError;
use crate::message::made::MadeAt;
use crate::message::metadata::Metadata;
use crate::message::target::Target;
use crate::payload::Content;
use crate::receiving::requests::{Request, Requests};
use crate::sending::link::Sent;
use crate::sending::receipt::Receipt;
use crate::sending::room::Room;
use crate::sending::sender::{Outgoing, Sender};
use crate::sync::{Arc, Leads, Weak};

/// Sends messages with the same metadata to the same target. Made by [`UdpInterface::publisher`].
///
/// The three choices of sending are independent:
///
/// - *What*: a value, [`Raw`](crate::Raw) bytes or a [`Payload`](crate::Payload); see [`Content`].
/// - *To whom*: all peers, or one after [`to`](Self::to).
/// - *What is awaited*: nothing ([`send`](Self::send), [`send_batch`](Self::send_batch)), a receipt
///   ([`send_reliable`](Self::send_reliable)), or an answer ([`request`](Self::request)).
///
/// ```
/// use std::time::Duration;
/// use tautline::{Config, Metadata, create_udp_client, create_udp_server};
///
/// let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
/// plant.connect()?;
/// let address = plant.local_address().expect("connected");
/// let controller = create_udp_client(Config::client(address))?;
/// controller.connect()?;
///
/// let commands = controller.publisher(Metadata::command().channel(3));
/// for force in [0.5, -1.5] {
///     commands.send(&force)?;
///     // Only the newest command waits, so this one is received before the next one is sent.
///     let command = plant.receive(Some(Duration::from_secs(1)))?;
///     assert_eq!((command.channel(), command.decode::<f64>()?), (3, force));
///     // To one peer only.
///     plant.publisher(Metadata::status()).to(command.peer()).send(&"running")?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A publisher is a handle like a clone of its interface: it keeps the interface alive, and works on the interface's
/// present connection, also after a reconnect.
#[derive(Clone, Debug)]
pub struct Publisher {
    // Beside the interface, so that sending finds them at once.
    sender: Arc<Sender>,
    requests: Arc<Requests>,
    metadata: Metadata,
    target: Target,
    interface: UdpInterface,
}

impl UdpInterface {
    /// A publisher of messages with this metadata, to all peers.
    #[must_use]
    pub fn publisher(&self, metadata: Metadata) -> Publisher {
        let (sender, requests) = (Arc::clone(&self.shared().sender), Arc::clone(&self.shared().requests));
        Publisher { sender, requests, metadata, target: Target::All, interface: self.clone() }
    }
}

impl Publisher {
    /// Sends to this target from now on: a peer's id, its address, or [`Target::All`].
    #[must_use]
    pub fn to(mut self, target: impl Into<Target>) -> Self {
        self.target = target.into();
        self
    }

    /// The metadata of its messages.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Sends one message.
    ///
    /// Never waits for the network. On the native wire, small messages of a stream share datagrams (setting `coalescing_delay`), and
    /// large messages are sent in fragments. If another thread is writing, it takes this message along; only a full
    /// backlog of 1,024 messages makes the caller wait for that thread. A message whose metadata or stream settings ask
    /// for reliable delivery is sent as by [`send_reliable`](Self::send_reliable).
    ///
    /// # Errors
    ///
    /// The message was not sent, and no sequence number is spent: not connected, no peers, an unknown peer, not
    /// encodable (NaN, too deep, too large), or refused by the kernel.
    /// [`is_transient`](SendError::is_transient) tells whether a loop should go on.
    #[inline]
    pub fn send<C: Content>(&self, content: C) -> Result<Sent, SendError> {
        self.sender.send(self.outgoing(), &content)
    }

    /// Sends many messages, packed into as few datagrams and system calls as they fit: the fastest way to send much.
    ///
    /// Each is a message of its own; they arrive in this order. On the classic wire each is a datagram.
    ///
    /// A batch of *commands* on one channel is rarely what you mean: by default only the newest command of a stream waits at
    /// the receiver (setting `history`). Send values that belong together as one vector.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tautline::{Config, Metadata, Raw, create_udp_client, create_udp_server};
    /// # let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
    /// # plant.connect()?;
    /// # let address = plant.local_address().expect("connected");
    /// # let recorder = create_udp_client(Config::client(address))?;
    /// # recorder.connect()?;
    /// let recorded = recorder.publisher(Metadata::data());
    /// recorded.send_batch(&[0.1, 0.2, 0.3])?;
    /// let samples = [[1; 8], [2; 8], [3; 8]];
    /// recorded.send_batch(samples.iter().map(|sample| Raw(sample)))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), and [`Partly`](SendError::Partly) if some messages were sent: those before one that
    /// cannot be encoded, those before no peer could be reached any more, or all messages to some of the peers.
    pub fn send_batch<I>(&self, contents: I) -> Result<Sent, SendError>
    where
        I: IntoIterator<Item: Content>,
    {
        self.sender.send_batch(self.outgoing(), contents)
    }

    /// Sends one message reliably: it is sent again until the peer acknowledges it, `reliable_tries` are spent, or its
    /// lifespan is over. Native wire only.
    ///
    /// It is delivered once: as soon as it arrives, or in the order of its type and channel with
    /// [`Delivery::Ordered`](crate::Delivery::Ordered). The receipt tells the outcome.
    ///
    /// Waits for the thread that is writing, if there is one, and then writes what others have queued, at most 1,024
    /// messages: some milliseconds at worst. A control loop sends its commands by [`send`](Self::send).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::{Config, Metadata, Outcome, create_udp_client, create_udp_server};
    ///
    /// # let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
    /// # plant.connect()?;
    /// # let address = plant.local_address().expect("connected");
    /// # let controller = create_udp_client(Config::client(address))?;
    /// # controller.connect()?;
    /// let receipt = controller.publisher(Metadata::configuration()).send_reliable(&"gains 2")?;
    /// assert_eq!(receipt.wait(Some(Duration::from_secs(5))), Some(Outcome::Delivered));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), and [`WindowFull`](SendError::WindowFull) while too many reliable messages await
    /// their acknowledgement: [`wait_for_room`](Self::wait_for_room) waits for that.
    pub fn send_reliable<C: Content>(&self, content: C) -> Result<Receipt, SendError> {
        Ok(self.sender.send_reliably(self.outgoing(), &content)?.of(self.leads()))
    }

    /// Waits until the window has room for the reliable message that was refused last, at most for `timeout` (`None`: as long as
    /// it takes). If none was refused since one was taken, a message of one datagram is meant. Returns `false` if the time is over.
    /// Another thread may use the room first, so try again on [`WindowFull`](SendError::WindowFull). While it waits, the calling
    /// thread may do the driver's work (setting [`driven_by`](crate::Config::driven_by)).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::{Publisher, Receipt, SendError};
    ///
    /// fn send_when_there_is_room(events: &Publisher, event: &str) -> Result<Receipt, SendError> {
    ///     loop {
    ///         match events.send_reliable(event) {
    ///             Err(SendError::WindowFull { .. }) if events.wait_for_room(Some(Duration::from_secs(5))) => {}
    ///             sent => return sent,
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn wait_for_room(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.sender.wait_for_room(self.target, Some(&self.leads()), deadline)
    }

    /// As [`wait_for_room`](Self::wait_for_room), on any executor.
    pub fn room(&self) -> Room {
        Room { sender: Arc::clone(&self.sender), target: self.target }
    }

    /// Sends a message that is to be answered, and returns its [`Request`]: wait for it, or await it.
    ///
    /// The answer is the first message whose correlation id is the request's message id:
    /// [`reply`](UdpInterface::reply) and a handler's [`Reply`](crate::Reply) send such a message. It goes to the
    /// request alone, not to handlers or the inbox. If several peers are asked, the first answer counts; no other peer
    /// can answer. After `timeout` the request ends with [`TimedOut`](crate::RequestError::TimedOut); `None` waits as
    /// long as it takes, also if the peer dies after it has acknowledged the request.
    ///
    /// The time-out ends the waiting only: the other end may still act on the request later. With a
    /// [`lifespan`](Metadata::lifespan) it is dropped when it is too old.
    ///
    /// The request is sent reliably on the native wire, unless metadata or stream settings say otherwise. Do not wait
    /// from an inline handler: it would hold up the driver that reads the answer.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::{Config, Handler, Metadata, MessageType, create_udp_client, create_udp_server};
    ///
    /// # let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
    /// # plant.connect()?;
    /// # let address = plant.local_address().expect("connected");
    /// # let controller = create_udp_client(Config::client(address))?;
    /// # controller.connect()?;
    /// plant.register_message_handler(MessageType::Configuration, Handler::inline(|_, reply| {
    ///     let _ = reply.send(&[1.5, 2.5], &Metadata::acknowledgment());
    /// }));
    /// let questions = controller.publisher(Metadata::configuration());
    /// let answer = questions.request(&"gains?", Some(Duration::from_secs(1)))?.wait()?;
    /// assert_eq!(answer.decode::<[f64; 2]>()?, [1.5, 2.5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The request was not sent; as for [`send`](Self::send).
    pub fn request<C: Content>(&self, content: C, timeout: Option<Duration>) -> Result<Request, SendError> {
        self.request_of(self.outgoing(), &content, timeout)
    }

    /// Sends what follows in this call with the time when its data were made: an [`Instant`], or a wall-clock time. Age and
    /// lifespan count from then; see [`Metadata::made_at`].
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use tautline::{Config, Metadata, create_udp_client, create_udp_server};
    ///
    /// # let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
    /// # plant.connect()?;
    /// # let address = plant.local_address().expect("connected");
    /// let controller = create_udp_client(Config::client(address))?;
    /// controller.connect()?;
    /// let commands = controller.publisher(Metadata::command().lifespan(Duration::from_millis(50)));
    /// for _ in 0..3 {
    ///     let measured = Instant::now();
    ///     let force = -1.5; // from what was measured
    ///     commands.made_at(measured).send(&force)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn made_at(&self, made: impl Into<MadeAt>) -> DatedPublisher<'_> {
        DatedPublisher { publisher: self, made: made.into() }
    }

    fn request_of<C: Content>(
        &self,
        outgoing: Outgoing<'_>,
        content: &C,
        timeout: Option<Duration>,
    ) -> Result<Request, SendError> {
        let Outgoing { target, made, .. } = outgoing;
        let life = self.sender.link.load().as_deref().map(|link| Arc::clone(&link.life));
        let interface = self.leads();
        Request::begin(&self.requests, (life, Some(interface)), target, timeout, |id| {
            let metadata = self.sender.as_request(self.metadata.clone(), id);
            self.sender.send(Outgoing { made, ..Outgoing::new(target, &metadata) }, content).map(drop)
        })
    }

    /// The interface, for threads that wait for an answer, a receipt or room.
    fn leads(&self) -> Weak<dyn Leads> {
        let connection: Weak<Connection> = Arc::downgrade(self.interface.connection());
        connection
    }

    const fn outgoing(&self) -> Outgoing<'_> {
        Outgoing::new(self.target, &self.metadata)
    }
}

/// A publisher for data that were made at a certain time. Made by [`Publisher::made_at`].
#[derive(Clone, Copy, Debug)]
#[must_use = "it sends nothing by itself"]
pub struct DatedPublisher<'a> {
    publisher: &'a Publisher,
    made: MadeAt,
}

impl DatedPublisher<'_> {
    /// As [`Publisher::send`].
    ///
    /// # Errors
    ///
    /// As for [`Publisher::send`], and [`Expired`](SendError::Expired) if the lifespan of the message is over already.
    #[inline]
    pub fn send<C: Content>(self, content: C) -> Result<Sent, SendError> {
        self.publisher.sender.send(self.outgoing(), &content)
    }

    /// As [`Publisher::send_batch`]. All messages get the same time.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send) and [`Publisher::send_batch`].
    pub fn send_batch<I>(self, contents: I) -> Result<Sent, SendError>
    where
        I: IntoIterator<Item: Content>,
    {
        self.publisher.sender.send_batch(self.outgoing(), contents)
    }

    /// As [`Publisher::send_reliable`]. If the lifespan of the message is over already, that is its outcome.
    ///
    /// # Errors
    ///
    /// As for [`Publisher::send_reliable`].
    pub fn send_reliable<C: Content>(self, content: C) -> Result<Receipt, SendError> {
        let receipt = self.publisher.sender.send_reliably(self.outgoing(), &content)?;
        Ok(receipt.of(self.publisher.leads()))
    }

    /// As [`Publisher::request`].
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send) and [`Publisher::request`].
    pub fn request<C: Content>(self, content: C, timeout: Option<Duration>) -> Result<Request, SendError> {
        self.publisher.request_of(self.outgoing(), &content, timeout)
    }

    const fn outgoing(&self) -> Outgoing<'_> {
        Outgoing { made: Some(self.made), ..self.publisher.outgoing() }
    }
}
