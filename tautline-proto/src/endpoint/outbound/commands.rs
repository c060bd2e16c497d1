//! The commands of the other half: peers come, move and go, and frames of control are sent to them.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::half::{Outbound, begin, peer_mut};
use super::path_size::PathSize;
use super::peer::OutboundPeer;
use super::record;
#[cfg(feature = "secure")]
use crate::endpoint::command::NewKeys;
use crate::endpoint::command::{Command, OpenPeer};
use crate::endpoint::config::WireFormat;
use crate::endpoint::event::RemovalReason;
use crate::endpoint::outcome::Outcome;
use crate::endpoint::recorder::Kind;
use crate::peer::PeerId;
use crate::time::Now;
use crate::wire::native::{self, Ack, Control, Heartbeat};

impl Outbound {
    /// Carries out a command of the inbound half.
    ///
    /// If the command needs a datagram, writes it to `out`, unsealed, and returns the peer to send it to.
    pub fn apply(&mut self, command: Command, now: Now, out: &mut Vec<u8>) -> Option<PeerId> {
        if let Some(recorder) = self.recorder(record::LARGEST_COMMAND) {
            recorder.clocks(now);
            recorder.saved_input(Kind::Command, 0, [], &command);
        }
        let to = self.carry_out(command, now, out);
        record::written(self.recorder.as_deref_mut(), to.map(PeerId::to_word), out);
        to
    }

    fn carry_out(&mut self, command: Command, now: Now, out: &mut Vec<u8>) -> Option<PeerId> {
        match command {
            Command::Open(peer) => self.open_peer(peer, out),
            Command::Forget(id, reason) => {
                self.forget(id, reason);
                None
            }
            Command::Hush(id) => {
                self.listen(id, false);
                None
            }
            Command::Heard(id) => {
                let is_known = self.knows(id);
                self.listen(id, is_known);
                None
            }
            Command::Acknowledge(id, base, bitmap) => {
                let peer = peer_mut(&mut self.slots, id)?;
                peer.set_ack(base, bitmap);
                begin(out, &[]);
                Some(id)
            }
            Command::OweAcknowledgement(id, base, bitmap) => {
                peer_mut(&mut self.slots, id)?.set_ack(base, bitmap);
                None
            }
            Command::PayAcknowledgement(id) => {
                begin(out, &[]);
                self.peer(id).filter(|peer| peer.owes_ack()).map(|peer| peer.id)
            }
            Command::Acknowledged(id, base, bitmap) => {
                self.acknowledged(id, Ack { base, bitmap: &bitmap }, now.steady);
                None
            }
            Command::Accepted(id) => {
                if let Some(peer) = peer_mut(&mut self.slots, id) {
                    peer.echo = None;
                }
                None
            }
            Command::Close(id) => {
                begin(out, &[Control::KeyRemoved]);
                Some(id)
            }
            Command::Accept(id) => {
                begin(out, &[]);
                native::write_control(out, &Control::Accept(&self.name));
                Some(id)
            }
            Command::Heartbeat(id, heartbeat) => {
                begin_heartbeat(heartbeat, now, out);
                let said = peer_mut(&mut self.slots, id).and_then(|peer| peer.path.beside_heartbeat());
                said.into_iter().for_each(|said| native::write_control(out, &Control::PathProbe(said)));
                Some(id)
            }
            Command::Probe(id) => self.write_probe(id, now, out),
            Command::PathAnswer(id, answer) => {
                let peer = peer_mut(&mut self.slots, id)?;
                answer.probe.into_iter().for_each(|number| peer.path.probe_arrived(number));
                if answer.asks {
                    peer.path.asked();
                }
                if peer.path.answered(answer.arrived, answer.heartbeat_sent, now.steady) {
                    peer.publish_path();
                }
                None
            }
            Command::Challenge(id, challenge, to) => {
                #[cfg(feature = "secure")]
                if let (Some(to), Some(peer)) = (to, peer_mut(&mut self.slots, id)) {
                    peer.challenge = Some((challenge, to));
                }
                #[cfg(not(feature = "secure"))]
                let _ = to;
                begin(out, &[Control::Challenge(challenge)]);
                Some(id)
            }
            Command::Move(id, to) => {
                self.move_peer(id, to);
                None
            }
            Command::Rekey(id, rekey) => {
                begin(out, &[Control::Rekey(&rekey)]);
                Some(id)
            }
            #[cfg(feature = "secure")]
            Command::NewKeys(NewKeys { id, seal, granted }) => {
                if let Some(peer) = peer_mut(&mut self.slots, id) {
                    peer.sealing = Some(seal);
                    peer.granted = granted.unwrap_or(peer.granted);
                }
                None
            }
            #[cfg(feature = "secure")]
            Command::WearOut(id) => {
                let peer = peer_mut(&mut self.slots, id)?;
                peer.sealing.iter_mut().for_each(|seal| seal.wear_out());
                None
            }
            Command::Ownership(id, ownership) => {
                begin(out, &[Control::Ownership(ownership)]);
                Some(id)
            }
        }
    }

