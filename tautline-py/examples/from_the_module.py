"""A program of the Python module `udp_interface_threadsafe`, with one changed import."""

import asyncio
import time

from tautline.threadsafe import (
    InterfaceConfig,
    InterfaceType,
    MessageMetadata,
    MessageType,
    Priority,
    create_threadsafe_udp_client,
    create_threadsafe_udp_server,
)


async def main() -> None:
    plant = create_threadsafe_udp_server(
        InterfaceConfig(name="plant", interface_type=InterfaceType.UDP, endpoint="127.0.0.1:0")
    )
    if not await plant.connect({}):
        raise SystemExit(f"not connected: {plant.last_error}")
    assert plant.link is not None and plant.link.local_address is not None

    async def on_command(data: list[float], metadata: MessageMetadata) -> None:
        await plant.send([0.1 + data[0], 0.0])

    plant.register_message_handler(MessageType.COMMAND, on_command)

    link = create_threadsafe_udp_client(InterfaceConfig(name="controller", endpoint=plant.link.local_address))
    if not await link.connect({}):
        raise SystemExit(f"not connected: {link.last_error}")
    force = 0.0
    for step in range(10):
        metadata = MessageMetadata(
            message_id=f"step-{step}", timestamp=time.time(), message_type=MessageType.COMMAND,
            priority=Priority.HIGH, source="controller",
        )  # fmt: skip
        if not await link.send([force], metadata):
            print(f"not sent: {link.last_error}")
        received = await link.receive(1.0)
        if received is None:
            print(f"no state: {link.last_error}")
            continue
        (angle, rate), _ = received
        force = -20.0 * angle - 2.0 * rate
    print(link.get_statistics()["sequence_errors"])
    await link.disconnect()
    await plant.disconnect()
    link.cleanup()
    plant.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
