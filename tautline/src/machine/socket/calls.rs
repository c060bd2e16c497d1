//! The plain system calls of a non-blocking socket on Unix: one datagram each.
//!
//! They call the kernel directly where possible. The functions of the C library are cancellation points. That would cost
//! 5 % of the time of a poll that finds no datagram.

#![allow(unsafe_code)] // borrows a descriptor

use std::io;
use std::net::{SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketType};

use super::place::Place;

/// Opens a socket of the place's family. The socket of all IPv6 addresses takes IPv4 too, where the system's default
/// (`net.ipv6.bindv6only`) can be changed.
pub(super) fn open(place: &Place, is_client: bool) -> io::Result<UdpSocket> {
    let family = if place.address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = net::socket(family, SocketType::DGRAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    if !is_client && place.address.is_ipv6() && place.address.ip().is_unspecified() {
        let _ = net::sockopt::set_ipv6_v6only(&socket, false);
    }
    Ok(socket.into())
}

pub(super) fn bind(udp: &UdpSocket, own: SocketAddr) -> io::Result<()> {
    Ok(net::bind(udp, &own)?)
}

/// Whether the socket has a port.
pub(super) fn is_bound(udp: &UdpSocket) -> bool {
    udp.local_addr().is_ok_and(|local| local.port() != 0)
}

/// Disconnects the socket. It loses what the kernel has chosen for it: its address and its port (udp(7), connect(2)).
pub(super) fn leave(udp: &UdpSocket) {
    let _ = net::connect_unspec(udp);
}

/// The descriptor. `UdpSocket::as_fd` is a function of another crate, far away from those that send and receive.
#[inline]
fn descriptor(udp: &UdpSocket) -> BorrowedFd<'_> {
    // SAFETY: the socket is borrowed, so its descriptor stays open.
    unsafe { BorrowedFd::borrow_raw(udp.as_raw_fd()) }
}

pub(super) fn send(udp: &UdpSocket, datagram: &[u8]) -> io::Result<usize> {
    Ok(net::send(descriptor(udp), datagram, SendFlags::DONTWAIT)?)
}

#[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
pub(super) fn send_to(udp: &UdpSocket, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
    match to {
        SocketAddr::V4(to) => Ok(net::sendto(descriptor(udp), datagram, SendFlags::DONTWAIT, &to)?),
        SocketAddr::V6(to) => send_to_v6(udp, datagram, &to),
    }
}

#[inline(never)] // leaves the way to an IPv4 address short
fn send_to_v6(udp: &UdpSocket, datagram: &[u8], to: &SocketAddrV6) -> io::Result<usize> {
    Ok(net::sendto(descriptor(udp), datagram, SendFlags::DONTWAIT, to)?)
}

pub(super) fn receive(udp: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    let (_, len) = net::recv(descriptor(udp), buffer, RecvFlags::DONTWAIT)?;
    Ok(len)
}

pub(super) fn receive_from(udp: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let (_, len, from) = net::recvfrom(descriptor(udp), buffer, RecvFlags::DONTWAIT)?;
    Ok((len, from.ok_or(Errno::AFNOSUPPORT)?.try_into()?))
}

/// Whether a datagram waits to be read.
pub(super) fn has_waiting(udp: &UdpSocket) -> bool {
    rustix::io::ioctl_fionread(udp).is_ok_and(|bytes| bytes > 0)
}

/// Whether the error means that no datagram waits.
#[inline]
pub(super) fn found_nothing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::AGAIN.raw_os_error())
}
