//! One direction of a simulated path. Datagrams go in at one end, and come out at the other in the order of time.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

use super::impairments::{Impairments, Loss, MAX_HOLD, corrupt};
use super::random::Random;
use crate::time::Instant;

/// How many datagrams can be in flight at once. Further datagrams are dropped, as by a full queue.
pub const MAX_IN_FLIGHT: usize = 65_536;
/// How many bytes can be in flight at once. Further datagrams are dropped, as by a full queue.
pub(super) const MAX_BYTES_IN_FLIGHT: usize = 64 << 20;

/// One direction of a path.
///
/// What happens to the n-th datagram follows from the seed and n alone. Only the queue before a limited rate and the order of
/// arrival depend on the times.
///
/// ```
/// use core::time::Duration;
/// use tautline_proto::Instant;
/// use tautline_proto::sim::{Impairments, Path};
///
/// let delay = Duration::from_millis(10);
/// let mut path = Path::new(Impairments { delay, ..Impairments::default() }, 7);
/// let start = Instant::from_nanos(0);
/// path.offer(start, b"hello");
/// assert_eq!(path.next_timeout(), Some(start.plus(delay)));
/// assert!(path.poll(start).is_none());
/// assert_eq!(path.poll(start.plus(delay)).expect("it is due").datagram, b"hello");
/// ```
#[derive(Clone, Debug)]
pub struct Path {
    impairments: Impairments,
    seed: u64,
    loss: Loss,
    /// When the queue for the limited rate is empty.
    free_at: Instant,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    /// The datagram that waits to be overtaken.
    held: Option<InFlight>,
    bytes_in_flight: usize,
    /// How many datagrams have entered `in_flight`. It orders datagrams that are due at the same time.
    entered: u64,
    /// One above the highest number delivered.
    delivered_up_to: u64,
    counts: PathCounts,
}

/// What happened to a path's datagrams.
///
/// `offered + copies` is the sum of `lost`, `partitioned`, `too_large`, `queue_full`, `delivered` and `in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathCounts {
    /// Datagrams that were sent into the path.
    pub offered: u64,
    /// Copies that duplication has made.
    pub copies: u64,
    /// Datagrams that were lost by chance.
    pub lost: u64,
    /// Datagrams that were lost during a partition.
    pub partitioned: u64,
    /// Datagrams that were larger than the path.
    pub too_large: u64,
    /// Datagrams that found no room in the queue, or in flight.
    pub queue_full: u64,
    /// Datagrams that came out, including copies.
    pub delivered: u64,
    /// Delivered datagrams with flipped bits.
    pub corrupted: u64,
    /// Delivered datagrams that came out after one that was sent later.
    pub reordered: u64,
    /// Datagrams that are in flight now.
    pub in_flight: u64,
}

impl PathCounts {
    /// Returns how many datagrams will never come out.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.lost + self.partitioned + self.too_large + self.queue_full
    }

    /// Adds the counts of another path.
    pub fn merge(&mut self, other: &Self) {
        self.offered += other.offered;
        self.copies += other.copies;
        self.lost += other.lost;
        self.partitioned += other.partitioned;
        self.too_large += other.too_large;
        self.queue_full += other.queue_full;
        self.delivered += other.delivered;
        self.corrupted += other.corrupted;
        self.reordered += other.reordered;
        self.in_flight += other.in_flight;
    }
}

/// A datagram that comes out of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveredDatagram {
    /// Its bytes, which may be damaged.
    pub datagram: Vec<u8>,
    /// How many datagrams were sent into the path before it. A copy has the number of its original.
    pub number: u64,
    /// Whether bits of it were flipped.
    pub is_corrupted: bool,
    /// Whether it is a copy.
    pub is_copy: bool,
}

/// A datagram in flight. Ordered by when it is due, then by when it entered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct InFlight {
    due: Instant,
    entered: u64,
    delivery: DeliveredDatagram,
}

impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.entered).cmp(&(other.due, other.entered))
    }
}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Path {
    /// Creates a path with these impairments. All random decisions follow from `seed`.
    #[must_use]
    pub fn new(impairments: Impairments, seed: u64) -> Self {
        Self {
            impairments,
            seed,
            loss: Loss::default(),
            free_at: Instant::default(),
            in_flight: BinaryHeap::new(),
            held: None,
            bytes_in_flight: 0,
            entered: 0,
            delivered_up_to: 0,
            counts: PathCounts::default(),
        }
    }

    /// Returns the present impairments.
    #[must_use]
    pub const fn impairments(&self) -> &Impairments {
        &self.impairments
    }

    /// Replaces the impairments from now on. They do not change datagrams that are in flight.
    pub const fn impair(&mut self, impairments: Impairments) {
        self.impairments = impairments;
    }

    /// Sends one datagram into the path. `now` must not go backwards from call to call.
    pub fn offer(&mut self, now: Instant, datagram: &[u8]) {
        let number = self.counts.offered;
        self.counts.offered += 1;
        let mut random = Random::stream(self.seed, number);
        if self.impairments.partition {
            self.counts.partitioned += 1;
            return;
        }
        if self.impairments.max_size.is_some_and(|most| datagram.len() > most) {
            self.counts.too_large += 1;
            return;
        }
        if self.loss.strikes(&self.impairments, &mut random) {
            self.counts.lost += 1;
            return;
        }
        let has_copy = self.impairments.duplicate.happens(&mut random);
        self.send(now, datagram, number, false, &mut random);
        if has_copy {
            self.counts.copies += 1;
            self.send(now, datagram, number, true, &mut random);
        }
    }

    /// Returns when the next datagram comes out.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let next = self.in_flight.peek().map(|Reverse(next)| next.due);
        [next, self.held.as_ref().map(|held| held.due)].into_iter().flatten().min()
    }

    /// Returns the next datagram that is due at `now`, in the order of time.
    pub fn poll(&mut self, now: Instant) -> Option<DeliveredDatagram> {
        let due = self.next_timeout().filter(|due| *due <= now)?;
        let InFlight { delivery, .. } = match self.held.take_if(|held| held.due == due) {
            Some(held) => held,
            None => self.in_flight.pop().expect("a datagram is due").0,
        };
        self.bytes_in_flight -= delivery.datagram.len();
        self.counts.delivered += 1;
        self.counts.corrupted += u64::from(delivery.is_corrupted);
        self.counts.reordered += u64::from(delivery.number + 1 < self.delivered_up_to);
        self.delivered_up_to = self.delivered_up_to.max(delivery.number + 1);
        Some(delivery)
    }

    /// Returns what happened to all datagrams so far.
    #[must_use]
    pub fn counts(&self) -> PathCounts {
        let in_flight = self.in_flight.len() + usize::from(self.held.is_some());
        PathCounts { in_flight: in_flight as u64, ..self.counts }
    }

    /// Puts one datagram or a copy in flight, unless the queue is full.
    fn send(&mut self, now: Instant, datagram: &[u8], number: u64, is_copy: bool, random: &mut Random) {
        let Some(leaves) = self.pass_queue(now, datagram.len()) else {
            self.counts.queue_full += 1;
            return;
        };
        let Impairments { delay, jitter, reorder, .. } = self.impairments;
        let due = leaves.plus(delay).plus(random.up_to(jitter));
        let mut datagram = datagram.to_vec();
        let is_corrupted = self.impairments.corrupt.happens(random) && corrupt(&mut datagram, random);
        self.bytes_in_flight += datagram.len();
        self.entered += 1;
        let delivery = DeliveredDatagram { datagram, number, is_corrupted, is_copy };
        let in_flight = InFlight { due, entered: self.entered, delivery };
        match self.held.take() {
            None if reorder.happens(random) => {
                self.held = Some(InFlight { due: due.plus(MAX_HOLD), ..in_flight });
            }
            held => self.overtake(in_flight, held),
        }
    }

    /// Puts a datagram in flight, and directly behind it the datagram that was held back.
    fn overtake(&mut self, in_flight: InFlight, held: Option<InFlight>) {
        let due = in_flight.due;
        self.in_flight.push(Reverse(in_flight));
        if let Some(held) = held {
            self.entered += 1;
            self.in_flight.push(Reverse(InFlight { due: due.min(held.due), entered: self.entered, ..held }));
        }
    }

    /// Returns when a datagram of this length that comes now leaves the queue. `None` if there is no room.
    fn pass_queue(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let count = self.in_flight.len() + usize::from(self.held.is_some());
        if count >= MAX_IN_FLIGHT || self.bytes_in_flight + len > MAX_BYTES_IN_FLIGHT {
            return None;
        }
        let Some(rate) = self.impairments.rate else { return Some(now) };
        let waiting = rate.bytes_in(self.free_at.since(now));
        if waiting > 0 && waiting + len as u128 > self.impairments.queue as u128 {
            return None;
        }
        self.free_at = self.free_at.max(now).plus(rate.time_for(len));
        Some(self.free_at)
    }
}
