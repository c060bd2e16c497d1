//! The networks whose hosts may become peers: `10.0.0.0/24,fd00::/8`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use tautline_proto::{Network, NetworkError};

use super::value::{Setting, SourceValue};

/// The most networks. Each datagram of a stranger is compared with all of them.
const MAX_NETWORKS: usize = 64;

/// The networks whose hosts may become peers of a server. None means that every host may.
///
/// ```
/// use tautline::{Allow, Config};
///
/// let allow: Allow = "10.0.0.0/24, fd00::/8".parse()?;
/// let config = Config::server("0.0.0.0:9000").allow(allow);
/// assert_eq!(config.allow.map(|allow| allow.to_string()).as_deref(), Some("10.0.0.0/24,fd00::/8"));
/// # Ok::<(), tautline::NetworkError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Allow {
    networks: Vec<Network>,
}

impl Allow {
    /// Every host may become a peer.
    #[must_use]
    pub const fn any() -> Self {
        Self { networks: Vec::new() }
    }

    pub(crate) fn shared(&self) -> Arc<[Network]> {
        self.networks.clone().into()
    }
}

impl FromIterator<Network> for Allow {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self { networks: networks.into_iter().collect() }
    }
}

impl<const N: usize> From<[Network; N]> for Allow {
    fn from(networks: [Network; N]) -> Self {
        networks.into_iter().collect()
    }
}

impl fmt::Display for Allow {
    /// Writes the networks as they are parsed: `any`, `10.0.0.0/24,fd00::/8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.networks.is_empty() {
            return f.write_str("any");
        }
        for (index, network) in self.networks.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{network}")?;
        }
        Ok(())
    }
}

impl FromStr for Allow {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        match text.trim() {
            "any" => Ok(Self::any()),
            text => text.split(',').map(|network| network.trim().parse()).collect(),
        }
    }
}

impl Setting for Allow {
    /// The number of networks.
    type Size = usize;

    fn read(given: SourceValue<'_>) -> Option<Self> {
        match given {
            SourceValue::Untyped(text) | SourceValue::Text(text) | SourceValue::List(text) => {
                text.parse().ok()
            }
            _ => None,
        }
    }

    /// Names the first network that is none.
    fn fault(given: SourceValue<'_>) -> Option<String> {
        let (SourceValue::Untyped(text) | SourceValue::Text(text) | SourceValue::List(text)) = given else {
            return None;
        };
        let fault = |network: &str| Some((network.to_owned(), network.parse::<Network>().err()?));
        let (network, fault) = text.split(',').map(str::trim).find_map(fault)?;
        Some(format!("{} {fault}", SourceValue::Text(&network)))
    }

    fn size(&self) -> usize {
        self.networks.len()
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn expected(_: Option<&RangeInclusive<usize>>) -> String {
        format!(
            "any, or at most {MAX_NETWORKS} networks without bits beyond their prefix, such as 10.0.0.0/24, fd00::/8 or \
             10.0.0.5"
        )
    }
}

/// The range of [`Setting::size`].
pub(super) const NUMBERS: RangeInclusive<usize> = 0..=MAX_NETWORKS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_shown_as_they_are_read() {
        for (text, shown) in [
            ("any", "any"),
            ("10.0.0.0/24", "10.0.0.0/24"),
            (" 10.0.0.5 , fd00::/8", "10.0.0.5/32,fd00::/8"),
            ("::ffff:10.0.0.0/120", "10.0.0.0/24"),
        ] {
            let allow: Allow = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(allow.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(allow));
        }
        for text in ["", ",", "10.0.0.0/24,", "any,10.0.0.0/8", "10.0.0.5/24", "plant"] {
            assert!(text.parse::<Allow>().is_err(), "{text}");
        }
    }
}
