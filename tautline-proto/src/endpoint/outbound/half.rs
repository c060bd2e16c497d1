//! The sending half: its peers, and the numbers and seals of datagrams.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::cold_path;
use core::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;

use super::peer::OutboundPeer;
use super::record;
#[cfg(feature = "secure")]
use super::sealed;
use super::sealed_pack::SealedPack;
use crate::endpoint::config::{EndpointConfig, Role, WireFormat};
use crate::endpoint::outcome::Outcome;
use crate::endpoint::recorder::Recorder;
use crate::message::Priority;
use crate::peer::PeerId;
use crate::rights::Rights;
use crate::snapshot::saved;
use crate::time::Instant;
use crate::wire::native::{Control, Header, Pack, Token};
use crate::wire::{classic, native};

/// The sending half of an endpoint. The holder of the transmit lock owns it.
#[derive(Debug)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub struct Outbound {
    /// Writes the black box, if there is one.
    pub(super) recorder: Option<Box<Recorder>>,
    pub(super) slots: Vec<Option<OutboundPeer>>,
    /// The open peers that a message for all goes to, in the order of their slots.
    pub(super) listening: Vec<PeerId>,
    pub(super) wire: WireFormat,
    pub(super) role: Role,
    pub(super) name: String,
    pub(super) open: Vec<PeerId>,
    pub(super) by_address: HashMap<SocketAddr, PeerId>,
    pub(super) first_number: u64,
    /// The largest datagram on any path (native).
    pub(super) datagram_size: usize,
    /// By how much a datagram becomes longer when it is sealed with a key.
    pub(super) extra: usize,
    pub(super) max_tries: u32,
    /// When each peer's reliable messages have something to do.
    pub(super) due: BTreeSet<(Instant, u32)>,
    pub(super) outcomes: VecDeque<(u64, Outcome)>,
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
    pub(in crate::endpoint) fn new(config: &EndpointConfig, first_number: u64) -> Self {
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

    pub(super) fn listen(&mut self, id: PeerId, listens: bool) {
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
    #[inline(never)] // messages to an address are rare
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
    #[inline(always)] // into the function that sends to a peer
    pub fn seal<'a>(
        &mut self,
        id: PeerId,
        datagram: &'a mut Vec<u8>,
        sealed: &'a mut Vec<u8>,
    ) -> Option<(SocketAddr, &'a [u8])> {
        if self.recorder.is_some() {
            cold_path();
            self.record_seal(id, datagram);
        }
        let (to, sealed) = self.seal_next(id, datagram, sealed)?;
        if let Some(recorder) = &mut self.recorder {
            cold_path();
            record::sealed(recorder, id, to.port(), sealed, self.extra != 0);
        }
        Some((to, sealed))
    }

    #[inline(always)] // into the function that sends to a peer
    pub(super) fn seal_next<'a>(
        &mut self,
        id: PeerId,
        datagram: &'a mut Vec<u8>,
        #[cfg_attr(not(feature = "secure"), allow(unused_variables))] sealed: &'a mut Vec<u8>,
    ) -> Option<(SocketAddr, &'a [u8])> {
        let (wire, from_server) = (self.wire, self.role == Role::Server);
        let peer = peer_mut(&mut self.slots, id)?;
        #[cfg(feature = "secure")]
        if peer.is_secured() {
            return sealed::seal(peer, datagram, from_server, sealed, self.recorder.as_deref_mut());
        }
        let size = peer.path.size();
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        let sequence = peer.next as u32;
        match wire {
            WireFormat::Classic(format) => classic::seal(datagram, format, sequence),
            WireFormat::Native => {
                // A datagram without room for the echo is sent without it. The next datagram carries it again.
                if let Some(token) = peer.echo {
                    cold_path();
                    write_echo(datagram, size, token, &self.name);
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

    pub(super) fn seal_next_pack<'a>(
        &mut self,
        id: PeerId,
        pack: &'a mut Pack,
        #[cfg_attr(not(feature = "secure"), allow(unused_variables))] sealed: &'a mut Vec<u8>,
    ) -> Option<SealedPack<'a>> {
        let from_server = self.role == Role::Server;
        let peer = peer_mut(&mut self.slots, id)?;
        #[cfg(feature = "secure")]
        if peer.is_secured() {
            return sealed::seal_pack(peer, pack, from_server, sealed, self.recorder.as_deref_mut());
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
    #[inline] // so that the crate that sends has it, and calls it directly
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub fn sent(&mut self, id: PeerId, sent: SentDatagrams) {
        self.record_sent(id, sent);
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

    #[inline]
    pub(super) fn peer(&self, id: PeerId) -> Option<&OutboundPeer> {
        self.slots.get(id.slot())?.as_ref().filter(|peer| peer.id == id)
    }
}

/// Appends the echo, if the datagram has room for it.
#[cold]
fn write_echo(datagram: &mut Vec<u8>, size: usize, token: Token, name: &str) {
    let room = size.saturating_sub(datagram.len() + native::TRAILER_LEN);
    if room >= native::MAX_ECHO_LEN {
        native::write_control(datagram, &Control::Echo { token, name });
    }
}

/// As [`Outbound::peer`], but does not borrow the other fields.
#[inline]
pub(super) fn peer_mut(slots: &mut [Option<OutboundPeer>], id: PeerId) -> Option<&mut OutboundPeer> {
    slots.get_mut(id.slot())?.as_mut().filter(|peer| peer.id == id)
}

/// How many bytes of frames a datagram of this size holds.
pub(super) const fn room(datagram_size: usize) -> usize {
    datagram_size - native::HEADER_LEN - native::TRAILER_LEN
}

/// Begins a native datagram of control frames in `out`.
pub(super) fn begin(out: &mut Vec<u8>, frames: &[Control<'_>]) {
    out.clear();
    native::begin_datagram(out);
    for frame in frames {
        native::write_control(out, frame);
    }
}

saved!(DueDatagram { peer, messages, priority });
