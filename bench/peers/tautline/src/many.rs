//! Many clients in one process, which takes care of all of them in turn.

use std::time::{Duration, Instant};

use method::{Outcome, Throughput};

use crate::Client;
use crate::modes::Mode;
use crate::sending::send;

/// How often each client does what is due while others connect: well below the time after which it counts as gone.
const TURN_MEANWHILE: Duration = Duration::from_millis(500);
/// How often it does this afterwards: well below the interval of heartbeats.
const TURN_EVERY: Duration = Duration::from_millis(20);

/// The open files of a client, its socket and what wakes it, and those of the process.
const FILES: u64 = 2;
const OTHER_FILES: u64 = 64;

/// Connects so many clients. Those that are connected already go on with their heartbeats meanwhile.
pub(crate) fn connect(mode: Mode, to: &str, count: usize) -> Outcome<Vec<Client>> {
    method::allow_open_files(FILES * count as u64 + OTHER_FILES);
    let mut clients = Vec::with_capacity(count);
    let mut turned = Instant::now();
    while clients.len() < count {
        clients.push(Client::connect(mode, to)?);
        if turned.elapsed() >= TURN_MEANWHILE {
            turn_all(&mut clients);
            turned = Instant::now();
        }
    }
    Ok(clients)
}

fn turn_all(clients: &mut [Client]) {
    clients.iter_mut().for_each(|client| client.turn(Duration::ZERO));
}

/// Sends from one client after the other. Each turns its driver after it has sent.
pub(crate) fn send_in_turn(mode: Mode, clients: &mut [Client], run: &mut Throughput) -> Outcome<()> {
    let payload = mode.payload(run.message())?;
    let count = clients.len();
    let mut next = 0;
    while run.more() {
        send(&clients[next].interface, &payload, run)?;
        clients[next].turn(Duration::ZERO);
        next = (next + 1) % count;
    }
    Ok(())
}

/// Sends one message at the beginning and one at the end, between which the server measures its CPU time. Meanwhile all clients
/// exchange heartbeats.
pub(crate) fn stay_idle(mode: Mode, clients: &mut [Client], run: &mut Throughput) -> Outcome<()> {
    let payload = mode.payload(run.message())?;
    run.more();
    send(&clients[0].interface, &payload, run)?;
    while run.rest(TURN_EVERY) {
        turn_all(clients);
    }
    run.more();
    send(&clients[0].interface, &payload, run)
}
