//! The native wire's rules on arrival: handshakes, sessions, control frames. docs/protocol.md §5 to §7.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::inbound::{Accepted, Contents, Inbound};
use super::token::{Secrets, TOKEN_LIFETIME};
use super::{Command, Event, RemovalReason, Role};
use crate::drops::DropReason;
use crate::peer::{PeerId, SessionId};
use crate::time::{Instant, Now};
use crate::window::Window;
use crate::wire::native::{self, Control, Frame, Frames, Header, NOTICE_LEN, Token};

/// A default message id is the datagram's number shifted by this, plus the frame's place: more frames than
/// this can number do not fit into a datagram.
const FRAME_INDEX_BITS: u32 = 12;
const _: () = assert!(65_507 / 16 < 1 << FRAME_INDEX_BITS);

/// Waits between hellos: from the first to the last, doubling.
const FIRST_HELLO_WAIT: Duration = Duration::from_millis(20);
const LAST_HELLO_WAIT: Duration = Duration::from_millis(320);

/// At most so many "unknown session" notices in a second, so that a flood is not doubled.
const NOTICES_PER_SECOND: u32 = 100;

/// How many closed sessions are remembered while their tokens still hold; the oldest is forgotten first.
const CLOSED_SESSIONS: usize = 4096;

/// What the native wire keeps beside the peers.
#[derive(Debug)]
pub(super) struct Native {
    secrets: Secrets,
    hello: Option<Hello>,
    notices: Notices,
    /// Sessions that must not come to life again by a repeated echo, and until when.
    closed: VecDeque<(SessionId, Instant)>,
}

/// A client's call that its server has not answered.
#[derive(Clone, Copy, Debug)]
struct Hello {
    session: SessionId,
    next_at: Instant,
    wait: Duration,
}

#[derive(Debug, Default)]
struct Notices {
    second: u64,
    sent: u32,
}

impl Notices {
    fn allow(&mut self, now: Instant) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        if core::mem::replace(&mut self.second, second) != second {
            self.sent = 0;
        }
        self.sent += 1;
        self.sent <= NOTICES_PER_SECOND
    }
}

impl Native {
    pub(super) fn new(secrets: Secrets) -> Self {
        Self { secrets, hello: None, notices: Notices::default(), closed: VecDeque::new() }
    }

    pub(super) fn next_hello(&self) -> Option<Instant> {
        self.hello.map(|hello| hello.next_at)
    }

    /// The server was heard: no need to call any more.
    pub(super) fn stop_hello(&mut self) {
        self.hello = None;
    }

    pub(super) fn remember_closed(&mut self, session: SessionId, now: Instant) {
        if self.closed.len() == CLOSED_SESSIONS {
            self.closed.pop_front();
        }
        self.closed.push_back((session, now.plus(TOKEN_LIFETIME)));
    }

    fn is_closed(&mut self, session: SessionId, now: Instant) -> bool {
        while self.closed.front().is_some_and(|&(_, until)| until < now) {
            self.closed.pop_front();
        }
        self.closed.iter().any(|&(closed, _)| closed == session)
    }
}

