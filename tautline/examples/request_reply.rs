//! Questions and answers: each answer carries the id of its question, so that several may be under way.
//!
//! `cargo run -p tautline --example request_reply`
#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use tautline::{Config, Handler, Id, MessageType, Metadata, create_udp_client, create_udp_server};

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let plant = create_udp_server(Config::server("127.0.0.1:0").name("plant"))?;
    plant.register_message_handler(
        MessageType::Configuration,
        // Looking something up may take long: on a worker, so that nothing else waits for it.
        Handler::blocking(|question, reply| {
            let value = match question.decode::<String>().as_deref() {
                Ok("mass") => Some(1.2),
                Ok("length") => Some(0.3),
                _ => None,
            };
            // The controller may be gone by now; then there is nobody to tell.
            let _ = reply.send(&value, &Metadata::configuration());
        }),
    );
    plant.connect()?;
    let address = plant.local_address().ok_or("it is connected")?;

    let controller = create_udp_client(Config::client(address).name("controller"))?;
    controller.connect()?;
    let mut asked = HashMap::new();
    for (number, name) in (1..).zip(["mass", "length", "colour"]) {
        controller.send(name, &Metadata::configuration().message_id(number))?;
        asked.insert(Id::Number(number), name);
    }
    while !asked.is_empty() {
        let answer = controller.receive(Some(Duration::from_secs(1)))?;
        let Some(name) = answer.correlation_id().and_then(|id| asked.remove(&id.into_owned())) else {
            continue; // an answer to nothing that we asked
        };
        println!("{name}: {:?}", answer.decode::<Option<f64>>()?);
    }
    Ok(())
}
