"""An event loop that receives often reads the socket itself, and nothing is lost whoever reads."""

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
from tautline import _aio

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the link's own thread reads")

Pair = tuple[tautline.Link, tautline.Link]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_loop_that_receives_often_reads_the_socket(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, controller = pair
    reads = 0
    original = _aio.Side._readable

    def count(side: _aio.Side, reader: Any) -> None:
        nonlocal reads
        reads += 1
        original(side, reader)

    monkeypatch.setattr(_aio.Side, "_readable", count)

    async def main() -> None:
        number, deadline = 0, time.monotonic() + PATIENCE
        while reads < 20 and time.monotonic() < deadline:
            asyncio.get_running_loop().call_later(0.0005, controller.send, number)
            assert (await plant.receive_async(PATIENCE)).data == number
            number += 1

    asyncio.run(main())
    assert reads >= 20
    # The link's own thread goes on.
    controller.send("x")
    assert plant.receive(PATIENCE).data == "x"


def test_loops_and_threads_receive_each_message_once(pair: Pair) -> None:
    plant, controller = pair
    count, lock = 3000, threading.Lock()
    taken: list[int] = []

    def keep(message: tautline.Message) -> None:
        with lock:
            taken.append(message.data)

    async def in_loop() -> None:
        while len(taken) < count:
            try:
                keep(await plant.receive_async(0.05))
            except tautline.TimedOut:
                continue

    def in_thread() -> None:
        while len(taken) < count:
            for message in plant.receive_many(10, 0.05):
                keep(message)

    threads = [threading.Thread(target=asyncio.run, args=(in_loop(),)) for _ in range(2)]
    threads.append(threading.Thread(target=in_thread))
    for thread in threads:
        thread.start()
    for number in range(count):
        controller.send(number)
        if number % 8 == 0:
            until(lambda: number - len(taken) < 500)
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(taken) == list(range(count))


def test_a_loop_reads_on_after_a_reconnect_and_the_port_is_free_at_once() -> None:
    async def rounds() -> None:
        plant = tautline.serve("127.0.0.1:0")
        address = plant.local_address
        assert address is not None
        config = tautline.Config(role="server", endpoint=address)
        plant.close()
        plant = tautline.Link(config)
        for number in range(10):
            plant.connect()
            with tautline.connect(address) as link:
                for part in range(5):
                    link.send([number, part])
                    assert (await plant.receive_async(PATIENCE)).data == [number, part]
                waiting = asyncio.ensure_future(plant.receive_async())
                await asyncio.sleep(0)
                plant.disconnect()
                with pytest.raises(tautline.Disconnected):
                    await waiting
        plant.close()

    asyncio.run(rounds())


def test_no_descriptor_stays_behind(pair: Pair) -> None:
    plant, controller = pair

    async def one() -> None:
        for _ in range(3):
            asyncio.get_running_loop().call_later(0.0002, controller.send, 1)
            await plant.receive_async(PATIENCE)

    async def many() -> None:
        for _ in range(20):
            with tautline.serve("127.0.0.1:0") as server:
                with pytest.raises(tautline.TimedOut):
                    await server.receive_async(0.001)
        await asyncio.sleep(0)

    for warm_up in (one, many):
        asyncio.run(warm_up())
    gc.collect()
    before = descriptors()
    for _ in range(20):
        asyncio.run(one())
    asyncio.run(many())
    gc.collect()
    until(lambda: descriptors() <= before, "the end of the descriptors")
