//! What an endpoint must know.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use crate::drops::DropReason;
use crate::json::JsonLimits;
use crate::message::{ContentType, MessageRef};
use crate::wire::classic::ClassicFormat;

/// Which side of a link an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Waits for clients at a known address; has many peers.
    Server,
    /// Calls one server; has one peer.
    Client,
}

/// Which wire an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFormat {
    /// tautline's own wire.
    Native,
    /// The wire of the Python deployments.
    Classic(ClassicFormat),
}

/// Checks a payload that arrived on the native wire against its content type and the limits.
pub type PayloadCheck = Arc<dyn Fn(ContentType, &[u8]) -> Result<(), DropReason> + Send + Sync>;

/// What an endpoint must know. Values are checked by whoever makes it.
#[derive(Clone)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// Server or client.
    pub role: Role,
    /// The wire.
    pub wire: WireFormat,
    /// The interface's name, at most [`MAX_NAME`](crate::wire::native::MAX_NAME) bytes.
    pub name: String,
    /// The most peers that a server keeps.
    pub max_peers: usize,
    /// How often each peer gets a heartbeat (native).
    pub heartbeat_interval: Duration,
    /// A peer not heard for so long is silent.
    pub liveness_timeout: Duration,
    /// A server forgets a peer not heard for so long.
    pub peer_expiry: Duration,
    /// The largest payload accepted, in bytes.
    pub max_message_size: usize,
    /// The largest datagram that messages share, and into which larger ones are cut, in bytes (native).
    pub datagram_size: usize,
    /// How often a reliable message is sent at most (native).
    pub max_tries: u32,
    /// Limits of the classic wire's JSON.
    pub json: JsonLimits,
    /// The check of the native wire's payloads, but of raw ones, which may be anything.
    pub check_payload: PayloadCheck,
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
            max_peers: 64,
            heartbeat_interval: Duration::from_millis(100),
            liveness_timeout: Duration::from_millis(500),
            peer_expiry: Duration::from_secs(60),
            max_message_size: 65_000,
            datagram_size: 1452,
            max_tries: 20,
            json: JsonLimits::default(),
            check_payload: Arc::new(|_, _| Ok(())),
        }
    }

    /// Whether a message may be shown to the user.
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

    /// How many bytes of one peer's incomplete messages are kept, and as many of messages that wait for earlier ones.
    pub(super) const fn max_kept_bytes(&self) -> usize {
        2 * self.max_body_len()
    }

    /// How long a message's body is at most.
    pub(super) const fn max_body_len(&self) -> usize {
        self.max_message_size + MAX_METADATA
    }
}

/// The fixed and optional fields of a message and its numbers, generously.
const MAX_METADATA: usize = 2048;

/// Where a new endpoint begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// What session ids and tokens are made from; must be unpredictable.
    pub seed: [u8; 16],
    /// The first sequence number on the classic wire, where numbering goes on over reconnects.
    pub first_number: u64,
    /// Peer ids begin after this one, so that none is used twice.
    pub peers_before: u32,
}
