"""A link in an event loop."""

from __future__ import annotations

import asyncio
import datetime
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from conftest import PATIENCE, until

import tautline

Pair = tuple[tautline.Link, tautline.Link]


def runners() -> list[Any]:
    """The event loops that are tried: asyncio's own, and uvloop if it is installed."""
    made = [pytest.param(asyncio.run, id="asyncio")]
    try:
        import uvloop
    except ImportError:
        return made
    return [*made, pytest.param(uvloop.run, id="uvloop")]


Run = Callable[[Coroutine[Any, Any, None]], None]
each_loop = pytest.mark.parametrize("run", runners())


@each_loop
def test_messages_requests_and_receipts_are_awaited(run: Run) -> None:
    async def main() -> None:
        async with tautline.serve_async("127.0.0.1:0") as plant:
            assert plant.local_address

            @plant.handler("command")
            async def answer(message: tautline.Message, reply: tautline.Reply) -> None:
                await asyncio.sleep(0)
                reply(message.data + 1)

            async with tautline.connect_async(plant.local_address) as link:
                assert (await link.request_async(1, timeout=PATIENCE)).data == 2
                assert await link.send_reliable("x") == "delivered"
                assert (await plant.receive_async(PATIENCE)).data == 1
                assert (await plant.receive_async(PATIENCE)).data == "x"
                with pytest.raises(tautline.TimedOut):
                    await plant.receive_async(0.01)
                with pytest.raises(tautline.TimedOut):
                    await plant.receive_async(0)

    run(main())


@each_loop
def test_async_for_yields_until_the_link_is_disconnected(run: Run) -> None:
    async def main() -> None:
        async with tautline.serve_async("127.0.0.1:0", inbox_capacity=5000) as plant:
            assert plant.local_address
            async with tautline.connect_async(plant.local_address) as link:

                async def collect() -> list[int]:
                    return [message.data async for message in plant]

                task = asyncio.create_task(collect())
                for number in range(500):
                    link.send(number)
                    if number % 50 == 0:
                        await asyncio.sleep(0)
                for _ in range(int(PATIENCE * 100)):
                    if plant.statistics().inbox_taken == 500:
                        break
                    await asyncio.sleep(0.01)
                plant.disconnect()
                assert await task == list(range(500))

    run(main())


@each_loop
def test_a_cancelled_wait_loses_nothing(run: Run) -> None:
    async def main() -> None:
        async with tautline.serve_async("127.0.0.1:0") as plant:
            assert plant.local_address
            async with tautline.connect_async(plant.local_address) as link:
                for number in range(50):
                    wait = asyncio.create_task(plant.receive_async())
                    await asyncio.sleep(0)
                    link.send(number)
                    # Now the message may be on its way, waiting, or assigned to the task.
                    for _ in range(number % 4):
                        await asyncio.sleep(0.0005)
                    taken = []
                    if not wait.cancel() or not await _was_cancelled(wait):
                        taken = [wait.result().data]
                    else:
                        taken = [(await plant.receive_async(PATIENCE)).data]
                    assert taken == [number]

    run(main())


async def _was_cancelled(task: asyncio.Task[Any]) -> bool:
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def test_another_loop_on_another_thread_uses_the_same_link(pair: Pair) -> None:
    plant, controller = pair
    results: list[Any] = []

    async def receive() -> None:
        results.append((await plant.receive_async(PATIENCE)).data)

    threads = [threading.Thread(target=lambda: asyncio.run(receive())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(3):
        controller.send(number)
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(results) == [0, 1, 2]


def test_events_are_awaited(pair: Pair) -> None:
    plant, controller = pair

    async def main() -> list[str]:
        kinds = []
        events = plant.events()
        controller.disconnect()
        async for event in events:
            kinds.append(event.kind)
            if event.kind == "peer_disconnected":
                break
        return kinds

    assert "peer_disconnected" in asyncio.run(main())


def test_a_failed_connect_is_raised_where_it_is_awaited() -> None:
    async def main() -> None:
        with pytest.raises(tautline.ConnectTimedOut):
            await tautline.connect_async("127.0.0.1:9", connect_timeout=0.05)

    asyncio.run(main())


def test_an_async_handler_past_its_time_limit_is_cancelled(pair: Pair) -> None:
    plant, controller = pair

    async def main() -> None:
        cancelled = asyncio.Event()

        @plant.handler("command", time_limit=0.05)
        async def slow(message: tautline.Message, reply: tautline.Reply) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                cancelled.set()

        controller.send(1, "command")
        await asyncio.wait_for(cancelled.wait(), PATIENCE)

    asyncio.run(main())
    until(lambda: plant.handler_statistics()[0].running == 0, "the end of the call")


def test_a_coroutine_function_needs_a_running_loop(pair: Pair) -> None:
    plant, _ = pair
    with pytest.raises(tautline.TautlineError, match="running event loop"):

        @plant.handler("command")
        async def handler(message: tautline.Message, reply: tautline.Reply) -> None:
            raise AssertionError

    assert plant.handler_statistics() == []


def test_a_time_out_is_read_as_in_a_thread(pair: Pair) -> None:
    plant, controller = pair

    async def main() -> None:
        for timeout in ("1ms", datetime.timedelta(milliseconds=1), 0.001, 0):
            with pytest.raises(tautline.TimedOut):
                await plant.receive_async(timeout)
        for wrong in (-1, float("nan"), "soon"):
            with pytest.raises(ValueError, match="a duration|a number"):
                await plant.receive_async(wrong)
        controller.send("x")
        assert (await plant.receive_async(float("inf"))).data == "x"

    asyncio.run(main())
