//! Finds the UDP datagram in a captured packet: link layer, IP, UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a packet holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Contents<'a> {
    Udp(Udp<'a>),
    /// A part of a datagram that IP has cut up, or one of which the capture has only the beginning.
    Partial,
    /// Something else.
    Other,
    /// This program does not know what stands before the IP header.
    UnknownLink,
}

/// A UDP datagram.
#[derive(Debug, PartialEq)]
pub(crate) struct Udp<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: &'a [u8],
}

/// Returns what a packet holds that was captured behind this link type.
pub(crate) fn contents(link_type: u16, packet: &[u8]) -> Contents<'_> {
    if !is_known(link_type) {
        return Contents::UnknownLink;
    }
    match ip_packet(link_type, packet).and_then(|ip| Some((ip, ip.first()? >> 4))) {
        Some((ip, 4)) => ipv4(ip),
        Some((ip, 6)) => ipv6(ip),
        _ => Contents::Other,
    }
}

const NULL: u16 = 0;
const ETHERNET: u16 = 1;
const RAW: [u16; 5] = [12, 14, 101, 228, 229];
const LOOP: u16 = 108;
const LINUX_COOKED: u16 = 113;
const LINUX_COOKED_2: u16 = 276;

fn is_known(link_type: u16) -> bool {
    [NULL, ETHERNET, LOOP, LINUX_COOKED, LINUX_COOKED_2].contains(&link_type) || RAW.contains(&link_type)
}

/// Returns the bytes from the IP header on.
fn ip_packet(link_type: u16, packet: &[u8]) -> Option<&[u8]> {
    match link_type {
        NULL | LOOP => packet.get(4..),
        ETHERNET => behind_tags(packet, 12),
        LINUX_COOKED if is_seen_twice(packet, 2, 1) => None,
        LINUX_COOKED => behind_tags(packet, 14),
        LINUX_COOKED_2 if is_seen_twice(packet, 8, 10) => None,
        LINUX_COOKED_2 => packet.get(20..),
        raw if RAW.contains(&raw) => Some(packet),
        _ => None,
    }
}

/// Whether the packet goes out on the loopback. A capture of all interfaces has each of them a second time, as it comes in.
fn is_seen_twice(packet: &[u8], hardware_at: usize, direction_at: usize) -> bool {
    const LOOPBACK: [u8; 2] = 772_u16.to_be_bytes();
    const OUTGOING: u8 = 4;
    packet.get(hardware_at..hardware_at + 2) == Some(&LOOPBACK) && packet.get(direction_at) == Some(&OUTGOING)
}

/// Skips the tags of virtual networks. The type of what follows stands at `at`.
fn behind_tags(packet: &[u8], mut at: usize) -> Option<&[u8]> {
    const TAGS: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];
    const MOST_TAGS: usize = 4;
    for _ in 0..MOST_TAGS {
        if !TAGS.iter().any(|tag| packet.get(at..at + 2) == Some(tag)) {
            break;
        }
        at += 4;
    }
    packet.get(at + 2..)
}

const UDP: u8 = 17;

fn ipv4(packet: &[u8]) -> Contents<'_> {
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    let Some(header) = packet.get(..header_len).filter(|header| header.len() >= 20) else {
        return Contents::Other;
    };
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let address =
        |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
    match header[9] {
        UDP if is_fragment => Contents::Partial,
        UDP => udp(address(12), address(16), &packet[header_len..]),
        _ => Contents::Other,
    }
}

fn ipv6(packet: &[u8]) -> Contents<'_> {
    const EXTENSIONS: [u8; 3] = [0, 43, 60]; // hop by hop, routing, destination
    const FRAGMENT: u8 = 44;
    const MOST_EXTENSIONS: usize = 8;
    let Some(header) = packet.first_chunk::<40>() else { return Contents::Other };
    let address = |at: usize| {
        let bytes: [u8; 16] = header[at..at + 16].try_into().expect("16 bytes");
        IpAddr::V6(Ipv6Addr::from(bytes))
    };
    let (mut next, mut at) = (header[6], 40);
    for _ in 0..MOST_EXTENSIONS {
        match (next, packet.get(at..)) {
            (UDP, Some(rest)) => return udp(address(8), address(24), rest),
            (FRAGMENT, _) => return Contents::Partial,
            (extension, Some(&[following, length, ..])) if EXTENSIONS.contains(&extension) => {
                (next, at) = (following, at + 8 + usize::from(length) * 8);
            }
            _ => return Contents::Other,
        }
    }
    Contents::Other
}

fn udp(from: IpAddr, to: IpAddr, packet: &[u8]) -> Contents<'_> {
    let Some((header, rest)) = packet.split_first_chunk::<8>() else { return Contents::Partial };
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let Some(length) = usize::from(field(4)).checked_sub(8) else { return Contents::Other };
    match rest.get(..length) {
        Some(payload) => Contents::Udp(Udp {
            from: SocketAddr::new(from, field(0)),
            to: SocketAddr::new(to, field(2)),
            payload,
        }),
        None => Contents::Partial,
    }
}
