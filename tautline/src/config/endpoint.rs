//! Endpoints, as users write them: `host:port`, `[ipv6]:port`, a host alone, or `:port` for every address of this host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::value::{Role, quoted};

/// The port of an endpoint without a port.
const DEFAULT_PORT: u16 = 8080;

/// The longest name in DNS, in bytes of text (RFC 1035).
const MAX_HOST_NAME: usize = 253;

/// A host, by address or name, and a port. A name is resolved only when the interface connects.
///
/// ```
/// use tautline::Endpoint;
///
/// let endpoint: Endpoint = "[::1]:9000".parse()?;
/// assert_eq!((endpoint.host(), endpoint.port()), ("::1", 9000));
/// assert_eq!("plant.local".parse::<Endpoint>()?.port(), 8080);
/// # Ok::<(), tautline::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Invariant: an IPv4 address, an IPv6 address without brackets (with or without a zone), a name of letters,
    /// digits, `-`, `_` and dots, or nothing for every address of this host.
    host: String,
    port: u16,
}

impl Endpoint {
    /// The host: an address without brackets, or a name. Empty if it is [every](Self::is_everywhere) address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port. 0 lets a server take any free port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether a server listens on every address of this host, IPv4 and IPv6: ":9000".
    #[must_use]
    pub const fn is_everywhere(&self) -> bool {
        self.host.is_empty()
    }

    /// Whether it is the unspecified address, which stands for every address of this host.
    pub(crate) fn is_unspecified(&self) -> bool {
        self.is_everywhere() || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
    }
}

impl Endpoint {
    /// Parses the endpoint of an interface. Only a server may omit the host.
    pub(super) fn for_role(text: &str, role: Role) -> Result<Self, EndpointError> {
        let endpoint: Self = text.parse()?;
        if endpoint.is_everywhere() && role == Role::Client {
            return Err(EndpointError { found: text.to_owned(), problem: NO_HOST });
        }
        Ok(endpoint)
    }
}

/// An endpoint in any form that a user has it: text such as "plant.local:9000", a `SocketAddr`, or a host and a port.
///
/// The text is parsed when the interface is created. A fault is a [`ConfigError`](crate::ConfigError) there.
///
/// ```
/// use std::net::{Ipv4Addr, SocketAddr};
/// use tautline::Config;
///
/// let address = SocketAddr::from(([127, 0, 0, 1], 9000));
/// for config in [
///     Config::client("127.0.0.1:9000"),
///     Config::client(address),
///     Config::client(("127.0.0.1", 9000)),
///     Config::client((Ipv4Addr::LOCALHOST, 9000)),
/// ] {
///     assert_eq!(config.settings()?.endpoint.to_string(), "127.0.0.1:9000");
/// }
/// # Ok::<(), tautline::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointText(String);

impl EndpointText {
    pub(super) fn read(text: impl Into<Self>) -> String {
        text.into().0
    }
}

impl From<&str> for EndpointText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for EndpointText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&String> for EndpointText {
    fn from(text: &String) -> Self {
        Self(text.clone())
    }
}

impl From<Endpoint> for EndpointText {
    fn from(endpoint: Endpoint) -> Self {
        Self(endpoint.to_string())
    }
}

