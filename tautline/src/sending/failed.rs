//! Messages that were not sent, and the counters of sending.

use tautline_proto::{Counter, DropReason, Drops};

use crate::error::SendError;

/// Why messages were not sent, and how many, counted once per peer.
///
/// Travels in a box: the result of success, which the hot path hands from call to call, stays small.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) messages: u64,
    pub(crate) error: SendError,
    /// The first datagram that was refused because the path carries only smaller ones. It and those after it may be sent
    /// in smaller datagrams.
    pub(crate) cut_from: Option<usize>,
}

impl Failed {
    #[cold]
    pub(crate) fn new(messages: u64, error: SendError) -> Box<Self> {
        Box::new(Self { messages, error, cut_from: None })
    }

    /// The same failure, of one message.
    pub(crate) fn of_one(mut self: Box<Self>) -> Box<Self> {
        self.messages = 1;
        self
    }

    /// How many messages were sent in spite of the failure, and how many were not.
    pub(crate) fn counts(&self) -> (usize, usize) {
        match self.error {
            SendError::Partly { sent, failed, .. } => (sent, failed),
            _ => (0, count(self.messages)),
        }
    }

    /// The failure of this many of `all` messages.
    pub(crate) fn of(self: Box<Self>, all: u64) -> Box<Self> {
        if self.messages >= all {
            return self;
        }
        let (sent, failed) = (count(all - self.messages), count(self.messages));
        Self::new(self.messages, SendError::Partly { sent, failed, first: Box::new(self.error) })
    }
}

fn count(messages: u64) -> usize {
    usize::try_from(messages).unwrap_or(usize::MAX)
}

/// Returns the error alone. It is copied out of its box here, so that the code that sends messages does not contain the copy.
#[cold]
#[allow(clippy::boxed_local)] // it comes in its box
pub(crate) fn error_of(failed: Box<Failed>) -> SendError {
    failed.error
}

impl<E: Into<SendError>> From<E> for Box<Failed> {
    #[cold]
    fn from(error: E) -> Self {
        Failed::new(1, error.into())
    }
}

/// Counters of sending as a whole; written under the transmit lock. In one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct SendCounters {
    /// When the last message that was sent was given to send, on the steady clock (ns); 0 for never.
    pub(crate) last_sent_ns: Counter,
    /// Messages that the kernel refused, counted once per peer, and heartbeats.
    pub(crate) refused: Counter,
    /// Messages that were queued and then could not be sent, counted once per peer.
    pub(crate) queued: Counter,
    /// Messages whose lifespan ended in our own queues.
    pub(crate) expired: Counter,
    /// The time that messages for all have taken, while there were more than a few listeners (ns).
    pub(crate) to_all_ns: Counter,
    /// How many peers such a message goes to.
    pub(crate) listeners: Counter,
}

impl SendCounters {
    /// Messages dropped from our own queues.
    pub(crate) fn dropped(&self) -> Drops {
        let mut drops = Drops::default();
        drops.add(DropReason::Expired, self.expired.value());
        drops
    }
}
