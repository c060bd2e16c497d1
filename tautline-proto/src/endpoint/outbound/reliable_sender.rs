//! The reliable messages that one peer has not acknowledged: when each is sent, retransmitted and abandoned.
//!
//! A message is one frame, or several fragments if it does not fit a datagram. Each frame has a delivery number of its own,
//! and is sent, acknowledged and retransmitted by itself. docs/protocol.md §7.5.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use super::flights::Flights;
use super::frame_bytes::FrameBytes;
use super::pending_messages::{PendingMessage, PendingMessages};
use super::queued_frame::{QueuedFrame, SendRules, backed_off};
use crate::endpoint::outcome::{Outcome, Refusal};
use crate::message::{Delivery, Priority};
use crate::path::RoundTrip;
use crate::snapshot::saved;
use crate::time::Instant;
use crate::wire::native::{
    self, Ack, Control, DELIVERY_WINDOW, DeliveryNumbers, FORWARD_LEN, SendingClass, Stream,
};

/// How many datagrams may be in flight at once.
const MAX_IN_FLIGHT: usize = 64;
/// How many bytes of frames may be in flight at once: as many as 64 datagrams of Ethernet hold, also where datagrams are larger.
/// What is in flight delays best-effort messages behind it.
const MAX_BYTES_IN_FLIGHT: usize = MAX_IN_FLIGHT * 1_452;
/// While so many are in flight, an acknowledgement comes soon. New frames wait for it, or until they fill a datagram.
const MANY_IN_FLIGHT: usize = 8;
/// As [`MANY_IN_FLIGHT`], but in bytes of frames.
const MANY_BYTES_IN_FLIGHT: usize = 16 * 1024;
/// They wait for no more than this many bytes of frames, however large datagrams may be.
const MOST_TO_FILL: usize = 8192;
/// The retransmission time-out before the first round trip was measured.
const INITIAL_TIMEOUT: Duration = Duration::from_millis(100);
/// The clock granularity of RFC 6298: how late a driver that sleeps may wake up.
const GRANULARITY: Duration = Duration::from_millis(2);
/// A frame is taken as lost when this many datagrams that were sent later have arrived (RFC 9002 §6.1.1).
const PACKET_THRESHOLD: u8 = 3;
/// While other traffic waits, one datagram of retransmissions may be sent for this many other datagrams.
const OTHERS_PER_RETRANSMISSION: u64 = 10;
/// After every time.
const NEVER: Instant = Instant::from_nanos(u64::MAX);
/// The most datagrams of other traffic that count towards later retransmissions.
const MAX_CREDIT: u64 = 8 * OTHERS_PER_RETRANSMISSION;

/// Sends reliable messages to one peer.
///
/// Invariants:
/// - frame `i` has delivery number `base + i`, and the first frame is not settled;
/// - frames below `unsent` were sent, the others were not, except frames of critical messages;
/// - `unsent_critical` holds the frames of critical messages that were not sent;
/// - `unsent_bytes` is the length of all frames that were not sent;
/// - `in_flight` holds the numbers of the frames that were sent and are not settled, in rising order, and `flights` counts them
///   by datagram;
/// - none of them is retransmitted before `retransmit_from`;
/// - `messages` holds the messages with frames that are not settled, by the number of their first frame, and `expiries` those
///   of them that expire.
#[derive(Debug, Default)]
pub(super) struct ReliableSender {
    base: u64,
    frames: VecDeque<QueuedFrame>,
    bytes: FrameBytes,
    messages: PendingMessages,
    /// The frames of the last message of each ordered stream, until the peer's base has passed them. It is not enough that
    /// they are settled: the message may wait at the peer for an earlier one.
    last_ordered: BTreeMap<Stream, Range<u64>>,
    unsent: u64,
    unsent_critical: VecDeque<u64>,
    unsent_bytes: usize,
    /// How many bytes of frames the datagram before had room for.
    room: usize,
    /// How many frames the message has that the window had no room for, if no message was taken since.
    wanted: u64,
    /// An acknowledgement came, and frames that waited for it may be sent.
    is_prompted: bool,
    /// The highest priority in the datagram that was written last.
    highest: Option<Priority>,
    in_flight: VecDeque<u64>,
    flights: Flights,
    bytes_in_flight: usize,
    retransmit_from: Instant,
    expiries: BTreeSet<(Instant, u64)>,
    round_trip: RoundTrip,
    /// The base of the peer's latest acknowledgement.
    peer_base: u64,
    /// Frames below this may have been abandoned. A forward tells the peer so, once all frames before them are settled.
    abandoned_to: u64,
    forward_at: Instant,
    forwards: u32,
    /// Datagrams of other traffic since the last retransmission.
    credit: u64,
    last_retransmission: Instant,
}

