"""The exceptions: one class for each kind of failure. Their texts say what was wrong, and what would be right."""

from __future__ import annotations

import math
from typing import Any


class TautlineError(Exception):
    """Any failure of a link."""


class ConfigError(TautlineError, ValueError):
    """A setting is unknown or not possible. `key` names it."""

    key: str | None = None


class PeriodError(TautlineError, ValueError):
    """A cycle cannot have this period."""


class ConnectError(TautlineError, ConnectionError):
    """The link could not be opened."""


class ConnectTimedOut(ConnectError, TimeoutError):
    """The server did not answer within `connect_timeout`."""


class Unresolved(ConnectError):
    """The name of the server has no address."""


class SocketError(ConnectError):
    """The system refuses the socket: the port is in use, or the address is not one of this machine."""


class ServerFull(ConnectError):
    """The server has no room for one more client."""


class WrongKey(ConnectError):
    """The server does not accept this key, or takes only clients with a key."""


class NotConnected(TautlineError, ConnectionError):
    """The link is not connected."""


class Disconnected(TautlineError, ConnectionError):
    """The link was disconnected meanwhile."""


class TimedOut(TautlineError, TimeoutError):
    """Nothing came in time."""


class ReceiveError(TautlineError):
    """No message could be received."""


class Overrun(ReceiveError):
    """The inbox was full, and its policy is to refuse."""


class InboxOff(ReceiveError):
    """The link has no inbox: `inbox_capacity` is 0."""


class SendError(TautlineError):
    """The message was not sent."""


class NoPeers(SendError):
    """Nobody is there to send to."""


class UnknownPeer(SendError):
    """The peer is gone."""


class Busy(SendError):
    """Too much waits to be sent. Try again."""


class WindowFull(SendError):
    """Too many reliable messages wait for their acknowledgement. Wait for room."""


class Expired(SendError):
    """The data were older than their lifespan."""


class Refused(SendError):
    """The system or the network refuses to send."""


class NotOnThisWire(SendError):
    """The wire cannot carry this."""


class NotAllowed(SendError):
    """The key of this end may not send messages of this type."""


class PartlySent(SendError):
    """The message was sent to some peers, and not to the others."""


class EncodeError(SendError, ValueError):
    """The value cannot be encoded. `path` names the place in it."""

    path: str | None = None


class NotFinite(EncodeError):
    """The value holds NaN or an infinity: no controller may act on them."""


class TooDeep(EncodeError):
    """The value is nested too deep."""


class TooLarge(EncodeError):
    """The message is too large."""


class NotDelivered(TautlineError):
    """The question did not arrive. `outcome` says why."""

    outcome: str | None = None


class DecodeError(TautlineError, ValueError):
    """The payload cannot be read as a value."""


class WatchError(TautlineError, ValueError):
    """The watchdog's time-out or condition is not possible."""


class ClaimError(TautlineError):
    """The stream cannot be claimed."""


class DumpError(TautlineError):
    """The black box was not written."""


class ForkError(TautlineError, RuntimeError):
    """The link belongs to the parent of this process."""


class Closing(TautlineError, RuntimeError):
    """The interpreter is about to end."""


_PLAIN = (int, bool, type(None))


def locate(value: Any, path: str = "") -> str | None:
    """Returns the place of the first value that cannot be encoded. Called by the extension, for its error messages."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path or None
    if isinstance(value, str):
        return None if _is_text(value) else path or None
    if isinstance(value, _PLAIN):
        return None
    if isinstance(value, dict):
        parts = ((f"{path}.{key}" if path else str(key), item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        parts = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        return path or None
    try:
        return next((found for place, item in parts if (found := locate(item, place))), None)
    except RecursionError:
        return None


def _is_text(value: str) -> bool:
    """Whether a text can travel: half a character, as `json.loads` can make it, cannot."""
    try:
        return bool(value.encode()) or not value
    except UnicodeEncodeError:
        return False
