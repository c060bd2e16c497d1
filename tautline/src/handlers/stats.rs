//! The counts of a handler: what happened to its messages.

use tautline_proto::Drops;

/// What happened to the messages of one handler, or of all handlers.
///
/// Each message is in exactly one count; see [`offered`](Self::offered).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerStats {
    /// Messages for which the handler returned.
    pub handled: u64,
    /// Messages for which the handler panicked.
    pub panicked: u64,
    /// Messages for which the handler took longer than its time limit.
    pub timed_out: u64,
    /// Messages that the handler did not get, by reason: `BacklogFull`, `Superseded`, `Expired`, `NotOwner`, `Latched`, or
    /// `Closed` if the handler was unregistered or replaced first. `Closed` also counts async calls that were stopped before their end.
    pub dropped: Drops,
    /// Messages that wait now.
    pub waiting: u64,
    /// The bytes of memory that they take.
    pub waiting_bytes: usize,
    /// Messages that are handled now, within their time limit. Always 0 for inline handlers.
    pub running: u64,
    /// Calls past their time limit that have not returned yet. Their messages are counted in `timed_out`.
    pub overdue: u64,
}

impl HandlerStats {
    /// The number of messages that were for this handler: the sum of all counts of messages.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.handled + self.panicked + self.timed_out + self.dropped.total() + self.waiting + self.running
    }

    /// Adds the counts of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.handled += other.handled;
        self.panicked += other.panicked;
        self.timed_out += other.timed_out;
        self.dropped.merge(&other.dropped);
        self.waiting += other.waiting;
        self.waiting_bytes += other.waiting_bytes;
        self.running += other.running;
        self.overdue += other.overdue;
    }
}