impl Inbound {
    pub(super) fn handle_native<'a>(
        &mut self,
        now: Now,
        from: SocketAddr,
        datagram: &'a [u8],
    ) -> Result<Option<Accepted<'a>>, DropReason> {
        let (header, frames) = native::parse(datagram)?;
        if header.from_server == (self.config.role == Role::Server) {
            // Ours, come back to us.
            return Err(DropReason::Unexpected);
        }
        if let Some(frame) = frames.clone().next().filter(Frame::is_unnumbered) {
            return self.handshake(now, from, header, &frame).map(|()| None);
        }
        let (peer, number, late) = self.enter_session(now, from, header, &frames, datagram.len())?;
        self.heard(peer, datagram.len(), now.steady);
        self.take_control_frames(peer, frames.clone(), now);
        // §4.2: the default message id is the datagram's number and the message's place in it.
        let contents = Contents::Native { frames, next_id: number << FRAME_INDEX_BITS };
        Ok(Some(Accepted { peer, late, contents }))
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
        let refusal = match echo {
            _ if self.config.role == Role::Client => return Err(DropReason::UnknownSession),
            None => DropReason::UnknownSession,
            Some(_) if self.native.is_closed(session, now.steady) => return Err(DropReason::UnknownSession),
            Some((token, _)) if !self.native.secrets.verify(token, from, session, now.steady) => {
                DropReason::BadToken
            }
            Some((_, name)) => return self.admit_client(now, from, session, name),
        };
        // No more bytes than it got.
        if len >= NOTICE_LEN && self.native.notices.allow(now.steady) {
            self.reply(from, session, &Control::UnknownSession);
        }
        Err(refusal)
    }

    fn admit_client(
        &mut self,
        now: Now,
        from: SocketAddr,
        session: SessionId,
        name: &str,
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
        peer.next_heartbeat = Some(now.steady);
        let id = peer.id;
        self.peers.schedule(id, now.steady);
        self.events.push_back(Event::Accepted(id));
        // The Accept frame answers the echo, which take_control_frames is about to see.
        Ok(())
    }

    fn take_control_frames(&mut self, id: PeerId, frames: Frames<'_>, now: Now) {
        for frame in frames {
            let Some(peer) = self.peers.get(id) else { return };
            match frame {
                Frame::Heartbeat(heartbeat) => {
                    peer.path.receive(&heartbeat, now);
                    peer.path.publish(&peer.rx.path);
                }
                Frame::Echo { .. } if self.config.role == Role::Server => {
                    self.commands.push_back(Command::Accept(id));
                }
                Frame::Accept(name) => {
                    peer.name = String::from(name);
                    self.events.push_back(Event::Named(id, String::from(name)));
                }
                Frame::Close => self.close_after_reading(id),
                _ => {}
            }
        }
        self.accept_server(id);
    }

    /// Any numbered datagram from the server shows that it has taken us in.
    fn accept_server(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        if !core::mem::replace(&mut peer.accepted, true) {
            self.native.stop_hello();
            self.commands.push_back(Command::Accepted(id));
            self.events.push_back(Event::Accepted(id));
        }
    }

    /// A datagram outside any session's numbering.
    fn handshake(
        &mut self,
        now: Now,
        from: SocketAddr,
        header: Header,
        frame: &Frame<'_>,
    ) -> Result<(), DropReason> {
        match (self.config.role, frame) {
            (Role::Server, Frame::Hello) => {
                let token = self.native.secrets.issue(from, header.session, now.steady);
                self.reply(from, header.session, &Control::Token(token));
                Ok(())
            }
            (Role::Client, _) if Some(from) != self.server => Err(DropReason::WrongAddress),
            (Role::Client, Frame::Token(token)) => self.take_token(now, from, header.session, *token),
            (Role::Client, Frame::UnknownSession) if self.peers.by_session(header.session).is_some() => {
                // The old session stays until the new hello is answered.
                self.say_hello(now.steady);
                Ok(())
            }
            (Role::Client, Frame::Refused) if self.peers.by_session(header.session).is_some() => {
                self.events.push_back(Event::Refused);
                if self.native.hello.is_none() {
                    self.call_at(now.steady.plus(LAST_HELLO_WAIT));
                }
                Ok(())
            }
            _ => Err(DropReason::Unexpected),
        }
    }

    /// The server answers our hello: the new session begins, its first datagram echoes the token.
    fn take_token(
        &mut self,
        now: Now,
        server: SocketAddr,
        session: SessionId,
        token: Token,
    ) -> Result<(), DropReason> {
        if self.native.hello.is_none_or(|hello| hello.session != session) {
            return Err(DropReason::Unexpected);
        }
        self.native.stop_hello();
        if let Some(old) = self.peers.by_address(server).map(|peer| peer.id) {
            self.remove(old, RemovalReason::Replaced, now.steady);
        }
        let heartbeat_interval = self.config.heartbeat_interval;
        let peer = self.add_peer(server, Some(session), "", Some(token));
        peer.last_heard = Some(now.steady);
        peer.next_heartbeat = Some(now.steady.plus(heartbeat_interval));
        let id = peer.id;
        self.peers.schedule(id, now.steady.plus(heartbeat_interval));
        Ok(())
    }

    /// Begins to call the server, unless a call is under way.
    pub(super) fn say_hello(&mut self, now: Instant) {
        if self.native.hello.is_none() {
            self.say_hello_anew(now);
        }
    }

    /// Calls the server with a new session.
    pub(super) fn say_hello_anew(&mut self, now: Instant) {
        self.call_at(now);
        self.hello_if_due(now);
    }

    fn call_at(&mut self, next_at: Instant) {
        let session = self.native.secrets.session();
        self.native.hello = Some(Hello { session, next_at, wait: FIRST_HELLO_WAIT });
    }

    pub(super) fn hello_if_due(&mut self, now: Instant) {
        let (Some(hello), Some(server)) = (&mut self.native.hello, self.server) else { return };
        if hello.next_at > now {
            return;
        }
        let wait = self.native.secrets.jittered(hello.wait);
        hello.next_at = now.plus(wait);
        hello.wait = (hello.wait * 2).min(LAST_HELLO_WAIT);
        let session = hello.session;
        self.reply(server, session, &Control::Hello);
    }

    /// Queues a datagram outside any numbering.
    fn reply(&mut self, to: SocketAddr, session: SessionId, control: &Control<'_>) {
        let mut datagram = Vec::new();
        native::begin_datagram(&mut datagram);
        native::write_control(&mut datagram, control);
        let from_server = self.config.role == Role::Server;
        native::seal(&mut datagram, Header { session, sequence: 0, from_server });
        self.replies.push_back((to, datagram));
    }
}
