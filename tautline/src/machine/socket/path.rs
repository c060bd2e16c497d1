//! Paths that carry only small packets: what the system knows of them, and whether IP fragments what is larger.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::{Socket, platform};
use crate::sync::Ordering;

/// The headers of an IP packet with a UDP datagram, without options, in bytes (RFC 791, RFC 8200, RFC 768).
const IPV4_HEADERS: usize = 20 + 8;
const IPV6_HEADERS: usize = 40 + 8;

/// What happens to a datagram that is larger than the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IpFragments {
    /// IP cuts it into fragments, here or on the way. If one is lost, all are.
    Allowed,
    /// The system refuses it (EMSGSIZE), and routers drop it.
    Never,
}

/// The length of the headers of a packet to this address. An IPv4-mapped address is reached by IPv4.
pub(crate) fn headers_to(address: SocketAddr) -> usize {
    if address.ip().to_canonical().is_ipv4() { IPV4_HEADERS } else { IPV6_HEADERS }
}

impl Socket {
    /// Sets what happens to datagrams that are larger than the path. Returns whether the system does as asked.
    pub(crate) fn set_ip_fragments(&self, mode: IpFragments) -> bool {
        self.allows_ip_fragments.store(mode == IpFragments::Allowed, Ordering::Relaxed);
        platform::set_ip_fragments(&self.udp, self.is_ipv6(), mode)
    }

    /// The size of the largest datagram that the path to this address carries, in bytes, as far as the system knows. Makes
    /// some system calls.
    pub(crate) fn path_datagram_size(&self, to: SocketAddr) -> Option<usize> {
        let called = if self.answers_as_called() { self.sources.of(to) } else { None };
        let from = called.map(|source| source.ip).or_else(|| Some(self.local_address()?.ip()))?;
        let to = match to.ip().to_canonical() {
            IpAddr::V4(ip) => SocketAddr::new(ip.into(), to.port()),
            IpAddr::V6(_) => to,
        };
        let mtu = platform::path_mtu(from.to_canonical(), to).ok()?;
        mtu.checked_sub(headers_to(to))
    }

    /// Sends one datagram, and lets IP fragment it. Some system calls.
    pub(crate) fn send_in_ip_fragments(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.set_ip_fragments(IpFragments::Allowed);
        let sent = self.send(datagram, to);
        self.set_ip_fragments(IpFragments::Never);
        sent
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_knows_the_path_to_itself() {
        for any in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            // A host may have no IPv6.
            let Ok(socket) = Socket::bind(any.parse().unwrap()) else { continue };
            let to: SocketAddr =
                if any.contains("127") || any.starts_with('0') { "127.0.0.1:9" } else { "[::1]:9" }
                    .parse()
                    .unwrap();
            let size = socket.path_datagram_size(to).expect("loopback is up");
            assert!(size >= 500 && size + headers_to(to) <= 65_536, "{any}: {size}");
        }
    }

    #[test]
    fn a_mapped_address_has_the_headers_of_ipv4() {
        let headers =
            ["127.0.0.1:9", "[::ffff:127.0.0.1]:9", "[::1]:9"].map(|to| headers_to(to.parse().unwrap()));
        assert_eq!(headers, [28, 28, 48]);
    }
}
