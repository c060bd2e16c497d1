//! One direction of a path: datagrams in at one end, what is left of them out at the other, in time order.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

use super::impairments::{HELD_AT_MOST, Impairments, Loss, corrupt};
use super::random::Random;
use crate::time::Instant;

/// Datagrams on their way at once, and their bytes; what comes beyond is dropped as by a full queue.
pub const MOST_IN_FLIGHT: usize = 65_536;
/// Bytes on their way at once.
pub const MOST_BYTES_IN_FLIGHT: usize = 64 << 20;

/// One direction of a path.
///
/// What happens to the n-th datagram follows from the seed and n alone, whenever it comes; only the queue
/// before a limited rate, and who overtakes whom, depend on the times.
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
    /// When all that waits for the limited rate is gone.
    free_at: Instant,
    line: BinaryHeap<Reverse<InFlight>>,
    /// Waits to be overtaken.
    held: Option<InFlight>,
    bytes_in_flight: usize,
    /// The order of entering the line, which breaks ties.
    entered: u64,
    /// One above the highest number delivered.
    delivered_up_to: u64,
    counts: PathCounts,
}

/// What became of a path's datagrams.
///
/// `offered + copies` is the sum of `lost`, `partitioned`, `queue_full`, `delivered` and `in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathCounts {
    /// Put in.
    pub offered: u64,
    /// Copies made of them.
    pub copies: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because nothing got through.
    pub partitioned: u64,
    /// Found no room before the limited rate, or on the way.
    pub queue_full: u64,
    /// Taken out, copies included.
    pub delivered: u64,
    /// Of those delivered: with bits flipped.
    pub corrupted: u64,
    /// Of those delivered: after one that was put in later.
    pub reordered: u64,
    /// On their way now.
    pub in_flight: u64,
}

impl PathCounts {
    /// Everything that was put in and will not come out.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.lost + self.partitioned + self.queue_full
    }

    /// Adds the counts of another path.
    pub fn merge(&mut self, other: &Self) {
        self.offered += other.offered;
        self.copies += other.copies;
        self.lost += other.lost;
        self.partitioned += other.partitioned;
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
pub struct Delivery {
    /// Its bytes, perhaps damaged.
    pub datagram: Vec<u8>,
    /// Its place among those put in, from 0; a copy has that of its original.
    pub number: u64,
    /// Whether bits of it were flipped.
    pub is_corrupted: bool,
    /// Whether it is the copy of another.
    pub is_copy: bool,
}

/// On its way; ordered by when it is due, then by when it entered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct InFlight {
    due: Instant,
    entered: u64,
    delivery: Delivery,
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
    /// A path with these impairments; `seed` decides about everything that chance decides about.
    #[must_use]
    pub fn new(impairments: Impairments, seed: u64) -> Self {
        Self {
            impairments,
            seed,
            loss: Loss::default(),
            free_at: Instant::default(),
            line: BinaryHeap::new(),
            held: None,
            bytes_in_flight: 0,
            entered: 0,
            delivered_up_to: 0,
            counts: PathCounts::default(),
        }
    }

    /// What it does to datagrams that are put in now.
    #[must_use]
    pub const fn impairments(&self) -> &Impairments {
        &self.impairments
    }

    /// Changes what it does to datagrams from now on; those on their way are not touched.
    pub const fn impair(&mut self, impairments: Impairments) {
        self.impairments = impairments;
    }

    /// Puts in one datagram. `now` must not go back from call to call.
    pub fn offer(&mut self, now: Instant, datagram: &[u8]) {
        let number = self.counts.offered;
        self.counts.offered += 1;
        let mut random = Random::stream(self.seed, number);
        if self.impairments.partition {
            self.counts.partitioned += 1;
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

    /// When the next datagram comes out.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let next = self.line.peek().map(|Reverse(next)| next.due);
        [next, self.held.as_ref().map(|held| held.due)].into_iter().flatten().min()
    }

    /// The next datagram that is due at `now`, in the order of time.
    pub fn poll(&mut self, now: Instant) -> Option<Delivery> {
        let due = self.next_timeout().filter(|due| *due <= now)?;
        let InFlight { delivery, .. } = match self.held.take_if(|held| held.due == due) {
            Some(held) => held,
            None => self.line.pop().expect("someone is due").0,
        };
        self.bytes_in_flight -= delivery.datagram.len();
        self.counts.delivered += 1;
        self.counts.corrupted += u64::from(delivery.is_corrupted);
        self.counts.reordered += u64::from(delivery.number + 1 < self.delivered_up_to);
        self.delivered_up_to = self.delivered_up_to.max(delivery.number + 1);
        Some(delivery)
    }

    /// What became of all datagrams so far.
    #[must_use]
    pub fn counts(&self) -> PathCounts {
        let in_flight = self.line.len() + usize::from(self.held.is_some());
        PathCounts { in_flight: in_flight as u64, ..self.counts }
    }

    /// Sends one datagram, or a copy, on its way.
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
        let delivery = Delivery { datagram, number, is_corrupted, is_copy };
        let in_flight = InFlight { due, entered: self.entered, delivery };
        match self.held.take() {
            None if reorder.happens(random) => {
                self.held = Some(InFlight { due: due.plus(HELD_AT_MOST), ..in_flight });
            }
            held => self.overtake(in_flight, held),
        }
    }

    /// Puts a datagram into the line, and right behind it the one that was held back for it.
    fn overtake(&mut self, in_flight: InFlight, held: Option<InFlight>) {
        let due = in_flight.due;
        self.line.push(Reverse(in_flight));
        if let Some(held) = held {
            self.entered += 1;
            self.line.push(Reverse(InFlight { due: due.min(held.due), entered: self.entered, ..held }));
        }
    }

    /// When a datagram of this length that comes now has left the queue; `None` if there is no room.
    fn pass_queue(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let count = self.line.len() + usize::from(self.held.is_some());
        if count >= MOST_IN_FLIGHT || self.bytes_in_flight + len > MOST_BYTES_IN_FLIGHT {
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
