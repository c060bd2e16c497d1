//! The reliable messages in flight: who waits for their outcome, and when the driver must send again.

use crate::sync::Arc;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use tautline_proto::endpoint::{Outbound, Outcome};
use tautline_proto::{Counter, Instant, PeerId};

use crate::sending::receipt::Tracker;
use tautline_proto::MessageType;

/// What senders and the driver tell one another without a lock. Written under the transmit lock.
#[derive(Debug)]
pub(crate) struct DeliverySigns {
    /// When the next datagram is due, on the steady clock (ns); `u64::MAX` for never.
    ///
    /// Order: a sender that brings it forward (release) wakes the driver afterwards, which then reads it (acquire).
    due: AtomicU64,
    /// Outcomes wait to be published. Order: as for `due`.
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

/// Hashes receipts. They are counted here, one by one, so nobody can choose them to collide.
#[derive(Debug, Default)]
struct ReceiptHasher(u64);

impl Hasher for ReceiptHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0 << 8 | u64::from(byte)));
    }

    fn write_u64(&mut self, receipt: u64) {
        // The table takes its place from the low bits and a mark from the high bits (Fibonacci hashing).
        self.0 = receipt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The table of the messages in flight. Kept under the transmit lock; outlives single connections.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    signs: Arc<DeliverySigns>,
    under_way: HashMap<u64, UnderWay, BuildHasherDefault<ReceiptHasher>>,
    next_receipt: u64,
    /// Messages whose outcome was not published yet.
    ended: Vec<(UnderWay, Outcome)>,
}

impl Deliveries {
    pub(crate) fn signs(&self) -> Arc<DeliverySigns> {
        Arc::clone(&self.signs)
    }

    /// The receipt that the next message gets if the protocol takes it.
    pub(crate) const fn next_receipt(&self) -> u64 {
        self.next_receipt
    }

    /// Records that the message with the next receipt is in flight.
    pub(crate) fn begin(&mut self, delivery: UnderWay) {
        if let Some(tracker) = &delivery.tracker {
            tracker.add_peer();
        }
        self.under_way.insert(self.next_receipt, delivery);
        self.next_receipt += 1;
        self.signs.waiting.set(self.under_way.len() as u64);
    }

    /// Takes the outcomes over from the protocol, and the time of the next datagram.
    pub(crate) fn update(&mut self, outbound: &mut Outbound) {
        while let Some((receipt, outcome)) = outbound.poll_outcome() {
            let Some(delivery) = self.under_way.remove(&receipt) else { continue };
            self.signs.counters[outcome as usize].add(1);
            self.ended.push((delivery, outcome));
        }
        if !self.ended.is_empty() {
            self.signs.waiting.set(self.under_way.len() as u64);
            self.signs.ended.store(true, Ordering::Release);
        }
        let due = outbound.next_delivery().map_or(u64::MAX, Instant::as_nanos);
        self.signs.due.store(due, Ordering::Release);
    }

    /// Takes the messages that ended since the last call. The caller publishes them once it holds no lock.
    pub(crate) fn take_ended(&mut self) -> Vec<(UnderWay, Outcome)> {
        self.signs.ended.store(false, Ordering::Release);
        std::mem::take(&mut self.ended)
    }
}
