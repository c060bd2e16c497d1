//! Linux: tries socket options on a socket of its own.
#![allow(unsafe_code)] // one setsockopt with numbers that no safe wrapper takes

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use super::options::Choice;

/// Whether the kernel takes the option.
pub(super) fn try_option(socket: &UdpSocket, choice: Choice) -> Option<bool> {
    let (level, option, value) = match choice {
        Choice::UdpGso => (libc::SOL_UDP, libc::UDP_SEGMENT, 1_200),
        Choice::UdpGro => (libc::SOL_UDP, libc::UDP_GRO, 1),
        Choice::Timestamps => (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1),
        Choice::DropCounter => (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1),
        Choice::BusyPoll => (libc::SOL_SOCKET, libc::SO_BUSY_POLL, 50),
    };
    let value: libc::c_int = value;
    #[allow(clippy::cast_possible_truncation)] // the size of an int
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open for the call's length, the pointer and the size describe `value`, and the
    // kernel only reads it.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size) };
    Some(result == 0)
}
