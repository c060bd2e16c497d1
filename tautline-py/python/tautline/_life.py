"""The end of the interpreter, and `fork`."""

from __future__ import annotations

import atexit
import os
import time

from . import _aio, _link, _native

PATIENCE = 1.0
"""How long the end of the interpreter waits for failsafes, and for threads that are inside the library, in seconds."""


def _close_all() -> None:
    """Closes all links, so that nothing calls into an interpreter that is gone. Failsafes run; handlers are not waited for."""
    links = list(_link._open_links)
    for link in links:
        try:
            link.disconnect()
            link._end()
        except Exception:  # a link that cannot be closed must not keep the others from it
            continue
    deadline = time.monotonic() + PATIENCE
    for link in links:
        for thread, _ in link._failsafes:
            thread.join(max(0.0, deadline - time.monotonic()))
    _native.begin_exit()
    while _native.guests() and time.monotonic() < deadline + PATIENCE:
        time.sleep(0.001)


def _after_fork() -> None:
    _native.after_fork()
    _link._open_links.clear()
    _aio.after_fork()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
