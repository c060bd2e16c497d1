//! Reliable messages of all peers: what is queued, what is due, and how each ended.
//!
//! The line calls it for its sender and for the driver's thread. [`reliable_sender`](super::reliable_sender) holds those of one peer.

use alloc::vec::Vec;
use core::time::Duration;

use super::half::{DueDatagram, Outbound, begin, peer_mut, room};
use super::path_size::BASE_DATAGRAM;
use super::queued_frame::SendRules;
use super::record;
use crate::endpoint::outcome::{Outcome, Refusal};
use crate::endpoint::recorder::{Kind, Output};
use crate::peer::PeerId;
use crate::time::Instant;
use crate::wire::native::{self, Ack};

/// Retransmissions that had to wait for other traffic are tried again after this time.
const RETRY_AFTER: Duration = Duration::from_micros(200);

impl Outbound {
    /// Whether [`offer`](Self::offer) has room for one more reliable message to this peer: for the one that it has refused, if
    /// it has taken none since, or else for one of one datagram. True for a peer that is unknown: there the offer says what is
    /// wrong.
    #[must_use]
    pub fn has_room(&self, id: PeerId) -> bool {
        self.has_room_for(id, 1)
    }

    /// As [`has_room`](Self::has_room), but for a quarter of the window at least. Whoever waits for room is woken then, and not for
    /// each message.
    #[must_use]
    pub fn has_ample_room(&self, id: PeerId) -> bool {
        self.has_room_for(id, native::DELIVERY_WINDOW / 4)
    }

    /// Whether the window has room for so many frames, and for the message that was refused.
    fn has_room_for(&self, id: PeerId, frames: u64) -> bool {
        let reliable = self.peer(id).and_then(|peer| peer.reliable.as_ref());
        reliable.is_none_or(|reliable| reliable.room() >= frames.max(reliable.wanted()))
    }

    /// Queues a reliable message for a peer. [`poll_delivery`](Self::poll_delivery) sends it.
    ///
    /// `frame` is what an [`Encoder`](crate::endpoint::Encoder) made, without the datagram's header. `receipt` identifies the message in
    /// [`poll_outcome`](Self::poll_outcome). At `expires`, the message is abandoned.
    ///
    /// # Errors
    ///
    /// Why the message is not taken. It then has no outcome.
    pub fn offer(
        &mut self,
        id: PeerId,
        frame: &[u8],
        receipt: u64,
        expires: Option<Instant>,
    ) -> Result<(), Refusal> {
        if let Some(recorder) = self.recorder(frame.len()) {
            let expires = expires.map_or(u64::MAX, Instant::as_nanos);
            recorder.input(Kind::Offer, [id.to_word(), receipt, expires], frame);
        }
        let offered = self.take_offer(id, frame, receipt, expires);
        if let Some(recorder) = &mut self.recorder {
            recorder.returned().add(offered.map_or_else(|error| error as u64 + 1, |()| 0));
        }
        offered
    }

    fn take_offer(
        &mut self,
        id: PeerId,
        frame: &[u8],
        receipt: u64,
        expires: Option<Instant>,
    ) -> Result<(), Refusal> {
        let peer = peer_mut(&mut self.slots, id).ok_or(Refusal::UnknownPeer)?;
        // Frames cannot be cut anew once they have numbers, so they fit paths that become smaller.
        let room = room(peer.path.size().min(BASE_DATAGRAM) - peer.extra);
        let reliable = peer.reliable.get_or_insert_default();
        reliable.offer(frame, room, receipt, expires)?;
        self.schedule(id, Instant::from_nanos(0));
        Ok(())
    }

    /// Writes the next datagram of reliable messages that is due to `out`, unsealed.
    ///
    /// Set `others_wait` while other traffic waits for the same socket. Then at most a tenth of the datagrams hold
    /// retransmissions, but at least one in each retransmission time-out.
    pub fn poll_delivery(
        &mut self,
        now: Instant,
        others_wait: bool,
        out: &mut Vec<u8>,
    ) -> Option<DueDatagram> {
        if let Some(recorder) = self.recorder(0) {
            recorder.set_now(now);
            recorder.input(Kind::Deliver, [u64::from(others_wait)], &[]);
        }
        let due = self.next_due(now, others_wait, out);
        let word = due.map(|due| due.peer.to_word() ^ due.messages << 8 ^ due.priority as u64);
        record::written(self.recorder.as_deref_mut(), word, out);
        due
    }

