//! The ends of a campaign: plain, or with a key.

use tautline_proto::endpoint::{EndpointConfig, Role};
#[cfg(feature = "secure")]
use tautline_proto::secure::{Identity, Key, Keys};
use tautline_proto::sim::{self, NodeId, World};

/// What the ends of a campaign have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Plain,
    /// All have the same key.
    #[cfg(feature = "secure")]
    Secured,
}

impl Ends {
    pub(crate) const ALL: &[Self] = &[
        Self::Plain,
        #[cfg(feature = "secure")]
        Self::Secured,
    ];

    /// The ends with a key, if this build has them.
    pub(crate) fn secured() -> Option<Self> {
        Self::ALL.iter().copied().find(|ends| ends.are_secured())
    }

    /// Returns whether the links are secured. Only their sessions move.
    pub(crate) fn are_secured(self) -> bool {
        self != Self::Plain
    }

    /// The configuration of an end, with the library's usual sizes and times.
    pub(crate) fn config(self, role: Role, name: &str) -> EndpointConfig {
        #[allow(unused_mut)] // only a key changes it
        let mut config = sim::config(role, name);
        #[cfg(feature = "secure")]
        if self.are_secured() {
            // A client that moved and was restarted before the server knew it leaves a session behind, which ends in time.
            config.peer_expiry = std::time::Duration::from_secs(2);
            config.security = Some(keys(match role {
                Role::Server => &[1, 2],
                Role::Client => &[1],
            }));
        }
        config
    }

    /// Lets a client call with the other one of the two keys that the server accepts.
    pub(crate) fn change_key(self, world: &mut World, client: NodeId, to_second: bool) {
        #[cfg(feature = "secure")]
        if self.are_secured() {
            world.replace_keys(client, keys(if to_second { &[2] } else { &[1] }));
        }
        #[cfg(not(feature = "secure"))]
        let _ = (world, client, to_second);
    }
}

#[cfg(feature = "secure")]
fn keys(numbers: &[u8]) -> Keys {
    let keys = numbers.iter().map(|&number| Key::from_bytes([number; Key::LEN]));
    Keys::new([Identity::new("", keys)]).expect("different keys")
}
