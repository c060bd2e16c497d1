"""The drop-in and a stand-in of the module, in all four combinations over real sockets, with every recorded shape and setting."""

from __future__ import annotations

import asyncio
import json
import pathlib
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import PATIENCE
from standin import Metadata, StandIn

from tautline.threadsafe import (
    InterfaceConfig,
    MessageMetadata,
    MessageType,
    Priority,
    ThreadSafeUDPInterface,
    ThreadSafeUDPProtocol,
    create_threadsafe_udp_client,
    create_threadsafe_udp_server,
)

VECTORS = pathlib.Path(__file__).parents[2] / "tautline-proto" / "tests" / "data" / "classic_vectors.json"
SETTINGS = [(crc, sequence) for crc in (True, False) for sequence in (True, False)]
each_setting = pytest.mark.parametrize("use_crc, use_sequence", SETTINGS)


def shapes(use_crc: bool, use_sequence: bool) -> list[dict[str, Any]]:
    """The recorded datagrams of these settings: name, metadata, data, and the text that travelled."""
    wanted = {"use_crc": use_crc, "use_sequence": use_sequence}
    found = []
    for vector in json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]:
        if vector["settings"] == wanted and vector["encoding"] == "json":
            text = bytes.fromhex(vector["hex"])[4 * use_crc + 4 * use_sequence :]
            found.append({**vector, "text": text, "data": json.loads(text)["data"]})
    return found


def has_nan(text: bytes) -> bool:
    try:
        json.loads(text, parse_constant=lambda _: 1 / 0)
    except ZeroDivisionError:
        return True
    return False


def ours(name: str, is_server: bool, use_crc: bool, use_sequence: bool) -> ThreadSafeUDPInterface:
    settings = {"use_crc": use_crc, "use_sequence": use_sequence}
    config = InterfaceConfig(name=name, endpoint="127.0.0.1:0", custom_settings=settings)
    return create_threadsafe_udp_server(config) if is_server else create_threadsafe_udp_client(config)


def values(metadata: Any) -> tuple[Any, ...]:
    """The metadata that travel, as plain values."""
    return (
        metadata.message_id, metadata.timestamp, getattr(metadata.message_type, "value", metadata.message_type),
        int(metadata.priority), metadata.source, metadata.destination, metadata.correlation_id,
    )  # fmt: skip


def metadata_of(end: Any, given: dict[str, Any]) -> Any:
    if isinstance(end, StandIn):
        return Metadata(**given)
    kind, priority = MessageType(given["message_type"]), Priority(given["priority"])
    return MessageMetadata(**{**given, "message_type": kind, "priority": priority})


@each_setting
@pytest.mark.parametrize("sender", ["module", "ours"])
@pytest.mark.parametrize("receiver", ["module", "ours"])
def test_every_shape_arrives_equal(sender: str, receiver: str, use_crc: bool, use_sequence: bool) -> None:
    async def main() -> None:
        server: Any
        if receiver == "module":
            server = StandIn("server", use_crc, use_sequence)
            await server.connect({"endpoint": "127.0.0.1:0", "server_mode": True})
            address = server.address
        else:
            server = ours("server", True, use_crc, use_sequence)
            assert await server.connect({}), server.last_error
            address = server.link.local_address
        client: Any = StandIn("client", use_crc, use_sequence)
        if sender == "ours":
            client = ours("client", False, use_crc, use_sequence)
        assert await client.connect({"endpoint": address})
        tried = 0
        for shape in shapes(use_crc, use_sequence):
            metadata = metadata_of(client, shape["metadata"])
            if has_nan(shape["text"]):
                # No controller may act on NaN: refused by our sender, and by our receiver.
                if sender == "ours":
                    assert not await client.send(shape["data"], metadata) and "NaN" in str(client.last_error)
                continue
            assert await client.send(shape["data"], metadata), shape["name"]
            received = await server.receive(PATIENCE)
            assert received is not None, shape["name"]
            # As text, because 1 and 1.0 are equal, and NaN is not.
            assert json.dumps(received[0]) == json.dumps(shape["data"]), shape["name"]
            assert values(received[1]) == tuple(shape["metadata"].values()), shape["name"]
            tried += 1
        assert tried >= 40
        await client.disconnect()
        await server.disconnect()

    asyncio.run(main())


