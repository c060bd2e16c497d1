//! An async client with requests and time-outs. A server answers them on a worker thread.
//!
//! Any executor works. This example uses tokio.
//!
//! `cargo run -p tautline --example request_reply`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Duration;

use tautline::{
    Config, Handler, MessageType, Metadata, RequestError, UdpInterface, create_udp_client, create_udp_server,
};

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let plant = start_plant()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(ask(&plant))
}

async fn ask(plant: &UdpInterface) -> Result<(), Box<dyn Error>> {
    let address = plant.local_address().ok_or("the server is not connected")?;
    let controller = create_udp_client(Config::client(address).name("controller"))?;
    controller.connect_async().await?;
    let questions = controller.publisher(Metadata::configuration());

    // Two requests in flight at once. Each answer goes to its request.
    let mass = questions.request("mass", Some(Duration::from_secs(1)))?;
    let length = questions.request("length", Some(Duration::from_secs(1)))?;
    println!("mass {:?} kg", mass.await?.decode::<Option<f64>>()?);
    println!("length {:?} m", length.await?.decode::<Option<f64>>()?);

    // Nothing answers messages of this type, so the request ends when its time is over.
    let unanswered =
        controller.publisher(Metadata::data()).request("hello?", Some(Duration::from_millis(50)))?;
    match unanswered.await {
        Err(RequestError::TimedOut) => println!("no answer in 50 ms"),
        answer => println!("unexpected: {answer:?}"),
    }
    Ok(())
}

/// Starts a plant that knows its parameters.
fn start_plant() -> Result<UdpInterface, Box<dyn Error>> {
    let plant = create_udp_server(Config::server("127.0.0.1:0").name("plant"))?;
    plant.register_message_handler(
        MessageType::Configuration,
        // A lookup may take long, so it runs on a worker: nothing else waits for it.
        Handler::blocking(|question, reply| {
            let value = match question.decode::<String>().as_deref() {
                Ok("mass") => Some(1.2),
                Ok("length") => Some(0.3),
                _ => None,
            };
            // The controller may have gone. Then there is no peer to answer.
            let _ = reply.send(&value, &Metadata::configuration());
        }),
    );
    plant.connect()?;
    Ok(plant)
}
