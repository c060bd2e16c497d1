//! Sending and reading with control messages (sendmsg(2), recvmsg(2)): many datagrams in one system call, the time stamps of
//! the kernel, and the local address of a datagram.

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use rustix::net::addr::SocketAddrArg;
use tautline_proto::WallTime;

use super::set_option;
use crate::machine::socket::{Arrived, Source};

/// Room for control messages: a size, a time stamp and a local address, aligned.
type Control = [u64; 16];

/// Whether an error means that the system refuses the call itself, as sandboxes do.
pub(in crate::machine::socket) fn refuses_call(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EOPNOTSUPP))
}

/// Tries sendmsg(2) without a destination, on a socket that has none: nothing is sent. Returns the refusal.
pub(in crate::machine::socket) fn refuses_sendmsg(udp: &UdpSocket) -> Option<io::Error> {
    send_message(udp, &[], None, None, None).err().filter(refuses_call)
}

/// Tries recvmsg(2) on a socket to which nothing was sent. Returns the refusal.
pub(in crate::machine::socket) fn refuses_recvmsg(udp: &UdpSocket) -> Option<io::Error> {
    receive(udp, &mut [], true, &mut Arrived::default()).err().filter(refuses_call)
}

/// Whether this kernel knows UDP segmentation offload (Linux 4.18). Setting the size to 0 changes nothing.
pub(in crate::machine::socket) fn can_segment(udp: &UdpSocket) -> bool {
    set_option(udp, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

/// Whether a send failed because of its segments: no checksum offload at the network card (EIO), or segments larger than the
/// MTU of the path (EINVAL). The datagrams may still be sent one by one.
pub(in crate::machine::socket) fn cannot_segment(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP))
}

