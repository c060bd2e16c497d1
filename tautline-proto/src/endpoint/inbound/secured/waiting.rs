//! Clients that a server has accepted, and that have not sent a sealed datagram yet.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use super::session_keys::SessionKeys;
use crate::endpoint::inbound::token::TOKEN_LIFETIME;
use crate::peer::SessionId;
use crate::secure::{Identity, KeyId};
use crate::snapshot::{Reader, Saved, Writer, saved};
use crate::time::Instant;
use crate::wire::native::Token;

/// How many clients may wait at once. Only those who have a key can wait. Beyond it, a client takes the place of one whose identity has
/// more: so whoever may only observe keeps no controller out.
const MAX_WAITING: usize = 256;

/// The clients that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<WaitingClient>);

/// A client that waits. The old session of its identity goes on meanwhile.
pub(super) struct WaitingClient {
    pub(super) session: SessionId,
    pub(super) address: SocketAddr,
    pub(super) token: Token,
    pub(super) name: String,
    /// The session that the client had before.
    pub(super) former: Option<SessionId>,
    pub(super) identity: Arc<Identity>,
    pub(super) key: KeyId,
    pub(super) keys: SessionKeys,
    /// Its message of the handshake, and the datagram that answers it.
    pub(super) echo: Vec<u8>,
    pub(super) answer: Vec<u8>,
    pub(super) at: Instant,
}

impl fmt::Debug for WaitingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingClient").field("session", &self.session).finish_non_exhaustive()
    }
}

impl WaitingClient {
    /// Returns the answer to this echo, if it is the one that was answered.
    pub(super) fn answer_to(&self, echo: &[u8]) -> Option<Vec<u8>> {
        (self.echo == echo).then(|| self.answer.clone())
    }
}

impl Waiting {
    pub(super) fn of(&self, session: SessionId) -> Option<&WaitingClient> {
        self.0.iter().find(|waiting| waiting.session == session)
    }

    /// Returns whether one more client of this identity may wait.
    pub(super) fn have_room_for(&self, identity: &Identity) -> bool {
        if self.0.len() < MAX_WAITING {
            return true;
        }
        let counts = self.counts();
        let own = counts.get(&*identity.name).copied().unwrap_or(0);
        counts.values().any(|&count| count > own + 1)
    }

    /// Adds a client. If too many wait, the oldest one of the identity with most of them is forgotten, and begins again.
    pub(super) fn add(&mut self, client: WaitingClient) {
        if self.0.len() >= MAX_WAITING
            && let Some(name) =
                self.counts().into_iter().max_by_key(|&(_, count)| count).map(|(name, _)| name)
            && let Some(oldest) = self.0.iter().position(|waiting| *waiting.identity.name == *name)
        {
            self.0.remove(oldest);
        }
        self.0.push(client);
    }

    /// How many clients of each identity wait.
    fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        self.0.iter().for_each(|waiting| *counts.entry(&*waiting.identity.name).or_default() += 1);
        counts
    }

    pub(super) fn take(&mut self, session: SessionId) -> Option<WaitingClient> {
        let place = self.0.iter().position(|waiting| waiting.session == session)?;
        Some(self.0.remove(place))
    }

    /// Keeps the clients whose key and identity `keep` accepts.
    pub(super) fn retain(&mut self, keep: impl Fn(KeyId, &Identity) -> bool) {
        self.0.retain(|waiting| keep(waiting.key, &waiting.identity));
    }

    /// Forgets the clients whose tokens have expired. They begin again.
    pub(super) fn forget_expired(&mut self, now: Instant) {
        self.0.retain(|waiting| now.since(waiting.at) <= TOKEN_LIFETIME);
    }
}

saved!(WaitingClient { session, address, token, name, former, identity, key, keys, echo, answer, at });

impl Saved for Waiting {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Vec::load(from).map(Self)
    }
}
