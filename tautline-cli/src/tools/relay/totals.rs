//! Counts what happened to all datagrams. The totals of each direction must balance.

use serde::Serialize;
use tautline::sim::PathCounts;

/// The totals of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DirectionTotals {
    pub(crate) counts: PathCounts,
    /// Datagrams of clients for which the table had no room.
    pub(crate) refused: u64,
    /// Datagrams that were sent on.
    pub(crate) out: u64,
    /// Datagrams that the kernel did not take.
    pub(crate) send_failed: u64,
}

/// The totals of both directions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) to_target: DirectionTotals,
    pub(crate) to_client: DirectionTotals,
    /// How often the target's host reported that nobody listens at the port.
    pub(crate) refusals: u64,
}

impl DirectionTotals {
    /// Counts a datagram that was given to the kernel. `was_taken` tells whether the kernel took it.
    pub(super) fn sent(&mut self, was_taken: bool) {
        let counter = if was_taken { &mut self.out } else { &mut self.send_failed };
        *counter += 1;
    }

    /// Returns the number of datagrams received.
    pub(crate) fn received(&self) -> u64 {
        self.counts.offered + self.refused
    }

    /// Whether `in + copies = out + each kind of loss + in flight`. This holds at any time.
    pub(crate) fn balance(&self) -> bool {
        let Self { counts, refused, out, send_failed } = self;
        self.received() + counts.copies == out + send_failed + refused + counts.dropped() + counts.in_flight
    }

    fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.refused += other.refused;
        self.out += other.out;
        self.send_failed += other.send_failed;
    }

    /// Returns the totals as an object for JSON.
    pub(crate) fn line(&self) -> TotalsJson {
        let Self { counts, refused, out, send_failed } = self;
        TotalsJson {
            r#in: self.received(),
            copies: counts.copies,
            out: *out,
            lost: counts.lost,
            partitioned: counts.partitioned,
            too_large: counts.too_large,
            queue_full: counts.queue_full,
            send_failed: *send_failed,
            too_many_clients: *refused,
            in_flight: counts.in_flight,
            corrupted: counts.corrupted,
            reordered: counts.reordered,
        }
    }
}

impl Totals {
    /// Adds the totals of another client.
    pub(super) fn merge(&mut self, other: &Self) {
        self.to_target.merge(&other.to_target);
        self.to_client.merge(&other.to_client);
        self.refusals += other.refusals;
    }
}

/// The totals of one direction as JSON.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct TotalsJson {
    r#in: u64,
    copies: u64,
    out: u64,
    lost: u64,
    partitioned: u64,
    too_large: u64,
    queue_full: u64,
    send_failed: u64,
    too_many_clients: u64,
    in_flight: u64,
    corrupted: u64,
    reordered: u64,
}
