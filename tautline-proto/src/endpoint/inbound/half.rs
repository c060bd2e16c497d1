//! The receiving half: takes datagrams and time, and hands out what follows.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint::cold_path;
use core::net::SocketAddr;

use super::accepted::{Accepted, Messages};
use super::handshake::Handshake;
use super::liveness::Visited;
use super::ownership::{Gate, Origin};
use super::peer::Away;
use super::record::Input;
use super::registry::Registry;
#[cfg(feature = "secure")]
use super::secured::Secured;
use super::sessions::Sessions;
use super::token::Secrets;
use super::{classic, digest};

use crate::drops::DropReason;
use crate::endpoint::command::Command;
use crate::endpoint::config::{EndpointConfig, Role, Start, WireFormat};
use crate::endpoint::event::Event;
use crate::endpoint::owner::{ClaimError, Tenure};
use crate::endpoint::recorder::{Kind, Recorder};
use crate::message::StreamId;
use crate::peer::PeerId;
#[cfg(feature = "secure")]
use crate::secure::Keys;
use crate::stats::InboundCounters;
use crate::time::{Instant, Now};
use crate::wire::native::{OwnershipAct, is_sealed};

/// A heartbeat may come early by this part of the interval, together with others.
const EARLY: u32 = 16;

/// The most peers that one [`handle_timeout`](Inbound::handle_timeout) visits, some of them early. Peers that came together are due
/// together, and each gets a heartbeat and a probe. A datagram that comes meanwhile waits until all are sent.
const VISITS_TOGETHER: u32 = 16;

/// The receiving half of an endpoint. The driver owns it. The [module's page](crate::endpoint) shows the order of the calls.
#[derive(Debug)]
// In this order, so that what every datagram uses shares few cache lines.
#[repr(C)]
pub struct Inbound {
    /// Writes the black box, if there is one.
    pub(super) recorder: Option<Box<Recorder>>,
    /// Used on the native wire only.
    pub(super) sessions: Sessions,
    pub(super) registry: Registry,
}

impl Inbound {
    pub(in crate::endpoint) fn new(config: EndpointConfig, start: Start) -> Self {
        #[allow(unused_mut)] // only keys change it
        let mut sessions = Sessions::new(Handshake::new(Secrets::new(start.seed)));
        #[cfg(feature = "secure")]
        if let Some(keys) = config.keys() {
            sessions.secured = Some(Box::new(Secured::new(keys.clone(), &start)));
        }
        Self { registry: Registry::new(config, start.peers_before), sessions, recorder: None }
    }

    /// Returns how many peers there were so far: the next endpoint's [`Start::peers_before`].
    #[must_use]
    pub fn peers_so_far(&self) -> u32 {
        self.registry.peers.serial()
    }

    /// Returns the counters of everything that reaches the socket.
    #[must_use]
    pub fn counters(&self) -> Arc<InboundCounters> {
        Arc::clone(&self.registry.counters)
    }

    /// Lets a client call its server.
    ///
    /// On the classic wire the peer exists at once. On the native wire, hellos are sent until the server answers.
    ///
    /// Call it again when the client or its server has another address. On the native wire, the session with the new address
    /// replaces the old one once the server has answered.
    pub fn dial(&mut self, server: SocketAddr, now: Now) {
        self.record_input(Input::Dial(now, &server));
        match self.registry.config.wire {
            WireFormat::Classic(_) => classic::dial(&mut self.registry, server, now.steady),
            WireFormat::Native => self.sessions.dial(&mut self.registry, server, now.steady),
        }
    }

    /// Returns whether there is a peer that was heard and is not silent.
    #[must_use]
    pub fn hears_a_peer(&self) -> bool {
        self.registry.peers.any(|peer| peer.last_heard.is_some() && !peer.is(Away::SILENT))
    }

