//! Passes on who may send on a stream: claims and releases of users to the protocol, and what it decides to everybody else.

use std::collections::HashMap;
use std::time::Instant;

use tautline_proto::endpoint::{ClaimOutcome, OwnerChange, Tenure};
use tautline_proto::{Instant as Steady, PeerId, StreamId};

use super::Turner;
use crate::config::Wire;
use crate::receiving::waiting::Right;
use crate::shared::events::Event;
use crate::shared::ownership::{Ask, ClaimAct, ClaimQueue, ClaimTracker, Ownership};
use crate::shared::subscribers::CausedBy;
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::watchdog::Surroundings;

/// The rights of the present owners, by the place of their streams. The protocol's table of streams bounds it.
#[derive(Debug, Default)]
pub(super) struct Rights(Vec<Arc<AtomicU64>>);

impl Rights {
    /// Returns a right. Whoever had the stream before has lost it.
    #[inline]
    pub(super) fn of(&mut self, tenure: Tenure) -> Right {
        let place = usize::from(tenure.place);
        if place >= self.0.len() {
            self.0.resize_with(place + 1, Arc::default);
        }
        let current = &self.0[place];
        if current.load(Ordering::Relaxed) != tenure.period {
            current.store(tenure.period, Ordering::Release);
        }
        Right::new(Arc::clone(current), tenure.period)
    }
}

/// The claims of users that have no outcome yet.
#[derive(Debug)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub(super) struct OpenClaims {
    queue: Arc<ClaimQueue>,
    shared: Arc<Ownership>,
    open: HashMap<u64, Arc<ClaimTracker>>,
    last_ticket: u64,
}

impl OpenClaims {
    /// Begins a connection.
    pub(super) fn begin(shared: &Arc<Ownership>, wire: Wire) -> Self {
        let (shared, queue) = (Arc::clone(shared), shared.begin(wire));
        Self { shared, queue, open: HashMap::new(), last_ticket: 0 }
    }
}

impl Drop for OpenClaims {
    fn drop(&mut self) {
        self.shared.end(&self.queue);
        self.open.values().for_each(|tracker| tracker.abort());
    }
}

impl Turner {
    /// Passes on what users and watchdogs ask for.
    #[inline]
    pub(super) fn look_at_ownership(&mut self, now: Steady) {
        if self.shared.flags.take_ownership() {
            self.act_on_ownership(now);
        }
    }

    #[cold]
    fn act_on_ownership(&mut self, now: Steady) {
        for tenure in self.shared.ownership.take_freed() {
            self.inbound.free(tenure);
        }
        for ask in self.claims.queue.take() {
            self.begin_claim(&ask, now);
        }
    }

    fn begin_claim(&mut self, ask: &Ask, now: Steady) {
        self.claims.last_ticket += 1;
        let ticket = self.claims.last_ticket;
        let Ask { act, stream, tracker } = ask;
        let peers = self.shared.connected_peers();
        // Counted before any of them can answer.
        peers.iter().for_each(|_| tracker.add_peer());
        self.claims.open.insert(ticket, Arc::clone(tracker));
        if peers.is_empty() {
            return self.end_claim(ticket, ClaimOutcome::PeerLost);
        }
        for peer in peers {
            let begun = match act {
                ClaimAct::Claim => self.inbound.claim(peer, *stream, ticket, now),
                ClaimAct::Release => self.inbound.release(peer, *stream, ticket, now),
            };
            if begun.is_err() {
                // The queue takes fewer claims than the protocol, and none on the classic wire: the peer is gone.
                self.end_claim(ticket, ClaimOutcome::PeerLost);
            }
        }
    }

    fn end_claim(&mut self, ticket: u64, outcome: ClaimOutcome) {
        let is_last = self.claims.open.get(&ticket).is_some_and(|tracker| tracker.end(outcome));
        if is_last {
            self.claims.open.remove(&ticket);
            self.claims.queue.ended();
        }
    }

    #[cold]
    pub(super) fn claim_ended(&mut self, ticket: u64, peer: PeerId, stream: StreamId, outcome: ClaimOutcome) {
        if let Some(left_out) = self.may_log() {
            tracing::info!(%peer, %stream, %outcome, left_out, "claim or release ended");
        }
        self.shared.status.events.publish(&Event::ClaimEnded { peer, stream, outcome });
        self.end_claim(ticket, outcome);
    }

    #[cold]
    pub(super) fn owner_changed(&mut self, change: &OwnerChange) {
        if change.to.is_some() {
            // What waits of the owner before is not handed out any more.
            self.rights.of(change.tenure);
        }
        self.shared.ownership.changed(change, Instant::now());
        let &OwnerChange { stream, from, to, reason, .. } = change;
        if let Some(left_out) = self.may_log() {
            let name = |peer: Option<PeerId>| peer.map_or_else(|| "none".to_owned(), |peer| peer.to_string());
            let (from, to) = (name(from), name(to));
            tracing::info!(%stream, from, to, %reason, left_out, "the stream has another owner");
        }
        // Of the two, the one that has come, or else the one that has gone.
        let by = to.or(from).map_or(CausedBy::Link, |peer| self.shared.cause_at_will(peer));
        self.publish(&Event::OwnerChanged { stream, from, to, reason }, by);
    }

    #[cold]
    pub(super) fn not_owner(&mut self, peer: PeerId, stream: StreamId, owner: Option<PeerId>) {
        if let Some(left_out) = self.may_log() {
            match owner {
                Some(owner) => {
                    tracing::warn!(%peer, %stream, %owner, left_out, "a peer sends on a stream that another owns");
                }
                None => tracing::warn!(%peer, %stream, left_out, "no room for one more stream with an owner"),
            }
        }
        self.publish(&Event::NotOwner { peer, stream, owner }, self.shared.cause_at_will(peer));
    }

    #[cold]
    pub(super) fn denied(&mut self, peer: PeerId, stream: StreamId) {
        if let Some(left_out) = self.may_log() {
            tracing::warn!(%peer, %stream, left_out, "another owns the stream at the peer: what is sent there is dropped");
        }
        self.publish(&Event::StreamDenied { peer, stream }, self.shared.cause_at_will(peer));
    }
}
