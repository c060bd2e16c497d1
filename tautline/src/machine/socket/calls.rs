//! The plain system calls of a non-blocking socket: one datagram each.
//!
//! They call the kernel directly where possible. The functions of the C library are cancellation points. That would cost
//! 5 % of the time of a poll that finds no datagram.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::place::Place;

#[cfg(unix)]
mod direct {
    use rustix::io::Errno;
    use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketType};

    use super::{Place, SocketAddr, UdpSocket, io};

    /// Opens a socket of the place's family. The socket of all IPv6 addresses takes IPv4 too, where the system's default
    /// (`net.ipv6.bindv6only`) can be changed.
    pub(in crate::machine::socket) fn open(place: &Place, is_client: bool) -> io::Result<UdpSocket> {
        let family = if place.address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = net::socket(family, SocketType::DGRAM, None)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        if !is_client && place.address.is_ipv6() && place.address.ip().is_unspecified() {
            let _ = net::sockopt::set_ipv6_v6only(&socket, false);
        }
        Ok(socket.into())
    }

    pub(in crate::machine::socket) fn bind(udp: &UdpSocket, own: SocketAddr) -> io::Result<()> {
        Ok(net::bind(udp, &own)?)
    }

    /// Whether the socket has a port.
    pub(in crate::machine::socket) fn is_bound(udp: &UdpSocket) -> bool {
        udp.local_addr().is_ok_and(|local| local.port() != 0)
    }

    /// Disconnects the socket. It loses what the kernel has chosen for it: its address and its port (udp(7), connect(2)).
    pub(in crate::machine::socket) fn leave(udp: &UdpSocket) {
        let _ = net::connect_unspec(udp);
    }

    pub(in crate::machine::socket) fn send(udp: &UdpSocket, datagram: &[u8]) -> io::Result<usize> {
        Ok(net::send(udp, datagram, SendFlags::DONTWAIT)?)
    }

    pub(in crate::machine::socket) fn send_to(
        udp: &UdpSocket,
        datagram: &[u8],
        to: SocketAddr,
    ) -> io::Result<usize> {
        Ok(net::sendto(udp, datagram, SendFlags::DONTWAIT, &to)?)
    }

    pub(in crate::machine::socket) fn receive(udp: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, len) = net::recv(udp, buffer, RecvFlags::DONTWAIT)?;
        Ok(len)
    }

    pub(in crate::machine::socket) fn receive_from(
        udp: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        let (_, len, from) = net::recvfrom(udp, buffer, RecvFlags::DONTWAIT)?;
        Ok((len, from.ok_or(Errno::AFNOSUPPORT)?.try_into()?))
    }

    /// Whether the error means that no datagram waits.
    #[inline]
    pub(in crate::machine::socket) fn found_nothing(error: &io::Error) -> bool {
        error.raw_os_error() == Some(Errno::AGAIN.raw_os_error())
    }
}

#[cfg(not(unix))]
mod by_std {
    use super::{Place, SocketAddr, UdpSocket, io};

    /// Opens a socket, bound: here a socket cannot wait for its address.
    pub(in crate::machine::socket) fn open(place: &Place, is_client: bool) -> io::Result<UdpSocket> {
        let any = if place.address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let own = if is_client { place.own } else { Some(place.address) };
        match own {
            Some(own) => UdpSocket::bind(own),
            None => UdpSocket::bind(any),
        }
    }

    pub(in crate::machine::socket) fn bind(_: &UdpSocket, _: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    pub(in crate::machine::socket) const fn is_bound(_: &UdpSocket) -> bool {
        true
    }

    /// The next connect changes the place.
    pub(in crate::machine::socket) const fn leave(_: &UdpSocket) {}

    pub(in crate::machine::socket) fn send(udp: &UdpSocket, datagram: &[u8]) -> io::Result<usize> {
        udp.send(datagram)
    }

    pub(in crate::machine::socket) fn send_to(
        udp: &UdpSocket,
        datagram: &[u8],
        to: SocketAddr,
    ) -> io::Result<usize> {
        udp.send_to(datagram, to)
    }

    pub(in crate::machine::socket) fn receive(udp: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
        udp.recv(buffer)
    }

    pub(in crate::machine::socket) fn receive_from(
        udp: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        udp.recv_from(buffer)
    }

    /// Whether the error means that no datagram waits.
    pub(in crate::machine::socket) fn found_nothing(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::WouldBlock
    }
}

#[cfg(not(unix))]
pub(super) use by_std::{bind, found_nothing, is_bound, leave, open, receive, receive_from, send, send_to};
#[cfg(unix)]
pub(super) use direct::{bind, found_nothing, is_bound, leave, open, receive, receive_from, send, send_to};