impl ReliableSender {
    /// Queues a message. Its frame has holes for the delivery numbers.
    pub(super) fn offer(
        &mut self,
        frame: &[u8],
        room: usize,
        receipt: u64,
        expires: Option<Instant>,
    ) -> Result<(), Refusal> {
        let SendingClass { delivery, priority, stream } = SendingClass::of(frame);
        let count = if frame.len() <= room { Some(1) } else { native::fragment_count(frame.len(), room) };
        let count = count.filter(|&count| u64::from(count) <= DELIVERY_WINDOW).ok_or(Refusal::TooLarge)?;
        let unsettled = self.frames.len() as u64;
        if unsettled + u64::from(count) > DELIVERY_WINDOW {
            self.wanted = count.into();
            return Err(Refusal::WindowFull);
        }
        self.wanted = 0;
        let first = self.base + unsettled;
        let numbers = self.number(first..first + u64::from(count), stream, delivery);
        if count == 1 {
            let place = self.bytes.add(|held| {
                let start = held.len();
                held.extend_from_slice(frame);
                numbers.fill(&mut held[start..], delivery);
            });
            self.queue(QueuedFrame::new(place, first, priority));
        } else {
            for fragment in native::fragments(frame, delivery, numbers, count) {
                let place = self.bytes.add(|held| fragment.write(held));
                self.queue(QueuedFrame::new(place, first, priority));
            }
        }
        let frames = u64::from(count);
        if priority == Priority::Critical {
            self.unsent_critical.extend(first..first + frames);
        }
        let pending = PendingMessage { frames, unacknowledged: frames, receipt, expires };
        self.messages.insert(first, pending);
        self.expiries.extend(expires.map(|at| (at, first)));
        Ok(())
    }

    fn queue(&mut self, frame: QueuedFrame) {
        self.unsent_bytes += frame.place.len();
        self.frames.push_back(frame);
    }

    /// For how many more frames the window has room.
    pub(super) fn room(&self) -> u64 {
        DELIVERY_WINDOW - self.frames.len() as u64
    }

    /// How many frames the next message has: that of the message that was refused, or one.
    pub(super) fn wanted(&self) -> u64 {
        self.wanted.max(1)
    }

    fn number(&mut self, frames: Range<u64>, stream: Stream, delivery: Delivery) -> DeliveryNumbers {
        let first = frames.start;
        let before = match delivery {
            Delivery::Ordered => self.last_ordered.insert(stream, frames),
            _ => None,
        };
        let before = before.filter(|before| before.end > self.peer_base);
        // A message that is further behind than the field can hold has left the peer's window. So has the number that is
        // written instead.
        let behind = before.map_or(0, |before| u16::try_from(first - before.start).unwrap_or(u16::MAX));
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        DeliveryNumbers { number: first as u32, behind }
    }

    /// Writes the frames of the next datagram that is due. Returns how many messages are sent for the first time and the
    /// highest priority among them, or `None` if nothing is due.
    pub(super) fn poll(
        &mut self,
        rules: SendRules,
        out: &mut Vec<u8>,
        settled: &mut VecDeque<(u64, Outcome)>,
    ) -> Option<(u64, Priority)> {
        self.highest = None;
        self.room = rules.room;
        settled.extend(self.abandon_overdue(rules));
        let begin = out.len();
        let timeout = self.timeout();
        self.flights.begin();
        let mut messages = self.send_critical(rules, timeout, out, begin);
        if self.retransmit_from <= rules.now
            && self.may_retransmit(rules, timeout)
            && self.retransmit(rules, timeout, out, begin)
        {
            self.last_retransmission = rules.now;
            self.credit = self.credit.saturating_sub(OTHERS_PER_RETRANSMISSION);
        }
        messages += self.send_first(rules, timeout, out, begin);
        self.write_forward(rules, timeout, out, begin);
        (out.len() > begin).then(|| (messages, self.highest.unwrap_or_default()))
    }

