//! Connected clients that send only signs of life, as often as tautline sends heartbeats. They show what the kernel alone costs.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use method::{Count, Outcome, Throughput};

use crate::{Socket, is_timeout};

/// How often both ends do what is due. Each time a fifth of the clients has its turn, so each client gets and sends
/// ten signs of life a second.
const TURN_EVERY: Duration = Duration::from_millis(20);
const TURNS: usize = 5;

/// A message has another length.
const SIGN_OF_LIFE: [u8; 40] = [0; 40];

pub(crate) fn clients(mode: &str) -> Option<usize> {
    mode.strip_prefix("idle-")?.parse().ok()
}

/// Sends signs of life to every client that was heard, and counts messages.
pub(crate) fn sink(udp: &UdpSocket, buffer: &mut [u8], received: &'static Count) -> Outcome<Infallible> {
    udp.set_read_timeout(Some(TURN_EVERY))?;
    let (mut known, mut clients) = (HashSet::new(), Vec::new());
    let (mut due, mut turn) = (Instant::now(), 0);
    loop {
        match udp.recv_from(buffer) {
            Ok((len, from)) => {
                if len != SIGN_OF_LIFE.len() {
                    received.add(1);
                }
                if known.insert(from) {
                    clients.push(from);
                }
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= due {
            for client in clients.iter().skip(turn).step_by(TURNS) {
                udp.send_to(&SIGN_OF_LIFE, client)?;
            }
            (due, turn) = (due + TURN_EVERY, (turn + 1) % TURNS);
        }
    }
}

/// Sends one message at the beginning and one at the end: between them, the server measures its CPU time. Sends signs of life
/// meanwhile.
pub(crate) fn stay_idle(clients: &[Socket], run: &mut Throughput) -> Outcome<()> {
    for client in clients {
        client.udp.set_nonblocking(true)?;
        client.udp.send(&SIGN_OF_LIFE)?;
    }
    run.more();
    clients[0].udp.send(run.message())?;
    let mut turn = 0;
    while run.rest(TURN_EVERY) {
        for (index, client) in clients.iter().enumerate() {
            while client.udp.recv(&mut [0; SIGN_OF_LIFE.len()]).is_ok() {}
            if index % TURNS == turn {
                client.udp.send(&SIGN_OF_LIFE)?;
            }
        }
        turn = (turn + 1) % TURNS;
    }
    run.more();
    clients[0].udp.send(run.message())?;
    Ok(())
}
