//! The endpoint: one socket's protocol, in two halves.
//!
//! [`Inbound`] belongs to whoever reads the socket: it checks what arrives, keeps the peers, their
//! windows and timers, and says what is to be done. [`Outbound`] belongs to whoever holds the transmit
//! lock: it numbers and seals datagrams. What one half must tell the other crosses as a [`Command`], once
//! per turn:
//!
//! ```text
//! handle(datagram) -> Accepted     then, until each is empty:
//! poll_command()   -> Command      for Outbound::apply, whose datagram is then sealed and sent
//! poll_event()     -> Event        what happened to peers; may bring more commands
//! poll_reply()     -> a datagram outside any session, to be sent as it is
//! messages(Accepted)               the messages, once the commands were carried out; then all three again,
//!                                  because a peer that said goodbye goes after its last message
//! next_timeout()   -> when handle_timeout() wants to be called
//! ```
//!
//! Reliable messages are handed to [`Outbound::offer`]; [`Outbound::poll_delivery`] says what is to be sent of them,
//! for the first time and again, and [`Outbound::poll_outcome`] how each ended.
//!
//! Neither half reads a clock, draws randomness or touches a socket.

mod accepted;
mod assembly;
mod classic;
mod delivery;
mod encode;
mod handshake;
mod inbound;
mod inflow;
mod native;
mod outbound;
mod outcome;
mod outflow;
mod peers;
mod token;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

pub use accepted::{Accepted, Messages, Refusals};
pub use encode::{Encoder, Started};
pub use inbound::Inbound;
pub use outbound::{Due, Outbound, Spent};
pub use outcome::{Outcome, Refusal};

use crate::drops::DropReason;
use crate::json::JsonLimits;
use crate::message::ContentType;
use crate::peer::{PeerId, SessionId};
use crate::stats::{PeerRxCounters, PeerTxCounters};
use crate::wire::classic::ClassicFormat;
use crate::wire::native::{Heartbeat, Token};

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
    pub most_tries: u32,
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

/// What happened to the endpoint's peers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer has an entry in the tables; its counters run.
    Added(PeerHandle),
    /// The link to the peer is established both ways as far as the wire can tell.
    Accepted(PeerId),
    /// The server told its name.
    Named(PeerId, String),
    /// The peer has not been heard for half the liveness time-out (native).
    Stale(PeerId),
    /// The peer has not been heard for the liveness time-out.
    Silent(PeerId),
    /// A stale or silent peer was heard again.
    Heard(PeerId),
    /// A peer of the classic wire began to number anew: it was restarted.
    Restarted(PeerId),
    /// The peer is gone from the tables.
    Removed(PeerId, RemovalReason),
    /// A datagram was dropped.
    Dropped {
        /// Where it came from.
        from: SocketAddr,
        /// Why.
        reason: DropReason,
    },
    /// The server has no room for this client; it is asked again later.
    Refused,
}

/// Why a peer was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemovalReason {
    /// It said that it closes.
    ClosedByPeer,
    /// It was silent for too long.
    Expired,
    /// A new session from the same address took its place: it was restarted.
    Replaced,
}

impl RemovalReason {
    /// The name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClosedByPeer => "closed_by_peer",
            Self::Expired => "expired",
            Self::Replaced => "replaced",
        }
    }
}

/// What is known of a peer when it is added.
#[derive(Clone, Debug)]
pub struct PeerHandle {
    /// Its id.
    pub id: PeerId,
    /// Its address.
    pub address: SocketAddr,
    /// Its session (native).
    pub session: Option<SessionId>,
    /// Its interface's name (native; empty where it has not said yet).
    pub name: String,
    /// What it sends.
    pub rx: Arc<PeerRxCounters>,
    /// What is sent to it.
    pub tx: Arc<PeerTxCounters>,
}

/// What the inbound half wants of the outbound half.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send to this peer from now on.
    Open(OpenPeer),
    /// Stop sending to this peer, which is gone for this reason.
    Forget(PeerId, RemovalReason),
    /// The peer has accepted and told its name: the echo need not travel any more.
    Accepted(PeerId),
    /// Send it the server's name.
    Accept(PeerId),
    /// Tell it which of its reliable messages have arrived: the lowest number that has not, and the bitmap of those after.
    Acknowledge(PeerId, u64, Vec<u8>),
    /// It told which of ours have arrived.
    Acknowledged(PeerId, u32, Vec<u8>),
    /// Send it a heartbeat with this echo (stamp and time held); the rest is filled in when it is sent.
    Heartbeat(PeerId, Heartbeat),
}

/// A peer for the outbound half.
#[derive(Clone, Debug)]
pub struct OpenPeer {
    pub(crate) id: PeerId,
    pub(crate) address: SocketAddr,
    pub(crate) session: SessionId,
    pub(crate) tx: Arc<PeerTxCounters>,
    /// Rides on every datagram until the server accepts; sent at once.
    pub(crate) echo: Option<Token>,
}

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

/// Both halves of a new endpoint.
#[must_use]
pub fn endpoint(config: EndpointConfig, start: Start) -> (Inbound, Outbound) {
    let outbound = Outbound::new(&config, start.first_number);
    (Inbound::new(config, start), outbound)
}