    /// Writes the frames whose retransmission is due. Returns whether there are any.
    fn retransmit(&mut self, rules: SendRules, timeout: Duration, out: &mut Vec<u8>, begin: usize) -> bool {
        let (mut is_any, mut is_full) = (false, false);
        let mut from = NEVER;
        for &number in &self.in_flight {
            let frame = &mut self.frames[index(number, self.base)];
            if frame.retransmit_at <= rules.now && !is_full {
                is_full = !frame.write(&self.bytes, rules, timeout, out, begin);
                if !is_full {
                    frame.flight = self.flights.change(frame.flight);
                    self.highest = self.highest.max(Some(frame.priority));
                    is_any = true;
                }
            }
            from = from.min(frame.retransmit_at);
        }
        self.retransmit_from = from;
        is_any
    }

    /// Writes frames that were not sent yet. Returns how many messages begin with them.
    fn send_first(&mut self, rules: SendRules, timeout: Duration, out: &mut Vec<u8>, begin: usize) -> u64 {
        let mut messages = 0;
        if out.len() == begin && !self.may_begin() {
            return 0;
        }
        while self.unsent < self.next() && self.bytes_in_flight < MAX_BYTES_IN_FLIGHT {
            let Some(begun) = self.send_frame(self.unsent, rules, timeout, out, begin) else { break };
            messages += begun;
            self.unsent += 1;
        }
        self.is_prompted &= self.unsent < self.next();
        messages
    }

    /// As [`send_first`](Self::send_first), but for critical messages: before all others, and however many frames are in
    /// flight.
    fn send_critical(&mut self, rules: SendRules, timeout: Duration, out: &mut Vec<u8>, begin: usize) -> u64 {
        let mut messages = 0;
        while let Some(&number) = self.unsent_critical.front() {
            let Some(begun) = self.send_frame(number, rules, timeout, out, begin) else { break };
            messages += begun;
            self.unsent_critical.pop_front();
        }
        messages
    }

    /// Writes a frame, unless it was sent before. Returns how many messages begin with it, or `None` if there is no room.
    fn send_frame(
        &mut self,
        number: u64,
        rules: SendRules,
        timeout: Duration,
        out: &mut Vec<u8>,
        begin: usize,
    ) -> Option<u64> {
        let frame = &mut self.frames[index(number, self.base)];
        if frame.is_settled || frame.tries > 0 {
            return Some(0);
        }
        if !frame.write(&self.bytes, rules, timeout, out, begin) {
            return None;
        }
        self.highest = self.highest.max(Some(frame.priority));
        frame.flight = self.flights.add();
        self.unsent_bytes -= frame.place.len();
        self.bytes_in_flight += frame.place.len();
        self.retransmit_from = self.retransmit_from.min(frame.retransmit_at);
        if self.in_flight.is_empty() {
            self.retransmit_from = frame.retransmit_at;
        }
        match self.in_flight.back() {
            Some(&last) if last > number => {
                let at = self.in_flight.partition_point(|&other| other < number);
                self.in_flight.insert(at, number);
            }
            _ => self.in_flight.push_back(number),
        }
        Some(u64::from(frame.message == number))
    }

    /// Returns the number of the next frame to be queued.
    fn next(&self) -> u64 {
        self.base + self.frames.len() as u64
    }

    /// Returns whether a retransmission may be sent now. While other traffic waits, a tenth of the datagrams may be
    /// retransmissions, and at least one in each time-out.
    fn may_retransmit(&self, rules: SendRules, timeout: Duration) -> bool {
        !rules.others_wait
            || self.credit >= OTHERS_PER_RETRANSMISSION
            || rules.now >= self.last_retransmission.plus(timeout)
    }

    /// Notes that other traffic has sent datagrams to this peer.
    pub(super) fn others_sent(&mut self, datagrams: u64) {
        self.credit = (self.credit + datagrams).min(MAX_CREDIT);
    }

    /// Tells the peer not to wait for abandoned messages.
    fn write_forward(&mut self, rules: SendRules, timeout: Duration, out: &mut Vec<u8>, begin: usize) {
        if !self.needs_forward()
            || self.forward_at > rules.now
            || out.len() - begin + FORWARD_LEN > rules.room
        {
            return;
        }
        self.forward_at = rules.now.plus(backed_off(timeout, self.forwards));
        self.forwards += 1;
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        native::write_control(out, &Control::Forward(self.base as u32));
    }

    const fn needs_forward(&self) -> bool {
        self.peer_base < self.base && self.peer_base < self.abandoned_to
    }

