//! The native wire's sessions: numbered datagrams and their control frames. docs/protocol.md §4 to §7.
//!
//! [`Inbound`](super::Inbound) calls it with every datagram of the native wire.

#[cfg(feature = "secure")]
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::cold_path;
use core::net::SocketAddr;

use super::accepted::Accepted;
use super::handshake::Handshake;
use super::ownership::Origin;
use super::registry::Registry;
#[cfg(feature = "secure")]
use super::secured::{self, Opened, Secured};
use super::sorting::SortedMessages;
use crate::drops::DropReason;
use crate::endpoint::command::{Command, PathAnswer};
use crate::endpoint::config::Role;
use crate::endpoint::event::{Event, RemovalReason};
use crate::peer::PeerId;
use crate::snapshot::saved;
use crate::time::{Instant, Now};
use crate::window::Window;
use crate::wire::native::{
    self, Ack, Challenge, Frame, Frames, Header, Heartbeat, Ownership, OwnershipAct, PathProbe, Rekey,
};

/// A default message id is the number of the datagram, shifted by this, plus the place of the frame. No datagram holds more
/// frames than these bits can count.
const FRAME_INDEX_BITS: u32 = 12;
const _: () = assert!(native::MAX_DATAGRAM / native::MIN_MESSAGE_LEN < 1 << FRAME_INDEX_BITS);

/// The receiving side of the native wire.
#[derive(Debug)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(super) struct Sessions {
    /// The keys of a secured endpoint.
    #[cfg(feature = "secure")]
    pub(super) secured: Option<Box<Secured>>,
    pub(super) handshake: Handshake,
    /// The reliable and large messages of the datagram that is being read.
    pub(super) sorted: SortedMessages,
}

/// A numbered datagram of an established session.
pub(super) struct NumberedDatagram<'a> {
    peer: PeerId,
    number: u64,
    late: bool,
    is_elsewhere: bool,
    at: Instant,
    frames: Frames<'a>,
}

impl<'a> From<NumberedDatagram<'a>> for Accepted<'a> {
    fn from(datagram: NumberedDatagram<'a>) -> Self {
        let NumberedDatagram { peer, number, late, is_elsewhere, at, frames } = datagram;
        // §4.2: the default message id is the datagram's number and the message's place in it.
        let next_id = number << FRAME_INDEX_BITS;
        Self { peer, late, is_elsewhere, number: Some(number), at, frames, next_id, classic: None }
    }
}

impl Sessions {
    /// Returns whether the endpoint has keys.
    #[inline]
    pub(super) const fn is_secured(&self) -> bool {
        #[cfg(feature = "secure")]
        return self.secured.is_some();
        #[cfg(not(feature = "secure"))]
        false
    }

    /// Returns whether the inputs so far have drawn something or got something from a key, which a black box needs.
    #[inline]
    pub(super) fn have_answers(&self) -> bool {
        #[cfg(feature = "secure")]
        if self.secured.as_ref().is_some_and(|secured| secured.has_answers()) {
            return true;
        }
        self.handshake.secrets.have_answers()
    }

    pub(super) fn new(handshake: Handshake) -> Self {
        Self {
            handshake,
            sorted: SortedMessages::default(),
            #[cfg(feature = "secure")]
            secured: None,
        }
    }

    /// Starts to call this server. A secured client that has a session tries that first.
    pub(super) fn dial(&mut self, registry: &mut Registry, server: SocketAddr, now: Instant) {
        #[cfg(feature = "secure")]
        if let Some(secured) = &mut self.secured {
            secured.stop_calling();
            if secured::goes_on_from_another_place(registry, server, now) {
                return self.handshake.dial_later(registry, server, now);
            }
        }
        self.handshake.dial(registry, server, now);
    }

    /// Starts to call the server, unless a call is waiting for its answer.
    pub(super) fn call(&mut self, registry: &mut Registry, now: Instant) {
        #[cfg(feature = "secure")]
        if self.secured.as_ref().is_some_and(|secured| secured.is_calling()) {
            return;
        }
        self.handshake.call(registry, now);
    }

