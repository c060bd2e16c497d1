"""The simulator: a control loop on many bad networks, the same trace for the same seed, and a bug that is found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tautline.sim
from tautline.sim import SeedFailed, Simulation, for_seeds

EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE: dict[str, Any] = {"__name__": "simulated_pendulum"}
exec((EXAMPLES / "simulated_pendulum.py").read_text(encoding="utf-8"), EXAMPLE)
build: Callable[..., Any] = EXAMPLE["build"]
no_old_command: Callable[[Simulation], None] = EXAMPLE["no_old_command"]


def careless(sim: Simulation) -> None:
    """The same loop with a bug: it takes commands in their order, whatever their age."""
    plant = build(sim, is_careful=False)
    sim.run(1.0)
    assert plant.oldest_acted_on <= EXAMPLE["OLDEST"]


def test_no_old_command_is_acted_on_on_any_of_many_networks() -> None:
    for_seeds(100, no_old_command, loss=0.1, jitter="5ms")


@pytest.mark.long
def test_ten_thousand_networks() -> None:
    began = time.monotonic()
    for_seeds(1_000, no_old_command, loss=0.1, jitter="5ms")
    print(f"1,000 seeds: {time.monotonic() - began:.1f} s")
    for_seeds(range(1_000, 10_000), no_old_command, loss=0.1, jitter="5ms")


def test_a_loop_with_a_bug_is_found_and_its_seed_repeats_it() -> None:
    with pytest.raises(SeedFailed) as caught:
        for_seeds(100, careless, loss=0.1, jitter="30ms")
    with pytest.raises(AssertionError):
        careless(Simulation(caught.value.seed, loss=0.1, jitter="30ms"))


def test_the_same_seed_gives_the_same_trace() -> None:
    def trace(seed: int) -> tuple[int, int, float]:
        sim = Simulation(seed, loss=0.1, jitter="5ms", duplicate=0.05, reorder=0.05)
        plant = build(sim)
        sim.run(1.0)
        return sim.trace, sim.datagrams, plant.worst

    assert trace(7) == trace(7)
    assert trace(7) != trace(8)


def test_the_fixture_makes_simulations(simulation: Callable[..., Simulation]) -> None:
    sim = simulation(seed=3)
    plant = sim.server("plant")
    arm = sim.client("arm", plant)
    heard: list[Any] = []

    @plant.every("5ms")
    def listen(node: tautline.sim.Node) -> None:
        while (message := node.poll()) is not None:
            heard.append((message.data, message.type, message.channel, message.source))

    @arm.every("10ms")
    def speak(node: tautline.sim.Node) -> Iterator[None]:
        for number in range(3):
            yield
            node.send({"n": number}, "status", channel=2)
        yield
        node.send(b"\x00raw")

    sim.run(0.1)
    assert heard == [({"n": n}, "status", 2, "arm") for n in range(3)] + [(b"\x00raw", "data", 0, "arm")]


def test_cuts_restarts_and_lifespans() -> None:
    sim = Simulation(1)
    plant = sim.server("plant")
    arm = sim.client("arm", plant)
    sim.run(0.1)
    assert plant.peers == arm.peers == 1
    sim.cut(arm, plant)
    arm.send("lost")
    sim.run(0.01)
    assert plant.poll() is None
    sim.mend(arm, plant)
    arm.send("short", lifespan="1ms")
    arm.send("long", lifespan="1s")
    sim.run(0.1)
    found = plant.poll()
    assert found is not None and (found.data, found.lifespan) == ("long", 1.0) and 0.09 < found.age < 0.11
    sim.at(sim.now + 0.05, plant.restart)
    sim.run(1.0)
    assert arm.send("again") == 1
    sim.run(0.01)
    again = plant.newest()
    assert again is not None and again.data == "again" and sim.now == pytest.approx(1.22)


def test_wrong_input_says_what_is_right() -> None:
    with pytest.raises(TypeError, match="there is no"):
        Simulation(1, los=0.1)
    with pytest.raises(ValueError, match="impair.loss"):
        Simulation(1, loss="many")
    with pytest.raises(ValueError, match="drift_ppm"):
        Simulation().server("x", drift_ppm=10**6)
    with pytest.raises(ValueError, match="period"):
        Simulation().server("x").every(0)(lambda node: None)
    with pytest.raises(tautline.NotFinite):
        Simulation().server("x").send({"a": float("nan")})
