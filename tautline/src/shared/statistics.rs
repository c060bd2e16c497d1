//! An interface's statistics, as a plain value.

use serde::ser::{Serialize, SerializeMap, Serializer};
use tautline_proto::{Instant as Steady, WallTime};

use crate::handlers::HandlerStats;
use crate::machine::clock::wall_now;
use crate::machine::fault::SocketFaults;
use crate::machine::socket::Granted;
use crate::receiving::inbox::InboxStats;
use crate::sending::deliveries::DeliveryStats;
use crate::shared::Shared;
use tautline_proto::{ConnectionState, DropReason, Drops, PathStats};

/// Everything that an interface has counted since it was made. A plain value: it does not change afterwards.
///
/// Serialises as a flat map, with durations in microseconds (`_us`) and drops by reason.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// The connection state.
    pub connection_state: ConnectionState,
    /// The number of peers known now.
    pub peers: usize,
    /// Messages that the kernel took, counted once per peer.
    pub messages_sent: u64,
    /// Messages that passed every check of the protocol. All of them were offered to handlers and inbox, except those in
    /// `messages_dropped`, and those that answered a request.
    pub messages_received: u64,
    /// Bytes of all datagrams sent to peers.
    pub bytes_sent: u64,
    /// Bytes of the datagrams that were accepted.
    pub bytes_received: u64,
    /// Bytes of the datagrams that were dropped.
    pub bytes_dropped: u64,
    /// Datagrams sent to peers, with heartbeats.
    pub datagrams_sent: u64,
    /// Datagrams that passed every check, with handshakes and heartbeats.
    pub datagrams_accepted: u64,
    /// Datagrams dropped, by reason.
    pub datagrams_dropped: Drops,
    /// Messages dropped from accepted datagrams, by reason.
    pub messages_dropped: Drops,
    /// Datagrams that the kernel dropped because the receive buffer was full (or, rarely, because a UDP checksum was
    /// wrong). 0 on systems other than Linux. Datagrams that are sent in one call and travel as one (segmentation offload,
    /// over loopback and between virtual machines) count once here. `lost` goes by sequence numbers, and counts each.
    pub kernel_drops: u64,
    /// Datagrams of peers that did not come: 64 newer ones came, or 1 s passed.
    pub lost: u64,
    /// Datagrams of peers that did not come and carried nothing: they tried a size that the path may not have.
    pub probes_lost: u64,
    /// Datagrams of peers that came after a newer datagram.
    pub late: u64,
    /// Datagrams of peers that came a second time.
    pub duplicate: u64,
    /// Datagrams of peers that were overtaken by newer ones and may still come.
    pub missing: u64,
    /// Calls of `receive` that ran into their time-out. A call with a time-out of zero does not wait, and is not counted.
    pub timeouts: u64,
    /// How often a peer fell silent.
    pub timeout_errors: u64,
    /// When the last valid datagram came, or the last message was sent, whichever is later; on the wall clock.
    pub last_activity: Option<WallTime>,
    /// The sequence number of the next datagram (of the peer with the highest).
    pub sequence_number: u64,
    /// The sequence number that is expected next (of the peer that sent last).
    pub expected_sequence: u64,
    /// What the kernel refused to send: messages, counted once per peer (the sender got an error, or an event if the message
    /// was queued), heartbeats, and datagrams of reliable messages, which are sent again.
    pub send_failures: u64,
    /// Messages that `send` queued and that could then not be sent. Each is an event.
    pub queued_send_failures: u64,
    /// Messages that `send` queued and that were dropped before they were written, by reason: `Expired`.
    pub send_dropped: Drops,
    /// The outcomes of reliable messages.
    pub deliveries: DeliveryStats,
    /// What the system refused or the network reported, by kind. Counted once per system call, whatever the number of
    /// messages. The link survived each.
    pub socket_faults: SocketFaults,
    /// The counters of the inbox.
    pub inbox: InboxStats,
    /// The counters of all handlers together.
    pub handlers: HandlerStats,
    /// How often a reader of messages (the inbox's, or a handler) fell behind for good. Each is an event.
    pub readers_behind: u64,
    /// How often watchdogs tripped.
    pub watchdog_trips: u64,
    /// How often watchdogs recovered by themselves.
    pub watchdog_recoveries: u64,
    /// How often watchdogs that latch were reset.
    pub watchdog_resets: u64,
    /// How often failsafes panicked.
    pub watchdog_panics: u64,
    /// Periods that passed without the expected traffic, of all watchdogs together.
    pub deadline_misses: u64,
    /// Round trip, jitter and clocks (of the peer that sent last). `None` on the classic wire, and before the first
    /// measurement.
    pub path: Option<PathStats>,
    /// How far the system's wall clock has moved away since the interface connected, in nanoseconds; positive if it was set
    /// forward. Time stamps do not follow it: they go on with the steady clock. 0 while disconnected.
    pub wall_clock_moved_ns: i64,
    /// The bytes that the kernel granted for receiving.
    pub receive_buffer: Option<usize>,
    /// The bytes that the kernel granted for sending.
    pub send_buffer: Option<usize>,
}

