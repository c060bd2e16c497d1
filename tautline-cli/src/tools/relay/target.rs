//! Where the relay sends to. A name is looked up again while the target is silent, because it may mean another host by now.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use tautline::{Endpoint, Instant};

use super::places::addresses;

/// The shortest time between two look-ups, so that the name server is not asked too often.
const BETWEEN_LOOK_UPS: Duration = Duration::from_millis(500);

/// The target: its name or address, and the address that is used.
#[derive(Debug)]
pub(super) struct Target {
    endpoint: Endpoint,
    /// The addresses of the endpoint. Never empty.
    addresses: Vec<SocketAddr>,
    address: SocketAddr,
    /// A look-up on a thread of its own, because the system's function waits.
    look_up: Option<Receiver<Vec<SocketAddr>>>,
    looked_up: Option<Instant>,
}

impl Target {
    pub(super) fn new(endpoint: &Endpoint, addresses: Vec<SocketAddr>) -> Self {
        let address = addresses[0];
        Self { endpoint: endpoint.clone(), addresses, address, look_up: None, looked_up: None }
    }

    /// A target whose name has these addresses, and is not looked up.
    #[cfg(test)]
    pub(super) fn of_two(endpoint: &Endpoint, addresses: [SocketAddr; 2]) -> Self {
        let never = Instant::from_nanos(u64::MAX);
        Self { looked_up: Some(never), ..Self::new(endpoint, addresses.into()) }
    }

    /// The address that is used.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The target is silent: looks its name up again. Takes the answer at a later call, so that nothing waits.
    pub(super) fn look(&mut self, now: Instant) {
        match self.look_up.as_ref().map(Receiver::try_recv) {
            Some(Ok(found)) => self.take(found),
            // The name has no address now, so the addresses stay as they were.
            Some(Err(TryRecvError::Disconnected)) => self.look_up = None,
            Some(Err(TryRecvError::Empty)) => {}
            None if self.looked_up.is_some_and(|at| now.since(at) < BETWEEN_LOOK_UPS) => {}
            None => self.begin(now),
        }
    }

    fn begin(&mut self, now: Instant) {
        self.looked_up = Some(now);
        let (answer, answered) = channel();
        let endpoint = self.endpoint.clone();
        let ask = move || {
            if let Ok(found) = addresses(&endpoint) {
                // If the relay has ended, nobody takes the answer.
                let _ = answer.send(found);
            }
        };
        // Without a thread, a later call tries again.
        let begun = std::thread::Builder::new().name("names".to_owned()).spawn(ask);
        self.look_up = begun.is_ok().then_some(answered);
    }

    fn take(&mut self, found: Vec<SocketAddr>) {
        self.look_up = None;
        if !found.contains(&self.address) {
            self.address = found[0];
        }
        self.addresses = found;
    }

    /// This address seems to be dead: the next address of the name is used.
    pub(super) fn pass_over(&mut self, dead: SocketAddr) {
        let at = self.addresses.iter().position(|&address| address == dead);
        if let Some(at) = at.filter(|_| dead == self.address) {
            self.address = self.addresses[(at + 1) % self.addresses.len()];
        }
    }
}
