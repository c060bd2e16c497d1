//! The three kinds of handlers: inline, blocking and async.
//!
//! `cargo run -p tautline --example handlers`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Duration;

use tautline::{Config, Handler, MessageType, Metadata, create_udp_client, create_udp_server};

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let plant = create_udp_server(Config::server("127.0.0.1:0").name("plant"))?;

    // An inline handler runs on the driver and gets the message where it is in the datagram. This is the fastest way. Use it
    // for code that does not block and takes little time.
    let mut commands = 0u32;
    plant.register_message_handler(
        MessageType::Command,
        Handler::inline(move |_command, reply| {
            commands += 1;
            let _ = reply.send(&commands, &Metadata::status());
        }),
    );

    // A blocking handler runs on worker threads of its own. It may be slow without delaying others.
    plant.register_message_handler(
        MessageType::Configuration,
        Handler::blocking(|_message, reply| {
            std::thread::sleep(Duration::from_millis(5));
            let _ = reply.send("stored", &Metadata::acknowledgment());
        })
        .time_limit(Duration::from_secs(1)),
    );

    // An async handler runs on worker threads too. `Handler::spawned` runs it on your executor instead.
    plant.register_message_handler(
        MessageType::Data,
        Handler::asynchronous(async |message, reply| {
            let _ = reply.send(&message.payload().len(), &Metadata::status());
        })
        .concurrency(2)
        .backlog(100),
    );
    plant.connect()?;
    let address = plant.local_address().ok_or("the server is not connected")?;

    let controller = create_udp_client(Config::client(address).name("controller"))?;
    controller.connect()?;
    for metadata in [Metadata::command(), Metadata::configuration(), Metadata::data()] {
        controller.send(&[1.0, 2.0, 3.0], &metadata)?;
        let answer = controller.receive(Some(Duration::from_secs(1)))?;
        println!("{} -> {}", metadata.message_type, String::from_utf8_lossy(answer.payload()));
    }
    // A handler can be replaced or unregistered at any time.
    assert!(plant.unregister_message_handler(MessageType::Data));
    Ok(())
}
