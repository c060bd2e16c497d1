"""Waiting in an event loop: one bell for each loop, which tells of everything that has ended. For trio see `_trio`.

On Linux, a loop that waits for a message may read the socket of the link itself (`Reader`): then no other thread has to wake it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from typing import Any, Callable

from . import _trio
from ._errors import TimedOut
from ._native import Bell, Link, Pending

if sys.platform == "linux":
    from ._native import Reader


class Side:
    """What an event loop waits for. Used on the thread of the loop alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.bell = Bell()
        self._calls: dict[int, Callable[[], None]] = {}
        self._loop = weakref.ref(loop)
        self._readers: dict[weakref.ref[Link], Reader] = {}
        if sys.platform == "linux":
            loop.add_reader(self.bell.fileno(), self._rung)
        else:
            weakref.finalize(loop, self.bell.close)
            arguments = (self.bell, weakref.ref(loop), weakref.WeakMethod(self._rung))
            threading.Thread(target=_tell, args=arguments, name="tautline-bell", daemon=True).start()

    def _rung(self) -> None:
        for token in self.bell.drain():
            call = self._calls.get(token)
            if call is not None:
                call()

    def reader(self, link: Link) -> Reader | None:
        """Returns the reader of a link for this loop. None: the link's own thread reads, and rings the bell."""
        reader = self._readers.get(weakref.ref(link))
        loop = self._loop()
        if reader is None and loop is not None and sys.platform == "linux":
            reader = Reader(link)
            loop.add_reader(reader.fileno(), self._readable, reader)
            self._readers[weakref.ref(link, self._forget)] = reader
        return reader

    def _forget(self, link: weakref.ref[Link]) -> None:
        """Ends watching a link that is gone. Any thread may call this."""
        reader, loop = self._readers.pop(link, None), self._loop()
        if reader is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(lambda: loop.remove_reader(reader.fileno()))

    def _readable(self, reader: Reader) -> None:
        reader.turn()
        # Messages that were read have rung the bell already.
        self._rung()

    def expect(self, call: Callable[[], None]) -> int:
        """Lets `call` be called whenever the returned token rings."""
        token = self.bell.token()
        self._calls[token] = call
        return token

    def forget(self, token: int) -> None:
        self._calls.pop(token, None)


if sys.platform != "linux":

    def _tell(
        bell: Bell, loop: weakref.ref[asyncio.AbstractEventLoop], rung: weakref.WeakMethod[Callable[[], None]]
    ) -> None:
        """Tells a loop of each ring, until the loop is gone. Runs on a thread of its own, which does not keep the loop alive."""
        while bell.wait():
            to, call = loop(), rung()
            if to is None or call is None:
                return
            try:
                to.call_soon_threadsafe(call)
            except RuntimeError:  # the loop is closed
                return
            del to, call


_sides: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Side] = weakref.WeakKeyDictionary()


def side(loop: asyncio.AbstractEventLoop) -> Side:
    """Returns the side of a loop, on its thread."""
    found = _sides.get(loop)
    if found is None:
        found = _sides[loop] = Side(loop)
    return found


def after_fork() -> None:
    """Forgets the loops of the parent."""
    _sides.clear()


class _Wait:
    """One await. The bell and the time-out wake it. It then looks by itself for what it awaits, so a cancelled wait loses nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.woken: asyncio.Future[None] | None = None
        self.is_over = False

    def wake(self) -> None:
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(None)

    def expire(self) -> None:
        self.is_over = True
        self.wake()


async def receive(link: Link, timeout: float | None = None) -> Any:
    """Waits for a message, and gives up afterwards: a message that was meant for a cancelled wait goes to the next receiver at
    once."""
    pending = link._begin_receive()
    try:
        return await wait(pending, timeout, link)
    finally:
        pending.drop()


async def wait(pending: Pending, timeout: float | None = None, link: Link | None = None) -> Any:
    """Waits for the end of `pending`, at most for `timeout` seconds, and returns how it ended. TimedOut: it has not. The loop
    reads the socket of `link` meanwhile."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return await _trio.wait(pending, timeout)
    here = side(loop)
    waiting = _Wait(loop)
    token = here.expect(waiting.wake)
    timer = None
    reader = None
    try:
        while not pending.poll(here.bell, token):
            if waiting.is_over:
                raise TimedOut("nothing came in time")
            if timer is None and timeout is not None:
                timer = waiting.loop.call_later(timeout, waiting.expire)
            if reader is None and link is not None:
                reader = here.reader(link)
                if reader is not None:
                    reader.begin()
            waiting.woken = waiting.loop.create_future()
            await waiting.woken
        return pending.result()
    finally:
        if reader is not None:
            reader.end()
        if timer is not None:
            timer.cancel()
        here.forget(token)


async def run(work: Callable[[], Any]) -> Any:
    """Runs something that blocks on a thread."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return await _trio.run(work)
    return await loop.run_in_executor(None, work)


async def pause() -> None:
    """Lets the other tasks run."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return await _trio.pause()
    await asyncio.sleep(0)
