"""A control loop at 1 kHz with a failsafe at both ends, in one program: from nothing to a loop that stops safely.

The plant applies the newest command, and its failsafe takes the force away when commands stop. The controller balances, and
notices when the plant is gone. At half time the controller ends: the plant stops its motor, and stays stopped.
"""

import threading
import time

import tautline

PERIOD = 0.001
STEPS = 1000


class Plant:
    """A cart on a rail: one state, one force."""

    def __init__(self) -> None:
        self.position, self.speed, self.force = 1.0, 0.0, 0.0
        self.stopped = threading.Event()

    def step(self) -> None:
        self.speed += (self.force - 0.5 * self.speed) * PERIOD
        self.position += self.speed * PERIOD

    def failsafe(self, change: tautline.WatchdogEvent) -> None:
        """Called when commands begin, when they have stopped, and when they are back."""
        print(f"commands: {change.kind}")
        if change.state != "armed":
            self.force = 0.0
        if change.kind == "tripped":
            self.stopped.set()


def control(address: str) -> None:
    """The controller: reads the newest state, and sends a force, once in each cycle."""
    with tautline.connect(address, name="controller", qos={"status": {"history": 1}}) as link:
        commands = link.publisher("command", lifespan=0.02, priority="high")
        state = {"position": 0.0, "speed": 0.0}
        for wake in tautline.Cycle(PERIOD):
            message = link.poll()
            if message is not None:
                state = message.data
            try:
                commands.send({"force": -20.0 * state["position"] - 8.0 * state["speed"]})
            except tautline.NoPeers:
                pass  # The plant was silent for too long, or is gone. If it comes back, the next cycle reaches it.
            if wake.number >= STEPS // 2:
                # The controller ends here, in mid-swing. No command says stop.
                break


def main() -> None:
    plant = Plant()
    with tautline.serve("127.0.0.1:0", name="plant") as link:
        # The library drops commands by itself once they have stopped for 50 ms, also while Python is busy.
        watch = link.watch(plant.failsafe, "command", timeout=0.05)
        states = link.publisher("status")
        assert link.local_address is not None
        threading.Thread(target=control, args=(link.local_address,)).start()
        for wake in tautline.Cycle(PERIOD):
            command = link.poll()
            if command is not None:
                plant.force = command.data["force"]
            plant.step()
            if link.peers():
                states.send({"position": plant.position, "speed": plant.speed})
            if plant.stopped.is_set():
                break
        print(f"stopped at {plant.position:.2f} m with force {plant.force}")
        # Somebody has looked at the plant. Commands that are made from now on pass again.
        link.reset(watch)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