    /// Starts to call the server with a new session.
    pub(super) fn call_anew(&mut self, registry: &mut Registry, now: Instant) {
        #[cfg(feature = "secure")]
        self.secured.iter_mut().for_each(|secured| secured.stop_calling());
        self.handshake.call_anew(registry, now);
    }

    /// Returns when the next hello, or a secured client's next echo, is due.
    #[inline]
    pub(super) fn next_call(&self) -> Option<Instant> {
        let hello = self.handshake.next_hello();
        #[cfg(feature = "secure")]
        if let Some(echo) = self.secured.as_ref().and_then(|secured| secured.next_timeout()) {
            return Some(hello.map_or(echo, |hello| hello.min(echo)));
        }
        hello
    }

    /// Sends a secured client's echo again if that is due.
    #[cfg(feature = "secure")]
    pub(super) fn repeat_if_due(&mut self, registry: &mut Registry, now: Instant) {
        if let Some(secured) = &mut self.secured {
            secured.repeat_if_due(registry, &mut self.handshake, now);
        }
    }

    /// Renews the keys of a peer if that is due, and moves its session. If the keys are too old, a client calls for a new session.
    #[cfg(feature = "secure")]
    pub(super) fn look_at_secured(&mut self, registry: &mut Registry, id: PeerId, now: Instant) {
        let is_worn = self.secured.as_mut().is_some_and(|secured| secured.look(registry, id, now));
        if is_worn && registry.config.role == Role::Client {
            self.call(registry, now);
        }
    }

    /// Returns whether a datagram is valid, and is part of a handshake or of a session that nobody has.
    pub(super) fn is_of_stranger(&self, registry: &mut Registry, datagram: &[u8]) -> bool {
        // Plain endpoints cannot parse sealed datagrams. Those of secured endpoints are opened or dropped: neither serves a stranger.
        let Ok((header, mut frames)) = native::parse(datagram) else { return false };
        registry.peers.slot_of_session(header.session).is_none()
            || !frames.are_messages() && frames.next().is_some_and(|frame| frame.is_unnumbered())
    }

