//! What happened to peers, for the driver.

use alloc::string::String;
use alloc::sync::Arc;
use core::net::SocketAddr;

use super::owner::{ClaimOutcome, OwnerChange};
use crate::drops::DropReason;
use crate::message::{MessageType, StreamId};
use crate::peer::{PeerId, SessionId};
use crate::rights::Rights;
use crate::snapshot::saved_variants;
use crate::stats::{PeerRxCounters, PeerTxCounters};

/// Something that happened to the endpoint's peers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer was added to the tables. Its counters begin.
    Added(PeerHandle),
    /// The peer has accepted us, or we have accepted it. On the classic wire this follows at once.
    Accepted(PeerId),
    /// The server has sent its name.
    Named(PeerId, String),
    /// The peer was not heard for half the liveness time-out (native).
    Stale(PeerId),
    /// The peer was not heard for the liveness time-out.
    Silent(PeerId),
    /// A stale or silent peer was heard again.
    Heard(PeerId),
    /// The largest datagram that is sent to the peer has changed to this size: the path was probed, or the system knows it
    /// (native).
    PathSize(PeerId, usize),
    /// The peer has another address now. Its session goes on (secured links only).
    Moved {
        /// The peer.
        peer: PeerId,
        /// Its address before.
        from: SocketAddr,
        /// Its address now.
        to: SocketAddr,
    },
    /// A peer of the classic wire was restarted: its numbers began again.
    Restarted(PeerId),
    /// The peer was removed from the tables.
    Removed(PeerId, RemovalReason),
    /// A datagram was dropped.
    Dropped {
        /// The address that it came from.
        from: SocketAddr,
        /// Why it was dropped.
        reason: DropReason,
    },
    /// The server has no room for this client. The client asks again later.
    Refused,
    /// The server answers, but not to this client's key: five echoes went unanswered. The client calls on.
    KeyNotAccepted {
        /// Whether the server said that it takes secured clients only. If not, it may have no keys at all.
        server_is_secured: bool,
    },
    /// Another key has taken over in the session with this peer: the client calls with it now, and the old one is not needed for
    /// this session any more.
    KeyReplaced(PeerId),
    /// The server said that it takes secured clients only, and this client has no key. The client calls on: nobody has signed
    /// what the server said.
    ServerIsSecured,
    /// A peer has sent a message of a type that its key may not send. The message was dropped. One event for each datagram.
    NotAllowed {
        /// The peer.
        peer: PeerId,
        /// The type.
        message_type: MessageType,
    },
    /// A stream here has another owner, or none any more.
    OwnerChanged(OwnerChange),
    /// A peer sends on a stream here that it does not own. Its messages are dropped. Once for each owner.
    NotOwner {
        /// The peer.
        peer: PeerId,
        /// The stream.
        stream: StreamId,
        /// The owner. `None` if there is no room for one more stream.
        owner: Option<PeerId>,
    },
    /// A peer drops our messages of a stream, because another peer owns it there. Once for each owner (native).
    Denied {
        /// The peer.
        peer: PeerId,
        /// The stream.
        stream: StreamId,
    },
    /// A claim or a release has ended (native).
    ClaimEnded {
        /// The ticket with which it was begun.
        ticket: u64,
        /// The peer that it went to.
        peer: PeerId,
        /// The stream.
        stream: StreamId,
        /// How it ended.
        outcome: ClaimOutcome,
    },
}

/// Why a peer was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemovalReason {
    /// The peer has closed its session.
    ClosedByPeer,
    /// The peer's key was removed: at this end, or at the peer, whose server has said so.
    KeyRemoved,
    /// The peer was silent for too long.
    Expired,
    /// The table of peers was full, the peer was silent, and another one took its place.
    Displaced,
    /// The peer was restarted: a new session from the same address has replaced it.
    Replaced,
}

impl RemovalReason {
    /// Returns the name in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClosedByPeer => "closed_by_peer",
            Self::KeyRemoved => "key_removed",
            Self::Expired => "expired",
            Self::Displaced => "displaced",
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
    /// The name of its interface (native). Empty until the peer has sent it.
    pub name: String,
    /// Who it is by its key. `None` on a plain link.
    pub identity: Option<Arc<str>>,
    /// What it may send to this end.
    pub rights: Rights,
    /// What this end may send to it.
    pub granted: Rights,
    /// Counts what it sends to us.
    pub rx: Arc<PeerRxCounters>,
    /// Counts what we send to it.
    pub tx: Arc<PeerTxCounters>,
}

saved_variants!(RemovalReason { 0 = ClosedByPeer, 1 = KeyRemoved, 2 = Expired, 3 = Displaced, 4 = Replaced });
