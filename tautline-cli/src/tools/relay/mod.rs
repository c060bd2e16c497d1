//! The relay: clients in front, the target behind, a path each way between them. One thread turns it.

mod client;
pub(crate) mod totals;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tautline::{Endpoint, Instant};

use self::client::{Client, READ_AT_ONCE};
use self::totals::Totals;
use crate::tools::exit::{Exit, Failure};
use crate::tools::impair::BothDirections;

/// Clients known at once; one more takes the place of the one that is silent longest.
pub(crate) const MOST_CLIENTS: usize = 256;

/// A client silent for so long is forgotten...
const IDLE: Duration = Duration::from_secs(60);
/// ...and for so long when another one needs the room. Until then the newcomer's datagrams are refused.
const IDLE_WHEN_FULL: Duration = Duration::from_secs(2);

/// What the kernel is asked to keep for us while we are busy, in bytes.
const KERNEL_BUFFER: usize = 4 << 20;

/// No datagram is longer.
const LONGEST: usize = 65_536;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Relay {
    front: UdpSocket,
    target: SocketAddr,
    ways: BothDirections,
    seed: u64,
    clients: HashMap<SocketAddr, Client>,
    /// Clients so far.
    serial: u64,
    /// What became of the datagrams of clients that were forgotten, and of those refused.
    gone: Totals,
    started: std::time::Instant,
    buffer: Vec<u8>,
}

impl Relay {
    /// Listens at `listen` for the clients of `target`.
    pub(crate) fn open(
        listen: &Endpoint,
        target: &Endpoint,
        ways: BothDirections,
        seed: u64,
    ) -> Result<Self, Failure> {
        let (front, target) = (bind(listen)?, resolve(target)?);
        let ours = front.local_addr().map_err(|error| cannot_listen(listen, &error))?;
        if ours == target {
            let sentence = format!("LISTEN and TARGET are both {target}: datagrams would go round for ever");
            return Err(Failure::usage(sentence));
        }
        Ok(Self {
            front,
            target,
            ways,
            seed,
            clients: HashMap::new(),
            serial: 0,
            gone: Totals::default(),
            started: std::time::Instant::now(),
            buffer: vec![0; LONGEST],
        })
    }

