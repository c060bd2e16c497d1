//! Seals datagrams for peers with keys. docs/protocol.md §11.3.
//!
//! A number is spent by sealing, whether the datagram is sent or not: the same number with other contents would use a nonce twice.
//! What is sealed goes into a buffer of the caller. The frames stay as they are, for the next peer.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::peer::OutboundPeer;
use super::record;
use super::sealed_pack::SealedPack;
use crate::endpoint::recorder::Recorder;
use crate::wire::native::{
    HEADER_LEN, Header, Pack, SEALED_EXTRA, SealedHeader, begins_with_challenge, fill_sealed_header,
};

/// Seals these frames, which follow room for a header. `None` if the keys are worn out.
#[inline(never)] // keeps this code out of the path of plain links
pub(super) fn seal<'a>(
    peer: &mut OutboundPeer,
    frames: &mut Vec<u8>,
    from_server: bool,
    out: &'a mut Vec<u8>,
    recorder: Option<&mut Recorder>,
) -> Option<(SocketAddr, &'a [u8])> {
    let size = peer.size();
    if !peer.sealing.as_ref()?.has_left(1) {
        return None;
    }
    let challenge = peer.challenge.take_if(|(challenge, _)| begins_with_challenge(frames, *challenge));
    let to = challenge.map_or(peer.address, |(_, to)| to);
    // A challenge must not be longer than what it answers.
    peer.ack_is_sealed = challenge.is_none() && peer.piggyback_ack(frames, size);
    out.clear();
    append(peer, frames, from_server, out, recorder)?;
    Some((to, out))
}

/// As [`seal`], for all datagrams of a pack, which get consecutive numbers.
#[inline(never)]
pub(super) fn seal_pack<'a>(
    peer: &mut OutboundPeer,
    pack: &'a mut Pack,
    from_server: bool,
    out: &'a mut Vec<u8>,
    mut recorder: Option<&mut Recorder>,
) -> Option<SealedPack<'a>> {
    peer.ack_is_sealed = false;
    let size = pack.datagram_size() + SEALED_EXTRA;
    peer.path.sends(size);
    if !peer.sealing.as_ref()?.has_left(pack.datagrams().len() as u64) {
        return None;
    }
    out.clear();
    for frames in pack.open_datagrams() {
        append(peer, frames, from_server, out, recorder.as_deref_mut())?;
    }
    Some(SealedPack { to: peer.address, bytes: out, size, messages: pack.message_counts() })
}

/// Appends a sealed datagram with the next number.
fn append(
    peer: &mut OutboundPeer,
    frames: &[u8],
    from_server: bool,
    out: &mut Vec<u8>,
    recorder: Option<&mut Recorder>,
) -> Option<()> {
    let sealing = peer.sealing.as_mut()?;
    let number = peer.next;
    #[allow(clippy::cast_possible_truncation)] // the low half travels
    let header = Header { session: peer.session, sequence: number as u32, from_server };
    let begin = out.len();
    out.extend_from_slice(frames);
    let datagram = &mut out[begin..];
    fill_sealed_header(datagram, SealedHeader { header, phase: sealing.phase() });
    record::unsealed(recorder, datagram);
    let tag = sealing.seal(number, datagram, HEADER_LEN);
    out.extend_from_slice(&tag);
    peer.next = number + 1;
    peer.tx.next_sequence.set(peer.next);
    Some(())
}
