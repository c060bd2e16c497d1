//! Reports what a turn noticed of peers and datagrams: to the directory, the state, the subscribers and the log.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tautline_proto::endpoint::Event as Happened;

use super::reported::Reported;
use super::{ERROR_PAUSE, Turner};
use crate::error::ConnectError;
use crate::machine::fault::SocketFault;
use crate::machine::socket::{as_users_know, headers_to};
use crate::shared::directory::PeerInfo;
use crate::shared::events::Event;
use crate::shared::subscribers::CausedBy;
use tautline_proto::endpoint::{Outcome, RemovalReason};
use tautline_proto::{Cause, ConnectionState, DropReason, MessageType, PeerId};

impl Turner {
    pub(super) fn happened(&mut self, event: Happened) {
        match event {
            Happened::Added(handle) => {
                // Before the first datagram is sent there: the echo in this one has proven the address.
                if self.socket.answers_as_called() {
                    self.socket.confirm_source(handle.address);
                }
                self.shared.directory.add(handle);
            }
            Happened::Named(peer, name) => self.shared.directory.set_name(peer, name),
            Happened::Accepted(peer) => self.peer_accepted(peer),
            Happened::Stale(peer) => {
                self.shared.directory.set_state(peer, ConnectionState::Stale);
                self.if_client(Cause::Stale);
                self.publish(&Event::PeerStale { peer }, self.cause(peer));
            }
            Happened::Silent(peer) => self.peer_silent(peer),
            Happened::Heard(peer) => {
                self.shared.directory.set_state(peer, ConnectionState::Connected);
                self.if_client(Cause::Heard);
                self.publish(&Event::PeerReturned { peer }, self.cause(peer));
            }
            Happened::Moved { peer, from, to } => self.peer_moved(peer, from, to),
            Happened::PathSize(peer, size) => {
                if let Some(info) = self.shared.directory.get(peer) {
                    self.publish(
                        &Event::PathSize { peer, mtu: size + headers_to(info.address) },
                        self.cause(peer),
                    );
                }
            }
            Happened::Restarted(peer) => {
                self.freshness.forget(peer);
                self.told.forget(peer);
                self.publish(&Event::PeerRestarted { peer }, self.shared.cause_at_will(peer));
            }
            Happened::Removed(peer, reason) => self.peer_removed(peer, reason),
            Happened::Dropped { from, reason } => self.dropped(from, reason),
            Happened::NotAllowed { peer, message_type } => self.not_allowed(peer, message_type),
            Happened::OwnerChanged(change) => self.owner_changed(&change),
            Happened::NotOwner { peer, stream, owner } => self.not_owner(peer, stream, owner),
            Happened::Denied { peer, stream } => self.denied(peer, stream),
            Happened::ClaimEnded { ticket, peer, stream, outcome } => {
                self.claim_ended(ticket, peer, stream, outcome);
            }
            Happened::KeyNotAccepted { server_is_secured } => {
                if let Some(server) = self.server {
                    self.key_problem(
                        ConnectError::KeyNotAccepted { server, server_is_secured },
                        &Event::KeyNotAccepted { server, server_is_secured },
                    );
                }
            }
            Happened::KeyReplaced(peer) => self.publish(&Event::KeyReplaced { peer }, self.cause(peer)),
            Happened::ServerIsSecured => {
                if let Some(server) = self.server {
                    self.key_problem(ConnectError::KeyNeeded { server }, &Event::KeyNeeded { server });
                }
            }
            Happened::Refused => {
                self.publish(&Event::Refused, CausedBy::Stranger);
                self.refused_by_server();
            }
            _ => {}
        }
    }

    /// A peer is there: the handshake is complete.
    #[cold]
    fn peer_accepted(&mut self, peer: PeerId) {
        self.shared.directory.set_state(peer, ConnectionState::Connected);
        self.moving.set_answer_by(None);
        self.key_problem = None;
        self.if_client(Cause::Accepted);
        let info = self.shared.directory.get(peer);
        self.shared.watchdogs.peer_came(peer, info.as_ref().and_then(|info| info.identity.as_deref()));
        if let Some(info) = info {
            if let Some(left_out) = self.may_log() {
                // A client does not know a name of the server's key.
                let identity = info.identity.as_deref().filter(|name| !name.is_empty());
                tracing::info!(%peer, address = %info.address, name = info.name, identity, left_out, "peer connected");
            }
            let PeerInfo { address, name, identity, .. } = info;
            let event = Event::PeerConnected { peer, address, name, identity };
            self.publish(&event, self.cause(peer));
        }
    }