impl Statistics {
    /// Datagrams that reached the socket: accepted plus dropped.
    #[must_use]
    pub fn datagrams_received(&self) -> u64 {
        self.datagrams_accepted + self.datagrams_dropped.total()
    }

    /// Lost, late and duplicate datagrams together.
    #[must_use]
    pub const fn sequence_errors(&self) -> u64 {
        self.lost + self.late + self.duplicate
    }

    /// Datagrams whose CRC-32 was wrong.
    #[must_use]
    pub const fn crc_errors(&self) -> u64 {
        self.datagrams_dropped.of(DropReason::BadCrc)
    }
}

impl Shared {
    pub(crate) fn statistics(&self, granted: Granted) -> Statistics {
        let (totals, peers) = self.directory.totals();
        let watchdogs = self.watchdogs.totals(self.steady_now());
        let heard = totals.received.last_activity.map(|at| self.wall_at(at));
        let sent = match self.sender.counters.last_sent_ns.value() {
            0 => None,
            ns => Some(self.wall_at(Steady::from_nanos(ns))),
        };
        Statistics {
            connection_state: self.status.state(),
            peers,
            messages_sent: totals.sent.messages,
            messages_received: totals.received.messages,
            bytes_sent: totals.sent.bytes,
            bytes_received: totals.inbound.bytes,
            bytes_dropped: totals.inbound.bytes_dropped,
            datagrams_sent: totals.sent.datagrams,
            datagrams_accepted: totals.inbound.datagrams_accepted,
            datagrams_dropped: totals.inbound.datagrams_dropped,
            messages_dropped: totals.inbound.messages_dropped,
            kernel_drops: totals.kernel_drops,
            lost: totals.received.lost,
            probes_lost: totals.received.probes_lost,
            late: totals.received.late,
            duplicate: totals.received.duplicate,
            missing: totals.received.missing,
            timeouts: self.inbox.timeouts(),
            timeout_errors: totals.received.timeouts,
            last_activity: heard.max(sent),
            sequence_number: totals.sent.next_sequence,
            expected_sequence: totals.received.expected_sequence,
            send_failures: self.sender.counters.refused.value(),
            queued_send_failures: self.sender.counters.queued.value(),
            send_dropped: self.sender.counters.dropped(),
            deliveries: self.sender.delivery_signs.stats(),
            socket_faults: self.sender.faults.snapshot(),
            inbox: self.inbox.stats(),
            handlers: self.handlers.totals(),
            readers_behind: self.readers_behind.value(),
            watchdog_trips: watchdogs.trips,
            watchdog_recoveries: watchdogs.recoveries,
            watchdog_resets: watchdogs.resets,
            watchdog_panics: watchdogs.panicked,
            deadline_misses: watchdogs.missed,
            path: totals.received.path,
            wall_clock_moved_ns: self
                .sender
                .link
                .load()
                .as_deref()
                .map_or(0, |link| link.clock.wall_moved_ns()),
            receive_buffer: granted.receive_buffer,
            send_buffer: granted.send_buffer,
        }
    }

    /// Converts a time of the steady clock to the wall clock as it is now.
    fn wall_at(&self, at: Steady) -> WallTime {
        let ago = i64::try_from(self.steady_now().since(at).as_nanos()).unwrap_or(i64::MAX);
        WallTime::from_nanos(wall_now().as_nanos().saturating_sub(ago))
    }
}

/// Serialises drops as a map from reason to count.
struct ByReason<'a>(&'a Drops);

impl Serialize for ByReason<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(reason, count)| (reason.name(), count)))
    }
}

