//! The sizes of datagrams that the paths carry: what fits, what the system said, and probes.
//!
//! The line calls it. [`path_size`](super::path_size) holds what is known of one path.

use alloc::vec::Vec;

use super::commands::begin_heartbeat;
use super::half::{Outbound, peer_mut};
use super::path_size::MIN_DATAGRAM;
use super::peer::OutboundPeer;
use crate::endpoint::config::WireFormat;
use crate::endpoint::recorder::Kind;
use crate::peer::PeerId;
use crate::time::Now;
use crate::wire::native::{self, Control, Heartbeat};

impl Outbound {
    /// Returns whether a datagram of this length goes to every peer in one piece, whatever the path. As [`fits`](Self::fits),
    /// but faster.
    #[must_use]
    #[inline]
    pub const fn fits_every_path(datagram_len: usize) -> bool {
        datagram_len + native::TRAILER_LEN + native::MAX_ECHO_LEN <= MIN_DATAGRAM
    }

    /// Returns whether a datagram of this length goes to this peer in one piece. It is sealed later. If not, its message must
    /// be sent in fragments (native).
    #[must_use]
    pub fn fits(&mut self, id: PeerId, datagram_len: usize) -> bool {
        let whole = datagram_len + native::TRAILER_LEN;
        if self.wire != WireFormat::Native {
            return true;
        }
        let Some(peer) = peer_mut(&mut self.slots, id) else { return true };
        if self.recorder.is_some() && peer.path.would_use(whole + peer.extra) {
            self.record_fits(id, datagram_len);
        }
        let Some(peer) = peer_mut(&mut self.slots, id) else { return true };
        peer.path.sends(whole + peer.extra);
        whole + if peer.echo.is_some() { native::MAX_ECHO_LEN } else { 0 } <= peer.size()
    }

    /// Returns the size of the largest datagram that goes to this peer, in bytes. That of any path, if the peer is gone. On a
    /// secured link, the size before a tag takes the place of the CRC.
    #[must_use]
    pub fn datagram_size_to(&self, id: PeerId) -> usize {
        self.peer(id).map_or(self.datagram_size(), OutboundPeer::size)
    }

    /// Notes what the system has said about the path to this peer. `known` is the largest datagram that it carries, or `None` if
    /// the system only refused one of `refused` bytes. Returns whether smaller datagrams than before are sent now.
    pub fn path_told(&mut self, id: PeerId, refused: usize, known: Option<usize>) -> bool {
        if let Some(recorder) = self.recorder(0) {
            let words = [id.to_word(), refused as u64, known.map_or(u64::MAX, |known| known as u64)];
            recorder.input(Kind::PathTold, words, &[]);
        }
        let Some(peer) = peer_mut(&mut self.slots, id) else { return false };
        let changed = match known {
            Some(size) => peer.path.told(size),
            None => peer.path.is_too_large(refused),
        };
        if changed {
            peer.publish_path();
        }
        changed
    }

    /// Writes the probe of the path's size that is due, unsealed, and takes it as sent.
    pub(super) fn write_probe(&mut self, id: PeerId, now: Now, out: &mut Vec<u8>) -> Option<PeerId> {
        let peer = peer_mut(&mut self.slots, id).filter(|peer| peer.echo.is_none())?;
        let size = peer.path.next_probe(now.steady)?;
        begin_heartbeat(Heartbeat::default(), now, out);
        native::write_control(out, &Control::PathProbe(peer.path.of_probe(size)));
        out.resize(size - peer.extra - native::TRAILER_LEN, 0);
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        peer.path.probe_sent(size, peer.next as u32, now.steady);
        Some(id)
    }

    /// Notes that the system did not take the probe that [`apply`](Self::apply) wrote last for this peer. If the reason may be its
    /// size, the probe counts as lost. Returns whether smaller datagrams than before are sent now.
    pub fn probe_not_sent(&mut self, id: PeerId, may_be_for_size: bool) -> bool {
        if let Some(recorder) = self.recorder(0) {
            recorder.input(Kind::ProbeNotSent, [id.to_word(), may_be_for_size.into()], &[]);
        }
        let Some(peer) = peer_mut(&mut self.slots, id) else { return false };
        let changed = peer.path.probe_not_sent(may_be_for_size);
        if changed {
            peer.publish_path();
        }
        changed
    }

    /// Returns the size of the largest datagram on any path, in bytes. On a secured link, the size before a tag takes the place
    /// of the CRC.
    #[must_use]
    pub const fn datagram_size(&self) -> usize {
        self.datagram_size - self.extra
    }
}
