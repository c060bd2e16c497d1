//! One datagram: the protocol accepts it, then each of its messages is judged and handed out.
//!
//! [`reading`](super::reading) calls it. Most messages of a stream without settings go straight to the [outlets](super::outlets).
//! For the others, [`Judging`] asks whether they are fresh, whether a latch is closed for them, and who owns their stream.

use std::hint::cold_path;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tautline_proto::endpoint::{Messages, Refusals};
use tautline_proto::{DropReason, Instant as Steady, MessageRef, Now, PeerClock, WallTime};

use super::arrivals::{Arrivals, Came};
use super::freshness::Freshness;
use super::outlets::{Held, Outlets};
use super::ownership::Rights;
use super::reading::clocks;
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
    /// The time since it came. If that is not known for certain, and the peer's clock neither, an unknown time counts against it.
    #[inline]
    fn least_age(&self, clock: Option<PeerClock>, now: Now) -> Duration {
        let came = if clock.is_some() { self.came.at } else { self.came.not_before };
        now.steady.since(came)
    }
}

/// The ages of the messages of one datagram. Most have the time stamp of the message before.
struct Ages {
    /// When the datagram came, most probably.
    came: Steady,
    clock: Option<PeerClock>,
    now: Now,
    /// The age of all of them, at least.
    least: Duration,
    stamp: Option<WallTime>,
    age: Duration,
}

impl Ages {
    /// Sets `age` to the greatest age of a message. Returns whether it may differ from that of the message before. `kept_since`:
    /// since when it was kept for this datagram.
    #[inline]
    fn change(&mut self, stamp: WallTime, kept_since: Option<Steady>) -> bool {
        if self.stamp == Some(stamp) && kept_since.is_none() {
            return false;
        }
        self.stamp = Some(stamp);
        let age = self.clock.map_or(self.least, |clock| clock.greatest_age(stamp).max(self.least));
        // A message that was kept for this datagram came before it. Such messages come last, so that no other message gets their
        // age.
        self.age = kept_since.map_or(age, |since| age.max(self.now.steady.since(since)));
        true
    }

    /// When a message was made, most probably.
    fn moment(&self, stamp: WallTime) -> Steady {
        self.clock.map_or(self.came, |clock| clock.moment(stamp))
    }
}

