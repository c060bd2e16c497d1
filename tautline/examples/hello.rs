//! A plant and a controller say hello over loopback.
//!
//! `cargo run -p tautline --example hello`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Duration;

use tautline::{Config, Metadata, create_udp_client, create_udp_server};

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    // Port 0 means any free port. A real plant has a fixed port.
    let plant = create_udp_server(Config::server("127.0.0.1:0").name("plant"))?;
    plant.connect()?;
    let address = plant.local_address().ok_or("the server is not connected")?;

    let controller = create_udp_client(Config::client(address).name("controller"))?;
    controller.connect()?;

    // You can send any value that serde can serialise.
    controller.send(&[0.5, -1.5], &Metadata::command())?;
    let command = plant.receive(Some(Duration::from_secs(1)))?;
    let forces: [f64; 2] = command.decode()?;
    println!("{} commands {forces:?}, {:?} ago", command.source(), command.age());

    plant.reply(&command, "done", &Metadata::acknowledgment())?;
    let answer: String = controller.receive(Some(Duration::from_secs(1)))?.decode()?;
    println!("the plant says: {answer}");
    Ok(())
}
