"""The fixture `simulation` for pytest."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from .sim import Simulation


@pytest.fixture
def simulation() -> Callable[..., Simulation]:
    """Makes simulations of control loops: `sim = simulation(seed=7, loss=0.1)`. See tautline.sim."""

    def make(seed: int = 0, **impairments: Any) -> Simulation:
        return Simulation(seed, **impairments)

    return make
