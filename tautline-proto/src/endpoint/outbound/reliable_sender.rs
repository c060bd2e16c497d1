//! The reliable messages that one peer has not acknowledged: when they are sent, sent again and given up.
//!
//! A message is one unit, or several where it does not fit a datagram. Units are numbered one by one; each is sent,
//! acknowledged and sent again by itself. docs/protocol.md §7.5.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use hashbrown::HashMap;

use crate::endpoint::outcome::{Outcome, Refusal};
use crate::message::{Delivery, Priority};
use crate::path::RoundTrip;
use crate::time::Instant;
use crate::wire::native::{
    self, Ack, Control, DELIVERY_WINDOW, DeliveryNumbers, FORWARD_LEN, SendingClass, Stream,
};

/// How many units may be on their way at once.
const IN_FLIGHT: usize = 64;
/// The resend time-out before the first round trip was measured.
const FIRST_TIMEOUT: Duration = Duration::from_millis(100);
/// RFC 6298's clock granularity: what a driver that sleeps may be late by.
const GRANULARITY: Duration = Duration::from_millis(2);
/// The resend time-out doubles up to this, or stays where it is above.
const LONGEST_TIMEOUT: Duration = Duration::from_millis(200);
/// So many later datagrams that arrived show that a unit is lost (RFC 9002 §6.1.1).
const PASSED: u8 = 3;
/// While other traffic waits, a datagram of resends may go for so many others.
const OTHERS_PER_RESEND: u64 = 10;
/// How many datagrams' credit is kept.
const MOST_CREDIT: u64 = 8 * OTHERS_PER_RESEND;

/// See the module's head.
///
/// Invariants: unit `i` has number `base + i`; the first unit is not settled; those below `unsent` were sent, those from
/// there on were not, unless their message is critical; `urgent` are those of critical messages that were not sent;
/// `on_their_way` are the numbers of those that were sent and are not settled, rising; `messages` holds
/// those with units that are not settled, by the number of their first, and `expiries` those of them that expire.
#[derive(Debug, Default)]
pub(super) struct Outflow {
    base: u64,
    units: VecDeque<Unit>,
    messages: BTreeMap<u64, Pending>,
    /// The units of each ordered stream's last message, until the peer's base has passed them. That they are settled is not
    /// enough: the message may wait at the peer for an earlier one.
    last_ordered: HashMap<Stream, Range<u64>>,
    unsent: u64,
    urgent: VecDeque<u64>,
    /// The highest priority in the datagram that was written last.
    highest: Option<Priority>,
    on_their_way: Vec<u64>,
    expiries: BTreeSet<(Instant, u64)>,
    round_trip: RoundTrip,
    /// The base that the peer told last.
    peer_base: u64,
    /// Units below this were given up; the peer is told once there is nothing else before them.
    given_up_to: u64,
    forward_at: Instant,
    forwards: u32,
    /// Datagrams that others sent since the last resend.
    credit: u64,
    last_resend: Instant,
}

#[derive(Debug)]
struct Unit {
    /// The frame; empty once it is settled.
    frame: Vec<u8>,
    /// The number of its message's first unit.
    message: u64,
    priority: Priority,
    /// How often it was sent.
    tries: u32,
    sent_at: Instant,
    resend_at: Instant,
    /// How many datagrams sent later have arrived.
    passed: u8,
}

impl Unit {
    const fn is_settled(&self) -> bool {
        self.frame.is_empty()
    }

    /// Writes it into a datagram whose frames begin at `begin`; `false` where that has no room.
    fn write(&mut self, turn: Turn, timeout: Duration, out: &mut Vec<u8>, begin: usize) -> bool {
        if out.len() - begin + self.frame.len() > turn.room {
            return false;
        }
        out.extend_from_slice(&self.frame);
        self.resend_at = turn.now.plus(backed_off(timeout, self.tries));
        self.tries += 1;
        self.sent_at = turn.now;
        self.passed = 0;
        true
    }
}

/// Where a unit stands.
fn index(number: u64, base: u64) -> usize {
    usize::try_from(number - base).expect("the window bounds it")
}

/// A message that is not settled.
#[derive(Debug)]
struct Pending {
    units: u64,
    unacknowledged: u64,
    receipt: u64,
    expires: Option<Instant>,
}

/// What is sent next, and by which rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) now: Instant,
    /// Other traffic waits for the same socket.
    pub(super) others_wait: bool,
    /// The bytes of frames that a datagram holds.
    pub(super) room: usize,
    /// How often a unit is sent at most.
    pub(super) most_tries: u32,
}

