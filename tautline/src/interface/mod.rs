//! The interface: what users hold.

// The documentation shows their methods in this order, and this file's after them.
pub(crate) mod caller_driven;
mod connecting;
pub(crate) mod handler;
pub(crate) mod protocol;
pub(crate) mod publisher;
mod sending;

use crate::sync::Arc;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::Selector;
use crate::config::{Config, ConfigError, Role};
use crate::connection::Connection;
use crate::handlers::HandlerStats;
use crate::machine::realtime::RealtimeReport;
use crate::message::Message;
use crate::receiving::inbox::{Receive, ReceiveError};
use crate::shared::Shared;
use crate::shared::directory::PeerInfo;
use crate::shared::events::Events;
use crate::shared::statistics::Statistics;
use crate::watchdog::{WatchError, WatchId, Watchdog, WatchdogEvent, WatchdogStats};
use handler::Handler;
use tautline_proto::{ConnectionState, PeerId};

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

/// All user handles together; dropped with the last of them.
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
    /// The next message from the inbox, the most urgent first. Waits for at most `timeout`: zero polls, `None`
    /// waits for as long as it takes. Those who wait are served in the order in which they came.
    ///
    /// Messages go to the inbox whether or not a handler takes them too. On a
    /// [caller-driven](Self::caller_driven) interface something must [turn](crate::Driver::turn) meanwhile.
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
    /// interface keeps it alive until it is unregistered or [`cleanup`](Self::cleanup) is called; the [`Reply`](crate::Reply)
    /// it is given is enough to answer.
    pub fn register_message_handler(
        &self,
        selector: impl Into<Selector>,
        handler: impl Into<Handler>,
    ) -> bool {
        self.let_go_if(self.shared().handlers.register(selector.into(), handler.into().0))
    }

    /// Takes the handler away; says whether there was one. Messages that still wait for it are dropped and
    /// counted as closed.
    pub fn unregister_message_handler(&self, selector: impl Into<Selector>) -> bool {
        self.let_go_if(self.shared().handlers.unregister(selector.into()))
    }

    /// Has the driver let go of a handler that was taken away, if there was one, even if no message comes.
    fn let_go_if(&self, taken_away: bool) -> bool {
        if taken_away {
            self.connection().wake_driver();
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
        let shared = self.shared();
        let settings = shared.config().settings().expect("the configuration was checked when it was set");
        shared.watchdogs.watch(watchdog, Box::new(failsafe), &settings, &**shared)
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
        self.connection().statistics()
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
        self.connection().lifecycle.local_address()
    }

    /// The configuration in force.
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
