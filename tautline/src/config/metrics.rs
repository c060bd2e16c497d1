//! Where the metrics of an interface are served, as users write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::endpoint::Endpoint;
use super::value::{Setting, SourceValue};

/// An address of this host at which metrics are served over HTTP: an IP address and a port, such as `127.0.0.1:9465`. A port
/// alone (`:9465`) means this host only: 127.0.0.1. Port 0 is any free port.
///
/// Text is read when the interface is created. A fault is a [`ConfigError`](crate::ConfigError) there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsAddress(Result<SocketAddr, String>);

/// What is right.
const EXPECTED: &str =
    "an IP address of this host and a port, such as 127.0.0.1:9465, or :9465 for this host only";

impl MetricsAddress {
    /// Returns the address; `None` if the text was none.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.as_ref().ok().copied()
    }
}

fn read(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let endpoint: Endpoint = text.parse().ok()?;
    // A port that was left out is not the endpoint's default.
    if !text.ends_with(&format!(":{}", endpoint.port())) {
        return None;
    }
    let ip = match endpoint.host() {
        "" | "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().ok()?,
    };
    Some(SocketAddr::new(ip, endpoint.port()))
}

impl From<&str> for MetricsAddress {
    fn from(text: &str) -> Self {
        Self(read(text).ok_or_else(|| text.to_owned()))
    }
}

impl From<String> for MetricsAddress {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<SocketAddr> for MetricsAddress {
    fn from(address: SocketAddr) -> Self {
        Self(Ok(address))
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(address) => address.fmt(f),
            Err(text) => f.write_str(text),
        }
    }
}

impl Setting for MetricsAddress {
    /// Whether the text was an address.
    type Size = bool;

    fn read(given: SourceValue<'_>) -> Option<Self> {
        Some(Self(Ok(read(given.text()?)?)))
    }

    fn found(&self) -> String {
        SourceValue::Text(&self.to_string()).to_string()
    }

    fn size(&self) -> bool {
        self.0.is_ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn expected(_: Option<&RangeInclusive<bool>>) -> String {
        EXPECTED.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_for_this_host_only() {
        for (text, address) in [
            ("127.0.0.1:9465", Some("127.0.0.1:9465")),
            (":9465", Some("127.0.0.1:9465")),
            ("localhost:0", Some("127.0.0.1:0")),
            ("[::1]:9465", Some("[::1]:9465")),
            ("0.0.0.0:9465", Some("0.0.0.0:9465")),
            ("127.0.0.1", None),
            ("9465", None),
            ("plant.local:9465", None),
            ("", None),
        ] {
            let found = MetricsAddress::from(text).address().map(|address| address.to_string());
            assert_eq!(found.as_deref(), address, "{text}");
        }
    }
}
