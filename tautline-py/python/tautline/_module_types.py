"""The plain values of the Python module `udp_interface_threadsafe`: its enums, its configuration, its metadata."""

from __future__ import annotations

import abc
import enum
from dataclasses import dataclass, field
from typing import Any

from ._native import Message
from ._types import MessageType as MessageType
from ._types import Priority as Priority


class ConnectionState(enum.Enum):
    """The state of an interface."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    STALE = "stale"
    """Heartbeats of the other end are overdue (native wire)."""
    ERROR = "error"
    CLOSED = "closed"


class InterfaceType(enum.Enum):
    """The kind of an interface. There is only one."""

    UDP = "udp"


@dataclass
class InterfaceConfig:
    """The settings of an interface. Any object with `name`, `endpoint` and `get_setting` will do."""

    name: str = "tautline"
    interface_type: Any = InterfaceType.UDP
    endpoint: str = "127.0.0.1:8080"
    custom_settings: dict[str, Any] = field(default_factory=dict)
    """`use_crc`, `use_sequence`, `wire`, `profile` and every other key of `tautline.Config`."""

    def get_setting(self, name: str, default: Any = None) -> Any:
        return self.custom_settings.get(name, default)

    def set_setting(self, name: str, value: Any) -> None:
        self.custom_settings[name] = value


@dataclass
class MessageMetadata:
    """What travels with the data. `retry_count`, `max_retries` and `ttl` do not travel on the classic wire."""

    message_id: Any
    timestamp: float
    message_type: Any
    priority: Any = Priority.NORMAL
    source: str | None = ""
    destination: str | None = None
    correlation_id: Any = None
    retry_count: int = 0
    max_retries: int = 3
    ttl: float | None = None

    @classmethod
    def _of(cls, message: Message) -> MessageMetadata:
        message_id, stamp, kind, priority, source, destination, correlation_id, ttl = message.module_metadata
        return cls(message_id, stamp, kind, priority, source, destination, correlation_id, ttl=ttl)


class CommunicationProtocol(abc.ABC):
    """What the interface and other transports have in common."""

    @abc.abstractmethod
    async def connect(self, config: dict[str, Any]) -> bool: ...

    @abc.abstractmethod
    async def disconnect(self) -> bool: ...

    @abc.abstractmethod
    async def send(self, data: Any, metadata: Any = None) -> bool: ...

    @abc.abstractmethod
    async def receive(self, timeout: float | None = None) -> tuple[Any, MessageMetadata] | None: ...

    @abc.abstractmethod
    def get_connection_state(self) -> ConnectionState: ...

    @abc.abstractmethod
    def get_statistics(self) -> dict[str, Any]: ...