    /// Handles one datagram of a plain endpoint. Returns `None` for a handshake datagram.
    #[inline]
    pub(super) fn handle<'a>(
        &mut self,
        registry: &mut Registry,
        now: Now,
        from: SocketAddr,
        datagram: &'a [u8],
    ) -> Result<Option<NumberedDatagram<'a>>, DropReason> {
        let (header, frames) = match native::parse(datagram) {
            Ok(parsed) => parsed,
            Err(reason) => {
                cold_path();
                record_dropped(registry, now.steady, from, datagram, reason);
                return Err(reason);
            }
        };
        registry.check_sender(header.from_server)?;
        if !frames.are_messages()
            && let Some(frame) = unnumbered(&frames)
        {
            cold_path();
            let handled = self.handshake.handle(registry, now.steady, from, header, &frame, datagram.len());
            return handled.map(|()| None);
        }
        let (peer, number, late) =
            self.enter_session(registry, now.steady, from, header, &frames, datagram.len())?;
        if registry.heard(peer, datagram.len(), now.steady) {
            cold_path();
            self.handshake.stop_calling();
        }
        let numbered = NumberedDatagram { peer, number, late, is_elsewhere: false, at: now.steady, frames };
        self.take_frames(registry, &numbered, (header.sequence, datagram.len()), now);
        Ok(Some(numbered))
    }

    /// Acts on the frames that are not messages to hand out as they are. `whole`: the low half of the datagram's number, and its
    /// length.
    #[inline]
    fn take_frames(
        &mut self,
        registry: &mut Registry,
        numbered: &NumberedDatagram<'_>,
        whole: (u32, usize),
        now: Now,
    ) {
        let NumberedDatagram { peer, number, frames, .. } = numbered;
        let origin = Origin { peer: *peer, number: Some(*number), now: now.steady };
        if !frames.are_data() {
            cold_path();
            self.take_control_frames(registry, (origin, whole.0, whole.1), frames.clone(), now);
        } else if registry.config.role == Role::Client
            && registry.peers.get(*peer).is_some_and(|server| !server.accepted)
        {
            cold_path();
            self.accept_server(registry, *peer, None, now.steady);
        }
        if !frames.are_messages() {
            self.sorted.sort(registry, origin, frames.clone());
        }
    }

    /// As [`handle`](Self::handle), at a secured endpoint: all datagrams are sealed but those of the handshake.
    #[cfg(feature = "secure")]
    #[inline(never)] // keeps this code out of the path of plain endpoints
    pub(super) fn handle_secured<'a>(
        &mut self,
        registry: &mut Registry,
        now: Now,
        from: SocketAddr,
        datagram: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Option<NumberedDatagram<'a>>, DropReason> {
        let Some(secured) = &mut self.secured else { return Ok(None) };
        if !native::is_sealed(datagram) {
            let (header, mut frames) = native::parse(datagram)?;
            registry.check_sender(header.from_server)?;
            let frame = frames.next().filter(Frame::is_unnumbered).ok_or(DropReason::NotSecured)?;
            let from = (from, header.session);
            let handled =
                secured.handle_handshake(registry, &mut self.handshake, now.steady, from, &frame, datagram);
            return handled.map(|()| None);
        }
        let Opened { peer, number, late, is_elsewhere, sequence, frames } =
            secured.open(registry, now.steady, from, datagram, scratch)?;
        if registry.heard(peer, datagram.len(), now.steady) {
            secured.stop_calling();
            self.handshake.stop_calling();
        }
        let numbered = NumberedDatagram { peer, number, late, is_elsewhere, at: now.steady, frames };
        self.take_frames(registry, &numbered, (sequence, datagram.len()), now);
        Ok(Some(numbered))
    }

    /// Returns the peer of a numbered datagram, the datagram's full number, and whether it is late.
    #[inline]
    fn enter_session(
        &mut self,
        registry: &mut Registry,
        now: Instant,
        from: SocketAddr,
        header: Header,
        frames: &Frames<'_>,
        len: usize,
    ) -> Result<(PeerId, u64, bool), DropReason> {
        let slot = match registry.peers.slot_of_session(header.session) {
            Some(slot) => slot,
            None => {
                cold_path();
                self.handshake.create_peer(registry, now, from, header.session, frames, len)?;
                registry.peers.slot_of_session(header.session).ok_or(DropReason::UnknownSession)?
            }
        };
        let peer = registry.peers.in_slot(slot).ok_or(DropReason::UnknownSession)?;
        if !are_same(peer.address, from) {
            cold_path();
            return Err(DropReason::WrongAddress);
        }
        if peer.window.is_none() {
            peer.window = Some(first_window());
        }
        let expand = |window: &Window| window.expand(header.sequence);
        let Some(number) = peer.window.as_ref().and_then(expand) else {
            cold_path();
            return Err(DropReason::TooOld);
        };
        let late = Registry::judge(peer, Some(number), now)?;
        Ok((peer.id, number, late))
    }

    /// `whole`: where the frames come from, and the low half of its number and the length of their datagram.
    #[inline(never)] // most datagrams have none
    fn take_control_frames(
        &mut self,
        registry: &mut Registry,
        whole: (Origin, u32, usize),
        frames: Frames<'_>,
        now: Now,
    ) {
        let (origin, sequence, len) = whole;
        let id = origin.peer;
        let Some(peer) = registry.peers.get(id) else { return };
        let found = ControlFrames::among(frames);
        let commands = &mut registry.outputs.commands;
        if let Some(ack) = found.ack {
            commands.push_back(Command::Acknowledged(id, ack.base, ack.bitmap.into()));
        }
        // A probe takes longer on a slow path than other heartbeats do, so nothing is measured from it.
        if let Some(heartbeat) = found.heartbeat.filter(|_| found.probe.is_none_or(|probe| probe.size == 0)) {
            peer.path.receive(&heartbeat, now);
            peer.path.publish(&peer.rx.path);
        }
        if let Some(probe) = found.probe {
            let is_whole = probe.size != 0 && usize::from(probe.size) == len;
            let heartbeat_sent = Instant::from_nanos(found.heartbeat.map_or(0, |heartbeat| heartbeat.echo));
            let probe_number = is_whole.then_some(sequence);
            commands.push_back(Command::PathAnswer(
                id,
                PathAnswer { probe: probe_number, asks: probe.asks, arrived: probe.arrived, heartbeat_sent },
            ));
            take_naming(registry, origin, probe);
        }
        match registry.config.role {
            Role::Server if found.echo => registry.outputs.commands.push_back(Command::Accept(id)),
            Role::Client => self.accept_server(registry, id, found.name, now.steady),
            Role::Server => {}
        }
        if found.ownership.iter().any(Option::is_some) {
            found.ownership.iter().flatten().for_each(|frame| take_ownership(registry, origin, frame));
        }
        #[cfg(feature = "secure")]
        if let (Some(secured), Some(rekey)) = (&mut self.secured, &found.rekey) {
            secured.take_rekey(registry, origin, rekey);
        }
        #[cfg(feature = "secure")]
        if let (true, Some(challenge)) = (self.secured.is_some(), found.challenge) {
            secured::take_challenge(registry, id, challenge, now.steady);
        }
        if let Some(reason) = found.close {
            registry.close_after_reading(id, reason);
        }
    }

    /// Notes that the server has accepted us: any numbered datagram from it shows that. The echo travels until the server's
    /// name has arrived too.
    #[inline(never)]
    fn accept_server(&mut self, registry: &mut Registry, id: PeerId, name: Option<&str>, now: Instant) {
        let heartbeat_at = now.plus(registry.config.heartbeat_interval);
        let Some(peer) = registry.peers.get(id) else { return };
        if let Some(name) = name.filter(|_| !peer.named) {
            peer.named = true;
            peer.name = String::from(name);
            registry.outputs.events.push_back(Event::Named(id, String::from(name)));
            registry.outputs.commands.push_back(Command::Accepted(id));
        }
        if !core::mem::replace(&mut peer.accepted, true) {
            peer.next_heartbeat = Some(heartbeat_at);
            self.handshake.stop_calling();
            registry.outputs.events.push_back(Event::Accepted(id));
        }
    }
}