    /// Where the clients send.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.front.local_addr().ok()
    }

    pub(crate) fn target(&self) -> SocketAddr {
        self.target
    }

    /// Clients known now, and so far.
    pub(crate) fn clients(&self) -> (usize, u64) {
        (self.clients.len(), self.serial)
    }

    /// What happens to datagrams now.
    pub(crate) fn ways(&self) -> &BothDirections {
        &self.ways
    }

    /// Changes that from now on; datagrams on their way are not touched.
    pub(crate) fn impair(&mut self, ways: BothDirections) {
        self.ways = ways;
        self.clients.values_mut().for_each(|client| client.impair(&ways));
    }

    /// What became of all datagrams so far.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.gone;
        self.clients.values().for_each(|client| totals.merge(&client.totals()));
        totals
    }

    /// Sends on what is due, waits for more for at most `longest`, and takes it in.
    pub(crate) fn turn(&mut self, longest: Duration) -> Result<(), Failure> {
        self.deliver();
        let ready = self
            .wait(longest)
            .map_err(|error| Failure::failed(format!("cannot wait for datagrams: {error}")))?;
        let now = self.now();
        for (client, is_ready) in self.clients.values_mut().zip(&ready[1..]) {
            if *is_ready {
                client.read(now, &mut self.buffer);
            }
        }
        if ready[0] {
            self.read_front(now);
        }
        self.deliver();
        self.forget_idle(now);
        Ok(())
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn deliver(&mut self) {
        let now = self.now();
        self.clients.values_mut().for_each(|client| client.deliver(now, &self.front));
    }

    /// Which sockets have something to read: the front, then the clients' in the table's order.
    fn wait(&self, longest: Duration) -> io::Result<Vec<bool>> {
        let due = self.clients.values().filter_map(Client::next_timeout).min();
        let wait = due.map_or(longest, |due| due.since(self.now()).min(longest));
        let timeout =
            Timespec { tv_sec: wait.as_secs().try_into().unwrap_or(0), tv_nsec: wait.subsec_nanos().into() };
        let sockets = std::iter::once(&self.front).chain(self.clients.values().map(Client::upstream));
        let mut polled: Vec<PollFd<'_>> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect())
    }

    fn read_front(&mut self, now: Instant) {
        for _ in 0..READ_AT_ONCE {
            match self.front.recv_from(&mut self.buffer) {
                Ok((len, from)) => self.take(now, len, from),
                // Errors of single datagrams that were sent from here: they were counted then.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Takes in what a client has sent, perhaps a new one.
    fn take(&mut self, now: Instant, len: usize, from: SocketAddr) {
        if !self.clients.contains_key(&from) && !self.admit(now, from) {
            self.gone.to_target.refused += 1;
            return;
        }
        let client = self.clients.get_mut(&from).expect("known or just admitted");
        client.offer(now, &self.buffer[..len]);
    }

    fn admit(&mut self, now: Instant, from: SocketAddr) -> bool {
        if self.clients.len() >= MOST_CLIENTS {
            let idlest = self.clients.iter().min_by_key(|(_, client)| client.last_seen);
            let idlest = idlest.map(|(address, client)| (*address, is_idle(client, now, IDLE_WHEN_FULL)));
            match idlest {
                Some((address, true)) => self.forget(address),
                _ => return false,
            }
        }
        let Ok(client) = Client::open(from, self.target, &self.ways, self.seed, self.serial, now) else {
            return false;
        };
        self.serial += 1;
        self.clients.insert(from, client);
        true
    }

    fn forget_idle(&mut self, now: Instant) {
        let idle = self.clients.iter().filter(|(_, client)| is_idle(client, now, IDLE));
        let idle: Vec<SocketAddr> = idle.map(|(address, _)| *address).collect();
        idle.into_iter().for_each(|address| self.forget(address));
    }

    fn forget(&mut self, address: SocketAddr) {
        if let Some(client) = self.clients.remove(&address) {
            self.gone.merge(&client.totals());
        }
    }
}

/// Whether nothing was heard for so long, and nothing is on its way.
fn is_idle(client: &Client, now: Instant, after: Duration) -> bool {
    now.since(client.last_seen) > after && client.next_timeout().is_none()
}

fn resolve(endpoint: &Endpoint) -> Result<SocketAddr, Failure> {
    let port = endpoint.port();
    if port == 0 {
        return Err(Failure::usage(format!("{endpoint}: a target needs the port that it listens at, not 0")));
    }
    addresses(endpoint).map(|addresses| addresses[0])
}

/// The addresses of an endpoint, at least one.
fn addresses(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, Failure> {
    let found = (endpoint.host(), endpoint.port()).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| {
        let sentence = format!("{} has no address: check the name", endpoint.host());
        Failure::new(Exit::NoConnection, sentence)
    })
}

fn bind(endpoint: &Endpoint) -> Result<UdpSocket, Failure> {
    let bound = UdpSocket::bind(&addresses(endpoint)?[..]);
    let socket = bound.map_err(|error| cannot_listen(endpoint, &error))?;
    socket.set_nonblocking(true).map_err(|error| cannot_listen(endpoint, &error))?;
    // As much as the system grants: a smaller one serves, too.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, KERNEL_BUFFER);
    Ok(socket)
}

fn cannot_listen(endpoint: &Endpoint, error: &io::Error) -> Failure {
    let sentence = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{endpoint} is in use: choose another port, or 0 for any free one")
        }
        io::ErrorKind::AddrNotAvailable => format!("{} is not an address of this host", endpoint.host()),
        _ => format!("cannot listen at {endpoint}: {error}"),
    };
    Failure::new(Exit::NoConnection, sentence)
}
