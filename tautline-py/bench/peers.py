"""The round trips and the streams of one library, as a client and as a server. bench/run.py starts both.

    peers.py NAME server           prints its address, answers until its input ends
    peers.py NAME client ADDRESS COUNT   prints the round trips in nanoseconds, one in each line
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import socket
import sys
import time
from collections.abc import Callable

SIZE = 64
IDLE = 0.5


def clock(ask: Callable[[bytes], bytes], count: int) -> list[int]:
    """Measures round trips, after some to begin with."""
    payload = b"x" * SIZE
    times = []
    for number in range(-count // 5, count):
        began = time.perf_counter_ns()
        answer = ask(payload)
        took = time.perf_counter_ns() - began
        assert len(answer) == SIZE
        if number >= 0:
            times.append(took)
    return times


class Socket:
    """Blocking sockets of Python."""

    def serve(self) -> None:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", 0))
        say("127.0.0.1:%d" % s.getsockname()[1])
        while True:
            data, address = s.recvfrom(2048)
            s.sendto(data, address)

    def measure(self, address: str, count: int) -> list[int]:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        host, port = address.rsplit(":", 1)
        s.connect((host, int(port)))

        def ask(payload: bytes) -> bytes:
            s.send(payload)
            return s.recv(2048)

        return clock(ask, count)


class Tautline:
    """tautline, native wire, its default settings."""

    settings: dict[str, str] = {}

    def serve(self) -> None:
        import tautline

        link = tautline.serve("127.0.0.1:0", **self.settings)
        say(str(link.local_address))
        for message in link:
            link.send(message.payload, to=message.peer)

    def measure(self, address: str, count: int) -> list[int]:
        import tautline

        link = tautline.connect(address, **self.settings)
        publisher = link.publisher()

        def ask(payload: bytes) -> bytes:
            publisher.send(payload)
            return link.receive().payload

        return clock(ask, count)


class TautlineBlock(Tautline):
    """tautline, without polling."""

    settings = {"wait": "block"}


class TautlineAsync:
    """tautline in asyncio, at both ends."""

    period = 0.0

    def serve(self) -> None:
        import tautline

        async def main() -> None:
            async with tautline.serve_async("127.0.0.1:0") as link:
                say(str(link.local_address))
                async for message in link:
                    link.send(message.payload, to=message.peer)

        asyncio.run(main())

    def measure(self, address: str, count: int) -> list[int]:
        import tautline

        async def main() -> list[int]:
            async with tautline.connect_async(address) as link:

                async def ask(payload: bytes) -> bytes:
                    link.send(payload)
                    return (await link.receive_async()).payload

                return await clock_async(ask, count, self.period)

        return asyncio.run(main())


class TautlineAsyncPaced(TautlineAsync):
    """tautline in asyncio, a question in each millisecond."""

    period = 0.001


async def clock_async(ask, count: int, period: float) -> list[int]:  # type: ignore[no-untyped-def]
    payload = b"x" * SIZE
    times = []
    due = time.perf_counter()
    for number in range(-count // 5, count):
        if period:
            due = max(due + period, time.perf_counter())
            await asyncio.sleep(due - time.perf_counter())
        began = time.perf_counter_ns()
        answer = await ask(payload)
        took = time.perf_counter_ns() - began
        assert len(answer) == SIZE
        if number >= 0:
            times.append(took)
    return times


class Asyncio:
    """asyncio's own UDP, at both ends."""

    period = 0.0

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: object) -> None:
            self.transport.sendto(data, addr)

    class Client(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.queue: asyncio.Queue[bytes] = asyncio.Queue()

        def datagram_received(self, data: bytes, addr: object) -> None:
            self.queue.put_nowait(data)

    def serve(self) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(self.Server, local_addr=("127.0.0.1", 0))
            say("%s:%d" % transport.get_extra_info("sockname"))
            await asyncio.sleep(3600)

        asyncio.run(main())

    def measure(self, address: str, count: int) -> list[int]:
        async def main() -> list[int]:
            host, port = address.rsplit(":", 1)
            loop = asyncio.get_running_loop()
            transport, client = await loop.create_datagram_endpoint(self.Client, remote_addr=(host, int(port)))

            async def ask(payload: bytes) -> bytes:
                transport.sendto(payload)
                return await client.queue.get()

            return await clock_async(ask, count, self.period)

        return asyncio.run(main())


class AsyncioPaced(Asyncio):
    """asyncio's own UDP, a question in each millisecond."""

    period = 0.001


class Zmq:
    """pyzmq, PAIR sockets over TCP."""

    def serve(self) -> None:
        import zmq

        s = zmq.Context().socket(zmq.PAIR)
        say("tcp://127.0.0.1:%d" % s.bind_to_random_port("tcp://127.0.0.1"))
        while True:
            s.send(s.recv())

    def measure(self, address: str, count: int) -> list[int]:
        import zmq

        s = zmq.Context().socket(zmq.PAIR)
        s.connect(address)

        def ask(payload: bytes) -> bytes:
            s.send(payload)
            return bytes(s.recv())

        return clock(ask, count)


class Zenoh:
    """eclipse-zenoh, peer to peer over TCP."""

    def open(self, key: str, values: str):  # type: ignore[no-untyped-def]
        import zenoh

        config = zenoh.Config()
        config.insert_json5("scouting/multicast/enabled", "false")
        config.insert_json5(key, values)
        return zenoh.open(config)

    def serve(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        session = self.open("listen/endpoints", f'["tcp/127.0.0.1:{port}"]')
        publisher = session.declare_publisher("pong")
        session.declare_subscriber("ping", lambda sample: publisher.put(sample.payload))
        say(f"tcp/127.0.0.1:{port}")
        sys.stdin.read()

    def measure(self, address: str, count: int) -> list[int]:
        session = self.open("connect/endpoints", f'["{address}"]')
        subscriber = session.declare_subscriber("pong")
        publisher = session.declare_publisher("ping")
        time.sleep(1.0)

        def ask(payload: bytes) -> bytes:
            publisher.put(payload)
            return bytes(subscriber.recv().payload.to_bytes())

        return clock(ask, count)


class Dds:
    """cyclonedds."""

    def ends(self, mine: str, theirs: str):  # type: ignore[no-untyped-def]
        from cyclonedds.domain import DomainParticipant
        from cyclonedds.pub import DataWriter
        from cyclonedds.sub import DataReader
        from cyclonedds.topic import Topic
        from dds_type import Bytes

        participant = DomainParticipant(0)
        writer = DataWriter(participant, Topic(participant, mine, Bytes))
        return Bytes, writer, DataReader(participant, Topic(participant, theirs, Bytes))

    def serve(self) -> None:
        from cyclonedds.util import duration

        _, writer, reader = self.ends("pong", "ping")
        say("domain 0")
        while True:
            for sample in reader.take_iter(timeout=duration(seconds=3600)):
                writer.write(sample)

    def measure(self, address: str, count: int) -> list[int]:
        from cyclonedds.util import duration

        kind, writer, reader = self.ends("ping", "pong")
        time.sleep(2.0)

        def ask(payload: bytes) -> bytes:
            writer.write(kind(payload))
            return bytes(next(reader.take_iter(timeout=duration(seconds=5))).data)

        return clock(ask, count)


STATE = {"angle": 0.1, "rate": -0.25, "force": 1.5, "x": 2.75, "v": 3.125, "t": -4.5}


async def flood(send: Callable[[], object], seconds: float, each: int = 1) -> list[int]:
    """Sends for some seconds, `each` messages with one call. Returns how many."""
    sent, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(50):
            result = send()
            if asyncio.iscoroutine(result):
                await result
        sent += 50 * each
        await asyncio.sleep(0)
    return [sent]


async def count(receive: Callable[[], object], announce: str) -> None:
    """Receives states until none comes for half a second. Prints how many, and how many in a second."""
    say(announce)
    received, first, last = 0, 0.0, 0.0
    while (got := await receive()) is not None or not received:  # type: ignore[misc]
        if got is None:
            continue
        last = time.perf_counter()
        first = first or last
        received += got
    say(f"{received} {received / max(last - first, 1e-9):.0f}")


class StreamStandIn:
    """Six floats as a dict: a stand-in of the module, on asyncio."""

    def serve(self) -> None:
        async def main() -> None:
            end = stand_in("server")
            await end.connect({"endpoint": "127.0.0.1:0", "server_mode": True})

            async def receive() -> int | None:
                return 1 if await end.receive(IDLE) is not None else None

            await count(receive, end.address)

        asyncio.run(main())

    def measure(self, address: str, seconds: int) -> list[int]:
        async def main() -> list[int]:
            end = stand_in("client")
            await end.connect({"endpoint": address})
            return await flood(lambda: end.send(STATE), seconds)

        return asyncio.run(main())


def stand_in(name: str):  # type: ignore[no-untyped-def]
    sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests"))
    from standin import StandIn

    return StandIn(name)


class StreamDropIn:
    """Six floats as a dict: the drop-in."""

    wire = "classic"

    def interface(self, address: str, is_server: bool):  # type: ignore[no-untyped-def]
        from tautline import threadsafe

        settings = {"wire": self.wire, "inbox_capacity": 1_000_000, "queue_bytes": 1 << 30, "receive_buffer": 16 << 20}
        config = threadsafe.InterfaceConfig("end", endpoint=address, custom_settings=settings)
        make = threadsafe.create_threadsafe_udp_server if is_server else threadsafe.create_threadsafe_udp_client
        return make(config)

    def serve(self) -> None:
        async def main() -> None:
            end = self.interface("127.0.0.1:0", True)
            assert await end.connect({}), end.last_error

            async def receive() -> int | None:
                return 1 if await end.receive(IDLE) is not None else None

            await count(receive, end.link.local_address)
            end.cleanup()

        asyncio.run(main())

    def measure(self, address: str, seconds: int) -> list[int]:
        async def main() -> list[int]:
            end = self.interface(address, False)
            assert await end.connect({}), end.last_error
            return await flood(lambda: end.send(STATE), seconds)

        return asyncio.run(main())


class StreamDropInNative(StreamDropIn):
    """Six floats as a dict: the drop-in, native wire."""

    wire = "native"


class StreamTautline:
    """Six floats as a dict: tautline."""

    def serve(self) -> None:
        import tautline

        settings = {"inbox_capacity": 1_000_000, "queue_bytes": 1 << 30, "receive_buffer": 16 << 20}
        link = tautline.serve("127.0.0.1:0", **settings)

        async def receive() -> int | None:
            messages = link.receive_many(1000, IDLE)
            for message in messages:
                message.data
            return len(messages) or None

        asyncio.run(count(receive, str(link.local_address)))

    def measure(self, address: str, seconds: int) -> list[int]:
        import tautline

        publisher = tautline.connect(address).publisher()
        return asyncio.run(flood(lambda: publisher.send(STATE), seconds))


def share_cores(is_receiver: bool) -> None:
    """Gives the receiver one core, and the sender the others. Only Linux lets a program choose."""
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:1] if is_receiver else cores[1:] or cores)


