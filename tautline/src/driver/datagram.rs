//! One datagram: the protocol accepts it, then each of its messages is judged and handed out.
//!
//! [`reading`](super::reading) calls it. Most messages of a stream without settings go straight to the [outlets](super::outlets).
//! For the others, [`Judging`] asks whether they are fresh, whether a latch is closed for them, and who owns their stream.

use std::hint::cold_path;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tautline_proto::endpoint::{Messages, Refusals};
use tautline_proto::{DropReason, Instant as Steady, MessageRef, Now, PeerClock, PeerId, WallTime};

use super::arrivals::{Arrivals, Came};
use super::freshness::{Freshness, Rule};
use super::outlets::{Held, Outlets, PAUSE};
use super::ownership::Rights;
use super::reading::clocks;
use super::told::Told;
use super::watching::Watching;
use super::{Sink, Turner};
use crate::machine::socket::{Socket, as_users_know};
use crate::message::Arrival;
use crate::receiving::waiting::Limits;
use crate::shared::Shared;
use crate::watchdog::notice::Sighting;

/// The source of a datagram, and when it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) from: SocketAddr,
    pub(super) came: Came,
}

impl Origin {
    /// The nanoseconds since it came. If that is not known for certain, and the peer's clock neither, an unknown time counts against it.
    #[inline]
    fn least_age_ns(&self, clock: Option<PeerClock>, now: Now) -> u64 {
        let came = if clock.is_some() { self.came.at } else { self.came.not_before };
        now.steady.as_nanos().saturating_sub(came.as_nanos())
    }
}

/// The ages of the messages of one datagram, in nanoseconds. Most have the time stamp of the message before.
struct Ages {
    /// When the datagram came, most probably.
    came: Steady,
    clock: Option<PeerClock>,
    now: Now,
    /// The age of all of them, at least.
    least_ns: u64,
    stamp: Option<WallTime>,
    age_ns: u64,
}

impl Ages {
    /// Sets `age_ns` to the greatest age of a message. Returns whether it may differ from that of the message before. `kept_since`:
    /// since when it was kept for this datagram.
    #[inline]
    fn change(&mut self, stamp: WallTime, kept_since: Option<Steady>) -> bool {
        if self.stamp == Some(stamp) && kept_since.is_none() {
            return false;
        }
        self.stamp = Some(stamp);
        let age = self.clock.map_or(0, |clock| clock.greatest_age_ns(stamp)).max(self.least_ns);
        // A message that was kept for this datagram came before it. Such messages come last, so that no other message gets their
        // age.
        let now = self.now.steady.as_nanos();
        self.age_ns = kept_since.map_or(age, |since| age.max(now.saturating_sub(since.as_nanos())));
        true
    }

    /// When a message was made, most probably.
    fn moment(&self, stamp: WallTime) -> Steady {
        self.clock.map_or(self.came, |clock| clock.moment(stamp))
    }
}

/// What the messages of one datagram are judged with. No function that is a call of its own takes it, so that it is nowhere but in
/// registers and where its parts are.
struct Judging<'a> {
    shared: &'a Shared,
    socket: &'a Socket,
    arrivals: &'a mut Arrivals,
    freshness: &'a mut Freshness,
    held: &'a mut Held,
    rights: &'a mut Rights,
    told_unguarded: &'a mut bool,
    refusals: Refusals<'a>,
    /// The datagram, as watchdogs see it; `None` if there are none.
    sighting: Option<Sighting>,
    /// The number of the datagram.
    number: Option<u64>,
    /// The datagram came so long ago that newer ones probably wait.
    has_waited: bool,
    /// Whether streams have owners.
    can_be_held: bool,
    /// Whether cycles follow messages.
    is_followed: bool,
}

