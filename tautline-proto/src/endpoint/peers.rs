//! The peer table of the inbound half: bounded, indexed by address and by session, with one timer table.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use hashbrown::HashMap;

use super::PeerHandle;
use crate::path::Path;
use crate::peer::{PeerId, SessionId};
use crate::stats::{PeerRxCounters, PeerTxCounters};
use crate::time::{Instant, WallTime};
use crate::window::Window;

/// One remote end as the inbound half sees it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) address: SocketAddr,
    /// Native only.
    pub(super) session: Option<SessionId>,
    pub(super) name: String,
    /// `None` until the first number, and where datagrams have none.
    pub(super) window: Option<Window>,
    pub(super) path: Path,
    /// Whether the link is established: at once on a server and on the classic wire.
    pub(super) accepted: bool,
    pub(super) silent: bool,
    /// Liveness counts from here; `None` on the classic wire until the peer was heard once.
    pub(super) last_heard: Option<Instant>,
    /// Native only.
    pub(super) next_heartbeat: Option<Instant>,
    /// The latest time stamp accepted (classic).
    pub(super) newest: WallTime,
    pub(super) rx: Arc<PeerRxCounters>,
    pub(super) tx: Arc<PeerTxCounters>,
    /// Its entry in the timer table; kept by [`Peers::schedule`].
    wake_at: Option<Instant>,
}

impl Peer {
    pub(super) fn handle(&self) -> PeerHandle {
        PeerHandle {
            id: self.id,
            address: self.address,
            session: self.session,
            name: self.name.clone(),
            rx: Arc::clone(&self.rx),
            tx: Arc::clone(&self.tx),
        }
    }

    /// Shows the window's counts to readers.
    pub(super) fn publish_window(&self) {
        let Some(window) = &self.window else { return };
        let counts = window.counts();
        self.rx.lost.set(counts.lost);
        self.rx.late.set(counts.late);
        self.rx.duplicate.set(counts.duplicate);
        self.rx.missing.set(window.missing());
        self.rx.expected_sequence.set(window.next());
    }
}

/// All peers. Slots are reused, ids are not.
///
/// Invariant: `by_address`, `by_session` and `timers` hold exactly the entries of the peers in `slots`.
#[derive(Debug, Default)]
pub(super) struct Peers {
    slots: Vec<Option<Peer>>,
    free: Vec<u32>,
    by_address: HashMap<SocketAddr, u32>,
    by_session: HashMap<SessionId, u32>,
    timers: BTreeSet<(Instant, u32)>,
    serial: u32,
}

impl Peers {
    /// An empty table whose ids begin after `serial`.
    pub(super) fn after(serial: u32) -> Self {
        Self { serial, ..Self::default() }
    }

    pub(super) const fn serial(&self) -> u32 {
        self.serial
    }

    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    pub(super) fn by_address(&mut self, address: SocketAddr) -> Option<&mut Peer> {
        let slot = *self.by_address.get(&address)?;
        self.slots[slot as usize].as_mut()
    }

    pub(super) fn by_session(&mut self, session: SessionId) -> Option<&mut Peer> {
        let slot = *self.by_session.get(&session)?;
        self.slots[slot as usize].as_mut()
    }

    pub(super) fn get(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.slots.get_mut(id.slot())?.as_mut().filter(|peer| peer.id == id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.slots.iter().flatten()
    }

    /// Adds a peer; the caller has made sure that the address and the session are free.
    pub(super) fn add(&mut self, address: SocketAddr, session: Option<SessionId>, name: &str) -> &mut Peer {
        self.serial = self.serial.wrapping_add(1);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("max_peers bounds the slots")
        });
        self.by_address.insert(address, slot);
        if let Some(session) = session {
            self.by_session.insert(session, slot);
        }
        self.slots[slot as usize].insert(Peer {
            id: PeerId::new(self.serial, slot),
            address,
            session,
            name: name.into(),
            window: None,
            path: Path::default(),
            accepted: false,
            silent: false,
            last_heard: None,
            next_heartbeat: None,
            newest: WallTime::from_nanos(i64::MIN),
            rx: Arc::default(),
            tx: Arc::default(),
            wake_at: None,
        })
    }

    pub(super) fn remove(&mut self, id: PeerId) -> Option<Peer> {
        self.get(id)?;
        let peer = self.slots[id.slot()].take()?;
        let slot = self.by_address.remove(&peer.address)?;
        if let Some(session) = peer.session {
            self.by_session.remove(&session);
        }
        if let Some(wake_at) = peer.wake_at {
            self.timers.remove(&(wake_at, slot));
        }
        self.free.push(slot);
        Some(peer)
    }

    /// Makes sure that the peer is visited at `at` or earlier.
    pub(super) fn schedule(&mut self, id: PeerId, at: Instant) {
        let Some(Some(peer)) = self.slots.get_mut(id.slot()) else { return };
        if peer.wake_at.is_some_and(|set| set <= at) {
            return;
        }
        let slot = u32::try_from(id.slot()).expect("slots are numbered by u32");
        if let Some(later) = peer.wake_at.replace(at) {
            self.timers.remove(&(later, slot));
        }
        self.timers.insert((at, slot));
    }

    /// When the next peer wants to be visited.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// A peer whose time has come; it is to be scheduled again.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<&mut Peer> {
        let &(at, slot) = self.timers.first().filter(|&&(at, _)| at <= now)?;
        self.timers.remove(&(at, slot));
        let peer = self.slots[slot as usize].as_mut()?;
        peer.wake_at = None;
        Some(peer)
    }
}
