//! The controller: a client on its own thread that answers each sample with a force.
//!
//! The thread drives its interface itself, as the plant does. When the controller is killed, the thread stops without a
//! further turn and without disconnecting, and its port refuses datagrams, as if its process had died.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tautline::{Config, Driver, Message, MessageType, Metadata, UdpInterface};

use super::control::Controller;
use super::messages::{Force, Sample};
use crate::tools::exit::Failure;
use crate::tools::link::{open_driven, wait_over};

/// How often the controller announces itself until samples come.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(100);

/// The orders to the thread.
const RUN: u8 = 0;
const DIE: u8 = 1;
const LEAVE: u8 = 2;

/// A running controller.
#[derive(Debug)]
pub(super) struct ControllerThread {
    order: Arc<AtomicU8>,
    thread: JoinHandle<Result<KilledController, Failure>>,
}

/// The interface of a killed controller. It is kept open, because dropping it would disconnect from the plant, which a
/// dead process does not do.
#[derive(Debug)]
pub(super) struct KilledController(
    #[allow(dead_code, reason = "held, not read")] Option<(UdpInterface, Driver)>,
);

impl ControllerThread {
    /// Starts a controller that connects to the plant at `config`'s endpoint.
    pub(super) fn start(config: Config, period: Duration) -> Result<Self, Failure> {
        let order = Arc::new(AtomicU8::new(RUN));
        let orders = Arc::clone(&order);
        let thread = std::thread::Builder::new()
            .name("controller".to_owned())
            .spawn(move || run(config, period, &orders))
            .map_err(|error| Failure::failed(format!("cannot start the controller's thread: {error}")))?;
        Ok(Self { order, thread })
    }

    /// Kills the controller and returns its open interface.
    pub(super) fn kill(self) -> Result<KilledController, Failure> {
        self.end(DIE)
    }

    /// Lets the controller disconnect and end.
    pub(super) fn leave(self) -> Result<(), Failure> {
        self.end(LEAVE).map(drop)
    }

    fn end(self, order: u8) -> Result<KilledController, Failure> {
        self.order.store(order, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Returns the configuration of a controller that connects to `endpoint`.
pub(super) fn config(config: Config, endpoint: String) -> Config {
    config.endpoint(endpoint).name("controller")
}

fn run(config: Config, period: Duration, orders: &AtomicU8) -> Result<KilledController, Failure> {
    let (interface, mut driver) = open_driven(config)?;
    let mut controller = Controller::design(period.as_secs_f64());
    let mut announced: Option<Instant> = None;
    let mut has_samples = false;
    loop {
        match orders.load(Ordering::Relaxed) {
            DIE => {
                free_port(&driver);
                return Ok(KilledController(Some((interface, driver))));
            }
            LEAVE => break,
            _ => {}
        }
        if !has_samples && announced.is_none_or(|at| at.elapsed() >= ANNOUNCE_EVERY) {
            announced = Some(Instant::now());
            // If the announcement cannot be sent now, it is sent again in a moment.
            let _ = interface.send("here", &Metadata::heartbeat());
        }
        if let Some(message) = wait_over(driver.receive(Some(LOOK_AT_ORDERS)))? {
            has_samples |= answer(&interface, &message, &mut controller);
        }
    }
    interface.disconnect();
    Ok(KilledController(None))
}

/// Nothing listens at the port of a process that has died, so its machine refuses what the plant sends there. Here the machine
/// does the same, because the socket takes only datagrams from itself. If that does not work, the controller is silent, which the
/// plant notices too.
fn free_port(driver: &Driver) {
    let Some(socket) = driver.socket() else { return };
    #[cfg(unix)]
    let socket = std::os::fd::AsFd::as_fd(&socket).try_clone_to_owned();
    #[cfg(windows)]
    let socket = std::os::windows::io::AsSocket::as_socket(&socket).try_clone_to_owned();
    let Ok(socket) = socket.map(UdpSocket::from) else { return };
    let _ = socket.local_addr().and_then(|itself| socket.connect(itself));
}

/// How often the thread checks for orders while no samples come.
const LOOK_AT_ORDERS: Duration = Duration::from_millis(20);

/// Answers a sample with a force. Returns whether the message was a sample.
fn answer(interface: &UdpInterface, message: &Message, controller: &mut Controller) -> bool {
    if message.message_type() != MessageType::Status {
        return false;
    }
    let Ok(sample) = message.decode::<Sample>() else { return false };
    if !sample.state.is_finite() {
        return false;
    }
    let force = Force { sample: sample.sample, force_n: controller.force_n(&sample.state) };
    // If the command cannot be sent, the plant's failsafe handles the missing command.
    let _ = interface.reply(message, &force, &Metadata::command());
    true
}
