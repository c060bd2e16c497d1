//! The native wire's sessions: numbered datagrams and their control frames. docs/protocol.md §4 to §7.

use alloc::string::String;
use core::net::SocketAddr;

use super::Inbound;
use super::accepted::{Accepted, Contents};
use super::handshake::ECHO_WAIT;
use crate::drops::DropReason;
use crate::endpoint::command::Command;
use crate::endpoint::config::Role;
use crate::endpoint::event::{Event, RemovalReason};
use crate::peer::{PeerId, SessionId};
use crate::time::{Instant, Now};
use crate::window::Window;
use crate::wire::native::{self, Ack, Control, Frame, Frames, Header, Heartbeat, NOTICE_LEN, Token};

/// A default message id is the datagram's number shifted by this, plus the frame's place: more frames than
/// this can number do not fit into a datagram.
const FRAME_INDEX_BITS: u32 = 12;
const _: () = assert!(native::MAX_DATAGRAM / native::MIN_MESSAGE_LEN < 1 << FRAME_INDEX_BITS);

/// A numbered datagram of an established session.
pub(super) struct Opened<'a> {
    peer: PeerId,
    number: u64,
    late: bool,
    frames: Frames<'a>,
}

impl<'a> From<Opened<'a>> for Accepted<'a> {
    fn from(Opened { peer, number, late, frames }: Opened<'a>) -> Self {
        // §4.2: the default message id is the datagram's number and the message's place in it.
        let contents = Contents::Native { frames, next_id: number << FRAME_INDEX_BITS };
        Self { peer, late, number: Some(number), contents }
    }
}