    /// A peer was not heard for all of the time-out.
    #[cold]
    fn peer_silent(&mut self, peer: PeerId) {
        self.shared.directory.set_state(peer, ConnectionState::Reconnecting);
        self.if_client(Cause::Silent);
        if self.server.is_some() || self.moving.looks_on() {
            self.moving.look_soon(self.shared.steady_now(), false);
        }
        if let Some(left_out) = self.may_log() {
            tracing::warn!(%peer, left_out, "peer fell silent");
        }
        self.publish(&Event::PeerSilent { peer }, self.cause(peer));
    }

    /// A peer is gone.
    #[cold]
    fn peer_removed(&mut self, peer: PeerId, reason: RemovalReason) {
        self.freshness.forget(peer);
        self.told.forget(peer);
        if self.socket.answers_as_called()
            && let Some(address) = self.shared.directory.socket_address(peer)
        {
            self.socket.forget_source(address);
        }
        let by = self.cause(peer);
        let address = self.shared.directory.socket_address(peer);
        let outcome = match reason {
            RemovalReason::Replaced => Outcome::Unknown,
            _ => Outcome::PeerLost,
        };
        self.shared.requests.peer_left((peer, address), outcome, self.shared.role);
        self.shared.directory.remove(peer);
        self.shared.watchdogs.peer_left(Some(peer), self.shared.steady_now());
        if matches!(reason, RemovalReason::ClosedByPeer | RemovalReason::KeyRemoved) {
            self.if_client(Cause::ClosedByPeer);
            if self.server.is_some() {
                self.moving.look_soon(self.shared.steady_now(), false);
            }
        }
        if let Some(left_out) = self.may_log() {
            tracing::info!(%peer, reason = reason.name(), left_out, "peer disconnected");
        }
        self.publish(&Event::PeerDisconnected { peer, reason }, by);
    }

    /// A peer has another address now.
    #[cold]
    fn peer_moved(&self, peer: PeerId, from: SocketAddr, to: SocketAddr) {
        if self.socket.answers_as_called() {
            self.socket.forget_source(from);
            self.socket.confirm_source(to);
        }
        self.shared.directory.set_address(peer, to);
        self.shared.requests.peer_moved(from, to);
        let (from, to) = (as_users_know(from), as_users_know(to));
        if let Some(left_out) = self.may_log() {
            tracing::info!(%peer, %from, %to, left_out, "peer moved");
        }
        self.publish(&Event::PeerMoved { peer, from, to }, self.cause(peer));
    }

    /// Tells once that the server wants another key. Connecting fails with that, because waiting does not help; a client that was
    /// connected before, or that connects in the background, calls on.
    #[cold]
    fn key_problem(&mut self, problem: ConnectError, event: &Event) {
        if self.key_problem.is_none() {
            if let Some(left_out) = self.may_log() {
                tracing::warn!(left_out, "{problem}");
            }
            self.publish(event, CausedBy::Stranger);
        }
        if self.moving.awaits_answer() {
            self.give_up(Cause::Refused, problem.clone());
        }
        self.key_problem = Some(problem);
    }

    #[cold]
    fn not_allowed(&self, peer: PeerId, message_type: MessageType) {
        if self.told_strangers.allow(Instant::now()).is_some() {
            let event = Event::NotAllowed { peer, message_type };
            self.publish(&event, CausedBy::Stranger);
        }
    }

    pub(super) fn publish(&self, event: &Event, by: CausedBy) {
        self.shared.status.events.publish_by(event, by);
    }

    /// Who causes the events of this peer.
    pub(super) fn cause(&self, peer: PeerId) -> CausedBy {
        self.shared.cause(Some(peer))
    }

    fn if_client(&self, cause: Cause) {
        if self.server.is_some() {
            self.shared.status.apply(cause);
        }
    }

