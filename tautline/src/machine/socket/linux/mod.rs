//! The calls that only Linux has: forced buffer sizes, the error queue that names an unreachable peer, many datagrams in one
//! call (UDP GSO and GRO, udp(7)), and time stamps of the kernel.
#![allow(unsafe_code)] // socket options and control messages that no safe wrapper offers

mod errors;
mod path;
mod segments;

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

pub(super) use errors::queued_error;
pub(super) use path::{path_mtu, set_ip_fragments};
pub(super) use segments::{
    can_segment, cannot_segment, coalesce, receive, refuses_call, refuses_recvmsg, refuses_sendmsg,
    send_message, stamp, tell_destination,
};

use rustix::net::sockopt;

use super::options::SocketOption;
use super::{Granted, Mark};

/// Lets ICMP errors reach an unconnected socket (ip(7), `IP_RECVERR`). Best effort: without it, a server notices a dead peer
/// by its silence.
pub(super) fn report_errors(socket: &UdpSocket, is_ipv6: bool) {
    let _ = set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1);
    if is_ipv6 {
        let _ = set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1);
    }
}

/// Sends and receives by this network card alone (socket(7), `SO_BINDTODEVICE`). A socket without a card needs no privilege
/// for it (Linux 5.7).
pub(super) fn use_card(socket: &UdpSocket, name: &str) -> io::Result<()> {
    let number = crate::machine::names::number_of_card(name)?;
    use_card_number(socket, number)
}

/// As [`use_card`], by the card's number.
pub(super) fn use_card_number(socket: &UdpSocket, number: u32) -> io::Result<()> {
    let number = number.cast_signed();
    set_option(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, number)
}

pub(super) fn is_eperm(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}

/// Gives a socket the options that another one was given after it was opened.
pub(super) fn copy_options(from: &UdpSocket, to: &UdpSocket) {
    // The kernel reports twice what it was asked for.
    let asked = |reported: rustix::io::Result<usize>| reported.map_or(0, |reported| reported / 2);
    let (receive, send) = (sockopt::socket_recv_buffer_size(from), sockopt::socket_send_buffer_size(from));
    set_buffers(to, asked(receive), asked(send));
    let mut value: libc::c_int = 0;
    #[allow(clippy::cast_possible_truncation)] // the size of an int
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor stays open during the call. The kernel writes at most an int to `value`.
    let read = unsafe {
        let (level, option) = (libc::SOL_SOCKET, libc::SO_BUSY_POLL);
        libc::getsockopt(from.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut size)
    };
    if read == 0 && value > 0 {
        let _ = set_option(to, libc::SOL_SOCKET, libc::SO_BUSY_POLL, value);
    }
}

/// As poll(2) with whole milliseconds, for systems that refuse ppoll(2).
pub(super) fn poll_in_ms(fds: &mut [rustix::event::PollFd<'_>], ms: libc::c_int) -> io::Result<()> {
    let count = libc::nfds_t::try_from(fds.len()).unwrap_or(0);
    // SAFETY: a `PollFd` has the layout of a pollfd, as rustix promises. There are `count` of them, which live until the call
    // returns, and no other code uses them meanwhile.
    let result = unsafe { libc::poll(fds.as_mut_ptr().cast(), count, ms) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts `new` behind the descriptor of `old`, whose socket closes.
pub(super) fn take_over(old: &UdpSocket, new: &UdpSocket) -> io::Result<()> {
    // SAFETY: both descriptors are open. `old` owns its number before and after the call, which changes at one stroke what
    // is behind it.
    let taken = unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) };
    if taken < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets a socket option whose value is an int (setsockopt(2)).
pub(in crate::machine) fn set_option(
    socket: &UdpSocket,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    #[allow(clippy::cast_possible_truncation)] // the size of an int
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor stays open during the call. Pointer and size describe `value`, which the kernel only reads.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel accepts the option. Sets it with a value that is usual for it.
pub(super) fn accepts(socket: &UdpSocket, option: SocketOption) -> Option<bool> {
    let (level, option, value) = match option {
        SocketOption::UdpGso => (libc::SOL_UDP, libc::UDP_SEGMENT, 1_200),
        SocketOption::UdpGro => (libc::SOL_UDP, libc::UDP_GRO, 1),
        SocketOption::Timestamps => (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1),
        SocketOption::DropCounter => (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1),
        SocketOption::BusyPoll => (libc::SOL_SOCKET, libc::SO_BUSY_POLL, 50),
    };
    Some(set_option(socket, level, option, value).is_ok())
}

/// Marks the datagrams that are sent from now on. Returns whether the kernel does it.
pub(super) fn mark(socket: &UdpSocket, is_ipv6: bool, mark: Mark) -> bool {
    // The two low bits belong to the network, for congestion.
    let field = libc::c_int::from(mark.dscp << 2);
    // On an IPv6 socket, this is for its IPv4 peers.
    let v4 = set_option(socket, libc::IPPROTO_IP, libc::IP_TOS, field).is_ok();
    let field_is_set = match is_ipv6 {
        true => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, field).is_ok(),
        false => v4,
    };
    // Last, because IP_TOS changes it too.
    field_is_set
        && set_option(socket, libc::SOL_SOCKET, libc::SO_PRIORITY, libc::c_int::from(mark.queue)).is_ok()
}

/// The number of datagrams that the kernel has dropped at this socket, modulo 2^32: SK_MEMINFO_DROPS of SO_MEMINFO
/// (Linux 4.12). It is the counter of SO_RXQ_OVFL, but without a control message for every read.
pub(super) fn kernel_drops(socket: &UdpSocket) -> Option<u32> {
    /// Its index in the array (linux/sock_diag.h), which may be longer in future kernels.
    const DROPS: usize = 8;
    let mut values = [0u32; DROPS + 1];
    #[allow(clippy::cast_possible_truncation)] // 36 bytes
    let mut size = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the descriptor stays open during the call. Pointer and size describe `values`. The kernel writes at most
    // that many bytes there, and their number to `size`.
    let read = unsafe {
        let (level, option) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
        libc::getsockopt(socket.as_raw_fd(), level, option, values.as_mut_ptr().cast(), &raw mut size)
    };
    (read == 0 && size as usize == size_of_val(&values)).then_some(values[DROPS])
}

/// Asks for the sizes beyond the system's limit, which needs a privilege. If that is refused, asks within the limit.
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
