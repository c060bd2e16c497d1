//! The plain system calls of a non-blocking socket on Windows: one datagram each.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::windows::io::{FromRawSocket, RawSocket};
use std::sync::OnceLock;

use windows_sys::Win32::Networking::WinSock as winsock;

use super::messages::{Name, socket_address, with_name};
use super::{handle, len_of, set_option, succeeded};
use crate::machine::socket::place::Place;

/// Begins the use of Winsock, once for the process.
fn begin() -> io::Result<()> {
    const VERSION: u16 = 0x0202;
    static BEGUN: OnceLock<i32> = OnceLock::new();
    let begun = BEGUN.get_or_init(|| {
        let mut about = winsock::WSADATA::default();
        // SAFETY: the system writes to `about`, which lives until the call returns.
        unsafe { winsock::WSAStartup(VERSION, &raw mut about) }
    });
    if *begun == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(*begun)) }
}

/// Opens a socket of the place's family. One of IPv6 takes IPv4 too, as on Linux.
pub(in crate::machine::socket) fn open(place: &Place, is_client: bool) -> io::Result<UdpSocket> {
    begin()?;
    let family = if place.address.is_ipv6() { winsock::AF_INET6 } else { winsock::AF_INET };
    let flags = winsock::WSA_FLAG_OVERLAPPED | winsock::WSA_FLAG_NO_HANDLE_INHERIT;
    // SAFETY: no pointer is passed but null, which means no information about the protocol.
    let socket = unsafe {
        let (family, kind, protocol) = (i32::from(family), winsock::SOCK_DGRAM, winsock::IPPROTO_UDP);
        winsock::WSASocketW(family, kind, protocol, std::ptr::null(), 0, flags)
    };
    if socket == winsock::INVALID_SOCKET {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the socket was opened here, and nothing else owns it.
    let udp = unsafe { UdpSocket::from_raw_socket(socket as RawSocket) };
    if place.address.is_ipv6() {
        let _ = set_option(&udp, winsock::IPPROTO_IPV6, winsock::IPV6_V6ONLY, 0);
    }
    if !is_client {
        keep_to_itself(&udp);
    }
    Ok(udp)
}

/// What a server's socket must be told on Windows.
fn keep_to_itself(udp: &UdpSocket) {
    // Else another program could take the port over (SO_REUSEADDR).
    let _ = set_option(udp, winsock::SOL_SOCKET, winsock::SO_EXCLUSIVEADDRUSE, 1);
    // Else a read fails with WSAECONNRESET after a peer has died, and does not say which.
    let _ = turn_off(udp, winsock::SIO_UDP_CONNRESET);
    let _ = turn_off(udp, winsock::SIO_UDP_NETRESET);
}

fn turn_off(udp: &UdpSocket, report: u32) -> io::Result<()> {
    let (no, mut returned) = (0i32, 0u32);
    // SAFETY: the socket stays open during the call, which reads `no` and writes `returned`; no other memory is passed.
    succeeded(unsafe {
        winsock::WSAIoctl(
            handle(udp),
            report,
            (&raw const no).cast(),
            size_of::<i32>() as u32,
            std::ptr::null_mut(),
            0,
            &raw mut returned,
            std::ptr::null_mut(),
            None,
        )
    })
}

pub(in crate::machine::socket) fn bind(udp: &UdpSocket, own: SocketAddr) -> io::Result<()> {
    // SAFETY: name and length describe an address that lives until the call returns.
    with_name(own, |name, len| succeeded(unsafe { winsock::bind(handle(udp), name, len) }))
}

/// Whether the socket has a port.
pub(in crate::machine::socket) fn is_bound(udp: &UdpSocket) -> bool {
    udp.local_addr().is_ok_and(|local| local.port() != 0)
}

/// Disconnects the socket. It keeps its port: Windows binds a socket once.
pub(in crate::machine::socket) fn leave(udp: &UdpSocket) {
    // On a socket without a peer, this would choose a port.
    if let Ok(peer) = udp.peer_addr() {
        let _ = udp.connect(unspecified(peer));
    }
}

/// The address of this family that stands for none.
pub(super) fn unspecified(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// How often a send is tried that the system refuses for now.
const TRIES: usize = 8;

/// Sends, and tries it again at once if the system refuses it for now: Wine refuses a send (WSAEWOULDBLOCK) while another thread sends
/// at the same socket, though the buffer has room. A full buffer stays full for longer.
pub(super) fn send_again(send: impl Fn() -> io::Result<usize>) -> io::Result<usize> {
    for _ in 1..TRIES {
        match send() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            sent => return sent,
        }
    }
    send()
}

pub(in crate::machine::socket) fn send(udp: &UdpSocket, datagram: &[u8]) -> io::Result<usize> {
    send_again(|| udp.send(datagram))
}

pub(in crate::machine::socket) fn send_to(
    udp: &UdpSocket,
    datagram: &[u8],
    to: SocketAddr,
) -> io::Result<usize> {
    send_again(|| udp.send_to(datagram, to))
}

pub(in crate::machine::socket) fn receive(udp: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    let room = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
    // SAFETY: pointer and length describe the buffer, which is borrowed for writing.
    let read = unsafe { winsock::recv(handle(udp), buffer.as_mut_ptr(), room, 0) };
    length(read, buffer)
}

pub(in crate::machine::socket) fn receive_from(
    udp: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr)> {
    let room = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
    let (mut name, mut len) = (Name::default(), len_of::<Name>());
    // SAFETY: pointers and lengths describe the buffer and `name`, which are borrowed for writing.
    let read = unsafe {
        let to = (&raw mut name).cast();
        winsock::recvfrom(handle(udp), buffer.as_mut_ptr(), room, 0, to, &raw mut len)
    };
    let read = length(read, buffer)?;
    Ok((read, socket_address(&name)?))
}

/// The length of what was read. Windows reports a datagram that is longer than the buffer as an error; here, as on other
/// systems, the part that fits was read.
fn length(read: i32, buffer: &[u8]) -> io::Result<usize> {
    usize::try_from(read).or_else(|_| {
        let error = io::Error::last_os_error();
        if is_longer(&error) { Ok(buffer.len()) } else { Err(error) }
    })
}

/// Whether the error means that a datagram was longer than the buffer, and that the part that fits was read.
pub(super) fn is_longer(error: &io::Error) -> bool {
    error.raw_os_error() == Some(winsock::WSAEMSGSIZE)
}

/// Whether a datagram waits to be read. Not asked here.
pub(in crate::machine::socket) const fn has_waiting(_: &UdpSocket) -> bool {
    false
}

/// Whether the error means that no datagram waits. A socket that is at no place yet has none either (WSAEINVAL).
pub(in crate::machine::socket) fn found_nothing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(winsock::WSAEWOULDBLOCK | winsock::WSAEINVAL))
}
