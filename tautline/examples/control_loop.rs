//! A controller whose own loop is the driver: no other thread, and known what runs when.
//!
//! The plant is a cart of 1 kg that every command pushes for a millisecond; the controller brings it to a
//! standstill at 0.
//!
//! `cargo run -p tautline --example control_loop`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::time::{Duration, Instant};

use tautline::{Config, Driver, Handler, MessageType, Metadata, UdpInterface, create_udp_server};

/// A step of the loop: 1 kHz.
const PERIOD: Duration = Duration::from_millis(1);

/// Position in m and speed in m/s.
type State = [f64; 2];

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let plant = start_plant()?;
    let address = plant.local_address().ok_or("it is connected")?;

    let config = Config::client(address).name("controller");
    let (controller, mut driver) = UdpInterface::caller_driven(config)?;
    driver.connect()?;
    // The first command, of no force, makes the plant tell where it stands.
    let mut force = 0.0;
    let mut state = [0.0, 0.0];
    let mut next_step = Instant::now();
    for _ in 0..600 {
        // A full socket buffer, say, costs this cycle's command, and not the loop.
        match controller.send(&force, &Metadata::command()) {
            Err(error) if error.is_transient() => eprintln!("this cycle's command was not sent: {error}"),
            sent => drop(sent?),
        }
        next_step += PERIOD;
        if let Some(newest) = newest_state(&mut driver, next_step) {
            state = newest;
        }
        force = -400.0 * state[0] - 40.0 * state[1];
    }
    let statistics = controller.statistics();
    assert!(state[0].abs() < 0.1, "it still stands at {} m", state[0]);
    println!("after 0.6 s: {:+.4} m, {:+.4} m/s; {} states lost", state[0], state[1], statistics.lost);
    Ok(())
}

/// Does the interface's work until it is time for the next step; the state that came last.
fn newest_state(driver: &mut Driver, until: Instant) -> Option<State> {
    let mut newest = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Messages are seen as they stand in the datagram; nothing is copied but what is kept.
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

/// A plant with a driver of its own, which answers every command with its state.
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
