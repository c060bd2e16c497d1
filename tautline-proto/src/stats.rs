//! The counters of an endpoint, and the plain values that readers get.
//!
//! The inbound half counts what is received, the outbound half what is sent. Readers on any thread see each counter exactly.
//! Totals are computed from their parts when they are read, so that two counters never disagree.

use core::time::Duration;

use crate::counter::Counter;
use crate::drops::{DropCounters, Drops};
use crate::snapshot::saved;
use crate::time::Instant;

/// Counts what was received from one peer. Written by the inbound half. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct PeerRxCounters {
    // The counters that every datagram changes come first, in one cache line.
    pub(crate) datagrams: Counter,
    pub(crate) bytes: Counter,
    pub(crate) messages: Counter,
    pub(crate) expected_sequence: Counter,
    pub(crate) last_activity_ns: Counter,
    pub(crate) lost: Counter,
    pub(crate) probes_lost: Counter,
    pub(crate) late: Counter,
    pub(crate) duplicate: Counter,
    pub(crate) missing: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) lives: Counter,
    pub(crate) path: PathGauges,
}

/// The latest estimates of the path to a peer, in nanoseconds. They mean nothing while `samples` is zero.
#[derive(Debug, Default)]
pub(crate) struct PathGauges {
    pub(crate) samples: Counter,
    pub(crate) rtt: Counter,
    pub(crate) rtt_min: Counter,
    pub(crate) rtt_smoothed: Counter,
    pub(crate) rtt_deviation: Counter,
    pub(crate) jitter: Counter,
    pub(crate) one_way_delay: Counter,
    /// A signed number in two's complement.
    pub(crate) clock_offset: Counter,
    pub(crate) clock_offset_error: Counter,
}

/// Counts what was sent to one peer. Written by the outbound half. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PeerTxCounters {
    pub(crate) datagrams: Counter,
    pub(crate) bytes: Counter,
    pub(crate) messages: Counter,
    pub(crate) next_sequence: Counter,
    pub(crate) datagram_size: Counter,
}

/// Counts all datagrams that reached the socket. Written by the inbound half.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct InboundCounters {
    pub(crate) accepted: Counter,
    pub(crate) bytes: Counter,
    pub(crate) bytes_dropped: Counter,
    pub(crate) dropped: DropCounters,
    pub(crate) messages_dropped: DropCounters,
}

impl InboundCounters {
    /// Returns the counts as a plain value.
    #[must_use]
    pub fn snapshot(&self) -> InboundStats {
        InboundStats {
            datagrams_accepted: self.accepted.value(),
            bytes: self.bytes.value(),
            bytes_dropped: self.bytes_dropped.value(),
            datagrams_dropped: self.dropped.snapshot(),
            messages_dropped: self.messages_dropped.snapshot(),
        }
    }
}

/// The counts of all datagrams that reached the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboundStats {
    /// Datagrams that passed every check, including those of the handshake.
    pub datagrams_accepted: u64,
    /// Bytes of the accepted datagrams.
    pub bytes: u64,
    /// Bytes of the dropped datagrams.
    pub bytes_dropped: u64,
    /// Datagrams dropped, by reason.
    pub datagrams_dropped: Drops,
    /// Messages dropped from accepted datagrams, by reason.
    pub messages_dropped: Drops,
}

impl InboundStats {
    /// Returns how many datagrams reached the socket: accepted and dropped.
    #[must_use]
    pub fn datagrams_received(&self) -> u64 {
        self.datagrams_accepted + self.datagrams_dropped.total()
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.datagrams_accepted += other.datagrams_accepted;
        self.bytes += other.bytes;
        self.bytes_dropped += other.bytes_dropped;
        self.datagrams_dropped.merge(&other.datagrams_dropped);
        self.messages_dropped.merge(&other.messages_dropped);
    }
}

