//! IP networks: who may become a peer.

use crate::snapshot::saved;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;

/// An IP network in the notation of RFC 4632 §3.1 and RFC 4291 §2.3: `10.0.0.0/24`, `fd00::/8`. An address alone is a network
/// of one host.
///
/// An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) counts as the IPv4 address: a socket of both families shows IPv4 hosts so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Invariant: no IPv4-mapped address, and no bits beyond the prefix.
    address: IpAddr,
    prefix: u8,
}

/// Returns the upper and the lower half of an address.
#[allow(clippy::cast_possible_truncation)] // the lower half
pub(crate) const fn halves(address: Ipv6Addr) -> [u64; 2] {
    let bits = address.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

/// The bits of an IPv6 address that name a network. A host may choose the others (RFC 4291 §2.5.1), and may have as many
/// addresses there as it likes.
const IPV6_NETWORK_BITS: u8 = 64;

impl Network {
    /// Returns the network that the host with this address may have for itself: the first 64 bits of an IPv6 address, or an
    /// IPv4 address alone.
    #[must_use]
    pub fn around(host: IpAddr) -> Self {
        match host.to_canonical() {
            IpAddr::V6(host) => {
                let address = Ipv6Addr::from_bits(host.to_bits() >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS);
                Self { address: address.into(), prefix: IPV6_NETWORK_BITS }
            }
            host => Self { address: host, prefix: 32 },
        }
    }

    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns whether the address belongs to the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix.into()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix.into()
            }
            _ => false,
        }
    }

    /// Returns whether the prefix covers all bits of the address that are set.
    fn has_no_host_bits(&self) -> bool {
        let host_bits = |zeros: u32, width: u32| zeros.min(width) >= width - u32::from(self.prefix);
        match self.address {
            IpAddr::V4(address) => host_bits(address.to_bits().trailing_zeros(), 32),
            IpAddr::V6(address) => host_bits(address.to_bits().trailing_zeros(), 128),
        }
    }
}

/// Why a text is not a network: a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkError(&'static str);

const NOT_AN_ADDRESS: NetworkError = NetworkError("does not begin with an IP address");
const NOT_A_PREFIX: NetworkError =
    NetworkError("has no prefix of 0 to 32 bits (IPv4) or 0 to 128 bits (IPv6) after the slash");
const HOST_BITS: NetworkError =
    NetworkError("has bits beyond its prefix, such as 10.0.0.5/24 for 10.0.0.0/24");

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for NetworkError {}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| NOT_AN_ADDRESS)?;
        let width: u8 = if written.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|&bits| bits <= width).ok_or(NOT_A_PREFIX)?
            }
            Some(_) => return Err(NOT_A_PREFIX),
        };
        let address = written.to_canonical();
        // The prefix of a mapped address counts the 96 bits before the IPv4 address too.
        let network = match (written, address) {
            (IpAddr::V6(_), IpAddr::V4(_)) if prefix >= 96 => Self { address, prefix: prefix - 96 },
            _ => Self { address: written, prefix },
        };
        if network.has_no_host_bits() { Ok(network) } else { Err(HOST_BITS) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

saved!(Network { address, prefix });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/24", "10.0.0.255", "10.0.1.0"),
            ("10.0.0.0/24", "::ffff:10.0.0.7", "::ffff:10.0.1.7"),
            ("::ffff:10.0.0.0/120", "10.0.0.7", "::10.0.0.7"),
            ("192.168.1.9", "192.168.1.9", "192.168.1.8"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "127.0.0.1"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "fe80::1", "1.2.3.4"),
        ] {
            let [inside, outside]: [IpAddr; 2] =
                [inside, outside].map(|text| text.parse().expect("an address"));
            let network: Network = network.parse().expect("a network");
            assert!(network.contains(inside), "{network} {inside}");
            assert!(!network.contains(outside), "{network} {outside}");
        }
    }

    #[test]
    fn one_host_may_have_all_addresses_of_an_ipv6_network() {
        for (one, other, is_one) in [
            ("fd00::1", "fd00::ffff:0:0:1", true),
            ("fd00::1", "fd00:0:0:1::1", false),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("::1", "127.0.0.1", false),
        ] {
            let [one, other]: [IpAddr; 2] = [one, other].map(|text| text.parse().expect("an address"));
            assert_eq!(Network::around(one) == Network::around(other), is_one, "{one} {other}");
            assert!(Network::around(one).contains(one));
        }
    }

    #[test]
    fn a_text_that_is_no_network_is_refused_with_the_reason() {
        for (text, error) in [
            ("", NOT_AN_ADDRESS),
            ("plant/8", NOT_AN_ADDRESS),
            ("10.0.0/24", NOT_AN_ADDRESS),
            ("10.0.0.0/", NOT_A_PREFIX),
            ("10.0.0.0/33", NOT_A_PREFIX),
            ("10.0.0.0/+8", NOT_A_PREFIX),
            ("fd00::/129", NOT_A_PREFIX),
            ("10.0.0.5/24", HOST_BITS),
            ("fd00::1/8", HOST_BITS),
            ("1.0.0.0/0", HOST_BITS),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }
}
