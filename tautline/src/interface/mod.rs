//! The interface: what users hold. Everything here is public, and calls the folders below.

// The documentation shows the methods of these modules in this order, and those of this file after them.
pub(crate) mod caller_driven;
mod claiming;
mod connecting;
mod following;
pub(crate) mod handler;
pub(crate) mod loop_reader;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod protocol;
pub(crate) mod publisher;
#[cfg(feature = "secure")]
mod reloading;
mod sending;

use crate::sync::Arc;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::config::Selector;
use crate::config::{Config, ConfigError, Role, WatchId, WatchdogEvent};
use crate::connection::Connection;
use crate::handlers::HandlerStats;
use crate::machine::realtime::RealtimeReport;
use crate::message::Message;
use crate::receiving::inbox::{Receive, ReceiveError};
use crate::recording::RecordingStatus;
use crate::shared::Shared;
use crate::shared::black_box::DumpError;
use crate::shared::directory::PeerInfo;
use crate::shared::statistics::Statistics;
use crate::shared::subscribers::Events;
use crate::watchdog::{WatchError, Watchdog, WatchdogStats};
use handler::Handler;
use loop_reader::LoopReader;
use tautline_proto::{ConnectionState, PeerId};

/// How long dropping the last handle waits for handlers that run.
const DROP_PATIENCE: Duration = Duration::from_millis(50);

/// A thread-safe UDP interface: a server with many peers, or a client of one server.
///
/// A cheap handle: clones share one interface. Every method takes `&self`; any number of threads and executors may call any
/// of them at any time. Dropping the last handle cleans up.
///
/// ```
/// use std::time::Duration;
/// use tautline::{Config, Metadata, create_udp_client, create_udp_server};
///
/// let plant = create_udp_server(Config::server("127.0.0.1:0").name("plant"))?;
/// plant.connect()?;
/// let address = plant.local_address().expect("connected");
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

/// Dropped with the last handle of a user.
#[derive(Debug)]
struct Handle {
    connection: Arc<Connection>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.connection.cleanup(DROP_PATIENCE);
    }
}

/// Makes a server. [`connect`](UdpInterface::connect) opens it.
///
/// # Errors
///
/// What is wrong with the configuration, also if it is for the other role.
pub fn create_udp_server(config: Config) -> Result<UdpInterface, ConfigError> {
    UdpInterface::new(config.for_role(Role::Server)?)
}

/// Makes a client. [`connect`](UdpInterface::connect) opens it.
///
/// # Errors
///
/// What is wrong with the configuration, also if it is for the other role.
pub fn create_udp_client(config: Config) -> Result<UdpInterface, ConfigError> {
    UdpInterface::new(config.for_role(Role::Client)?)
}

impl UdpInterface {
    /// Takes the next message from the inbox, the most urgent first. Waits at most for `timeout`: zero polls, `None` waits as
    /// long as it takes. Waiting callers are served in the order in which they came.
    ///
    /// While it waits, the calling thread may do the driver's work, so that no other thread has to wake it: see the setting
    /// [`driven_by`](crate::Config::driven_by). On a [caller-driven](Self::caller_driven) interface, another thread must
    /// [turn](crate::Driver::turn) meanwhile.
    ///
    /// A message goes to the inbox whether or not a handler takes it too.
    ///
    /// # Errors
    ///
    /// The time is over, the interface is not connected or was disconnected meanwhile, or the inbox overflowed and its
    /// policy is to refuse.
    pub fn receive(&self, timeout: Option<Duration>) -> Result<Message, ReceiveError> {
        self.connection().receive(timeout)
    }

