//! The plain system calls of a non-blocking socket: one datagram each.
//!
//! They call the kernel directly where possible. The functions of the C library are cancellation points. That would cost
//! 5 % of the time of a poll that finds no datagram.

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

    /// Whether the error means that no datagram waits.
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

    /// Whether the error means that no datagram waits.
    pub(in crate::machine::socket) fn found_nothing(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::WouldBlock
    }
}

#[cfg(not(unix))]
pub(super) use by_std::{found_nothing, receive, receive_from, send, send_to};
#[cfg(unix)]
pub(super) use direct::{found_nothing, receive, receive_from, send, send_to};
