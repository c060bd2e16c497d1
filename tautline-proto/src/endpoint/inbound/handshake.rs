//! The native wire's handshake: hello, token, echo, and notices. docs/protocol.md §5.
//!
//! The module `sessions` calls it with datagrams outside any session's numbering, and with datagrams of unknown sessions.

use core::net::SocketAddr;
use core::time::Duration;

use super::registry::{ECHO_INTERVAL, Newcomer, Registry};
use super::token::{Secrets, TOKEN_LIFETIME};
use crate::drops::DropReason;
use crate::endpoint::config::Role;
use crate::endpoint::event::{Event, RemovalReason};
use crate::peer::SessionId;
use crate::snapshot::saved;
use crate::time::Instant;
use crate::wire::native::{Control, Frame, Frames, HELLO_LEN, Header, NOTICE_LEN, Token};

/// The first wait between two hellos. Each further wait is twice as long, up to [`LAST_HELLO_WAIT`].
const FIRST_HELLO_WAIT: Duration = Duration::from_millis(20);
/// The longest wait between two hellos. Once the server has answered, no wait is longer than the heartbeat interval, so that
/// the link is back within one heartbeat after the network works again.
const LAST_HELLO_WAIT: Duration = Duration::from_millis(320);

/// A client that was refused asks again after this time.
const REFUSED_WAIT: Duration = Duration::from_secs(1);

/// How many "unknown session" notices a server sends in a second, so that a flood does not cause another one.
const MAX_NOTICES_PER_SECOND: u32 = 100;

/// What the handshake remembers beside the peers.
#[derive(Debug)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(super) struct Handshake {
    call: Option<Call>,
    pub(super) secrets: Secrets,
    /// The server that a client calls.
    server: Option<SocketAddr>,
    /// Whether the server has answered at least once.
    was_answered: bool,
    notices: NoticeLimit,
}

/// A client's hello that the server has not answered.
#[derive(Clone, Copy, Debug)]
struct Call {
    session: SessionId,
    next_at: Instant,
    wait: Duration,
}

/// Limits the notices in each second.
#[derive(Debug, Default)]
struct NoticeLimit {
    second: u64,
    sent: u32,
}

impl NoticeLimit {
    fn allow(&mut self, now: Instant) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        if core::mem::replace(&mut self.second, second) != second {
            self.sent = 0;
        }
        self.sent += 1;
        self.sent <= MAX_NOTICES_PER_SECOND
    }
}

impl Handshake {
    pub(super) fn new(secrets: Secrets) -> Self {
        Self { secrets, server: None, call: None, was_answered: false, notices: NoticeLimit::default() }
    }

    /// Starts to call this server.
    pub(super) fn dial(&mut self, registry: &mut Registry, server: SocketAddr, now: Instant) {
        self.server = Some(server);
        self.call_anew(registry, now);
    }

    /// As [`dial`](Self::dial), but says hello only if the present session is not answered within a heartbeat interval.
    #[cfg(feature = "secure")]
    pub(super) fn dial_later(&mut self, registry: &Registry, server: SocketAddr, now: Instant) {
        self.server = Some(server);
        self.call_after(registry, registry.config.heartbeat_interval, now);
    }

    /// The server that a client calls.
    pub(super) const fn server(&self) -> Option<SocketAddr> {
        self.server
    }

    /// Returns whether this session is being called, and was not answered yet.
    pub(super) fn calls(&self, session: SessionId) -> bool {
        self.call.is_some_and(|call| call.session == session)
    }

    /// Issues a token.
    pub(super) fn issue(&self, address: SocketAddr, session: SessionId, now: Instant) -> Token {
        self.secrets.issue(address, session, now)
    }

    /// Starts to call the server with a new session, but not at once: it has no room.
    #[cfg(feature = "secure")]
    pub(super) fn call_later(&mut self, registry: &Registry, now: Instant) {
        self.call_after(registry, REFUSED_WAIT, now);
    }

    fn call_after(&mut self, registry: &Registry, after: Duration, now: Instant) {
        let session = self.secrets.session();
        let wait = FIRST_HELLO_WAIT.min(self.longest_wait(registry));
        self.call = Some(Call { session, next_at: now.plus(after), wait });
    }

    /// Returns when the next hello is due.
    pub(super) fn next_hello(&self) -> Option<Instant> {
        self.call.map(|call| call.next_at)
    }

