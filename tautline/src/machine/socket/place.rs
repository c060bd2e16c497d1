//! Where a socket is: bound at a server's address, or connected from an address of this host to a server.
//!
//! A socket is opened at no place, is placed, and may be placed anew while other threads use it: its descriptor stays the
//! same. Between two places it receives nothing, and cannot send. The driver places it, with the transmit lock held.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::{IpFragments, Socket, calls, platform};
use crate::config::CardName;
use crate::sync::{Ordering, lock};

/// Where a socket is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The server's own address, or the server that a client calls.
    pub(crate) address: SocketAddr,
    /// The own address that a client has chosen.
    pub(crate) own: Option<SocketAddr>,
    /// The network card to use, if one was chosen.
    pub(crate) card: Option<CardName>,
}

impl Place {
    /// Where this address alone decides.
    pub(crate) const fn at(address: SocketAddr) -> Self {
        Self { address, own: None, card: None }
    }
}

impl Socket {
    /// Opens a socket that is at no place yet.
    pub(crate) fn open(place: &Place, is_client: bool) -> io::Result<Self> {
        Self::from_udp(calls::open(place, is_client)?, is_client, place.address.is_ipv6())
    }

    /// Opens the socket of a server, bound to `local`.
    #[cfg(test)]
    pub(crate) fn bind(local: SocketAddr) -> io::Result<Self> {
        let socket = Self::open(&Place::at(local), false)?;
        socket.place(&Place::at(local))?;
        socket.report_errors();
        Ok(socket)
    }

    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddr {
        self.local_address().expect("it was placed")
    }

    /// Opens the socket of a client, connected to the server: the kernel drops datagrams from other addresses.
    pub(crate) fn connect(place: &Place) -> io::Result<Self> {
        let socket = Self::open(place, true)?;
        socket.place(place)?;
        Ok(socket)
    }

    /// The address of this host from which a client's socket would call from this place now.
    pub(crate) fn address_from(place: &Place) -> io::Result<IpAddr> {
        let own = place.own.map(|mut own| {
            // The port is in use, by the socket that asks.
            own.set_port(0);
            own
        });
        let socket = Self::connect(&Place { own, ..place.clone() })?;
        Ok(socket.local_address().map_or(place.address.ip(), |local| local.ip()))
    }

    /// Puts the socket there. If that fails, it is nowhere.
    pub(crate) fn place(&self, place: &Place) -> io::Result<()> {
        if place.address.is_ipv6() != self.is_ipv6() || self.is_bound_elsewhere(place) {
            return self.change_socket(place);
        }
        if self.local_address().is_some() {
            self.leave();
        }
        let placed = self.settle(place);
        if placed.is_err() {
            self.leave();
        }
        placed
    }

    /// The local address; `None` while the socket is nowhere.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        *lock(&self.local)
    }

    /// Gives the place up. The address and port that were chosen by number stay reserved.
    fn leave(&self) {
        *lock(&self.local) = None;
        calls::leave(&self.udp);
    }

    fn settle(&self, place: &Place) -> io::Result<()> {
        if let Some(card) = &place.card {
            platform::use_card(&self.udp, card.as_str())?;
        }
        let own = if self.is_client { place.own } else { Some(place.address) };
        match own {
            Some(own) if !calls::is_bound(&self.udp) => calls::bind(&self.udp, own)?,
            // The zone of the address may have another number now.
            Some(SocketAddr::V6(own)) if own.scope_id() != 0 => {
                platform::use_card_number(&self.udp, own.scope_id())?;
            }
            _ => {}
        }
        if self.is_client {
            self.udp.connect(place.address)?;
        }
        let local = self.udp.local_addr()?;
        let is_called_at_many = !self.is_client && local.ip().is_unspecified() && self.lacking.is_nothing();
        if is_called_at_many && platform::tell_destination(&self.udp, local) {
            self.answers_as_called.store(true, Ordering::Relaxed);
            self.asks_for_more.store(true, Ordering::Relaxed);
        }
        *lock(&self.local) = Some(local);
        Ok(())
    }

    /// Whether a server's socket is bound to another address: it keeps that as long as it lives.
    fn is_bound_elsewhere(&self, place: &Place) -> bool {
        let bound = self.udp.local_addr().ok().filter(|bound| !self.is_client && bound.port() != 0);
        bound.is_some_and(|bound| bound.ip() != place.address.ip())
    }

    /// Puts another socket behind the descriptor: of the other family, or bound to another address.
    fn change_socket(&self, place: &Place) -> io::Result<()> {
        let other = Self::open(place, self.is_client)?;
        if self.is_stamping() {
            other.stamp();
        }
        if self.coalesced.load(Ordering::Relaxed) {
            other.coalesce();
        }
        platform::copy_options(&self.udp, &other.udp);
        let fragments = self.allows_ip_fragments.load(Ordering::Relaxed);
        other.set_ip_fragments(if fragments { IpFragments::Allowed } else { IpFragments::Never });
        other.settle(place)?;
        let dropped = self.kernel_drops();
        platform::take_over(&self.udp, &other.udp)?;
        self.dropped_before.store(dropped, Ordering::Relaxed);
        self.is_ipv6.store(place.address.is_ipv6(), Ordering::Relaxed);
        self.answers_as_called.store(other.answers_as_called(), Ordering::Relaxed);
        *lock(&self.local) = other.local_address();
        if !self.is_client {
            self.report_errors();
        }
        Ok(())
    }

    /// Lets the network's errors about datagrams reach a server.
    pub(crate) fn report_errors(&self) {
        // What is not read from the error queue would wake every wait.
        if self.lacking.recvmsg.is_none() {
            platform::report_errors(&self.udp, self.is_ipv6());
        }
    }
}

