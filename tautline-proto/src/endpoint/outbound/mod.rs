//! The sending half of an endpoint.
//!
//! [`Outbound`] is the only type of this folder that the driver calls. `peer` holds what is known of each peer,
//! `reliable_sender` the reliable messages that a peer has not acknowledged, frame by frame (`queued_frame`) and datagram by datagram
//! (`flights`), and their messages (`pending_messages`).
//!
//! On a plain link, a sequence number is used up only when the kernel takes the datagram: [`seal`](Outbound::seal) writes the next number, and
//! [`sent`](Outbound::sent) moves on to the following one. Both happen under the transmit lock, so that datagrams are sent in
//! the order of their numbers. On a secured link (`sealed`), sealing itself uses the number up.
//!
//! This folder may use `wire`, the crate's root modules and what both halves share. It never uses `inbound`.

mod flights;
mod path_size;
mod peer;
mod pending_messages;
mod queued_frame;
mod record;
mod reliable_sender;
#[cfg(feature = "secure")]
mod sealed;
mod sealed_pack;

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use hashbrown::HashMap;

use path_size::{BASE_DATAGRAM, MIN_DATAGRAM, PathSize};
use peer::OutboundPeer;
use queued_frame::SendRules;
pub use sealed_pack::SealedPack;

#[cfg(feature = "secure")]
use super::command::NewKeys;
use super::command::{Command, OpenPeer};
use super::config::{EndpointConfig, Role, WireFormat};
use super::event::RemovalReason;
use super::outcome::{Outcome, Refusal};
use super::recorder::{Kind, Output, Recorder};
use crate::message::Priority;
use crate::peer::PeerId;
use crate::rights::Rights;
use crate::ring::Ring;
use crate::snapshot::{Reader, Saved, Writer, saved};
use crate::time::{Instant, Now};
use crate::wire::native::{Ack, Control, Header, Heartbeat, Pack};
use crate::wire::{classic, native};

/// The sending half of an endpoint. The holder of the transmit lock owns it.
#[derive(Debug)]
pub struct Outbound {
    wire: WireFormat,
    role: Role,
    name: String,
    slots: Vec<Option<OutboundPeer>>,
    open: Vec<PeerId>,
    /// The open peers that a message for all goes to, in the order of their slots.
    listening: Vec<PeerId>,
    by_address: HashMap<SocketAddr, PeerId>,
    first_number: u64,
    /// The largest datagram on any path (native).
    datagram_size: usize,
    /// By how much a datagram becomes longer when it is sealed with a key.
    extra: usize,
    max_tries: u32,
    /// When each peer's reliable messages have something to do.
    due: BTreeSet<(Instant, u32)>,
    outcomes: VecDeque<(u64, Outcome)>,
    /// Writes the black box, if there is one.
    recorder: Option<Box<Recorder>>,
}

/// A datagram of reliable messages to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DueDatagram {
    /// The peer to send it to.
    pub peer: PeerId,
    /// How many messages are sent for the first time in it.
    pub messages: u64,
    /// The highest priority of its messages; [`Normal`](Priority::Normal) if it has none.
    pub priority: Priority,
}

/// What the kernel has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentDatagrams {
    /// How many datagrams. Each has a number of its own.
    pub datagrams: u64,
    /// How many bytes in all.
    pub bytes: usize,
    /// How many messages in all.
    pub messages: u64,
}

impl SentDatagrams {
    /// One datagram of `bytes` bytes that holds `messages` messages.
    #[must_use]
    pub const fn one(bytes: usize, messages: u64) -> Self {
        Self { datagrams: 1, bytes, messages }
    }
}

impl Outbound {
    pub(super) fn new(config: &EndpointConfig, first_number: u64) -> Self {
        Self {
            wire: config.wire,
            role: config.role,
            name: config.name.clone(),
            slots: Vec::new(),
            open: Vec::new(),
            listening: Vec::new(),
            by_address: HashMap::new(),
            first_number,
            datagram_size: config.datagram_size,
            extra: if config.is_secured() { native::SEALED_EXTRA } else { 0 },
            max_tries: config.max_tries,
            due: BTreeSet::new(),
            outcomes: VecDeque::new(),
            recorder: None,
        }
    }

    /// Returns the peers that can be sent to.
    #[must_use]
    pub fn peers(&self) -> &[PeerId] {
        &self.open
    }

