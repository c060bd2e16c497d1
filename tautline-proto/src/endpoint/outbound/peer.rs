//! One peer of the outbound half.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::path_size::PathSize;
use super::reliable_sender::ReliableSender;
use crate::endpoint::command::OpenPeer;
use crate::peer::{PeerId, SessionId};
use crate::rights::Rights;
#[cfg(feature = "secure")]
use crate::secure::SealKey;
use crate::snapshot::saved;
use crate::stats::PeerTxCounters;
use crate::time::Instant;
use crate::wire::native::{self, Token};
#[cfg(feature = "secure")]
use crate::wire::native::{Challenge, SEALED_EXTRA};

/// A remote end as the outbound half sees it.
#[derive(Debug)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(super) struct OutboundPeer {
    pub(super) id: PeerId,
    /// The number of the next datagram.
    pub(super) next: u64,
    pub(super) session: SessionId,
    pub(super) address: SocketAddr,
    pub(super) tx: Arc<PeerTxCounters>,
    /// By how much its datagrams become longer when they are sealed with a key.
    pub(super) extra: usize,
    /// Whether `ack` is in the datagram that was sealed last.
    pub(super) ack_is_sealed: bool,
    /// What may be sent to it.
    pub(super) granted: Rights,
    /// Piggybacked on every datagram until the server has accepted us.
    pub(super) echo: Option<Token>,
    ack: Option<PiggybackedAck>,
    /// Created with the first reliable message.
    pub(super) reliable: Option<Box<ReliableSender>>,
    /// The size of the path to it (native).
    pub(super) path: PathSize,
    /// Seals what is sent to it (secured links only).
    #[cfg(feature = "secure")]
    pub(super) sealing: Option<Box<SealKey>>,
    /// A challenge for another address, where the peer may be now (secured links only).
    #[cfg(feature = "secure")]
    pub(super) challenge: Option<(Challenge, SocketAddr)>,
    /// Messages that were sent for the first time in datagrams that the kernel did not take.
    pub(super) uncounted: u64,
    /// The peer's entry in the table of due deliveries. Set by `Outbound::schedule`.
    pub(super) reliable_due: Option<Instant>,
}

/// An acknowledgement that is piggybacked on several datagrams, because any of them may be lost.
#[derive(Debug)]
struct PiggybackedAck {
    base: u64,
    bitmap: Vec<u8>,
    /// How many more datagrams carry it.
    left: u8,
}

impl PiggybackedAck {
    /// Appends it, if the datagram has room for it. Returns whether it had.
    #[inline(never)] // so that sealing stays short
    fn append_to(&self, datagram: &mut Vec<u8>, size: usize) -> bool {
        let len = native::ack_len(self.bitmap.len());
        let fits = datagram.len() + len + native::TRAILER_LEN <= size;
        if fits {
            native::write_ack(datagram, self.base, &self.bitmap);
        }
        fits
    }
}

/// How many datagrams carry the same acknowledgement.
const ACK_COPIES: u8 = 4;

impl OutboundPeer {
    pub(super) fn new(peer: OpenPeer, next: u64, most: usize) -> Self {
        let OpenPeer { id, address, session, tx, echo, granted, .. } = peer;
        #[cfg(feature = "secure")]
        let (extra, sealing) = (if peer.sealing.is_some() { SEALED_EXTRA } else { 0 }, peer.sealing);
        #[cfg(not(feature = "secure"))]
        let extra = 0;
        Self {
            id,
            address,
            session,
            next,
            path: PathSize::new(address, most),
            tx,
            granted,
            #[cfg(feature = "secure")]
            sealing,
            #[cfg(feature = "secure")]
            challenge: None,
            extra,
            echo,
            ack: None,
            ack_is_sealed: false,
            uncounted: 0,
            reliable: None,
            reliable_due: None,
        }
    }

    /// Returns the size of the largest datagram that fits the path, with a CRC. If a tag takes its place, the datagram that is
    /// sent has the size of the path.
    pub(super) const fn size(&self) -> usize {
        self.path.size() - self.extra
    }

    /// Returns whether what is sent to it is sealed with a key.
    #[inline]
    #[must_use]
    pub(super) const fn is_secured(&self) -> bool {
        self.extra != 0
    }

    /// Shows the size of the path to readers.
    pub(super) fn publish_path(&self) {
        self.tx.datagram_size.set(self.path.size() as u64);
    }

    /// Piggybacks this acknowledgement on the next datagrams.
    pub(super) fn set_ack(&mut self, base: u64, bitmap: Vec<u8>) {
        self.ack = Some(PiggybackedAck { base, bitmap, left: ACK_COPIES });
    }

    /// Whether no datagram has carried the latest acknowledgement yet.
    pub(super) fn owes_ack(&self) -> bool {
        self.ack.as_ref().is_some_and(|ack| ack.left == ACK_COPIES)
    }

    /// Appends the latest acknowledgement if there is one and the datagram has room for it. Returns whether it was appended.
    #[inline]
    pub(super) fn piggyback_ack(&self, datagram: &mut Vec<u8>, size: usize) -> bool {
        self.ack.as_ref().is_some_and(|ack| ack.append_to(datagram, size))
    }

    /// Counts a copy of the acknowledgement: the kernel has taken the datagram that was sealed last.
    #[inline]
    pub(super) fn ack_was_sent(&mut self) {
        if let Some(ack) = self.ack.as_mut().filter(|_| core::mem::take(&mut self.ack_is_sealed)) {
            ack.left -= 1;
            if ack.left == 0 {
                self.ack = None;
            }
        }
    }
}

saved!(PiggybackedAck { base, bitmap, left });
saved!(OutboundPeer {
    id,
    address,
    session,
    next,
    path,
    tx,
    granted,
    extra,
    echo,
    ack,
    ack_is_sealed,
    uncounted,
    reliable,
    reliable_due,
    #[cfg(feature = "secure")]
    sealing,
    #[cfg(feature = "secure")]
    challenge,
});
