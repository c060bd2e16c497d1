//! A control loop with a failsafe at both ends.
//!
//! The controller dies in the middle. The plant switches its motor off, and keeps it off, also when the controller is back,
//! until somebody resets it.
//!
//! `cargo run -p tautline --example failsafe`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tautline::{
    Config, Cycle, Handler, MessageType, Metadata, Profile, UdpInterface, WatchdogState, create_udp_client,
    create_udp_server,
};

/// The period of the control loop.
const PERIOD: Duration = Duration::from_millis(1);

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let motor_may_run = Arc::new(AtomicBool::new(false));
    let plant = start_plant(&motor_may_run)?;
    let address = plant.local_address().ok_or("the server is not connected")?;

    // The controller's failsafe: it must not act on old states when the plant is silent.
    let plant_is_silent = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&plant_is_silent);
    let config = Config::client(address)
        .name("controller")
        .profile(Profile::control())
        .failsafe(move |event| flag.store(event.state() != WatchdogState::Armed, Ordering::SeqCst));
    let controller = create_udp_client(config)?;
    controller.connect()?;
    let work = || run_controller(&controller, &plant_is_silent, 200);
    start_motor(&plant, &motor_may_run, work)?;
    println!("the motor runs while commands come");

    // The controller dies. The plant's watchdog needs no goodbye to notice that.
    controller.disconnect();
    let died = Instant::now();
    wait_until("the watchdog trips", || !motor_may_run.load(Ordering::SeqCst));
    println!("the motor was switched off about {:?} after the last command", died.elapsed());

    // The controller comes back. Its commands are dropped, because somebody must look first.
    controller.connect()?;
    run_controller(&controller, &plant_is_silent, 20)?;
    assert!(!motor_may_run.load(Ordering::SeqCst));
    println!("the motor stays off until it is reset");

    start_motor(&plant, &motor_may_run, work)?;
    println!("the motor runs again");
    Ok(())
}

/// Resets the plant's watchdog, as an operator does who has looked at the machine, and lets the controller work. On a busy computer
/// a pause may trip the watchdog at once: then somebody looks again.
fn start_motor(
    plant: &UdpInterface,
    motor_may_run: &AtomicBool,
    work: impl Fn() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    for _ in 0..20 {
        plant.reset_all();
        work()?;
        if motor_may_run.load(Ordering::SeqCst) {
            return Ok(());
        }
    }
    Err("the motor does not run, although commands come".into())
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        thread::sleep(PERIOD);
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
    }
}

/// Sends a command in each period, and computes the next command from the newest state.
fn run_controller(
    controller: &UdpInterface,
    plant_is_silent: &AtomicBool,
    cycles: u32,
) -> Result<(), Box<dyn Error>> {
    let commands = controller.publisher(Metadata::command());
    let mut force = 0.0;
    let mut cycle = Cycle::every(PERIOD)?;
    for _ in 0..cycles {
        match commands.send(&force) {
            // A transient error, such as a full socket buffer, costs one command. The loop goes on.
            Err(error) if error.is_transient() => eprintln!("one command was not sent: {error}"),
            sent => drop(sent?),
        }
        cycle.wait();
        // The newest state. The profile keeps no older one.
        if let Ok(state) = controller.receive(Some(Duration::ZERO)) {
            force = -2.0 * state.decode::<f64>()?;
        }
        if plant_is_silent.load(Ordering::SeqCst) {
            force = 0.0;
        }
    }
    Ok(())
}

/// Starts a plant that answers each command with its state. Its motor runs only while commands come.
fn start_plant(motor_may_run: &Arc<AtomicBool>) -> Result<UdpInterface, Box<dyn Error>> {
    // The failsafe runs on a thread of its own. In a real plant it switches the drive off.
    let failsafe = Arc::clone(motor_may_run);
    let config = Config::server("127.0.0.1:0")
        .name("plant")
        .profile(Profile::control())
        .failsafe(move |event| failsafe.store(event.state() == WatchdogState::Armed, Ordering::SeqCst));
    let plant = create_udp_server(config)?;
    let mut position = 1.0;
    plant.register_message_handler(
        MessageType::Command,
        Handler::inline(move |command, reply| {
            let Ok(force) = command.decode::<f64>() else { return };
            position += force * PERIOD.as_secs_f64();
            // If the state cannot be sent, the next one replaces it.
            let _ = reply.send(&position, &Metadata::status());
        }),
    );
    plant.connect()?;
    Ok(plant)
}
