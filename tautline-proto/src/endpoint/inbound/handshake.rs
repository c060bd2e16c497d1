//! The native wire's handshake: hello, token, echo, and what a server says to strangers. docs/protocol.md §5.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::Inbound;
use super::token::{Secrets, TOKEN_LIFETIME};
use crate::drops::DropReason;
use crate::endpoint::config::Role;
use crate::endpoint::event::{Event, RemovalReason};
use crate::peer::SessionId;
use crate::time::{Instant, Now};
use crate::wire::native::{self, Control, Frame, HELLO_LEN, Header, Token};

/// Waits between hellos: from the first to the last, doubling. A client that its server has answered before waits no longer
/// than between heartbeats, so that a link is there again within one heartbeat of the way being open.
const FIRST_HELLO_WAIT: Duration = Duration::from_millis(20);
const LAST_HELLO_WAIT: Duration = Duration::from_millis(320);

/// A client that is not accepted yet repeats its echo after this time, if its heartbeats are rarer.
pub(super) const ECHO_WAIT: Duration = Duration::from_millis(50);

/// A client that was refused asks again after this time.
const REFUSED_WAIT: Duration = Duration::from_secs(1);

/// At most so many "unknown session" notices in a second, so that a flood is not doubled.
const NOTICES_PER_SECOND: u32 = 100;

/// How many closed sessions are remembered while their tokens still hold. When more are closed in that time,
/// the oldest are forgotten, and with them every token that is as old.
const CLOSED_SESSIONS: usize = 4096;

/// What the native wire keeps beside the peers.
#[derive(Debug)]
pub(super) struct Native {
    secrets: Secrets,
    hello: Option<Hello>,
    /// The server has answered once.
    was_answered: bool,
    pub(super) notices: Notices,
    /// Sessions that must not come to life again by a repeated echo.
    closed: VecDeque<Closed>,
    /// Tokens must be younger than this: those of forgotten sessions are not.
    tokens_after: Option<Instant>,
}

/// A session that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub(super) session: SessionId,
    pub(super) address: SocketAddr,
    /// When the token was issued that proved its address.
    pub(super) proven: Instant,
    pub(super) at: Instant,
}

impl Closed {
    /// Whether an echo with this token belongs to this session, or to one that its address began before it and gave up.
    fn bars(&self, token: Token, address: SocketAddr, session: SessionId) -> bool {
        self.session == session || (self.address == address && token.issued() < self.proven)
    }
}

/// A client's call that its server has not answered.
#[derive(Clone, Copy, Debug)]
struct Hello {
    session: SessionId,
    next_at: Instant,
    wait: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Notices {
    second: u64,
    sent: u32,
}

impl Notices {
    pub(super) fn allow(&mut self, now: Instant) -> bool {
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
        Self {
            secrets,
            hello: None,
            was_answered: false,
            notices: Notices::default(),
            closed: VecDeque::new(),
            tokens_after: None,
        }
    }

    pub(super) fn next_hello(&self) -> Option<Instant> {
        self.hello.map(|hello| hello.next_at)
    }

    /// The server was heard: no need to call any more.
    pub(super) fn stop_hello(&mut self) {
        self.hello = None;
        self.was_answered = true;
    }

    pub(super) fn remember_closed(&mut self, closed: Closed) {
        self.forget_closed(closed.at);
        if self.closed.len() == CLOSED_SESSIONS
            && let Some(forgotten) = self.closed.pop_front()
        {
            self.tokens_after = Some(forgotten.at);
        }
        self.closed.push_back(closed);
    }

    /// Drops the sessions whose tokens have expired by themselves.
    fn forget_closed(&mut self, now: Instant) {
        while self.closed.front().is_some_and(|closed| now.since(closed.at) > TOKEN_LIFETIME) {
            self.closed.pop_front();
        }
    }