/// Marks the number of a peer's datagram that arrived undamaged and is dropped for its frames or flags: it must not count as lost
/// too.
#[cold]
fn record_dropped(
    registry: &mut Registry,
    now: Instant,
    from: SocketAddr,
    datagram: &[u8],
    reason: DropReason,
) {
    let is_undamaged = matches!(reason, DropReason::Malformed | DropReason::UnsupportedFlags);
    let Some(header) = native::header_of(datagram).filter(|_| is_undamaged) else { return };
    if registry.check_sender(header.from_server).is_err() {
        return;
    }
    let Some(peer) = registry.peers.by_session(header.session).filter(|peer| peer.address == from) else {
        return;
    };
    let window = peer.window.get_or_insert_with(first_window);
    if let Some(number) = window.expand(header.sequence) {
        peer.record_dropped(number, now);
    }
}

/// Returns whether these addresses are the same.
#[inline]
fn are_same(one: SocketAddr, other: SocketAddr) -> bool {
    match (one, other) {
        (SocketAddr::V4(one), SocketAddr::V4(other)) => one == other,
        _ => are_same_v6(one, other),
    }
}

#[inline(never)] // the comparison is long
fn are_same_v6(one: SocketAddr, other: SocketAddr) -> bool {
    one == other
}

/// The window for the first datagram of a peer.
#[cold]
fn first_window() -> Window {
    Window::new(0)
}

/// Returns the first frame, if it belongs to a datagram outside any session's numbering.
#[inline(never)] // most datagrams hold messages alone
fn unnumbered<'a>(frames: &Frames<'a>) -> Option<Frame<'a>> {
    frames.clone().next().filter(Frame::is_unnumbered)
}

