//! The peer or peers that a message is sent to.

use std::net::SocketAddr;

use tautline_proto::PeerId;

/// The peer or peers that a message is sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
