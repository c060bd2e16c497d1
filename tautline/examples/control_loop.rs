//! A controller whose own loop is the driver. It has no other thread, so you know what runs when.
//!
//! The plant is a cart of 1 kg. Each command pushes it for a millisecond. The controller brings it to a standstill at 0.
//!
//! `cargo run -p tautline --example control_loop`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::time::{Duration, Instant};

use tautline::{Config, Driver, Handler, MessageType, Metadata, UdpInterface, create_udp_server};

/// The period of the control loop.
const PERIOD: Duration = Duration::from_millis(1);

/// The position in m and the speed in m/s.
type State = [f64; 2];

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let plant = start_plant()?;
    let address = plant.local_address().ok_or("the server is not connected")?;

    let config = Config::client(address).name("controller");
    let (controller, mut driver) = UdpInterface::caller_driven(config)?;
    driver.connect()?;
    // The first command has no force. Its answer is the state of the plant.
    let mut force = 0.0;
    let mut state = [0.0, 0.0];
    let mut next_step = Instant::now();
    for _ in 0..600 {
        // A transient error, such as a full socket buffer, costs one command. The loop goes on.
        match controller.send(&force, &Metadata::command()) {
            Err(error) if error.is_transient() => eprintln!("one command was not sent: {error}"),
            sent => drop(sent?),
        }
        next_step += PERIOD;
        if let Some(newest) = newest_state(&mut driver, next_step) {
            state = newest;
        }
        force = -400.0 * state[0] - 40.0 * state[1];
    }
    let statistics = controller.statistics();
    assert!(state[0].abs() < 0.1, "the cart is still at {} m", state[0]);
    println!("after 0.6 s: {:+.4} m, {:+.4} m/s; {} states lost", state[0], state[1], statistics.lost);
    Ok(())
}

/// Turns the driver until the next step is due. Returns the newest state that has come meanwhile.
fn newest_state(driver: &mut Driver, until: Instant) -> Option<State> {
    let mut newest = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // The closure sees each message where it is in the datagram. Only the decoded state is copied.
        driver.turn_with(Some(left), &mut |message| {
            if message.message_type() == MessageType::Status && !message.is_late() {
                newest = message.decode().ok().or(newest);
            }
        });
        if left.is_zero() {
            return newest;
        }
    }
}

/// Starts a plant with its own driver thread. It answers each command with its state.
fn start_plant() -> Result<UdpInterface, Box<dyn Error>> {
    let plant = create_udp_server(Config::server("127.0.0.1:0").name("plant"))?;
    let mut state: State = [1.0, 0.0];
    plant.register_message_handler(
        MessageType::Command,
        Handler::inline(move |command, reply| {
            let Ok(force) = command.decode::<f64>() else { return };
            state[1] += force * PERIOD.as_secs_f64();
            state[0] += state[1] * PERIOD.as_secs_f64();
            let _ = reply.send(&state, &Metadata::status());
        }),
    );
    plant.connect()?;
    Ok(plant)
}
