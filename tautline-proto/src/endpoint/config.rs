//! The configuration of an endpoint.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use super::owner::OwnedStreams;
use crate::drops::DropReason;
use crate::json::JsonLimits;
use crate::message::{ContentType, MessageRef};
use crate::network::Network;
#[cfg(feature = "secure")]
use crate::secure::Keys;
use crate::snapshot::{Reader, Saved, Writer, saved, saved_variants};
use crate::wire::classic::ClassicFormat;

/// The side of a link that an interface takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Waits for clients at a known address. It can have many peers.
    Server,
    /// Calls one server, which is its only peer.
    Client,
}

/// The wire that an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFormat {
    /// tautline's own wire.
    Native,
    /// The wire of the Python module.
    Classic(ClassicFormat),
}

/// Checks a payload that arrived on the native wire against its content type and the limits.
pub type PayloadCheck = Arc<dyn Fn(ContentType, &[u8]) -> Result<(), DropReason> + Send + Sync>;

/// The configuration of an endpoint. The endpoint does not check the values.
#[derive(Clone)]
#[non_exhaustive]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub struct EndpointConfig {
    /// Whether the endpoint is a server or a client.
    pub role: Role,
    /// The wire.
    pub wire: WireFormat,
    /// The largest payload that is accepted, in bytes.
    pub max_message_size: usize,
    /// The name of the interface, of at most [`MAX_NAME`](crate::wire::native::MAX_NAME) bytes.
    pub name: String,
    /// The networks whose hosts may become peers of a server. Empty: every host may.
    pub allow: Arc<[Network]>,
    /// How many peers a server has at most.
    pub max_peers: usize,
    /// The time between two heartbeats to the same peer (native).
    pub heartbeat_interval: Duration,
    /// A peer that was not heard for this time is silent.
    pub liveness_timeout: Duration,
    /// A server removes a peer that was not heard for this time.
    pub peer_expiry: Duration,
    /// The size of the largest datagram that is sent and probed, in bytes (native). Up to 1,200 nothing is probed.
    pub datagram_size: usize,
    /// How often a reliable message is sent at most, the first time included (native).
    pub max_tries: u32,
    /// The limits of the classic wire's JSON text.
    pub json: JsonLimits,
    /// The check of payloads on the native wire. Raw payloads are not checked.
    pub check_payload: PayloadCheck,
    /// The streams whose messages are taken from one peer at a time.
    pub owned: OwnedStreams,
    /// The keys of a secured endpoint. `None` for a plain one. The classic wire cannot be secured, and ignores them.
    #[cfg(feature = "secure")]
    pub security: Option<Keys>,
    /// The keys of a session are replaced by new ones after this time. After one and a half times this time they seal nothing any
    /// more.
    #[cfg(feature = "secure")]
    pub rekey_after: Duration,
}

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("role", &self.role)
            .field("wire", &self.wire)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl EndpointConfig {
    /// A configuration without a name, with the library's usual sizes and times, and without a check of payloads.
    #[must_use]
    pub fn new(role: Role, wire: WireFormat) -> Self {
        Self {
            role,
            wire,
            name: String::new(),
            allow: Arc::default(),
            max_peers: 64,
            heartbeat_interval: Duration::from_millis(100),
            liveness_timeout: Duration::from_millis(500),
            peer_expiry: Duration::from_secs(60),
            max_message_size: 65_527,
            datagram_size: 1_200,
            max_tries: 20,
            json: JsonLimits::default(),
            check_payload: Arc::new(|_, _| Ok(())),
            owned: OwnedStreams::default(),
            #[cfg(feature = "secure")]
            security: None,
            #[cfg(feature = "secure")]
            rekey_after: Duration::from_secs(120),
        }
    }

    /// Returns whether all values are the same. Checks of payloads, which are code, are not compared.
    #[must_use]
    pub fn has_same_values(&self, other: &Self) -> bool {
        let [mut ours, mut theirs] = [(); 2].map(|()| Writer::with_room_for(MOST_SAVED));
        let ours = ours.write(|out| self.save(out));
        ours.is_some() && ours == theirs.write(|out| other.save(out))
    }

    /// Returns the keys of a secured endpoint.
    #[cfg(feature = "secure")]
    pub(super) fn keys(&self) -> Option<&Keys> {
        self.security.as_ref().filter(|_| self.wire == WireFormat::Native)
    }

    /// Returns whether the endpoint is secured.
    pub(super) fn is_secured(&self) -> bool {
        #[cfg(feature = "secure")]
        return self.keys().is_some();
        #[cfg(not(feature = "secure"))]
        false
    }

    /// Returns whether a host may become a peer.
    pub(super) fn allows(&self, host: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|network| network.contains(host))
    }

    /// Checks whether a message may be handed to the user.
    #[inline]
    pub(super) fn check(&self, message: &MessageRef<'_>) -> Result<(), DropReason> {
        if message.payload.len() > self.max_message_size {
            return Err(DropReason::TooLarge);
        }
        match message.content_type {
            ContentType::Raw => Ok(()),
            encoded => (self.check_payload)(encoded, message.payload),
        }
    }

    /// Returns how many bytes of one peer's incomplete messages are kept, and how many of its held messages.
    pub(super) const fn max_kept_bytes(&self) -> usize {
        2 * self.max_body_len()
    }

    /// Returns how many bytes the incomplete and held-back messages of all peers may take together. Beyond that, each peer may
    /// still keep one incomplete or held-back message of each kind.
    pub(super) const fn max_kept_of_all(&self) -> usize {
        let of_one = self.max_kept_bytes();
        if of_one > MAX_KEPT_OF_ALL { of_one } else { MAX_KEPT_OF_ALL }
    }

    /// Returns the length of the longest message body.
    pub(super) const fn max_body_len(&self) -> usize {
        self.max_message_size + MAX_METADATA
    }
}

/// More bytes than the values of a configuration take.
const MOST_SAVED: usize = 1 << 20;

/// The most bytes of incomplete and held-back messages of all peers. If two of the largest messages take more, that is the limit.
const MAX_KEPT_OF_ALL: usize = 16 << 20;

/// More than the fixed fields, the optional fields and the numbers of a message can take.
const MAX_METADATA: usize = 2048;

/// Where a new endpoint continues after an earlier one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// The secret from which session ids and tokens are derived. It must be unpredictable.
    pub seed: [u8; 16],
    /// The randomness of a secured endpoint, from which the secrets of its handshakes are derived. It must be unpredictable,
    /// and another one for each endpoint. Not used without keys.
    pub entropy: [u8; 32],
    /// The first sequence number on the classic wire, where numbers continue after a reconnect.
    pub first_number: u64,
    /// Peer ids begin after this number, so that no id is used twice.
    pub peers_before: u32,
}

saved_variants!(Role { 0 = Server, 1 = Client });
saved_variants!(WireFormat { 0 = Native, 1 = Classic(format) });

impl Saved for Arc<[Network]> {
    fn save(&self, out: &mut Writer) {
        self.len().save(out);
        Network::save_all(self, out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Vec::load(from).map(Self::from)
    }
}

// Of the keys, only their holders are saved. The check of payloads is code: the caller that loads the configuration sets it
// again.
saved!(EndpointConfig {
    role, wire, name, allow, max_peers, heartbeat_interval, liveness_timeout, peer_expiry, max_message_size, datagram_size,
    max_tries, json, owned,
    #[cfg(feature = "secure")]
    security,
    #[cfg(feature = "secure")]
    rekey_after,
} else {
    check_payload: Arc::new(|_, _| Ok(())),
});
