//! One connection's life: how it opens, who drives it, and how it ends.
//!
//! Called by `interface`. Opens what `driver` then runs.

mod candidates;
pub(crate) mod lifecycle;
mod opening;
pub(crate) mod slot;

use std::time::{Duration, Instant};

#[cfg(feature = "metrics")]
use crate::config::MetricsAddress;
use crate::config::{Config, DrivenBy, Settings};
use crate::driver::Turner;
#[cfg(feature = "metrics")]
use crate::error::ConnectError;
use crate::handlers;
use crate::message::Message;
#[cfg(feature = "metrics")]
use crate::metrics::{Server, Source};
use crate::receiving::inbox::ReceiveError;
use crate::shared::Shared;
use crate::shared::statistics::Statistics;
use crate::sync::{Arc, Leads, park_until};
#[cfg(feature = "metrics")]
use crate::sync::{Mutex, lock};
use lifecycle::Lifecycle;
use slot::GRACE;
use tautline_proto::Cause;

/// All handles of an interface together: what they share with the driver, and the connection that runs, if any.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lifecycle: Lifecycle,
    /// The server of the setting `metrics`. It goes on while the interface is disconnected, so that this can be seen too.
    #[cfg(feature = "metrics")]
    pub(crate) metrics: Mutex<Option<Server>>,
}

impl Connection {
    pub(crate) fn new(config: Config, settings: &Settings, caller_driven: bool) -> Self {
        let shared = Arc::new(Shared::new(config, settings, caller_driven));
        Self {
            shared,
            lifecycle: Lifecycle::default(),
            #[cfg(feature = "metrics")]
            metrics: Mutex::new(None),
        }
    }

    /// Returns what a server of metrics looks at.
    #[cfg(feature = "metrics")]
    pub(crate) fn source(&self) -> Source {
        Source::new(&self.shared, self.lifecycle.granted())
    }

    /// Begins to serve the metrics, if the setting says so, and if they are not served yet. `replace` is the next configuration.
    #[cfg(feature = "metrics")]
    pub(crate) fn serve_metrics(&self, replace: Option<&Config>) -> Result<(), ConnectError> {
        let of = |config: &Config| config.metrics.as_ref().and_then(MetricsAddress::address);
        let wanted = replace.map_or_else(|| of(&lock(&self.shared.config)), of);
        let mut metrics = lock(&self.metrics);
        if let Some(address) = wanted.filter(|_| metrics.is_none()) {
            let failed =
                |error: std::io::Error| ConnectError::Metrics { address, problem: error.to_string() };
            *metrics = Some(Server::start(address).map_err(failed)?);
        }
        Ok(())
    }

    /// Lets the server of metrics, if there is one, look at the present connection.
    #[cfg(feature = "metrics")]
    pub(crate) fn show_in_metrics(&self) {
        lock(&self.metrics).iter().for_each(|server| server.show(self.source()));
    }

    /// Wakes the driver, so that it looks at everything once.
    pub(crate) fn wake_driver(&self) {
        if let Some(life) = self.lifecycle.life() {
            life.wake();
        }
    }

    /// Runs `act` on a caller-driven connection, as its driver; see [`Slot::with`](slot::Slot::with).
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(crate) fn drive<T>(&self, act: impl FnOnce(&mut Turner) -> T) -> Option<T> {
        let _driving = self.shared.drivers.enter();
        self.lifecycle.slot.with(act)
    }

    /// The next turn takes everything that waits; see [`Turner::look_first`].
    pub(crate) fn look_first(&self) {
        self.drive(Turner::look_first);
    }

    /// Takes the next message from the inbox; see [`UdpInterface::receive`](crate::UdpInterface::receive).
    pub(crate) fn receive(&self, timeout: Option<Duration>) -> Result<Message, ReceiveError> {
        self.shared.inbox.receive_with(timeout, &mut |deadline, is_ready| self.pause(deadline, is_ready))
    }

