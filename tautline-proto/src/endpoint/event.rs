//! What happens to peers.

use alloc::string::String;
use alloc::sync::Arc;
use core::net::SocketAddr;

use crate::drops::DropReason;
use crate::peer::{PeerId, SessionId};
use crate::stats::{PeerRxCounters, PeerTxCounters};

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
#[non_exhaustive]
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
