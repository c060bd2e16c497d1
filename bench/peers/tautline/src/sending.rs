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

pub(crate) fn send(interface: &UdpInterface, payload: &Payload, run: &mut Throughput) -> Outcome<()> {
    match interface.send(payload, &Metadata::command()) {
        Ok(_) => {}
        Err(SendError::Busy) => run.refused(),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Returns the server's handler for [`windowed`] and [`sized`]. It counts messages and reports the count four times per window, so
/// that the sender need not stop. Without a `window` it depends on the size of the messages.
pub(crate) fn counting_aloud(received: &'static Count, window: Option<u64>) -> Handler {
    let mut next = 0;
    Handler::inline(move |message: &MessageRef<'_>, reply: &Reply| {
        received.add(1);
        let count = received.value();
        if count >= next {
            let window = window.unwrap_or_else(|| method::window(message.payload().len()));
            next = count + window / 4;
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

/// Sends messages as fast as the library takes them, with at most [`method::window`] of them in flight. Waits for the server's
/// reports in `receive`.
pub(crate) fn sized(interface: &UdpInterface, payload: &Payload, run: &mut Throughput) -> Outcome<()> {
    let most = method::window(run.message().len());
    let (mut sent, mut arrived) = (0, 0);
    while run.more() {
        while sent - arrived >= most {
            let report = interface
                .receive(Some(ANSWER_TIMEOUT))
                .map_err(|error| format!("only {arrived} of {sent} messages have arrived: {error}"))?;
            arrived = report.payload().try_into().map_or(0, u64::from_le_bytes).max(arrived);
        }
        // A refused message is an error here: the window is smaller than any queue, so the library must take it.
        interface.send(payload, &Metadata::command())?;
        sent += 1;
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
