//! The ways of sending many messages.

use std::time::{Duration, Instant};

use method::{ANSWER_TIMEOUT, Count, Outcome, Throughput};
use tautline::{Handler, MessageRef, Metadata, Payload, Reply, SendError, UdpInterface};

use crate::Client;
use crate::modes::Mode;

/// As fast as the library takes them.
pub(crate) fn flood(interface: &UdpInterface, payload: &Payload, run: &mut Throughput) -> Outcome<()> {
    while run.more() {
        send(interface, payload, run)?;
    }
    Ok(())
}

/// As fast as the library takes them, `count` a call.
pub(crate) fn batches(
    interface: &UdpInterface,
    count: usize,
    payload: &Payload,
    run: &mut Throughput,
) -> Outcome<()> {
    let payloads = vec![payload.clone(); count];
    while run.more_of(count as u64) {
        interface.send_payload_batch(&payloads, &Metadata::command())?;
    }
    Ok(())
}

fn send(interface: &UdpInterface, payload: &Payload, run: &mut Throughput) -> Outcome<()> {
    match interface.send_payload(payload, &Metadata::command()) {
        Ok(_) => {}
        Err(SendError::Busy) => run.refused(),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The server of [`windowed`]: counts, and tells how many there were: four times in a window, so that the sender need not stop.
pub(crate) fn counting_aloud(received: &'static Count, window: u64) -> Handler {
    let every = window / 4;
    let mut next = every;
    Handler::inline(move |_: &MessageRef<'_>, reply: &Reply| {
        received.add(1);
        let count = received.value();
        if count >= next {
            next = count + every;
            // One that cannot be sent is made good by the next.
            let _ = reply.send_raw(&count.to_le_bytes(), &Metadata::status());
        }
    })
}

/// As fast as possible with at most `window` messages under way, `count` a call.
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
                return Err(format!("of {sent} messages only {arrived} have arrived").into());
            }
            arrived = arrived.max(client.told_count(give_up_at));
        }
        // A refused one would be lost, and is not to be: the window is smaller than any queue.
        match &payloads[..] {
            [payload] => client.interface.send_payload(payload, &Metadata::command()),
            payloads => client.interface.send_payload_batch(payloads, &Metadata::command()),
        }?;
        sent += count;
    }
    Ok(())
}

impl Client {
    /// Waits for what comes next. The highest count that the server has told in it.
    fn told_count(&mut self, until: Instant) -> u64 {
        let left = until.saturating_duration_since(Instant::now());
        let mut told = 0;
        if let Some(driver) = &mut self.driver {
            driver.turn_with(left, &mut |message, _| {
                told = message.payload.try_into().map_or(told, |count| told.max(u64::from_le_bytes(count)));
            });
        }
        told
    }
}

/// `count` clients in this process, who send in turn; each turns its driver when it has sent.
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
