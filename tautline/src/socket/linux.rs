//! What only Linux can do: forced buffer sizes, and the error queue that names an unreachable peer.
#![allow(unsafe_code)] // one setsockopt that no safe wrapper offers

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use rustix::net::sockopt;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};

use super::Granted;

/// Lets ICMP errors reach an unconnected socket (ip(7), `IP_RECVERR`). Best effort: without it a server
/// learns of a dead peer from its silence.
pub(super) fn report_errors(socket: &UdpSocket, local: SocketAddr) {
    set_flag(socket, libc::IPPROTO_IP, libc::IP_RECVERR);
    if local.is_ipv6() {
        set_flag(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR);
    }
}

fn set_flag(socket: &UdpSocket, level: libc::c_int, option: libc::c_int) {
    let on: libc::c_int = 1;
    #[allow(clippy::cast_possible_truncation)] // the size of an int
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open for the call's length, the pointer and the size describe `on`, and the
    // kernel only reads it.
    unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size) };
}

/// The destination of the datagram that the oldest queued error is about; takes the error off the queue.
pub(super) fn failed_address(socket: &UdpSocket) -> Option<SocketAddr> {
    let mut payload = [0; 1];
    let mut parts = [IoSliceMut::new(&mut payload)];
    let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
    let read = recvmsg(socket, &mut parts, &mut RecvAncillaryBuffer::default(), flags).ok()?;
    read.address.and_then(|address| address.try_into().ok())
}

/// Asks for the sizes beyond the system's limit first, which needs privilege, then within it.
pub(super) fn set_buffers(socket: &UdpSocket, receive: usize, send: usize) -> Granted {
    if receive > 0 && sockopt::set_socket_recv_buffer_size_force(socket, receive).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, receive);
    }
    if send > 0 && sockopt::set_socket_send_buffer_size_force(socket, send).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(socket, send);
    }
    Granted {
        receive_buffer: sockopt::socket_recv_buffer_size(socket).ok(),
        send_buffer: sockopt::socket_send_buffer_size(socket).ok(),
    }
}
