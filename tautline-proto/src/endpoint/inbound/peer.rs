//! One peer of the inbound half.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::net::SocketAddr;
use core::time::Duration;

use super::claims::Claims;
use super::delivery::DeliveryState;
#[cfg(feature = "secure")]
use super::elsewhere::Move;
#[cfg(feature = "secure")]
use super::keyring::Keyring;
use crate::endpoint::event::PeerHandle;
use crate::path::Path;
use crate::peer::{PeerId, SessionId};
use crate::rights::Rights;
#[cfg(feature = "secure")]
use crate::secure::KeyId;
use crate::snapshot::{Reader, Saved, Writer, saved};
use crate::stats::{PeerRxCounters, PeerTxCounters};
use crate::time::Instant;
use crate::window::{Verdict, Window, WindowCounts};

/// A remote end as the inbound half sees it.
#[derive(Debug)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(super) struct InboundPeer {
    pub(super) id: PeerId,
    /// Native only.
    pub(super) session: Option<SessionId>,
    pub(super) address: SocketAddr,
    /// `None` before the first datagram, and if datagrams have no numbers.
    pub(super) window: Option<Window>,
    /// The window's number that stands for the sender's number 0.
    pub(super) numbers_from: u64,
    pub(super) rx: Arc<PeerRxCounters>,
    /// The time from which the silence is measured. `None` on the classic wire until the peer was heard once.
    pub(super) last_heard: Option<Instant>,
    /// The peer's entry in the timer table. Set by `PeerTable::schedule`.
    pub(super) wake_at: Option<Instant>,
    /// Cleared by [`take_away`](Self::take_away).
    away: Away,
    /// Whether the link is established. On a server and on the classic wire it is from the start.
    pub(super) accepted: bool,
    /// What it may send to us, and what we may send to it.
    pub(super) rights: Rights,
    pub(super) granted: Rights,
    /// Whether the server has sent its name (native clients only).
    pub(super) named: bool,
    /// Whether it counts among the newcomers (`PeerTable::newcomers`).
    pub(super) is_newcomer: bool,
    /// Its keys (secured links only).
    #[cfg(feature = "secure")]
    pub(super) secured: Option<Box<SecuredPeer>>,
    pub(super) name: String,
    pub(super) path: Path,
    /// Native only; created with the first reliable or large message.
    pub(super) delivery: Option<Box<DeliveryState>>,
    /// How much memory that takes. Set by `PeerTable::count_kept`.
    pub(super) kept: usize,
    /// Native only; created with the first claim, release or notice in either direction.
    pub(super) claims: Option<Box<Claims>>,
    /// When the token was issued that proved the peer's address (native servers only).
    pub(super) proven: Instant,
    /// When it came. A peer that comes back into its place keeps the time.
    pub(super) established: Instant,
    /// Since when it has been heard without falling silent.
    pub(super) heard_since: Instant,
    /// Native only.
    pub(super) next_heartbeat: Option<Instant>,
    /// When a frame about probes may be answered at once again (native).
    pub(super) next_answer: Instant,
    /// The size of the largest datagram to it that the last event told of; 0 before the first look.
    pub(super) told_size: u64,
    /// The latest time stamp that was accepted, in seconds (classic). As a number, because senders may count any time.
    pub(super) newest: f64,
    /// The life before the last restart (classic).
    pub(super) former_life: Option<FormerLife>,
    /// The counts that readers see. They rarely change from one datagram to the next, so the comparison saves writes.
    published: (WindowCounts, u64),
    pub(super) tx: Arc<PeerTxCounters>,
}

/// What is known of a peer with a key.
#[cfg(feature = "secure")]
#[derive(Debug)]
pub(super) struct SecuredPeer {
    /// Who it is, by its key.
    pub(super) identity: Arc<str>,
    /// Names the key that it has called with.
    pub(super) key: KeyId,
    /// Opens what it sends.
    pub(super) ring: Keyring,
    /// Where else it was heard last (servers only).
    pub(super) moving: Option<Box<Move>>,
}

#[cfg(feature = "secure")]
impl SecuredPeer {
    pub(super) fn new(identity: &Arc<str>, key: KeyId, ring: Keyring) -> Self {
        Self { identity: Arc::clone(identity), key, ring, moving: None }
    }
}

/// What is remembered of the time before a restart (classic).
#[derive(Clone, Copy, Debug)]
pub(super) struct FormerLife {
    pub(super) newest: f64,
    pub(super) ended_at: Instant,
}

/// What the silence of a peer has led to so far. One byte, so that a datagram of a peer that is not away costs one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Away(u8);

impl Away {
    /// Heartbeats are overdue (native).
    pub(super) const STALE: Self = Self(1);
    /// It is left out when a message goes to all.
    pub(super) const HUSHED: Self = Self(2);
    /// It was not heard for the liveness time-out. Set by `PeerTable::mark_silent`.
    pub(super) const SILENT: Self = Self(4);

    pub(super) const fn is(self, state: Self) -> bool {
        self.0 & state.0 != 0
    }

    pub(super) const fn is_away(self) -> bool {
        self.0 != 0
    }
}

