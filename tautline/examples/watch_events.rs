//! Events: a thread prints what happens to the links of a server.
//!
//! `cargo run -p tautline --example watch_events`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::thread;
use std::time::Duration;

use tautline::{Config, ConnectionState, Event, create_udp_client, create_udp_server};

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let plant = create_udp_server(Config::server("127.0.0.1:0").name("plant"))?;
    let mut events = plant.events();
    let printer = thread::spawn(move || {
        let mut peers = 0;
        // The loop ends when the interface is cleaned up, because no more events can come.
        while let Some(event) = events.next(None) {
            match event {
                Event::PeerConnected { peer, address, name, .. } => {
                    peers += 1;
                    println!("{name} ({peer}) connected from {address}");
                }
                Event::PeerDisconnected { peer, reason } => println!("{peer} left: {}", reason.name()),
                Event::StateChanged { to, .. } => println!("the plant is {to}"),
                other => println!("{other:?}"),
            }
        }
        peers
    });

    plant.connect()?;
    let address = plant.local_address().ok_or("the server is not connected")?;
    for name in ["controller", "logger"] {
        let client = create_udp_client(Config::client(address).name(name))?;
        client.connect()?;
    }
    assert_eq!(plant.connection_state(), ConnectionState::Connected);
    while plant.statistics().peers > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    plant.cleanup();
    let peers = printer.join().map_err(|_| "the printer panicked")?;
    assert_eq!(peers, 2);
    Ok(())
}