    /// Takes the messages that wait in the inbox, up to `limit`, in the order in which [`receive`](Self::receive) would return
    /// them. Appends them to `messages`, and returns how many. Waits for the first one as `receive` does.
    ///
    /// For many messages it is faster than one call for each. The memory of `messages` can be used again and again:
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::{Config, Metadata, create_udp_client, create_udp_server};
    ///
    /// let logger = create_udp_server(Config::server("127.0.0.1:0"))?;
    /// logger.connect()?;
    /// let sensor = create_udp_client(Config::client(logger.local_address().expect("connected")))?;
    /// sensor.connect()?;
    /// sensor.publisher(Metadata::data()).send_batch(&[1.5, 2.5, 3.5])?;
    ///
    /// let (mut messages, mut sum) = (Vec::new(), 0.0);
    /// while sum < 7.5 {
    ///     logger.receive_many(&mut messages, 1_000, Some(Duration::from_secs(1)))?;
    ///     for message in messages.drain(..) {
    ///         sum += message.decode::<f64>()?;
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`receive`](Self::receive), if there is not even one message.
    pub fn receive_many(
        &self,
        messages: &mut Vec<Message>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Result<usize, ReceiveError> {
        self.connection().receive_many(messages, limit, timeout)
    }

    /// As [`receive`](Self::receive), and asks `goes_on` every `look_every` while it waits: for callers that must look around, as
    /// the interpreter of another language must for signals. If `goes_on` returns false, the wait ends with
    /// [`TimedOut`](ReceiveError::TimedOut), which is then not counted. The place in the line of receivers is kept meanwhile.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::{Config, ReceiveError, create_udp_server};
    ///
    /// let plant = create_udp_server(Config::server("127.0.0.1:0"))?;
    /// plant.connect()?;
    /// let mut looks = 0;
    /// let received = plant.receive_while(None, Duration::from_millis(1), &mut || {
    ///     looks += 1;
    ///     looks < 3
    /// });
    /// assert_eq!((received.err(), looks, plant.statistics().timeouts), (Some(ReceiveError::TimedOut), 3, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`receive`](Self::receive).
    pub fn receive_while(
        &self,
        timeout: Option<Duration>,
        look_every: Duration,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Message, ReceiveError> {
        self.connection().receive_while(timeout, look_every, goes_on)
    }

    /// As [`receive`](Self::receive) without a time-out, on any executor. Dropping the future loses nothing: a message that
    /// was meant for it goes to the next receiver.
    pub fn receive_async(&self) -> Receive {
        self.shared().inbox.receive_async()
    }

    /// Makes a reader for an event loop that receives often: so the loop reads the socket itself, and no other thread has to wake it. It
    /// does not keep the interface alive.
    #[must_use]
    pub fn loop_reader(&self) -> LoopReader {
        LoopReader::new(Arc::clone(self.connection()))
    }

    /// Registers a handler for messages of a type, or of one channel of a type. A handler for the channel wins over a
    /// handler for the type. Replaces the former handler; returns whether there was one.
    ///
    /// Works at any time, also from inside handlers and before connecting. A handler that owns a clone of the interface keeps
    /// the interface alive until the handler is unregistered or [`cleanup`](Self::cleanup) is called. To answer, the
    /// [`Reply`](crate::Reply) that the handler is given is enough.
    pub fn register_message_handler(
        &self,
        selector: impl Into<Selector>,
        handler: impl Into<Handler>,
    ) -> bool {
        self.let_go_if(self.shared().handlers.register(selector.into(), handler.into().0))
    }

    /// Unregisters a handler. Returns whether there was one. Messages that still wait for it are dropped, and counted under
    /// `Closed`.
    pub fn unregister_message_handler(&self, selector: impl Into<Selector>) -> bool {
        self.let_go_if(self.shared().handlers.unregister(selector.into()))
    }

    /// Wakes the driver, so that it drops a handler that was unregistered even if no message comes.
    fn let_go_if(&self, taken_away: bool) -> bool {
        if taken_away {
            self.connection().wake_driver();
        }
        taken_away
    }

    /// Returns the counts of each registered handler.
    #[must_use]
    pub fn handler_statistics(&self) -> Vec<(Selector, HandlerStats)> {
        self.shared().handlers.stats()
    }

    /// Registers a watchdog. `failsafe` is called with each [change](crate::WatchdogChange): when the expected traffic begins,
    /// when it has stopped for too long, and when it is back.
    ///
    /// The failsafe runs on the watchdogs' own thread, which takes no lock of other threads. It serves all watchdogs of the
    /// interface, so a failsafe must return soon. If it panics, the panic is counted, and it is called again the next time.
    /// Each change is also an [event](crate::Event::Watchdog), after the call.
    ///
    /// A watchdog on commands latches: once it has tripped, commands are dropped, whoever sends them, until you
    /// [`reset`](Self::reset) it. [`Watchdog::recovers_by_itself`] changes that.
    ///
    /// Works at any time, also before connecting. A watchdog lasts until [`unwatch`](Self::unwatch), or until the interface is
    /// cleaned up or dropped. Both trip an armed watchdog: the failsafe runs, however the traffic ends. A failsafe that owns
    /// a clone of the interface keeps it from being dropped.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use tautline::{Config, MessageType, Watchdog, WatchdogState, create_udp_server};
    ///
    /// let plant = create_udp_server(Config::server("127.0.0.1:0").realtime(true))?;
    /// let motor_is_on = Arc::new(AtomicBool::new(false));
    /// let motor = Arc::clone(&motor_is_on);
    /// let watch = plant.watch(Watchdog::messages(MessageType::Command, Duration::from_millis(20)), move |event| {
    ///     motor.store(event.state() == WatchdogState::Armed, Ordering::SeqCst);
    /// })?;
    /// plant.connect()?;
    /// // After a stop, somebody looks at the plant, and then:
    /// plant.reset(watch);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The time or the condition is not possible, the configuration has no `deadline` for the messages, the interface was
    /// cleaned up, or the system does not start a thread.
    pub fn watch(
        &self,
        watchdog: Watchdog,
        failsafe: impl FnMut(&WatchdogEvent) + Send + 'static,
    ) -> Result<WatchId, WatchError> {
        let shared = self.shared();
        let settings = shared.config().settings().expect("the configuration was checked when it was set");
        shared.watchdogs.watch(watchdog, Box::new(failsafe), &settings, &**shared)
    }

    /// Resets a watchdog that latches: it waits for the next expected traffic, which arms it. Returns whether it had tripped.
    ///
    /// Messages that were made before the call are still dropped, as far as their age is known (docs/safety.md): also those
    /// that wait for a reader or a handler, in the kernel, or on the way.
    pub fn reset(&self, watch: WatchId) -> bool {
        self.shared().watchdogs.reset(Some(watch), self.shared().steady_now()) > 0
    }

    /// Resets all watchdogs that latch. Returns how many had tripped.
    pub fn reset_all(&self) -> usize {
        self.shared().watchdogs.reset(None, self.shared().steady_now())
    }

    /// Ends a watchdog without tripping it. Returns whether there was one. Does not wait for a failsafe that runs. If it
    /// latches and has tripped, its messages pass again: end it only if something else stops the plant.
    pub fn unwatch(&self, watch: WatchId) -> bool {
        self.shared().watchdogs.remove(watch, self.shared().steady_now())
    }

    /// Returns the state and the counts of each watchdog, also of those that the configuration asks for (`deadline`).
    #[must_use]
    pub fn watchdogs(&self) -> Vec<WatchdogStats> {
        self.shared().watchdogs.stats(self.shared().steady_now())
    }

    /// Returns the state of the connection.
    #[must_use]
    pub fn connection_state(&self) -> ConnectionState {
        self.shared().status.state()
    }

    /// Waits until the connection has this state, at most for `timeout` (`None`: as long as it takes). Returns whether it has.
    #[must_use]
    pub fn wait_for_state(&self, state: ConnectionState, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.shared().status.wait_for(state, deadline)
    }

    /// Subscribes to events from now on: changes of state, peers that come, fall silent and go, and failures.
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared().status.events.subscribe()
    }

    /// Returns everything that the interface has counted so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.connection().statistics()
    }

    /// Returns what the present or the latest connection asked of the machine, and what the machine granted: each part of the
    /// real-time profile, and the kernel's buffers. Complete when [`connect`](Self::connect) returns.
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

    /// Returns what was recorded (setting `record`) since the interface connected: the file, and how many messages are in it. `None` if
    /// nothing was.
    ///
    /// ```
    /// use tautline::{Config, create_udp_server};
    ///
    /// # let folder = std::env::temp_dir().join(format!("tautline-doc-record-{}", std::process::id()));
    /// let config = Config::server("127.0.0.1:0").record(folder.join("plant.mcap"));
    /// let plant = create_udp_server(config)?;
    /// plant.connect()?;
    /// plant.disconnect();
    /// let recording = plant.recording().expect("it is set");
    /// assert_eq!(recording.not_recorded, 0);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn recording(&self) -> Option<RecordingStatus> {
        self.shared().recording.status()
    }

    /// Writes the black box (setting `black_box`) to a file in the folder `black_box_dir`, in the calling thread. Returns its path.
    /// `tautline incident` shows what it holds.
    ///
    /// Inputs go on being recorded meanwhile. What they write over before it is read is not in the file.
    ///
    /// ```
    /// use tautline::{Config, create_udp_server};
    ///
    /// let folder = std::env::temp_dir().join("tautline-dump-example");
    /// let plant = create_udp_server(Config::server("127.0.0.1:0").black_box("1MiB").black_box_dir(&folder))?;
    /// plant.connect()?;
    /// let file = plant.dump()?;
    /// assert!(file.exists());
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no black box, it is being written already, or the system does not take the file.
    pub fn dump(&self) -> Result<PathBuf, DumpError> {
        let shared = self.shared();
        shared.black_box.take_statistics(shared.for_black_box(&self.statistics()));
        shared.black_box.write("dump")
    }

    /// Returns the peers known now.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared().directory.all()
    }

    /// Returns one peer; `None` if it is gone.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<PeerInfo> {
        self.shared().directory.get(id)
    }

    /// Returns the address of the socket, with the port that the system chose; `None` while disconnected, and while the socket waits
    /// for an address. It changes when the socket [moves](crate::Event::Moved).
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.shared().directory.local_address()
    }

    /// Returns the configuration in force.
    #[must_use]
    pub fn config(&self) -> Config {
        self.shared().config()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.connection.shared
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.handle.connection
    }
}
