//! What the inbound half asks of the outbound half.

#[cfg(feature = "secure")]
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::event::RemovalReason;
use crate::peer::{PeerId, SessionId};
use crate::rights::Rights;
#[cfg(feature = "secure")]
use crate::secure::SealKey;
use crate::snapshot::{saved, saved_variants};
use crate::stats::PeerTxCounters;
use crate::time::Instant;
use crate::wire::native::{Challenge, Heartbeat, Ownership, Rekey, Token};

/// What the inbound half asks of the outbound half. The driver passes it on to `Outbound::apply`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// Add this peer, and send to it from now on.
    Open(OpenPeer),
    /// Remove this peer, which is gone for this reason.
    Forget(PeerId, RemovalReason),
    /// Tell this peer that its key is accepted no longer. It is forgotten next.
    Close(PeerId),
    /// It was not heard lately: leave it out when a message goes to all.
    Hush(PeerId),
    /// It was heard again: include it when a message goes to all.
    Heard(PeerId),
    /// Stop piggybacking the echo: the server has accepted us and sent its name.
    Accepted(PeerId),
    /// Send the client an accept frame with the server's name.
    Accept(PeerId),
    /// Acknowledge its reliable messages: the lowest number that has not arrived, and the bitmap of the numbers after it.
    Acknowledge(PeerId, u64, Vec<u8>),
    /// As [`Acknowledge`](Self::Acknowledge), but with the next datagram to it. The driver turns one into the other.
    OweAcknowledgement(PeerId, u64, Vec<u8>),
    /// Send it the acknowledgement that it is owed, unless a datagram has taken it along.
    PayAcknowledgement(PeerId),
    /// It has acknowledged our reliable messages: the low 32 bits of the lowest number that has not arrived, and the bitmap.
    Acknowledged(PeerId, u32, Vec<u8>),
    /// Send it a probe of the path's size, if one is due. A heartbeat follows.
    Probe(PeerId),
    /// A frame of it about probes has arrived.
    PathAnswer(PeerId, PathAnswer),
    /// Send it a heartbeat with this echo (stamp and time held). The outbound half fills in the other fields.
    Heartbeat(PeerId, Heartbeat),
    /// Send it this frame about new keys (secured links only).
    Rekey(PeerId, Rekey),
    /// Seal what is sent to it with these keys from now on.
    #[cfg(feature = "secure")]
    NewKeys(NewKeys),
    /// Seal nothing for it any more: its keys are too old.
    #[cfg(feature = "secure")]
    WearOut(PeerId),
    /// Send it this frame about its address: to the address, if there is one, and else to its own (secured links only).
    Challenge(PeerId, Challenge, Option<SocketAddr>),
    /// Send to it at this address from now on. The size of the path is found anew (secured links only).
    Move(PeerId, SocketAddr),
    /// Send it this frame about the owner of a stream (native).
    Ownership(PeerId, Ownership),
}

/// What a frame about probes says.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathAnswer {
    /// The low half of the number of the peer's own probe, if the frame came in one.
    pub(crate) probe: Option<u32>,
    /// Whether the peer asks for an answer, also if its probe has not arrived.
    pub(crate) asks: bool,
    /// The low half of the number of our latest probe that has reached the peer; 0 for none.
    pub(crate) arrived: u32,
    /// When our latest heartbeat that has reached the peer was sent.
    pub(crate) heartbeat_sent: Instant,
}

/// Keys for a peer that is there.
#[cfg(feature = "secure")]
#[derive(Debug)]
pub struct NewKeys {
    pub(crate) id: PeerId,
    pub(crate) seal: Box<SealKey>,
    /// What may be sent to it from now on, if that has been said.
    pub(crate) granted: Option<Rights>,
}

impl Command {
    /// Returns whether other messages may be sent after this command than before.
    #[must_use]
    pub const fn changes_rights(&self) -> bool {
        #[cfg(feature = "secure")]
        if matches!(self, Self::NewKeys(_)) {
            return true;
        }
        matches!(self, Self::Open(_))
    }

    /// Returns the peer whose path may have another size after this command than before.
    #[must_use]
    pub const fn changes_path_to(&self) -> Option<PeerId> {
        match self {
            Self::Open(peer) => Some(peer.id),
            Self::PathAnswer(id, _) | Self::Move(id, _) => Some(*id),
            _ => None,
        }
    }
}

/// A new peer for the outbound half.
#[derive(Debug)]
pub struct OpenPeer {
    pub(crate) id: PeerId,
    pub(crate) address: SocketAddr,
    pub(crate) session: SessionId,
    pub(crate) tx: Arc<PeerTxCounters>,
    /// Sent at once, and piggybacked on every datagram until the server has accepted us.
    pub(crate) echo: Option<Token>,
    /// What may be sent to it.
    pub(crate) granted: Rights,
    /// Seals what is sent to it (secured links only).
    #[cfg(feature = "secure")]
    pub(crate) sealing: Option<Box<SealKey>>,
}

saved_variants!(Command {
    0 = Open(peer),
    1 = Forget(id, reason),
    2 = Close(id),
    3 = Hush(id),
    4 = Heard(id),
    5 = Accepted(id),
    6 = Accept(id),
    7 = Acknowledge(id, base, bitmap),
    8 = Acknowledged(id, base, bitmap),
    9 = Probe(id),
    10 = PathAnswer(id, answer),
    11 = Heartbeat(id, heartbeat),
    12 = Rekey(id, rekey),
    13 = Ownership(id, ownership),
    14 = OweAcknowledgement(id, base, bitmap),
    15 = PayAcknowledgement(id),
    16 = Challenge(id, challenge, to),
    17 = Move(id, to),
    #[cfg(feature = "secure")]
    18 = NewKeys(keys),
    #[cfg(feature = "secure")]
    19 = WearOut(id),
});
saved!(PathAnswer { probe, asks, arrived, heartbeat_sent });
// The counters are those of the half that carries the command out. `SealKey` saves no key.
saved!(OpenPeer {
    id, address, session, echo, granted,
    #[cfg(feature = "secure")]
    sealing,
} else {
    tx: Arc::default(),
});
#[cfg(feature = "secure")]
saved!(NewKeys { id, seal, granted });
