//! The calls of Windows, and its socket options.
#![allow(unsafe_code)] // no safe wrapper offers them

pub(super) mod calls;
mod messages;
pub(super) mod sleeping;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::windows::io::AsRawSocket;

use windows_sys::Win32::Networking::WinSock as winsock;

pub(super) use super::elsewhere::*;
use super::{Granted, IpFragments};
use crate::machine::names::number_of_card;

pub(super) use messages::{receive, refuses_recvmsg, send_message, tell_destination};

fn handle(udp: &UdpSocket) -> winsock::SOCKET {
    // As wide as a pointer, both of them.
    usize::try_from(udp.as_raw_socket()).expect("a handle")
}

/// The length of a value that a call of the system takes: a few bytes.
fn len_of<T>() -> i32 {
    i32::try_from(size_of::<T>()).expect("a few bytes")
}

/// The result of a call of Winsock that returns 0 if it succeeds.
fn succeeded(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets a socket option whose value is a number of 32 bits.
fn set_option(udp: &UdpSocket, level: i32, option: i32, value: u32) -> io::Result<()> {
    // SAFETY: the socket stays open during the call. Pointer and length describe `value`, which the system only reads.
    succeeded(unsafe {
        winsock::setsockopt(handle(udp), level, option, (&raw const value).cast(), len_of::<u32>())
    })
}

/// Reads a socket option whose value is a number of 32 bits.
fn option(udp: &UdpSocket, level: i32, option: i32) -> io::Result<u32> {
    let (mut value, mut len) = (0u32, len_of::<u32>());
    // SAFETY: the socket stays open during the call. Pointer and length describe `value`, where the system writes at most that
    // many bytes.
    let read =
        unsafe { winsock::getsockopt(handle(udp), level, option, (&raw mut value).cast(), &raw mut len) };
    succeeded(read).map(|()| value)
}

/// Sends by this network card alone. (Windows receives by every card that has the address.)
pub(super) fn use_card(udp: &UdpSocket, name: &str) -> io::Result<()> {
    use_card_number(udp, number_of_card(name)?)
}

/// As [`use_card`], by the card's number.
pub(super) fn use_card_number(udp: &UdpSocket, number: u32) -> io::Result<()> {
    // IPv4 wants the number in the order of the network, IPv6 does not. A socket of IPv6 may have both.
    let v4 = set_option(udp, winsock::IPPROTO_IP, winsock::IP_UNICAST_IF, number.to_be());
    let v6 = set_option(udp, winsock::IPPROTO_IPV6, winsock::IPV6_UNICAST_IF, number);
    if v6.is_ok() { Ok(()) } else { v4 }
}

pub(super) fn set_ip_fragments(udp: &UdpSocket, is_ipv6: bool, mode: IpFragments) -> bool {
    let forbid = u32::from(mode == IpFragments::Never);
    // On an IPv6 socket, this is for its IPv4 peers.
    let v4 = set_option(udp, winsock::IPPROTO_IP, winsock::IP_DONTFRAGMENT, forbid).is_ok();
    if is_ipv6 { set_option(udp, winsock::IPPROTO_IPV6, winsock::IPV6_DONTFRAG, forbid).is_ok() } else { v4 }
}

/// The largest packet that the path to this address carries, as far as the system knows.
pub(super) fn path_mtu(from: IpAddr, to: SocketAddr) -> io::Result<usize> {
    // A socket of its own: only a connected one knows its path.
    let from = if from.is_ipv4() == to.is_ipv4() { from } else { calls::unspecified(to).ip() };
    let udp = UdpSocket::bind((from, 0))?;
    udp.connect(to)?;
    let mtu = match to.is_ipv6() {
        true => option(&udp, winsock::IPPROTO_IPV6, winsock::IPV6_MTU),
        false => option(&udp, winsock::IPPROTO_IP, winsock::IP_MTU),
    }?;
    // Loopback has no limit, which is told as the largest number.
    Ok(usize::try_from(mtu).unwrap_or(usize::MAX).min(65_535))
}

pub(super) fn set_buffers(udp: &UdpSocket, receive: usize, send: usize) -> Granted {
    let set = |name: i32, size: usize| {
        if size > 0 {
            let _ = set_option(udp, winsock::SOL_SOCKET, name, u32::try_from(size).unwrap_or(u32::MAX));
        }
        option(udp, winsock::SOL_SOCKET, name).ok().and_then(|granted| usize::try_from(granted).ok())
    };
    Granted { receive_buffer: set(winsock::SO_RCVBUF, receive), send_buffer: set(winsock::SO_SNDBUF, send) }
}
