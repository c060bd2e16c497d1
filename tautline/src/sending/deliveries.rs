//! The reliable messages in flight: who waits for their outcome, and when the driver must send again.

use crate::sync::Arc;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

use tautline_proto::endpoint::{Outbound, Outcome};
use tautline_proto::wire::native::DELIVERY_WINDOW;
use tautline_proto::{Counter, Instant, PeerId};

use crate::sending::receipt::Tracker;
use tautline_proto::MessageType;

/// What senders and the driver tell one another without a lock. Written under the transmit lock. In one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct DeliverySigns {
    /// When the next datagram is due, on the steady clock (ns); `u64::MAX` for never.
    ///
    /// Order: a sender that brings it forward (release) wakes the driver afterwards, which then reads it (acquire).
    due: AtomicU64,
    /// Messages have ended, and their outcomes wait to be published. Order: as for `due`.
    ended: AtomicBool,
    counters: [Counter; Outcome::ALL.len()],
    waiting: Counter,
}

impl Default for DeliverySigns {
    fn default() -> Self {
        Self {
            due: AtomicU64::new(u64::MAX),
            ended: AtomicBool::new(false),
            counters: [const { Counter::new() }; Outcome::ALL.len()],
            waiting: Counter::new(),
        }
    }
}

impl DeliverySigns {
    pub(crate) fn due(&self) -> Option<Instant> {
        let due = self.due.load(Ordering::Acquire);
        (due < u64::MAX).then(|| Instant::from_nanos(due))
    }

    pub(crate) fn have_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn stats(&self) -> DeliveryStats {
        let of = |outcome: Outcome| self.counters[outcome as usize].value();
        DeliveryStats {
            waiting: self.waiting.value(),
            delivered: of(Outcome::Delivered),
            expired: of(Outcome::Expired),
            abandoned: of(Outcome::Abandoned),
            peer_lost: of(Outcome::PeerLost),
            unknown: of(Outcome::Unknown),
        }
    }
}

/// The outcomes of the reliable messages that were sent, counted once per peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryStats {
    /// Messages in flight now.
    pub waiting: u64,
    /// See [`Outcome::Delivered`].
    pub delivered: u64,
    /// See [`Outcome::Expired`].
    pub expired: u64,
    /// See [`Outcome::Abandoned`].
    pub abandoned: u64,
    /// See [`Outcome::PeerLost`].
    pub peer_lost: u64,
    /// See [`Outcome::Unknown`].
    pub unknown: u64,
}

/// A reliable message for one peer.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) peer: PeerId,
    pub(crate) message_type: MessageType,
    pub(crate) channel: u16,
    pub(crate) tracker: Option<Arc<Tracker>>,
    /// Its message id, if that is a number. The id of a request is.
    pub(crate) number: Option<u64>,
}

/// The most trackers that are kept for later messages: as many as messages to one peer may be in flight.
#[allow(clippy::cast_possible_truncation)] // 1,024
const MOST_SPARE: usize = DELIVERY_WINDOW as usize;

/// The table of the messages in flight. Kept under the transmit lock; outlives single connections.
///
/// The receipt of a message is its place in the table. Once the message has ended, another one may have that place. So the table has
/// as many places as messages were in flight at once.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    signs: Arc<DeliverySigns>,
    places: Vec<Option<UnderWay>>,
    free: Vec<usize>,
    /// Trackers whose messages have ended and whose receipts were dropped. One thread takes memory and another returns it, which is
    /// slow; so they are used again.
    spare: Vec<Arc<Tracker>>,
    /// Messages with an outcome that somebody may want to know and that was not published yet.
    ended: Vec<(UnderWay, Outcome)>,
    /// The peers of messages that have ended since the last [`take_ended`](Self::take_ended). A peer may be there several times.
    made_room: Vec<PeerId>,
}

impl Deliveries {
    pub(crate) fn signs(&self) -> &DeliverySigns {
        &self.signs
    }

    pub(crate) fn share_signs(&self) -> Arc<DeliverySigns> {
        Arc::clone(&self.signs)
    }

    /// The receipt that the next message gets if the protocol takes it.
    pub(crate) fn next_receipt(&self) -> u64 {
        self.free.last().copied().unwrap_or(self.places.len()) as u64
    }

    /// A tracker for a message with a receipt.
    pub(crate) fn tracker(&mut self) -> Arc<Tracker> {
        self.spare.pop().unwrap_or_default()
    }

    /// Records that the message with the next receipt is in flight.
    pub(crate) fn begin(&mut self, delivery: UnderWay) {
        if let Some(tracker) = &delivery.tracker {
            tracker.add_peer();
        }
        match self.free.pop() {
            Some(place) => self.places[place] = Some(delivery),
            None => self.places.push(Some(delivery)),
        }
        self.publish_waiting();
    }

    /// Takes the outcomes over from the protocol, and the time of the next datagram.
    pub(crate) fn update(&mut self, outbound: &mut Outbound) {
        if outbound.have_ended() {
            self.take_outcomes(outbound);
        }
        let due = outbound.next_delivery().map_or(u64::MAX, Instant::as_nanos);
        self.signs.due.store(due, Ordering::Release);
    }

    fn take_outcomes(&mut self, outbound: &mut Outbound) {
        while let Some((receipt, outcome)) = outbound.poll_outcome() {
            let place = usize::try_from(receipt).expect("it is a place");
            let Some(delivery) = self.places.get_mut(place).and_then(Option::take) else { continue };
            self.free.push(place);
            self.signs.counters[outcome as usize].add(1);
            if self.made_room.last() != Some(&delivery.peer) {
                self.made_room.push(delivery.peer);
            }
            self.end(delivery, outcome);
        }
        self.publish_waiting();
        self.signs.ended.store(true, Ordering::Release);
    }

    /// Keeps the outcome for those who may want to know it. Nobody does if the message was delivered and its receipt was dropped.
    fn end(&mut self, mut delivery: UnderWay, outcome: Outcome) {
        if outcome == Outcome::Delivered {
            match &mut delivery.tracker {
                None => return,
                Some(tracker) => {
                    if let Some(unwatched) = Arc::get_mut(tracker) {
                        *unwatched = Tracker::default();
                        self.spare.extend(delivery.tracker.filter(|_| self.spare.len() < MOST_SPARE));
                        return;
                    }
                }
            }
        }
        self.ended.push((delivery, outcome));
    }

    fn publish_waiting(&self) {
        self.signs.waiting.set((self.places.len() - self.free.len()) as u64);
    }

    /// Takes the messages that ended since the last call and whose outcome somebody may want to know, and the peers of all that ended.
    /// The caller publishes them once it holds no lock.
    pub(crate) fn take_ended(&mut self) -> (Vec<(UnderWay, Outcome)>, Vec<PeerId>) {
        self.signs.ended.store(false, Ordering::Release);
        (std::mem::take(&mut self.ended), std::mem::take(&mut self.made_room))
    }
}