    /// Returns when [`poll`](Self::poll) has something to do next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if (self.unsent < self.next() && self.may_begin()) || !self.unsent_critical.is_empty() {
            return Some(Instant::from_nanos(0));
        }
        let retransmission = (!self.in_flight.is_empty()).then_some(self.retransmit_from);
        let expiry = self.expiries.first().map(|&(at, _)| at);
        let forward = self.needs_forward().then_some(self.forward_at);
        retransmission.into_iter().chain(expiry).chain(forward).min()
    }

    /// Whether a datagram of frames that were not sent yet may begin.
    fn may_begin(&self) -> bool {
        let are_few = self.flights.count() < MANY_IN_FLIGHT && self.bytes_in_flight < MANY_BYTES_IN_FLIGHT;
        let is_worth = are_few || self.is_prompted || self.unsent_bytes >= self.room.min(MOST_TO_FILL);
        is_worth && self.flights.count() < MAX_IN_FLIGHT && self.bytes_in_flight < MAX_BYTES_IN_FLIGHT
    }

    /// Handles an acknowledgement.
    pub(super) fn acknowledge(&mut self, ack: Ack<'_>, now: Instant, settled: &mut VecDeque<(u64, Outcome)>) {
        let next = self.next();
        #[allow(clippy::cast_possible_truncation)] // the low half travelled
        let behind = u64::from((next as u32).wrapping_sub(ack.base));
        // Ignores a base that was never sent.
        let Some(base) = next.checked_sub(behind).filter(|_| behind <= u64::from(u32::MAX / 2)) else {
            return;
        };
        let needed_forward = self.needs_forward();
        if base > self.peer_base {
            self.peer_base = base;
            self.last_ordered.retain(|_, frames| frames.end > base);
        }
        self.is_prompted = self.unsent < next;
        let mut arrivals = Arrivals::default();
        // Frames that were never sent cannot have arrived.
        while let Some(number) = self.in_flight.pop_front_if(|number| *number < base) {
            self.settle_frame(number, &mut arrivals, settled);
        }
        // Of the others, the bitmap shows those up to its end. Few have not arrived.
        let end = base + 1 + 8 * ack.bitmap.len() as u64;
        let mut place = 0;
        while let Some(&number) = self.in_flight.get(place).filter(|&&number| number < end) {
            if has_arrived(number, base, ack.bitmap) {
                self.in_flight.remove(place);
                self.settle_frame(number, &mut arrivals, settled);
            } else {
                place += 1;
            }
        }
        if let Some(sent_at) = arrivals.sample {
            self.round_trip.update(crate::time::duration_ns(now.since(sent_at)));
        }
        self.detect_losses(&arrivals, now);
        self.trim(now, needed_forward);
    }

    fn settle_frame(&mut self, number: u64, arrivals: &mut Arrivals, settled: &mut VecDeque<(u64, Outcome)>) {
        let frame = &mut self.frames[index(number, self.base)];
        self.bytes_in_flight -= frame.place.len();
        frame.is_settled = true;
        self.flights.leave(frame.flight);
        arrivals.add(number, frame);
        let first = frame.message;
        let Some(pending) = self.messages.get_mut(first) else { return };
        pending.unacknowledged -= 1;
        if pending.unacknowledged == 0 {
            settled.push_back((pending.receipt, Outcome::Delivered));
            self.forget(first);
        }
    }

    /// Retransmits at once each frame that enough later datagrams have overtaken.
    fn detect_losses(&mut self, arrivals: &Arrivals, now: Instant) {
        for &number in self.in_flight.iter().take_while(|&&number| number <= arrivals.highest) {
            let frame = &mut self.frames[index(number, self.base)];
            let later = arrivals.datagrams.iter().filter(|&&sent_at| sent_at > frame.sent_at).count();
            frame.overtaken = frame.overtaken.saturating_add(u8::try_from(later).unwrap_or(u8::MAX));
            if frame.overtaken >= PACKET_THRESHOLD {
                frame.retransmit_at = frame.retransmit_at.min(now);
                self.retransmit_from = self.retransmit_from.min(now);
            }
        }
    }

    /// Abandons the messages whose lifespan is over or whose last try has failed. Returns their outcomes.
    fn abandon_overdue(&mut self, rules: SendRules) -> Vec<(u64, Outcome)> {
        let mut ended = Vec::new();
        let needed_forward = self.needs_forward();
        while let Some(&(_, first)) = self.expiries.first().filter(|&&(at, _)| at <= rules.now) {
            ended.extend(self.abandon(first, Outcome::Expired));
        }
        while let Some(first) = self.out_of_tries(rules) {
            ended.extend(self.abandon(first, Outcome::Abandoned));
        }
        if !ended.is_empty() {
            self.trim(rules.now, needed_forward);
        }
        ended
    }

    /// Returns a message with a frame whose last try has failed.
    fn out_of_tries(&self, rules: SendRules) -> Option<u64> {
        if self.retransmit_from > rules.now {
            return None;
        }
        let mut frames = self.in_flight.iter().map(|&number| &self.frames[index(number, self.base)]);
        let has_failed =
            |frame: &&QueuedFrame| frame.tries >= rules.max_tries && frame.retransmit_at <= rules.now;
        frames.find(has_failed).map(|frame| frame.message)
    }

    fn abandon(&mut self, first: u64, outcome: Outcome) -> Option<(u64, Outcome)> {
        let pending = self.forget(first)?;
        let end = first + pending.frames;
        // The message's first frames may be settled and gone.
        for number in first.max(self.base)..end {
            let frame = &mut self.frames[index(number, self.base)];
            let bytes = if frame.tries == 0 { &mut self.unsent_bytes } else { &mut self.bytes_in_flight };
            if !core::mem::replace(&mut frame.is_settled, true) {
                *bytes -= frame.place.len();
            }
        }
        self.in_flight.retain(|number| {
            let stays = !(first..end).contains(number);
            if !stays {
                self.flights.leave(self.frames[index(*number, self.base)].flight);
            }
            stays
        });
        self.unsent_critical.retain(|number| !(first..end).contains(number));
        self.abandoned_to = self.abandoned_to.max(end);
        Some((pending.receipt, outcome))
    }

    /// Ends all messages with this outcome, because the session is over.
    pub(super) fn end(self, outcome: Outcome) -> impl Iterator<Item = (u64, Outcome)> {
        self.messages.into_receipts().map(move |receipt| (receipt, outcome))
    }

    fn forget(&mut self, first: u64) -> Option<PendingMessage> {
        let pending = self.messages.remove(first)?;
        if let Some(at) = pending.expires {
            self.expiries.remove(&(at, first));
        }
        Some(pending)
    }

    /// Removes settled frames from the front, which restores the invariant that the first frame is not settled.
    fn trim(&mut self, now: Instant, needed_forward: bool) {
        while self.frames.pop_front_if(|frame| frame.is_settled).is_some() {
            self.base += 1;
        }
        match self.frames.front() {
            Some(first) => self.bytes.free_before(first.place),
            None => self.bytes.free_all(),
        }
        self.unsent = self.unsent.max(self.base);
        if self.needs_forward() && !needed_forward {
            (self.forward_at, self.forwards) = (now, 0);
        }
    }

    fn timeout(&self) -> Duration {
        self.round_trip.timeout(GRANULARITY).unwrap_or(INITIAL_TIMEOUT)
    }
}