impl Outflow {
    /// Takes a message in; its frame has holes for the numbers.
    pub(super) fn offer(
        &mut self,
        frame: &[u8],
        room: usize,
        receipt: u64,
        expires: Option<Instant>,
    ) -> Result<(), Refusal> {
        let SendingClass { delivery, priority, stream } = SendingClass::of(frame);
        let count = if frame.len() <= room { Some(1) } else { native::parts(frame.len(), room) };
        let count = count.filter(|&count| u64::from(count) <= DELIVERY_WINDOW).ok_or(Refusal::TooLarge)?;
        let unsettled = self.units.len() as u64;
        if unsettled + u64::from(count) > DELIVERY_WINDOW {
            return Err(Refusal::WindowFull);
        }
        let first = self.base + unsettled;
        let numbers = self.number(first..first + u64::from(count), stream, delivery);
        if count == 1 {
            let mut frame = frame.to_vec();
            numbers.fill(&mut frame, delivery);
            self.push(frame, first, priority);
        } else {
            for fragment in native::cut(frame, delivery, numbers, count) {
                let mut frame = Vec::new();
                fragment.write(&mut frame);
                self.push(frame, first, priority);
            }
        }
        let units = u64::from(count);
        if priority == Priority::Critical {
            self.urgent.extend(first..first + units);
        }
        let pending = Pending { units, unacknowledged: units, receipt, expires };
        self.messages.insert(first, pending);
        self.expiries.extend(expires.map(|at| (at, first)));
        Ok(())
    }

    fn number(&mut self, units: Range<u64>, stream: Stream, delivery: Delivery) -> DeliveryNumbers {
        let first = units.start;
        let before = match delivery {
            Delivery::Ordered => self.last_ordered.insert(stream, units),
            _ => None,
        };
        let before = before.filter(|before| before.end > self.peer_base);
        // What is further behind than can be said has left the peer's window, as what is named instead has.
        let behind = before.map_or(0, |before| u16::try_from(first - before.start).unwrap_or(u16::MAX));
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        DeliveryNumbers { number: first as u32, behind }
    }

    fn push(&mut self, frame: Vec<u8>, message: u64, priority: Priority) {
        let never = Instant::from_nanos(0);
        let (sent_at, resend_at) = (never, never);
        self.units.push_back(Unit { frame, message, priority, tries: 0, sent_at, resend_at, passed: 0 });
    }

    /// Writes the frames of the next datagram that is due; how many messages go for the first time and the highest priority
    /// in it, `None` where nothing is due.
    pub(super) fn poll(
        &mut self,
        turn: Turn,
        out: &mut Vec<u8>,
        settled: &mut impl Extend<(u64, Outcome)>,
    ) -> Option<(u64, Priority)> {
        self.highest = None;
        settled.extend(self.overdue(turn));
        let begin = out.len();
        let timeout = self.timeout();
        let mut messages = self.send_urgent(turn, timeout, out, begin);
        if self.may_resend(turn, timeout) && self.resend(turn, timeout, out, begin) {
            self.last_resend = turn.now;
            self.credit = self.credit.saturating_sub(OTHERS_PER_RESEND);
        }
        messages += self.send_first(turn, timeout, out, begin);
        self.write_forward(turn, timeout, out, begin);
        (out.len() > begin).then(|| (messages, self.highest.unwrap_or_default()))
    }

    /// Writes the units that are due again; whether there are any.
    fn resend(&mut self, turn: Turn, timeout: Duration, out: &mut Vec<u8>, begin: usize) -> bool {
        let mut resent = false;
        for &number in &self.on_their_way {
            let unit = &mut self.units[index(number, self.base)];
            if unit.resend_at > turn.now {
                continue;
            }
            if !unit.write(turn, timeout, out, begin) {
                break;
            }
            self.highest = self.highest.max(Some(unit.priority));
            resent = true;
        }
        resent
    }

    /// Writes units that were not sent yet; how many messages begin with them.
    fn send_first(&mut self, turn: Turn, timeout: Duration, out: &mut Vec<u8>, begin: usize) -> u64 {
        let mut messages = 0;
        while self.on_their_way.len() < IN_FLIGHT && self.unsent < self.next() {
            let Some(begun) = self.send_unit(self.unsent, turn, timeout, out, begin) else { break };
            messages += begun;
            self.unsent += 1;
        }
        messages
    }

    /// As [`send_first`](Self::send_first), those of critical messages: before all else, however many are on their way.
    fn send_urgent(&mut self, turn: Turn, timeout: Duration, out: &mut Vec<u8>, begin: usize) -> u64 {
        let mut messages = 0;
        while let Some(&number) = self.urgent.front() {
            let Some(begun) = self.send_unit(number, turn, timeout, out, begin) else { break };
            messages += begun;
            self.urgent.pop_front();
        }
        messages
    }

