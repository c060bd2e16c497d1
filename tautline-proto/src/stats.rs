//! Counters with one writer each, and the plain values that readers get.
//!
//! A counter belongs to one half of the endpoint: what is received is counted by whoever turns, what
//! is sent by whoever holds the transmit lock. Readers on any thread see each counter exactly; totals
//! are computed from their parts when read, so that no two counters can disagree.

use core::time::Duration;

use crate::counter::Counter;
use crate::drops::{DropCounters, Drops};
use crate::time::Instant;

/// What one peer's datagrams did; written by the inbound half. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct PeerRxCounters {
    // What every datagram changes comes first: one cache line.
    pub(crate) datagrams: Counter,
    pub(crate) bytes: Counter,
    pub(crate) messages: Counter,
    pub(crate) expected_sequence: Counter,
    pub(crate) last_activity_ns: Counter,
    pub(crate) lost: Counter,
    pub(crate) late: Counter,
    pub(crate) duplicate: Counter,
    pub(crate) missing: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) lives: Counter,
    pub(crate) path: PathGauges,
}

/// The latest estimates of the path to a peer, in nanoseconds; zero samples mean none yet.
#[derive(Debug, Default)]
pub(crate) struct PathGauges {
    pub(crate) samples: Counter,
    pub(crate) rtt: Counter,
    pub(crate) rtt_min: Counter,
    pub(crate) rtt_smoothed: Counter,
    pub(crate) rtt_deviation: Counter,
    pub(crate) jitter: Counter,
    pub(crate) one_way_delay: Counter,
    /// Two's complement of a signed number.
    pub(crate) clock_offset: Counter,
    pub(crate) clock_offset_error: Counter,
}

/// What was sent to one peer; written by the outbound half. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PeerTxCounters {
    pub(crate) datagrams: Counter,
    pub(crate) bytes: Counter,
    pub(crate) messages: Counter,
    pub(crate) next_sequence: Counter,
}

/// What all datagrams that reached the socket did; written by the inbound half.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct InboundCounters {
    pub(crate) accepted: Counter,
    pub(crate) bytes: Counter,
    pub(crate) dropped: DropCounters,
    pub(crate) messages_dropped: DropCounters,
}

impl InboundCounters {
    /// The counts as a plain value.
    #[must_use]
    pub fn snapshot(&self) -> InboundStats {
        InboundStats {
            datagrams_accepted: self.accepted.value(),
            bytes: self.bytes.value(),
            datagrams_dropped: self.dropped.snapshot(),
            messages_dropped: self.messages_dropped.snapshot(),
        }
    }
}

/// What all datagrams that reached the socket did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboundStats {
    /// Datagrams that passed every check, handshakes included.
    pub datagrams_accepted: u64,
    /// Bytes of all datagrams, the dropped ones included.
    pub bytes: u64,
    /// Datagrams dropped, by reason.
    pub datagrams_dropped: Drops,
    /// Messages dropped from accepted datagrams, by reason.
    pub messages_dropped: Drops,
}

impl InboundStats {
    /// Datagrams that reached the socket: accepted and dropped.
    #[must_use]
    pub fn datagrams_received(&self) -> u64 {
        self.datagrams_accepted + self.datagrams_dropped.total()
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.datagrams_accepted += other.datagrams_accepted;
        self.bytes += other.bytes;
        self.datagrams_dropped.merge(&other.datagrams_dropped);
        self.messages_dropped.merge(&other.messages_dropped);
    }
}

impl PeerRxCounters {
    /// The counts as a plain value.
    #[must_use]
    pub fn snapshot(&self) -> PeerRxStats {
        PeerRxStats {
            datagrams: self.datagrams.value(),
            bytes: self.bytes.value(),
            messages: self.messages.value(),
            lost: self.lost.value(),
            late: self.late.value(),
            duplicate: self.duplicate.value(),
            missing: self.missing.value(),
            expected_sequence: self.expected_sequence.value(),
            last_activity: match self.last_activity_ns.value() {
                0 => None,
                ns => Some(Instant::from_nanos(ns)),
            },
            timeouts: self.timeouts.value(),
            lives: self.lives.value(),
            path: self.path.snapshot(),
        }
    }
}