impl Judging<'_> {
    /// Whether only the settings of a message's own stream can matter to it.
    #[inline]
    fn passes_plain(&self) -> bool {
        self.sighting.is_none() && !self.can_be_held && !self.is_followed
    }

    /// Judges the present message, and hands it out if it passes.
    #[inline]
    fn pass(
        &mut self,
        messages: &mut Messages<'_>,
        rule: Option<Rule>,
        (arrival, ages): (&Arrival, &Ages),
        judged: &mut Option<Limits>,
        outlets: &mut Outlets<'_>,
        sink: &mut Sink<'_>,
    ) {
        if let Err(reason) = self.judge(messages.message(), rule, (arrival, ages), judged, outlets) {
            cold_path();
            return self.refusals.count(reason);
        }
        if self.can_be_held {
            give_right(self.rights, messages, judged);
        }
        self.hand_out(messages.message(), arrival, judged.as_ref(), outlets, sink);
    }

    /// Asks whether a message is fresh, and whether a latch lets it pass. Sets its limits.
    #[inline]
    fn judge(
        &mut self,
        message: &MessageRef<'_>,
        rule: Option<Rule>,
        (arrival, ages): (&Arrival, &Ages),
        judged: &mut Option<Limits>,
        outlets: &Outlets<'_>,
    ) -> Result<(), DropReason> {
        let lifespan = message.lifespan.or_else(|| rule?.lifespan);
        let is_watched = match (outlets.watching, self.sighting) {
            (Some(watching), Some(sighting)) => watching.saw(message, &sighting),
            _ => false,
        };
        let matters = rule.is_some() || lifespan.is_some();
        if (matters || is_watched) && !self.socket.is_stamping() && self.arrivals.can_stamp() {
            ask_for_stamps(self.arrivals, self.socket, ages.now.steady);
        }
        *judged = None;
        if matters {
            if self.freshness.is_first_command(message) && !*self.told_unguarded {
                *self.told_unguarded = self.shared.tell_if_unguarded(lifespan);
            }
            let life = lifespan.map(|lifespan| (lifespan, Duration::from_nanos(ages.age_ns)));
            self.freshness.judge(message, arrival, rule, life, self.number, judged)?;
        }
        if self.is_followed {
            cold_path();
            tell_followers(self.shared, message, arrival.peer, ages.moment(message.timestamp), ages.now);
        }
        // What a latch refuses must neither be held back nor make its sender the owner of the stream.
        if is_watched && outlets.refuses(message, arrival) { Err(DropReason::Latched) } else { Ok(()) }
    }

    /// Holds a message back until everything in the kernel is read, if that must be, or else offers it.
    #[inline]
    fn hand_out(
        &mut self,
        message: &MessageRef<'_>,
        arrival: &Arrival,
        limits: Option<&Limits>,
        outlets: &mut Outlets<'_>,
        sink: &mut Sink<'_>,
    ) {
        // An answer is not held back: its request waits for it.
        if let Some(limits) = limits
            && self.held.wants(limits, self.has_waited)
            && !self.shared.requests.expect(message, arrival)
        {
            let (held, shared) = (&mut *self.held, self.shared);
            hold_back(held, (shared, outlets.told), self.refusals, message, arrival, limits);
        } else if !outlets.offer(message, arrival, limits, sink) {
            self.refusals.count(DropReason::Latched);
        }
    }
}

/// From now on the sender of the message owns its stream, if the stream has an owner.
#[inline(never)] // keeps this code out of the path of endpoints without owners
fn give_right(rights: &mut Rights, messages: &mut Messages<'_>, judged: &mut Option<Limits>) {
    if let Some(tenure) = messages.hold() {
        let right = Some(rights.of(tenure));
        *judged = Some(Limits { right, ..judged.take().unwrap_or(Limits::NONE) });
    }
}

/// Asks the kernel for time stamps, from the first message on that needs them.
#[cold]
fn ask_for_stamps(arrivals: &mut Arrivals, socket: &Socket, now: Steady) {
    arrivals.asked_for_stamps(socket.stamp(), clocks(now));
}

/// Tells the cycles that follow a stream when its message was made.
#[inline(never)] // keeps this code out of the path of links without cycles
fn tell_followers(shared: &Shared, message: &MessageRef<'_>, peer: PeerId, made: Steady, now: Now) {
    let (made, read_at) = (shared.clock.instant(made), shared.clock.instant(now.steady));
    shared.followers.heard(message, peer, made, read_at);
}

