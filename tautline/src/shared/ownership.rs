//! Who owns which stream, for readers on any thread, and what users ask for: claims and releases, which wait here for the driver.
//!
//! The rules are in the protocol (`tautline_proto`, docs/protocol.md §7.6). The driver alone talks to it. Each lock here is held
//! alone, for a bounded number of steps.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tautline_proto::endpoint::{ClaimOutcome, OwnerChange, Tenure};
use tautline_proto::{PeerId, StreamId};

use crate::config::Watched;
use crate::config::{Selector, Wire};
use crate::sync::driver_flags::DriverFlags;
use crate::sync::oneshot::OneShot;
use crate::sync::{Arc, Mutex, Ordering, lock};

/// How many claims and releases of an interface may be open at once.
const MAX_OPEN_CLAIMS: usize = 32;

/// The owner of a stream. See [`UdpInterface::owners`](crate::UdpInterface::owners).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamOwner {
    /// The stream.
    pub stream: StreamId,
    /// Its owner.
    pub owner: PeerId,
    /// Since when.
    pub since: Instant,
}

/// What the handles, the driver and the watchdogs share about owners. It outlives single connections.
#[derive(Debug)]
pub(crate) struct Ownership {
    /// Written by the driver.
    present: Mutex<BTreeMap<StreamId, (StreamOwner, Tenure)>>,
    freed: Mutex<Vec<Tenure>>,
    /// Its `ownership` says whether `freed` or the claims have something for the driver.
    flags: Arc<DriverFlags>,
    /// The claims of the present connection, or of the last.
    claims: Mutex<Option<Arc<ClaimQueue>>>,
}

impl Ownership {
    pub(crate) fn new(flags: Arc<DriverFlags>) -> Self {
        Self { flags, present: Mutex::default(), freed: Mutex::default(), claims: Mutex::default() }
    }

    /// Begins a connection: no stream has an owner. Returns the queue of its claims.
    pub(crate) fn begin(&self, wire: Wire) -> Arc<ClaimQueue> {
        lock(&self.present).clear();
        lock(&self.freed).clear();
        let queue = Arc::new(ClaimQueue { wire, state: Mutex::default() });
        *lock(&self.claims) = Some(Arc::clone(&queue));
        queue
    }

    /// Ends the connection with this queue: no stream has an owner any more, and nothing can be asked.
    pub(crate) fn end(&self, queue: &Arc<ClaimQueue>) {
        // A handler that disconnects and connects again begins the next connection before this one has ended.
        if lock(&self.claims).as_ref().is_some_and(|present| Arc::ptr_eq(present, queue)) {
            lock(&self.present).clear();
        }
        queue.close();
    }

    pub(crate) fn changed(&self, change: &OwnerChange, since: Instant) {
        let mut present = lock(&self.present);
        match change.to {
            None => drop(present.remove(&change.stream)),
            Some(owner) => {
                let owner = StreamOwner { stream: change.stream, owner, since };
                present.insert(change.stream, (owner, change.tenure));
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<StreamOwner> {
        lock(&self.present).values().map(|(owner, _)| *owner).collect()
    }

    /// Frees what a watchdog watches that has tripped: the next peer to send becomes the owner.
    /// `is_of`: whether a peer has an identity.
    pub(crate) fn tripped(&self, watched: &Watched, is_of_identity: impl Fn(PeerId, &str) -> bool) {
        if watched.selector.is_none() && watched.peer.is_none() && watched.identity.is_none() {
            return;
        }
        let is_meant = |stream: StreamId| {
            let is_of = |Selector { message_type, channel }| {
                message_type == stream.message_type && channel.is_none_or(|channel| channel == stream.channel)
            };
            watched.selector.is_none_or(is_of)
        };
        // Asked before, because each lock here is held alone.
        let of_identity: Option<Vec<PeerId>> = watched.identity.map(|identity| {
            let owners = self.all().into_iter().map(|owner| owner.owner);
            owners.filter(|&owner| is_of_identity(owner, identity)).collect()
        });
        self.free_where(|owner| {
            is_meant(owner.stream)
                && watched.peer.is_none_or(|peer| peer == owner.owner)
                && of_identity.as_ref().is_none_or(|meant| meant.contains(&owner.owner))
        });
    }

    /// Lets the driver free the streams that `is_meant` accepts. Returns whether there is one.
    pub(crate) fn free_where(&self, is_meant: impl Fn(&StreamOwner) -> bool) -> bool {
        let meant: Vec<_> = {
            let present = lock(&self.present);
            present.values().filter(|(owner, _)| is_meant(owner)).map(|(_, tenure)| *tenure).collect()
        };
        if meant.is_empty() {
            return false;
        }
        let mut freed = lock(&self.freed);
        // What is freed twice before the driver looks need be there only once: so the table of streams bounds this one.
        freed.retain(|tenure| !meant.contains(tenure));
        freed.extend(meant);
        drop(freed);
        self.flags.ownership.store(true, Ordering::Release);
        true
    }

    /// Takes what was freed since the last call.
    pub(crate) fn take_freed(&self) -> Vec<Tenure> {
        std::mem::take(&mut *lock(&self.freed))
    }

    /// Begins a claim or a release. The caller wakes the driver.
    pub(crate) fn ask(&self, act: ClaimAct, stream: StreamId) -> Result<Claim, ClaimError> {
        let queue = lock(&self.claims).clone().ok_or(ClaimError::NotConnected)?;
        let claim = queue.ask(act, stream)?;
        self.flags.ownership.store(true, Ordering::Release);
        Ok(claim)
    }
}

/// What a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimAct {
    Claim,
    Release,
}

/// A claim or a release that the driver has not passed on yet.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) act: ClaimAct,
    pub(crate) stream: StreamId,
    pub(crate) tracker: Arc<ClaimTracker>,
}

/// The claims of one connection.
#[derive(Debug)]
pub(crate) struct ClaimQueue {
    wire: Wire,
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    closed: bool,
    waiting: VecDeque<Ask>,
    /// Claims without an outcome, those that wait here included.
    open: usize,
}

impl ClaimQueue {
    fn ask(&self, act: ClaimAct, stream: StreamId) -> Result<Claim, ClaimError> {
        if self.wire == Wire::Classic {
            return Err(ClaimError::NeedsNativeWire);
        }
        let mut state = lock(&self.state);
        if state.closed {
            return Err(ClaimError::NotConnected);
        }
        if state.open >= MAX_OPEN_CLAIMS {
            return Err(ClaimError::TooMany);
        }
        let tracker = Arc::<ClaimTracker>::default();
        state.open += 1;
        state.waiting.push_back(Ask { act, stream, tracker: Arc::clone(&tracker) });
        drop(state);
        Ok(Claim { tracker })
    }