impl PathGauges {
    fn snapshot(&self) -> Option<PathStats> {
        let ns = |counter: &Counter| Duration::from_nanos(counter.value());
        (self.samples.value() > 0).then(|| PathStats {
            samples: self.samples.value(),
            rtt: ns(&self.rtt),
            rtt_min: ns(&self.rtt_min),
            rtt_smoothed: ns(&self.rtt_smoothed),
            rtt_deviation: ns(&self.rtt_deviation),
            jitter: ns(&self.jitter),
            one_way_delay: ns(&self.one_way_delay),
            clock_offset_ns: self.clock_offset.value().cast_signed(),
            clock_offset_error: ns(&self.clock_offset_error),
        })
    }
}

impl PeerTxCounters {
    /// The counts as a plain value.
    #[must_use]
    pub fn snapshot(&self) -> PeerTxStats {
        PeerTxStats {
            datagrams: self.datagrams.value(),
            bytes: self.bytes.value(),
            messages: self.messages.value(),
            next_sequence: self.next_sequence.value(),
        }
    }
}

/// What one peer's datagrams did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerRxStats {
    /// Datagrams accepted.
    pub datagrams: u64,
    /// Bytes of the accepted datagrams.
    pub bytes: u64,
    /// Messages that passed every check of the protocol: offered to handlers and the inbox, unless they were dropped before
    /// as expired, stale or superseded.
    pub messages: u64,
    /// Datagrams that never came: 64 newer ones or one second have passed them.
    pub lost: u64,
    /// Datagrams that came after a newer one; delivered.
    pub late: u64,
    /// Datagrams that came again; dropped.
    pub duplicate: u64,
    /// Datagrams passed by newer ones and neither here nor given up yet.
    pub missing: u64,
    /// The number expected next.
    pub expected_sequence: u64,
    /// When the last valid datagram came, on the driver's steady clock.
    pub last_activity: Option<Instant>,
    /// How often the peer fell silent for longer than the liveness time-out.
    pub timeouts: u64,
    /// Sessions (native) or epochs (classic) of this peer seen so far; more than one means restarts.
    pub lives: u64,
    /// Round trip and clocks; `None` before the first measurement and on the classic wire.
    pub path: Option<PathStats>,
}

impl PeerRxStats {
    /// Lost, late and duplicate datagrams together.
    #[must_use]
    pub const fn sequence_errors(&self) -> u64 {
        self.lost + self.late + self.duplicate
    }

    /// Adds the counts of `other`; its gauges (next expected number, path, activity) win when newer.
    pub fn merge(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.messages += other.messages;
        self.lost += other.lost;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.missing += other.missing;
        self.timeouts += other.timeouts;
        self.lives += other.lives;
        if other.last_activity >= self.last_activity {
            self.last_activity = other.last_activity;
            self.expected_sequence = other.expected_sequence;
            self.path = other.path.or(self.path);
        }
    }
}

/// What was sent to one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerTxStats {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Bytes of those datagrams.
    pub bytes: u64,
    /// Messages in those datagrams.
    pub messages: u64,
    /// The number of the next datagram.
    pub next_sequence: u64,
}

impl PeerTxStats {
    /// Adds the counts of `other`; the higher next number wins.
    pub fn merge(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.messages += other.messages;
        self.next_sequence = self.next_sequence.max(other.next_sequence);
    }
}

/// What the native wire's heartbeats tell of the path to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStats {
    /// Round trips measured.
    pub samples: u64,
    /// The latest round trip, without the time that the peer held the echo.
    pub rtt: Duration,
    /// The shortest round trip of this session.
    pub rtt_min: Duration,
    /// Smoothed round trip (RFC 6298 §2, SRTT).
    pub rtt_smoothed: Duration,
    /// Mean deviation of the round trip (RFC 6298 §2, RTTVAR).
    pub rtt_deviation: Duration,
    /// Inter-arrival jitter of the peer's heartbeats (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// Estimated delay from the peer to here, by both wall clocks and the estimated offset.
    pub one_way_delay: Duration,
    /// The peer's wall clock minus ours (RFC 5905 §8, by the measurement whose error is least).
    pub clock_offset_ns: i64,
    /// Bound on the error of `clock_offset_ns`: half that measurement's round trip, and what clocks drift apart since, 500 ppm.
    pub clock_offset_error: Duration,
}
