//! The sending half: numbers datagrams and seals them.
//!
//! A number is spent only when the kernel took the datagram: [`seal`](Outbound::seal) writes the next
//! number, [`sent`](Outbound::sent) spends it. Both happen under the transmit lock, so that the order of
//! the numbers is the order on the wire.

mod reliable_sender;

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use hashbrown::HashMap;

use crate::endpoint::command::{Command, OpenPeer};
use crate::endpoint::config::{EndpointConfig, Role, WireFormat};
use crate::endpoint::event::RemovalReason;
use crate::endpoint::outcome::{Outcome, Refusal};
use crate::message::{Delivery, Priority};
use crate::peer::{PeerId, SessionId};
use crate::stats::PeerTxCounters;
use crate::time::{Instant, Now};
use crate::wire::native::{Ack, Control, DeliveryNumbers, Header, Heartbeat, Pack, Token};
use crate::wire::{classic, native};
use reliable_sender::{Outflow, Turn};

/// The sending half of an endpoint; owned by whoever holds the transmit lock.
#[derive(Debug)]
pub struct Outbound {
    wire: WireFormat,
    role: Role,
    name: String,
    slots: Vec<Option<Peer>>,
    open: Vec<PeerId>,
    by_address: HashMap<SocketAddr, PeerId>,
    first_number: u64,
    datagram_size: usize,
    most_tries: u32,
    /// The number of the next large best-effort message.
    next_large: u32,
    /// When the reliable messages for each peer want to be looked at.
    due: BTreeSet<(Instant, u32)>,
    outcomes: VecDeque<(u64, Outcome)>,
}

/// A datagram of reliable messages that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// To whom.
    pub peer: PeerId,
    /// How many messages go for the first time in it.
    pub messages: u64,
    /// The highest priority in it; `Normal` where there is no message.
    pub priority: Priority,
}

/// What the kernel took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Datagrams, each with a number of its own.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: usize,
    /// Messages in them.
    pub messages: u64,
}

impl Spent {
    /// One datagram of `bytes` bytes with `messages` messages.
    #[must_use]
    pub const fn one(bytes: usize, messages: u64) -> Self {
        Self { datagrams: 1, bytes, messages }
    }
}

#[derive(Debug)]
struct Peer {
    id: PeerId,
    address: SocketAddr,
    session: SessionId,
    next: u64,
    tx: Arc<PeerTxCounters>,
    echo: Option<Token>,
    ack: Option<Ride>,
    /// Whether it rides in the datagram that was sealed last.
    ack_rides: bool,
    /// Messages that went for the first time in datagrams that the kernel did not take.
    uncounted: u64,
    flow: Option<Box<Outflow>>,
    /// Its entry in `due`; kept by [`Outbound::schedule`].
    flow_due: Option<Instant>,
}

/// An acknowledgement that rides along.
#[derive(Debug)]
struct Ride {
    base: u64,
    bitmap: Vec<u8>,
    /// In how many datagrams more.
    left: u8,
}

/// An acknowledgement rides in so many datagrams, because any may be lost.
const RIDES: u8 = 4;

impl Outbound {
    pub(super) fn new(config: &EndpointConfig, first_number: u64) -> Self {
        Self {
            wire: config.wire,
            role: config.role,
            name: config.name.clone(),
            slots: Vec::new(),
            open: Vec::new(),
            by_address: HashMap::new(),
            first_number,
            datagram_size: config.datagram_size,
            most_tries: config.most_tries,
            next_large: 0,
            due: BTreeSet::new(),
            outcomes: VecDeque::new(),
        }
    }

    /// The peers that can be sent to.
    #[must_use]
    pub fn peers(&self) -> &[PeerId] {
        &self.open
    }

    /// The peer at this address. A socket of both families shows IPv4 addresses as IPv6 ones (RFC 4291 §2.5.5.2);
    /// the peer is found by either form.
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

    /// Whether this peer can be sent to.
    #[must_use]
    pub fn knows(&self, id: PeerId) -> bool {
        self.peer(id).is_some()
    }

    /// Where this peer is; `None` for one that is gone.
    #[must_use]
    pub fn address_of(&self, id: PeerId) -> Option<SocketAddr> {
        self.peer(id).map(|peer| peer.address)
    }

