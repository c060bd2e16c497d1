"""The class of the Python module `udp_interface_threadsafe`, by one changed import.

    from tautline.threadsafe import ThreadSafeUDPInterface, create_threadsafe_udp_server, create_threadsafe_udp_client

It speaks the classic wire, because the other end is still the module's; `wire = "native"` in the settings changes that. It
returns True and False where the module does, and `last_error` says why. It may be called from any thread and event loop.
"""

from __future__ import annotations

import asyncio
import datetime
import enum
import inspect
import itertools
import json
import logging
import os
import struct
import threading
import time
import zlib
from typing import Any, Callable, Generator

from . import _handlers
from ._errors import ConfigError, ConnectError, DecodeError, NotConnected, TautlineError, TimedOut
from ._link import Link
from ._module_protocol import ThreadSafeUDPProtocol
from ._module_types import (
    CommunicationProtocol,
    ConnectionState,
    InterfaceConfig,
    InterfaceType,
    MessageMetadata,
    MessageType,
    Priority,
)
from ._native import Config, Jobs, Message, Reply

__all__ = [
    "CommunicationProtocol", "ConnectionState", "InterfaceConfig", "InterfaceType", "MessageMetadata", "MessageType",
    "Priority", "ThreadSafeUDPInterface", "ThreadSafeUDPProtocol", "create_threadsafe_udp_client", "create_threadsafe_udp_server",
]  # fmt: skip

log = logging.getLogger("tautline")

Handler = Callable[[Any, "MessageMetadata"], Any]


class _Done:
    """The end of `cleanup`, which may be awaited or not."""

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]


_SETTINGS = {name for name, _, _ in Config.keys()} - {"name", "endpoint", "role"} | {"keys", "qos", "impair", "impair_seed"}
_VALUES = (bool, int, float, str, list, tuple, dict, datetime.timedelta, enum.Enum, os.PathLike)


