//! The error queue: what the network reported (ICMP) about datagrams of an unconnected socket, with the address that
//! each was for (ip(7), `IP_RECVERR`).

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use super::segments::socket_address;

/// Room for one control message with a `sock_extended_err` and the address of the host that reported it, aligned.
type Control = [u64; 16];

/// Takes the oldest error off the queue. Returns the destination of its datagram, and the error.
pub(in crate::machine::socket) fn queued_error(udp: &UdpSocket) -> Option<(SocketAddr, io::Error)> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::uninit();
    let mut control: Control = [0; 16];
    // SAFETY: all zeros is an empty message header.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    #[allow(clippy::cast_possible_truncation)] // 128 bytes
    let room = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_namelen = room;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>();
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the descriptor is open; name and control describe memory that lives until the call returns, and no other
    // code uses it meanwhile.
    let read = unsafe { libc::recvmsg(udp.as_raw_fd(), &raw mut header, flags) };
    if read < 0 {
        return None;
    }
    // SAFETY: recvmsg has written `msg_namelen` bytes of an address to `name`.
    let about = unsafe { socket_address(name.as_ptr(), header.msg_namelen) }.ok()?;
    // SAFETY: `header` and its control buffer are as recvmsg has left them.
    let errno = unsafe { reported_errno(&header) };
    Some((about, io::Error::from_raw_os_error(errno.unwrap_or(libc::EHOSTUNREACH))))
}

/// # Safety
///
/// `header` is as a successful recvmsg has left it, with its control buffer still there.
unsafe fn reported_errno(header: &libc::msghdr) -> Option<i32> {
    // SAFETY: as the caller promises; the data of both kinds begin with a `sock_extended_err`.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let kind = ((*message).cmsg_level, (*message).cmsg_type);
            if matches!(kind, (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)) {
                let error = libc::CMSG_DATA(message).cast::<libc::sock_extended_err>().read_unaligned();
                return i32::try_from(error.ee_errno).ok();
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}
