"""A plant and its controller in one event loop: handlers that are coroutines, requests that are awaited, events."""

import asyncio

import tautline


async def main() -> None:
    async with tautline.serve_async("127.0.0.1:0", name="plant") as plant:

        @plant.handler("command")
        async def on_command(message: tautline.Message, reply: tautline.Reply) -> None:
            await asyncio.sleep(0.001)  # a slow drive
            reply({"position": 2.0 * message.data["force"]}, "status")

        assert plant.local_address is not None
        async with tautline.connect_async(plant.local_address, name="controller") as controller:
            for force in (0.5, -1.5):
                answer = await controller.request_async({"force": force}, timeout=1.0)
                print(f"force {force}: {answer.data}")
            outcome = await controller.send_reliable({"gain": 2.0}, "configuration")
            print(f"the new gain was {outcome}")
            try:
                await controller.receive_async(timeout=0.01)
            except tautline.TimedOut:
                print("nothing else came")


if __name__ == "__main__":
    asyncio.run(main())
