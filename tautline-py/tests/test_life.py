"""Bad handlers, Ctrl-C in each kind of wait, and exit in each state: each in a program of its own, which must end soon and whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import PATIENCE

CONTROL_C_EXIT = 0xC000_013A
"""How Windows ends a program that does not catch KeyboardInterrupt."""

PREPARED = """
import asyncio, os, signal, sys, threading, time
import tautline

# A shell lets its background programs, and what they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

plant = tautline.serve("127.0.0.1:0", name="plant", connect_timeout=60)
link = tautline.connect(plant.local_address, name="controller")

def ready():
    print("ready", flush=True)
    if sys.platform == "win32":
        # A process of Windows cannot send Ctrl-C to another one alone. Windows runs the handler on a thread of its own, as here.
        threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start()

def daemon(run):
    threading.Thread(target=run, daemon=True).start()

def soon(is_so):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)

def answer(message, reply):
    reply(message.data)
"""


def run(program: str, interrupt: bool = False) -> tuple[int, str, str]:
    """Runs a program, sends Ctrl-C when it is ready, and returns its exit code and what it printed. (On Windows `ready` sends it.)"""
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", PREPARED + program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        if interrupt:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            if sys.platform != "win32":
                time.sleep(0.1)
                process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert "Fatal" not in err and "panicked" not in err, err
    return process.returncode, out, err


def ends(program: str) -> str:
    """Runs a program that must end by itself with success. Returns what it printed."""
    code, out, err = run(program)
    assert code == 0, err
    return out


def is_interrupted(program: str) -> None:
    """Runs a program that waits, and must end with KeyboardInterrupt."""
    code, _, err = run(program, interrupt=True)
    assert "KeyboardInterrupt" in err and code in (1, 130, -signal.SIGINT, CONTROL_C_EXIT), (code, err)


# Bad handlers.


def test_a_handler_that_raises() -> None:
    out = ends("""
@plant.handler("data")
def handler(message, reply):
    if message.data == 1:
        raise ValueError("a bad day")
    reply(message.data)

link.send(1)
print(link.request(2, "data", timeout=20).data, plant.handler_statistics()[0].raised)
""")
    assert out == "2 1\n"


def test_a_handler_that_raises_system_exit() -> None:
    out = ends("""
@plant.handler("data")
def handler(message, reply):
    if message.data == 1:
        sys.exit(3)
    reply(message.data)

link.send(1)
print(link.request(2, "data", timeout=20).data)
""")
    assert out == "2\n"


def test_a_handler_that_blocks_for_an_hour() -> None:
    ends("""
entered = threading.Event()

@plant.handler("data")
def handler(message, reply):
    entered.set()
    time.sleep(3600)

link.send(1)
entered.wait(20)
plant.close()
""")


def test_a_handler_that_disconnects() -> None:
    out = ends("""
@plant.handler("data")
def handler(message, reply):
    plant.disconnect()

link.send(1)
soon(lambda: plant.state == "disconnected")
plant.connect()
print(plant.state)
""")
    assert out == "connected\n"


def test_a_handler_that_closes_its_link() -> None:
    out = ends("""
done = threading.Event()

@plant.handler("data")
def handler(message, reply):
    plant.close()
    done.set()

link.send(1)
print(done.wait(20))
soon(lambda: plant.state == "closed")
""")
    assert out == "True\n"


def test_a_handler_that_drops_the_last_reference() -> None:
    out = ends("""
links = [plant]
del plant
done = threading.Event()

def handler(message, reply):
    links.clear()
    done.set()

links[0].handler("data")(handler)
link.send(1)
print(done.wait(20))
""")
    assert out == "True\n"


# Ctrl-C in each kind of wait.


def test_ctrl_c_in_receive() -> None:
    is_interrupted("ready(); plant.receive()")


def test_ctrl_c_in_receive_with_a_time_out() -> None:
    is_interrupted("ready(); plant.receive(3600)")


def test_ctrl_c_in_receive_many() -> None:
    is_interrupted("ready(); plant.receive_many()")


def test_ctrl_c_in_a_loop_over_messages() -> None:
    is_interrupted("ready()\nfor message in plant: pass")


def test_ctrl_c_in_a_request() -> None:
    is_interrupted("ready(); link.request(1, timeout=None)")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot stop a process")
def test_ctrl_c_in_a_wait_for_a_receipt() -> None:
    # The server is stopped, so that it acknowledges nothing.
    is_interrupted("""