    /// Stops the hellos, because the server was heard.
    pub(super) fn stop_calling(&mut self) {
        self.call = None;
        self.was_answered = true;
    }

    /// Starts to call the server, unless a call is waiting for its answer.
    pub(super) fn call(&mut self, registry: &mut Registry, now: Instant) {
        if self.call.is_none() {
            self.call_anew(registry, now);
        }
    }

    /// Starts to call the server with a new session.
    pub(super) fn call_anew(&mut self, registry: &mut Registry, now: Instant) {
        self.call_after(registry, Duration::ZERO, now);
        self.send_hello_if_due(registry, now);
    }

    pub(super) fn send_hello_if_due(&mut self, registry: &mut Registry, now: Instant) {
        let longest = self.longest_wait(registry);
        let (Some(call), Some(server)) = (&mut self.call, self.server) else { return };
        if call.next_at > now {
            return;
        }
        let wait = self.secrets.jittered(call.wait);
        call.next_at = now.plus(wait);
        call.wait = (call.wait * 2).min(longest);
        let session = call.session;
        registry.reply(server, session, &Control::Hello);
    }

    fn longest_wait(&self, registry: &Registry) -> Duration {
        match self.was_answered {
            true => LAST_HELLO_WAIT.min(registry.config.heartbeat_interval),
            false => LAST_HELLO_WAIT,
        }
    }

    /// Handles a datagram outside any session's numbering. `len` is its length.
    pub(super) fn handle(
        &mut self,
        registry: &mut Registry,
        now: Instant,
        from: SocketAddr,
        header: Header,
        frame: &Frame<'_>,
        len: usize,
    ) -> Result<(), DropReason> {
        match (registry.config.role, frame) {
            // The answer would be longer than the question, which would help an attacker who forges addresses.
            (Role::Server, Frame::Hello) if len < HELLO_LEN => Err(DropReason::Malformed),
            (Role::Server, Frame::Hello) => {
                registry.admit_stranger(from, now)?;
                let token = self.issue(from, header.session, now);
                registry.reply(from, header.session, &Control::Token(token));
                Ok(())
            }
            (Role::Client, _) if Some(from) != self.server => Err(DropReason::WrongAddress),
            (Role::Client, Frame::Token(token)) => {
                self.take_token(registry, now, from, header.session, *token)
            }
            (Role::Client, Frame::SecuredToken(token)) => {
                // A hint: the server will not answer the echo.
                registry.outputs.events.push_back(Event::ServerIsSecured);
                self.take_token(registry, now, from, header.session, *token)
            }
            (_, Frame::SealedEcho(_) | Frame::SealedAccept(_)) => Err(DropReason::Secured),
            (Role::Client, Frame::UnknownSession) if may_be_forgotten(registry, header.session, now) => {
                // The old session stays until the server answers the new hello.
                self.call(registry, now);
                Ok(())
            }
            (Role::Client, Frame::Refused) => take_refusal(registry, header.session, now),
            _ => Err(DropReason::Unexpected),
        }
    }

    /// Handles the server's answer to our hello: the new session begins, and its first datagram echoes the token.
    fn take_token(
        &mut self,
        registry: &mut Registry,
        now: Instant,
        server: SocketAddr,
        session: SessionId,
        token: Token,
    ) -> Result<(), DropReason> {
        if !self.calls(session) {
            return Err(DropReason::Unexpected);
        }
        self.stop_calling();
        // A client has one peer at most: its server, here or at its former address.
        if let Some(old) = registry.peers.first().map(|peer| peer.id) {
            registry.remove(old, RemovalReason::Replaced, now);
        }
        let repeat_at = now.plus(registry.config.heartbeat_interval.min(ECHO_INTERVAL));
        let peer = registry.add(Newcomer { echo: Some(token), ..Newcomer::new(server, Some(session), now) });
        peer.last_heard = Some(now);
        peer.next_heartbeat = Some(repeat_at);
        let id = peer.id;
        registry.peers.schedule(id, repeat_at);
        Ok(())
    }

