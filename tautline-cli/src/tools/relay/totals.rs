//! What became of all datagrams: totals that must come out even.

use serde::Serialize;
use tautline::sim::PathCounts;

/// One direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DirectionTotals {
    pub(crate) counts: PathCounts,
    /// Came from clients that there was no room for.
    pub(crate) refused: u64,
    /// Sent on.
    pub(crate) out: u64,
    /// The kernel did not take them.
    pub(crate) send_failed: u64,
}

/// Both directions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) to_target: DirectionTotals,
    pub(crate) to_client: DirectionTotals,
    /// How often the target's host said that nobody listens there.
    pub(crate) refusals: u64,
}

impl DirectionTotals {
    /// One was handed to the kernel, which took it or did not.
    pub(super) fn sent(&mut self, was_taken: bool) {
        let counter = if was_taken { &mut self.out } else { &mut self.send_failed };
        *counter += 1;
    }

    /// Everything that came.
    pub(crate) fn received(&self) -> u64 {
        self.counts.offered + self.refused
    }

    /// `in + copies = out + each kind of loss + on the way`, whenever it is asked.
    pub(crate) fn are_even(&self) -> bool {
        let Self { counts, refused, out, send_failed } = self;
        self.received() + counts.copies == out + send_failed + refused + counts.dropped() + counts.in_flight
    }

    fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.refused += other.refused;
        self.out += other.out;
        self.send_failed += other.send_failed;
    }

    /// For programs.
    pub(crate) fn line(&self) -> TotalsJson {
        let Self { counts, refused, out, send_failed } = self;
        TotalsJson {
            r#in: self.received(),
            copies: counts.copies,
            out: *out,
            lost: counts.lost,
            partitioned: counts.partitioned,
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
    /// Adds another client's.
    pub(super) fn merge(&mut self, other: &Self) {
        self.to_target.merge(&other.to_target);
        self.to_client.merge(&other.to_client);
        self.refusals += other.refusals;
    }
}

/// One direction as JSON.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct TotalsJson {
    r#in: u64,
    copies: u64,
    out: u64,
    lost: u64,
    partitioned: u64,
    queue_full: u64,
    send_failed: u64,
    too_many_clients: u64,
    in_flight: u64,
    corrupted: u64,
    reordered: u64,
}
