"""The simulator for your own control loops: a seeded network in virtual time, the protocol itself, and your loop.

    from tautline.sim import Simulation

    sim = Simulation(seed=7, loss=0.1, jitter="5ms")
    plant = sim.server("plant")
    controller = sim.client("controller", plant)

    @controller.every("10ms")
    def control(node):
        node.send({"force": 1.5}, "command")

    sim.run(2.0)

Nothing waits: seconds of a loop take milliseconds. The same seed and the same loop give the same `trace`. A loop is a function
of its node, called once in each period, or a generator that yields once in each period.

Simulated are the native wire, its sessions, heartbeats and windows, best-effort messages, clocks that drift, restarts and
networks. What a link does with messages that have arrived (histories, watchdogs, latches) is not: your loop sees each message,
with its age.
"""

from __future__ import annotations

import heapq
import inspect
import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Union

from . import _native
from ._types import MessageType

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._settings import Duration, Kind, Options

__all__ = ["Message", "Node", "SeedFailed", "Simulation", "for_seeds"]

Loop = Callable[["Node"], Union[None, Iterator[None]]]


class SeedFailed(AssertionError):
    """A check failed with one seed. `seed` repeats it: Simulation(seed, ...) does the same again."""

    def __init__(self, seed: int, error: BaseException) -> None:
        super().__init__(f"seed {seed}: {type(error).__name__}: {error}")
        self.seed = seed


@dataclass(frozen=True)
class Message:
    """A message that arrived at a node."""

    data: Any
    type: MessageType
    channel: int
    source: str
    arrived: float
    """When it arrived, in seconds since the beginning."""
    made: float
    """When it was made, by the receiver's estimate of the sender's clock. Before there is one: when it arrived."""
    lifespan: float | None
    is_late: bool
    """Whether a newer message arrived before it."""
    _sim: Simulation = field(repr=False, compare=False)

    @property
    def age(self) -> float:
        """How old it is now, in seconds."""
        return self._sim.now - self.made


class Node:
    """One end of the simulation. Made by `Simulation.server` and `Simulation.client`."""

    def __init__(self, sim: Simulation, number: int, name: str) -> None:
        self.sim = sim
        self.name = name
        self._number = number
        self._inbox: deque[Message] = deque()

    def every(self, period: Duration, offset: Duration = 0.0) -> Callable[[Loop], Loop]:
        """Decorates a loop of this node: a function of the node that is called once in each period, or a generator of it."""

        def begin(loop: Loop) -> Loop:
            self.sim._begin(self, loop, _native.seconds(period), _native.seconds(offset))
            return loop

        return begin

    def send(self, value: Any, type: Kind = "data", **options: Unpack[Options]) -> int:
        """Sends a value to all peers. Returns to how many: 0 as long as there is no connection."""
        return self.sim._world.send(self._number, value, type, **options)

    def poll(self, type: Kind | None = None) -> Message | None:
        """Takes the next message (of this type), if one has arrived. A message whose lifespan is over is dropped."""
        for _ in range(len(self._inbox)):
            message = self._inbox.popleft()
            if message.lifespan is not None and message.age > message.lifespan:
                continue
            if type is None or message.type == type:
                return message
            self._inbox.append(message)
        return None

    def newest(self, type: Kind | None = None) -> Message | None:
        """Takes the newest message (of this type) by the time of its making, and drops the older ones."""
        newest = None
        while (message := self.poll(type)) is not None:
            if newest is None or message.made >= newest.made:
                newest = message
        return newest

    def restart(self) -> None:
        """Restarts the node without a warning to its peers. It forgets the protocol's state and its messages, not your loop's."""
        self._inbox.clear()
        self.sim._world.restart(self._number)

    @property
    def peers(self) -> int:
        """How many peers it can send to."""
        return self.sim._world.peers(self._number)

    def __repr__(self) -> str:
        return f"<node {self.name!r}>"


class Simulation:
    """A seeded network in virtual time. The impairments are those of `impair=`: loss, burst, duplicate, reorder, corrupt, delay,
    jitter, rate, queue, max_size, partition."""

    def __init__(self, seed: int = 0, **impairments: Any) -> None:
        self.seed = seed
        self.now = 0.0
        """The time since the beginning, in seconds."""
        self._impairments = impairments
        self._world = _native.World(seed, impairments)
        self._nodes: list[Node] = []
        self._due: list[tuple[float, int, Node, Callable[[], None], float]] = []
        self._order = itertools.count()

    def server(self, name: str, drift_ppm: int = 0) -> Node:
        """Adds a server. Its clock may run at another speed, in parts per million."""
        return self._add(name, None, drift_ppm)

    def client(self, name: str, server: Node, drift_ppm: int = 0) -> Node:
        """Adds a client of this server. It connects by itself, and again after each restart."""
        return self._add(name, server._number, drift_ppm)

    def _add(self, name: str, server: int | None, drift_ppm: int) -> Node:
        node = Node(self, self._world.add(name, server, drift_ppm), name)
        self._nodes.append(node)
        return node

    def _begin(self, node: Node, loop: Loop, period: float, offset: float) -> None:
        if period <= 0:
            raise ValueError("a period is more than 0")
        steps: Any = None

        def step() -> None:
            nonlocal steps
            if steps is None:
                result = loop(node)
                if not inspect.isgenerator(result):
                    return
                steps = result
            next(steps)

        heapq.heappush(self._due, (self.now + offset, next(self._order), node, step, period))

    def at(self, time: Duration, act: Callable[[], Any]) -> None:
        """Lets something happen at a time: a restart, a cut."""
        heapq.heappush(self._due, (_native.seconds(time), next(self._order), self._nodes[0], act, 0.0))

    def run(self, seconds: Duration) -> None:
        """Lets this much time pass. A generator that ends is called no more."""
        until = self.now + _native.seconds(seconds)
        while self._due and self._due[0][0] <= until:
            time, _, node, step, period = heapq.heappop(self._due)
            self._advance(time)
            try:
                step()
            except StopIteration:
                continue
            if period > 0:
                heapq.heappush(self._due, (time + period, next(self._order), node, step, period))
        self._advance(until)

    def _advance(self, until: float) -> None:
        self.now = until
        for number, arrived, made, data, kind, channel, source, lifespan, is_late in self._world.advance(until):
            made = arrived if made is None else made
            message = Message(data, kind, channel, source, arrived, made, lifespan, is_late, self)
            self._nodes[number]._inbox.append(message)

    def impair(self, **impairments: Any) -> None:
        """Changes what the network does from now on."""
        self._impairments = impairments
        self._world.impair(impairments)

    def cut(self, sender: Node, receiver: Node) -> None:
        """Lets nothing pass from one node to another."""
        self._world.impair({**self._impairments, "partition": True}, sender._number, receiver._number)

    def mend(self, sender: Node, receiver: Node) -> None:
        """Ends a `cut`."""
        self._world.impair(self._impairments, sender._number, receiver._number)

    @property
    def trace(self) -> int:
        """A hash of everything that happened: what was sent, when and by whom, and what followed."""
        return self._world.trace

    @property
    def datagrams(self) -> int:
        """How many datagrams were sent."""
        return self._world.datagrams


def for_seeds(seeds: int | Iterable[int], check: Callable[[Simulation], Any], **impairments: Any) -> None:
    """Calls `check` with a simulation for each seed (a number: from 0 up to it). SeedFailed names the first seed that fails."""
    for seed in range(seeds) if isinstance(seeds, int) else seeds:
        try:
            check(Simulation(seed, **impairments))
        except Exception as error:
            raise SeedFailed(seed, error) from error
