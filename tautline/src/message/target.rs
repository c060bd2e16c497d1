//! To whom a message goes.

use std::net::SocketAddr;

use tautline_proto::PeerId;

/// To whom a message goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Every peer: a client's only one is its server, a server's are all its clients.
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