impl InboundPeer {
    /// A peer that came at `established`, and was not heard yet.
    pub(super) fn new(
        id: PeerId,
        address: SocketAddr,
        session: Option<SessionId>,
        name: &str,
        established: Instant,
    ) -> Self {
        Self {
            id,
            address,
            session,
            name: name.into(),
            window: None,
            path: Path::default(),
            delivery: None,
            kept: 0,
            claims: None,
            rights: Rights::ALL,
            granted: Rights::ALL,
            #[cfg(feature = "secure")]
            secured: None,
            accepted: false,
            named: false,
            proven: Instant::from_nanos(0),
            away: Away::default(),
            is_newcomer: true,
            established,
            heard_since: established,
            last_heard: None,
            next_heartbeat: None,
            next_answer: Instant::from_nanos(0),
            told_size: 0,
            newest: f64::NEG_INFINITY,
            former_life: None,
            numbers_from: 0,
            published: Default::default(),
            rx: Arc::default(),
            tx: Arc::default(),
            wake_at: None,
        }
    }

    pub(super) fn handle(&self) -> PeerHandle {
        PeerHandle {
            id: self.id,
            address: self.address,
            session: self.session,
            name: self.name.clone(),
            #[cfg(feature = "secure")]
            identity: self.secured.as_ref().map(|secured| Arc::clone(&secured.identity)),
            #[cfg(not(feature = "secure"))]
            identity: None,
            rights: self.rights,
            granted: self.granted,
            rx: Arc::clone(&self.rx),
            tx: Arc::clone(&self.tx),
        }
    }

    /// Returns whether it is visited at `at` or earlier.
    #[inline]
    pub(super) fn is_visited_by(&self, at: Instant) -> bool {
        self.wake_at.is_some_and(|set| set <= at)
    }

    /// Takes note that it is heard. Returns what its silence had led to.
    #[inline]
    pub(super) const fn take_away(&mut self) -> Away {
        core::mem::replace(&mut self.away, Away(0))
    }

    /// Publishes the number that the window expects next. Its counts are published whenever they change.
    #[inline]
    pub(super) fn publish_next(&self) {
        if let Some(window) = &self.window {
            self.rx.expected_sequence.set(window.next() - self.numbers_from);
        }
    }

    /// Publishes the window's counts to readers.
    pub(super) fn publish_window(&mut self) {
        self.publish_next();
        let Some(window) = &self.window else { return };
        let errors = (window.counts(), window.missing());
        if errors != core::mem::replace(&mut self.published, errors) {
            let (counts, missing) = errors;
            self.rx.lost.set(counts.lost);
            self.rx.probes_lost.set(counts.probes_lost);
            self.rx.late.set(counts.late);
            self.rx.duplicate.set(counts.duplicate);
            self.rx.missing.set(missing);
        }
    }

    /// Marks the number of a datagram that arrived and is dropped for what it holds: it must not count as lost too. A duplicate is
    /// dropped for what it holds alone, and a number that the window would have to leap to is no plausible one.
    #[cold]
    pub(super) fn record_dropped(&mut self, number: u64, now: Instant) {
        let Some(window) = &mut self.window else { return };
        if matches!(window.judge(number), Verdict::New | Verdict::Late) {
            window.receive(number, now);
            self.publish_window();
        }
    }

    pub(super) const fn is(&self, state: Away) -> bool {
        self.away.is(state)
    }

    /// Notes that the peer is stale.
    pub(super) fn mark(&mut self, state: Away) {
        self.away.0 |= state.0;
    }

    /// Its place among those that may have to give way.
    pub(super) fn seat(&self) -> (Instant, u32) {
        (self.established, self.id.slot_number())
    }

    /// Returns for how long it has been heard without falling silent.
    pub(super) fn heard_for(&self) -> Duration {
        self.last_heard.map_or(Duration::ZERO, |last| last.since(self.heard_since))
    }

    /// Returns how long the peer has not been heard. Zero if it was never heard (classic).
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        self.last_heard.map_or(Duration::ZERO, |heard| now.since(heard))
    }

    /// Returns how many incomplete and held-back messages are lost if its session ends now.
    pub(super) fn undelivered(&self) -> u64 {
        self.delivery.as_ref().map_or(0, |delivery| delivery.undelivered())
    }

    /// Returns how many bytes its incomplete and held-back messages take, as `PeerTable::kept` counts them.
    pub(super) const fn kept(&self) -> usize {
        self.kept
    }

    /// Returns when the window, a heartbeat, an incomplete message or a claim needs the next visit.
    pub(super) fn next_visit(&self) -> Option<Instant> {
        let window_at = self.window.as_ref().and_then(Window::next_timeout);
        let delivery_at = self.delivery.as_ref().and_then(|delivery| delivery.next_timeout());
        let claim_at = self.claims.as_ref().and_then(|claims| claims.next_timeout());
        let visits = [self.next_heartbeat, window_at, delivery_at, claim_at, self.moves_at()];
        visits.into_iter().flatten().min()
    }

    /// Returns when it is decided where the peer is.
    fn moves_at(&self) -> Option<Instant> {
        #[cfg(feature = "secure")]
        return self.secured.as_ref()?.moving.as_ref()?.decides_at();
        #[cfg(not(feature = "secure"))]
        None
    }
}

impl Saved for Away {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        u8::load(from).map(Self)
    }
}

#[cfg(feature = "secure")]
saved!(SecuredPeer { identity, key, ring, moving });
saved!(FormerLife { newest, ended_at });
saved!(InboundPeer {
    id, address, session, name, window, path, delivery, kept, claims, rights, granted, accepted, proven, named, away, is_newcomer,
    established, heard_since, last_heard, next_heartbeat, next_answer, told_size, newest, former_life, numbers_from, published,
    rx, wake_at,
    #[cfg(feature = "secure")]
    secured,
} else {
    // The outbound half counts there.
    tx: Arc::default(),
});
