//! The relay: carries datagrams between clients and a target, through one simulated path per client and direction.
//!
//! `proxy` and `demo --impair` use it. One thread calls [`Relay::turn`] in a loop. The paths are those of
//! `tautline::sim`.

mod client;
mod places;
mod tap;
mod tapped_relay;
mod target;
pub(crate) mod totals;

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tautline::{Endpoint, Instant, Network, ServerSocket, SocketsWaiter};

#[cfg(test)]
use self::client::UNANSWERED;
use self::client::{Client, READ_AT_ONCE};
use self::tap::Tap;
pub(crate) use self::tapped_relay::TappedRelay;
use self::target::Target;
use self::totals::Totals;
use crate::tools::exit::Failure;
use crate::tools::impair::BothDirections;

/// The most clients at the same time. A further client replaces the longest-silent client of the host with the most clients.
const MOST_CLIENTS: usize = 256;

/// The relay forgets a client that has been silent for this time.
const IDLE: Duration = Duration::from_secs(60);
/// When the table is full, the relay forgets the longest-silent client of the host with the most clients, if that client was
/// silent for this time. Before that, the relay admits only new clients of hosts with fewer clients.
const IDLE_WHEN_FULL: Duration = Duration::from_secs(2);

/// The size of the buffer for one datagram, in bytes. No datagram is longer.
const LONGEST: usize = 65_536;

/// A relay with its sockets, its clients and its counts.
#[derive(Debug)]
pub(crate) struct Relay {
    front: ServerSocket,
    waiter: SocketsWaiter,
    target: Target,
    impairments: BothDirections,
    seed: u64,
    clients: HashMap<SocketAddr, Client>,
    /// How many clients each host has, and each network.
    hosts: HashMap<IpAddr, usize>,
    networks: HashMap<Network, usize>,
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
        let front = places::listen(listen)?;
        let target = Target::new(target, places::of_target(target)?);
        if front.udp().local_addr().is_ok_and(|ours| ours == target.address()) {
            let address = target.address();
            let sentence = format!("LISTEN and TARGET are both {address}: use two different addresses");
            return Err(Failure::usage(sentence));
        }
        Ok(Self {
            front,
            waiter: SocketsWaiter::new().map_err(cannot_wait)?,
            target,
            impairments,
            seed,
            clients: HashMap::new(),
            hosts: HashMap::new(),
            networks: HashMap::new(),
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

    /// Returns the address that datagrams are sent on to now.
    pub(crate) fn target(&self) -> SocketAddr {
        self.target.address()
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
                client.read(now, &mut self.buffer, self.tap.as_mut());
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
        let client = self.clients.get_mut(&from).expect("known or just admitted");
        if client.is_unheard(now) {
            if client.has_dead_target(now, &self.buffer[..len]) {
                self.target.pass_over(client.target());
            }
            self.target.look(now);
            client.follow(now, self.target.address());
        }
        if let Some(tap) = &mut self.tap {
            tap.take(true, from, client.target(), &self.buffer[..len]);
        }
        client.offer(now, &self.buffer[..len]);
        self.front.know(from);
    }

    fn admit(&mut self, now: Instant, from: SocketAddr) -> bool {
        if self.clients.len() >= MOST_CLIENTS {
            let Some(address) = self.gives_way(from.ip(), now) else { return false };
            self.forget(address);
        }
        let Ok(client) =
            Client::open(from, self.target.address(), &self.impairments, self.seed, self.serial, now)
        else {
            return false;
        };
        self.serial += 1;
        self.clients.insert(from, client);
        *self.hosts.entry(from.ip()).or_default() += 1;
        *self.networks.entry(Network::around(from.ip())).or_default() += 1;
        true
    }

    /// Returns the client that gives way to a new one of this host. A crowd of clients of one host keeps nobody else out, and
    /// neither does one of an IPv6 network that a host may have for itself.
    fn gives_way(&self, newcomer: IpAddr, now: Instant) -> Option<SocketAddr> {
        let most = self.hosts.keys().map(|&host| self.crowd_of(host)).max()?;
        let crowd = self.clients.iter().filter(|(address, _)| self.crowd_of(address.ip()) == most);
        let (address, client) = crowd.min_by_key(|(_, client)| client.last_seen)?;
        let (of_network, of_host) = self.crowd_of(newcomer);
        let is_neighbour = Network::around(newcomer).contains(address.ip());
        let own = (of_network + usize::from(!is_neighbour), of_host + 1);
        (own < most || is_idle(client, now, IDLE_WHEN_FULL)).then_some(*address)
    }

    /// Returns how many clients there are in the network of a host, and at the host.
    fn crowd_of(&self, host: IpAddr) -> (usize, usize) {
        let of_network = self.networks.get(&Network::around(host)).copied().unwrap_or(0);
        (of_network, self.hosts.get(&host).copied().unwrap_or(0))
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
            take_one(&mut self.hosts, address.ip());
            take_one(&mut self.networks, Network::around(address.ip()));
        }
    }
}

fn take_one<K: Copy + Eq + Hash>(counts: &mut HashMap<K, usize>, of: K) {
    if let Some(count) = counts.get_mut(&of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&of);
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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_target_that_does_not_answer_gives_way_to_the_next_address_of_its_name() {
        let socket = || UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let [silent, living, client] = [socket(), socket(), socket()];
        let address = |socket: &UdpSocket| socket.local_addr().expect("bound");
        let any: Endpoint = "127.0.0.1:0".parse().expect("an endpoint");
        let named: Endpoint = address(&silent).to_string().parse().expect("an endpoint");
        let mut relay = Relay::open(&any, &named, BothDirections::default(), 1).expect("a free port");
        relay.target = Target::of_two(&named, [address(&silent), address(&living)]);
        client.connect(relay.address().expect("it listens")).expect("loopback");
        living.set_nonblocking(true).expect("a socket");
        let begun = std::time::Instant::now();
        // Whatever a classic target does, it may hear. A native one answers.
        for (datagram, long) in
            [(&b"{\"data\": 1}"[..], UNANSWERED * 2), (b"\xe7\x54 a hello", UNANSWERED * 20)]
        {
            let until = begun.elapsed() + long;
            while begun.elapsed() < until && living.peek(&mut [0; 20]).is_err() {
                client.send(datagram).expect("loopback");
                relay.turn(Duration::from_millis(10)).expect("it goes on");
            }
            assert_eq!(living.peek(&mut [0; 20]).is_ok(), datagram.starts_with(b"\xe7"));
        }
    }
}
