//! Sessions that are over and that a delayed echo must not bring back to life. docs/protocol.md §5.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use hashbrown::{HashMap, HashSet};

use super::token::TOKEN_LIFETIME;
use crate::peer::SessionId;
use crate::snapshot::{Reader, Saved, Writer, saved};
use crate::time::Instant;
use crate::wire::native::Token;

/// How many closed sessions a server remembers. If more are closed within the lifetime of a token, the server forgets the
/// oldest, and refuses every token that is as old as the forgotten session.
const MAX_CLOSED_SESSIONS: usize = 4096;

/// The closed sessions whose tokens have not expired. They are looked up: strangers decide how often.
#[derive(Debug, Default)]
pub(super) struct ClosedSessions {
    /// In the order in which they were closed.
    sessions: VecDeque<ClosedSession>,
    ids: HashSet<SessionId>,
    addresses: HashMap<SocketAddr, ClosedAtAddress>,
    /// Tokens must be younger than this, because sessions that were closed until then are forgotten.
    tokens_after: Option<Instant>,
}

/// The closed sessions of one address.
#[derive(Clone, Copy, Debug)]
struct ClosedAtAddress {
    count: u32,
    /// When the latest token was issued that proved the address.
    proven: Instant,
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

impl ClosedSessions {
    pub(super) fn remember(&mut self, closed: ClosedSession) {
        self.forget_expired(closed.at);
        if self.sessions.len() == MAX_CLOSED_SESSIONS
            && let Some(forgotten) = self.forget_first()
        {
            self.tokens_after = Some(forgotten.at);
        }
        self.ids.insert(closed.session);
        let first = ClosedAtAddress { count: 0, proven: closed.proven };
        let address = self.addresses.entry(closed.address).or_insert(first);
        address.count += 1;
        address.proven = address.proven.max(closed.proven);
        self.sessions.push_back(closed);
    }

    /// Returns whether the token is so old that its session may have been closed and forgotten.
    pub(super) fn may_have_forgotten(&self, token: Token) -> bool {
        self.tokens_after.is_some_and(|after| token.issued() <= after)
    }

    /// Returns whether a closed session keeps this token from beginning a session: the session itself, or a later one of the same
    /// address.
    pub(super) fn bar(
        &mut self,
        token: Token,
        address: SocketAddr,
        session: SessionId,
        now: Instant,
    ) -> bool {
        self.forget_expired(now);
        let is_overtaken = |address: &ClosedAtAddress| token.issued() < address.proven;
        self.ids.contains(&session) || self.addresses.get(&address).is_some_and(is_overtaken)
    }

    /// Forgets the sessions whose tokens have expired.
    fn forget_expired(&mut self, now: Instant) {
        while self.sessions.front().is_some_and(|closed| now.since(closed.at) > TOKEN_LIFETIME) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) -> Option<ClosedSession> {
        let first = self.sessions.pop_front()?;
        self.ids.remove(&first.session);
        if let Some(address) = self.addresses.get_mut(&first.address) {
            address.count -= 1;
            if address.count == 0 {
                self.addresses.remove(&first.address);
            }
        }
        Some(first)
    }
}

saved!(ClosedSession { session, address, proven, at });

impl Saved for ClosedSessions {
    fn save(&self, out: &mut Writer) {
        self.tokens_after.save(out);
        self.sessions.len().save(out);
        for closed in &self.sessions {
            closed.save(out);
            // It may be later than that of every session that is remembered.
            self.addresses.get(&closed.address).map(|address| address.proven).save(out);
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let tokens_after = Saved::load(from)?;
        let sessions: Vec<(ClosedSession, Option<Instant>)> = Vec::load(from)?;
        let mut loaded = Self { tokens_after, ..Self::default() };
        for (closed, proven) in sessions {
            loaded.ids.insert(closed.session);
            let first = ClosedAtAddress { count: 0, proven: proven? };
            loaded.addresses.entry(closed.address).or_insert(first).count += 1;
            loaded.sessions.push_back(closed);
        }
        Some(loaded)
    }
}