    /// Takes the messages that wait, up to `limit`; see [`UdpInterface::receive_many`](crate::UdpInterface::receive_many).
    pub(crate) fn receive_many(
        &self,
        messages: &mut Vec<Message>,
        limit: usize,
        timeout: Option<Duration>,
    ) -> Result<usize, ReceiveError> {
        if limit == 0 {
            return Ok(0);
        }
        messages.push(self.receive(timeout)?);
        Ok(1 + self.shared.inbox.take_waiting(messages, limit - 1))
    }

    /// As [`receive`](Self::receive), and asks `goes_on` now and then whether to go on; see
    /// [`UdpInterface::receive_while`](crate::UdpInterface::receive_while).
    pub(crate) fn receive_while(
        &self,
        timeout: Option<Duration>,
        look_every: Duration,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Message, ReceiveError> {
        let inbox = &self.shared.inbox;
        let mut gives_up = false;
        let received = inbox.receive_within(timeout, &mut |deadline, is_ready| {
            let look = Instant::now() + look_every;
            if self.pause(Some(deadline.map_or(look, |deadline| deadline.min(look))), is_ready) {
                return true;
            }
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            gives_up = !is_over && !goes_on();
            !is_over && !gives_up
        });
        if !gives_up && matches!(received, Err(ReceiveError::TimedOut)) {
            inbox.count_timeout();
        }
        received
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.shared.statistics(self.lifecycle.granted())
    }

    /// Ends everything for good. Waits for at most `patience` for handlers and failsafes at work.
    pub(crate) fn cleanup(&self, patience: Duration) {
        let shared = &self.shared;
        self.shut();
        shared.status.apply(Cause::Cleanup);
        // From here on nobody can connect. A thread that connected in between is disconnected too.
        self.shut();
        shared.watchdogs.close(shared.steady_now(), patience);
        shared.handlers.close(patience);
        shared.status.events.close();
        shared.black_box.finish();
        #[cfg(feature = "metrics")]
        drop(lock(&self.metrics).take());
    }
}

impl Connection {
    /// Whether the calling thread may do the driver's work while it waits.
    fn may_lead(&self) -> bool {
        let may_lead = match self.lifecycle.driven_by() {
            DrivenBy::Thread => false,
            DrivenBy::Auto => !self.shared.handlers.have_inline(),
            DrivenBy::Callers => true,
        };
        may_lead && !handlers::run_here()
    }

    /// An event loop begins to wait; see [`Slot::loop_waits`](slot::Slot::loop_waits).
    pub(crate) fn loop_waits(&self) -> bool {
        self.may_lead() && self.lifecycle.slot.loop_waits(|| self.wake_driver())
    }

    /// An event loop has stopped waiting; see [`Slot::loop_left`](slot::Slot::loop_left).
    pub(crate) fn loop_left(&self) {
        self.lifecycle.slot.loop_left();
    }

    /// Turns once for an event loop; see [`Slot::turn_now`](slot::Slot::turn_now).
    pub(crate) fn turn_now(&self) -> bool {
        let _driving = self.shared.drivers.enter();
        self.may_lead() && self.lifecycle.slot.turn_now()
    }
}

impl Leads for Connection {
    fn pause(&self, deadline: Option<Instant>, is_ready: &mut dyn FnMut() -> bool) -> bool {
        self.pause_within(GRACE, deadline, is_ready)
    }

    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    fn pause_within(
        &self,
        grace: Duration,
        deadline: Option<Instant>,
        is_ready: &mut dyn FnMut() -> bool,
    ) -> bool {
        if !self.may_lead() {
            // The driver's thread may have given way to its readers.
            if !self.shared.sender.caller_driven && self.lifecycle.slot.is_idle() {
                self.wake_driver();
            }
            return park_until(deadline);
        }
        let _driving = self.shared.drivers.enter();
        self.lifecycle.slot.lead(grace, deadline, is_ready, || self.wake_driver())
    }
}
