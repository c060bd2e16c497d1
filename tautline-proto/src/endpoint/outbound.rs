//! The sending half: numbers datagrams and seals them.
//!
//! A number is spent only when the kernel took the datagram: [`seal`](Outbound::seal) writes the next
//! number, [`sent`](Outbound::sent) spends it. Both happen under the transmit lock, so that the order of
//! the numbers is the order on the wire.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;

use super::{Command, EndpointConfig, OpenPeer, Role, WireFormat};
use crate::peer::{PeerId, SessionId};
use crate::stats::PeerTxCounters;
use crate::time::Now;
use crate::wire::native::{Control, Header, Heartbeat, Pack, Token};
use crate::wire::{classic, native};

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
}

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

    /// Finishes `datagram`, which holds the prefix's hole and the frames or the envelope, for this peer with
    /// the next number. `None` for a peer that is gone.
    pub fn seal(&mut self, id: PeerId, datagram: &mut Vec<u8>) -> Option<SocketAddr> {
        let (wire, from_server) = (self.wire, self.role == Role::Server);
        let peer = self.slots.get(id.slot())?.as_ref().filter(|peer| peer.id == id)?;
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
        let peer = self.peer(id)?;
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        let sequence = peer.next as u32;
        pack.seal(Header { session: peer.session, sequence, from_server });
        Some(peer.address)
    }

    /// Spends the numbers of what was sealed last for this peer: the kernel has it.
    pub fn sent(&mut self, id: PeerId, sent: Spent) {
        let Some(Some(peer)) = self.slots.get_mut(id.slot()) else { return };
        peer.next += sent.datagrams;
        peer.tx.next_sequence.set(peer.next);
        peer.tx.datagrams.add(sent.datagrams);
        peer.tx.bytes.add(sent.bytes as u64);
        peer.tx.messages.add(sent.messages);
    }

    /// Carries out an order of the inbound half. Where that asks for a datagram, writes it to `out`, unsealed,
    /// and names the peer it is for.
    pub fn apply(&mut self, command: Command, now: Now, out: &mut Vec<u8>) -> Option<PeerId> {
        match command {
            Command::Open(peer) => self.open_peer(peer, out),
            Command::Forget(id) => {
                self.forget(id);
                None
            }
            Command::Accepted(id) => {
                if let Some(Some(peer)) = self.slots.get_mut(id.slot()) {
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
        self.slots[id.slot()] = Some(Peer { id, address, session, next, tx, echo });
        self.open.push(id);
        self.by_address.insert(address, id);
        // The echo goes out at once; a message that follows close behind carries it again.
        echo.map(|_| {
            begin(out, &[]);
            id
        })
    }

    fn forget(&mut self, id: PeerId) {
        let Some(slot) = self.slots.get_mut(id.slot()) else { return };
        let Some(peer) = slot.take_if(|peer| peer.id == id) else { return };
        self.first_number = match self.wire {
            WireFormat::Native => 0,
            WireFormat::Classic(_) => self.first_number.max(peer.next),
        };
        self.open.retain(|&open| open != id);
        if self.by_address.get(&peer.address) == Some(&id) {
            self.by_address.remove(&peer.address);
        }
    }

    fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.slots.get(id.slot())?.as_ref().filter(|peer| peer.id == id)
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