    /// Writes a unit if it is to be sent for the first time; how many messages begin with it, `None` where there is no room.
    fn send_unit(
        &mut self,
        number: u64,
        turn: Turn,
        timeout: Duration,
        out: &mut Vec<u8>,
        begin: usize,
    ) -> Option<u64> {
        let unit = &mut self.units[index(number, self.base)];
        if unit.is_settled() || unit.tries > 0 {
            return Some(0);
        }
        if !unit.write(turn, timeout, out, begin) {
            return None;
        }
        self.highest = self.highest.max(Some(unit.priority));
        let place = self.on_their_way.partition_point(|&other| other < number);
        self.on_their_way.insert(place, number);
        Some(u64::from(unit.message == number))
    }

    /// The number of the next unit.
    fn next(&self) -> u64 {
        self.base + self.units.len() as u64
    }

    /// While others wait a tenth of the datagrams may be resends, and one in each time-out.
    fn may_resend(&self, turn: Turn, timeout: Duration) -> bool {
        !turn.others_wait || self.credit >= OTHERS_PER_RESEND || turn.now >= self.last_resend.plus(timeout)
    }

    /// Others sent so many datagrams to this peer.
    pub(super) fn others_sent(&mut self, datagrams: u64) {
        self.credit = (self.credit + datagrams).min(MOST_CREDIT);
    }

    /// Tells the peer not to wait for what was given up.
    fn write_forward(&mut self, turn: Turn, timeout: Duration, out: &mut Vec<u8>, begin: usize) {
        if !self.needs_forward() || self.forward_at > turn.now || out.len() - begin + FORWARD_LEN > turn.room
        {
            return;
        }
        self.forward_at = turn.now.plus(backed_off(timeout, self.forwards));
        self.forwards += 1;
        #[allow(clippy::cast_possible_truncation)] // the low half travels
        native::write_control(out, &Control::Forward(self.base as u32));
    }

    const fn needs_forward(&self) -> bool {
        self.peer_base < self.base && self.peer_base < self.given_up_to
    }