impl PeerRxCounters {
    /// Returns the counts as a plain value.
    #[must_use]
    pub fn snapshot(&self) -> PeerRxStats {
        PeerRxStats {
            datagrams: self.datagrams.value(),
            bytes: self.bytes.value(),
            messages: self.messages.value(),
            lost: self.lost.value(),
            probes_lost: self.probes_lost.value(),
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
    /// Returns the counts as a plain value.
    #[must_use]
    pub fn snapshot(&self) -> PeerTxStats {
        PeerTxStats {
            datagrams: self.datagrams.value(),
            bytes: self.bytes.value(),
            messages: self.messages.value(),
            next_sequence: self.next_sequence.value(),
            datagram_size: self.datagram_size.value(),
        }
    }
}

/// The counts of what was received from one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerRxStats {
    /// Datagrams accepted.
    pub datagrams: u64,
    /// Bytes of the accepted datagrams.
    pub bytes: u64,
    /// Messages that passed every check of the protocol. They are offered to handlers and the inbox, unless they are dropped
    /// as expired, stale or superseded.
    pub messages: u64,
    /// Datagrams that did not come before 64 newer datagrams, or within one second after a newer one.
    pub lost: u64,
    /// Datagrams that did not come and carried nothing: they tried a size that the path may not have. If the latest one comes
    /// after all, it is taken off again.
    pub probes_lost: u64,
    /// Datagrams that came after a newer one. Their messages are delivered.
    pub late: u64,
    /// Datagrams that came a second time. They are dropped.
    pub duplicate: u64,
    /// Datagrams that have not come although newer ones have, and that are not counted as lost yet.
    pub missing: u64,
    /// The sequence number that is expected next.
    pub expected_sequence: u64,
    /// When the latest valid datagram came, on the driver's steady clock.
    pub last_activity: Option<Instant>,
    /// How often the peer fell silent for longer than the liveness time-out.
    pub timeouts: u64,
    /// How many lives of this peer were seen: sessions (native) or restarts plus one (classic). More than one means that the
    /// peer was restarted.
    pub lives: u64,
    /// The round trip and the clocks. `None` before the first measurement and on the classic wire.
    pub path: Option<PathStats>,
}

impl PeerRxStats {
    /// Returns how many datagrams were lost, late or duplicate.
    #[must_use]
    pub const fn sequence_errors(&self) -> u64 {
        self.lost + self.late + self.duplicate
    }

    /// Adds the counts of `other`. The expected number, the path and the last activity are taken from the one that was heard
    /// last.
    pub fn merge(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.messages += other.messages;
        self.lost += other.lost;
        self.probes_lost += other.probes_lost;
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

/// The counts of what was sent to one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerTxStats {
    /// Datagrams that the kernel has taken.
    pub datagrams: u64,
    /// Bytes of those datagrams.
    pub bytes: u64,
    /// Messages in those datagrams.
    pub messages: u64,
    /// The sequence number of the next datagram.
    pub next_sequence: u64,
    /// The size of the largest datagram that is sent to the peer now, in bytes. The headers of IP and UDP come on top: 28 bytes
    /// (IPv4) or 48 (IPv6). 0 on the classic wire.
    pub datagram_size: u64,
}

impl PeerTxStats {
    /// Adds the counts of `other`, and takes the higher of the two next numbers and datagram sizes.
    pub fn merge(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.messages += other.messages;
        self.next_sequence = self.next_sequence.max(other.next_sequence);
        self.datagram_size = self.datagram_size.max(other.datagram_size);
    }
}

/// What the native wire's heartbeats show about the path to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStats {
    /// How many round trips were measured.
    pub samples: u64,
    /// The latest round trip, without the time for which the peer held the echo.
    pub rtt: Duration,
    /// The shortest round trip of this session.
    pub rtt_min: Duration,
    /// The smoothed round trip (RFC 6298 §2, SRTT).
    pub rtt_smoothed: Duration,
    /// The mean deviation of the round trip (RFC 6298 §2, RTTVAR).
    pub rtt_deviation: Duration,
    /// The inter-arrival jitter of the peer's heartbeats (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// The estimated delay from the peer to here, from its time stamps and the estimated offset.
    pub one_way_delay: Duration,
    /// The clock of the peer's time stamps minus that of ours, in nanoseconds: their wall clocks as they were when the two
    /// connected (RFC 5905 §8, from the measurement with the smallest error).
    pub clock_offset_ns: i64,
    /// The bound on the error of `clock_offset_ns`: half the round trip of that measurement, plus the drift of 500 ppm since
    /// then.
    pub clock_offset_error: Duration,
}

saved!(PeerRxCounters {
    datagrams,
    bytes,
    messages,
    expected_sequence,
    last_activity_ns,
    lost,
    probes_lost,
    late,
    duplicate,
    missing,
    timeouts,
    lives,
    path,
});
saved!(PathGauges {
    samples,
    rtt,
    rtt_min,
    rtt_smoothed,
    rtt_deviation,
    jitter,
    one_way_delay,
    clock_offset,
    clock_offset_error,
});
saved!(PeerTxCounters { datagrams, bytes, messages, next_sequence, datagram_size });
// Who drives the endpoint counts dropped messages too.
saved!(InboundCounters { accepted, bytes, bytes_dropped, dropped } else { messages_dropped: DropCounters::default() });
