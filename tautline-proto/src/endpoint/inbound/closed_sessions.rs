//! Sessions that are over and that a delayed echo must not bring back to life. docs/protocol.md §5.

use alloc::collections::VecDeque;
use core::net::SocketAddr;

use super::token::TOKEN_LIFETIME;
use crate::peer::SessionId;
use crate::time::Instant;
use crate::wire::native::Token;

/// How many closed sessions a server remembers. If more are closed within the lifetime of a token, the server forgets the
/// oldest, and refuses every token that is as old as the forgotten session.
const MAX_CLOSED_SESSIONS: usize = 4096;

/// The closed sessions whose tokens have not expired.
#[derive(Debug, Default)]
pub(super) struct ClosedSessions {
    sessions: VecDeque<ClosedSession>,
    /// Tokens must be younger than this, because sessions that were closed until then are forgotten.
    tokens_after: Option<Instant>,
}

/// A session that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClosedSession {
    pub(super) session: SessionId,
    pub(super) address: SocketAddr,
    /// When the token was issued that proved its address.
    pub(super) proven: Instant,
    pub(super) at: Instant,
}

impl ClosedSession {
    /// Returns whether an echo with this token belongs to this session, or to an older session of the same address.
    fn bars(&self, token: Token, address: SocketAddr, session: SessionId) -> bool {
        self.session == session || (self.address == address && token.issued() < self.proven)
    }
}

impl ClosedSessions {
    pub(super) fn remember(&mut self, closed: ClosedSession) {
        self.forget_expired(closed.at);
        if self.sessions.len() == MAX_CLOSED_SESSIONS
            && let Some(forgotten) = self.sessions.pop_front()
        {
            self.tokens_after = Some(forgotten.at);
        }
        self.sessions.push_back(closed);
    }

    /// Returns whether the token is so old that its session may have been closed and forgotten.
    pub(super) fn may_have_forgotten(&self, token: Token) -> bool {
        self.tokens_after.is_some_and(|after| token.issued() <= after)
    }

    /// Returns whether a closed session keeps this token from beginning a session.
    pub(super) fn bar(
        &mut self,
        token: Token,
        address: SocketAddr,
        session: SessionId,
        now: Instant,
    ) -> bool {
        self.forget_expired(now);
        self.sessions.iter().any(|closed| closed.bars(token, address, session))
    }

    /// Forgets the sessions whose tokens have expired.
    fn forget_expired(&mut self, now: Instant) {
        while self.sessions.front().is_some_and(|closed| now.since(closed.at) > TOKEN_LIFETIME) {
            self.sessions.pop_front();
        }
    }
}