/// Returns the place of a frame in the queue that begins with number `base`.
fn index(number: u64, base: u64) -> usize {
    usize::try_from(number - base).expect("the window bounds it")
}

/// What an acknowledgement shows to have arrived.
#[derive(Debug, Default)]
struct Arrivals {
    /// When the newest frame that was sent only once was sent. Frames that were sent more often give no sample, because
    /// nobody knows which copy has arrived (Karn's algorithm, RFC 6298 §3).
    sample: Option<Instant>,
    highest: u64,
    /// When the datagrams that have arrived were sent.
    datagrams: Vec<Instant>,
}

impl Arrivals {
    fn add(&mut self, number: u64, frame: &QueuedFrame) {
        self.highest = number;
        if frame.tries == 1 {
            self.sample = self.sample.max(Some(frame.sent_at));
        }
        if self.datagrams.last() != Some(&frame.sent_at) {
            self.datagrams.push(frame.sent_at);
        }
    }
}

/// Returns whether an acknowledgement says that this number has arrived.
fn has_arrived(number: u64, base: u64, bitmap: &[u8]) -> bool {
    let Some(after) = number.checked_sub(base) else { return true };
    let Some(bit) = after.checked_sub(1) else { return false };
    let byte = usize::try_from(bit / 8).ok().and_then(|at| bitmap.get(at));
    byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
}

saved!(ReliableSender {
    base,
    frames,
    bytes,
    messages,
    last_ordered,
    unsent,
    unsent_critical,
    unsent_bytes,
    room,
    wanted,
    is_prompted,
    highest,
    in_flight,
    flights,
    bytes_in_flight,
    retransmit_from,
    expiries,
    round_trip,
    peer_base,
    abandoned_to,
    forward_at,
    forwards,
    credit,
    last_retransmission,
});