/// Whether the address is the broadcast address of a network of this host: sending there needs an option of its own
/// (SO_BROADCAST, socket(7)).
pub(crate) fn is_broadcast(address: SocketAddr) -> bool {
    let needs_option = || -> io::Result<bool> {
        let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
        let refused =
            socket.connect(address).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        socket.set_broadcast(true)?;
        Ok(refused && socket.connect(address).is_ok())
    };
    address.is_ipv4() && needs_option().unwrap_or(false)
}

/// Whether the error of placing a socket is that the system does not bind it to a network card: a privilege is missing before
/// Linux 5.7, a sandbox refuses it, or the system has no such thing. (Connecting is refused with EACCES.)
pub(crate) fn refuses_card(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || platform::is_eperm(error)
}

/// Whether a server could be bound there now.
pub(crate) fn can_bind(address: SocketAddr) -> bool {
    UdpSocket::bind(address).is_ok()
}

/// Whether this host has the address.
pub(super) fn has_address(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use crate::machine::socket::{Arrived, Received};

    #[cfg(unix)]
    fn local(host: &str) -> SocketAddr {
        format!("{host}:0").parse().expect("an address")
    }

    #[cfg(target_os = "linux")]
    fn port_of(socket: &Socket) -> u16 {
        socket.local_address().expect("placed").port()
    }

    #[cfg(target_os = "linux")]
    fn receives(socket: &Socket) -> bool {
        let mut buffer = [0; 16];
        (0..1_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            matches!(socket.receive(&mut buffer, &mut Arrived::default()), Received::Datagrams)
        })
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_that_moves_keeps_its_descriptor_and_calls_the_other_server_also_of_the_other_family() {
        use std::os::fd::AsRawFd;
        let hosts = ["127.0.0.1", "127.0.0.2", "[::1]"];
        if UdpSocket::bind("[::1]:0").is_err() {
            return;
        }
        let servers = hosts.map(|host| Socket::bind(local(host)).unwrap());
        let client = Socket::connect(&Place::at(servers[0].local_address().unwrap())).unwrap();
        client.stamp();
        let descriptor = client.udp().as_raw_fd();
        for server in servers.iter().chain(servers.iter().rev()) {
            let address = server.local_address().unwrap();
            client.place(&Place::at(address)).unwrap();
            client.send(b"here", address).unwrap();
            assert!(receives(server), "{address}");
            server.send(b"there", client.local_address().unwrap()).unwrap();
            assert!(receives(&client), "{address}");
        }
        assert_eq!(client.udp().as_raw_fd(), descriptor);
        assert!(client.is_stamping());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_server_that_moves_keeps_its_descriptor_and_is_called_at_the_other_address() {
        use std::os::fd::AsRawFd;
        let server = Socket::bind(local("127.0.0.1")).unwrap();
        let descriptor = server.udp().as_raw_fd();
        let port = port_of(&server);
        for host in [[127, 0, 0, 2], [127, 0, 0, 1]] {
            let address = SocketAddr::from((host, port));
            assert!(can_bind(address));
            server.place(&Place::at(address)).unwrap();
            assert_eq!(server.local_address(), Some(address));
            assert!(!can_bind(address), "it is taken now");
            let client = Socket::connect(&Place::at(address)).unwrap();
            client.send(b"here", address).unwrap();
            assert!(receives(&server), "{address}");
            server.send(b"there", client.local_address().unwrap()).unwrap();
            assert!(receives(&client), "{address}");
        }
        assert_eq!(server.udp().as_raw_fd(), descriptor);
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_at_no_place_receives_nothing_and_is_no_error() {
        let place = Place::at(local("127.0.0.1"));
        for is_client in [true, false] {
            let socket = Socket::open(&place, is_client).unwrap();
            assert_eq!(socket.local_address(), None);
            assert!(matches!(socket.receive(&mut [0; 16], &mut Arrived::default()), Received::Empty));
            assert!(socket.send(b"nowhere", local("127.0.0.1")).is_err());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_port_that_was_chosen_is_kept_when_the_socket_moves() {
        let servers = [0, 1].map(|_| Socket::bind(local("127.0.0.1")).unwrap().local_address().unwrap());
        let own = Socket::bind(local("127.0.0.1")).unwrap().local_address();
        let place = |address| Place { own, ..Place::at(address) };
        let client = Socket::connect(&place(servers[0])).unwrap();
        client.place(&place(servers[1])).unwrap();
        assert_eq!(port_of(&client), own.unwrap().port());
    }

    #[test]
    fn an_address_of_one_host_is_no_broadcast_address() {
        assert!(!is_broadcast(SocketAddr::from(([127, 0, 0, 1], 9))));
        #[cfg(target_os = "linux")]
        assert!(is_broadcast(SocketAddr::from(([127, 255, 255, 255], 9))));
    }
}
