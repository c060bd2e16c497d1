"""The faults of the module that its users met: none of them lives in the drop-in. Each test is named after its fault."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import pathlib
import pickle
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import PATIENCE, until

import tautline
from tautline.threadsafe import (
    ConnectionState,
    InterfaceConfig,
    MessageMetadata,
    MessageType,
    Priority,
    ThreadSafeUDPInterface,
    create_threadsafe_udp_client,
    create_threadsafe_udp_server,
)


def config(name: str = "end", endpoint: str = "127.0.0.1:0", **settings: Any) -> InterfaceConfig:
    return InterfaceConfig(name=name, endpoint=endpoint, custom_settings=settings)


def metadata(kind: Any = MessageType.DATA, priority: Any = Priority.NORMAL, **others: Any) -> MessageMetadata:
    return MessageMetadata("id", time.time(), kind, priority, "test", **others)


async def server(**settings: Any) -> ThreadSafeUDPInterface:
    made = create_threadsafe_udp_server(config("server", **settings))
    assert await made.connect({}), made.last_error
    return made


def address(end: ThreadSafeUDPInterface) -> str:
    assert end.link is not None and end.link.local_address is not None
    return end.link.local_address


async def client_of(end: ThreadSafeUDPInterface, **settings: Any) -> ThreadSafeUDPInterface:
    made = create_threadsafe_udp_client(config("client", address(end), **settings))
    assert await made.connect({}), made.last_error
    return made


class RawPeer:
    """A program that writes datagrams of the classic wire itself."""

    def __init__(self, to: str) -> None:
        host, port = to.rsplit(":", 1)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((host, int(port)))

    def send(self, number: int, data: Any, timestamp: float | None = None) -> bytes:
        envelope = {
            "metadata": {
                "message_id": f"m{number}", "timestamp": time.time() if timestamp is None else timestamp,
                "message_type": "command", "priority": 2, "source": "raw", "destination": None, "correlation_id": None,
            },
            "data": data,
        }  # fmt: skip
        numbered = struct.pack("!I", number) + json.dumps(envelope).encode()
        datagram = struct.pack("!I", zlib.crc32(numbered)) + numbered
        self.socket.send(datagram)
        return datagram


def runs(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Runs a coroutine function as a test."""

    def run() -> None:
        async def main() -> None:
            await test()

        asyncio.run(main())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def eventually(is_so: Callable[[], object], what: str) -> None:
    """Waits in the event loop until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not happen"
        await asyncio.sleep(0.002)


@runs
async def test_statistics_alias_live_state() -> None:
    end = await server()
    counts = end.get_statistics()
    counts["messages_sent"] = 99
    assert end.get_statistics()["messages_sent"] == 0
    end.cleanup()


@runs
async def test_cleanup_fails() -> None:
    end = await server()
    port = address(end)
    end.cleanup()
    await end.cleanup()
    assert end.get_connection_state() is ConnectionState.DISCONNECTED
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", int(port.rsplit(":", 1)[1])))


@runs
async def test_answering_kills_the_server_socket() -> None:
    plant = await server()
    first = await client_of(plant)
    for number in range(3):
        assert await first.send(number)
        assert await plant.receive(PATIENCE) is not None
        assert await plant.send({"answer": number})
        answer = await first.receive(PATIENCE)
        assert answer is not None and answer[0] == {"answer": number}
    first.cleanup()
    plant.cleanup()


@runs
async def test_one_expected_sequence_for_all_peers() -> None:
    plant = await server()
    ends = [await client_of(plant) for _ in range(3)]
    for number in range(20):
        for end in ends:
            assert await end.send(number)
    for _ in range(60):
        assert await plant.receive(PATIENCE) is not None
    assert plant.get_statistics()["sequence_errors"] == 0
    for end in [*ends, plant]:
        end.cleanup()


@runs
async def test_a_full_queue_silences_handlers() -> None:
    plant = await server(inbox_capacity=10)
    handled: list[int] = []

    async def handler(data: Any, given: MessageMetadata) -> None:
        handled.append(data)

    plant.register_message_handler(MessageType.DATA, handler)
    end = await client_of(plant)
    for number in range(100):
        assert await end.send(number)
        await asyncio.sleep(0)
    await eventually(lambda: len(handled) == 100, "the handling of all messages")
    assert plant.get_statistics()["inbox_waiting"] == 10
    end.cleanup()
    plant.cleanup()


def test_the_sequence_ends_at_2_to_the_32() -> None:
    end = ThreadSafeUDPInterface(config())
    end._expected = 0xFFFF_FFFF
    assert end._check_sequence(0xFFFF_FFFF) and end._check_sequence(0)


@runs
async def test_a_time_out_of_0_blocks() -> None:
    plant = await server()
    assert await asyncio.wait_for(plant.receive(0), PATIENCE) is None
    assert isinstance(plant.last_error, tautline.TimedOut)
    plant.cleanup()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the descriptors of a process")
@runs
async def test_concurrent_connects_leak_sockets() -> None:
    end = create_threadsafe_udp_server(config())
    before = len(os.listdir("/proc/self/fd"))
    assert all(await asyncio.gather(*(end.connect({}) for _ in range(10))))
    # The socket, and what its driver needs; not ten of them.
    assert len(os.listdir("/proc/self/fd")) - before <= 6
    end.cleanup()


@runs
async def test_code_execution_through_pickle() -> None:
    plant = await server(use_crc=False, use_sequence=False)

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, ("/nowhere/at/all",)

    raw = RawPeer(address(plant))
    raw.socket.send(pickle.dumps({"metadata": {}, "data": Evil()}))
    await eventually(lambda: plant.get_statistics()["datagrams_dropped"].get("pickle") == 1, "the counting")
    with pytest.raises(tautline.DecodeError):
        plant._deserialize_message(pickle.dumps(1))
    assert plant._process_received_data(pickle.dumps(1)) is None
    raw.socket.close()
    plant.cleanup()


@runs
async def test_a_wire_mismatch_is_invisible() -> None:
    plant = await server()
    assert plant.link is not None
    events = plant.link.events()
    other = create_threadsafe_udp_client(config("native", address(plant), wire="native", connect_timeout=0.3))
    assert not await other.connect({})
    assert isinstance(other.last_error, tautline.ConnectError)
    assert "other_wire" in plant.get_statistics()["datagrams_dropped"]
    event = events.next(PATIENCE)
    while event is not None and event.kind != "other_wire":
        event = events.next(PATIENCE)
    assert event is not None
    plant.cleanup()


@runs
async def test_disconnect_leaves_receivers_waiting() -> None:
    plant = await server()
    waits = [asyncio.create_task(plant.receive()) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert await plant.disconnect()
    assert await asyncio.wait_for(asyncio.gather(*waits), PATIENCE) == [None] * 3
    assert isinstance(plant.last_error, tautline.Disconnected)
    plant.cleanup()


def test_numbers_are_out_of_order_across_threads() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        raw.bind(("127.0.0.1", 0))
        raw.settimeout(PATIENCE)
        end = create_threadsafe_udp_client(config(endpoint="127.0.0.1:{}".format(raw.getsockname()[1])))

        async def send(count: int) -> None:
            assert await end.connect({})
            for number in range(count):
                assert await end.send(number)

        threads = [threading.Thread(target=lambda: asyncio.run(send(50))) for _ in range(4)]
        for thread in threads:
            thread.start()
        numbers = [struct.unpack_from("!I", raw.recv(65536), 4)[0] for _ in range(200)]
        for thread in threads:
            thread.join(PATIENCE)
        assert numbers == list(range(200))
        assert len({end._get_next_sequence() for _ in range(100)}) == 100
        end.cleanup()


def test_receive_from_another_thread() -> None:
    plant = asyncio.run(server())
    results: list[Any] = []

    def receive() -> None:
        results.append(asyncio.run(plant.receive(PATIENCE)))

    thread = threading.Thread(target=receive)
    thread.start()
    end = asyncio.run(client_of(plant))
    assert asyncio.run(end.send({"x": 1}))
    thread.join(PATIENCE)
    assert results[0][0] == {"x": 1}
    end.cleanup()
    plant.cleanup()


@runs
async def test_a_dead_peer_is_invisible() -> None:
    plant = await server(liveness_timeout=0.05)
    end = await client_of(plant, liveness_timeout=0.05)
    await end.send(1)
    await plant.receive(PATIENCE)
    await plant.send(2)
    await end.receive(PATIENCE)
    await eventually(lambda: end.get_connection_state() is ConnectionState.RECONNECTING, "the change of state")
    assert end.get_statistics()["connection_state"] == "reconnecting"
    # A server sends to whom it hears.
    await end.send(3)
    await plant.receive(PATIENCE)
    await plant.send(4)
    await eventually(lambda: end.get_statistics()["messages_received"] == 2, "the return")
    end.cleanup()
    plant.cleanup()


@runs
async def test_an_oversized_message_is_reported_as_sent() -> None:
    plant = await server()
    end = await client_of(plant)
    assert not await end.send("x" * 66_000)
    assert isinstance(end.last_error, tautline.TooLarge)
    assert end.get_statistics()["messages_sent"] == 0
    end.cleanup()
    plant.cleanup()


@runs
async def test_what_the_kernel_refuses_is_reported_as_sent() -> None:
    end = create_threadsafe_udp_client(config(endpoint="127.0.0.1:9"))
    assert await end.connect({})
    await end.send(1)
    await eventually(lambda: end.get_statistics()["socket_faults"].get("port_unreachable", 0) > 0, "the report")
    end.cleanup()


@runs
async def test_ipv6_is_refused() -> None:
    addresses = pathlib.Path("/proc/net/if_inet6")
    if not socket.has_ipv6 or not addresses.exists() or not addresses.read_text():
        pytest.skip("this machine has no IPv6")
    plant = create_threadsafe_udp_server(config(endpoint="[::1]:0"))
    assert await plant.connect({}), plant.last_error
    end = await client_of(plant)
    assert await end.send("six")
    received = await plant.receive(PATIENCE)
    assert received is not None and received[0] == "six"
    assert end._parse_endpoint("[::1]:9000") == ("::1", 9000)
    assert end._parse_endpoint("arm") == ("arm", 8080)
    assert end._parse_endpoint("10.0.0.1:5") == ("10.0.0.1", 5)
    end.cleanup()
    plant.cleanup()


@runs
async def test_nan_is_delivered() -> None:
    plant = await server()
    raw = RawPeer(address(plant))
    raw.send(0, {"force": math.nan})
    raw.send(1, {"force": 1.0})
    received = await plant.receive(PATIENCE)
    assert received is not None and received[0] == {"force": 1.0}
    assert plant.get_statistics()["datagrams_dropped"] == {"not_finite": 1}
    assert not await plant.send({"force": math.inf})
    assert "force" in str(plant.last_error)
    raw.socket.close()
    plant.cleanup()


@runs
async def test_the_server_factory_makes_clients() -> None:
    plant = await server()
    assert plant.link is not None and plant.link.config.settings["role"] == "server"
    by_key = ThreadSafeUDPInterface(config())
    assert await by_key.connect({"server_mode": True, "endpoint": "127.0.0.1:0"})
    assert by_key.link is not None and by_key.link.config.settings["role"] == "server"
    by_key.cleanup()
    plant.cleanup()


@runs
async def test_async_closures_never_run() -> None:
    plant = await server()
    handled: list[Any] = []

    async def inner(data: Any) -> None:
        handled.append((data, asyncio.get_running_loop()))

    plant.register_message_handler(MessageType.DATA, lambda data, given: inner(data))
    end = await client_of(plant)
    await end.send("x")
    await eventually(lambda: handled, "the call")
    assert handled == [("x", asyncio.get_running_loop())]
    end.cleanup()
    plant.cleanup()


@runs
async def test_a_blocking_handler_blocks_the_others() -> None:
    plant = await server()
    release = threading.Event()
    handled: list[str] = []
    plant.register_message_handler(MessageType.DATA, lambda data, given: release.wait(PATIENCE))
    plant.register_message_handler(MessageType.STATUS, lambda data, given: handled.append(data))
    end = await client_of(plant)
    await end.send("slow")
    await end.send("fast", metadata(MessageType.STATUS))
    await eventually(lambda: handled == ["fast"], "the call of the other handler")
    release.set()
    end.cleanup()
    plant.cleanup()


@runs
async def test_handlers_are_out_of_order_and_their_backlog_is_unbounded() -> None:
    plant = await server(handler_backlog=20)
    release = threading.Event()
    handled: list[int] = []

    def handler(data: Any, given: MessageMetadata) -> None:
        release.wait(PATIENCE)
        handled.append(data)

    plant.register_message_handler(MessageType.DATA, handler)
    end = await client_of(plant)
    for number in range(100):
        assert await end.send(number)
    await eventually(lambda: plant.get_statistics()["messages_received"] == 100, "the arrival")
    counts = plant.get_statistics()
    assert counts["handlers_waiting"] == 20 and counts["handlers_dropped"]["backlog_full"] == 79
    release.set()
    await eventually(lambda: len(handled) == 21, "the calls")
    assert handled == sorted(handled)
    end.cleanup()
    plant.cleanup()


@runs
async def test_a_thousand_lost_are_counted_as_one() -> None:
    plant = await server()
    raw = RawPeer(address(plant))
    raw.send(0, 0)
    for number in range(1001, 1081):
        raw.send(number, number)
    await eventually(lambda: plant.get_statistics()["lost"] == 1000, "the counting")
    assert plant.get_statistics()["sequence_errors"] == 1000
    raw.socket.close()
    plant.cleanup()


@runs
async def test_duplicates_and_late_messages_are_delivered_as_new() -> None:
    plant = await server()
    raw = RawPeer(address(plant))
    first = raw.send(0, "first", 100.0)
    raw.send(2, "third", 102.0)
    raw.send(1, "late", 101.0)
    raw.socket.send(first)
    raw.send(3, "last", 103.0)
    received = [await plant.receive(PATIENCE) for _ in range(4)]
    assert [message[0] for message in received if message] == ["first", "third", "late", "last"]
    counts = plant.get_statistics()
    assert (counts["duplicate"], counts["late"], counts["lost"]) == (1, 1, 0)
    raw.socket.close()
    plant.cleanup()


@runs
async def test_settings_are_accepted_and_ignored(caplog: Any = None) -> None:
    wrong = create_threadsafe_udp_server(config(max_message_size=-1))
    assert not await wrong.connect({})
    assert isinstance(wrong.last_error, tautline.ConfigError) and wrong.last_error.key == "max_message_size"
    plant = await server(max_message_size=100)
    end = await client_of(plant, max_message_size=100)
    assert not await end.send("x" * 200)
    assert isinstance(end.last_error, tautline.TooLarge)
    end.cleanup()
    plant.cleanup()


@runs
async def test_bad_datagrams_are_not_counted() -> None:
    plant = await server()
    raw = RawPeer(address(plant))
    raw.socket.send(b"\0" * 100)
    raw.socket.send(b"x")
    await eventually(lambda: sum(plant.get_statistics()["datagrams_dropped"].values()) == 2, "the counting")
    assert plant.get_statistics()["crc_errors"] == 1
    raw.socket.close()
    plant.cleanup()


@runs
async def test_critical_is_dropped_behind_a_thousand_low() -> None:
    plant = await server()
    end = await client_of(plant)
    for number in range(1100):
        assert await end.send(number, metadata(MessageType.STATUS, Priority.LOW))
        if number % 50 == 0:
            await asyncio.sleep(0.001)
    assert await end.send("stop", metadata(MessageType.COMMAND, Priority.CRITICAL))
    await eventually(lambda: plant.get_statistics()["messages_received"] == 1101, "the arrival")
    received = await plant.receive(PATIENCE)
    assert received is not None and received[0] == "stop" and received[1].priority == Priority.CRITICAL
    end.cleanup()
    plant.cleanup()


@runs
async def test_bad_input_returns_false_without_a_reason() -> None:
    end = create_threadsafe_udp_client(config())
    assert not await end.send(1)
    assert "not connected" in str(end.last_error)
    assert await end.receive(0.01) is None
    assert isinstance(end.last_error, tautline.NotConnected)
    assert not await end.connect({"endpoint": "::::"})
    assert "endpoint" in str(end.last_error)
    plant = await server()
    assert await end.connect({"endpoint": address(plant)})
    for data, given, sentence in [
        ({1, 2}, None, "a set"),
        (b"raw", None, "classic"),
        (1, metadata("no such type"), "expected command"),
        (1, metadata(priority=9), "priority"),
        (1, object(), "message_type"),
    ]:
        assert not await end.send(data, given)
        assert sentence in str(end.last_error)
    end.cleanup()
    plant.cleanup()


def test_the_log_is_flooded(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        plant = await server()
        raw = RawPeer(address(plant))
        for _ in range(500):
            raw.socket.send(b"\0" * 100)
        await eventually(lambda: plant.get_statistics()["crc_errors"] > 400, "the counting")
        for _ in range(100):
            await plant.send({1})
            await plant.receive(0)
        raw.socket.close()
        plant.cleanup()

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    assert len(caplog.records) <= 20


@runs
async def test_reconnect_at_once_fails() -> None:
    plant = await server()
    port = address(plant)
    for number in range(20):
        assert await plant.disconnect()
        assert await plant.connect({"endpoint": port}), plant.last_error
        end = await client_of(plant)
        assert await end.send(number)
        received = await plant.receive(PATIENCE)
        assert received is not None and received[0] == number
        end.cleanup()
    plant.cleanup()


def test_disconnect_races_send() -> None:
    plant = asyncio.run(server())
    end = asyncio.run(client_of(plant))
    stop = threading.Event()
    errors: list[BaseException] = []

    async def send() -> None:
        while not stop.is_set():
            await end.send(1)

    def run() -> None:
        try:
            asyncio.run(send())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert asyncio.run(end.disconnect())
        assert asyncio.run(end.connect({})), end.last_error
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == [] and not any(thread.is_alive() for thread in threads)
    end.cleanup()
    plant.cleanup()


@runs
async def test_handler_and_receiver_share_one_mutable_object() -> None:
    plant = await server()
    handled: list[Any] = []

    def handler(data: Any, given: MessageMetadata) -> None:
        data["force"] = 99.0
        handled.append(data)

    plant.register_message_handler(MessageType.DATA, handler)
    end = await client_of(plant)
    await end.send({"force": 1.5})
    await eventually(lambda: handled, "the call")
    received = await plant.receive(PATIENCE)
    assert received is not None and received[0] == {"force": 1.5}
    end.cleanup()
    plant.cleanup()


@runs
async def test_a_restarted_controller_is_ignored_until_its_numbers_catch_up() -> None:
    plant = await server()
    raw = RawPeer(address(plant))
    for number in range(100):
        raw.send(number, number, 100.0 + number)
    for _ in range(100):
        await plant.receive(PATIENCE)
    raw.send(0, "restarted", 300.0)
    received = await plant.receive(PATIENCE)
    assert received is not None and received[0] == "restarted"
    raw.socket.close()
    plant.cleanup()


@runs
async def test_a_duplicate_command_steps_the_plant_twice() -> None:
    plant = await server()
    steps: list[Any] = []
    plant.register_message_handler(MessageType.COMMAND, lambda data, given: steps.append(data))
    raw = RawPeer(address(plant))
    command = raw.send(0, "step", 100.0)
    raw.socket.send(command)
    raw.send(1, "next", 101.0)
    await eventually(lambda: steps == ["step", "next"], "the steps")
    assert plant.get_statistics()["duplicate"] == 1
    raw.socket.close()
    plant.cleanup()


@runs
async def test_the_plant_freezes_when_the_controller_is_silent() -> None:
    plant = await server()
    assert plant.link is not None
    changes: list[str] = []
    plant.link.watch(lambda change: changes.append(change.kind), "command", 0.05)
    raw = RawPeer(address(plant))
    raw.send(0, 1)
    await eventually(lambda: "tripped" in changes, "the trip")
    raw.socket.close()
    plant.cleanup()


@runs
async def test_after_a_hiccup_the_data_stay_old_for_ever() -> None:
    plant = await server(qos={"command": {"history": 1}})
    end = await client_of(plant)
    for number in range(12):
        assert await end.send(number, metadata(MessageType.COMMAND))
    await eventually(lambda: plant.get_statistics()["messages_received"] == 12, "the arrival")
    received = await plant.receive(PATIENCE)
    assert received is not None and received[0] == 11
    end.cleanup()
    plant.cleanup()


def test_exit_is_blocked_by_a_handler() -> None:
    """See test_life.py, which ends programs in each state."""
    plant = asyncio.run(server())
    release = threading.Event()
    entered = threading.Event()

    def handler(data: Any, given: MessageMetadata) -> None:
        entered.set()
        release.wait(PATIENCE)

    plant.register_message_handler(MessageType.DATA, handler)
    end = asyncio.run(client_of(plant))
    asyncio.run(end.send(1))
    until(entered.is_set, "the call")
    began = time.monotonic()
    plant.cleanup()
    assert time.monotonic() - began < PATIENCE / 2
    release.set()
    end.cleanup()


def test_foreign_enums_and_objects_are_taken() -> None:
    import enum

    class Kind(enum.Enum):
        COMMAND = "command"

    class Level(enum.Enum):
        HIGH = 3

    class Theirs:
        name = "theirs"
        endpoint = "127.0.0.1:0"

        def get_setting(self, name: str, default: Any = None) -> Any:
            return {"use_crc": False}.get(name, default)

    async def main() -> None:
        plant = create_threadsafe_udp_server(Theirs())
        assert await plant.connect({})
        handled: list[Any] = []
        plant.register_message_handler(Kind.COMMAND, lambda data, given: handled.append(given.message_type))
        end = await client_of(plant, use_crc=False)
        assert await end.send(1, metadata(Kind.COMMAND, Level.HIGH, ttl=1.0)), end.last_error
        received = await plant.receive(PATIENCE)
        assert received is not None
        assert received[1].message_type == Kind.COMMAND and Kind.COMMAND == received[1].message_type
        assert received[1].priority == Level.HIGH
        await eventually(lambda: handled == [Kind.COMMAND], "the call")
        assert plant._get_message_handler(Kind.COMMAND) is not None
        assert plant.unregister_message_handler(Kind.COMMAND)
        assert not plant.unregister_message_handler(Kind.COMMAND)
        end.cleanup()
        plant.cleanup()

    asyncio.run(main())


@runs
async def test_native_by_one_setting() -> None:
    plant = await server(wire="native")
    end = await client_of(plant, wire="native")
    assert await end.send(b"\x00\xff", metadata(ttl=60.0))
    received = await plant.receive(PATIENCE)
    assert received is not None and received[0] == b"\x00\xff" and received[1].ttl == 60.0
    end.cleanup()
    plant.cleanup()


@runs
async def test_another_endpoint_while_connected_is_silently_ignored() -> None:
    first, second = await server(), await server()
    client = await client_of(first)
    assert await client.connect({}) and await client.connect({"endpoint": address(first)})
    assert not await client.connect({"endpoint": address(second)})
    assert address(first) in str(client.last_error) and "disconnect" in str(client.last_error)
    await client.disconnect()
    assert await client.connect({"endpoint": address(second)})
    assert await client.send(1)
    assert await second.receive(PATIENCE) is not None
    for end in (client, first, second):
        end.cleanup()


class ModulesOwn:
    """A configuration that knows the settings of the module, and no others."""

    name = "strict"

    def get_setting(self, name: str, default: Any = None) -> Any:
        return {"use_crc": True, "use_sequence": True}[name]


@runs
async def test_a_configuration_of_the_module_alone_is_enough() -> None:
    end = create_threadsafe_udp_server(ModulesOwn())
    assert await end.connect({"endpoint": "127.0.0.1:0"}), end.last_error
    end.cleanup()
    for given, sentence in (({}, "endpoint"), ("127.0.0.1:9000", "a dict is expected")):
        assert not await end.connect(given)  # type: ignore[arg-type]
        assert sentence in str(end.last_error)


@runs
async def test_another_endpoint_after_a_disconnect_goes_on_with_the_numbers() -> None:
    plants = [await server(), await server()]
    end = await client_of(plants[0])
    assert await end.send(1)
    assert await end.disconnect()
    assert await end.connect({"endpoint": address(plants[1])}), end.last_error
    assert await end.send(2)
    assert await plants[1].receive(PATIENCE) is not None
    assert end.get_statistics()["sequence_number"] == 2
    for each in [end, *plants]:
        each.cleanup()
