//! The plain system calls of a socket that does not block: one datagram each.
//!
//! Straight to the kernel where that can be done: the C library's calls are points where a thread may be cancelled, which
//! costs a twentieth of a question that finds nothing.

use std::io;
use std::net::{SocketAddr, UdpSocket};

#[cfg(unix)]
mod direct {
    use rustix::io::Errno;
    use rustix::net::{self, RecvFlags, SendFlags};

    use super::{SocketAddr, UdpSocket, io};

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

    /// Whether the error says that nothing is there.
    #[inline]
    pub(in crate::machine::socket) fn found_nothing(error: &io::Error) -> bool {
        error.raw_os_error() == Some(Errno::AGAIN.raw_os_error())
    }
}

#[cfg(not(unix))]
mod by_std {
    use super::{SocketAddr, UdpSocket, io};

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

    /// Whether the error says that nothing is there.
    pub(in crate::machine::socket) fn found_nothing(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::WouldBlock
    }
}

#[cfg(not(unix))]
pub(super) use by_std::{found_nothing, receive, receive_from, send, send_to};
#[cfg(unix)]
pub(super) use direct::{found_nothing, receive, receive_from, send, send_to};