class StreamRaw(StreamTautline):
    """64 raw bytes: tautline, sent in batches, and received on one core."""

    batch = [b"x" * SIZE] * 200

    def serve(self) -> None:
        import tautline

        share_cores(is_receiver=True)
        link = tautline.serve("127.0.0.1:0", inbox_capacity=1_000_000, queue_bytes=1 << 30, receive_buffer=16 << 20)

        async def receive() -> int | None:
            return len(link.receive_many(1000, IDLE)) or None

        asyncio.run(count(receive, str(link.local_address)))

    def measure(self, address: str, seconds: int) -> list[int]:
        import tautline

        share_cores(is_receiver=False)
        publisher = tautline.connect(address).publisher()
        return asyncio.run(flood(lambda: publisher.send_batch(self.batch), seconds, len(self.batch)))


STREAMS = {
    "stream-stand-in": StreamStandIn, "stream-drop-in": StreamDropIn, "stream-drop-in-native": StreamDropInNative,
    "stream-tautline": StreamTautline, "stream-raw": StreamRaw,
}  # fmt: skip

PEERS = {
    "socket": Socket, "tautline": Tautline, "tautline-block": TautlineBlock, "pyzmq": Zmq, "zenoh": Zenoh, "cyclonedds": Dds,
    "asyncio": Asyncio, "tautline-asyncio": TautlineAsync, "asyncio-1khz": AsyncioPaced,
    "tautline-asyncio-1khz": TautlineAsyncPaced,
}  # fmt: skip


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    peer = {**PEERS, **STREAMS}[sys.argv[1]]()
    if sys.argv[2] == "server":
        peer.serve()
    else:
        print("\n".join(map(str, peer.measure(sys.argv[3], int(sys.argv[4])))))
