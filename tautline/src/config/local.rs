//! The own address and the network card of an interface, as users write them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::endpoint::Endpoint;
use super::value::{Setting, SourceValue};

/// An address of this host: an IP address, with a zone if it is link-local (`fe80::1%eth0`, RFC 4007), and a port. Port 0 is
/// any free port.
///
/// The zone is looked up whenever the socket is opened, so that a card that was plugged in again is found.
///
/// ```
/// use tautline::LocalAddress;
///
/// let local: LocalAddress = "fe80::1%eth0".parse()?;
/// assert_eq!(local.to_string(), "[fe80::1%eth0]:0");
/// # Ok::<(), tautline::LocalAddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocalAddress {
    ip: IpAddr,
    zone: Option<String>,
    port: u16,
}

/// The text is no address of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddressError;

/// What is right.
const EXPECTED: &str = "a local IP address, with or without a port, such as 10.0.0.5:0 or fe80::1%eth0";

impl LocalAddress {
    /// The address.
    pub(crate) const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The name or the number of the network card of a link-local address.
    pub(crate) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The port; 0 is any free port.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for LocalAddress {
    type Err = LocalAddressError;

    fn from_str(text: &str) -> Result<Self, LocalAddressError> {
        let text = text.trim();
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Some((ip, zone)) = split_zone(bare) {
            return Ok(Self { ip, zone, port: 0 });
        }
        let endpoint: Endpoint = text.parse().map_err(|_| LocalAddressError)?;
        let (ip, zone) = split_zone(endpoint.host()).ok_or(LocalAddressError)?;
        // A port that was left out is not the endpoint's default.
        let port = if text.ends_with(&format!(":{}", endpoint.port())) { endpoint.port() } else { 0 };
        Ok(Self { ip, zone, port })
    }
}

/// Reads an IP address, with or without a zone.
fn split_zone(text: &str) -> Option<(IpAddr, Option<String>)> {
    match text.split_once('%') {
        None => Some((text.parse().ok()?, None)),
        Some((ip, zone)) => {
            let is_zone =
                !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_graphic() && byte != b']');
            Some((ip.parse::<Ipv6Addr>().ok().filter(|_| is_zone)?.into(), Some(zone.to_owned())))
        }
    }
}

impl From<SocketAddr> for LocalAddress {
    fn from(address: SocketAddr) -> Self {
        let zone = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(v6.scope_id().to_string()),
            _ => None,
        };
        Self { ip: address.ip(), zone, port: address.port() }
    }
}

macro_rules! from_pairs {
    ($($address:ty),+) => {
        $(impl From<($address, u16)> for LocalAddress {
            fn from((address, port): ($address, u16)) -> Self {
                Self { ip: IpAddr::from(address), zone: None, port }
            }
        })+
    };
}

from_pairs!(IpAddr, Ipv4Addr, Ipv6Addr, [u8; 4]);

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ip, &self.zone) {
            (IpAddr::V4(ip), _) => write!(f, "{ip}:{}", self.port),
            (IpAddr::V6(ip), None) => write!(f, "[{ip}]:{}", self.port),
            (IpAddr::V6(ip), Some(zone)) => write!(f, "[{ip}%{zone}]:{}", self.port),
        }
    }
}

impl fmt::Display for LocalAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {EXPECTED}")
    }
}

impl std::error::Error for LocalAddressError {}

impl Setting for LocalAddress {
    type Size = ();

    fn read(given: SourceValue<'_>) -> Option<Self> {
        given.text()?.parse().ok()
    }

    fn size(&self) {}

    fn show(&self) -> String {
        self.to_string()
    }

    fn expected(_: Option<&RangeInclusive<()>>) -> String {
        EXPECTED.to_owned()
    }
}

/// The name of a network card of this host, such as `eth1`; on Windows such as `Ethernet 2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CardName(String);

impl CardName {
    /// The longest name (IFNAMSIZ of linux/if.h, without its zero byte; on Windows IF_MAX_STRING_SIZE).
    const LONGEST: usize = if cfg!(windows) { 256 } else { 15 };

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a card can have this name.
    pub(super) fn is_possible(&self) -> bool {
        // On Windows people give the names.
        let of_a_name = |c: char| if cfg!(windows) { !c.is_control() } else { c.is_ascii_graphic() };
        (1..=Self::LONGEST).contains(&self.0.len())
            && self.0.chars().all(|c| of_a_name(c) && !"/%".contains(c))
    }

    pub(super) const EXPECTED: &str =
        "the name of a network card, such as eth1 (`ip link` lists them; on Windows `Get-NetAdapter` does)";
}

impl From<&str> for CardName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl From<String> for CardName {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl Setting for CardName {
    type Size = ();

    fn read(given: SourceValue<'_>) -> Option<Self> {
        Some(Self::from(given.text()?.trim())).filter(Self::is_possible)
    }

    fn size(&self) {}

    fn show(&self) -> String {
        self.0.clone()
    }

    fn found(&self) -> String {
        SourceValue::Text(&self.0).to_string()
    }

    fn expected(_: Option<&RangeInclusive<()>>) -> String {
        Self::EXPECTED.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_accepted_form_of_a_local_address_is_read_and_shown() {
        for (text, shown) in [
            ("10.0.0.5", "10.0.0.5:0"),
            ("10.0.0.5:9000", "10.0.0.5:9000"),
            ("10.0.0.5:8080", "10.0.0.5:8080"),
            ("::1", "[::1]:0"),
            ("[::1]", "[::1]:0"),
            ("[::1]:9000", "[::1]:9000"),
            ("fe80::1%eth0", "[fe80::1%eth0]:0"),
            ("[fe80::1%eth0]:7", "[fe80::1%eth0]:7"),
        ] {
            let local: LocalAddress = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(local.to_string(), shown);
            assert_eq!(shown.parse(), Ok(local), "{text} shown and read again");
        }
        for text in ["", "plant", "plant:9000", "10.0.0.300", "::1%", "10.0.0.5%eth0", "10.0.0.5:x"] {
            assert_eq!(text.parse::<LocalAddress>(), Err(LocalAddressError), "{text}");
        }
    }

    #[test]
    fn the_name_of_a_card_is_a_name_that_the_system_gives() {
        for name in ["eth1", "enp0s31f6", "eth0.100", "wg-lab"] {
            assert!(CardName::from(name).is_possible(), "{name}");
        }
        for name in ["", "a/b", "two\nlines"] {
            assert!(!CardName::from(name).is_possible(), "{name}");
        }
        for name in ["Ethernet 2", "Conexión de área local", "vEthernet (Default Switch)"] {
            assert_eq!(CardName::from(name).is_possible(), cfg!(windows), "{name}");
        }
    }
}
