"""Many threads and an event loop on one link, and memory that stays flat. The long runs: pytest -m long."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from typing import Any

import pytest
from conftest import PATIENCE, until

import tautline
from tautline.threadsafe import InterfaceConfig, ThreadSafeUDPInterface, create_threadsafe_udp_server

WINDOW = 200
"""How many messages of one sender are on their way, so that nothing is lost on a busy machine."""


def hammer(seconds: float) -> None:
    """Eight threads and an event loop send through one interface and receive from another one: every sum is exact."""

    async def connected(interface: ThreadSafeUDPInterface, endpoint: str) -> None:
        assert await interface.connect({"endpoint": endpoint}), interface.last_error

    settings = {"inbox_capacity": 100_000, "receive_buffer": 8 << 20}
    plant = create_threadsafe_udp_server(InterfaceConfig("plant", custom_settings=settings))
    asyncio.run(connected(plant, "127.0.0.1:0"))
    assert plant.link is not None and plant.link.local_address is not None
    controller = ThreadSafeUDPInterface(InterfaceConfig("controller", custom_settings=settings))
    asyncio.run(connected(controller, plant.link.local_address))

    sent = [0] * 5
    received: list[list[tuple[int, int]]] = [[] for _ in range(4)]
    handled: list[tuple[int, int]] = []
    errors: list[BaseException] = []
    end = time.monotonic() + seconds
    plant.register_message_handler("data", lambda data, metadata: handled.append(tuple(data)))
    done = threading.Event()

    def taken() -> int:
        return sum(map(len, received))

    async def send(sender: int) -> None:
        while time.monotonic() < end:
            while sum(sent) - min(taken(), len(handled)) > WINDOW:
                await asyncio.sleep(0.0005)
            assert await controller.send([sender, sent[sender]]), controller.last_error
            sent[sender] += 1
            controller.get_statistics()

    async def receive(reader: int) -> None:
        while not done.is_set():
            message = await plant.receive(0.02)
            if message is not None:
                received[reader].append(tuple(message[0]))

    def run(work: Any) -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            errors.append(error)

    works = [send(number) for number in range(4)] + [receive(number) for number in range(4)]
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    run(send(4))
    for thread in threads[:4]:
        thread.join(seconds + PATIENCE)
    until(lambda: taken() == len(handled) == sum(sent), "the arrival of all messages")
    done.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert errors == []
    everything = sorted((sender, number) for sender in range(5) for number in range(sent[sender]))
    assert sorted(message for part in received for message in part) == everything
    assert sorted(handled) == everything
    counts, total = plant.get_statistics(), sum(sent)
    assert (counts["messages_received"], counts["inbox_taken"], counts["handled"]) == (total, total, total)
    assert controller.get_statistics()["messages_sent"] == total
    assert counts["sequence_errors"] == 0 and counts["crc_errors"] == 0
    controller.cleanup()
    plant.cleanup()


def test_threads_and_an_event_loop_on_one_interface() -> None:
    hammer(1.0)


@pytest.mark.long
def test_threads_and_an_event_loop_on_one_interface_for_a_minute() -> None:
    hammer(60.0)


def memory() -> int:
    """The memory of this process that is in RAM, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def exchange(messages: int) -> None:
    with tautline.serve("127.0.0.1:0") as plant:
        assert plant.local_address
        plant.handler("status")(lambda message, reply: None)
        with tautline.connect(plant.local_address) as link:
            states = link.publisher("status")
            taken = 0
            while taken < messages:
                states.send_batch([{"state": [0.1, 0.2], "n": 1}] * 25 + [b"raw"] * 25)
                for _ in range(50):
                    assert plant.receive(PATIENCE).data
                taken += 50


def connect(times: int) -> None:
    with tautline.serve("127.0.0.1:0") as plant:
        assert plant.local_address
        for number in range(times):
            with tautline.connect(plant.local_address) as link:
                link.handler("data")(lambda message, reply: None)
                link.watch(lambda change: None, "data", 1)
                link.send(number)


def grows_by(work: Any, warm_up: int, amount: int) -> int:
    """Returns by how many bytes the memory grows with so much work, after some to begin with."""
    work(warm_up)
    gc.collect()
    before = memory(), len(os.listdir("/proc/self/fd"))
    work(amount)
    gc.collect()
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("tautline")], "the end of all threads")
    until(lambda: len(os.listdir("/proc/self/fd")) <= before[1], "the closing of all descriptors")
    return memory() - before[0]


counts_here = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory and the descriptors in Linux's /proc")


@counts_here
def test_memory_stays_flat_over_messages_and_connects() -> None:
    assert grows_by(exchange, 5_000, 20_000) < 8 << 20
    assert grows_by(connect, 20, 60) < 8 << 20


@counts_here
@pytest.mark.long
def test_memory_stays_flat_over_ten_million_messages() -> None:
    assert grows_by(exchange, 1_000_000, 10_000_000) < 8 << 20


@counts_here
@pytest.mark.long
def test_memory_stays_flat_over_ten_thousand_connects() -> None:
    assert grows_by(connect, 500, 10_000) < 8 << 20