    pub(super) fn next_due(
        &mut self,
        now: Instant,
        others_wait: bool,
        out: &mut Vec<u8>,
    ) -> Option<DueDatagram> {
        let max_tries = self.max_tries;
        while let Some(&(at, slot)) = self.due.first().filter(|&&(at, _)| at <= now) {
            begin(out, &[]);
            let Some(Some(peer)) = self.slots.get_mut(slot as usize) else { return None };
            let id = peer.id;
            let rules = SendRules { now, others_wait, room: room(peer.size()), max_tries };
            let Some(reliable) = &mut peer.reliable else { return None };
            let polled = reliable.poll(rules, out, &mut self.outcomes);
            // Retransmissions that must wait for other traffic are tried again soon.
            let soonest = if polled.is_some() { at } else { now.plus(RETRY_AFTER) };
            self.schedule(id, soonest);
            if let Some((messages, priority)) = polled {
                if let Some(peer) = peer_mut(&mut self.slots, id) {
                    peer.path.sends(out.len() + peer.extra);
                }
                let messages = messages + self.take_uncounted(id);
                return Some(DueDatagram { peer: id, messages, priority });
            }
        }
        None
    }

    /// Notes that the kernel did not take a datagram of [`poll_delivery`](Self::poll_delivery).
    ///
    /// Its contents are retransmitted as if the network had lost them. Its messages are counted with the peer's next datagram.
    pub fn not_sent(&mut self, due: DueDatagram) {
        if let Some(recorder) = self.recorder(64) {
            recorder.saved_input(Kind::NotSent, 0, [], &due);
        }
        if let Some(peer) = peer_mut(&mut self.slots, due.peer) {
            peer.uncounted = due.messages;
        }
    }

    fn take_uncounted(&mut self, id: PeerId) -> u64 {
        peer_mut(&mut self.slots, id).map_or(0, |peer| core::mem::take(&mut peer.uncounted))
    }

    /// Returns when [`poll_delivery`](Self::poll_delivery) has something to do next.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Returns whether [`poll_outcome`](Self::poll_outcome) has something.
    #[must_use]
    pub fn have_ended(&self) -> bool {
        !self.outcomes.is_empty()
    }

    /// Returns the next receipt and outcome of a reliable message.
    pub fn poll_outcome(&mut self) -> Option<(u64, Outcome)> {
        if self.outcomes.is_empty() {
            return None;
        }
        if let Some(recorder) = self.recorder(0) {
            recorder.input(Kind::Polled, [], &[]);
        }
        let outcome = self.outcomes.pop_front();
        if let (Some((receipt, outcome)), Some(recorder)) = (outcome, &mut self.recorder) {
            recorder.add(Output::Event, |digest| digest.add(receipt << 8 | outcome as u64));
        }
        outcome
    }

    /// Abandons all reliable messages, because this end closes the connection.
    pub fn abandon(&mut self) {
        if let Some(recorder) = self.recorder(0) {
            recorder.input(Kind::Abandon, [], &[]);
        }
        self.due.clear();
        for peer in self.slots.iter_mut().flatten() {
            peer.reliable_due = None;
            if let Some(reliable) = peer.reliable.take() {
                self.outcomes.extend(reliable.end(Outcome::PeerLost));
            }
        }
    }

    pub(super) fn acknowledged(&mut self, id: PeerId, ack: Ack<'_>, now: Instant) {
        let Some(peer) = peer_mut(&mut self.slots, id) else { return };
        let Some(reliable) = &mut peer.reliable else { return };
        reliable.acknowledge(ack, now, &mut self.outcomes);
        self.schedule(id, Instant::from_nanos(0));
    }

    /// Sets when the peer's reliable messages have something to do, but not before `soonest`.
    pub(super) fn schedule(&mut self, id: PeerId, soonest: Instant) {
        let Some(peer) = peer_mut(&mut self.slots, id) else { return };
        let next = peer.reliable.as_ref().and_then(|reliable| reliable.next_due()).map(|at| at.max(soonest));
        let slot = id.slot_number();
        if next == peer.reliable_due {
            return;
        }
        if let Some(before) = core::mem::replace(&mut peer.reliable_due, next) {
            self.due.remove(&(before, slot));
        }
        if let Some(at) = next {
            self.due.insert((at, slot));
        }
    }
}