    /// Returns the peers that a message for all goes to. A server leaves out peers that were not heard lately: a stranger who
    /// is gone, or who never asked, gets heartbeats at most.
    #[must_use]
    #[inline]
    pub fn listeners(&self) -> &[PeerId] {
        &self.listening
    }

    /// Returns the place in the [`listeners`](Self::listeners) after this one, which may be gone. So a message for all can be
    /// written in pieces, and reaches each of them once, although some come and go meanwhile.
    #[must_use]
    pub fn place_after(&self, listener: PeerId) -> usize {
        self.listening.partition_point(|other| other.slot() <= listener.slot())
    }

    fn listen(&mut self, id: PeerId, listens: bool) {
        let place = self.listening.partition_point(|other| other.slot() < id.slot());
        let is_there = self.listening.get(place) == Some(&id);
        match (is_there, listens) {
            (true, false) => drop(self.listening.remove(place)),
            (false, true) => self.listening.insert(place, id),
            _ => {}
        }
    }

    /// Returns the peer at this address.
    ///
    /// A socket of both families shows an IPv4 address as an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2). Either form finds
    /// the peer.
    #[must_use]
    pub fn peer_at(&self, address: SocketAddr) -> Option<PeerId> {
        let mapped = || match address.ip() {
            IpAddr::V4(ip) => {
                self.by_address.get(&SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()))
            }
            IpAddr::V6(_) => None,
        };
        self.by_address.get(&address).or_else(mapped).copied()
    }

    /// Returns whether this peer can be sent to.
    #[must_use]
    pub fn knows(&self, id: PeerId) -> bool {
        self.peer(id).is_some()
    }

    /// Returns the peer's address, or `None` if the peer is gone.
    #[must_use]
    pub fn address_of(&self, id: PeerId) -> Option<SocketAddr> {
        self.peer(id).map(|peer| peer.address)
    }

    /// Finishes a datagram for this peer with the next number. Returns the peer's address and the bytes to send. `None` if the
    /// peer is gone, or if its [keys are worn out](Self::keys_are_worn_out).
    ///
    /// `datagram` holds room for the header, followed by frames (native) or the envelope (classic). It may become longer. On a plain
    /// link it becomes the bytes to send. On a secured link the bytes to send are made in `sealed`, and each call spends a
    /// number: if the kernel does not take them, send the same bytes again, or let them be lost.
    #[inline]
    pub fn seal<'a>(
        &mut self,
        id: PeerId,
        datagram: &'a mut Vec<u8>,
        sealed: &'a mut Vec<u8>,
    ) -> Option<(SocketAddr, &'a [u8])> {
        match self.recorder {
            None => self.seal_next(id, datagram, sealed),
            Some(_) => self.seal_recorded(id, datagram, sealed),
        }
    }

    fn seal_next<'a>(
        &mut self,
        id: PeerId,
        datagram: &'a mut Vec<u8>,
        #[cfg_attr(not(feature = "secure"), allow(unused_variables))] sealed: &'a mut Vec<u8>,
    ) -> Option<(SocketAddr, &'a [u8])> {
        let (wire, from_server) = (self.wire, self.role == Role::Server);
        let peer = peer_mut(&mut self.slots, id)?;
        #[cfg(feature = "secure")]
        if peer.is_secured() {
            return sealed::seal(peer, datagram, from_server, sealed);
        }
        let size = peer.path.size();
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        let sequence = peer.next as u32;
        match wire {
            WireFormat::Classic(format) => classic::seal(datagram, format, sequence),
            WireFormat::Native => {
                // A datagram without room for the echo is sent without it. The next datagram carries it again.
                let room = size.saturating_sub(datagram.len() + native::TRAILER_LEN);
                if let Some(token) = peer.echo.filter(|_| room >= native::MAX_ECHO_LEN) {
                    native::write_control(datagram, &Control::Echo { token, name: &self.name });
                }
                peer.ack_is_sealed = peer.piggyback_ack(datagram, size);
                native::seal(datagram, Header { session: peer.session, sequence, from_server });
            }
        }
        Some((peer.address, datagram))
    }

    /// Returns whether nothing can be sealed for this peer any more, because its keys have sealed as many datagrams as they may.
    #[must_use]
    pub fn keys_are_worn_out(&self, id: PeerId) -> bool {
        #[cfg(feature = "secure")]
        return self.peer(id).and_then(|peer| peer.sealing.as_ref()).is_some_and(|key| !key.has_left(64));
        #[cfg(not(feature = "secure"))]
        self.peer(id).is_none_or(OutboundPeer::is_secured)
    }

    /// Returns what may be sent to this peer: on a secured link, what it has granted. It drops everything else.
    #[must_use]
    pub fn granted(&self, id: PeerId) -> Rights {
        self.peer(id).map_or(Rights::ALL, |peer| peer.granted)
    }

    /// Returns what may be sent to every peer. A server may send everything.
    #[must_use]
    pub fn granted_by_all(&self) -> Rights {
        let of_peers = self.slots.iter().flatten().map(|peer| peer.granted);
        if self.role == Role::Server { Rights::ALL } else { of_peers.fold(Rights::ALL, Rights::and) }
    }

    /// Returns whether what is sent is sealed with keys.
    #[must_use]
    pub const fn is_secured(&self) -> bool {
        self.extra != 0
    }

    /// Returns whether messages for this peer may share datagrams now: on the native wire, once the echo need not be
    /// piggybacked any more.
    #[must_use]
    pub fn may_pack(&self, id: PeerId) -> bool {
        self.wire == WireFormat::Native && self.peer(id).is_some_and(|peer| peer.echo.is_none())
    }

    /// As [`seal`](Self::seal), but for all datagrams of `pack`, with consecutive numbers.
    pub fn seal_pack<'a>(
        &mut self,
        id: PeerId,
        pack: &'a mut Pack,
        sealed: &'a mut Vec<u8>,
    ) -> Option<SealedPack<'a>> {
        match self.recorder {
            None => self.seal_next_pack(id, pack, sealed),
            Some(_) => self.seal_pack_recorded(id, pack, sealed),
        }
    }

    fn seal_next_pack<'a>(
        &mut self,
        id: PeerId,
        pack: &'a mut Pack,
        #[cfg_attr(not(feature = "secure"), allow(unused_variables))] sealed: &'a mut Vec<u8>,
    ) -> Option<SealedPack<'a>> {
        let from_server = self.role == Role::Server;
        let peer = peer_mut(&mut self.slots, id)?;
        #[cfg(feature = "secure")]
        if peer.is_secured() {
            return sealed::seal_pack(peer, pack, from_server, sealed);
        }
        peer.ack_is_sealed = false;
        peer.path.sends(pack.datagram_size());
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        let sequence = peer.next as u32;
        pack.seal(Header { session: peer.session, sequence, from_server });
        let (to, size) = (peer.address, pack.datagram_size());
        Some(SealedPack { to, bytes: pack.bytes(), size, messages: pack.message_counts() })
    }

    /// Moves on to the next number, because the kernel has taken what was sealed last for this peer.
    pub fn sent(&mut self, id: PeerId, sent: SentDatagrams) {
        if let Some(recorder) = self.recorder(0) {
            let words = [id.to_word(), sent.datagrams, sent.bytes as u64, sent.messages];
            recorder.input(Kind::Sent, &words, &[]);
        }
        let Some(peer) = peer_mut(&mut self.slots, id) else { return };
        if !peer.is_secured() {
            // Sealing with a key has spent the number.
            peer.next += sent.datagrams;
            peer.tx.next_sequence.set(peer.next);
        }
        peer.tx.datagrams.add(sent.datagrams);
        peer.tx.bytes.add(sent.bytes as u64);
        peer.tx.messages.add(sent.messages);
        peer.ack_was_sent();
        if let Some(reliable) = &mut peer.reliable {
            reliable.others_sent(sent.datagrams);
        }
    }

    /// Carries out a command of the inbound half.
    ///
    /// If the command needs a datagram, writes it to `out`, unsealed, and returns the peer to send it to.
    pub fn apply(&mut self, command: Command, now: Now, out: &mut Vec<u8>) -> Option<PeerId> {
        if let Some(recorder) = self.recorder(record::LARGEST_COMMAND) {
            recorder.clocks(now);
            recorder.saved_input(Kind::Command, &[], &command);
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

    /// Writes an unsealed datagram to `out` that ends the session. Returns `false` on the classic wire, which has none.
    #[must_use]
    pub fn write_close(&self, out: &mut Vec<u8>) -> bool {
        begin(out, &[Control::Close]);
        self.wire == WireFormat::Native
    }

    /// Returns the first number for the next connection. On the classic wire, numbers continue after a reconnect.
    #[must_use]
    pub fn next_first_number(&self) -> u64 {
        self.slots.iter().flatten().map(|peer| peer.next).max().unwrap_or(0).max(self.first_number)
    }

    fn open_peer(&mut self, peer: OpenPeer, out: &mut Vec<u8>) -> Option<PeerId> {
        let OpenPeer { id, address, echo, .. } = peer;
        let next = match self.wire {
            WireFormat::Native => 0,
            WireFormat::Classic(_) => self.first_number,
        };
        peer.tx.next_sequence.set(next);
        if self.slots.len() <= id.slot() {
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

    /// Whether [`offer`](Self::offer) has room for one more reliable message of one datagram to this peer. True for a peer
    /// that is unknown: there the offer says what is wrong.
    #[must_use]
    pub fn has_room(&self, id: PeerId) -> bool {
        self.room(id) > 0
    }

    /// As [`has_room`](Self::has_room), but for a quarter of the window. Whoever waits for room is woken then, and not for each
    /// message.
    #[must_use]
    pub fn has_ample_room(&self, id: PeerId) -> bool {
        self.room(id) >= native::DELIVERY_WINDOW / 4
    }

    fn room(&self, id: PeerId) -> u64 {
        let reliable = self.peer(id).and_then(|peer| peer.reliable.as_ref());
        reliable.map_or(native::DELIVERY_WINDOW, |reliable| reliable.room())
    }

    /// Queues a reliable message for a peer. [`poll_delivery`](Self::poll_delivery) sends it.
    ///
    /// `frame` is what an [`Encoder`](super::Encoder) made, without the datagram's header. `receipt` identifies the message in
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
            recorder.input(Kind::Offer, &[id.to_word(), receipt, expires], frame);
        }
        let offered = self.take_offer(id, frame, receipt, expires);
        if let Some(recorder) = &mut self.recorder {
            recorder.digest_of(Output::Returned).add(offered.map_or_else(|error| error as u64 + 1, |()| 0));
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
        let was_due = reliable.next_due();
        reliable.offer(frame, room, receipt, expires)?;
        if reliable.next_due() != was_due || peer.reliable_due.is_none() {
            self.schedule(id, Instant::from_nanos(0));
        }
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
            recorder.input_at(Kind::Deliver, now, &[u64::from(others_wait)], &[]);
        }
        let due = self.next_due(now, others_wait, out);
        let word = due.map(|due| due.peer.to_word() ^ due.messages << 8 ^ due.priority as u64);
        record::written(self.recorder.as_deref_mut(), word, out);
        due
    }

    fn next_due(&mut self, now: Instant, others_wait: bool, out: &mut Vec<u8>) -> Option<DueDatagram> {
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
            recorder.saved_input(Kind::NotSent, &[], &due);
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

    /// Returns the next receipt and outcome of a reliable message.
    pub fn poll_outcome(&mut self) -> Option<(u64, Outcome)> {
        if self.outcomes.is_empty() {
            return None;
        }
        if let Some(recorder) = self.recorder(0) {
            recorder.input(Kind::Polled, &[], &[]);
        }
        let outcome = self.outcomes.pop_front();
        if let (Some((receipt, outcome)), Some(recorder)) = (outcome, &mut self.recorder) {
            recorder.digest_of(Output::Event).add(receipt << 8 | outcome as u64);
        }
        outcome
    }

    /// Abandons all reliable messages, because this end closes the connection.
    pub fn abandon(&mut self) {
        if let Some(recorder) = self.recorder(0) {
            recorder.input(Kind::Abandon, &[], &[]);
        }
        self.due.clear();
        for peer in self.slots.iter_mut().flatten() {
            peer.reliable_due = None;
            if let Some(reliable) = peer.reliable.take() {
                self.outcomes.extend(reliable.end(Outcome::PeerLost));
            }
        }
    }

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
            recorder.input(Kind::PathTold, &words, &[]);
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
    fn write_probe(&mut self, id: PeerId, now: Now, out: &mut Vec<u8>) -> Option<PeerId> {
        let peer = peer_mut(&mut self.slots, id).filter(|peer| peer.echo.is_none())?;
        let size = peer.path.next_probe(now.steady)?;
        begin_heartbeat(Heartbeat::default(), now, out);
        native::write_control(out, &Control::PathProbe(peer.path.of_probe(size)));
        out.resize(size - peer.extra - native::TRAILER_LEN, 0);
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        peer.path.probe_sent(size, peer.next as u32, now.steady);
        Some(id)
    }

    /// Notes that the system did not take the probe that [`apply`](Self::apply) wrote last for this peer.
    pub fn probe_not_sent(&mut self, id: PeerId) {
        if let Some(recorder) = self.recorder(0) {
            recorder.input(Kind::ProbeNotSent, &[id.to_word()], &[]);
        }
        if let Some(peer) = peer_mut(&mut self.slots, id) {
            peer.path.probe_not_sent();
        }
    }

    /// Returns the size of the largest datagram on any path, in bytes. On a secured link, the size before a tag takes the place
    /// of the CRC.
    #[must_use]
    pub const fn datagram_size(&self) -> usize {
        self.datagram_size - self.extra
    }

    fn acknowledged(&mut self, id: PeerId, ack: Ack<'_>, now: Instant) {
        let Some(peer) = peer_mut(&mut self.slots, id) else { return };
        let Some(reliable) = &mut peer.reliable else { return };
        reliable.acknowledge(ack, now, &mut self.outcomes);
        self.schedule(id, Instant::from_nanos(0));
    }

    /// Sets when the peer's reliable messages have something to do, but not before `soonest`.
    fn schedule(&mut self, id: PeerId, soonest: Instant) {
        let Some(peer) = peer_mut(&mut self.slots, id) else { return };
        let next = peer.reliable.as_ref().and_then(|reliable| reliable.next_due()).map(|at| at.max(soonest));
        let slot = id.slot_number();
        if let Some(before) = core::mem::replace(&mut peer.reliable_due, next) {
            self.due.remove(&(before, slot));
        }
        if let Some(at) = next {
            self.due.insert((at, slot));
        }
    }

    /// Records every call that changes something into this ring from now on. Returns `false`, and records nothing, on a secured
    /// endpoint: its keys must not leave it.
    pub fn record(&mut self, ring: Arc<Ring>) -> bool {
        if !self.is_secured() {
            self.recorder = Some(Box::new(Recorder::new(Some(ring))));
        }
        self.recorder.is_some()
    }

    /// Notes when the next datagrams are sent. Only the record shows it.
    #[inline]
    pub fn sends_at(&mut self, now: Instant) {
        if let Some(recorder) = &mut self.recorder {
            recorder.set_now(now);
        }
    }

    /// Begins a call with so many bytes: makes a mark before it if the segment is full.
    #[inline]
    fn recorder(&mut self, bytes: usize) -> Option<&mut Recorder> {
        if self.recorder.as_ref()?.needs_mark(bytes) {
            self.mark();
        }
        self.recorder.as_deref_mut()
    }

    #[cold]
    fn mark(&mut self) {
        let Some(mut recorder) = self.recorder.take() else { return };
        recorder.mark(|out| self.save(out));
        self.recorder = Some(recorder);
    }

    #[inline(never)] // keeps this code out of the path of endpoints without a black box
    fn seal_recorded<'a>(
        &mut self,
        id: PeerId,
        datagram: &'a mut Vec<u8>,
        sealed: &'a mut Vec<u8>,
    ) -> Option<(SocketAddr, &'a [u8])> {
        if let Some(recorder) = self.recorder(datagram.len()) {
            recorder.input(Kind::Seal, &[id.to_word()], datagram);
        }
        let sealed = self.seal_next(id, datagram, sealed);
        if let (Some(recorder), Some((to, datagram))) = (&mut self.recorder, sealed) {
            record::sealed(recorder, to, datagram);
        }
        sealed
    }

    #[inline(never)]
    fn seal_pack_recorded<'a>(
        &mut self,
        id: PeerId,
        pack: &'a mut Pack,
        sealed: &'a mut Vec<u8>,
    ) -> Option<SealedPack<'a>> {
        if let Some(recorder) = self.recorder(pack.bytes().len() + record::PACK_FIELDS) {
            recorder.saved_input(Kind::SealPack, &[id.to_word()], pack);
        }
        let sealed = self.seal_next_pack(id, pack, sealed);
        if let (Some(recorder), Some(pack)) = (&mut self.recorder, &sealed) {
            record::sealed_pack(recorder, pack);
        }
        sealed
    }

    #[cold]
    fn record_fits(&mut self, id: PeerId, datagram_len: usize) {
        if let Some(recorder) = self.recorder(0) {
            recorder.input(Kind::Fits, &[id.to_word(), datagram_len as u64], &[]);
        }
    }

    /// Reads the state of a mark, for a rerun.
    pub(super) fn from_mark(mark: &[u8]) -> Option<Self> {
        let mut from = Reader(mark);
        let mut recorder = Recorder::new(None);
        recorder.begin(&mut from)?;
        let mut outbound = Self::load(&mut from)?;
        outbound.recorder = Some(Box::new(recorder));
        from.0.is_empty().then_some(outbound)
    }

    /// Writes the state as a mark does.
    pub(super) fn save_mark(&self, out: &mut Writer) {
        self.recorder.iter().for_each(|recorder| recorder.save_digests(out));
        self.save(out);
    }

    /// Returns the digest of all outputs so far. 0 without a recorder.
    pub(super) fn digest(&self) -> u64 {
        self.recorder.as_ref().map_or(0, |recorder| recorder.digest())
    }

    fn peer(&self, id: PeerId) -> Option<&OutboundPeer> {
        self.slots.get(id.slot())?.as_ref().filter(|peer| peer.id == id)
    }
}

