//! The socket: opening, reading without blocking, waiting with a wake-up. All platform-only calls are here
//! and in its submodules.

mod wait;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

pub(crate) use wait::{Waiter, Waker};

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(target_os = "linux"))]
use portable as platform;

/// Room for the largest UDP datagram and one byte more.
pub(crate) const RECEIVE_BUFFER: usize = 65_536;

/// How often a send is repeated when the kernel first hands out the error of an earlier datagram.
const SEND_TRIES: usize = 3;

/// A non-blocking UDP socket; a client's is connected to its server.
#[derive(Debug)]
pub(crate) struct Socket {
    udp: UdpSocket,
    connected_to: Option<SocketAddr>,
    local: SocketAddr,
}

/// What the kernel granted of the buffers asked for, in bytes; `None` where it would not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
}

/// What a read of the socket gave.
#[derive(Debug)]
pub(crate) enum Received {
    /// A datagram of this length from this address.
    Datagram(usize, SocketAddr),
    /// Nothing waits.
    Empty,
    /// The network reports an error about an earlier datagram to this address, where it is known.
    Unreachable(Option<SocketAddr>, io::Error),
}

impl Socket {
    /// A server's socket, bound to `local`.
    pub(crate) fn bind(local: SocketAddr) -> io::Result<Self> {
        let udp = UdpSocket::bind(local)?;
        platform::report_errors(&udp, local);
        Self::from_udp(udp, None)
    }

    /// A client's socket, connected to `server`: the kernel drops what comes from elsewhere.
    pub(crate) fn connect(local: Option<SocketAddr>, server: SocketAddr) -> io::Result<Self> {
        let any: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let udp = UdpSocket::bind(local.unwrap_or(SocketAddr::new(any, 0)))?;
        udp.connect(server)?;
        Self::from_udp(udp, Some(server))
    }

    fn from_udp(udp: UdpSocket, connected_to: Option<SocketAddr>) -> io::Result<Self> {
        udp.set_nonblocking(true)?;
        let local = udp.local_addr()?;
        Ok(Self { udp, connected_to, local })
    }

    /// Asks for kernel buffers of these sizes (0 leaves the system's) and says what was granted.
    pub(crate) fn set_buffers(&self, receive: usize, send: usize) -> Granted {
        platform::set_buffers(&self.udp, receive, send)
    }

    pub(crate) const fn local_address(&self) -> SocketAddr {
        self.local
    }

    pub(crate) const fn udp(&self) -> &UdpSocket {
        &self.udp
    }

    /// Sends one datagram without blocking. On success the kernel has it.
    pub(crate) fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let mut tries = 0;
        loop {
            let sent = match self.connected_to {
                Some(_) => self.udp.send(datagram),
                None => self.udp.send_to(datagram, to),
            };
            tries += 1;
            match sent {
                Ok(_) => return Ok(()),
                // The error belongs to an earlier datagram; this one was not even tried (ip(7), udp(7)).
                Err(error) if tries < SEND_TRIES && is_pending_error(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes one error off the queue of those that the network reported, once a send has met and cleared it:
    /// no read shows it any more, but it still wakes every wait. The destination that it is about.
    pub(crate) fn queued_error(&self) -> Option<(SocketAddr, io::Error)> {
        if self.connected_to.is_some() {
            return None;
        }
        let about = platform::failed_address(&self.udp)?;
        Some((
            about,
            io::Error::new(ErrorKind::HostUnreachable, "nobody listens there, or no way leads there"),
        ))
    }

    /// Reads one datagram without blocking.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            let read = match self.connected_to {
                Some(server) => self.udp.recv(buffer).map(|len| (len, server)),
                None => self.udp.recv_from(buffer),
            };
            return match read {
                Ok((len, from)) => Ok(Received::Datagram(len, from)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => Ok(Received::Empty),
                    ErrorKind::Interrupted => continue,
                    _ if is_pending_error(&error) => {
                        let about = self.connected_to.or_else(|| platform::failed_address(&self.udp));
                        Ok(Received::Unreachable(about, error))
                    }
                    _ => Err(error),
                },
            };
        }
    }
}

/// Errors that the network reported about an earlier datagram (ICMP), or that pass by themselves.
fn is_pending_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn wait_for(socket: &Socket) -> Received {
        let mut buffer = [0; 64];
        for _ in 0..1000 {
            match socket.receive(&mut buffer).expect("no hard error") {
                Received::Empty => std::thread::sleep(std::time::Duration::from_millis(1)),
                received => return received,
            }
        }
        panic!("nothing came within a second");
    }

    #[test]
    fn a_refused_datagram_is_reported_and_the_next_one_is_still_sent() {
        let gone = Socket::bind(local()).unwrap().local_address();
        let socket = Socket::connect(None, gone).unwrap();
        socket.send(b"to nobody", gone).unwrap();
        assert!(matches!(wait_for(&socket), Received::Unreachable(Some(about), _) if about == gone));
        socket.send(b"to nobody again", gone).unwrap();
        let back = Socket::bind(gone).unwrap();
        // The pending error must not swallow this one.
        socket.send(b"to somebody", gone).unwrap();
        assert!(matches!(wait_for(&back), Received::Datagram(11, _)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_server_learns_which_peer_cannot_be_reached() {
        let gone = Socket::bind(local()).unwrap().local_address();
        let server = Socket::bind(local()).unwrap();
        server.send(b"to nobody", gone).unwrap();
        assert!(matches!(wait_for(&server), Received::Unreachable(Some(about), _) if about == gone));
    }
}