    /// Handles one datagram. Returns `None` if it was dropped or holds nothing for the user.
    ///
    /// A classic payload whose NaN become `null` is rewritten in `scratch`, which can be any buffer.
    ///
    /// Afterwards the driver carries out the [commands](Self::poll_command), so that a new peer can be answered at once, and
    /// reads the [`messages`](Self::messages). It must do both before the next datagram: the reliable messages among them are
    /// acknowledged and are not sent again.
    #[inline]
    pub fn handle<'a>(
        &mut self,
        now: Now,
        from: SocketAddr,
        datagram: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Option<Accepted<'a>> {
        if self.recorder.is_some() {
            cold_path();
            self.record_datagram(now, &from, datagram);
        }
        self.finish_closing(now.steady);
        if let Some(owners) = &mut self.registry.owners {
            owners.begin_datagram();
        }
        // Each wire's own result is counted, and not the common one, which has room for a whole message and is slow to move.
        match self.registry.config.wire {
            #[cfg(feature = "secure")]
            WireFormat::Native if self.sessions.is_secured() => {
                let handled = self.sessions.handle_secured(&mut self.registry, now, from, datagram, scratch);
                self.count_datagram(from, datagram.len(), handled)?.map(Accepted::from)
            }
            WireFormat::Native => {
                let handled = self.sessions.handle(&mut self.registry, now, from, datagram);
                self.count_datagram(from, datagram.len(), handled)?.map(Accepted::from)
            }
            WireFormat::Classic(format) => {
                cold_path();
                let handled = classic::handle(&mut self.registry, now, from, datagram, format, scratch);
                self.count_datagram(from, datagram.len(), handled)
            }
        }
    }

    /// Returns whether handling this datagram may take long, because it belongs to a handshake with keys. The driver measures that,
    /// and counts it as [service of a stranger](Self::takes_service_of_stranger).
    #[must_use]
    #[inline]
    pub fn may_take_long(&self, datagram: &[u8]) -> bool {
        self.sessions.is_secured() && !is_sealed(datagram)
    }

    /// Returns whether this datagram is valid and asks a server to serve a stranger: it belongs to no session, or begins one.
    /// Handling it may take as long as handling many datagrams of peers. So a driver may handle those first, but it must keep
    /// the order of strangers' datagrams.
    #[must_use]
    pub fn is_of_stranger(&mut self, from: SocketAddr, datagram: &[u8]) -> bool {
        let Self { registry, sessions, .. } = self;
        match (registry.config.role, registry.config.wire) {
            (Role::Client, _) => false,
            (Role::Server, WireFormat::Native) => sessions.is_of_stranger(registry, datagram),
            (Role::Server, WireFormat::Classic(_)) => registry.peers.by_address(from).is_none(),
        }
    }

    /// Counts a datagram as accepted or dropped.
    #[inline]
    fn count_datagram<T>(
        &mut self,
        from: SocketAddr,
        len: usize,
        handled: Result<T, DropReason>,
    ) -> Option<T> {
        match handled {
            Ok(accepted) => {
                self.registry.counters.accepted.add(1);
                self.registry.counters.bytes.add(len as u64);
                Some(accepted)
            }
            Err(reason) => {
                self.count_dropped(from, len, reason);
                None
            }
        }
    }

    #[cold]
    fn count_dropped(&mut self, from: SocketAddr, len: usize, reason: DropReason) {
        self.registry.counters.dropped.count(reason);
        self.registry.counters.bytes_dropped.add(len as u64);
        self.registry.outputs.events.push_back(Event::Dropped { from, reason });
    }

    /// Notes when the datagrams came that are handled from now on: the most probable time, and the earliest possible one. Without
    /// this call, a datagram counts as having come when it is handled. The time is used only to measure the silence of owners,
    /// and in black boxes.
    #[inline]
    pub fn came(&mut self, at: Instant, not_before: Instant) {
        if let Some(recorder) = &mut self.recorder {
            cold_path();
            // The owners learn it with the datagram, so that it is in no mark before.
            recorder.set_came(at, not_before);
        } else if let Some(owners) = &mut self.registry.owners {
            cold_path();
            owners.came(not_before);
        }
    }

    /// Returns the messages of an accepted datagram. Messages that break a rule of their own are counted and skipped.
    #[inline]
    pub fn messages<'a>(&'a mut self, accepted: &'a Accepted<'a>) -> Messages<'a> {
        self.registry.begin_reading();
        let &Accepted { peer, number, late, at, .. } = accepted;
        self.record_accepted(peer, late, number);
        let is_sorted = !accepted.frames.are_messages() && accepted.classic.is_none();
        let Registry { peers, config, counters, owners, outputs, not_allowed, .. } = &mut self.registry;
        let gate = owners.as_deref_mut().map(|owners| {
            cold_path();
            Gate { owners, outputs, origin: Origin { peer, number, now: at } }
        });
        let peer = peers.get(peer).map(|peer| &*peer);
        let sorted = is_sorted.then_some(&self.sessions.sorted);
        let recorder = self.recorder.as_deref_mut();
        Messages::new(accepted, sorted, peer, config, counters, not_allowed, gate, recorder)
    }

    /// Returns the peer's address, or `None` if the peer is gone.
    #[must_use]
    pub fn address_of(&mut self, peer: PeerId) -> Option<SocketAddr> {
        self.registry.peers.get(peer).map(|peer| peer.address)
    }

    /// Counts a message that the caller drops after it has returned its [`Messages`]. As [`Refusals::count`](super::Refusals::count).
    pub fn refuse(&self, reason: DropReason) {
        self.registry.counters.messages_dropped.count(reason);
    }

    /// Claims a stream at a peer: asks it to take messages of this type and channel from this end alone. The
    /// [event](Event::ClaimEnded) with this ticket says how that ended. Claims and releases to a peer go one after the other.
    ///
    /// # Errors
    ///
    /// Why the claim was not begun. It then has no event.
    pub fn claim(
        &mut self,
        peer: PeerId,
        stream: StreamId,
        ticket: u64,
        now: Instant,
    ) -> Result<(), ClaimError> {
        self.ask(Kind::Claim, OwnershipAct::Claim, (peer, stream, ticket), now)
    }

    /// Releases a stream at a peer: the next peer that sends owns it. As [`claim`](Self::claim).
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    pub fn release(
        &mut self,
        peer: PeerId,
        stream: StreamId,
        ticket: u64,
        now: Instant,
    ) -> Result<(), ClaimError> {
        self.ask(Kind::Release, OwnershipAct::Release, (peer, stream, ticket), now)
    }

    fn ask(
        &mut self,
        kind: Kind,
        act: OwnershipAct,
        (peer, stream, ticket): (PeerId, StreamId, u64),
        now: Instant,
    ) -> Result<(), ClaimError> {
        self.record_input(Input::At(kind, now, [peer.to_word(), stream.to_word(), ticket]));
        let asked = self.registry.ask(peer, act, stream, ticket, now);
        if let Some(recorder) = &mut self.recorder {
            recorder.returned().add(asked.map_or_else(|error| error as u64 + 1, |()| 0));
        }
        asked
    }

    /// Takes a stream here away from its owner, if this right still holds: the next peer that sends owns it. Call it when a
    /// watchdog of the stream trips.
    pub fn free(&mut self, tenure: Tenure) {
        self.record_input(Input::Other(Kind::Free, [tenure.place.into(), tenure.period]));
        let Registry { owners, outputs, .. } = &mut self.registry;
        if let Some(owners) = owners {
            owners.free(tenure, outputs);
        }
    }

    /// Accepts these keys from now on, and no others. A server ends the sessions of keys that are not among them, and tells their
    /// peers why. A client that has another key to call with replaces the keys of its session, which goes on. No effect on a plain endpoint.
    #[cfg(feature = "secure")]
    pub fn replace_keys(&mut self, keys: Keys, now: Instant) {
        self.record_input(Input::Holders(now, &keys));
        let Some(secured) = &mut self.sessions.secured else { return };
        if secured.replace_keys(&mut self.registry, keys, now) {
            self.sessions.call_anew(&mut self.registry, now);
        }
    }

    /// Drops the handshakes of strangers until then, because they have used up their share of the driver's time. Peers that had to
    /// make room in a full table are exempt: they are few, and were there first.
    pub fn refuse_strangers_until(&mut self, until: Instant) {
        self.record_input(Input::Other(Kind::RefuseStrangers, [until.as_nanos(), 0]));
        let refused_until = &mut self.registry.strangers.refused_until;
        *refused_until = until.max(*refused_until);
    }

    /// Returns how many peers were first heard less than a second ago, and get the messages for all.
    #[must_use]
    pub fn newcomers(&self) -> usize {
        self.registry.peers.newcomers()
    }

    /// Notes that the network has reported that nobody listens at this address. A newcomer there gets no messages for all until
    /// it is heard again. Other peers do: anybody can forge such a report.
    pub fn unreachable(&mut self, address: SocketAddr) {
        self.record_input(Input::Unreachable(&address));
        self.registry.unreachable(address);
    }

    /// Returns whether a stranger's handshake has caused what waits to be polled. The next call returns `false`.
    #[must_use]
    pub fn takes_service_of_stranger(&mut self) -> bool {
        core::mem::take(&mut self.registry.strangers.were_served)
    }

    /// Does what is due at `now`, for 16 peers at most. What is due for the others stays [due](Self::next_timeout): the
    /// driver reads before it calls this again.
    pub fn handle_timeout(&mut self, now: Now) {
        self.record_input(Input::Timeout(now));
        self.finish_closing(now.steady);
        self.sessions.handshake.send_hello_if_due(&mut self.registry, now.steady);
        let mut visited = 0;
        while visited < VISITS_TOGETHER
            && let Some(id) = self.registry.peers.pop_due(now.steady)
        {
            visited += 1;
            self.visit(id, now.steady, now.steady);
        }
        // A driver that was woken for one peer also serves those that are due next.
        let soon = now.steady.plus(self.registry.config.heartbeat_interval / EARLY);
        while (1..VISITS_TOGETHER).contains(&visited)
            && let Some(id) = self.registry.peers.pop_heartbeat(soon)
        {
            visited += 1;
            self.visit(id, now.steady, soon);
        }
        #[cfg(feature = "secure")]
        self.sessions.repeat_if_due(&mut self.registry, now.steady);
    }

    /// Does what is due for one peer. Its heartbeat is due if it must be sent by `until`.
    fn visit(&mut self, id: PeerId, now: Instant, until: Instant) {
        if self.registry.visit(id, now, until) == Visited::ServerMustBeCalled {
            self.sessions.call(&mut self.registry, now);
        }
        #[cfg(feature = "secure")]
        self.sessions.look_at_secured(&mut self.registry, id, now);
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) has something to do next.
    #[must_use]
    #[inline]
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.registry.is_closing() {
            return Some(Instant::from_nanos(0));
        }
        match (self.registry.peers.next_timeout(), self.sessions.next_call()) {
            (Some(visit), Some(call)) => Some(visit.min(call)),
            (visit, call) => visit.or(call),
        }
    }

    /// Returns whether there is an [event](Self::poll_event), a [command](Self::poll_command) or a
    /// [reply](Self::poll_reply). After most datagrams there is none.
    #[must_use]
    #[inline]
    pub fn has_news(&self) -> bool {
        self.registry.has_news()
    }

    /// Returns the next event.
    pub fn poll_event(&mut self, now: Now) -> Option<Event> {
        if self.registry.can_close_now() {
            self.record_input(Input::Polled(now));
            self.finish_closing(now.steady);
        }
        let event = self.registry.outputs.events.pop_front().or_else(|| {
            let (peer, message_type) = self.registry.not_allowed.take()?;
            Some(Event::NotAllowed { peer, message_type })
        });
        if let (Some(recorder), Some(event)) = (&mut self.recorder, &event) {
            digest::event(recorder, event);
        }
        event
    }

    /// Checks that the tables agree with one another. For tests and fuzzers, because it walks every table.
    ///
    /// # Errors
    ///
    /// The name of the first rule that does not hold.
    #[doc(hidden)]
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.registry.check()
    }

    /// Returns whether there is a [command](Self::poll_command).
    #[must_use]
    pub fn has_commands(&self) -> bool {
        !self.registry.outputs.commands.is_empty()
    }

    /// Returns the next command for the outbound half.
    pub fn poll_command(&mut self) -> Option<Command> {
        let command = self.registry.outputs.commands.pop_front();
        if let (Some(recorder), Some(command)) = (&mut self.recorder, &command) {
            digest::command(recorder, command);
        }
        command
    }

    /// Returns the next datagram that belongs to no session, and where to send it.
    pub fn poll_reply(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let reply = self.registry.outputs.replies.pop_front();
        if let (Some(recorder), Some((to, datagram))) = (&mut self.recorder, &reply) {
            digest::reply(recorder, *to, datagram);
        }
        reply
    }

    /// Removes a peer that has closed its session. A client then calls its server again.
    #[inline]
    fn finish_closing(&mut self, now: Instant) {
        if self.registry.finish_closing(now) && self.registry.config.role == Role::Client {
            self.sessions.call_anew(&mut self.registry, now);
        }
    }
}
