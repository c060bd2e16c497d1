//! The keys of a session.

use crate::endpoint::config::Role;
use crate::secure::{OpenKey, SealKey, Split};
use crate::snapshot::saved;

/// The two keys of a session, as one end uses them.
pub(super) struct SessionKeys {
    pub(super) open: OpenKey,
    pub(super) seal: SealKey,
    /// The handshake's hash.
    pub(super) hash: [u8; 32],
}

impl SessionKeys {
    pub(super) fn new(split: &Split, role: Role) -> Self {
        let (ours, theirs) = match role {
            Role::Client => (&split.to_server, &split.to_client),
            Role::Server => (&split.to_client, &split.to_server),
        };
        Self { open: OpenKey::new(theirs), seal: SealKey::new(ours, false), hash: split.hash }
    }
}

// The hash goes into handshakes alone, and a rerun has none.
saved!(SessionKeys { open, seal } else { hash: [0; 32] });
