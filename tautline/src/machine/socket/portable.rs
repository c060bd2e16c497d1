//! The fallbacks for Unix systems other than Linux. They report that a function is not available.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use rustix::net::sockopt;

pub(super) use super::elsewhere::*;
use super::{Arrived, Granted, IpFragments, Source};

pub(super) fn use_card(_: &UdpSocket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Connecting and binding choose the card of a zone.
pub(super) const fn use_card_number(_: &UdpSocket, _: u32) -> io::Result<()> {
    Ok(())
}

pub(super) const fn set_ip_fragments(_: &UdpSocket, _: bool, _: IpFragments) -> bool {
    false
}

pub(super) fn path_mtu(_: IpAddr, _: SocketAddr) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn set_buffers(udp: &UdpSocket, receive: usize, send: usize) -> Granted {
    if receive > 0 {
        let _ = sockopt::set_socket_recv_buffer_size(udp, receive);
    }
    if send > 0 {
        let _ = sockopt::set_socket_send_buffer_size(udp, send);
    }
    Granted {
        receive_buffer: sockopt::socket_recv_buffer_size(udp).ok(),
        send_buffer: sockopt::socket_send_buffer_size(udp).ok(),
    }
}

pub(super) fn send_message(
    _: &UdpSocket,
    _: &[u8],
    _: Option<SocketAddr>,
    _: Option<Source>,
    _: Option<usize>,
) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) const fn tell_destination(_: &UdpSocket, _: SocketAddr) -> bool {
    false
}

/// Never called: only coalesced or stamped datagrams need it, and this system has neither.
pub(super) fn receive(
    udp: &UdpSocket,
    buffer: &mut [u8],
    _: bool,
    arrived: &mut Arrived,
) -> io::Result<Option<Source>> {
    let (len, from) = udp.recv_from(buffer)?;
    *arrived = Arrived::one(len, Some(from));
    Ok(None)
}

pub(super) const fn refuses_recvmsg(_: &UdpSocket) -> Option<io::Error> {
    None
}
