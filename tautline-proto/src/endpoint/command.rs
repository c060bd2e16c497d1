//! What the inbound half wants of the outbound half.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::event::RemovalReason;
use crate::peer::{PeerId, SessionId};
use crate::stats::PeerTxCounters;
use crate::wire::native::{Heartbeat, Token};

/// What the inbound half wants of the outbound half.
#[derive(Clone, Debug)]
#[non_exhaustive]
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
