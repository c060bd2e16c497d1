//! The ways to send many messages.

use std::time::{Duration, Instant};

use method::{ANSWER_TIMEOUT, Count, Outcome, Throughput};
use tautline::{Handler, MessageRef, Metadata, Payload, Raw, Reply, SendError, UdpInterface};

use crate::Client;
use crate::modes::Mode;

/// Sends messages as fast as the library takes them.
pub(crate) fn flood(interface: &UdpInterface, payload: &Payload, run: &mut Throughput) -> Outcome<()> {
    while run.more() {
        send(interface, payload, run)?;
    }
    Ok(())
}

/// Sends messages as fast as the library takes them, `count` per call.
pub(crate) fn batches(
    interface: &UdpInterface,
    count: usize,
    payload: &Payload,
    run: &mut Throughput,
) -> Outcome<()> {
    let payloads = vec![payload.clone(); count];
    let commands = interface.publisher(Metadata::command());
    while run.more_of(count as u64) {
        commands.send_batch(&payloads)?;
    }
    Ok(())
}

fn send(interface: &UdpInterface, payload: &Payload, run: &mut Throughput) -> Outcome<()> {
    match interface.send(payload, &Metadata::command()) {
        Ok(_) => {}
        Err(SendError::Busy) => run.refused(),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Returns the server's handler for [`windowed`]. It counts messages and reports the count four times per window, so
/// that the sender need not stop.
pub(crate) fn counting_aloud(received: &'static Count, window: u64) -> Handler {
    let every = window / 4;
    let mut next = every;
    Handler::inline(move |_: &MessageRef<'_>, reply: &Reply| {
        received.add(1);
        let count = received.value();
        if count >= next {
            next = count + every;
            // If a report cannot be sent, the next report replaces it.
            let _ = reply.send(Raw(&count.to_le_bytes()), &Metadata::status());
        }
    })
}

/// Sends messages as fast as possible with at most `window` messages in flight, `count` per call.
pub(crate) fn windowed(
    client: &mut Client,
    window: u64,
    count: usize,
    payload: &Payload,
    run: &mut Throughput,
) -> Outcome<()> {
    let payloads = vec![payload.clone(); count];
    let count = count as u64;
    let (mut sent, mut arrived) = (0, 0);
    while run.more_of(count) {
        let give_up_at = Instant::now() + ANSWER_TIMEOUT;
        while sent + count - arrived > window {
            if Instant::now() >= give_up_at {
                return Err(format!("only {arrived} of {sent} messages have arrived").into());
            }
            arrived = arrived.max(client.reported_count(give_up_at));
        }
        // A refused message is an error here: the window is smaller than any queue, so the library must take it.
        match &payloads[..] {
            [payload] => client.interface.send(payload, &Metadata::command()),
            payloads => client.interface.publisher(Metadata::command()).send_batch(payloads),
        }?;
        sent += count;
    }
    Ok(())
}

impl Client {
    /// Waits for the next messages. Returns the highest count that the server reports in them.
    fn reported_count(&mut self, until: Instant) -> u64 {
        let left = until.saturating_duration_since(Instant::now());
        let mut reported = 0;
        if let Some(driver) = &mut self.driver {
            driver.turn_with(Some(left), &mut |message| {
                let count = message.payload().try_into().map_or(0, u64::from_le_bytes);
                reported = count.max(reported);
            });
        }
        reported
    }
}

/// Sends from `count` clients of this process in turn. Each client turns its driver after it has sent.
pub(crate) fn in_turn(mode: Mode, to: &str, count: usize, run: &mut Throughput) -> Outcome<()> {
    let clients: Outcome<Vec<Client>> = (0..count).map(|_| Client::connect(mode, to)).collect();
    let mut clients = clients?;
    let payload = mode.payload(run.message())?;
    let mut next = 0;
    while run.more() {
        let client = &mut clients[next];
        next = (next + 1) % count;
        send(&client.interface, &payload, run)?;
        client.turn(Duration::ZERO);
    }
    Ok(())
}

/// Sends every message from a new client, which connects and closes.
pub(crate) fn connecting(mode: Mode, to: &str, run: &mut Throughput) -> Outcome<()> {
    let payload = mode.payload(run.message())?;
    while run.more() {
        let mut client = Client::connect(mode, to)?;
        send(&client.interface, &payload, run)?;
        client.turn(Duration::ZERO);
    }
    Ok(())
}