    /// Finishes `datagram`, which holds the prefix's hole and the frames or the envelope, for this peer with
    /// the next number. `None` for a peer that is gone.
    pub fn seal(&mut self, id: PeerId, datagram: &mut Vec<u8>) -> Option<SocketAddr> {
        let (wire, from_server, size) = (self.wire, self.role == Role::Server, self.datagram_size);
        let peer = peer_mut(&mut self.slots, id)?;
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        let sequence = peer.next as u32;
        match wire {
            WireFormat::Classic(format) => classic::seal(datagram, format, sequence),
            WireFormat::Native => {
                // A datagram without room for the echo goes without: the next one carries it again.
                let room = native::MAX_DATAGRAM.saturating_sub(datagram.len() + native::TRAILER_LEN);
                if let Some(token) = peer.echo.filter(|_| room >= native::MAX_ECHO_LEN) {
                    native::write_control(datagram, &Control::Echo { token, name: &self.name });
                }
                peer.ack_rides = peer.let_ack_ride(datagram, size);
                native::seal(datagram, Header { session: peer.session, sequence, from_server });
            }
        }
        Some(peer.address)
    }

    /// Whether messages for this peer may share datagrams now: on the native wire, once the handshake's echo need not
    /// ride along any more.
    #[must_use]
    pub fn may_pack(&self, id: PeerId) -> bool {
        self.wire == WireFormat::Native && self.peer(id).is_some_and(|peer| peer.echo.is_none())
    }

    /// As [`seal`](Self::seal), for all datagrams of `pack`, with the next numbers.
    pub fn seal_pack(&mut self, id: PeerId, pack: &mut Pack) -> Option<SocketAddr> {
        let from_server = self.role == Role::Server;
        let peer = peer_mut(&mut self.slots, id)?;
        peer.ack_rides = false;
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        let sequence = peer.next as u32;
        pack.seal(Header { session: peer.session, sequence, from_server });
        Some(peer.address)
    }

    /// Spends the numbers of what was sealed last for this peer: the kernel has it.
    pub fn sent(&mut self, id: PeerId, sent: Spent) {
        let Some(peer) = peer_mut(&mut self.slots, id) else { return };
        peer.next += sent.datagrams;
        peer.tx.next_sequence.set(peer.next);
        peer.tx.datagrams.add(sent.datagrams);
        peer.tx.bytes.add(sent.bytes as u64);
        peer.tx.messages.add(sent.messages);
        peer.ack_has_ridden();
        if let Some(flow) = &mut peer.flow {
            flow.others_sent(sent.datagrams);
        }
    }