impl From<SocketAddr> for EndpointText {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

impl From<(&str, u16)> for EndpointText {
    fn from((host, port): (&str, u16)) -> Self {
        // An IPv6 address needs brackets before a port.
        Self(if is_ipv6(host) { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
    }
}

impl From<(String, u16)> for EndpointText {
    fn from((host, port): (String, u16)) -> Self {
        Self::from((host.as_str(), port))
    }
}

impl From<(IpAddr, u16)> for EndpointText {
    fn from(pair: (IpAddr, u16)) -> Self {
        Self::from(SocketAddr::from(pair))
    }
}

impl From<(Ipv4Addr, u16)> for EndpointText {
    fn from(pair: (Ipv4Addr, u16)) -> Self {
        Self::from(SocketAddr::from(pair))
    }
}

impl From<(Ipv6Addr, u16)> for EndpointText {
    fn from(pair: (Ipv6Addr, u16)) -> Self {
        Self::from(SocketAddr::from(pair))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let parsed = if let Some(rest) = text.strip_prefix('[') {
            parse_bracketed(rest)
        } else if text.bytes().filter(|byte| *byte == b':').count() > 1 {
            parse_bare_ipv6(text)
        } else {
            parse_host_and_port(text)
        };
        match parsed.and_then(check_single) {
            Ok((host, port)) => Ok(Self { host: host.to_owned(), port }),
            Err(problem) => Err(EndpointError { found: text.to_owned(), problem }),
        }
    }
}

/// Refuses the addresses of many hosts: neither wire serves them.
fn check_single((host, port): (&str, u16)) -> Result<(&str, u16), &'static str> {
    let ip = host.split('%').next().unwrap_or(host).parse::<IpAddr>();
    match ip {
        Ok(ip) if ip.to_canonical().is_multicast() => Err(MULTICAST),
        Ok(ip) if serves_many(ip) => Err(BROADCAST),
        _ => Ok((host, port)),
    }
}

/// Whether the address is a multicast group or the broadcast address, also in its IPv4-mapped form.
pub(crate) fn serves_many(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_multicast() || ip == IpAddr::from(Ipv4Addr::BROADCAST)
}

/// Reads what follows the opening bracket: `::1]:9000` or `::1]`.
fn parse_bracketed(rest: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = rest.split_once(']').ok_or(NO_CLOSING_BRACKET)?;
    if !is_ipv6(host) {
        return Err(NOT_IPV6);
    }
    match port.strip_prefix(':') {
        Some(port) => Ok((host, parse_port(port)?)),
        None if port.is_empty() => Ok((host, DEFAULT_PORT)),
        None => Err(BAD_PORT),
    }
}

/// Reads an IPv6 address without brackets. `fe80::1:9000` is an address, but its author may have meant port 9000 of
/// `fe80::1`. A text with two meanings is refused.
fn parse_bare_ipv6(text: &str) -> Result<(&str, u16), &'static str> {
    if !is_ipv6(text) {
        return Err(TOO_MANY_COLONS);
    }
    match text.rsplit_once(':') {
        Some((host, port)) if is_ipv6(host) && parse_port(port).is_ok() => Err(AMBIGUOUS),
        _ => Ok((text, DEFAULT_PORT)),
    }
}

/// Reads `host:port`, `host` or `:port`.
fn parse_host_and_port(text: &str) -> Result<(&str, u16), &'static str> {
    match text.split_once(':') {
        Some(("", port)) => Ok(("", parse_port(port)?)),
        Some((host, port)) => Ok((check_name(host)?, parse_port(port)?)),
        None if text.is_empty() => Err(NO_HOST),
        None => Ok((check_name(text)?, DEFAULT_PORT)),
    }
}

/// Accepts IPv4 addresses, and names that a resolver may know. Returns the host.
fn check_name(host: &str) -> Result<&str, &'static str> {
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric {
        // Otherwise the resolver would look up 10.0.0.300 and 10.0.1 as names, or guess an address.
        return host.parse::<Ipv4Addr>().map(|_| host).map_err(|_| NOT_IPV4);
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let labels_filled = host.strip_suffix('.').unwrap_or(host).split('.').all(|label| !label.is_empty());
    if host.len() <= MAX_HOST_NAME && host.bytes().all(known) && labels_filled {
        Ok(host)
    } else {
        Err(BAD_NAME)
    }
}

/// Whether the text is an IPv6 address, with or without a zone such as `%eth0`.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let zone_is_filled =
        zone.is_none_or(|zone| !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_graphic()));
    zone_is_filled && address.parse::<Ipv6Addr>().is_ok()
}

/// Reads decimal digits up to 65535. Unlike `u16::from_str`, allows no sign.
fn parse_port(text: &str) -> Result<u16, &'static str> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD_PORT);
    }
    text.parse().map_err(|_| BAD_PORT)
}

/// Why a text is not an endpoint: a sentence that says what is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError {
    found: String,
    problem: &'static str,
}

