"""A link in trio, and in anyio on trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import PATIENCE

import tautline

trio = pytest.importorskip("trio")
anyio = pytest.importorskip("anyio")

Main = Callable[[], Awaitable[None]]


def in_trio(main: Main) -> None:
    trio.run(main)


def in_anyio(main: Main) -> None:
    anyio.run(main, backend="trio")


each_way = pytest.mark.parametrize("run", [in_trio, in_anyio])


@each_way
def test_messages_requests_and_receipts_are_awaited(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with tautline.serve_async("127.0.0.1:0") as plant:
            assert plant.local_address
            plant.handler("command")(lambda message, reply: reply(message.data + 1))
            async with tautline.connect_async(plant.local_address) as link:
                events = plant.events()
                assert (await link.request_async(1, timeout=PATIENCE)).data == 2
                assert await link.send_reliable("x") == "delivered"
                assert [(await plant.receive_async(PATIENCE)).data for _ in range(2)] == [1, "x"]
                with pytest.raises(tautline.TimedOut):
                    await plant.receive_async(0.01)
            async for event in events:
                if event.kind == "peer_disconnected":
                    break

    run(main)


@each_way
def test_many_tasks_wait_and_one_that_is_cancelled_loses_nothing(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with tautline.serve_async("127.0.0.1:0") as plant:
            assert plant.local_address
            got: list[Any] = []

            async def receive() -> None:
                got.append((await plant.receive_async(PATIENCE)).data)

            async with tautline.connect_async(plant.local_address) as link:
                with trio.move_on_after(0.01) as scope:
                    await plant.receive_async()
                assert scope.cancelled_caught
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(receive)
                    await trio.sleep(0.01)
                    for number in range(3):
                        link.send(number)
            assert sorted(got) == [0, 1, 2]

    run(main)


def test_async_for_yields_until_the_link_is_disconnected() -> None:
    async def main() -> None:
        async with tautline.serve_async("127.0.0.1:0", inbox_capacity=5000) as plant:
            assert plant.local_address
            got: list[Any] = []

            async def receive() -> None:
                async for message in plant:
                    got.append(message.data)
                    if len(got) == 300:
                        plant.disconnect()

            async with tautline.connect_async(plant.local_address) as link:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(receive)
                    for number in range(300):
                        link.send_reliable(number)
                        await trio.sleep(0)
            assert sorted(got) == list(range(300))

    trio.run(main)


def test_what_needs_asyncio_or_any_loop_says_so() -> None:
    async def handler(message: tautline.Message, reply: tautline.Reply) -> None: ...

    with tautline.serve("127.0.0.1:0") as plant:

        async def main() -> None:
            with pytest.raises(tautline.TautlineError, match="asyncio"):
                plant.handler("data")(handler)

        trio.run(main)
        coroutine = plant.receive_async(1)
        with pytest.raises(tautline.TautlineError, match="event loop"):
            coroutine.send(None)
