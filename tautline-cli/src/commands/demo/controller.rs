//! The controller's half: a client that answers each sample with a force, on one thread.
//!
//! It drives its interface itself, as the plant does. Killing it means that the thread stops in the
//! middle of everything: no more turns, no farewell, as if its process were gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tautline::{Config, Driver, Message, MessageType, Metadata, UdpInterface};

use super::control::Controller;
use super::messages::{Force, Sample};
use crate::tools::exit::Failure;
use crate::tools::link::{open_driven, wait_over};

/// How often it announces itself until samples come.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(100);

/// What the thread is to do.
const RUN: u8 = 0;
const DIE: u8 = 1;
const LEAVE: u8 = 2;

/// A running controller.
#[derive(Debug)]
pub(super) struct ControllerThread {
    order: Arc<AtomicU8>,
    thread: JoinHandle<Result<KilledController, Failure>>,
}

/// What is left of a controller that was killed. Its socket lives as long as this: a dead process says
/// no farewell, and dropping the interface would say one.
#[derive(Debug)]
pub(super) struct KilledController(
    #[allow(dead_code, reason = "held, not read")] Option<(UdpInterface, Driver)>,
);

impl ControllerThread {
    /// Starts a controller that calls the plant at `config`'s endpoint.
    pub(super) fn start(config: Config, period: Duration) -> Result<Self, Failure> {
        let order = Arc::new(AtomicU8::new(RUN));
        let orders = Arc::clone(&order);
        let thread = std::thread::Builder::new()
            .name("controller".to_owned())
            .spawn(move || run(config, period, &orders))
            .map_err(|error| Failure::failed(format!("cannot start the controller's thread: {error}")))?;
        Ok(Self { order, thread })
    }

    /// Kills it and returns what is left.
    pub(super) fn kill(self) -> Result<KilledController, Failure> {
        self.end(DIE)
    }

    /// Lets it say farewell.
    pub(super) fn leave(self) -> Result<(), Failure> {
        self.end(LEAVE).map(drop)
    }

    fn end(self, order: u8) -> Result<KilledController, Failure> {
        self.order.store(order, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The configuration of a controller for the plant that is called at `endpoint`.
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
            DIE => return Ok(KilledController(Some((interface, driver)))),
            LEAVE => break,
            _ => {}
        }
        if !has_samples && announced.is_none_or(|at| at.elapsed() >= ANNOUNCE_EVERY) {
            announced = Some(Instant::now());
            // What is not sent now is sent in a moment: connecting may take a little.
            let _ = interface.send(&"here", &Metadata::heartbeat());
        }
        if let Some(message) = wait_over(driver.receive(Some(LOOK_AT_ORDERS)))? {
            has_samples |= answer(&interface, &message, &mut controller);
        }
    }
    interface.disconnect();
    Ok(KilledController(None))
}

/// Orders are looked at this often when no samples come.
const LOOK_AT_ORDERS: Duration = Duration::from_millis(20);

/// Answers a sample with a force; true when it was one.
fn answer(interface: &UdpInterface, message: &Message, controller: &mut Controller) -> bool {
    if message.message_type() != MessageType::Status {
        return false;
    }
    let Ok(sample) = message.decode::<Sample>() else { return false };
    if !sample.state.is_finite() {
        return false;
    }
    let force = Force { sample: sample.sample, force_n: controller.force_n(&sample.state) };
    // A command that cannot be sent is one that the plant does without: its failsafe is there for that.
    let _ = interface.reply(message, &force, &Metadata::command());
    true
}