class ThreadSafeUDPInterface(CommunicationProtocol):
    """The module's class, on tautline. See docs/python.md for what behaves differently, and why."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.last_error: Exception | None = None
        """Why the last call that returned False or None did so."""
        self._is_server = False
        self._is_classic = True
        self._link: Link | None = None
        self._used: Config | None = None
        self._handlers: dict[str, Handler] = {}
        self._lock = threading.RLock()
        self._added: dict[str, float] = {}
        self._sequence = itertools.count()
        self._expected = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._said: set[str] = set()

    @property
    def link(self) -> Link | None:
        """The link below, for what this class does not have. None before the first `connect`."""
        return self._link

    # Connecting.

    async def connect(self, config: dict[str, Any] | None = None) -> bool:
        """Connects. The keys are `endpoint` (default: the configuration's) and `server_mode`. Does nothing while connected."""
        given = {} if config is None else config
        try:
            if not isinstance(given, dict):
                raise TypeError(f'connect: a dict is expected, such as {{"endpoint": "10.0.0.5:9000"}}, not {given!r}')
            with self._lock:
                self._loop = asyncio.get_running_loop()
                wanted = self._wanted(given)
                link, is_new = self._prepare(wanted)
            used = self._used
            if is_new or used is None or used.settings == wanted.settings:
                await link.connect_async()
            elif link.state in ("disconnected", "error"):
                await self._loop.run_in_executor(None, link.connect_with, wanted)
            elif given.get("endpoint") in (None, used.settings["endpoint"]):
                wanted = used
            else:
                raise ConnectError(
                    f"the interface is connected with {used.settings['endpoint']}: disconnect before you connect to another "
                    "endpoint"
                )
            with self._lock:
                self._used = wanted
                self._is_classic = wanted.settings["wire"] == "classic"
                self._adopt_handlers(link, is_new)
        except (TautlineError, ValueError, TypeError) as error:
            return self._failed(error)
        return True

    def _wanted(self, given: dict[str, Any]) -> Config:
        """Returns the configuration that `connect` asks for."""
        is_server = bool(given.get("server_mode", self._is_server))
        endpoint: Any = given.get("endpoint") or getattr(self.config, "endpoint", None)
        settings: dict[str, Any] = {"wire": "classic"}
        for key in _SETTINGS:
            value = self._setting(key)
            if isinstance(value, _VALUES):
                settings[key] = value
        if settings["wire"] != "classic":
            # The native wire always has both.
            for key in ("use_crc", "use_sequence"):
                if settings.pop(key, True) is False:
                    self._say_once(f"{key} = False has no effect on the native wire")
        name = getattr(self.config, "name", None)
        if isinstance(name, str) and name:
            settings["name"] = name
        config = Config(role="server" if is_server else "client", endpoint=endpoint, **settings)
        config.validate()
        return config

    def _setting(self, name: str) -> Any:
        get = getattr(self.config, "get_setting", None)
        try:
            return get(name, None) if callable(get) else None
        except LookupError:  # a configuration that knows the module's settings only
            return None

    def _prepare(self, wanted: Config) -> tuple[Link, bool]:
        """Returns the link, and whether it is a new one: the first one, or one for the other role."""
        link, used = self._link, self._used
        if link is not None and used is not None and used.settings["role"] != wanted.settings["role"]:
            link.close()
            link = None
        if link is not None and link.state != "closed":
            return link, False
        self._link, self._used = Link(wanted), wanted
        return self._link, True

    async def disconnect(self) -> bool:
        """Disconnects: whoever waits is woken, and the port is free when it returns."""
        link = self._link
        try:
            if link is not None:
                link.disconnect()
        except TautlineError as error:
            return self._failed(error)
        return True

    def cleanup(self) -> _Done:
        """Disconnects for good, and ends the handlers. You may await it."""
        with self._lock:
            link, self._link, self._used = self._link, None, None
            self._handlers.clear()
        if link is not None:
            link.close()
        return _Done()

    # Sending and receiving.

    async def send(self, data: Any, metadata: Any = None) -> bool:
        """Sends data: from a client to its server, from a server to all its clients. False: `last_error` says why not."""
        link = self._link
        if link is None:
            return self._failed(NotConnected("the interface is not connected: call connect first"))
        try:
            if metadata is None:
                link.send(data)
            else:
                link._send_as(data, metadata, self._lifespan(metadata), native=not self._is_classic)
        except (TautlineError, ValueError, TypeError, AttributeError) as error:
            return self._failed(error)
        return True

    def _lifespan(self, metadata: Any) -> float | None:
        """Returns what `ttl` can mean here, and says once what has no effect."""
        ttl: float | None = getattr(metadata, "ttl", None)
        if getattr(metadata, "max_retries", 3) != 3:
            self._say_once("max_retries has no effect: set delivery and reliable_tries on the native wire")
        if ttl is None:
            return None
        if self._is_classic:
            self._say_once("ttl does not travel on the classic wire: set a lifespan at the receiver, or use the native wire")
            return None
        return ttl

    async def receive(self, timeout: float | None = None) -> tuple[Any, MessageMetadata] | None:
        """Returns the next message, with its metadata. Waits for at most `timeout` seconds; None: as long as it takes; 0: not
        at all. None: `last_error` says why."""
        link = self._link
        if link is None:
            self._failed(NotConnected("the interface is not connected: call connect first"))
            return None
        try:
            message = await link.receive_async(timeout)
            return message.data, MessageMetadata._of(message)
        except (TautlineError, ValueError, TypeError) as error:
            self._failed(error)
            return None

    # Handlers.

    def register_message_handler(self, message_type: Any, handler: Handler) -> None:
        """Registers a handler for messages of a type; replaces the former one. It is called as handler(data, metadata). A
        function runs on threads of its own, a coroutine function in the event loop."""
        name = _name_of(message_type)
        if not callable(handler):
            raise TypeError(f"a handler is a function of the data and of the metadata, not {handler!r}")
        with self._lock:
            self._handlers[name] = handler
            link = self._link
            if self._loop is None or self._loop.is_closed():
                self._loop = _running_loop()
            if link is not None:
                self._attach(link, name, handler)

    def unregister_message_handler(self, message_type: Any) -> bool:
        """Unregisters a handler. Returns whether there was one."""
        try:
            name = _name_of(message_type)
        except (ValueError, TypeError) as error:
            return self._failed(error)
        with self._lock:
            found = self._handlers.pop(name, None) is not None
            link = self._link
        if link is not None:
            link.unregister(name)
        return found

    def _adopt_handlers(self, link: Link, is_new: bool) -> None:
        """Registers the handlers at a new link, and moves async ones to the loop that connected."""
        for name, handler in self._handlers.items():
            if is_new or inspect.iscoroutinefunction(handler):
                self._attach(link, name, handler)

    def _attach(self, link: Link, name: str, handler: Handler) -> None:
        jobs = link._register(name)
        at_once, limit = link._handler_limits
        loop = self._loop
        if inspect.iscoroutinefunction(handler) and loop is not None:

            async def call(message: Message, reply: Reply) -> None:
                await handler(message.data, MessageMetadata._of(message))

            _begin(jobs, call, limit, loop)
        else:
            _handlers.Pool(jobs, _Call(self, handler), at_once, link, f"tautline-{name}")

    def _get_message_handler(self, message_type: Any) -> Handler | None:
        with self._lock:
            return self._handlers.get(_name_of(message_type))

    # What is known.

    def get_connection_state(self) -> ConnectionState:
        """Returns the state of the connection."""
        link = self._link
        return ConnectionState.DISCONNECTED if link is None else ConnectionState(link.state)

    def get_statistics(self) -> dict[str, Any]:
        """Returns a copy of the counts: those of the module, and tautline's beside them."""
        link = self._link
        counts: dict[str, Any] = dict.fromkeys(_COUNTS, 0) if link is None else link._statistics_dict()
        counts["connection_state"] = self.get_connection_state().value
        counts["last_activity"] = counts.get("last_activity") or 0.0
        with self._lock:
            for name, amount in self._added.items():
                counts[name] = max(counts[name], amount) if name == "last_activity" else counts.get(name, 0) + amount
        return counts

    # The module's private names, for programs that call them. The link below does this work by itself, and does not ask them.

    def _update_send_stats(self, bytes_sent: int) -> None:
        with self._lock:
            self._increment_stat("messages_sent")
            self._increment_stat("bytes_sent", bytes_sent)
            self._update_activity_time()

    def _update_receive_stats(self, bytes_received: int) -> None:
        with self._lock:
            self._increment_stat("messages_received")
            self._increment_stat("bytes_received", bytes_received)
            self._update_activity_time()

    def _increment_stat(self, stat_name: str, amount: int = 1) -> None:
        with self._lock:
            self._added[stat_name] = self._added.get(stat_name, 0) + amount

    def _update_activity_time(self) -> None:
        with self._lock:
            self._added["last_activity"] = time.time()

    def _get_next_sequence(self) -> int:
        """Returns a number that no other call gets. (The link numbers its datagrams as it writes them.)"""
        return next(self._sequence) & 0xFFFF_FFFF

    def _check_sequence(self, received_seq: int) -> bool:
        """Whether this is the number that is expected next."""
        with self._lock:
            is_expected = received_seq == self._expected
            self._expected = (received_seq + 1) & 0xFFFF_FFFF
            if not is_expected:
                self._increment_stat("sequence_errors")
            return is_expected

    def _parse_endpoint(self, endpoint: str) -> tuple[str, int]:
        """Splits "host:port", "[::1]:port" or "host" (port 8080)."""
        config = Config(role="client", endpoint=endpoint)
        config.validate()
        if endpoint.startswith("["):
            host, _, port = endpoint[1:].partition("]")
            return host, int(port[1:] or 8080)
        if endpoint.count(":") != 1:
            return endpoint, 8080
        host, _, port = endpoint.partition(":")
        return host, int(port)

    def _serialize_message(self, data: Any, metadata: Any) -> bytes:
        """Returns the text that travels, without number and CRC. Never a pickle."""
        envelope = {
            "metadata": {
                "message_id": metadata.message_id,
                "timestamp": metadata.timestamp,
                "message_type": _name_of(metadata.message_type),
                "priority": getattr(metadata.priority, "value", metadata.priority),
                "source": metadata.source,
                "destination": metadata.destination,
                "correlation_id": metadata.correlation_id,
            },
            "data": data,
        }
        return json.dumps(envelope, allow_nan=False).encode()

    def _deserialize_message(self, data: bytes) -> tuple[Any, MessageMetadata]:
        """Reads what `_serialize_message` writes. A pickle is refused: decoding it could execute code."""
        try:
            envelope = json.loads(data, parse_constant=_refuse)
            given = envelope["metadata"]
            metadata = MessageMetadata(
                given["message_id"],
                given["timestamp"],
                MessageType(given["message_type"]),
                Priority(given["priority"]),
                given["source"],
                given.get("destination"),
                given.get("correlation_id"),
            )
            return envelope["data"], metadata
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DecodeError(f"the datagram is no message of the classic wire: {error}") from None

    def _process_received_data(self, data: bytes, addr: Any = None) -> tuple[Any, MessageMetadata] | None:
        """Reads one datagram with number and CRC, as the settings say. None: `last_error` says what is wrong."""
        rest = memoryview(data)
        if self._setting("use_crc") is not False:
            if len(rest) < 4 or struct.unpack_from("!I", rest)[0] != zlib.crc32(rest[4:]):
                self._increment_stat("crc_errors")
                self._failed(DecodeError("the CRC of the datagram is wrong"))
                return None
            rest = rest[4:]
        if self._setting("use_sequence") is not False:
            if len(rest) < 4:
                self._failed(DecodeError("the datagram has no number"))
                return None
            self._check_sequence(struct.unpack_from("!I", rest)[0])
            rest = rest[4:]
        try:
            message = self._deserialize_message(bytes(rest))
        except DecodeError as error:
            self._failed(error)
            return None
        self._update_receive_stats(len(data))
        return message

    # Helpers.

    def _failed(self, error: Exception) -> bool:
        self.last_error = error
        if isinstance(error, (ConnectError, ConfigError)):
            log.warning("%s: %s", getattr(self.config, "name", "tautline"), error)
        elif not isinstance(error, TimedOut):
            log.debug("%s: %s", getattr(self.config, "name", "tautline"), error)
        return False

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            log.warning("%s: %s", getattr(self.config, "name", "tautline"), sentence)


class _Call:
    """Calls a handler that is no coroutine function. If it returns a coroutine all the same, the event loop runs it."""

    def __init__(self, interface: ThreadSafeUDPInterface, handler: Handler) -> None:
        self._interface = interface
        self._handler = handler
        self.__qualname__ = getattr(handler, "__qualname__", repr(handler))

    def __call__(self, message: Message, reply: Reply) -> Any:
        result = self._handler(message.data, MessageMetadata._of(message))
        loop = self._interface._loop
        if inspect.iscoroutine(result) and loop is not None and loop.is_running():
            return asyncio.run_coroutine_threadsafe(result, loop).result()
        return result


_COUNTS = (
    "messages_sent", "messages_received", "bytes_sent", "bytes_received", "crc_errors", "sequence_errors", "timeouts",
    "last_activity", "connection_state", "sequence_number", "expected_sequence",
)  # fmt: skip


def _begin(jobs: Jobs, call: _handlers.Handler, limit: float, loop: asyncio.AbstractEventLoop) -> None:
    """Lets `loop` run an async handler, from whatever thread this is."""
    runner = _handlers.LoopRunner(jobs, call, limit, loop)
    if _running_loop() is loop:
        runner.begin()
    else:
        loop.call_soon_threadsafe(runner.begin)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _name_of(message_type: Any) -> str:
    """Returns the name of a message type, of whatever enum it is."""
    return MessageType(message_type.value if isinstance(message_type, enum.Enum) else message_type).value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number that a controller may act on")


def create_threadsafe_udp_server(config: Any) -> ThreadSafeUDPInterface:
    """Makes an interface that `connect` makes a server."""
    interface = ThreadSafeUDPInterface(config)
    interface._is_server = True
    return interface


def create_threadsafe_udp_client(config: Any) -> ThreadSafeUDPInterface:
    """Makes an interface that `connect` makes a client."""
    return ThreadSafeUDPInterface(config)