    fn open_peer(&mut self, peer: OpenPeer, out: &mut Vec<u8>) -> Option<PeerId> {
        let OpenPeer { id, address, echo, .. } = peer;
        let next = match self.wire {
            WireFormat::Native => 0,
            WireFormat::Classic(_) => self.first_number,
        };
        peer.tx.next_sequence.set(next);
        if self.slots.len() <= id.slot() {
            if self.slots.is_empty() {
                // As in the other half: a client has one peer.
                self.slots.reserve_exact(id.slot() + 1);
            }
            self.slots.resize_with(id.slot() + 1, || None);
        }
        let opened = OutboundPeer::new(peer, next, self.datagram_size);
        if self.wire == WireFormat::Native {
            opened.publish_path();
        }
        self.slots[id.slot()] = Some(opened);
        self.open.push(id);
        self.listen(id, true);
        self.by_address.insert(address, id);
        // The echo is sent at once. A message that follows closely carries it again.
        echo.map(|_| {
            begin(out, &[]);
            id
        })
    }

    /// Sends to the peer at this address from now on. Nothing is known of the path there.
    fn move_peer(&mut self, id: PeerId, to: SocketAddr) {
        let Some(peer) = peer_mut(&mut self.slots, id) else { return };
        let from = core::mem::replace(&mut peer.address, to);
        peer.path = PathSize::new(to, self.datagram_size);
        peer.publish_path();
        self.by_address.remove(&from);
        self.by_address.insert(to, id);
    }

    fn forget(&mut self, id: PeerId, reason: RemovalReason) {
        let Some(slot) = self.slots.get_mut(id.slot()) else { return };
        let Some(peer) = slot.take_if(|peer| peer.id == id) else { return };
        if let Some(at) = peer.reliable_due {
            self.due.remove(&(at, id.slot_number()));
        }
        if let Some(reliable) = peer.reliable {
            self.outcomes.extend(reliable.end(match reason {
                RemovalReason::Replaced => Outcome::Unknown,
                RemovalReason::ClosedByPeer
                | RemovalReason::KeyRemoved
                | RemovalReason::Expired
                | RemovalReason::Displaced => Outcome::PeerLost,
            }));
        }
        self.first_number = match self.wire {
            WireFormat::Native => 0,
            WireFormat::Classic(_) => self.first_number.max(peer.next),
        };
        self.open.retain(|&open| open != id);
        self.listen(id, false);
        if self.by_address.get(&peer.address) == Some(&id) {
            self.by_address.remove(&peer.address);
        }
    }
}

/// Begins a native datagram with a heartbeat in `out`.
pub(super) fn begin_heartbeat(heartbeat: Heartbeat, now: Now, out: &mut Vec<u8>) {
    // Zero means that there is no stamp.
    let stamp = now.steady.as_nanos().max(1);
    begin(out, &[Control::Heartbeat(Heartbeat { stamp, wall: now.wall, ..heartbeat })]);
}