impl Inbound {
    pub(super) fn handle_native<'a>(
        &mut self,
        now: Now,
        from: SocketAddr,
        datagram: &'a [u8],
    ) -> Result<Option<Opened<'a>>, DropReason> {
        let (header, frames) = native::parse(datagram)?;
        if header.from_server == (self.config.role == Role::Server) {
            // Ours, come back to us.
            return Err(DropReason::Unexpected);
        }
        if !frames.are_messages()
            && let Some(frame) = frames.clone().next().filter(Frame::is_unnumbered)
        {
            return self.handshake(now, from, header, &frame, datagram.len()).map(|()| None);
        }
        let (peer, number, late) = self.enter_session(now, from, header, &frames, datagram.len())?;
        self.heard(peer, datagram.len(), now.steady);
        if !frames.are_messages() {
            self.take_control_frames(peer, frames.clone(), now);
            self.sort_messages(peer, frames.clone(), now.steady);
        } else if self.config.role == Role::Client {
            self.accept_server(peer, None, now.steady);
        }
        Ok(Some(Opened { peer, number, late, frames }))
    }

    /// The peer of a numbered datagram, its full number, and whether it is late.
    fn enter_session(
        &mut self,
        now: Now,
        from: SocketAddr,
        header: Header,
        frames: &Frames<'_>,
        len: usize,
    ) -> Result<(PeerId, u64, bool), DropReason> {
        if self.peers.by_session(header.session).is_none() {
            self.create_peer(now, from, header.session, frames, len)?;
        }
        let peer = self.peers.by_session(header.session).expect("found or just created");
        if peer.address != from {
            return Err(DropReason::WrongAddress);
        }
        let window = peer.window.get_or_insert_with(|| Window::new(0));
        let number = window.expand(header.sequence).ok_or(DropReason::TooOld)?;
        let late = Self::judge(peer, Some(number), now.steady)?;
        Ok((peer.id, number, late))
    }

    /// Creates the peer of an unknown session if an echo in the datagram proves its address.
    fn create_peer(
        &mut self,
        now: Now,
        from: SocketAddr,
        session: SessionId,
        frames: &Frames<'_>,
        len: usize,
    ) -> Result<(), DropReason> {
        let echo = frames.clone().find_map(|frame| match frame {
            Frame::Echo { token, name } => Some((token, name)),
            _ => None,
        });
        if self.config.role == Role::Client {
            return Err(DropReason::UnknownSession);
        }
        let admitted = match echo {
            None => Err(DropReason::UnknownSession),
            Some((token, name)) => self.admits(token, from, session, now.steady).map(|()| (token, name)),
        };
        let refusal = match admitted {
            Ok((token, name)) => return self.admit_client(now, from, session, name, token),
            Err(refusal) => refusal,
        };
        // No more bytes than it got.
        if len >= NOTICE_LEN && self.native.notices.allow(now.steady) {
            self.reply(from, session, &Control::UnknownSession);
        }
        Err(refusal)
    }

    /// Whether this token begins a session: one that its address began before its present one does not, however long it
    /// was under way.
    fn admits(
        &mut self,
        token: Token,
        from: SocketAddr,
        session: SessionId,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.native.admits(token, from, session, now)?;
        let is_overtaken = self.peers.by_address(from).is_some_and(|present| token.issued() < present.proven);
        if is_overtaken { Err(DropReason::UnknownSession) } else { Ok(()) }
    }

    fn admit_client(
        &mut self,
        now: Now,
        from: SocketAddr,
        session: SessionId,
        name: &str,
        token: Token,
    ) -> Result<(), DropReason> {
        if let Some(old) = self.peers.by_address(from).map(|peer| peer.id) {
            // Its address is proven and it has begun a new life there.
            self.remove(old, RemovalReason::Replaced, now.steady);
        } else if !self.make_room(now.steady) {
            self.reply(from, session, &Control::Refused);
            return Err(DropReason::PeerTableFull);
        }
        let peer = self.add_peer(from, Some(session), name, None);
        peer.accepted = true;
        peer.proven = token.issued();
        // The echo was heard, even if its datagram's number is dropped: every peer can fall silent.
        peer.last_heard = Some(now.steady);
        peer.next_heartbeat = Some(now.steady);
        let id = peer.id;
        self.peers.schedule(id, now.steady);
        self.events.push_back(Event::Accepted(id));
        // The Accept frame answers the echo, which take_control_frames is about to see.
        Ok(())
    }

    fn take_control_frames(&mut self, id: PeerId, frames: Frames<'_>, now: Now) {
        let Some(peer) = self.peers.get(id) else { return };
        let found = ControlFrames::among(frames);
        if let Some(ack) = found.ack {
            self.commands.push_back(Command::Acknowledged(id, ack.base, ack.bitmap.into()));
        }
        if let Some(heartbeat) = found.heartbeat {
            peer.path.receive(&heartbeat, now);
            peer.path.publish(&peer.rx.path);
        }
        match self.config.role {
            Role::Server if found.echo => self.commands.push_back(Command::Accept(id)),
            Role::Client => self.accept_server(id, found.name, now.steady),
            Role::Server => {}
        }
        if found.close {
            self.close_after_reading(id);
        }
    }

    /// Any numbered datagram from the server shows that it has taken us in. The echo travels on until the
    /// server's name has come too.
    fn accept_server(&mut self, id: PeerId, name: Option<&str>, now: Instant) {
        let heartbeat_at = now.plus(self.config.heartbeat_interval);
        let Some(peer) = self.peers.get(id) else { return };
        if let Some(name) = name.filter(|_| !peer.named) {
            peer.named = true;
            peer.name = String::from(name);
            self.events.push_back(Event::Named(id, String::from(name)));
            self.commands.push_back(Command::Accepted(id));
        }
        if !core::mem::replace(&mut peer.accepted, true) {
            peer.next_heartbeat = Some(heartbeat_at);
            self.native.stop_hello();
            self.events.push_back(Event::Accepted(id));
        }
    }

    /// Sends a heartbeat if it is time; a client that is not accepted yet repeats its echo by it.
    pub(super) fn send_heartbeat_if_due(&mut self, id: PeerId, now: Instant) {
        let interval = self.config.heartbeat_interval;
        let Some(peer) = self.peers.get(id) else { return };
        if peer.next_heartbeat.is_none_or(|at| at > now) {
            return;
        }
        peer.next_heartbeat = Some(now.plus(if peer.accepted { interval } else { interval.min(ECHO_WAIT) }));
        let (echo, held) = peer.path.echo(now);
        let heartbeat = Heartbeat { echo, held, ..Heartbeat::default() };
        self.commands.push_back(Command::Heartbeat(id, heartbeat));
    }
}

/// The control frames of a datagram that is in order. Each kind counts once, so that a datagram full of them
/// causes no more than one of each.
#[derive(Default)]
struct ControlFrames<'a> {
    heartbeat: Option<Heartbeat>,
    ack: Option<Ack<'a>>,
    echo: bool,
    name: Option<&'a str>,
    close: bool,
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
                Frame::Ack(ack) => found.ack = Some(ack),
                Frame::Echo { .. } => found.echo = true,
                Frame::Accept(name) => found.name = Some(name),
                Frame::Close => found.close = true,
                _ => {}
            }
        }
        found
    }
}
