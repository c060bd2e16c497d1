//! Visits to the peers: heartbeats, and what follows from silence.
//!
//! [`Inbound`](super::Inbound) visits a peer when its time has come. Both wires use it.

use core::net::SocketAddr;
use core::time::Duration;

use super::peer::{Away, InboundPeer};
use super::registry::{ECHO_INTERVAL, FIRST_TRUST, Registry, Seen};
use crate::endpoint::command::Command;
use crate::endpoint::config::{EndpointConfig, Role, WireFormat};
use crate::endpoint::event::{Event, RemovalReason};
use crate::peer::PeerId;
use crate::time::Instant;
use crate::wire::native::Heartbeat;

/// The shortest time between two visits to a peer, so that handling a time-out ends.
const MIN_VISIT_INTERVAL: Duration = Duration::from_micros(100);

/// The shortest time between two answers to a peer's frames about probes, beside the heartbeats.
const MIN_ANSWER_INTERVAL: Duration = Duration::from_millis(10);

/// A server's heartbeats to a silent peer come after this time, or after the heartbeat interval if that is longer. There may be as
/// many silent strangers as peers. When the peer is heard again, it gets a heartbeat at once.
const SILENT_HEARTBEAT: Duration = Duration::from_secs(1);

/// What a visit to a peer found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visited {
    Nothing,
    /// The peer is this client's server, and it is silent, or the session needs new keys.
    ServerMustBeCalled,
}

impl Registry {
    /// Does what is due for one peer, and schedules the next visit. Its heartbeat is due if it must be sent by `until`.
    pub(super) fn visit(&mut self, id: PeerId, now: Instant, until: Instant) -> Visited {
        let Some(peer) = self.peers.get(id) else { return Visited::Nothing };
        let heard_again = !peer.heard_for().is_zero();
        if let Some(window) = &mut peer.window {
            if heard_again {
                window.prepare();
            }
            window.expire(now);
            peer.publish_window();
        }
        if let Some(delivery) = &mut peer.delivery {
            delivery.expire(now, &self.counters);
            self.peers.count_kept(id);
        }
        self.tell_path_size(id);
        self.send_heartbeat_if_due(id, now, until);
        self.send_claims_if_due(id, now);
        self.watch_liveness(id, now);
        self.peers.grow_up(id);
        self.schedule_visit(id, now);
        let is_secured = self.config.is_secured();
        let calls_server = self.config.role == Role::Client && self.config.wire == WireFormat::Native;
        match self.peers.get(id) {
            Some(peer) if calls_server && (peer.is(Away::SILENT) || is_secured && peer.is(Away::STALE)) => {
                Visited::ServerMustBeCalled
            }
            _ => Visited::Nothing,
        }
    }

    /// Sends a heartbeat if it must be sent by `until`. A client that is not accepted yet repeats its echo with it.
    pub(super) fn send_heartbeat_if_due(&mut self, id: PeerId, now: Instant, until: Instant) {
        let interval = self.config.heartbeat_interval;
        let Some(peer) = self.peers.get(id) else { return };
        if peer.next_heartbeat.is_none_or(|at| at > until) {
            return;
        }
        peer.next_heartbeat = Some(now.plus(match self.config.role {
            _ if !peer.accepted => interval.min(ECHO_INTERVAL),
            Role::Server if peer.is(Away::SILENT) => interval.max(SILENT_HEARTBEAT),
            _ => interval,
        }));
        // Nothing is probed for a peer that does not answer.
        if peer.accepted && !peer.is(Away::STALE) && !peer.is(Away::SILENT) {
            self.outputs.commands.push_back(Command::Probe(id));
        }
        self.send_heartbeat(id, now);
    }

    fn send_heartbeat(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get(id) else { return };
        let (echo, held) = peer.path.echo(now);
        let heartbeat = Heartbeat { echo, held, ..Heartbeat::default() };
        self.outputs.commands.push_back(Command::Heartbeat(id, heartbeat));
    }

    /// Answers a frame about probes at once, unless another one was answered just now: then the next heartbeat answers it.
    pub(super) fn answer_probe(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get(id).filter(|peer| peer.next_answer <= now) else { return };
        peer.next_answer = now.plus(MIN_ANSWER_INTERVAL);
        self.send_heartbeat(id, now);
    }