    /// When [`poll`](Self::poll) has something to do next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let begins = self.on_their_way.len() < IN_FLIGHT && self.unsent < self.next();
        let begins = begins || !self.urgent.is_empty();
        let resends = self.on_their_way.iter().map(|&number| self.units[index(number, self.base)].resend_at);
        let expiry = self.expiries.first().map(|&(at, _)| at);
        let forward = self.needs_forward().then_some(self.forward_at);
        let at_once = begins.then_some(Instant::from_nanos(0));
        resends.chain(expiry).chain(forward).chain(at_once).min()
    }

    /// Takes an acknowledgement in.
    pub(super) fn acknowledge(
        &mut self,
        ack: Ack<'_>,
        now: Instant,
        settled: &mut impl Extend<(u64, Outcome)>,
    ) {
        let next = self.next();
        #[allow(clippy::cast_possible_truncation)] // the low half travelled
        let behind = u64::from((next as u32).wrapping_sub(ack.base));
        // From the future, or from before the first.
        let Some(base) = next.checked_sub(behind).filter(|_| behind <= u64::from(u32::MAX / 2)) else {
            return;
        };
        let needed_forward = self.needs_forward();
        if base > self.peer_base {
            self.peer_base = base;
            self.last_ordered.retain(|_, units| units.end > base);
        }
        let mut news = News::default();
        // What was never sent cannot have arrived.
        for number in core::mem::take(&mut self.on_their_way) {
            if has_arrived(number, base, ack.bitmap) {
                self.settle_unit(number, &mut news);
            } else {
                self.on_their_way.push(number);
            }
        }
        if let Some(sample) = news.sample {
            self.round_trip.update(crate::time::duration_ns(now.since(sample)));
        }
        self.notice_losses(&news, now);
        settled.extend(news.delivered.into_iter().map(|receipt| (receipt, Outcome::Delivered)));
        self.trim(now, needed_forward);
    }

    fn settle_unit(&mut self, number: u64, news: &mut News) {
        let unit = &mut self.units[index(number, self.base)];
        unit.frame = Vec::new();
        news.arrived(number, unit);
        let first = unit.message;
        let Some(pending) = self.messages.get_mut(&first) else { return };
        pending.unacknowledged -= 1;
        if pending.unacknowledged == 0 {
            news.delivered.push(pending.receipt);
            self.forget(first);
        }
    }

    /// Units that several later datagrams have passed are sent again at once.
    fn notice_losses(&mut self, news: &News, now: Instant) {
        for &number in self.on_their_way.iter().take_while(|&&number| number <= news.highest) {
            let unit = &mut self.units[index(number, self.base)];
            let later = news.datagrams.iter().filter(|&&sent_at| sent_at > unit.sent_at).count();
            unit.passed = unit.passed.saturating_add(u8::try_from(later).unwrap_or(u8::MAX));
            if unit.passed >= PASSED {
                unit.resend_at = unit.resend_at.min(now);
            }
        }
    }

    /// Gives up what has outlived its lifespan or its tries.
    fn overdue(&mut self, turn: Turn) -> Vec<(u64, Outcome)> {
        let mut ended = Vec::new();
        let needed_forward = self.needs_forward();
        while let Some(&(_, first)) = self.expiries.first().filter(|&&(at, _)| at <= turn.now) {
            ended.extend(self.give_up(first, Outcome::Expired));
        }
        while let Some(first) = self.spent(turn) {
            ended.extend(self.give_up(first, Outcome::GaveUp));
        }
        if !ended.is_empty() {
            self.trim(turn.now, needed_forward);
        }
        ended
    }

    /// A message with a unit whose last try is over.
    fn spent(&self, turn: Turn) -> Option<u64> {
        let mut units = self.on_their_way.iter().map(|&number| &self.units[index(number, self.base)]);
        let is_spent = |unit: &&Unit| unit.tries >= turn.most_tries && unit.resend_at <= turn.now;
        units.find(is_spent).map(|unit| unit.message)
    }

    fn give_up(&mut self, first: u64, outcome: Outcome) -> Option<(u64, Outcome)> {
        let pending = self.forget(first)?;
        let end = first + pending.units;
        // Its first ones may be settled and gone.
        for number in first.max(self.base)..end {
            self.units[index(number, self.base)].frame = Vec::new();
        }
        self.on_their_way.retain(|number| !(first..end).contains(number));
        self.urgent.retain(|number| !(first..end).contains(number));
        self.given_up_to = self.given_up_to.max(end);
        Some((pending.receipt, outcome))
    }

    /// Ends everything: the session is over.
    pub(super) fn end(self, outcome: Outcome) -> impl Iterator<Item = (u64, Outcome)> {
        self.messages.into_values().map(move |pending| (pending.receipt, outcome))
    }

    fn forget(&mut self, first: u64) -> Option<Pending> {
        let pending = self.messages.remove(&first)?;
        if let Some(at) = pending.expires {
            self.expiries.remove(&(at, first));
        }
        Some(pending)
    }

    /// Restores the invariant that the first unit is not settled.
    fn trim(&mut self, now: Instant, needed_forward: bool) {
        while self.units.front().is_some_and(Unit::is_settled) {
            self.units.pop_front();
            self.base += 1;
        }
        self.unsent = self.unsent.max(self.base);
        if self.needs_forward() && !needed_forward {
            (self.forward_at, self.forwards) = (now, 0);
        }
    }

    fn timeout(&self) -> Duration {
        self.round_trip.timeout(GRANULARITY).unwrap_or(FIRST_TIMEOUT)
    }
}

/// What an acknowledgement tells that was not known.
#[derive(Debug, Default)]
struct News {
    /// The receipts of messages that have arrived whole.
    delivered: Vec<u64>,
    /// When the newest unit that was sent only once was sent: a later try may be what arrived (Karn, RFC 6298 §3).
    sample: Option<Instant>,
    highest: u64,
    /// When the datagrams that arrived were sent.
    datagrams: Vec<Instant>,
}

impl News {
    fn arrived(&mut self, number: u64, unit: &Unit) {
        self.highest = number;
        if unit.tries == 1 {
            self.sample = self.sample.max(Some(unit.sent_at));
        }
        if self.datagrams.last() != Some(&unit.sent_at) {
            self.datagrams.push(unit.sent_at);
        }
    }
}

/// Whether an acknowledgement with this base says so.
fn has_arrived(number: u64, base: u64, bitmap: &[u8]) -> bool {
    let Some(after) = number.checked_sub(base) else { return true };
    let Some(bit) = after.checked_sub(1) else { return false };
    let byte = usize::try_from(bit / 8).ok().and_then(|at| bitmap.get(at));
    byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
}

/// RFC 6298 §5.5: the time-out doubles with each try.
fn backed_off(timeout: Duration, tries: u32) -> Duration {
    let longest = LONGEST_TIMEOUT.max(timeout);
    timeout.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX)).min(longest)
}