impl Serialize for Statistics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("connection_state", self.connection_state.name())?;
        map.serialize_entry("peers", &self.peers)?;
        map.serialize_entry("messages_sent", &self.messages_sent)?;
        map.serialize_entry("messages_received", &self.messages_received)?;
        map.serialize_entry("bytes_sent", &self.bytes_sent)?;
        map.serialize_entry("bytes_received", &self.bytes_received)?;
        map.serialize_entry("bytes_dropped", &self.bytes_dropped)?;
        map.serialize_entry("datagrams_sent", &self.datagrams_sent)?;
        map.serialize_entry("datagrams_received", &self.datagrams_received())?;
        map.serialize_entry("datagrams_accepted", &self.datagrams_accepted)?;
        map.serialize_entry("datagrams_dropped", &ByReason(&self.datagrams_dropped))?;
        map.serialize_entry("messages_dropped", &ByReason(&self.messages_dropped))?;
        map.serialize_entry("crc_errors", &self.crc_errors())?;
        map.serialize_entry("sequence_errors", &self.sequence_errors())?;
        map.serialize_entry("kernel_drops", &self.kernel_drops)?;
        map.serialize_entry("lost", &self.lost)?;
        map.serialize_entry("probes_lost", &self.probes_lost)?;
        map.serialize_entry("late", &self.late)?;
        map.serialize_entry("duplicate", &self.duplicate)?;
        map.serialize_entry("missing", &self.missing)?;
        map.serialize_entry("timeouts", &self.timeouts)?;
        map.serialize_entry("timeout_errors", &self.timeout_errors)?;
        map.serialize_entry("last_activity", &self.last_activity.map(WallTime::as_secs_f64))?;
        map.serialize_entry("sequence_number", &self.sequence_number)?;
        map.serialize_entry("expected_sequence", &self.expected_sequence)?;
        map.serialize_entry("send_failures", &self.send_failures)?;
        map.serialize_entry("queued_send_failures", &self.queued_send_failures)?;
        map.serialize_entry("send_dropped", &ByReason(&self.send_dropped))?;
        let DeliveryStats { waiting, delivered, expired, abandoned, peer_lost, unknown } = self.deliveries;
        map.serialize_entry("deliveries_waiting", &waiting)?;
        map.serialize_entry("deliveries_delivered", &delivered)?;
        map.serialize_entry("deliveries_expired", &expired)?;
        map.serialize_entry("deliveries_abandoned", &abandoned)?;
        map.serialize_entry("deliveries_peer_lost", &peer_lost)?;
        map.serialize_entry("deliveries_unknown", &unknown)?;
        map.serialize_entry("socket_faults", &self.socket_faults)?;
        map.serialize_entry("inbox_waiting", &self.inbox.waiting)?;
        map.serialize_entry("inbox_waiting_bytes", &self.inbox.waiting_bytes)?;
        map.serialize_entry("inbox_taken", &self.inbox.taken)?;
        map.serialize_entry("inbox_dropped", &ByReason(&self.inbox.dropped))?;
        map.serialize_entry("handled", &self.handlers.handled)?;
        map.serialize_entry("handler_panics", &self.handlers.panicked)?;
        map.serialize_entry("handler_timeouts", &self.handlers.timed_out)?;
        map.serialize_entry("handlers_waiting", &self.handlers.waiting)?;
        map.serialize_entry("handlers_waiting_bytes", &self.handlers.waiting_bytes)?;
        map.serialize_entry("handlers_dropped", &ByReason(&self.handlers.dropped))?;
        map.serialize_entry("readers_behind", &self.readers_behind)?;
        map.serialize_entry("watchdog_trips", &self.watchdog_trips)?;
        map.serialize_entry("watchdog_recoveries", &self.watchdog_recoveries)?;
        map.serialize_entry("watchdog_resets", &self.watchdog_resets)?;
        map.serialize_entry("watchdog_panics", &self.watchdog_panics)?;
        map.serialize_entry("deadline_misses", &self.deadline_misses)?;
        let micros = |duration: std::time::Duration| duration.as_secs_f64() * 1e6;
        map.serialize_entry("rtt_us", &self.path.map(|path| micros(path.rtt_smoothed)))?;
        map.serialize_entry("rtt_min_us", &self.path.map(|path| micros(path.rtt_min)))?;
        map.serialize_entry("jitter_us", &self.path.map(|path| micros(path.jitter)))?;
        map.serialize_entry("one_way_delay_us", &self.path.map(|path| micros(path.one_way_delay)))?;
        map.serialize_entry("wall_clock_moved_us", &(self.wall_clock_moved_ns as f64 / 1e3))?;
        map.serialize_entry("receive_buffer", &self.receive_buffer)?;
        map.serialize_entry("send_buffer", &self.send_buffer)?;
        map.end()
    }
}
