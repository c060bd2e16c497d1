//! The addresses of this host at which peers call a server that is bound to all of them (0.0.0.0 or [::]).
//!
//! Without this, the kernel would answer from the address of its choice, and a peer that called another one would not
//! accept the answer. The driver reads and [confirms](Sources::confirm); the holder of the transmit lock asks
//! [which](Sources::of). Used for such servers only, so the lock costs other sockets nothing.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::sync::{Mutex, lock};

/// The number of latest senders that are remembered before they are peers: those of one turn's handshakes.
const LATEST: usize = 16;

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) ip: IpAddr,
    /// The index of the network card; 0 unless the address alone does not tell it (link-local, RFC 4007).
    pub(crate) card: u32,
}

/// Where each peer called.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<Inner>);

/// Invariant: `peers` holds peers alone, so `max_peers` bounds it. Nothing that a stranger sends changes its entries.
#[derive(Debug, Default)]
struct Inner {
    peers: HashMap<SocketAddr, Source>,
    /// The latest senders, peers or not, the newest at `newest`.
    latest: [Option<(SocketAddr, Source)>; LATEST],
    newest: usize,
    /// What was confirmed last, because most datagrams come from where the one before came from.
    confirmed: Option<(SocketAddr, Source)>,
}

impl Sources {
    /// Notes where a datagram came from and which address it was for.
    #[inline(never)] // keeps this code out of the path of other sockets
    pub(super) fn arrived(&self, from: SocketAddr, at: Source) {
        let mut inner = lock(&self.0);
        if inner.latest[inner.newest] == Some((from, at)) {
            return;
        }
        let place = inner.latest.iter().position(|known| known.is_some_and(|(known, _)| known == from));
        let place = place.unwrap_or((inner.newest + 1) % LATEST);
        inner.latest[place] = Some((from, at));
        inner.newest = place;
    }

    /// What the latest datagram from this address was for, if it is among the latest of all.
    pub(super) fn latest_of(&self, from: SocketAddr) -> Option<Source> {
        lock(&self.0).latest_of(from)
    }

    /// The latest datagram from this address was one of a peer's: from now on it is answered from where it called.
    pub(super) fn confirm(&self, from: SocketAddr) {
        let mut inner = lock(&self.0);
        let Some(at) = inner.latest_of(from) else { return };
        if inner.confirmed.replace((from, at)) != Some((from, at)) {
            inner.peers.insert(from, at);
        }
    }

    /// The peer at this address is gone.
    pub(super) fn forget(&self, peer: SocketAddr) {
        let mut inner = lock(&self.0);
        inner.peers.remove(&peer);
        inner.confirmed = None;
    }

    /// The address from which to send there; `None`: any.
    pub(super) fn of(&self, to: SocketAddr) -> Option<Source> {
        let inner = lock(&self.0);
        inner.peers.get(&to).copied().or_else(|| inner.latest_of(to))
    }
}

impl Inner {
    fn latest_of(&self, from: SocketAddr) -> Option<Source> {
        let newest = self.latest[self.newest].into_iter();
        newest.chain(self.latest.into_iter().flatten()).find(|(known, _)| *known == from).map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 9], port))
    }

    fn source(last: u8) -> Source {
        Source { ip: IpAddr::from([10, 0, 0, last]), card: 0 }
    }

    #[test]
    fn a_peer_is_answered_from_where_it_called_and_a_forged_datagram_changes_nothing() {
        let sources = Sources::default();
        sources.arrived(address(1), source(1));
        sources.confirm(address(1));
        // Not confirmed: it belonged to no session.
        sources.arrived(address(1), source(2));
        assert_eq!(sources.of(address(1)), Some(source(1)));
        sources.confirm(address(1));
        assert_eq!(sources.of(address(1)), Some(source(2)), "the peer itself called another address");
    }

    #[test]
    fn strangers_are_answered_at_once_and_then_forgotten() {
        let sources = Sources::default();
        for port in 1..=1_000 {
            sources.arrived(address(port), source(3));
            assert_eq!(sources.of(address(port)), Some(source(3)));
        }
        assert_eq!(sources.of(address(1)), None);
        sources.confirm(address(1_000));
        sources.forget(address(1_000));
        assert_eq!(lock(&sources.0).peers.len(), 0);
    }
}