    /// Carries out an order of the inbound half. Where that asks for a datagram, writes it to `out`, unsealed,
    /// and names the peer it is for.
    pub fn apply(&mut self, command: Command, now: Now, out: &mut Vec<u8>) -> Option<PeerId> {
        match command {
            Command::Open(peer) => self.open_peer(peer, out),
            Command::Forget(id, reason) => {
                self.forget(id, reason);
                None
            }
            Command::Acknowledge(id, base, bitmap) => {
                let peer = peer_mut(&mut self.slots, id)?;
                peer.ack = Some(Ride { base, bitmap, left: RIDES });
                begin(out, &[]);
                Some(id)
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
            Command::Accept(id) => {
                begin(out, &[]);
                native::write_control(out, &Control::Accept(&self.name));
                Some(id)
            }
            Command::Heartbeat(id, heartbeat) => {
                // Zero stands for no stamp.
                let stamp = now.steady.as_nanos().max(1);
                begin(out, &[Control::Heartbeat(Heartbeat { stamp, wall: now.wall, ..heartbeat })]);
                Some(id)
            }
        }
    }

    /// Writes an unsealed goodbye to `out` where this wire has one.
    #[must_use]
    pub fn farewell(&self, out: &mut Vec<u8>) -> bool {
        begin(out, &[Control::Close]);
        self.wire == WireFormat::Native
    }

    /// The first number for the next connection: numbering on the classic wire goes on over reconnects.
    #[must_use]
    pub fn next_first_number(&self) -> u64 {
        self.slots.iter().flatten().map(|peer| peer.next).max().unwrap_or(0).max(self.first_number)
    }

    fn open_peer(&mut self, peer: OpenPeer, out: &mut Vec<u8>) -> Option<PeerId> {
        let OpenPeer { id, address, session, tx, echo } = peer;
        let next = match self.wire {
            WireFormat::Native => 0,
            WireFormat::Classic(_) => self.first_number,
        };
        tx.next_sequence.set(next);
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, || None);
        }
        self.slots[id.slot()] = Some(Peer {
            id,
            address,
            session,
            next,
            tx,
            echo,
            ack: None,
            ack_rides: false,
            uncounted: 0,
            flow: None,
            flow_due: None,
        });
        self.open.push(id);
        self.by_address.insert(address, id);
        // The echo goes out at once; a message that follows close behind carries it again.
        echo.map(|_| {
            begin(out, &[]);
            id
        })
    }

    fn forget(&mut self, id: PeerId, reason: RemovalReason) {
        let Some(slot) = self.slots.get_mut(id.slot()) else { return };
        let Some(peer) = slot.take_if(|peer| peer.id == id) else { return };
        if let Some(at) = peer.flow_due {
            self.due.remove(&(at, id.slot_number()));
        }
        if let Some(flow) = peer.flow {
            self.outcomes.extend(flow.end(match reason {
                RemovalReason::Replaced => Outcome::Unknown,
                RemovalReason::ClosedByPeer | RemovalReason::Expired => Outcome::PeerLost,
            }));
        }
        self.first_number = match self.wire {
            WireFormat::Native => 0,
            WireFormat::Classic(_) => self.first_number.max(peer.next),
        };
        self.open.retain(|&open| open != id);
        if self.by_address.get(&peer.address) == Some(&id) {
            self.by_address.remove(&peer.address);
        }
    }

    /// Takes a reliable message for a peer in: the frame that an [`Encoder`](super::Encoder) made, without the datagram's
    /// header. Nothing is sent until [`poll_delivery`](Self::poll_delivery) says so. `receipt` names its outcome.
    ///
    /// # Errors
    ///
    /// Why it is not taken; then there is no outcome.
    pub fn offer(
        &mut self,
        id: PeerId,
        frame: &[u8],
        receipt: u64,
        expires: Option<Instant>,
    ) -> Result<(), Refusal> {
        let room = self.room();
        let peer = peer_mut(&mut self.slots, id).ok_or(Refusal::UnknownPeer)?;
        peer.flow.get_or_insert_with(Box::default).offer(frame, room, receipt, expires)?;
        self.schedule(id, Instant::from_nanos(0));
        Ok(())
    }

    /// Writes the next datagram of reliable messages that is due to `out`, unsealed. While `others_wait` for the same
    /// socket, at most a tenth of the datagrams are ones that were sent before, but one in each resend time-out.
    pub fn poll_delivery(&mut self, now: Instant, others_wait: bool, out: &mut Vec<u8>) -> Option<Due> {
        let turn = Turn { now, others_wait, room: self.room(), most_tries: self.most_tries };
        while let Some(&(at, slot)) = self.due.first().filter(|&&(at, _)| at <= now) {
            begin(out, &[]);
            let Some(Some(peer)) = self.slots.get_mut(slot as usize) else { return None };
            let id = peer.id;
            let Some(flow) = &mut peer.flow else { return None };
            let polled = flow.poll(turn, out, &mut self.outcomes);
            // What must wait for others is looked at again soon.
            let soonest = if polled.is_some() { at } else { now.plus(HELD_BACK) };
            self.schedule(id, soonest);
            if let Some((messages, priority)) = polled {
                let messages = messages + self.take_uncounted(id);
                return Some(Due { peer: id, messages, priority });
            }
        }
        None
    }

    /// The kernel did not take a datagram of [`poll_delivery`](Self::poll_delivery)'s. What was in it is sent again as if it had
    /// been lost on the way; its messages count with the next one.
    pub fn not_sent(&mut self, due: Due) {
        if let Some(peer) = peer_mut(&mut self.slots, due.peer) {
            peer.uncounted = due.messages;
        }
    }

    fn take_uncounted(&mut self, id: PeerId) -> u64 {
        peer_mut(&mut self.slots, id).map_or(0, |peer| core::mem::take(&mut peer.uncounted))
    }

    /// When [`poll_delivery`](Self::poll_delivery) has something to do next.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// The next outcome of a reliable message, by its receipt.
    pub fn poll_outcome(&mut self) -> Option<(u64, Outcome)> {
        self.outcomes.pop_front()
    }

    /// Gives up all reliable messages: the connection ends here.
    pub fn abandon(&mut self) {
        self.due.clear();
        for peer in self.slots.iter_mut().flatten() {
            peer.flow_due = None;
            if let Some(flow) = peer.flow.take() {
                self.outcomes.extend(flow.end(Outcome::PeerLost));
            }
        }
    }

    /// Cuts a best-effort message's frame into frames that fit a datagram each, and shows them one by one. `false` where it
    /// has too many parts.
    #[must_use]
    pub fn cut(&mut self, frame: &[u8], mut show: impl FnMut(&[u8])) -> bool {
        let Some(count) = native::parts(frame.len(), self.room()) else { return false };
        let numbers = DeliveryNumbers { number: self.next_large, behind: 0 };
        self.next_large = self.next_large.wrapping_add(1);
        let mut part = Vec::new();
        for fragment in native::cut(frame, Delivery::BestEffort, numbers, count) {
            part.clear();
            fragment.write(&mut part);
            show(&part);
        }
        true
    }

    /// Whether a message that needs a datagram of this length is to be [cut](Self::cut).
    #[must_use]
    pub fn is_large(&self, datagram_len: usize) -> bool {
        self.wire == WireFormat::Native && datagram_len + native::TRAILER_LEN > self.datagram_size
    }

    /// The largest datagram that messages share, in bytes.
    #[must_use]
    pub const fn datagram_size(&self) -> usize {
        self.datagram_size
    }

    /// The bytes of frames that a datagram holds.
    const fn room(&self) -> usize {
        self.datagram_size - native::HEADER_LEN - native::TRAILER_LEN
    }

    fn acknowledged(&mut self, id: PeerId, ack: Ack<'_>, now: Instant) {
        let Some(peer) = peer_mut(&mut self.slots, id) else { return };
        let Some(flow) = &mut peer.flow else { return };
        flow.acknowledge(ack, now, &mut self.outcomes);
        self.schedule(id, Instant::from_nanos(0));
    }

    /// Has the peer's reliable messages looked at when they want it, but not before `soonest`.
    fn schedule(&mut self, id: PeerId, soonest: Instant) {
        let Some(peer) = peer_mut(&mut self.slots, id) else { return };
        let next = peer.flow.as_ref().and_then(|flow| flow.next_due()).map(|at| at.max(soonest));
        let slot = id.slot_number();
        if let Some(before) = core::mem::replace(&mut peer.flow_due, next) {
            self.due.remove(&(before, slot));
        }
        if let Some(at) = next {
            self.due.insert((at, slot));
        }
    }

    fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.slots.get(id.slot())?.as_ref().filter(|peer| peer.id == id)
    }
}

