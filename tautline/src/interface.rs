//! The interface: what users hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::caller_driven::Driver;
use crate::config::{Config, ConfigError, Role};
use crate::directory::PeerInfo;
use crate::error::{ConnectError, SendError};
use crate::events::Events;
use crate::handlers::{Handler, HandlerStats, Selector};
use crate::inbox::{Receive, ReceiveError};
use crate::line::Target;
use crate::message::Message;
use crate::metadata::Metadata;
use crate::realtime::RealtimeReport;
use crate::receipt::Receipt;
use crate::reply::Reply;
use crate::requests::{Request, RequestError};
use crate::send::Sent;
use crate::shared::Shared;
use crate::statistics::Statistics;
use crate::watchdog::{WatchError, WatchId, Watchdog, WatchdogEvent, WatchdogStats};
use crate::{Cause, ConnectionState, ContentType, Payload, PeerId};

/// How long [`UdpInterface::cleanup`] waits for handlers at work.
const CLEANUP_PATIENCE: Duration = Duration::from_secs(1);

/// How long dropping the last handle waits for handlers at work.
const DROP_PATIENCE: Duration = Duration::from_millis(50);

/// A thread-safe UDP interface: a server with many peers, or a client of one server.
///
/// A cheap handle: clones share one interface, every method takes `&self`, and any number of threads and
/// executors may call any of them at any time. Dropping the last handle cleans up.
///
/// ```
/// use std::time::Duration;
/// use tautline::{Config, Metadata, create_udp_client, create_udp_server};
///
/// let plant = create_udp_server(Config::server("127.0.0.1:0").name("plant"))?;
/// plant.connect()?;
/// let address = plant.local_address().expect("connected").to_string();
///
/// let controller = create_udp_client(Config::client(address).name("controller"))?;
/// controller.connect()?;
/// controller.send(&[0.5, -1.5], &Metadata::command())?;
///
/// let command = plant.receive(Some(Duration::from_secs(1)))?;
/// assert_eq!(command.decode::<[f64; 2]>()?, [0.5, -1.5]);
/// plant.reply(&command, &"done", &Metadata::acknowledgment())?;
/// assert_eq!(controller.receive(Some(Duration::from_secs(1)))?.decode::<String>()?, "done");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct UdpInterface {
    handle: Arc<Handle>,
}

/// All user handles together; dropped with the last of them.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.cleanup(DROP_PATIENCE);
    }
}

/// A server; its role is fixed, whatever `config` says. [`connect`](UdpInterface::connect) opens it.
///
/// # Errors
///
/// What is wrong with the configuration.
pub fn create_udp_server(config: Config) -> Result<UdpInterface, ConfigError> {
    UdpInterface::new(config.role(Role::Server))
}

/// A client; its role is fixed, whatever `config` says. [`connect`](UdpInterface::connect) opens it.
///
/// # Errors
///
/// What is wrong with the configuration.
pub fn create_udp_client(config: Config) -> Result<UdpInterface, ConfigError> {
    UdpInterface::new(config.role(Role::Client))
}

