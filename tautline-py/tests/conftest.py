"""What the tests share: a plant and its controller over loopback, and a patient wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

import tautline

PATIENCE = 20.0
"""How long a test waits for what must happen. Far longer than it takes, because the machine may be busy."""


def until(is_so: Callable[[], object], what: str = "it") -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.002)


@pytest.fixture
def pair() -> Iterator[tuple[tautline.Link, tautline.Link]]:
    """A plant (a server) and its controller (a client), connected over loopback."""
    with tautline.serve("127.0.0.1:0", name="plant") as plant:
        address = plant.local_address
        assert address is not None
        with tautline.connect(address, name="controller") as controller:
            until(plant.peers, "the controller's arrival")
            yield plant, controller
