"""The settings of a link, and the options of a message, for type checkers. docs/configuration.md says what each one does."""

from __future__ import annotations

import datetime
import enum
import os
from typing import Any, Callable, Literal, TypedDict, Union

from ._native import PeerId
from ._types import MessageType, WatchdogEvent

Kind = Union[MessageType, str, enum.Enum]
"""A message type: a member of MessageType, its name, or a member of another enum whose value is its name."""

Duration = Union[float, str, datetime.timedelta]
"""Seconds, a text with a unit such as "20ms", or a timedelta."""


class Settings(TypedDict, total=False):
    """The keywords of `connect` and `serve`."""

    bind: str
    interface: str
    profile: Literal["control"]
    name: str
    metrics: str
    key_file: str | os.PathLike[str]
    wire: Literal["native", "classic"]
    use_crc: bool
    use_sequence: bool
    connect_timeout: Duration
    heartbeat_interval: Duration
    liveness_timeout: Duration
    peer_expiry: Duration
    reliable_tries: int
    allow: str | list[str]
    max_peers: int
    max_message_size: int
    max_depth: int
    nonfinite: Literal["refuse", "null"]
    codec: Literal["json", "msgpack", "cbor"]
    inbox_capacity: int
    inbox_policy: Literal["drop_oldest", "drop_newest", "refuse"]
    queue_bytes: int
    receive_buffer: int
    send_buffer: int
    record: str | os.PathLike[str]
    black_box: str | int
    black_box_dir: str | os.PathLike[str]
    handler_time_limit: Duration
    handler_concurrency: int
    handler_backlog: int
    realtime: bool
    thread_priority: int
    cpus: str | int | list[int]
    lock_memory: bool
    low_latency_cpu: bool
    busy_poll: Duration
    wait: Literal["adaptive", "block", "spin"]
    driven_by: Literal["auto", "thread", "callers"]
    coalescing_delay: Duration
    mtu: Literal["auto"] | int
    offload: bool
    dscp: bool
    keys: dict[str, dict[str, Any]]
    """Who may do what, at a server: {"controller": {"file": "controller.key", "may": "command"}} (docs/security.md)."""
    qos: dict[str, dict[str, Any]]
    """The settings of streams: {"command": {"lifespan": 0.02}, "command.3": {"history": 1}}."""
    impair: dict[str, Any]
    """For tests: a bad network, such as {"loss": 0.1, "jitter": "5ms"}."""
    impair_seed: int
    failsafe: Callable[[WatchdogEvent], Any]
    """Called with each change of a watchdog that the configuration asks for (`deadline`)."""


class AllSettings(Settings, total=False):
    """The keywords of Config."""

    role: Literal["server", "client"]
    endpoint: str


class Options(TypedDict, total=False):
    """The options of `send` and of the methods like it."""

    channel: int
    priority: Any
    """A Priority, its name or its number, or an enum with one of these values."""
    delivery: Literal["best_effort", "reliable", "ordered"] | None
    lifespan: Duration | None
    age: Duration | None
    """How old the data are already."""
    to: PeerId | str | None
    message_id: int | float | str | None
    correlation_id: int | float | str | None
    source: str | None
    destination: str | None
    timestamp: float | None