/// Lets a read return several datagrams of one sender at once (Linux 5.0).
pub(in crate::machine::socket) fn coalesce(udp: &UdpSocket) -> bool {
    set_option(udp, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok()
}

/// Lets the kernel stamp every datagram when it arrives, by the wall clock.
pub(in crate::machine::socket) fn stamp(udp: &UdpSocket) -> bool {
    set_option(udp, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1).is_ok()
}

/// Lets every read tell which address of this host its datagram was for (ip(7), ipv6(7)). An IPv6 socket tells it for
/// IPv4 datagrams too.
pub(in crate::machine::socket) fn tell_destination(udp: &UdpSocket, local: SocketAddr) -> bool {
    match local {
        SocketAddr::V4(_) => set_option(udp, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        SocketAddr::V6(_) => set_option(udp, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
    .is_ok()
}

/// Sends `bytes`, to this address unless the socket is connected, and from this address of the host unless the kernel may
/// choose: as one datagram, or as datagrams of `each` bytes, the last of which may be shorter.
pub(in crate::machine::socket) fn send_message(
    udp: &UdpSocket,
    bytes: &[u8],
    to: Option<SocketAddr>,
    from: Option<Source>,
    each: Option<usize>,
) -> io::Result<usize> {
    let each = each.map(u16::try_from).transpose().map_err(|_| io::ErrorKind::InvalidInput)?;
    let send = |name: *const libc::c_void, name_len: libc::socklen_t| {
        let mut control: Control = [0; 16];
        let mut parts = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: all zeros is an empty message header.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_name = name.cast_mut();
        header.msg_namelen = name_len;
        header.msg_iov = &raw mut parts;
        header.msg_iovlen = 1;
        let mut used = 0;
        if let Some(each) = each {
            used += append(&mut control, used, (libc::SOL_UDP, libc::UDP_SEGMENT), each);
        }
        used += from.map_or(0, |from| append_source(&mut control, used, from));
        if used > 0 {
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = used;
        }
        // SAFETY: the descriptor is open; name, part and control describe memory that lives until the call returns, and
        // the kernel only reads it.
        let sent = unsafe { libc::sendmsg(udp.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    };
    match to {
        None => send(std::ptr::null(), 0),
        // SAFETY: the closure passes pointer and length on to sendmsg, which reads the address during the call.
        Some(to) => unsafe { to.with_sockaddr(|name, len| send(name.cast(), len)) },
    }
}

/// Appends the address of this host that a datagram is to be sent from.
fn append_source(control: &mut Control, used: usize, from: Source) -> usize {
    match from.ip {
        IpAddr::V4(ip) => {
            let ipi_spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
            // The kernel does not read the third field of a message that is sent.
            let info =
                libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: libc::in_addr { s_addr: 0 } };
            append(control, used, (libc::IPPROTO_IP, libc::IP_PKTINFO), info)
        }
        IpAddr::V6(ip) => {
            let ipi6_addr = libc::in6_addr { s6_addr: ip.octets() };
            let info = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: from.card };
            append(control, used, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), info)
        }
    }
}

/// Appends a control message of this level and type after the `used` bytes. Returns how many bytes it takes.
fn append<T>(control: &mut Control, used: usize, kind: (libc::c_int, libc::c_int), data: T) -> usize {
    #[allow(clippy::cast_possible_truncation)] // a few bytes
    let len = size_of::<T>() as libc::c_uint;
    // SAFETY: these compute from the size alone.
    let (space, whole) = unsafe { (libc::CMSG_SPACE(len) as usize, libc::CMSG_LEN(len) as usize) };
    assert!(used + space <= size_of::<Control>() && used.is_multiple_of(align_of::<libc::cmsghdr>()));
    // SAFETY: the assertion says that the message fits, aligned, into the buffer, which is borrowed for writing.
    unsafe {
        let message = control.as_mut_ptr().cast::<u8>().add(used).cast::<libc::cmsghdr>();
        (*message).cmsg_level = kind.0;
        (*message).cmsg_type = kind.1;
        (*message).cmsg_len = whole;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(data);
    }
    space
}

/// Reads one datagram, or several of one sender, with their size and time stamp. Returns the address of this host that they were
/// for, if that is asked for and a reply can come from it.
#[inline(always)] // into the one function that reads
pub(in crate::machine::socket) fn receive(
    udp: &UdpSocket,
    buffer: &mut [u8],
    is_client: bool,
    arrived: &mut Arrived,
) -> io::Result<Option<Source>> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::uninit();
    let mut control = MaybeUninit::<Control>::uninit();
    let mut parts = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is an empty message header.
    let mut header: libc::msghdr = unsafe { zeroed() };
    if !is_client {
        header.msg_name = name.as_mut_ptr().cast();
        #[allow(clippy::cast_possible_truncation)] // 128 bytes
        let room = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_namelen = room;
    }
    header.msg_iov = &raw mut parts;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>();
    // SAFETY: the descriptor is open; name, part and control describe memory that lives until the call returns, and no
    // other code uses it meanwhile.
    let read = unsafe { libc::recvmsg(udp.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let len = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    let from = match is_client {
        true => None,
        // SAFETY: recvmsg has written `msg_namelen` bytes of an address to `name`.
        false => Some(unsafe { socket_address(name.as_ptr(), header.msg_namelen) }?),
    };
    *arrived = Arrived::one(len, from);
    // SAFETY: `header` and its control buffer are as recvmsg has left them.
    Ok(unsafe { read_control(&header, arrived) })
}

/// Reads the size and the time stamp from the control messages. Returns the address of this host that they name, if a reply
/// can come from it.
///
/// # Safety
///
/// `header` is as a successful recvmsg has left it, with its control buffer still there.
#[inline(always)] // as `receive`
unsafe fn read_control(header: &libc::msghdr, arrived: &mut Arrived) -> Option<Source> {
    let mut at = None;
    // SAFETY: as the caller promises; the data of each kind are as long as their types (udp(7), socket(7), ip(7), ipv6(7)).
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let each = data.cast::<libc::c_int>().read_unaligned();
                    arrived.each = usize::try_from(each).unwrap_or(arrived.len).clamp(1, arrived.len.max(1));
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    arrived.stamp = Some(WallTime::from_nanos(time.tv_sec * 1_000_000_000 + time.tv_nsec));
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    // For a datagram to a broadcast address, this is the address of the card that it came in by.
                    let ip = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                    at = Some(Source { ip: ip.into(), card: 0 });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    at = source_of_ipv6(info.ipi6_addr.s6_addr.into(), info.ipi6_ifindex);
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    at
}

/// A reply cannot come from a group or a broadcast address. There the kernel chooses.
#[inline(never)] // keeps this code out of the path of sockets at one address
fn source_of_ipv6(ip: Ipv6Addr, card: u32) -> Option<Source> {
    let is_of_many =
        ip.is_multicast() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_multicast() || ip.is_broadcast());
    let card = if ip.is_unicast_link_local() { card } else { 0 };
    (!is_of_many).then_some(Source { ip: ip.into(), card })
}

/// # Safety
///
/// `name` points to `len` bytes of a socket address that the kernel has written.
pub(super) unsafe fn socket_address(
    name: *const libc::sockaddr_storage,
    len: libc::socklen_t,
) -> io::Result<SocketAddr> {
    let len = len as usize;
    if len < size_of::<libc::sa_family_t>() {
        // The kernel wrote no family, so there is none to read.
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the length covers the family. The family tells the type, and the length is checked against that type.
    unsafe {
        match i32::from((&raw const (*name).ss_family).read()) {
            libc::AF_INET if len >= size_of::<libc::sockaddr_in>() => {
                let v4 = name.cast::<libc::sockaddr_in>().read();
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 if len >= size_of::<libc::sockaddr_in6>() => {
                let v6 = name.cast::<libc::sockaddr_in6>().read();
                let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
                Ok(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