    /// Whether this token proves that its sender receives at `address` and has not closed the session or a later one yet.
    pub(super) fn admits(
        &mut self,
        token: Token,
        address: SocketAddr,
        session: SessionId,
        now: Instant,
    ) -> Result<(), DropReason> {
        let forgotten = self.tokens_after.is_some_and(|after| token.issued() <= after);
        if forgotten || !self.secrets.verify(token, address, session, now) {
            return Err(DropReason::BadToken);
        }
        self.forget_closed(now);
        let closed = self.closed.iter().any(|closed| closed.bars(token, address, session));
        if closed { Err(DropReason::UnknownSession) } else { Ok(()) }
    }
}

impl Inbound {
    /// A datagram outside any session's numbering.
    pub(super) fn handshake(
        &mut self,
        now: Now,
        from: SocketAddr,
        header: Header,
        frame: &Frame<'_>,
        len: usize,
    ) -> Result<(), DropReason> {
        match (self.config.role, frame) {
            // It would get more bytes than it spent.
            (Role::Server, Frame::Hello) if len < HELLO_LEN => Err(DropReason::Malformed),
            (Role::Server, Frame::Hello) => {
                let token = self.native.secrets.issue(from, header.session, now.steady);
                self.reply(from, header.session, &Control::Token(token));
                Ok(())
            }
            (Role::Client, _) if Some(from) != self.server => Err(DropReason::WrongAddress),
            (Role::Client, Frame::Token(token)) => self.take_token(now, from, header.session, *token),
            (Role::Client, Frame::UnknownSession) if self.may_be_forgotten(header.session, now.steady) => {
                // The old session stays until the new hello is answered.
                self.say_hello(now.steady);
                Ok(())
            }
            (Role::Client, Frame::Refused) => self.take_refusal(header.session, now.steady),
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
        let repeat_at = now.steady.plus(self.config.heartbeat_interval.min(ECHO_WAIT));
        let peer = self.add_peer(server, Some(session), "", Some(token));
        peer.last_heard = Some(now.steady);
        peer.next_heartbeat = Some(repeat_at);
        let id = peer.id;
        self.peers.schedule(id, repeat_at);
        Ok(())
    }

    /// The server has no room: the echo asks again, more slowly, and after its token a new hello.
    fn take_refusal(&mut self, session: SessionId, now: Instant) -> Result<(), DropReason> {
        let peer = self.peers.by_session(session).filter(|peer| !peer.accepted);
        let peer = peer.ok_or(DropReason::Unexpected)?;
        peer.next_heartbeat = Some(now.plus(REFUSED_WAIT));
        self.events.push_back(Event::Refused);
        Ok(())
    }

    /// Whether to believe a notice that the server does not know our session. Until it has accepted us, what goes without an
    /// echo (a pack, a datagram without room for one) is unknown to it wherever it overtakes the echo: nobody was restarted, and
    /// the next echo brings the session to life. Only once its token must have expired it cannot any more.
    fn may_be_forgotten(&mut self, session: SessionId, now: Instant) -> bool {
        let peer = self.peers.by_session(session);
        peer.is_some_and(|peer| peer.accepted || peer.silent_for(now) > TOKEN_LIFETIME)
    }

    /// Begins to call the server, unless a call is under way.
    pub(super) fn say_hello(&mut self, now: Instant) {
        if self.native.hello.is_none() {
            self.say_hello_anew(now);
        }
    }

    /// Calls the server with a new session.
    pub(super) fn say_hello_anew(&mut self, now: Instant) {
        let session = self.native.secrets.session();
        let wait = FIRST_HELLO_WAIT.min(self.longest_hello_wait());
        self.native.hello = Some(Hello { session, next_at: now, wait });
        self.hello_if_due(now);
    }

    fn longest_hello_wait(&self) -> Duration {
        match self.native.was_answered {
            true => LAST_HELLO_WAIT.min(self.config.heartbeat_interval),
            false => LAST_HELLO_WAIT,
        }
    }

    pub(super) fn hello_if_due(&mut self, now: Instant) {
        let longest = self.longest_hello_wait();
        let (Some(hello), Some(server)) = (&mut self.native.hello, self.server) else { return };
        if hello.next_at > now {
            return;
        }
        let wait = self.native.secrets.jittered(hello.wait);
        hello.next_at = now.plus(wait);
        hello.wait = (hello.wait * 2).min(longest);
        let session = hello.session;
        self.reply(server, session, &Control::Hello);
    }

    /// Queues a datagram outside any numbering.
    pub(super) fn reply(&mut self, to: SocketAddr, session: SessionId, control: &Control<'_>) {
        let mut datagram = Vec::new();
        native::begin_datagram(&mut datagram);
        native::write_control(&mut datagram, control);
        let from_server = self.config.role == Role::Server;
        native::seal(&mut datagram, Header { session, sequence: 0, from_server });
        self.replies.push_back((to, datagram));
    }
}