const NO_HOST: &str = "has no host";
const BAD_PORT: &str = "has a port that is not a number from 0 to 65535";
const NOT_IPV4: &str = "is not an IPv4 address";
const NOT_IPV6: &str = "has no IPv6 address in its brackets";
const NO_CLOSING_BRACKET: &str = "has no closing bracket";
const TOO_MANY_COLONS: &str = "has more than one colon and is not an IPv6 address";
const AMBIGUOUS: &str = "may or may not end in a port, so it needs brackets";
const MULTICAST: &str = "is a multicast group, and each end of a link has an address of its own";
const BROADCAST: &str = "is the broadcast address, and each end of a link has an address of its own";
const BAD_NAME: &str = "has a host that is neither an address nor a name";

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, problem } = self;
        write!(f, "{} {problem}: expected host:port, [ipv6]:port or host", quoted(found))
    }
}

impl std::error::Error for EndpointError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_accepted_form_gives_its_host_and_port() {
        for (text, host, port) in [
            ("127.0.0.1:9000", "127.0.0.1", 9000),
            ("0.0.0.0:0", "0.0.0.0", 0),
            (":9000", "", 9000),
            ("plant", "plant", 8080),
            ("plant_2.lab.example.:65535", "plant_2.lab.example.", 65535),
            ("[::1]:9000", "::1", 9000),
            ("[::1]", "::1", 8080),
            ("[fe80::1%eth0]:9000", "fe80::1%eth0", 9000),
            ("::1", "::1", 8080),
            ("::", "::", 8080),
            ("2001:db8:0:0:0:0:0:1", "2001:db8:0:0:0:0:0:1", 8080),
            ("fe80::1:abcd", "fe80::1:abcd", 8080),
        ] {
            let endpoint: Endpoint = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((endpoint.host(), endpoint.port()), (host, port), "{text}");
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint), "{text} shown and read again");
        }
    }

    #[test]
    fn each_wrong_text_gives_its_problem() {
        for (text, problem) in [
            ("", NO_HOST),
            (":", BAD_PORT),
            ("plant:", BAD_PORT),
            ("plant:http", BAD_PORT),
            ("plant:65536", BAD_PORT),
            ("plant:+80", BAD_PORT),
            ("plant: 80", BAD_PORT),
            ("[::1]9000", BAD_PORT),
            ("[::1]:", BAD_PORT),
            ("10.0.0.300:9000", NOT_IPV4),
            ("10.0.1", NOT_IPV4),
            ("9000", NOT_IPV4),
            ("[plant]:9000", NOT_IPV6),
            ("[::1%]:9000", NOT_IPV6),
            ("[::1:9000", NO_CLOSING_BRACKET),
            ("plant:9000:1", TOO_MANY_COLONS),
            ("udp://plant:9000", TOO_MANY_COLONS),
            ("::1:9000", AMBIGUOUS),
            ("fe80::1:9000", AMBIGUOUS),
            ("239.1.2.3:9000", MULTICAST),
            ("[ff02::1%eth0]:9000", MULTICAST),
            ("[::ffff:239.1.2.3]:9000", MULTICAST),
            ("255.255.255.255:9000", BROADCAST),
            ("*:9000", BAD_NAME),
            ("two words:9000", BAD_NAME),
            ("a..b:9000", BAD_NAME),
        ] {
            let error = text.parse::<Endpoint>().expect_err(text);
            assert_eq!(error.problem, problem, "{text}");
        }
        let path = r"C:\rig:9000".parse::<Endpoint>().expect_err("a path").to_string();
        assert!(path.starts_with(r#""C:\rig:9000" "#), "a backslash is shown once: {path}");
        let line = "two\nlines:9000".parse::<Endpoint>().expect_err("no name").to_string();
        assert!(line.starts_with(r#""two\nlines:9000" "#), "{line}");
        let long = "a".repeat(MAX_HOST_NAME + 1);
        assert_eq!(long.parse::<Endpoint>().map_err(|error| error.problem), Err(BAD_NAME));
    }
}
