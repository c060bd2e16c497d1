//! The relay: carries datagrams between clients and a target, through one simulated path per client and direction.
//!
//! `proxy` and `demo --impair` use it. One thread calls [`Relay::turn`] in a loop. The paths are those of
//! `tautline::sim`.

mod client;
mod tap;
mod tapped_relay;
pub(crate) mod totals;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tautline::{Endpoint, Instant, ServerSocket, SocketsWaiter};

use self::client::{Client, READ_AT_ONCE};
use self::tap::Tap;
pub(crate) use self::tapped_relay::TappedRelay;
use self::totals::Totals;
use crate::tools::exit::{Exit, Failure};
use crate::tools::impair::BothDirections;

/// The number of clients at the same time. A further client replaces the client that has been silent longest.
pub(crate) const MOST_CLIENTS: usize = 256;

/// The relay forgets a client that has been silent for this time.
const IDLE: Duration = Duration::from_secs(60);
/// When the table is full, the relay forgets the client that has been silent longest if it was silent for this time.
/// Until then it refuses datagrams of new clients.
const IDLE_WHEN_FULL: Duration = Duration::from_secs(2);

/// The requested size of the kernel's receive buffer, in bytes.
const KERNEL_BUFFER: usize = 4 << 20;

/// The size of the buffer for one datagram, in bytes. No datagram is longer.
const LONGEST: usize = 65_536;

/// A relay with its sockets, its clients and its counts.
#[derive(Debug)]
pub(crate) struct Relay {
    front: ServerSocket,
    waiter: SocketsWaiter,
    target: SocketAddr,
    impairments: BothDirections,
    seed: u64,
    clients: HashMap<SocketAddr, Client>,
    /// The number of clients so far.
    serial: u64,
    /// The totals of forgotten clients, and the refused datagrams.
    gone: Totals,
    started: std::time::Instant,
    buffer: Vec<u8>,
    /// Who looks on.
    tap: Option<Tap>,
}

impl Relay {
    /// Opens a relay that listens at `listen` for clients of `target`.
    pub(crate) fn open(
        listen: &Endpoint,
        target: &Endpoint,
        impairments: BothDirections,
        seed: u64,
    ) -> Result<Self, Failure> {
        let (front, target) = (bind(listen)?, resolve(target)?);
        let ours = front.udp().local_addr().map_err(|error| cannot_listen(listen, &error))?;
        if ours == target {
            let sentence = format!("LISTEN and TARGET are both {target}: use two different addresses");
            return Err(Failure::usage(sentence));
        }
        Ok(Self {
            front,
            waiter: SocketsWaiter::new().map_err(cannot_wait)?,
            target,
            impairments,
            seed,
            clients: HashMap::new(),
            serial: 0,
            gone: Totals::default(),
            started: std::time::Instant::now(),
            buffer: vec![0; LONGEST],
            tap: None,
        })
    }

    /// Gives a copy of every datagram to `tap`, as it arrives.
    fn tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// Returns the address that clients send to.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.front.udp().local_addr().ok()
    }

    pub(crate) fn target(&self) -> SocketAddr {
        self.target
    }

    /// Returns the number of clients now and in total.
    pub(crate) fn clients(&self) -> (usize, u64) {
        (self.clients.len(), self.serial)
    }

    /// Returns the impairments in use.
    pub(crate) fn impairments(&self) -> &BothDirections {
        &self.impairments
    }

    /// Changes the impairments of later datagrams. Datagrams in flight are not affected.
    pub(crate) fn impair(&mut self, impairments: BothDirections) {
        self.impairments = impairments;
        self.clients.values_mut().for_each(|client| client.impair(&impairments));
    }

    /// Returns the totals of all datagrams so far.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.gone;
        self.clients.values().for_each(|client| totals.merge(&client.totals()));
        totals
    }

    /// Sends the datagrams that are due, waits up to `longest` for new datagrams, and takes them in.
    pub(crate) fn turn(&mut self, longest: Duration) -> Result<(), Failure> {
        self.deliver();
        let ready = self.wait(longest).map_err(cannot_wait)?;
        let now = self.now();
        for (client, is_ready) in self.clients.values_mut().zip(&ready[1..]) {
            if *is_ready {
                client.read(now, &mut self.buffer, self.tap.as_mut().map(|tap| (tap, self.target)));
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

    /// Waits, and returns for each socket whether it is readable: first the front socket, then the clients' sockets in
    /// the order of the table.
    fn wait(&self, longest: Duration) -> io::Result<Vec<bool>> {
        let due = self.clients.values().filter_map(Client::next_timeout).min();
        let wait = due.map_or(longest, |due| due.since(self.now()).min(longest));
        let clients = self.clients.values().map(Client::upstream);
        self.waiter.wait(std::iter::once(self.front.udp()).chain(clients), wait)
    }

    fn read_front(&mut self, now: Instant) {
        for _ in 0..READ_AT_ONCE {
            match self.front.receive(&mut self.buffer) {
                Ok((len, from)) => self.take(now, len, from),
                // The kernel reports an error of an earlier datagram, which was counted when it was sent.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Takes in a datagram from a client. The client may be new.
    fn take(&mut self, now: Instant, len: usize, from: SocketAddr) {
        if !self.clients.contains_key(&from) && !self.admit(now, from) {
            self.gone.to_target.refused += 1;
            return;
        }
        if let Some(tap) = &mut self.tap {
            tap.take(true, from, self.target, &self.buffer[..len]);
        }
        let client = self.clients.get_mut(&from).expect("known or just admitted");
        client.offer(now, &self.buffer[..len]);
        self.front.know(from);
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
        let Ok(client) = Client::open(from, self.target, &self.impairments, self.seed, self.serial, now)
        else {
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
            self.front.forget(address);
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` wants it
fn cannot_wait(error: io::Error) -> Failure {
    Failure::failed(format!("cannot wait for datagrams: {error}"))
}

/// Whether the client has been silent for longer than `after` and has no datagram in flight.
fn is_idle(client: &Client, now: Instant, after: Duration) -> bool {
    now.since(client.last_seen) > after && client.next_timeout().is_none()
}

fn resolve(endpoint: &Endpoint) -> Result<SocketAddr, Failure> {
    let port = endpoint.port();
    if port == 0 {
        return Err(Failure::usage(format!(
            "{endpoint}: port 0 is not possible for a target: name its real port"
        )));
    }
    if endpoint.is_everywhere() {
        return Err(Failure::usage(format!(
            "{endpoint}: a target needs a host, such as 127.0.0.1{endpoint}"
        )));
    }
    addresses(endpoint).map(|addresses| addresses[0])
}

/// Returns the addresses of an endpoint. There is at least one.
fn addresses(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, Failure> {
    if endpoint.is_everywhere() {
        // The first takes IPv4 too. The second is for hosts without IPv6.
        let all = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        return Ok(all.map(|any: IpAddr| SocketAddr::new(any, endpoint.port())).into());
    }
    let found = (endpoint.host(), endpoint.port()).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| {
        let sentence = format!("{} has no address: check the name", endpoint.host());
        Failure::new(Exit::NoConnection, sentence)
    })
}

fn bind(endpoint: &Endpoint) -> Result<ServerSocket, Failure> {
    let mut bound = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in addresses(endpoint)? {
        bound = ServerSocket::bind(address);
        if bound.is_ok() {
            break;
        }
    }
    let socket = bound.map_err(|error| cannot_listen(endpoint, &error))?;
    // The kernel may grant less. The relay works with a smaller buffer too.
    socket.ask_for_receive_buffer(KERNEL_BUFFER);
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