/// As [`Outbound::peer`], and leaves the other fields free.
#[inline]
fn peer_mut(slots: &mut [Option<Peer>], id: PeerId) -> Option<&mut Peer> {
    slots.get_mut(id.slot())?.as_mut().filter(|peer| peer.id == id)
}

/// What could not be sent because others wait is looked at again after this time.
const HELD_BACK: Duration = Duration::from_micros(200);

impl Peer {
    /// Adds what was last acknowledged to the peer, where there is room; whether it was added.
    #[inline]
    fn let_ack_ride(&self, datagram: &mut Vec<u8>, size: usize) -> bool {
        let Some(ack) = &self.ack else { return false };
        let len = native::ack_len(ack.bitmap.len());
        let fits = datagram.len() + len + native::TRAILER_LEN <= size;
        if fits {
            native::write_ack(datagram, ack.base, &ack.bitmap);
        }
        fits
    }

    /// The kernel has what was sealed last: an acknowledgement rides a few times only.
    #[inline]
    fn ack_has_ridden(&mut self) {
        if let Some(ack) = self.ack.as_mut().filter(|_| core::mem::take(&mut self.ack_rides)) {
            ack.left -= 1;
            if ack.left == 0 {
                self.ack = None;
            }
        }
    }
}

/// Begins a native datagram of control frames in `out`.
fn begin(out: &mut Vec<u8>, frames: &[Control<'_>]) {
    out.clear();
    native::begin_datagram(out);
    for frame in frames {
        native::write_control(out, frame);
    }
}