/// What the messages of one datagram are judged with.
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
    /// The time since the datagram came, at most.
    waited: Duration,
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
        (arrival, ages): (&Arrival, &Ages),
        judged: &mut Option<Limits>,
        outlets: &mut Outlets<'_>,
        sink: &mut Sink<'_>,
    ) {
        if let Err(reason) = self.judge(messages.message(), (arrival, ages), judged, outlets) {
            cold_path();
            return self.refusals.count(reason);
        }
        if self.can_be_held {
            self.give_right(messages, judged);
        }
        self.hand_out(messages.message(), arrival, judged.as_ref().unwrap_or(&Limits::NONE), outlets, sink);
    }

    /// From now on the sender of the message owns its stream, if the stream has an owner.
    #[inline(never)] // keeps this code out of the path of endpoints without owners
    fn give_right(&mut self, messages: &mut Messages<'_>, judged: &mut Option<Limits>) {
        if let Some(tenure) = messages.hold() {
            let right = Some(self.rights.of(tenure));
            *judged = Some(Limits { right, ..judged.take().unwrap_or(Limits::NONE) });
        }
    }

    /// Asks whether a message is fresh, and whether a latch lets it pass. Sets its limits.
    #[inline]
    fn judge(
        &mut self,
        message: &MessageRef<'_>,
        (arrival, ages): (&Arrival, &Ages),
        judged: &mut Option<Limits>,
        outlets: &Outlets<'_>,
    ) -> Result<(), DropReason> {
        let lifespan = self.freshness.lifespan(message);
        let is_watched = match (&outlets.watching, &self.sighting) {
            (Some(watching), Some(sighting)) => watching.saw(message, sighting),
            _ => false,
        };
        let matters = self.freshness.matters(message, lifespan);
        if (matters || is_watched) && !self.socket.is_stamping() && self.arrivals.can_stamp() {
            self.ask_for_stamps(ages.now.steady);
        }
        *judged = None;
        if matters {
            if self.freshness.is_first_command(message) && !*self.told_unguarded {
                *self.told_unguarded = self.shared.tell_if_unguarded(lifespan);
            }
            let life = lifespan.map(|lifespan| (lifespan, ages.age));
            *judged = Some(self.freshness.judge(message, arrival, life, self.number)?);
        }
        if self.is_followed {
            self.tell_followers(message, arrival, ages);
        }
        // What a latch refuses must neither be held back nor make its sender the owner of the stream.
        if is_watched && outlets.refuses(message, arrival) { Err(DropReason::Latched) } else { Ok(()) }
    }

    /// Asks the kernel for time stamps, from the first message on that needs them.
    #[cold]
    fn ask_for_stamps(&mut self, now: Steady) {
        self.arrivals.asked_for_stamps(self.socket.stamp(), clocks(now));
    }

    /// Tells the cycles that follow a stream when its message was made.
    #[inline(never)] // keeps this code out of the path of links without cycles
    fn tell_followers(&self, message: &MessageRef<'_>, arrival: &Arrival, ages: &Ages) {
        let made = self.shared.clock.instant(ages.moment(message.timestamp));
        let read_at = self.shared.clock.instant(ages.now.steady);
        self.shared.followers.heard(message, arrival.peer, made, read_at);
    }

    /// Holds a message back until everything in the kernel is read, if that must be, or else offers it.
    #[inline]
    fn hand_out(
        &mut self,
        message: &MessageRef<'_>,
        arrival: &Arrival,
        limits: &Limits,
        outlets: &mut Outlets<'_>,
        sink: &mut Sink<'_>,
    ) {
        // An answer is not held back: its request waits for it.
        if self.held.wants(limits, self.waited) && !self.shared.requests.expect(message, arrival) {
            self.hold_back(message, arrival, limits, outlets);
        } else if !outlets.offer(message, arrival, limits, sink) {
            self.refusals.count(DropReason::Latched);
        }
    }

    #[cold]
    fn hold_back(
        &mut self,
        message: &MessageRef<'_>,
        arrival: &Arrival,
        limits: &Limits,
        outlets: &mut Outlets<'_>,
    ) {
        if self.held.hold(self.shared, message, *arrival, limits.clone()) {
            self.refusals.count(DropReason::Superseded);
            if let Some(keep) = limits.keep {
                outlets.told.superseded(self.shared, keep.stream);
            }
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
        let from = match accepted.is_from_elsewhere() {
            false => {
                if self.socket.answers_as_called() {
                    self.socket.confirm_source(from);
                }
                from
            }
            // Its address is the one at which it has answered. Strangers may have sent this from anywhere.
            true => {
                cold_path();
                self.inbound.address_of(accepted.peer()).unwrap_or(from)
            }
        };
        let Self { inbound, shared, dispatcher, life, watchdogs, told, .. } = self;
        let (peer, number, late) = (accepted.peer(), accepted.number(), accepted.is_late());
        let watching = Watching::of(watchdogs.load(), shared, now.steady);
        let inbox_is_on = self.inbox_is_on;
        let (clock, read_at) = (self.clock, self.read_at);
        // The same for all messages of the datagram, except the time when each was made, which is set below.
        let time = self.clock.wall(came.at);
        let mut arrival = Arrival { peer, address: as_users_know(from), time, made: clock.origin(), late };
        let mut messages = inbound.messages(accepted);
        let peer_clock = messages.peer_clock(now.steady);
        let refusals = messages.refusals();
        let sighting =
            watching.as_ref().map(|watching| watching.heard(peer, came.not_before, messages.missing(number)));
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
            waited: now.steady.since(came.not_before),
            can_be_held: messages.can_be_held(),
            is_followed: shared.followers.are_there(),
        };
        let mut outlets = Outlets { shared, dispatcher, life, inbox_is_on, watching, told };
        let is_plain = judging.passes_plain();
        let least = origin.least_age(peer_clock, now);
        let mut ages =
            Ages { came: came.at, clock: peer_clock, now, least, stamp: None, age: Duration::ZERO };
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
                arrival.made = clock.instant_before(read_at, ages.age);
            }
            if is_plain && !judging.freshness.matters(message, message.lifespan) {
                outlets.offer(message, &arrival, &Limits::NONE, sink);
                continue;
            }
            judging.pass(&mut messages, (&arrival, &ages), &mut judged, &mut outlets, sink);
        }
        // If a handler has ended the connection, another one may have taken its place.
        if !self.life.is_orphaned() {
            self.settle(now);
        }
    }
}
