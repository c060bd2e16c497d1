//! A control loop with a watchdog and a failsafe at both ends.
//!
//! The controller dies in the middle. The plant switches its motor off, and keeps it off until somebody resets it.
//!
//! `cargo run -p tautline --example failsafe`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tautline::{
    Config, Handler, MessageType, Metadata, Profile, UdpInterface, Watchdog, create_udp_client,
    create_udp_server,
};

/// The period of the control loop.
const PERIOD: Duration = Duration::from_millis(1);

/// The silence after which an end calls its failsafe. A real plant takes the longest time that it can go without a command.
const TIMEOUT: Duration = Duration::from_millis(100);

/// The states of the motor. The first command switches it on. After the failsafe it stays off, whatever comes.
const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const TRIPPED: u8 = 2;

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let motor = Arc::new(AtomicU8::new(WAITING));
    let plant = start_plant(&motor)?;
    let address = plant.local_address().ok_or("the server is not connected")?;

    let controller =
        create_udp_client(Config::client(address).name("controller").profile(Profile::control()))?;
    // The controller's failsafe: it must not act on old states when the plant is silent.
    let plant_is_silent = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&plant_is_silent);
    controller.watch(Watchdog::messages(MessageType::Status, TIMEOUT), move |event| {
        flag.store(event.is_tripped(), Ordering::SeqCst);
    })?;
    controller.connect()?;
    run_controller(&controller, &plant_is_silent, 200)?;
    assert_eq!(motor.load(Ordering::SeqCst), RUNNING, "the motor runs while commands come");

    // The controller dies. The plant's watchdog needs no goodbye to notice that.
    controller.disconnect();
    let died = Instant::now();
    while motor.load(Ordering::SeqCst) == RUNNING {
        thread::sleep(PERIOD);
        assert!(died.elapsed() < Duration::from_secs(10), "the watchdog trips");
    }
    println!("the motor was switched off about {:?} after the last command", died.elapsed());

    // The controller comes back. Its commands do not start the motor, because somebody must look first and reset it.
    controller.connect()?;
    run_controller(&controller, &plant_is_silent, 20)?;
    assert_eq!(motor.load(Ordering::SeqCst), TRIPPED);
    println!("the motor stays off until it is reset");
    Ok(())
}

/// Sends a command in each period, and computes the next command from the newest state.
fn run_controller(
    controller: &UdpInterface,
    plant_is_silent: &AtomicBool,
    cycles: u32,
) -> Result<(), Box<dyn Error>> {
    let commands = controller.publisher(Metadata::command());
    let mut force = 0.0;
    let mut next = Instant::now();
    for _ in 0..cycles {
        match commands.send(&force) {
            // A transient error, such as a full socket buffer, costs one command. The loop goes on.
            Err(error) if error.is_transient() => eprintln!("one command was not sent: {error}"),
            sent => drop(sent?),
        }
        next += PERIOD;
        if let Ok(state) = controller.receive(Some(next.saturating_duration_since(Instant::now()))) {
            force = -2.0 * state.decode::<f64>()?;
        }
        if plant_is_silent.load(Ordering::SeqCst) {
            force = 0.0;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Starts a plant that answers each command with its state. Its motor runs only while commands come.
fn start_plant(motor: &Arc<AtomicU8>) -> Result<UdpInterface, Box<dyn Error>> {
    let config = Config::server("127.0.0.1:0").name("plant").profile(Profile::control());
    let plant = create_udp_server(config)?;
    let (started, failsafe) = (Arc::clone(motor), Arc::clone(motor));
    let mut position = 1.0;
    plant.register_message_handler(
        MessageType::Command,
        Handler::inline(move |command, reply| {
            let Ok(force) = command.decode::<f64>() else { return };
            // The first command starts the motor. After a trip this changes nothing.
            let _ = started.compare_exchange(WAITING, RUNNING, Ordering::SeqCst, Ordering::SeqCst);
            position += force * PERIOD.as_secs_f64();
            // If the state cannot be sent, the next one replaces it.
            let _ = reply.send(&position, &Metadata::status());
        }),
    );
    // The failsafe runs on a thread of its own. In a real plant it switches the drive off.
    plant.watch(Watchdog::messages(MessageType::Command, TIMEOUT), move |event| {
        if event.is_tripped() {
            failsafe.store(TRIPPED, Ordering::SeqCst);
        }
    })?;
    plant.connect()?;
    Ok(plant)
}