    /// Tells the user when the size of the path has changed. The outbound half knows it.
    fn tell_path_size(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let size = peer.tx.datagram_size.value();
        let told = core::mem::replace(&mut peer.told_size, size);
        if told != size {
            self.seen.note(Seen::Size(id, size));
        }
        if told != size && told != 0 {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            self.outputs.events.push_back(Event::PathSize(id, size));
        }
    }

    /// Returns after how long a silence a peer is stale. Only the native wire has heartbeats that show it.
    /// docs/protocol.md §7.3.
    fn stale_after(&self) -> Option<Duration> {
        (self.config.wire == WireFormat::Native).then_some(self.config.liveness_timeout / 2)
    }

    /// Marks a peer stale, hushed or silent when its time has come. A server removes a peer that has expired.
    fn watch_liveness(&mut self, id: PeerId, now: Instant) {
        let stale_after = self.stale_after();
        let Some(peer) = self.peers.get(id) else { return };
        let hushed_after = hushed_after(&self.config, peer);
        let silent_for = peer.silent_for(now);
        if peer.accepted && !peer.is(Away::STALE) && stale_after.is_some_and(|after| silent_for >= after) {
            peer.mark(Away::STALE);
            self.outputs.events.push_back(Event::Stale(id));
        }
        if hushed_after.is_some_and(|after| silent_for >= after) {
            self.hush(id);
        }
        let Some(peer) = self.peers.get(id) else { return };
        if !peer.is(Away::SILENT) && silent_for >= self.config.liveness_timeout {
            peer.rx.timeouts.add(1);
            self.peers.mark_silent(id);
            self.outputs.events.push_back(Event::Silent(id));
        }
        let is_silent = self.peers.get(id).is_some_and(|peer| peer.is(Away::SILENT));
        // A client never forgets its server.
        if self.config.role == Role::Server && is_silent && silent_for >= self.config.peer_expiry {
            self.remove(id, RemovalReason::Expired, now);
        }
    }

    /// Leaves a peer out of messages for all until it is heard again.
    fn hush(&mut self, id: PeerId) {
        if self.peers.hush(id) {
            self.outputs.commands.push_back(Command::Hush(id));
        }
    }

    /// Takes the network's word that nobody listens at this address, if it is a newcomer's: it is hushed. Anybody can forge that
    /// word, so it changes nothing for other peers, nor on a secured link, whose newcomers have shown that they have a key.
    #[cold]
    pub(super) fn unreachable(&mut self, address: SocketAddr) {
        if self.config.role == Role::Server
            && !self.config.is_secured()
            && let Some(id) = self.peers.newcomer_at(address)
        {
            self.hush(id);
        }
    }

    fn schedule_visit(&mut self, id: PeerId, now: Instant) {
        let stale_after = self.stale_after();
        let Some(peer) = self.peers.get(id) else { return };
        let hushed_after = hushed_after(&self.config, peer);
        let wait = match (peer.is(Away::SILENT), self.config.role) {
            (false, _) => {
                let stale_after = stale_after.filter(|_| !peer.is(Away::STALE));
                let hushed_after = hushed_after.filter(|_| !peer.is(Away::HUSHED));
                [stale_after, hushed_after, Some(self.config.liveness_timeout)].into_iter().flatten().min()
            }
            (true, Role::Server) => Some(self.config.peer_expiry),
            (true, Role::Client) => None,
        };
        let liveness_at = peer.last_heard.zip(wait).map(|(heard, wait)| heard.plus(wait));
        if let Some(at) = [peer.next_visit(), liveness_at].into_iter().flatten().min() {
            self.peers.schedule(id, at.max(now.plus(MIN_VISIT_INTERVAL)));
        }
    }
}

/// Returns after how long a silence messages for all leave a peer out. Never on a client, whose only peer is its server; nor
/// on the classic wire if `allow` names the peers, because there a peer may listen without ever sending.
/// docs/protocol.md §5.5, §8.4.
fn hushed_after(config: &EndpointConfig, peer: &InboundPeer) -> Option<Duration> {
    let EndpointConfig { role, wire, liveness_timeout, allow, .. } = config;
    match (role, wire) {
        (Role::Client, _) => None,
        (Role::Server, WireFormat::Native) => Some(*liveness_timeout),
        (Role::Server, WireFormat::Classic(_)) if !allow.is_empty() => None,
        (Role::Server, WireFormat::Classic(_)) => {
            Some(peer.heard_for().clamp(FIRST_TRUST.min(*liveness_timeout), *liveness_timeout))
        }
    }
}
