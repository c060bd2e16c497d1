"""A thread-safe UDP link for real-time control.

    import tautline

    with tautline.serve("127.0.0.1:9000", name="plant") as plant:
        command = plant.receive(timeout=1.0)
        plant.reply(command, "done")

docs/python.md leads from nothing to a 1 kHz loop with a failsafe.
"""

from __future__ import annotations

from . import _life as _life
from ._cycle import Cycle
from ._doctor import doctor
from ._errors import (
    Busy,
    ClaimError,
    Closing,
    ConfigError,
    ConnectError,
    ConnectTimedOut,
    DecodeError,
    Disconnected,
    DumpError,
    EncodeError,
    Expired,
    ForkError,
    InboxOff,
    NoPeers,
    NotAllowed,
    NotConnected,
    NotDelivered,
    NotFinite,
    NotOnThisWire,
    Overrun,
    PartlySent,
    PeriodError,
    ReceiveError,
    Refused,
    SendError,
    ServerFull,
    SocketError,
    TautlineError,
    TimedOut,
    TooDeep,
    TooLarge,
    UnknownPeer,
    Unresolved,
    WatchError,
    WindowFull,
    WrongKey,
)
from ._link import Claim, Events, Link, Publisher, Receipt, Request, connect, connect_async, serve, serve_async
from ._native import VERSION as __version__
from ._native import Config, Message, PeerId, Reply, Watch
from ._types import (
    CycleStatistics,
    Event,
    Following,
    HandlerStatistics,
    MessageType,
    Peer,
    Priority,
    RealtimePart,
    Statistics,
    Wake,
    WatchdogEvent,
    WatchdogStatistics,
)

__all__ = [
    "Busy", "Claim", "ClaimError", "Closing", "Config", "ConfigError", "ConnectError", "ConnectTimedOut", "Cycle",
    "CycleStatistics", "DecodeError", "Disconnected", "DumpError", "EncodeError", "Event", "Events", "Expired", "Following",
    "ForkError", "HandlerStatistics",
    "InboxOff", "Link", "Message", "MessageType", "NoPeers", "NotAllowed", "NotConnected", "NotDelivered", "NotFinite",
    "NotOnThisWire", "Overrun", "PartlySent", "Peer", "PeerId", "PeriodError", "Priority", "Publisher", "RealtimePart",
    "Receipt", "ReceiveError", "Refused", "Reply", "Request", "SendError", "ServerFull", "SocketError", "Statistics",
    "TautlineError", "TimedOut", "TooDeep", "TooLarge", "UnknownPeer", "Unresolved", "Wake", "Watch", "WatchError",
    "WatchdogEvent", "WatchdogStatistics", "WindowFull", "WrongKey", "__version__", "connect", "connect_async", "doctor",
    "serve", "serve_async",
]  # fmt: skip
