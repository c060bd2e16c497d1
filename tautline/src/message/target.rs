//! The peer or peers that a message is sent to.

use std::net::SocketAddr;

use tautline_proto::PeerId;

/// The peer or peers that a message is sent to.
#[derive(Clone, Copy, Debug, Default, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Every peer: the server of a client, or all clients of a server.
    #[default]
    All,
    /// One peer.
    Peer(PeerId),
    /// The peer at this address.
    Address(SocketAddr),
}

impl PartialEq for Target {
    #[inline(always)] // twice for each message of a stream
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::Peer(one), Self::Peer(other)) => one == other,
            (Self::Address(one), Self::Address(other)) => are_same(one, other),
            _ => false,
        }
    }
}

#[inline(never)] // messages to an address are rare, and the comparison is long
fn are_same(one: &SocketAddr, other: &SocketAddr) -> bool {
    one == other
}

impl From<PeerId> for Target {
    fn from(peer: PeerId) -> Self {
        Self::Peer(peer)
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}
