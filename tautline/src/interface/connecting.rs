//! Makes an interface, connects and disconnects it.

use crate::sync::Arc;
use std::time::Duration;

use super::{Handle, UdpInterface};
use crate::config::{Config, ConfigError};
use crate::connection::Connection;
use crate::error::ConnectError;
use crate::interface::caller_driven::Driver;

/// How long [`UdpInterface::cleanup`] waits for handlers that run.
const CLEANUP_PATIENCE: Duration = Duration::from_secs(1);

impl UdpInterface {
    /// Makes an interface. While connected, a thread of its own drives it.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Self::make(config, false)
    }

    /// Makes an interface without a thread, and the [`Driver`] that does its work when you call it: for loops that must know
    /// what runs when, and for reactors.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration.
    pub fn caller_driven(config: Config) -> Result<(Self, Driver), ConfigError> {
        let interface = Self::make(config, true)?;
        let driver = Driver::new(Arc::clone(interface.connection()));
        Ok((interface, driver))
    }

    fn make(config: Config, caller_driven: bool) -> Result<Self, ConfigError> {
        let settings = config.settings()?;
        let connection = Arc::new(Connection::new(config, &settings, caller_driven));
        Ok(Self { handle: Arc::new(Handle { connection }) })
    }

    /// Opens the socket, and waits for what is not there yet: the endpoint's name, an address of this host, a network card, a
    /// route and, as a native client, the server's answer.
    ///
    /// Does nothing while connected; concurrent calls share one outcome. With a `connect_timeout` of 0, and on a
    /// [caller-driven](Self::caller_driven) interface, it does not wait: the state changes to connected later.
    ///
    /// # Errors
    ///
    /// Why the interface is not connected. You can try again.
    pub fn connect(&self) -> Result<(), ConnectError> {
        self.connection().open(None)?;
        self.wait_for_answer()
    }

    /// As [`connect`](Self::connect), with another configuration from now on. It must be for the same role.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect), and [`StillConnected`](ConnectError::StillConnected).
    pub fn connect_with(&self, config: Config) -> Result<(), ConnectError> {
        self.connection().open(Some(config))?;
        self.wait_for_answer()
    }

    /// As [`connect`](Self::connect), on any executor. Dropping the future does not stop the attempt.
    ///
    /// Resolving a host name blocks the calling thread, for a second at most (on Windows for `connect_timeout`). So does trying the addresses of a name that has several: at most four
    /// of them, 50 ms each. Numeric addresses do not block.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    pub async fn connect_async(&self) -> Result<(), ConnectError> {
        self.connection().open(None)?;
        match self.answer_at_once() {
            Some(answer) => answer,
            None => self.shared().status.outcome_async().await,
        }
    }

    fn wait_for_answer(&self) -> Result<(), ConnectError> {
        self.answer_at_once().unwrap_or_else(|| self.shared().status.wait_outcome())
    }

    /// Returns the result of connecting if it does not wait for the server.
    fn answer_at_once(&self) -> Option<Result<(), ConnectError>> {
        let shared = self.shared();
        let in_background = shared.config().connect_timeout.is_some_and(|timeout| timeout.is_zero());
        if shared.sender.caller_driven || in_background {
            return Some(Ok(()));
        }
        // On the driver, the call would wait for itself.
        let on_driver = shared.drivers.include_caller();
        on_driver.then(|| shared.status.outcome().unwrap_or(Err(ConnectError::FromHandler)))
    }

    /// Ends the connection: tells the peers (native wire), wakes every waiter with
    /// [`Disconnected`](crate::ReceiveError::Disconnected), and closes the socket before it returns, so that the port is free.
    ///
    /// Does nothing while disconnected. Messages that still wait are dropped, and counted under `Closed`. Called from an inline
    /// handler, which runs on the driver itself, the socket closes when that handler returns. Does not wait for other
    /// handlers.
    pub fn disconnect(&self) {
        self.connection().shut();
    }

    /// Disconnects for good: unregisters all handlers, waits for those that run (at most a second), and ends subscriptions to
    /// events. Does nothing the second time. Dropping the last handle does the same, but waits at most 50 ms.
    pub fn cleanup(&self) {
        self.connection().cleanup(CLEANUP_PATIENCE);
    }
}