    /// Returns the number of log lines that were left out since the last one, if a line may be logged now.
    pub(super) fn may_log(&self) -> Option<u64> {
        self.shared.may_log()
    }

    fn dropped(&mut self, from: SocketAddr, reason: DropReason) {
        let now = self.clock.instant(self.read_at);
        if let Some(left_out) = self.traffic_log.allow(now) {
            let from = as_users_know(from);
            // Whoever goes on with the same is told of again after a while, with the number of all lines that were left out.
            if self.told_drops.is_news((from, reason), now) {
                let left_out = left_out + std::mem::take(&mut self.drops_not_told);
                tracing::warn!(%from, reason = reason.name(), left_out, "datagram dropped: {}", reason.explanation());
            } else {
                self.drops_not_told += left_out + 1;
            }
        }
        use DropReason::{BadTag, NotSecured, Secured, UnknownKey};
        if matches!(reason, BadTag | NotSecured | Secured | UnknownKey)
            && self.told_strangers.allow(now).is_some()
        {
            let event = Event::NotLetIn { from: as_users_know(from), reason };
            self.publish(&event, CausedBy::Stranger);
        }
        let due = |last: Instant| now.saturating_duration_since(last) >= Duration::from_secs(1);
        if reason == DropReason::OtherWire && self.last_other_wire.is_none_or(due) {
            self.last_other_wire = Some(now);
            self.publish(&Event::OtherWire { from: as_users_know(from) }, CausedBy::Stranger);
        }
    }

    /// Reports an error that the network returned for one of our datagrams.
    #[cold]
    pub(super) fn reported(&mut self, address: Option<SocketAddr>, error: &io::Error) {
        let fault = SocketFault::of(error);
        self.shared.sender.faults.count(fault);
        match address {
            // A datagram was lost to a path that is smaller than it was. The peer can be reached.
            Some(to) if fault == SocketFault::TooLarge => {
                self.shared.sender.transmit.briefly(|line| line.path_has_changed(to));
            }
            _ => {
                if let Some(to) = address.filter(|_| fault == SocketFault::PortUnreachable) {
                    self.inbound.unreachable(to);
                }
                self.unreachable(address, fault, error);
            }
        }
    }

    /// Reports that an address cannot be reached.
    pub(super) fn unreachable(
        &mut self,
        address: Option<SocketAddr>,
        fault: SocketFault,
        problem: &dyn std::fmt::Display,
    ) {
        let now = self.shared.steady_now();
        if self.moving.awaits_answer() {
            self.reported = Some(Box::new(Reported { at: now, fault, problem: problem.to_string() }));
        }
        if fault.is_of_place() && self.server.is_some() {
            self.moving.look_soon(now, true);
        }
        if fault == SocketFault::PortUnreachable && self.server.is_some() {
            self.moving.was_refused(now);
        }
        let (now, address) = (Instant::now(), address.map(as_users_know));
        if self.told_faults.is_news((address, fault), now)
            && let Some(left_out) = self.traffic_log.allow(now)
        {
            let address = address.map(tracing::field::display);
            tracing::warn!(address, fault = fault.name(), %problem, left_out, "peer unreachable: {fault}");
        }
        if self.fault_limit.allow(now).is_some() {
            let event = Event::PeerUnreachable { address, fault, problem: problem.to_string() };
            let by = if self.server.is_some() { CausedBy::Link } else { CausedBy::Stranger };
            self.publish(&event, by);
        }
    }

    /// Reports that the system could not wait or read, and pauses, so that a fault that stays does not take a whole core.
    #[cold]
    pub(super) fn socket_failed(&self, error: &io::Error) {
        let fault = SocketFault::of(error);
        self.shared.sender.faults.count(fault);
        if let Some(left_out) = self.may_log() {
            tracing::error!(%error, fault = fault.name(), left_out, "the socket failed; trying on");
        }
        if self.fault_limit.allow(Instant::now()).is_some() {
            let event = Event::SocketFailed { fault, problem: error.to_string() };
            self.shared.status.events.publish(&event);
        }
        std::thread::sleep(ERROR_PAUSE);
    }
}