@pytest.fixture
def raw() -> Iterator[socket.socket]:
    """A plain socket over loopback, which sees the datagrams as they travel."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        found.settimeout(PATIENCE)
        yield found


@each_setting
def test_the_datagrams_are_those_of_the_module(raw: socket.socket, use_crc: bool, use_sequence: bool) -> None:
    async def main() -> None:
        client = ours("golden", False, use_crc, use_sequence)
        assert await client.connect({"endpoint": "127.0.0.1:{}".format(raw.getsockname()[1])})
        number = 0
        for shape in shapes(use_crc, use_sequence):
            if has_nan(shape["text"]):
                continue
            assert await client.send(shape["data"], metadata_of(client, shape["metadata"]))
            expected = shape["text"]
            if use_sequence:
                expected = struct.pack("!I", number) + expected
            if use_crc:
                expected = struct.pack("!I", zlib.crc32(expected)) + expected
            assert raw.recv(65536) == expected, shape["name"]
            number += 1
        await client.disconnect()

    asyncio.run(main())


@each_setting
def test_our_server_answers_the_module_and_its_handlers_are_called(use_crc: bool, use_sequence: bool) -> None:
    async def main() -> None:
        server = ours("plant", True, use_crc, use_sequence)
        handled: list[Any] = []
        called = asyncio.Event()

        async def handler(data: Any, metadata: MessageMetadata) -> None:
            handled.append((data, metadata.message_type))
            called.set()

        server.register_message_handler(MessageType.COMMAND, handler)
        assert await server.connect({})
        assert server.link is not None
        client = StandIn("controller", use_crc, use_sequence)
        await client.connect({"endpoint": server.link.local_address})
        await client.send({"force": 1.5}, Metadata("1", 2.5, "command", 3, "controller"))
        await asyncio.wait_for(called.wait(), PATIENCE)
        assert handled == [({"force": 1.5}, MessageType.COMMAND)]
        assert await server.send({"angle": 0.1})
        answer = await client.receive(PATIENCE)
        assert answer is not None and answer[0] == {"angle": 0.1}
        assert answer[1].message_type == "data" and answer[1].message_id.startswith("udp_")
        await client.disconnect()
        server.cleanup()

    asyncio.run(main())


def test_the_private_names_write_and_read_what_was_recorded() -> None:
    interface = ThreadSafeUDPInterface(InterfaceConfig())
    for shape in shapes(True, True):
        metadata = metadata_of(interface, shape["metadata"])
        if has_nan(shape["text"]):
            with pytest.raises(ValueError):
                interface._serialize_message(shape["data"], metadata)
            continue
        assert interface._serialize_message(shape["data"], metadata) == shape["text"]
        data, read = interface._deserialize_message(shape["text"])
        assert (data, values(read)) == (shape["data"], tuple(shape["metadata"].values()))
        received = interface._process_received_data(bytes.fromhex(shape["hex"]), ("127.0.0.1", 9))
        assert received is not None and received[0] == shape["data"]
    assert interface.get_statistics()["crc_errors"] == 0
    assert interface._process_received_data(b"\0" * 30) is None
    assert interface.get_statistics()["crc_errors"] == 1


@pytest.mark.parametrize("given", [-17, 10**30, 1e-07, True, None, [1, [2.5]], {"step": "é"}])
def test_an_id_of_any_json_value_comes_back_as_it_was(given: Any) -> None:
    async def main() -> None:
        server, client = ours("plant", True, True, True), ours("controller", False, True, True)
        assert await server.connect({}) and server.link is not None
        assert await client.connect({"endpoint": server.link.local_address})
        assert await client.send(1, MessageMetadata(given, 2.5, "command")), client.last_error
        received = await server.receive(PATIENCE)
        assert received is not None
        answer = MessageMetadata("a", 3.5, "status", correlation_id=received[1].message_id)
        assert await server.send(2, answer), server.last_error
        answered = await client.receive(PATIENCE)
        assert answered is not None
        for found in (received[1].message_id, answered[1].correlation_id):
            assert json.dumps(found) == json.dumps(given)
        for wrong in (float("nan"), b"bytes", {1, 2}):
            assert not await client.send(1, MessageMetadata(wrong, 2.5, "command"))
        for wrong in (2**63, -(2**63) - 1):
            assert not await client.send(1, MessageMetadata("m", wrong, "command"))
            assert "64 bits" in str(client.last_error)
        await client.disconnect()
        await server.disconnect()

    asyncio.run(main())


@pytest.mark.parametrize("metadata, travelled", [
    (MessageMetadata("m", 2.5, "command", source=None), {"source": None, "priority": 2}),
    (MessageMetadata("m", 2.5, "command", source="", destination=""), {"source": "", "destination": ""}),
    (MessageMetadata("m", 2.5, "command", 3.0, "arm"), {"source": "arm", "priority": 3}),
    (MessageMetadata(None, 12, "data", Priority.LOW, "é"), {"message_id": None, "timestamp": 12, "source": "é"}),
    (None, {"source": "end", "message_type": "data", "priority": 2, "destination": None, "correlation_id": None}),
])  # fmt: skip
def test_metadata_travel_as_the_module_sends_them(
    raw: socket.socket, metadata: Any, travelled: dict[str, Any]
) -> None:
    async def main() -> None:
        end = ours("end", False, True, True)
        assert await end.connect({"endpoint": "127.0.0.1:{}".format(raw.getsockname()[1])})
        assert await end.send([1], metadata), end.last_error
        found = json.loads(raw.recv(65536)[8:])["metadata"]
        assert {key: json.dumps(found[key]) for key in travelled} == {k: json.dumps(v) for k, v in travelled.items()}
        await end.disconnect()

    asyncio.run(main())


def test_the_defaults_of_the_metadata_are_good_on_the_native_wire() -> None:
    async def main() -> None:
        def end(role: str) -> ThreadSafeUDPInterface:
            return ThreadSafeUDPInterface(InterfaceConfig(role, "udp", "127.0.0.1:0", {"wire": "native"}))

        server, client = end("plant"), end("controller")
        assert await server.connect({"server_mode": True}) and server.link is not None
        assert await client.connect({"endpoint": server.link.local_address}), client.last_error
        for source in ("", None):
            metadata = MessageMetadata("m", 2.5, MessageType.DATA, source=source, destination="")
            assert await client.send(1, metadata), client.last_error
            received = await server.receive(PATIENCE)
            assert received is not None and received[1].source == "controller" and received[1].destination is None
        await client.disconnect()
        await server.disconnect()

    asyncio.run(main())


def test_the_protocol_of_the_module_reads_datagrams_of_a_transport_of_its_users() -> None:
    async def main() -> None:
        interface = ours("plant", True, True, True)
        protocol = ThreadSafeUDPProtocol(interface)
        handled: list[Any] = []
        called = asyncio.Event()

        async def on_command(data: Any, metadata: MessageMetadata) -> None:
            data.append(metadata.source)
            handled.append(data)
            called.set()

        def on_status(data: Any, metadata: MessageMetadata) -> None:
            handled.append(data)
            raise ValueError("a bad day")

        interface.register_message_handler(MessageType.COMMAND, on_command)
        interface.register_message_handler(MessageType.STATUS, on_status)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: protocol, local_addr=("127.0.0.1", 0))
        client = StandIn("arm")
        await client.connect({"endpoint": "{}:{}".format(*transport.get_extra_info("sockname"))})
        await client.send([1], Metadata("1", 2.5, "status", 2, "arm"))
        await client.send([2], Metadata("2", 2.5, "command", 2, "arm"))
        transport.sendto(b"\0" * 20, transport.get_extra_info("sockname"))
        assert (await asyncio.wait_for(protocol.get_next_message(), PATIENCE))[0] == [1]
        # The handler has data of its own.
        data, metadata = await asyncio.wait_for(protocol.get_next_message(), PATIENCE)
        await asyncio.wait_for(called.wait(), PATIENCE)
        assert (data, metadata.source, [2, "arm"] in handled, [1] in handled) == ([2], "arm", True, True)
        protocol.error_received(ConnectionRefusedError("nobody listens"))
        while interface.get_statistics()["crc_errors"] < 1:
            await asyncio.sleep(0.001)
        counts = interface.get_statistics()
        assert (counts["messages_received"], counts["socket_errors"]) == (2, 1)
        transport.close()
        await client.disconnect()

    asyncio.run(main())
