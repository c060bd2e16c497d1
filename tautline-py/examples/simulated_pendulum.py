"""Tests of a control loop on bad networks, in virtual time: an inverted pendulum whose commands travel over a link.

    pytest tautline-py/examples/simulated_pendulum.py
"""

from collections.abc import Iterator

from tautline.sim import Node, Simulation, for_seeds

PERIOD = 0.01
OLDEST = 0.02


class Pendulum:
    """A rod on a cart. The angle is 0 when it stands; nothing but the force keeps it there."""

    def __init__(self) -> None:
        self.angle, self.rate, self.force = 0.05, 0.0, 0.0

    def step(self) -> None:
        self.rate += (9.81 * self.angle + self.force) * PERIOD
        self.angle += self.rate * PERIOD


def controller(node: Node) -> None:
    """Called once in each period: answers the newest state with a force."""
    state = node.newest("status")
    if state is not None and state.age <= OLDEST:
        node.send(-40.0 * state.data["angle"] - 10.0 * state.data["rate"], "command")


class Plant:
    """The plant's loop: applies commands, and lets go of the motor when they stop."""

    def __init__(self, is_careful: bool = True) -> None:
        self.pendulum = Pendulum()
        self.is_careful = is_careful
        self.oldest_acted_on = 0.0
        self.worst = 0.0

    def __call__(self, node: Node) -> Iterator[None]:
        """A generator: yields once in each period."""
        silent = 0
        while True:
            command = node.newest("command") if self.is_careful else node.poll("command")
            if command is not None and (command.age <= OLDEST or not self.is_careful):
                self.pendulum.force = command.data
                self.oldest_acted_on = max(self.oldest_acted_on, command.age)
                silent = 0
            else:
                silent += 1
                if silent > 5:
                    self.pendulum.force = 0.0
            self.pendulum.step()
            self.worst = max(self.worst, abs(self.pendulum.angle))
            node.send({"angle": self.pendulum.angle, "rate": self.pendulum.rate}, "status")
            yield


def build(sim: Simulation, is_careful: bool = True) -> Plant:
    plant = Plant(is_careful)
    server = sim.server("plant")
    client = sim.client("controller", server, drift_ppm=50)
    server.every(PERIOD)(plant)
    client.every(PERIOD, offset=0.003)(controller)
    return plant


def no_old_command(sim: Simulation) -> None:
    plant = build(sim)
    sim.run(1.0)
    assert plant.oldest_acted_on <= OLDEST
    assert plant.worst < 0.5, f"the pendulum fell to {plant.worst:.2f} rad"


def test_no_command_older_than_20_ms_is_acted_on() -> None:
    for_seeds(20, no_old_command, loss=0.1, jitter="5ms")
