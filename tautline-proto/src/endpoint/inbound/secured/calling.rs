//! A client's echo that waits for the server's accept.

use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use crate::drops::DropReason;
use crate::endpoint::inbound::registry::ECHO_INTERVAL;
use crate::endpoint::inbound::vault::Vault;
use crate::peer::SessionId;
use crate::secure::{Begun, Split};
use crate::snapshot::saved;
use crate::time::Instant;

/// How many times an echo is sent before the client tells that the server does not accept its key. Each wait is twice as long as
/// the one before, so that a slow path is no wrong key.
const ECHOES: u32 = 5;

/// How many forged accepts a client looks at for one call. Each costs the time of an X25519.
const MAX_FORGED: u32 = 32;

/// A client's echo that waits for the server's accept. A repeated echo is the very same datagram.
pub(super) struct Calling {
    pub(super) session: SessionId,
    /// Whether the token said that the server takes secured clients only. A hint.
    pub(super) server_is_secured: bool,
    server: SocketAddr,
    datagram: Vec<u8>,
    begun: Begun,
    sent: u32,
    next_at: Instant,
    forged: u32,
}

impl fmt::Debug for Calling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calling")
            .field("session", &self.session)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

impl Calling {
    pub(super) fn new(
        session: SessionId,
        server: SocketAddr,
        datagram: Vec<u8>,
        begun: Begun,
        server_is_secured: bool,
        now: Instant,
    ) -> Self {
        Self { session, server_is_secured, server, datagram, begun, sent: 0, next_at: now, forged: 0 }
    }

    pub(super) const fn next_at(&self) -> Instant {
        self.next_at
    }

    /// Returns the echo to send now; `None` if it was sent as often as makes sense.
    pub(super) fn next_echo(
        &mut self,
        heartbeat_interval: Duration,
        now: Instant,
    ) -> Option<(SocketAddr, Vec<u8>)> {
        if self.sent == ECHOES {
            return None;
        }
        self.next_at = now.plus(ECHO_INTERVAL.min(heartbeat_interval) * 2_u32.pow(self.sent));
        self.sent += 1;
        Some((self.server, self.datagram.clone()))
    }

    /// Reads the server's accept. Returns what it says, and the keys.
    pub(super) fn finish(&mut self, vault: &mut Vault, noise: &[u8]) -> Result<(Split, Vec<u8>), DropReason> {
        if self.forged == MAX_FORGED {
            return Err(DropReason::Overloaded);
        }
        let finished = vault.finish(&mut self.begun, noise);
        self.forged += u32::from(finished.is_none());
        finished.ok_or(DropReason::BadTag)
    }
}

saved!(Calling { session, server_is_secured, server, datagram, begun, sent, next_at, forged });