    /// Takes what was asked since the last call.
    pub(crate) fn take(&self) -> VecDeque<Ask> {
        std::mem::take(&mut lock(&self.state).waiting)
    }

    /// Notes that a claim has its outcome.
    pub(crate) fn ended(&self) {
        lock(&self.state).open -= 1;
    }

    /// Ends the connection: nothing more can be asked.
    fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.iter().for_each(|ask| ask.tracker.abort());
    }
}

/// A claim or a release of a stream that was begun. It gets exactly one [`ClaimOutcome`]; as a future it resolves to that
/// outcome. Dropping it changes nothing.
///
/// A server asks all its clients. Then the outcome comes when the last of them has answered: the first outcome that is neither
/// `Granted` nor `Released`, or else that.
#[derive(Debug)]
pub struct Claim {
    tracker: Arc<ClaimTracker>,
}

impl Claim {
    /// The outcome; `None` while there is none.
    #[must_use]
    pub fn outcome(&self) -> Option<ClaimOutcome> {
        self.tracker.ended.get(|outcome| *outcome)
    }

    /// Waits for the outcome, at most for `timeout`. Returns `None` if the time is over. With `None` it waits as long as it
    /// takes: about a second if the peer does not answer, for each claim and release to it that was begun before.
    ///
    /// Do not call it from an inline handler: it would wait for the driver that the handler holds up. On a
    /// [caller-driven](crate::UdpInterface::caller_driven) interface, another thread must turn meanwhile.
    #[must_use]
    pub fn wait(&self, timeout: Option<Duration>) -> Option<ClaimOutcome> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.tracker.ended.wait(deadline, |outcome| *outcome)
    }
}

impl Future for Claim {
    type Output = ClaimOutcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ClaimOutcome> {
        self.tracker.ended.poll(context, |outcome| *outcome)
    }
}

/// Collects the outcomes of one claim at its peers. Only the driver calls it, and holds no lock.
#[derive(Debug, Default)]
pub(crate) struct ClaimTracker {
    state: Mutex<TrackerState>,
    ended: OneShot<ClaimOutcome>,
}

#[derive(Debug, Default)]
struct TrackerState {
    left: usize,
    failed: Option<ClaimOutcome>,
}

impl ClaimTracker {
    /// Adds a peer that is asked. Called before any outcome comes.
    pub(crate) fn add_peer(&self) {
        lock(&self.state).left += 1;
    }

    /// Records the outcome at one peer. Returns whether it was the last.
    pub(crate) fn end(&self, outcome: ClaimOutcome) -> bool {
        let mut state = lock(&self.state);
        if !matches!(outcome, ClaimOutcome::Granted | ClaimOutcome::Released) {
            state.failed.get_or_insert(outcome);
        }
        state.left = state.left.saturating_sub(1);
        let (is_last, all) = (state.left == 0, state.failed.unwrap_or(outcome));
        drop(state);
        if is_last {
            self.ended.set(all);
        }
        is_last
    }

    /// Ends it because the connection has ended.
    pub(crate) fn abort(&self) {
        lock(&self.state).left = 1;
        self.end(ClaimOutcome::PeerLost);
    }
}

/// Why a claim or a release was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimError {
    /// The interface is not connected.
    NotConnected,
    /// No peer is known.
    NoPeers,
    /// The classic wire cannot say it.
    NeedsNativeWire,
    /// Too many claims and releases of this interface have no outcome yet.
    TooMany,
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("not connected: call connect() before claim() or release() (or make a new interface, if this one was cleaned up)"),
            Self::NoPeers => f.write_str("there is no peer to ask: wait until one is connected"),
            Self::NeedsNativeWire => f.write_str(
                "the classic wire has no claims: set `wire` to native at both ends, or let the owner fall silent for its \
                 `deadline`",
            ),
            Self::TooMany => {
                write!(f, "{MAX_OPEN_CLAIMS} claims and releases have no outcome yet: wait for the outcomes")
            }
        }
    }
}

impl std::error::Error for ClaimError {}