    /// Creates the peer of an unknown session, if an echo in the datagram proves its address. `len` is the datagram's length.
    pub(super) fn create_peer(
        &mut self,
        registry: &mut Registry,
        now: Instant,
        from: SocketAddr,
        session: SessionId,
        frames: &Frames<'_>,
        len: usize,
    ) -> Result<(), DropReason> {
        let echo = frames.clone().find_map(|frame| match frame {
            Frame::Echo { token, name } => Some((token, name)),
            _ => None,
        });
        if registry.config.role == Role::Client {
            return Err(DropReason::UnknownSession);
        }
        if !registry.config.allows(from.ip()) {
            return Err(DropReason::NotAllowed);
        }
        if echo.is_some() {
            registry.admit_stranger(from, now)?;
        }
        let admitted = match echo {
            None => Err(DropReason::UnknownSession),
            Some((token, name)) => self.admits(registry, token, from, session, now).map(|()| (token, name)),
        };
        let refusal = match admitted {
            Ok((token, name)) => return admit_client(registry, now, from, session, name, token),
            Err(refusal) => refusal,
        };
        // The notice is never longer than the datagram that caused it.
        if len >= NOTICE_LEN && (registry.was_displaced(from, now) || self.notices.allow(now)) {
            registry.strangers.were_served = true;
            registry.reply(from, session, &Control::UnknownSession);
        }
        Err(refusal)
    }

    /// Checks that the token proves that the client receives at this address, and that the session is newer than every
    /// session that this address has closed or has now. A delayed echo of an older session fails here.
    pub(super) fn admits(
        &mut self,
        registry: &mut Registry,
        token: Token,
        from: SocketAddr,
        session: SessionId,
        now: Instant,
    ) -> Result<(), DropReason> {
        if registry.closed.may_have_forgotten(token) || !self.secrets.verify(token, from, session, now) {
            return Err(DropReason::BadToken);
        }
        let is_closed = registry.closed.bar(token, from, session, now);
        let present = registry.peers.by_address(from);
        let is_overtaken = present.is_some_and(|present| token.issued() < present.proven);
        if is_closed || is_overtaken { Err(DropReason::UnknownSession) } else { Ok(()) }
    }
}

/// Creates the peer of a client whose address is proven.
fn admit_client(
    registry: &mut Registry,
    now: Instant,
    from: SocketAddr,
    session: SessionId,
    name: &str,
    token: Token,
) -> Result<(), DropReason> {
    let established = if let Some(old) = registry.peers.by_address(from) {
        // The client has proven its address and begins a new session there. It keeps its place.
        let (old, established) = (old.id, old.established);
        registry.remove(old, RemovalReason::Replaced, now);
        established
    } else {
        let admitted = registry.admit_newcomer(from, now);
        if admitted == Err(DropReason::PeerTableFull) {
            registry.reply(from, session, &Control::Refused);
        }
        admitted?
    };
    let peer = registry.add(Newcomer { name, ..Newcomer::new(from, Some(session), established) });
    peer.accepted = true;
    peer.proven = token.issued();
    // The echo was heard even if the window drops its datagram. So every peer can fall silent.
    peer.last_heard = Some(now);
    peer.next_heartbeat = Some(now);
    let id = peer.id;
    registry.peers.schedule(id, now);
    registry.outputs.events.push_back(Event::Accepted(id));
    // The accept frame is sent when the control frames of this datagram are handled.
    Ok(())
}

/// Handles the server's notice that it has no room. The echo asks again, more slowly, and a new hello follows once the token
/// has expired.
fn take_refusal(registry: &mut Registry, session: SessionId, now: Instant) -> Result<(), DropReason> {
    let peer = registry.peers.by_session(session).filter(|peer| !peer.accepted);
    let peer = peer.ok_or(DropReason::Unexpected)?;
    peer.next_heartbeat = Some(now.plus(REFUSED_WAIT));
    registry.outputs.events.push_back(Event::Refused);
    Ok(())
}

/// Returns whether to believe a notice that the server does not know our session.
///
/// Until the server has accepted us, a datagram without an echo (a pack, or a full datagram) may overtake the echo. The server
/// then does not know the session yet, although nobody was restarted, and the next echo creates it. So we believe the notice
/// only after the server has accepted us, or when the token must have expired.
fn may_be_forgotten(registry: &mut Registry, session: SessionId, now: Instant) -> bool {
    let peer = registry.peers.by_session(session);
    peer.is_some_and(|peer| peer.accepted || peer.silent_for(now) > TOKEN_LIFETIME)
}

saved!(Handshake { secrets, server, call, was_answered, notices });
saved!(Call { session, next_at, wait });
saved!(NoticeLimit { second, sent });
