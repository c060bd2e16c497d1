"""The asyncio protocol of the Python module `udp_interface_threadsafe`, for programs that make a transport of their own with it.

The link does its work without it.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from ._module_types import MessageMetadata
    from .threadsafe import ThreadSafeUDPInterface

log = logging.getLogger("tautline")

QUEUE = 1000
"""How many messages wait for `get_next_message`. Beyond it, the newest is dropped, and counted as `queue_drops`."""
AT_ONCE = 10
"""How many handlers run at once. The others wait."""
TIME_LIMIT = 5.0
"""After so many seconds a coroutine of a handler is cancelled."""


class ThreadSafeUDPProtocol(asyncio.DatagramProtocol):
    """Reads the datagrams of a transport with the settings of an interface, and calls its handlers."""

    def __init__(self, interface: ThreadSafeUDPInterface) -> None:
        self.interface = interface
        self.transport: asyncio.BaseTransport | None = None
        self._queue: asyncio.Queue[tuple[Any, MessageMetadata]] = asyncio.Queue(QUEUE)
        self._semaphore = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = self.interface._process_received_data(data, addr)
        if message is None:
            return
        handler = self.interface._get_message_handler(message[1].message_type)
        if handler is not None:
            task = asyncio.ensure_future(self._call_handler_safely(handler, *copy.deepcopy(message)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self.interface._increment_stat("queue_drops")

    async def _call_handler_safely(self, handler: Callable[..., Any], data: Any, metadata: MessageMetadata) -> None:
        """Calls a handler: a function on a thread, a coroutine function here. An exception is logged."""
        async with self._semaphore:
            try:
                if inspect.iscoroutinefunction(handler):
                    result = handler(data, metadata)
                else:
                    result = await asyncio.get_running_loop().run_in_executor(None, handler, data, metadata)
                if inspect.isawaitable(result):
                    await asyncio.wait_for(result, TIME_LIMIT)
            except Exception:
                log.exception("the handler %r raised an exception", handler)

    async def get_next_message(self) -> tuple[Any, MessageMetadata]:
        """Returns the next message. Waits for one."""
        return await self._queue.get()

    def error_received(self, exc: Exception) -> None:
        """Counts an error of the socket, and goes on."""
        self.interface.last_error = exc
        self.interface._increment_stat("socket_errors")
