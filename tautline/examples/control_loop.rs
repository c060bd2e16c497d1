//! A controller whose own loop is the driver. It has no other thread, so you know what runs when.
//!
//! The plant is a cart of 1 kg. Each command pushes it for a millisecond. The controller brings it to a standstill at 0.
//!
//! `cargo run -p tautline --example control_loop`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::time::Duration;

use tautline::{Config, Cycle, Handler, MessageType, Metadata, UdpInterface, create_udp_server};

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
    let mut state: State = [0.0, 0.0];
    let mut cycle = Cycle::every(PERIOD)?;
    for _ in 0..600 {
        // A transient error, such as a full socket buffer, costs one command. The loop goes on.
        match controller.send(&force, &Metadata::command()) {
            Err(error) if error.is_transient() => eprintln!("one command was not sent: {error}"),
            sent => drop(sent?),
        }
        // Waits for datagrams and for the next cycle. The closure sees each message where it is in the datagram, and only the
        // decoded state is copied.
        driver.turn_until(&mut cycle, &mut |message| {
            if message.message_type() == MessageType::Status && !message.is_late() {
                state = message.decode().unwrap_or(state);
            }
        });
        force = -400.0 * state[0] - 40.0 * state[1];
    }
    let statistics = controller.statistics();
    assert!(state[0].abs() < 0.1, "the cart is still at {} m", state[0]);
    println!("after 600 cycles: {:+.4} m, {:+.4} m/s; {} states lost", state[0], state[1], statistics.lost);
    println!("{} cycles were late, {} missed", cycle.stats().late, cycle.stats().missed);
    Ok(())
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