/// Holds a message back until everything in the kernel is read.
#[cold]
fn hold_back(
    held: &mut Held,
    (shared, told): (&Shared, &mut Told),
    refusals: Refusals<'_>,
    message: &MessageRef<'_>,
    arrival: &Arrival,
    limits: &Limits,
) {
    if held.hold(shared, message, *arrival, limits.clone()) {
        refusals.count(DropReason::Superseded);
        if let Some(keep) = limits.keep {
            told.superseded(shared, keep.stream);
        }
    }
}

impl Turner {
    /// Takes one datagram: judges its messages, and hands them out.
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    pub(super) fn take_datagram(
        &mut self,
        now: Now,
        origin: &Origin,
        datagram: &[u8],
        scratch: &mut Vec<u8>,
        sink: &mut Sink<'_>,
    ) {
        let &Origin { from, came } = origin;
        self.handshake_began = self.inbound.may_take_long(datagram).then(Instant::now);
        let accepted = self.inbound.handle(now, from, datagram, scratch);
        // A new peer must be known everywhere before its first message is handed out.
        self.settle(now);
        let Some(accepted) = &accepted else {
            cold_path();
            return;
        };
        // Set in its place: an address that may be one of two is copied more often.
        let mut address = from;
        if accepted.is_from_elsewhere() {
            cold_path();
            // Its address is the one at which it has answered. Strangers may have sent this from anywhere.
            address = self.inbound.address_of(accepted.peer()).unwrap_or(from);
        } else if self.socket.answers_as_called() {
            self.socket.confirm_source(from);
        }
        if address.is_ipv6() {
            address = as_users_know(address);
        }
        let Self { inbound, shared, dispatcher, life, watchdogs, told, .. } = self;
        let (peer, number, late) = (accepted.peer(), accepted.number(), accepted.is_late());
        let watching = Watching::of(watchdogs, shared, now.steady);
        let inbox_is_on = self.inbox_is_on;
        let (clock, read_at) = (self.clock, self.read_at);
        // The same for all messages of the datagram, except the time when each was made, which is set below.
        let time = self.clock.wall(came.at);
        let mut arrival = Arrival { peer, address, time, made: clock.origin(), late };
        let mut messages = inbound.messages(accepted);
        let peer_clock = messages.peer_clock(now.steady);
        let refusals = messages.refusals();
        let sighting = watching.map(|watching| {
            cold_path();
            watching.heard(peer, came.not_before, messages.missing(number))
        });
        let mut judging = Judging {
            shared,
            socket: &self.socket,
            arrivals: &mut self.arrivals,
            freshness: &mut self.freshness,
            held: &mut self.held,
            rights: &mut self.rights,
            told_unguarded: &mut self.told_unguarded,
            refusals,
            sighting,
            number,
            has_waited: now.steady >= came.not_before.plus(PAUSE),
            can_be_held: messages.can_be_held(),
            is_followed: shared.flags.are_following(),
        };
        let mut outlets = Outlets { shared, dispatcher, life, inbox_is_on, watching, told };
        let is_plain = judging.passes_plain();
        let least_ns = origin.least_age_ns(peer_clock, now);
        let mut ages = Ages { came: came.at, clock: peer_clock, now, least_ns, stamp: None, age_ns: 0 };
        // Outside the loop, so that it is dropped once.
        let mut judged = None;
        while let Some((message, kept_since)) = messages.advance_kept() {
            if life.is_stopped() {
                cold_path();
                // Every message of the datagram is counted, because all of them were received.
                refusals.count(DropReason::Closed);
                continue;
            }
            // The first message of a datagram always changes it.
            if ages.change(message.timestamp, kept_since) {
                self.brought_messages = true;
                arrival.made = clock.instant_before(read_at, ages.age_ns);
            }
            let rule = judging.freshness.rule(message);
            if is_plain && rule.is_none() && message.lifespan.is_none() {
                outlets.offer(message, &arrival, None, sink);
                continue;
            }
            judging.pass(&mut messages, rule, (&arrival, &ages), &mut judged, &mut outlets, sink);
        }
        drop(messages);
        // If a handler has ended the connection, another one may have taken its place.
        if !self.life.is_orphaned() {
            self.settle(now);
        }
    }
}
