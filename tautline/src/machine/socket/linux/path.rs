//! What the kernel knows of the size of a path, and what it does with datagrams that are larger (ip(7), `IP_MTU`,
//! `IP_MTU_DISCOVER`; RFC 1191, RFC 8201).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use super::set_option;
use crate::machine::socket::IpFragments;

/// Sets whether datagrams that are larger than the path are fragmented by IP. Returns whether the kernel does as asked.
pub(in crate::machine::socket) fn set_ip_fragments(
    udp: &UdpSocket,
    is_ipv6: bool,
    mode: IpFragments,
) -> bool {
    let (v4, v6) = match mode {
        IpFragments::Allowed => (libc::IP_PMTUDISC_DONT, libc::IPV6_PMTUDISC_DONT),
        // Not DO, with which the kernel refuses what is larger than it remembers of the path: it remembers that for ten minutes after
        // the path has grown again. What is larger than the network card takes is refused all the same.
        IpFragments::Never => (libc::IP_PMTUDISC_PROBE, libc::IPV6_PMTUDISC_PROBE),
    };
    // On an IPv6 socket, this is for its IPv4 peers.
    let of_v4 = set_option(udp, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, v4).is_ok();
    if is_ipv6 { set_option(udp, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, v6).is_ok() } else { of_v4 }
}

/// The largest packet that the path to this address carries, as far as the kernel knows. Makes some system calls.
pub(in crate::machine::socket) fn path_mtu(from: IpAddr, to: SocketAddr) -> io::Result<usize> {
    let from = if from.is_unspecified() { unspecified(to) } else { from };
    // A socket of its own: only a connected one knows its path, and it looks the route up anew.
    let udp = UdpSocket::bind((from, 0))?;
    udp.connect(to)?;
    let (level, option) = match to.is_ipv6() {
        true => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
        false => (libc::IPPROTO_IP, libc::IP_MTU),
    };
    let mut value: libc::c_int = 0;
    #[allow(clippy::cast_possible_truncation)] // the size of an int
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor stays open during the call. Pointer and size describe `value`, where the kernel writes at most
    // that many bytes.
    let read =
        unsafe { libc::getsockopt(udp.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut size) };
    if read == 0 { Ok(usize::try_from(value).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

const fn unspecified(to: SocketAddr) -> IpAddr {
    match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