impl UdpInterface {
    /// An interface with this configuration, driven by a thread of its own while connected.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Self::make(config, false)
    }

    /// An interface without a thread, and the [`Driver`] that does its work when you call it: for loops that
    /// must know what runs when, and for reactors.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration.
    pub fn caller_driven(config: Config) -> Result<(Self, Driver), ConfigError> {
        let interface = Self::make(config, true)?;
        let driver = Driver::new(Arc::clone(&interface.handle.shared));
        Ok((interface, driver))
    }

    fn make(config: Config, caller_driven: bool) -> Result<Self, ConfigError> {
        let settings = config.settings()?;
        let shared = Arc::new(Shared::new(config, &settings, caller_driven));
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Opens the socket and, as a native client, waits for the server's answer.
    ///
    /// Does nothing while connected; concurrent calls share one outcome. With a `connect_timeout` of 0, and on
    /// a [caller-driven](Self::caller_driven) interface, a native client does not wait: the state turns to
    /// connected when the server answers.
    ///
    /// # Errors
    ///
    /// Why it is not connected; it can be tried again.
    pub fn connect(&self) -> Result<(), ConnectError> {
        self.shared().open(None)?;
        self.wait_for_answer()
    }

    /// As [`connect`](Self::connect), with another configuration from now on. The role stays.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect), and [`StillConnected`](ConnectError::StillConnected).
    pub fn connect_with(&self, config: Config) -> Result<(), ConnectError> {
        self.shared().open(Some(config))?;
        self.wait_for_answer()
    }

    /// As [`connect`](Self::connect), on any executor. Only resolving a host's name blocks, and, where it has several
    /// addresses, looking at which of them a server answers (at most 50 ms each, four at most); numeric addresses do not. Dropping the future leaves the connecting under way.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    pub async fn connect_async(&self) -> Result<(), ConnectError> {
        self.shared().open(None)?;
        match self.answer_at_once() {
            Some(answer) => answer,
            None => self.shared().status.outcome_async().await,
        }
    }

    fn wait_for_answer(&self) -> Result<(), ConnectError> {
        self.answer_at_once().unwrap_or_else(|| self.shared().status.wait_outcome())
    }

    /// What connecting answers where it does not wait for the server.
    fn answer_at_once(&self) -> Option<Result<(), ConnectError>> {
        let shared = self.shared();
        let in_background = shared.config().connect_timeout.is_some_and(|timeout| timeout.is_zero());
        if shared.caller_driven || in_background {
            return Some(Ok(()));
        }
        // The driver would wait for itself.
        let on_driver = shared.lifecycle.drivers.include_caller();
        on_driver.then(|| shared.status.outcome().unwrap_or(Err(ConnectError::FromHandler)))
    }

    /// Ends the connection: tells the peers (native), wakes every waiter with
    /// [`Closed`](ReceiveError::Closed), and closes the socket before it returns, so that the port is free.
    ///
    /// Does nothing while disconnected. Messages still waiting are dropped and counted as closed. Called from
    /// an inline handler, which runs on the driver itself, the socket closes when that handler returns. Waits
    /// for no other handler.
    pub fn disconnect(&self) {
        self.shared().shut();
    }

    /// Disconnects for good: handlers are unregistered and, for up to a second, waited for; subscriptions to
    /// events end. Does nothing the second time. Dropping the last handle does the same with less patience.
    pub fn cleanup(&self) {
        self.shared().cleanup(CLEANUP_PATIENCE);
    }

    /// Sends any serialisable value, encoded with the configured `codec`: from a client to its server, from a
    /// server to all its clients.
    ///
    /// Never blocks. On the native wire one value is one datagram; the classic wire needs the JSON codec.
    ///
    /// # Errors
    ///
    /// Why it was not sent, before a sequence number was spent: not connected, nobody there, not encodable
    /// (NaN, too deep, too large), refused by the kernel.
    pub fn send<T: Serialize + ?Sized>(&self, value: &T, metadata: &Metadata) -> Result<Sent, SendError> {
        self.shared().send_value(Target::All, value, metadata, None)
    }

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
        self.shared().send_reliably(target, metadata, None, |link, out| link.encode_value(out, value))
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
            .send_reliably(target, metadata, content_type, |link, out| link.append(out, payload.bytes()))
    }

    /// Sends a value and waits for the message that answers it: the first whose correlation id is this one's message id, which
    /// is what [`reply`](Self::reply) and a handler's [`Reply`] send. The answer goes to nobody else. Of several peers that are asked
    /// the first answers; no other peer than those that are asked can.
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
        Request::begin(shared, target, metadata, |metadata| {
            shared.send_value(target, value, metadata, None).map(drop)
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
        Request::begin(shared, target, metadata, |metadata| {
            shared.send_payload(target, payload, metadata, None).map(drop)
        })
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
        self.shared().send_value(target.into(), value, metadata, None)
    }

    /// Sends a payload as it is: raw bytes, or a value encoded before.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_payload(&self, payload: &Payload, metadata: &Metadata) -> Result<Sent, SendError> {
        self.shared().send_payload(Target::All, payload, metadata, None)
    }

    /// Sends bytes that mean what the two ends agreed on, without copying them into a [`Payload`] first: nothing is
    /// allocated. The native wire carries them, the classic one cannot.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_raw(&self, bytes: &[u8], metadata: &Metadata) -> Result<Sent, SendError> {
        self.shared().send_bytes(Target::All, ContentType::Raw, bytes, metadata, None)
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
        self.shared().send_bytes(target.into(), ContentType::Raw, bytes, metadata, None)
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
        self.shared().send_payload(target.into(), payload, metadata, None)
    }

    /// Sends many values at once, packed into as few datagrams and system calls as they fit: the fastest way to send
    /// much. They are messages of their own, with the same metadata, in this order. On the classic wire each is a
    /// datagram.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send), and [`Partly`](SendError::Partly) where some were sent before one that could not
    /// be encoded, or before the kernel refused.
    pub fn send_batch<T: Serialize>(&self, values: &[T], metadata: &Metadata) -> Result<Sent, SendError> {
        self.shared().send_values(Target::All, values, metadata)
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
        self.shared().send_values(target.into(), values, metadata)
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
        self.shared().send_payloads(Target::All, payloads, metadata)
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
        self.shared().send_payloads(target.into(), payloads, metadata)
    }

    /// Sends at once what waits at the `gate`. For loops that are their own driver and have set one: there nobody else
    /// does, until the next turn. What then fails is an [event](crate::Event::SendFailed), as for everything queued.
    pub fn flush(&self) {
        self.shared().flush();
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
        self.shared().send_value(message.peer().into(), value, metadata, Some(&message.message_id()))
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
        self.shared().send_payload(message.peer().into(), payload, metadata, Some(&message.message_id()))
    }

    /// The next message from the inbox, the most urgent first. Waits for at most `timeout`: zero polls, `None`
    /// waits for as long as it takes. Those who wait are served in the order in which they came.
    ///
    /// Messages go to the inbox whether or not a handler takes them too. On a
    /// [caller-driven](Self::caller_driven) interface something must [turn](Driver::turn) meanwhile.
    ///
    /// # Errors
    ///
    /// Timed out, not connected, closed meanwhile, or an overrun where the inbox policy is to refuse.
    pub fn receive(&self, timeout: Option<Duration>) -> Result<Message, ReceiveError> {
        self.shared().inbox.receive(timeout)
    }

    /// As [`receive`](Self::receive) without a time-out, on any executor. Dropping the future loses nothing: a
    /// message meant for it goes to the next who asks.
    pub fn receive_async(&self) -> Receive {
        self.shared().inbox.receive_async()
    }

    /// Lets `handler` have every message that `selector` means: a type, or a type and a channel (which then
    /// goes before the type alone). Replaces the handler that was there; says whether there was one.
    ///
    /// Works at any time, also from inside handlers, and before connecting. A handler that owns a clone of the
    /// interface keeps it alive until it is unregistered or [`cleanup`](Self::cleanup) is called; the [`Reply`]
    /// it is given is enough to answer.
    pub fn register_message_handler(
        &self,
        selector: impl Into<Selector>,
        handler: impl Into<Handler<Reply>>,
    ) -> bool {
        self.let_go_if(self.shared().handlers.register(selector.into(), handler.into()))
    }

    /// Takes the handler away; says whether there was one. Messages that still wait for it are dropped and
    /// counted as closed.
    pub fn unregister_message_handler(&self, selector: impl Into<Selector>) -> bool {
        self.let_go_if(self.shared().handlers.unregister(selector.into()))
    }

    /// Has the driver let go of a handler that was taken away, if there was one, even if no message comes.
    fn let_go_if(&self, taken_away: bool) -> bool {
        if taken_away {
            self.shared().wake_driver();
        }
        taken_away
    }

    /// What each registered handler has done.
    #[must_use]
    pub fn handler_statistics(&self) -> Vec<(Selector, HandlerStats)> {
        self.shared().handlers.stats()
    }

    /// Has `failsafe` called when a watchdog trips, and when it recovers.
    ///
    /// It runs on a thread that no handler, no lock and nothing that others do can hold up, not even a driver that hangs.
    /// That thread is for all of the interface's watchdogs, so it must return soon. When it panics, that is counted, and the
    /// next time it is called again. Each change is also an [event](crate::Event::Watchdog), which comes after the call.
    ///
    /// Works at any time, also before connecting. A watchdog lasts until it is [ended](Self::unwatch) or the interface is
    /// cleaned up or dropped, which trips what is armed: however signs of life end, the failsafe runs. A closure that owns a
    /// clone of the interface keeps it from being dropped.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use tautline::{Config, MessageType, Watchdog, create_udp_server};
    ///
    /// let plant = create_udp_server(Config::server("127.0.0.1:0").realtime(true))?;
    /// let motor_is_on = Arc::new(AtomicBool::new(false));
    /// let motor = Arc::clone(&motor_is_on);
    /// plant.watch(Watchdog::messages(MessageType::Command, Duration::from_millis(20)), move |event| {
    ///     motor.store(!event.is_tripped(), Ordering::SeqCst);
    /// })?;
    /// plant.connect()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A time or a condition that cannot be, a `deadline` that the configuration does not have, an interface that was cleaned
    /// up, no thread.
    pub fn watch(
        &self,
        watchdog: Watchdog,
        failsafe: impl FnMut(&WatchdogEvent) + Send + 'static,
    ) -> Result<WatchId, WatchError> {
        self.shared().watch(watchdog, Box::new(failsafe))
    }

    /// Ends a watchdog, without tripping it; says whether there was one. Does not wait for its closure, if that is running.
    pub fn unwatch(&self, watch: WatchId) -> bool {
        self.shared().watchdogs.remove(watch, self.shared().steady_now())
    }

    /// How each watchdog stands, also those that the configuration asks for (`deadline`).
    #[must_use]
    pub fn watchdogs(&self) -> Vec<WatchdogStats> {
        self.shared().watchdogs.stats(self.shared().steady_now())
    }

    /// How the connection stands.
    #[must_use]
    pub fn connection_state(&self) -> ConnectionState {
        self.shared().status.state()
    }

    /// Waits until the connection stands so; whether it did within `timeout` (`None`: however long it takes).
    #[must_use]
    pub fn wait_for_state(&self, state: ConnectionState, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.shared().status.wait_for(state, deadline)
    }

    /// Subscribes to everything that happens from now on: changes of state, peers that come, fall silent and
    /// go, and failures.
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared().status.events.subscribe()
    }

    /// Everything that the interface has counted so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared().statistics()
    }

    /// What the present connection, or the latest one, asked of the machine for the sake of time, and what it got: each part
    /// of the real-time profile and the kernel's buffers. Complete when [`connect`](Self::connect) returns; before
    /// the first one, nothing is asked for.
    ///
    /// ```
    /// use tautline::{Config, PartOutcome, RealtimePart, create_udp_server};
    ///
    /// let plant = create_udp_server(Config::server("127.0.0.1:0").realtime(true))?;
    /// plant.connect()?;
    /// let report = plant.realtime_report();
    /// assert_eq!(report.part(RealtimePart::ThreadPriority).asked.as_deref(), Some("80"));
    /// for part in report.refused() {
    ///     if let PartOutcome::Refused { problem, remedy } = &part.outcome {
    ///         println!("{}: {problem}. To allow it: {remedy}", part.part);
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn realtime_report(&self) -> RealtimeReport {
        self.shared().realtime.report()
    }

    /// The peers known now.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared().directory.all()
    }

    /// One peer; `None` when it is gone.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<PeerInfo> {
        self.shared().directory.get(id)
    }

    /// The address of the socket, with the port that the system chose; `None` while disconnected.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.shared().lifecycle.local_address()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Config {
        self.shared().config()
    }
}

impl Shared {
    fn cleanup(&self, patience: Duration) {
        self.shut();
        self.status.apply(Cause::Cleanup);
        // From here on nobody connects any more; whoever did in between is ended too.
        self.shut();
        self.watchdogs.close(self.steady_now(), patience);
        self.handlers.close(patience);
        self.status.events.close();
    }
}