/// As [`Outbound::peer`], but does not borrow the other fields.
#[inline]
fn peer_mut(slots: &mut [Option<OutboundPeer>], id: PeerId) -> Option<&mut OutboundPeer> {
    slots.get_mut(id.slot())?.as_mut().filter(|peer| peer.id == id)
}

/// Retransmissions that had to wait for other traffic are tried again after this time.
const RETRY_AFTER: Duration = Duration::from_micros(200);

/// How many bytes of frames a datagram of this size holds.
const fn room(datagram_size: usize) -> usize {
    datagram_size - native::HEADER_LEN - native::TRAILER_LEN
}

/// Begins a native datagram with a heartbeat in `out`.
fn begin_heartbeat(heartbeat: Heartbeat, now: Now, out: &mut Vec<u8>) {
    // Zero means that there is no stamp.
    let stamp = now.steady.as_nanos().max(1);
    begin(out, &[Control::Heartbeat(Heartbeat { stamp, wall: now.wall, ..heartbeat })]);
}

/// Begins a native datagram of control frames in `out`.
fn begin(out: &mut Vec<u8>, frames: &[Control<'_>]) {
    out.clear();
    native::begin_datagram(out);
    for frame in frames {
        native::write_control(out, frame);
    }
}

saved!(DueDatagram { peer, messages, priority });

impl Saved for Outbound {
    fn save(&self, out: &mut Writer) {
        let Self {
            wire,
            role,
            name,
            slots,
            open,
            listening,
            first_number,
            datagram_size,
            extra,
            max_tries,
            ..
        } = self;
        wire.save(out);
        role.save(out);
        name.save(out);
        slots.save(out);
        open.save(out);
        listening.save(out);
        for id in open {
            let is_found = self.peer(*id).is_some_and(|peer| self.by_address.get(&peer.address) == Some(id));
            is_found.save(out);
        }
        first_number.save(out);
        datagram_size.save(out);
        extra.save(out);
        max_tries.save(out);
        self.due.save(out);
        self.outcomes.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let (wire, role, name) = (Saved::load(from)?, Saved::load(from)?, Saved::load(from)?);
        let (slots, open, listening): (Vec<Option<OutboundPeer>>, Vec<PeerId>, _) =
            (Saved::load(from)?, Saved::load(from)?, Saved::load(from)?);
        let mut by_address = HashMap::new();
        for id in &open {
            let peer = slots.get(id.slot())?.as_ref()?;
            if bool::load(from)? {
                by_address.insert(peer.address, *id);
            }
        }
        Some(Self {
            wire,
            role,
            name,
            slots,
            open,
            listening,
            by_address,
            first_number: Saved::load(from)?,
            datagram_size: Saved::load(from)?,
            extra: Saved::load(from)?,
            max_tries: Saved::load(from)?,
            due: Saved::load(from)?,
            outcomes: Saved::load(from)?,
            recorder: None,
        })
    }
}
