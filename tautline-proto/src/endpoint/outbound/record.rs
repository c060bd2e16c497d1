//! What the outbound half writes into its black box: every call that changes it, and a digest of everything that it returns.
//!
//! [`Outbound`](super::Outbound) calls it, under the transmit lock that its caller holds already.

use super::sealed_pack::SealedPack;
use crate::endpoint::recorder::Recorder;
use crate::peer::PeerId;
#[cfg(feature = "secure")]
use crate::wire::native::HEADER_LEN;

/// More than any command takes: an acknowledgement's bitmap, or a part of a handshake.
pub(super) const LARGEST_COMMAND: usize = 2048;

/// What a pack takes beside its bytes.
pub(super) const PACK_FIELDS: usize = 256;

/// Adds a sealed datagram to the digest. What a key has sealed differs in a rerun, which has no key: see [`unsealed`].
#[inline(never)] // keeps this code out of the path of endpoints without a black box
pub(super) fn sealed(recorder: &mut Recorder, peer: PeerId, port: u16, datagram: &[u8], is_secured: bool) {
    recorder.set_sealed(peer, datagram.len());
    let digest = recorder.returned();
    if is_secured { digest.add(port.into()) } else { digest.add_ends(port.into(), datagram) }
}

/// Adds the datagrams of a pack to the digest, as [`sealed`].
pub(super) fn sealed_pack(recorder: &mut Recorder, pack: &SealedPack<'_>, is_secured: bool) {
    let digest = recorder.returned();
    digest.add(pack.to.port().into());
    if !is_secured {
        pack.datagrams().for_each(|(datagram, _)| digest.add_ends(0, datagram));
    }
}

/// Adds a datagram to the digest that a key seals next: its header, and what may have been added at its end. What is between them
/// was given, and stands in the record.
#[cfg(feature = "secure")]
pub(super) fn unsealed(recorder: Option<&mut Recorder>, datagram: &[u8]) {
    if let Some(recorder) = recorder {
        let (header, frames) = datagram.split_at(HEADER_LEN.min(datagram.len()));
        let digest = recorder.returned();
        digest.add_ends(0, header);
        digest.add_ends(0, frames);
    }
}

/// Adds a datagram that was written, unsealed, to the digest. Without `meant` none was.
pub(super) fn written(recorder: Option<&mut Recorder>, meant: Option<u64>, datagram: &[u8]) {
    if let (Some(recorder), Some(meant)) = (recorder, meant) {
        let digest = recorder.returned();
        digest.add_ends(meant, datagram);
    }
}
