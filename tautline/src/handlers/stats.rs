//! What happened to the messages of a handler.

use tautline_proto::Drops;

/// What happened to the messages offered to one handler, or to all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerStats {
    /// Messages that the handler returned from.
    pub handled: u64,
    /// Messages on which the handler panicked.
    pub panicked: u64,
    /// Messages on which the handler took longer than its time limit.
    pub timed_out: u64,
    /// Messages that never reached the handler, by reason: `BacklogFull`, `Superseded`, `Expired`, or `Closed` when it was
    /// unregistered or replaced before (also async ones that were stopped half-way by that).
    pub dropped: Drops,
    /// Messages waiting now.
    pub waiting: u64,
    /// Messages being handled now, within their time limit; always 0 for inline handlers.
    pub running: u64,
    /// Calls past their time limit that have not returned yet. Not messages: those are in `timed_out`.
    pub overdue: u64,
}

impl HandlerStats {
    /// Messages that were for this handler.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.handled + self.panicked + self.timed_out + self.dropped.total() + self.waiting + self.running
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.handled += other.handled;
        self.panicked += other.panicked;
        self.timed_out += other.timed_out;
        self.dropped.merge(&other.dropped);
        self.waiting += other.waiting;
        self.running += other.running;
        self.overdue += other.overdue;
    }
}
