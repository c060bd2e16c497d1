"""Tries the Python package that is installed: links over loopback, with threads, in every event loop of this system, and the program.

platforms/wine runs it in CPython for Windows, and the workflow in that of each system.
"""

import asyncio
import gc
import subprocess
import sys
import threading
import time

import tautline

PATIENCE = 20.0


def with_threads() -> None:
    with tautline.serve("127.0.0.1:0", name="plant") as plant:
        assert plant.local_address
        with tautline.connect(plant.local_address, name="controller") as controller:
            controller.publisher("command").send({"force": [0.5, -1.5]})
            command = plant.receive(timeout=PATIENCE)
            assert command.data == {"force": [0.5, -1.5]}, command
            plant.reply(command, "done")
            assert controller.receive(timeout=PATIENCE).data == "done"


async def in_a_loop() -> None:
    async with tautline.serve_async("127.0.0.1:0") as plant:
        assert plant.local_address

        @plant.handler("command")
        async def answer(message: tautline.Message, reply: tautline.Reply) -> None:
            await asyncio.sleep(0)
            reply(message.data + 1)

        async with tautline.connect_async(plant.local_address) as link:
            for number in range(100):
                assert (await link.request_async(number, timeout=PATIENCE)).data == number + 1
            try:
                await link.receive_async(timeout=0.01)
            except tautline.TimedOut:
                return
            raise AssertionError("nobody has sent anything")


def bells() -> int:
    gc.collect()
    return sum(thread.name == "tautline-bell" for thread in threading.enumerate())


with_threads()
loops = [asyncio.SelectorEventLoop]
if sys.platform == "win32":
    loops.append(asyncio.ProactorEventLoop)
for loop in loops:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(in_a_loop())
    print(f"works in asyncio's {loop.__name__}")
deadline = time.monotonic() + PATIENCE
while bells():
    assert time.monotonic() < deadline, "the thread of a loop that is gone ends"
    time.sleep(0.01)
version = [sys.executable, "-m", "tautline", "--version"]
assert subprocess.run(version, check=True, capture_output=True, text=True).stdout.startswith("tautline ")
print(f"Python {sys.version.split()[0]} on {sys.platform}: {tautline.__file__} works")
