//! How many reliable messages a second one thread sends, at no loss and at some. Both ends are in this process, each with a
//! driver's thread, over loopback:
//!
//! ```text
//! cargo run --release -p tautline --features sim --example reliable_rate -- 5
//! ```
//!
//! The number is the seconds of each line. The server loses what comes in (`Config::impair`). Each message arrives once.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tautline::sim::Impairments;
use tautline::{
    Config, Handler, MessageType, Metadata, Payload, SendError, create_udp_client, create_udp_server,
};

/// The size of a message, in bytes.
const SIZE: usize = 64;

/// The loss on the way to the server; acknowledgements are not lost.
const LOSSES: [&str; 3] = ["0%", "1%", "10%"];

/// The longest wait for room, and for the last message.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// What one line of the table says.
#[derive(Debug)]
pub(crate) struct Rate {
    pub(crate) sent: u64,
    pub(crate) handled: u64,
    pub(crate) seconds: f64,
    pub(crate) datagrams: u64,
}

/// Runs the example with the program's argument.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(2.0), |text| text.parse())?;
    println!("| loss | messages a second | messages a datagram | sent | handled |\n|---|---|---|---|---|");
    for loss in LOSSES {
        let Rate { sent, handled, seconds, datagrams } = measure(loss, Duration::from_secs_f64(seconds))?;
        let (rate, packed) = (handled as f64 / seconds, sent as f64 / datagrams as f64);
        println!("| {loss} | {rate:.0} | {packed:.1} | {sent} | {handled} |");
    }
    Ok(())
}

/// Sends for this time, and waits until everything is handled.
pub(crate) fn measure(loss: &str, length: Duration) -> Result<Rate, Box<dyn Error>> {
    let network = Impairments { loss: loss.parse()?, ..Impairments::default() };
    let mut config = Config::server("127.0.0.1:0").inbox_capacity(0);
    if loss != LOSSES[0] {
        config = config.impair(network, 1);
    }
    let server = create_udp_server(config)?;
    let handled = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&handled);
    let count = move |_: &tautline::MessageRef<'_>, _: &tautline::Reply| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    server.register_message_handler(MessageType::Data, Handler::inline(count));
    server.connect()?;
    let address = server.local_address().ok_or("the server is not connected")?;
    let client = create_udp_client(Config::client(address))?;
    client.connect()?;
    let (messages, payload) = (client.publisher(Metadata::data()), Payload::raw([7; SIZE]));
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < length {
        match messages.send_reliable(&payload) {
            Ok(_) => sent += 1,
            Err(SendError::WindowFull { .. }) if messages.wait_for_room(Some(TIME_LIMIT)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // A message is acknowledged before it is handled.
    while handled.load(Ordering::Relaxed) < sent && began.elapsed() < length + TIME_LIMIT {
        std::thread::sleep(Duration::from_millis(1));
    }
    let seconds = began.elapsed().as_secs_f64();
    let datagrams = client.statistics().datagrams_sent;
    Ok(Rate { sent, handled: handled.load(Ordering::Relaxed), seconds, datagrams })
}
