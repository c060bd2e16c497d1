"""Plain values: the enums of messages, events, statistics."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._native import PeerId, Watch


class MessageType(str, enum.Enum):
    """What a message is for. Each member equals its name on the wire, so `message.type == "command"` works too."""

    COMMAND = "command"
    DATA = "data"
    STATUS = "status"
    ERROR = "error"
    HEARTBEAT = "heartbeat"
    ACK = "acknowledgment"
    CONFIG = "configuration"

    def __eq__(self, other: object) -> bool:
        """Members of other enums with the same value are equal, too."""
        return bool(self.value == (other.value if isinstance(other, enum.Enum) else other))

    def __hash__(self) -> int:
        return hash(self.value)


class Priority(enum.IntEnum):
    """How urgent a message is. In every queue, messages of a higher priority come first."""

    LOW = 1
    NORMAL = 2
    HIGH = 3
    CRITICAL = 4

    def __eq__(self, other: object) -> bool:
        """Members of other enums with the same value are equal, too."""
        return bool(self.value == (other.value if isinstance(other, enum.Enum) else other))

    def __hash__(self) -> int:
        return hash(self.value)


@dataclass(frozen=True)
class Wake:
    """One cycle of a control loop."""

    number: int
    missed: int
    """How many cycles were missed before this one."""
    late: float
    """How late it is, in seconds."""
    is_late: bool


@dataclass(frozen=True)
class CycleStatistics:
    """What a cycle has counted."""

    wakes: int
    late: int
    missed: int
    worst_late: float
    """How late the worst wake-up was, in seconds."""


@dataclass(frozen=True)
class Following:
    """How well a cycle follows a peer."""

    state: str
    """"waiting", "locking", "locked" or "coasting" (the peer is silent)."""
    error: float
    """How far the messages are from their place in the cycle, in seconds."""
    rate_ppm: float
    """How much longer the peer's period is by this clock, in millionths."""
    relocks: int


@dataclass(frozen=True)
class WatchdogEvent:
    """What happened to a watchdog."""

    kind: str
    """"armed", "tripped", "recovered", "refusing" or "reset"."""
    watch: Watch
    watched: str
    """What it watches, such as "command.3"."""
    state: str
    """The state after this: "armed", "tripped" or "waiting". The plant may move only while it is "armed"."""
    peer: PeerId | None = None
    late: float | None = None
    """How much later than due a trip was noticed, in seconds."""
    missed: int | None = None
    silence: float | None = None
    """How long the silence was that has ended, in seconds."""
    cause: str | None = None
    silences: int | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a link. `kind` says what; only the attributes that belong to it are set."""

    kind: str
    peer: PeerId | None = None
    address: str | None = None
    name: str | None = None
    identity: str | None = None
    type: MessageType | None = None
    channel: int | None = None
    from_state: str | None = None
    to_state: str | None = None
    former_address: str | None = None
    reason: str | None = None
    problem: str | None = None
    remedy: str | None = None
    count: int | None = None
    path_size: int | None = None
    """The largest datagram that the path carries, in bytes."""
    age: float | None = None
    former: PeerId | None = None
    owner: PeerId | None = None
    watchdog: WatchdogEvent | None = None

    def __str__(self) -> str:
        parts = ((part.name, getattr(self, part.name)) for part in fields(self) if part.name != "kind")
        told = ", ".join(f"{name}: {_shown(value)}" for name, value in parts if value is not None)
        return f"{self.kind} ({told})" if told else self.kind


def _shown(value: object) -> str:
    """A peer chooses its name. What could control a terminal, or look like another line, is shown with escapes."""
    text = str(value)
    return text if text.isprintable() else repr(text)


@dataclass(frozen=True)
class Peer:
    """What is known of a peer."""

    id: PeerId
    address: str
    name: str
    state: str
    messages_sent: int
    messages_received: int
    lost: int
    round_trip: float | None
    """The smoothed round trip, in seconds. None before it was measured, and on the classic wire."""
    identity: str | None = None
    """Who it is by its key, on a secured link."""
    jitter: float | None = None
    """The jitter of its heartbeats, in seconds (RFC 3550). None as for the round trip, and so are the next two."""
    clock_offset: float | None = None
    """How far its clock is ahead of this one, in seconds."""
    clock_offset_error: float | None = None
    path_size: int | None = None
    """The largest datagram that the path to it carries, in bytes. None on the classic wire."""


@dataclass(frozen=True)
class HandlerStatistics:
    """The counts of one handler. Each of its messages is in exactly one of them."""

    type: str
    channel: int | None
    handled: int
    raised: int
    """How often it raised an exception. Each is logged."""
    timed_out: int
    dropped: int
    waiting: int
    running: int
    overdue: int
    """How many calls run that are past their time limit."""


@dataclass(frozen=True)
class RealtimePart:
    """Something that the configuration asks of the machine. Nothing is granted or refused while it was not asked for."""

    name: str
    asked: str | None
    granted: str | None
    problem: str | None
    remedy: str | None


@dataclass(frozen=True)
class WatchdogStatistics:
    """The state of one watchdog."""

    watch: Watch
    watched: str
    state: str
    trips: int
    recoveries: int
    resets: int
    missed: int
    """How many messages were missed in all."""
    worst_late: float
    """How much later than due a trip was noticed at most, in seconds."""


@dataclass(frozen=True)
class Statistics:
    """Everything that a link has counted since it was made. A plain value: it does not change afterwards."""

    connection_state: str
    peers: int
    messages_sent: int
    messages_received: int
    bytes_sent: int
    bytes_received: int
    bytes_dropped: int
    datagrams_sent: int
    datagrams_received: int
    datagrams_accepted: int
    datagrams_dropped: dict[str, int]
    messages_dropped: dict[str, int]
    crc_errors: int
    sequence_errors: int
    kernel_drops: int
    lost: int
    probes_lost: int
    late: int
    duplicate: int
    missing: int
    timeouts: int
    timeout_errors: int
    last_activity: float | None
    sequence_number: int
    expected_sequence: int
    send_failures: int
    queued_send_failures: int
    send_dropped: dict[str, int]
    deliveries_waiting: int
    deliveries_delivered: int
    deliveries_expired: int
    deliveries_abandoned: int
    deliveries_peer_lost: int
    deliveries_unknown: int
    socket_faults: dict[str, int]
    inbox_waiting: int
    inbox_waiting_bytes: int
    inbox_taken: int
    inbox_dropped: dict[str, int]
    handled: int
    handler_panics: int
    handler_timeouts: int
    handlers_waiting: int
    handlers_waiting_bytes: int
    handlers_dropped: dict[str, int]
    readers_behind: int
    watchdog_trips: int
    watchdog_recoveries: int
    watchdog_resets: int
    watchdog_panics: int
    deadline_misses: int
    rtt_us: float | None
    rtt_min_us: float | None
    jitter_us: float | None
    one_way_delay_us: float | None
    wall_clock_moved_us: float
    receive_buffer: int | None
    send_buffer: int | None
    others: dict[str, Any] = field(default_factory=dict)
    """Counts that are newer than this class."""

    @classmethod
    def _of(cls, counts: dict[str, Any]) -> Statistics:
        others = {name: counts.pop(name) for name in list(counts) if name not in _STATISTICS}
        return cls(**counts, others=others)


_STATISTICS = frozenset(part.name for part in fields(Statistics)) - {"others"}