import atexit, signal, subprocess
serve = "import tautline, time; s = tautline.serve('127.0.0.1:0'); print(s.local_address, flush=True); time.sleep(60)"
server = subprocess.Popen([sys.executable, "-c", serve], stdout=subprocess.PIPE, text=True)
atexit.register(server.kill)
other = tautline.connect(server.stdout.readline().strip(), reliable_tries=1000, connect_timeout=20)
server.send_signal(signal.SIGSTOP)
os.waitpid(server.pid, os.WUNTRACED)
receipt = other.send_reliable(1)
ready()
receipt.wait()
""")


def test_ctrl_c_in_a_wait_for_events() -> None:
    is_interrupted("events = plant.events()\nready()\nwhile True: events.next()")


def test_ctrl_c_in_connect() -> None:
    is_interrupted("ready(); tautline.connect('127.0.0.1:9', connect_timeout=60)")


def test_ctrl_c_in_a_wait_for_the_next_cycle() -> None:
    is_interrupted("cycle = tautline.Cycle(0.01)\nready()\nfor wake in cycle: pass")


def test_ctrl_c_in_an_event_loop() -> None:
    is_interrupted("""
async def main():
    ready()
    async for message in plant:
        pass

asyncio.run(main())
""")


def test_ctrl_c_while_handlers_run() -> None:
    is_interrupted("plant.handler('data')(answer)\nready()\nwhile True: link.request(1, 'data', timeout=None)")


# Exit in each state.


def test_exit_with_open_links() -> None:
    ends("")


def test_exit_after_an_exception() -> None:
    code, _, err = run("raise ValueError('the end')")
    assert code == 1 and "the end" in err


def test_exit_while_a_thread_receives() -> None:
    ends("daemon(lambda: plant.receive())\ndaemon(lambda: list(plant))\ntime.sleep(0.05)")


def test_exit_while_threads_send() -> None:
    ends("""
def send():
    while True:
        link.send({"x": [1.5, 2.5]})

for _ in range(4):
    daemon(send)
time.sleep(0.1)
""")


def test_exit_while_a_thread_connects() -> None:
    ends("daemon(lambda: tautline.connect('127.0.0.1:9', connect_timeout=60))\ntime.sleep(0.05)")


def test_exit_while_a_handler_blocks() -> None:
    began = time.monotonic()
    ends("""
entered = threading.Event()

@plant.handler("data")
def handler(message, reply):
    entered.set()
    time.sleep(10)

link.send(1)
entered.wait(20)
""")
    assert time.monotonic() - began < 10


def test_exit_while_handlers_are_busy() -> None:
    ends("""
plant.handler("data")(lambda message, reply: reply(message.data))

def ask():
    while True:
        link.request(1, "data", timeout=20)

for _ in range(3):
    daemon(ask)
time.sleep(0.1)
""")


def test_exit_while_another_thread_runs_an_event_loop() -> None:
    ends("""
async def receive():
    async for message in plant:
        pass

daemon(lambda: asyncio.run(receive()))
time.sleep(0.05)
link.send(1)
""")


def test_exit_with_an_armed_watchdog_runs_its_failsafe() -> None:
    out = ends("""
plant.watch(lambda change: print(change.kind, flush=True), "command", 60)
link.send(1, "command")
soon(lambda: plant.watchdogs()[0].state == "armed")
""")
    assert out.split() == ["armed", "tripped"]


def test_exit_from_another_thread_than_the_one_that_connected() -> None:
    ends("""
made = []
thread = threading.Thread(target=lambda: made.append(tautline.serve("127.0.0.1:0")))
thread.start()
thread.join()
daemon(lambda: made[0].receive())
time.sleep(0.05)
""")


def test_exit_with_a_subscription_and_a_publisher_left() -> None:
    ends("events = plant.events(); publisher = link.publisher(); pending = link._begin_receive(); del plant, link")


# Fork and sub-interpreters.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_child_made_by_fork_gets_a_clear_error_and_the_parents_link_lives() -> None:
    out = ends("""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if child == 0:
    try:
        link.send(1)
    except tautline.ForkError as error:
        print("made by fork" in str(error), flush=True)
    with tautline.serve("127.0.0.1:0") as own:
        print(own.state, flush=True)
    sys.exit(0)
print(os.waitpid(child, 0)[1])
link.send("parent")
print(plant.receive(20).data)
""")
    assert out == "True\nconnected\n0\nparent\n"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="3.12 is the first version with isolated sub-interpreters")
def test_a_sub_interpreter_gets_a_clear_error() -> None:
    out = ends("""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = '''
try:
    import tautline
except ImportError as error:
    print("interpreter" in str(error), flush=True)
'''
interpreters.run_string(interpreters.create(), code)
""")
    assert out == "True\n"