/// Excuses the loss of the probe that the frame names, and answers if it asks for that. §7.7.
#[cold]
fn take_naming(registry: &mut Registry, origin: Origin, probe: PathProbe) {
    let Some(peer) = registry.peers.get(origin.peer) else { return };
    if let Some(window) = peer.window.as_mut().filter(|_| probe.named != 0) {
        if let Some(number) = window.expand(probe.named) {
            window.excuse(number);
        }
        peer.publish_window();
    }
    if probe.asks {
        registry.answer_probe(origin.peer, origin.now);
    }
}

/// Returns the place of a frame about ownership among the three kinds: requests, answers, notices.
const fn kind_of(act: OwnershipAct) -> usize {
    match act {
        OwnershipAct::Claim | OwnershipAct::Release => 0,
        OwnershipAct::Granted | OwnershipAct::Released | OwnershipAct::Unowned | OwnershipAct::Refused => 1,
        OwnershipAct::Denied => 2,
    }
}

/// Takes a frame about the owner of a stream. §7.6.
#[cold]
fn take_ownership(registry: &mut Registry, origin: Origin, frame: &Ownership) {
    let Origin { peer: id, number, now } = origin;
    let Registry { peers, owners, outputs, .. } = registry;
    let Some(peer) = peers.get(id) else { return };
    let stream = frame.stream;
    let may_send = peer.rights.allows(stream.message_type);
    let claims = peer.claims.get_or_insert_default();
    match frame.act {
        OwnershipAct::Claim | OwnershipAct::Release => {
            let answer = claims.answer_to(frame, || match owners {
                None => (OwnershipAct::Unowned, 0),
                Some(_) if !may_send => (OwnershipAct::Refused, 0),
                Some(owners) if frame.act == OwnershipAct::Claim => owners.claim(stream, id, now, outputs),
                Some(owners) => owners.release(stream, id, number.unwrap_or_default(), outputs),
            });
            outputs.commands.extend(answer.map(|answer| Command::Ownership(id, answer)));
        }
        OwnershipAct::Denied => {
            let news = claims.denied(frame).then_some(Event::Denied { peer: id, stream });
            outputs.events.extend(news);
        }
        _ => {
            if let Some((request, outcome)) = claims.answered(frame, now) {
                let ticket = request.ticket;
                outputs.events.push_back(Event::ClaimEnded { ticket, peer: id, stream, outcome });
                registry.send_claims_if_due(id, now);
            }
        }
    }
}

/// The control frames of a datagram. Each kind counts once, so that a datagram full of them has no more effect than one of
/// each.
#[derive(Default)]
struct ControlFrames<'a> {
    heartbeat: Option<Heartbeat>,
    probe: Option<PathProbe>,
    ack: Option<Ack<'a>>,
    echo: bool,
    name: Option<&'a str>,
    /// A claim or release, an answer, and a notice.
    ownership: [Option<Ownership>; 3],
    close: Option<RemovalReason>,
    rekey: Option<Rekey>,
    challenge: Option<Challenge>,
}

impl<'a> ControlFrames<'a> {
    fn among(frames: Frames<'a>) -> Self {
        let mut found = Self::default();
        if frames.are_messages() {
            return found;
        }
        for frame in frames {
            match frame {
                Frame::Heartbeat(heartbeat) => found.heartbeat = Some(heartbeat),
                Frame::PathProbe(probe) => found.probe = Some(probe),
                Frame::Ack(ack) => found.ack = Some(ack),
                Frame::Echo { .. } => found.echo = true,
                Frame::Accept(name) => found.name = Some(name),
                Frame::Close => found.close = Some(RemovalReason::ClosedByPeer),
                Frame::KeyRemoved => found.close = Some(RemovalReason::KeyRemoved),
                Frame::Rekey(rekey) => found.rekey = Some(rekey),
                Frame::Challenge(challenge) => found.challenge = Some(challenge),
                Frame::Ownership(frame) => found.ownership[kind_of(frame.act)] = Some(frame),
                _ => {}
            }
        }
        found
    }
}

saved!(Sessions {
    handshake,
    #[cfg(feature = "secure")]
    secured,
} else {
    // A mark is made between two datagrams.
    sorted: SortedMessages::default(),
});
