"""Calls handlers and failsafes: on threads of Python, or in an event loop. An exception is logged, and counted by the library."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import weakref
from typing import Any, Awaitable, Callable, cast

from . import _aio
from ._native import Changes, Job, Jobs, Message, Reply
from ._types import WatchdogEvent

log = logging.getLogger("tautline")

Handler = Callable[[Message, Reply], Any]

SPARE_THREADS = 16
"""How many calls that are past their time limit have their threads replaced, for each handler."""

_here = threading.local()


def runs_here(link: object) -> bool:
    """Whether this thread runs a handler or a failsafe of this link."""
    owner = getattr(_here, "link", None)
    return owner is not None and owner() is link


class Pool:
    """The threads of one handler. They begin when they are needed, and end with the registration."""

    def __init__(self, jobs: Jobs, handler: Handler, concurrency: int, link: object, name: str) -> None:
        self._jobs = jobs
        self._handler = handler
        self._limit = concurrency + SPARE_THREADS
        self._link = weakref.ref(link)
        self._name = name
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._start()

    def _start(self) -> None:
        with self._lock:
            if self._idle or self._threads >= self._limit:
                return
            self._threads += 1
            self._idle += 1
        # A daemon: a handler that hangs does not keep the program from ending.
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def _run(self) -> None:
        _here.link = self._link
        while True:
            taken = self._jobs.next()
            if taken is None:
                return
            job, _ = taken
            with self._lock:
                self._idle -= 1
            # One thread always waits, so that messages of another peer need not.
            self._start()
            call(job, self._handler)
            del job, taken
            with self._lock:
                self._idle += 1


def call(job: Job, handler: Handler) -> None:
    """Calls a handler with a job, on this thread."""
    parts = job.take()
    if parts is None:
        return
    succeeded = False
    try:
        result = handler(*parts)
        if inspect.isawaitable(result):
            # A handler that is no coroutine function, and returns a coroutine all the same.
            asyncio.run(_await(result))
        succeeded = True
    except Exception:
        log.exception("the handler %s raised an exception", _name(handler))
    finally:
        del parts
        job.finish(succeeded)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _name(handler: Callable[..., Any]) -> str:
    return cast(str, getattr(handler, "__qualname__", repr(handler)))


class LoopRunner:
    """Runs an async handler in an event loop. The loop takes all jobs that are there at once."""

    def __init__(self, jobs: Jobs, handler: Handler, time_limit: float, loop: asyncio.AbstractEventLoop) -> None:
        self._jobs = jobs
        self._handler = handler
        self._time_limit = time_limit
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._token: int | None = None
        self._side: _aio.Side | None = None

    def begin(self) -> None:
        """Lets the loop watch the jobs. Called on the thread of the loop."""
        self._side = _aio.side(self._loop)
        self._token = self._side.expect(self._rung)
        self._jobs.ring(self._side.bell, self._token)

    def _rung(self) -> None:
        while (job := self._jobs.poll()) is not None:
            task = self._loop.create_task(self._call(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._jobs.is_closed and self._side is not None and self._token is not None:
            self._side.forget(self._token)

    async def _call(self, job: Job) -> None:
        parts = job.take()
        if parts is None:
            return
        succeeded = False
        try:
            await asyncio.wait_for(self._handler(*parts), self._time_limit)
            succeeded = True
        except (TimeoutError, asyncio.TimeoutError):
            log.warning("the handler %s was cancelled: it took longer than %g s", _name(self._handler), self._time_limit)
        except Exception:
            log.exception("the handler %s raised an exception", _name(self._handler))
        finally:
            del parts
            job.finish(succeeded)


def watch_changes(changes: Changes, failsafe: Callable[[WatchdogEvent], Any], link: object) -> threading.Thread:
    """Calls a failsafe with each change, on a thread of its own."""
    thread = threading.Thread(
        target=_run_failsafe, args=(changes, failsafe, weakref.ref(link)), name="tautline-failsafe", daemon=True
    )
    thread.start()
    return thread


def _run_failsafe(
    changes: Changes, failsafe: Callable[[WatchdogEvent], Any], link: weakref.ref[object]
) -> None:
    _here.link = link
    while (change := changes.next()) is not None:
        try:
            failsafe(change)
        except Exception:
            log.exception("the failsafe %s raised an exception", _name(failsafe))
