//! One peer of the inbound half.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::net::SocketAddr;
use core::time::Duration;

use super::delivery::DeliveryState;
use crate::endpoint::event::PeerHandle;
use crate::path::Path;
use crate::peer::{PeerId, SessionId};
use crate::stats::{PeerRxCounters, PeerTxCounters};
use crate::time::{Instant, WallTime};
use crate::window::{Window, WindowCounts};

/// A remote end as the inbound half sees it.
#[derive(Debug)]
pub(super) struct InboundPeer {
    pub(super) id: PeerId,
    pub(super) address: SocketAddr,
    /// Native only.
    pub(super) session: Option<SessionId>,
    pub(super) name: String,
    /// `None` before the first datagram, and if datagrams have no numbers.
    pub(super) window: Option<Window>,
    pub(super) path: Path,
    /// Native only; created with the first reliable or large message.
    pub(super) delivery: Option<Box<DeliveryState>>,
    /// Whether the link is established. On a server and on the classic wire it is from the start.
    pub(super) accepted: bool,
    /// When the token was issued that proved the peer's address (native servers only).
    pub(super) proven: Instant,
    /// Whether the server has sent its name (native clients only).
    pub(super) named: bool,
    /// Set by [`PeerTable::mark_silent`](super::peer_table::PeerTable::mark_silent), cleared by `mark_heard`.
    pub(super) silent: bool,
    /// Whether heartbeats are overdue (native). Cleared by `PeerTable::mark_heard`.
    pub(super) stale: bool,
    /// The time from which the silence is measured. `None` on the classic wire until the peer was heard once.
    pub(super) last_heard: Option<Instant>,
    /// Native only.
    pub(super) next_heartbeat: Option<Instant>,
    /// The latest time stamp that was accepted (classic).
    pub(super) newest: WallTime,
    /// The life before the last restart (classic).
    pub(super) former_life: Option<FormerLife>,
    /// The window's number that stands for the sender's number 0.
    pub(super) numbers_from: u64,
    /// The counts that readers see. They rarely change from one datagram to the next, so the comparison saves writes.
    pub(super) published: (WindowCounts, u64),
    pub(super) rx: Arc<PeerRxCounters>,
    pub(super) tx: Arc<PeerTxCounters>,
    /// The peer's entry in the timer table. Set by `PeerTable::schedule`.
    pub(super) wake_at: Option<Instant>,
}

/// What is remembered of the time before a restart (classic).
#[derive(Clone, Copy, Debug)]
pub(super) struct FormerLife {
    pub(super) newest: WallTime,
    pub(super) ended_at: Instant,
}

impl InboundPeer {
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

    /// Publishes the window's counts to readers.
    pub(super) fn publish_window(&mut self) {
        let Some(window) = &self.window else { return };
        self.rx.expected_sequence.set(window.next() - self.numbers_from);
        let errors = (window.counts(), window.missing());
        if errors != core::mem::replace(&mut self.published, errors) {
            let (counts, missing) = errors;
            self.rx.lost.set(counts.lost);
            self.rx.late.set(counts.late);
            self.rx.duplicate.set(counts.duplicate);
            self.rx.missing.set(missing);
        }
    }

    pub(super) const fn is_silent(&self) -> bool {
        self.silent
    }

    /// Returns how long the peer has not been heard. Zero if it was never heard (classic).
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        self.last_heard.map_or(Duration::ZERO, |heard| now.since(heard))
    }

    /// Returns when the window, a heartbeat or an incomplete message needs the next visit.
    pub(super) fn next_visit(&self) -> Option<Instant> {
        let window_at = self.window.as_ref().and_then(Window::next_timeout);
        let delivery_at = self.delivery.as_ref().and_then(|delivery| delivery.next_timeout());
        [self.next_heartbeat, window_at, delivery_at].into_iter().flatten().min()
    }
}
