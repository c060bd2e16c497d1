"""A link, as users see it: the native class, with handlers, watchdogs, waiting in event loops, and `with`."""

from __future__ import annotations

import asyncio
import inspect
import math
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Generator, Iterator, TypeVar, cast

from . import _aio, _handlers, _native
from ._errors import Closing, Disconnected, NotConnected, TautlineError, TimedOut
from ._native import Config, Message, Pending, Watch
from ._types import (
    Event,
    HandlerStatistics,
    Peer,
    RealtimePart,
    Statistics,
    WatchdogEvent,
    WatchdogStatistics,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._settings import Duration, Kind, Options, Settings

H = TypeVar("H", bound=Callable[..., Any])

_LOOK_AROUND = 64
"""After so many messages that were there at once, an async receiver lets the other tasks run."""


class _Ending:
    """Something that ends with an outcome. Wait for it, await it, look at it, or drop it."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending

    @property
    def outcome(self) -> str | None:
        """The outcome; None as long as there is none."""
        return cast(str, self._pending.result()) if self._pending.look() else None

    def wait(self, timeout: Duration | None = None) -> str | None:
        """Waits for the outcome, at most for `timeout` seconds. None: there is none yet."""
        return cast(str, self._pending.result()) if self._pending.wait(timeout) else None

    def __await__(self) -> Generator[Any, None, str]:
        return _aio.wait(self._pending).__await__()


class Receipt(_Ending):
    """How a reliable message ends: "delivered", "expired", "abandoned", "peer_lost" or "unknown"."""


class Claim(_Ending):
    """How a claim or a release ends: "granted", "released", "overtaken", "unowned", "refused", "unanswered", "peer_lost"."""


class Request:
    """A question that was sent. Its answer is a message; an error says why none came."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending

    def wait(self) -> Message:
        """Waits for the answer. The time-out is the one of the request."""
        self._pending.wait(None)
        return cast(Message, self._pending.result())

    def __await__(self) -> Generator[Any, None, Message]:
        return _aio.wait(self._pending).__await__()


class Publisher(_native.Publisher):
    """Sends what a loop sends again and again: the type, the channel and so on are chosen once. Made by `Link.publisher`."""

    def request(self, value: Any, timeout: Duration | None = None) -> Request:
        """Sends a question. Wait for the answer, or await it. Give it a `timeout`, in seconds: else only the answer and a
        disconnect end the wait."""
        return Request(self._begin_request(value, timeout))

    def send_reliable(self, value: Any) -> Receipt:
        """Sends a message again and again until the peer has it (native wire). The receipt tells the outcome."""
        return Receipt(self._begin_reliable(value))


class Events(_native.Events):
    """A subscription to events. Iterate over it, in a thread or in an event loop, or ask for the `next` one."""

    def __iter__(self) -> Iterator[Event]:
        while (event := self.next()) is not None:
            yield event

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        event = await _aio.wait(self._begin())
        if event is None:
            raise StopAsyncIteration
        return cast(Event, event)


class Link(_native.Link):
    """One end of a link. Any number of threads and event loops use it at once.

    `tautline.connect` and `tautline.serve` make one that is open. `with` closes it. A link with handlers must be closed, as
    a file must: its handlers keep it alive.
    """

    def __new__(cls, config: Config) -> Link:
        link = super().__new__(cls, config)
        _open_links.add(link)
        link._failsafes = []
        changes = link._configured_changes
        if changes is not None and config.failsafe is not None:
            link._call(config.failsafe, changes)
        return link

    _failsafes: list[tuple[Any, Any]]

    # Opening and closing.

    async def connect_async(self) -> None:
        """As `connect`, in an event loop."""
        await _aio.wait(self._begin_connect())

    def close(self) -> None:
        """Ends the link for good: disconnects, trips armed watchdogs, lets their failsafes run, and ends the handlers.

        Waits for handlers and failsafes that run, for at most a second. Called from one of them, it does not wait.
        """
        if _handlers.runs_here(self):
            self.disconnect()
            self._end()
        else:
            self._cleanup()
            for thread, _ in self._failsafes:
                thread.join(1.0)
        _open_links.discard(self)

    async def close_async(self) -> None:
        """As `close`, in an event loop: other tasks run meanwhile."""
        await _aio.run(self.close)

    def __enter__(self) -> Link:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Link:
        await self.connect_async()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close_async()

    # Sending.

    def publisher(self, type: Kind = "data", **options: Unpack[Options]) -> Publisher:
        """Makes a publisher: sends again and again with this type and these options. The options are those of `send`.

            commands = link.publisher("command", channel=3)
            commands.send({"force": 1.5})
        """
        return Publisher(self, type, **options)

    def send_reliable(self, value: Any, type: Kind = "data", **options: Unpack[Options]) -> Receipt:
        """Sends a message again and again until the peer has it (native wire). The receipt tells the outcome."""
        return self.publisher(type, **options).send_reliable(value)

    def request(
        self, value: Any, type: Kind = "command", *, timeout: Duration | None, **options: Unpack[Options]
    ) -> Message:
        """Sends a question, and returns its answer. Waits for at most `timeout` seconds; TimedOut says that none came.

            print(link.request({"gain": 2.0}, timeout=1.0).data)

        The options are those of `send`. At the other end a handler answers, or `reply`.
        """
        return self.publisher(type, **options).request(value, timeout).wait()

    async def request_async(
        self, value: Any, type: Kind = "command", *, timeout: Duration | None, **options: Unpack[Options]
    ) -> Message:
        """As `request`, in an event loop."""
        return await self.publisher(type, **options).request(value, timeout)

    # Receiving.

    async def receive_async(self, timeout: Duration | None = None) -> Message:
        """As `receive`, in an event loop. A wait that is cancelled loses nothing."""
        limit = None if timeout is None or timeout == math.inf else _native.seconds(timeout)
        message = self.poll()
        if message is not None:
            return message
        if limit == 0:
            raise TimedOut("no message is there")
        try:
            return cast(Message, await _aio.receive(self, limit))
        except TimedOut:
            return self._last_look()

    def __iter__(self) -> Iterator[Message]:
        """Yields the messages as they come, until the link is disconnected."""
        ends: tuple[type[Exception], ...] = (Disconnected, Closing)
        while True:
            try:
                message = self.receive()
            except ends:
                return
            ends = _ENDS
            yield message

    def __aiter__(self) -> AsyncIterator[Message]:
        """Yields the messages as they come, until the link is disconnected."""
        return _Messages(self)

    # Handlers.

    def handler(
        self,
        type: Kind,
        channel: int | None = None,
        *,
        concurrency: int | None = None,
        time_limit: Duration | None = None,
        backlog: int | None = None,
        unordered: bool = False,
    ) -> Callable[[H], H]:
        """Decorates the handler for a type of messages, or for one channel of it: a function of the message and of `reply`.

            @link.handler("command")
            def on_command(message, reply):
                reply({"force": message.data})

        A function runs on threads of its own, and may block. A coroutine function runs in the running event loop, so decorate
        it there. Messages of one peer come one after the other, unless `unordered`. An exception is logged and counted.
        """

        if callable(type):
            raise TypeError('handler: write @link.handler("command"), with the type of the messages that it takes')

        def register(function: H) -> H:
            if not _takes_two(function):
                raise TypeError(f"handler: a function of the message and of reply is expected, not {function!r}")
            jobs = self._register(
                type, channel, concurrency=concurrency, time_limit=time_limit, backlog=backlog, unordered=unordered
            )
            at_once, limit = self._handler_limits
            if inspect.iscoroutinefunction(function):
                try:
                    loop = asyncio.get_running_loop()
                except RuntimeError:
                    self.unregister(type, channel)
                    raise TautlineError(
                        "a coroutine function needs a running event loop of asyncio or uvloop: register it from inside one"
                    ) from None
                seconds = limit if time_limit is None else _native.seconds(time_limit)
                _handlers.LoopRunner(jobs, function, seconds, loop).begin()
            else:
                name = f"tautline-{getattr(type, 'value', type)}"
                _handlers.Pool(jobs, function, concurrency or at_once, self, name)
            return function

        return register

    # Watchdogs.

    def watch(
        self,
        failsafe: Callable[[WatchdogEvent], Any],
        type: Kind | None = None,
        timeout: Duration | None = None,
        *,
        channel: int | None = None,
        peer: _native.PeerId | None = None,
        identity: str | None = None,
        each_peer: bool = False,
        armed_at_connect: bool = False,
        misses: tuple[int, int] | None = None,
        latches: bool | None = None,
        reset_by: tuple[Kind, str] | None = None,
    ) -> Watch:
        """Registers a watchdog: `failsafe` is called when messages of this type (None: any sign of life) begin, when they have
        stopped for longer than `timeout` seconds, and when they are back.

        A watchdog on commands latches: once it has tripped, commands are dropped until you `reset` it. The library drops them
        by itself, at once, also while Python is busy. The failsafe runs on a thread of Python: it waits for the interpreter.

            watch = link.watch(lambda change: print(change.kind), "command", timeout=0.05)

        `channel`, `peer` and `identity` narrow what is watched; `each_peer` watches every peer by itself. `armed_at_connect`
        does not wait for the first message. `misses=(1, 10)` forgives one miss in ten. `latches` says whether it latches, and
        `reset_by=("status", "operator")` lets such a message reset it. Without a timeout, the `deadline` of the stream's
        settings (`qos`) counts.
        """
        if not callable(failsafe):
            raise TypeError(f"watch: a function of one WatchdogEvent is expected, not {failsafe!r}")
        watch, changes = self._begin_watch(
            type,
            timeout,
            channel=channel,
            peer=peer,
            identity=identity,
            each_peer=each_peer,
            armed_at_connect=armed_at_connect,
            misses=misses,
            latches=latches,
            reset_by=reset_by,
        )
        self._call(failsafe, changes)
        return watch

    def _call(self, failsafe: Callable[[WatchdogEvent], Any], changes: _native.Changes) -> None:
        self._failsafes = [entry for entry in self._failsafes if entry[0].is_alive()]
        self._failsafes.append((_handlers.watch_changes(changes, failsafe, self), changes))

    def watchdogs(self) -> list[WatchdogStatistics]:
        """Returns the state of each watchdog."""
        return [WatchdogStatistics(*parts) for parts in self._watchdog_list()]

    # Owners.

    def claim(self, type: Kind = "command", channel: int = 0) -> Claim:
        """Claims a stream: asks every peer to take its messages from this link alone (native wire)."""
        return Claim(self._begin_claim(type, channel))

    def release(self, type: Kind = "command", channel: int = 0) -> Claim:
        """Gives up a stream that this link owns."""
        return Claim(self._begin_release(type, channel))

    # What is known.

    def events(self) -> Events:
        """Subscribes to events from now on: changes of state, peers that come and go, failures."""
        return Events(self)

    def statistics(self) -> Statistics:
        """Returns everything that the link has counted so far."""
        return Statistics._of(self._statistics_dict())

    def peers(self) -> list[Peer]:
        """Returns the peers that are known now."""
        return [Peer(**parts) for parts in self._peer_list()]

    def handler_statistics(self) -> list[HandlerStatistics]:
        """Returns the counts of each handler."""
        return [HandlerStatistics(*parts) for parts in self._handler_list()]

    def realtime_report(self) -> list[RealtimePart]:
        """Returns what the link asked of the machine, and what the machine granted."""
        return [RealtimePart(*parts) for parts in self._realtime_list()]

    def __repr__(self) -> str:
        return f"<tautline.Link {self.config.settings.get('name', 'tautline')!r} {self.state}>"


def _takes_two(function: object) -> bool:
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind("message", "reply")
    except ValueError:
        pass  # a function in C may not tell its signature
    except TypeError:
        return False
    return True


class _Messages:
    """The messages of a link in an event loop, as they come."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._ends: tuple[type[Exception], ...] = (Disconnected, Closing)
        self._at_once = 0

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> Message:
        if self._at_once >= _LOOK_AROUND:
            self._at_once = 0
            await _aio.pause()
        self._at_once += 1
        try:
            message = self._link.poll()
            if message is None:
                self._at_once = 0
                message = cast(Message, await _aio.receive(self._link))
        except self._ends:
            raise StopAsyncIteration from None
        self._ends = _ENDS
        return message


_ENDS = (Disconnected, NotConnected, Closing)
"""What ends the iteration over messages, after the first one."""

_open_links: weakref.WeakSet[Link] = weakref.WeakSet()


class _Opening:
    """Opens a link in an event loop: await it, or use `async with`."""

    def __init__(self, config: Config) -> None:
        self._link = Link(config)

    async def _open(self) -> Link:
        await self._link.connect_async()
        return self._link

    def __await__(self) -> Generator[Any, None, Link]:
        return self._open().__await__()

    async def __aenter__(self) -> Link:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._link.close_async()


def connect(endpoint: str, **settings: Unpack[Settings]) -> Link:
    """Connects to a server, such as "arm:9000", and returns the link. The settings are those of Config.

        with tautline.connect("arm:9000", name="controller", key_file="arm.key") as link: ...

    Waits for the server for `connect_timeout` (5 s). A ConnectError says why there is no connection. `tautline.Config.keys()`
    lists the settings, and docs/configuration.md explains them.
    """
    link = Link(Config(role="client", endpoint=endpoint, **settings))
    link.connect()
    return link


def serve(endpoint: str, **settings: Unpack[Settings]) -> Link:
    """Listens at an endpoint, such as "127.0.0.1:9000" or ":9000" (everywhere), and returns the link.

        with tautline.serve(":9000", name="plant", liveness_timeout=0.25) as link: ...

    The settings are those of Config. With port 0 the system chooses one: `link.local_address` tells.
    """
    link = Link(Config(role="server", endpoint=endpoint, **settings))
    link.connect()
    return link


def connect_async(endpoint: str, **settings: Unpack[Settings]) -> _Opening:
    """As `connect`, in an event loop: `async with tautline.connect_async("arm:9000") as link`, or `await` it."""
    return _Opening(Config(role="client", endpoint=endpoint, **settings))


def serve_async(endpoint: str, **settings: Unpack[Settings]) -> _Opening:
    """As `serve`, in an event loop."""
    return _Opening(Config(role="server", endpoint=endpoint, **settings))
