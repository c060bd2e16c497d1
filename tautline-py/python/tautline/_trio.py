"""Waiting in trio, which anyio can run on, too. trio is imported only if the program has done so."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Callable

from ._errors import TautlineError, TimedOut
from ._native import Bell, Pending

if TYPE_CHECKING:
    import types


def running() -> types.ModuleType:
    """Returns trio, if it runs this task. An error if no event loop does."""
    trio = sys.modules.get("trio")
    try:
        assert trio is not None
        trio.lowlevel.current_task()
    except (AssertionError, RuntimeError):
        raise TautlineError("an event loop is needed: call this in asyncio, uvloop or trio") from None
    return trio


async def wait(pending: Pending, timeout: float | None) -> Any:
    """Waits for the end of `pending`, at most for `timeout` seconds, and returns how it ended. TimedOut: it has not."""
    trio = running()
    bell = Bell()
    with trio.move_on_after(float("inf") if timeout is None else timeout):
        while not pending.poll(bell, 0):
            await _rung(trio, bell)
            bell.drain()
        return pending.result()
    raise TimedOut("nothing came in time")


async def _rung(trio: types.ModuleType, bell: Bell) -> None:
    """Waits until the bell has rung."""
    if sys.platform == "linux":
        await trio.lowlevel.wait_readable(bell.fileno())
    else:
        try:
            await trio.to_thread.run_sync(bell.wait, abandon_on_cancel=True)
        except trio.Cancelled:
            bell.close()  # ends the thread, too
            raise


async def run(work: Callable[[], Any]) -> Any:
    """Runs something that blocks on a thread."""
    return await running().to_thread.run_sync(work)


async def pause() -> None:
    """Lets the other tasks run."""
    await running().lowlevel.checkpoint()
