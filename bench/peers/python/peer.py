"""A stand-in for a Python deployment: the classic wire on asyncio, with the standard library only.

This is not the original module. It was written from the description of the wire. It does what every implementation must
do for each message (JSON envelope, sequence number, CRC). It has the same command line as the other peers.
"""

import asyncio
import json
import math
import struct
import sys
import time
import zlib

ANSWER_TIMEOUT = 0.2
DIGITS = 16
LOOK_EVERY = 64
MAX_MESSAGES = 1_000_000
PREFIX = struct.Struct("!II")
SAMPLE_EVERY = 0.005
SEQUENCE = struct.Struct("!I")


class Wire:
    """Numbers, encodes and decodes the datagrams of one end."""

    def __init__(self, source):
        self.source = source
        self.sequence = 0

    def encode(self, data, message_type, correlation_id=None):
        now = time.time()
        metadata = {
            "message_id": f"udp_{int(now * 1e6)}",
            "timestamp": now,
            "message_type": message_type,
            "priority": 2,
            "source": self.source,
            "destination": None,
            "correlation_id": correlation_id,
        }
        envelope = json.dumps({"metadata": metadata, "data": data}).encode()
        numbered = SEQUENCE.pack(self.sequence) + envelope
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        return SEQUENCE.pack(zlib.crc32(numbered)) + numbered

    @staticmethod
    def decode(datagram):
        """Returns the envelope, or None for a damaged datagram."""
        if len(datagram) < PREFIX.size:
            return None
        crc, _sequence = PREFIX.unpack_from(datagram)
        if crc != zlib.crc32(memoryview(datagram)[4:]):
            return None
        return json.loads(datagram[PREFIX.size :])


class Server(asyncio.DatagramProtocol):
    """Counts every message, and answers it if `answers` is set."""

    def __init__(self, answers):
        self.answers = answers
        self.wire = Wire("server")
        self.received = 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, datagram, address):
        envelope = self.wire.decode(datagram)
        if envelope is None:
            return
        self.received += 1
        if self.answers:
            answer = self.wire.encode(envelope["data"], "status", envelope["metadata"]["message_id"])
            self.transport.sendto(answer, address)


class Client(asyncio.DatagramProtocol):
    """Puts received datagrams into a queue."""

    def __init__(self):
        self.arrived = asyncio.Queue()

    def datagram_received(self, datagram, _address):
        self.arrived.put_nowait(datagram)


async def serve(answers):
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: Server(answers), local_addr=("127.0.0.1", 0)
    )
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    cpu_at_start = time.process_time()
    print_line({"address": "{}:{}".format(*transport.get_extra_info("sockname"))})
    receiving_seconds = 0.0
    if answers:
        await ended.wait()
    else:
        receiving_seconds = await sample(server, ended)
    print_line(
        {
            "received": server.received,
            "receiving_seconds": receiving_seconds,
            "cpu_seconds": time.process_time() - cpu_at_start,
            "peak_kib": peak_kib(),
        }
    )


async def sample(server, ended):
    """Returns the time from the first message to the last."""
    first, last, seen = None, None, 0
    while not ended.is_set():
        await asyncio.sleep(SAMPLE_EVERY)
        if server.received != seen:
            seen, last = server.received, time.perf_counter()
            first = first or last
    return last - first if first else 0.0


async def connect(to):
    host, port = to.rsplit(":", 1)
    loop = asyncio.get_running_loop()
    return await loop.create_datagram_endpoint(Client, remote_addr=(host, int(port)))


async def latency(to, messages, size, rate):
    transport, client = await connect(to)
    wire = Wire("client")
    warm_up = min(max(messages // 10, 100), 1000)
    round_trips, lost, cpu_at_start = [], 0, 0.0
    due = time.perf_counter()
    for number in range(1, warm_up + messages + 1):
        if number == warm_up + 1:
            cpu_at_start = time.process_time()
        data = f"{number:0{DIGITS}x}".ljust(size, "x")
        if rate:
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
        sent = time.perf_counter_ns()
        transport.sendto(wire.encode(data, "command"))
        try:
            await asyncio.wait_for(answer(client, data), ANSWER_TIMEOUT)
        except TimeoutError:
            lost += number > warm_up
            continue
        if number > warm_up:
            round_trips.append(time.perf_counter_ns() - sent)
    report = {"messages": len(round_trips), "lost": lost, "cpu_seconds": time.process_time() - cpu_at_start}
    report["peak_kib"] = peak_kib()
    round_trips.sort()
    for name, part in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)):
        rank = math.ceil(len(round_trips) * part)
        report[name] = round_trips[max(rank - 1, 0)] if round_trips else 0
    print_line(report)


async def answer(client, data):
    while True:
        envelope = Wire.decode(await client.arrived.get())
        if envelope and envelope["data"] == data:
            return


async def throughput(to, seconds, size):
    transport, _client = await connect(to)
    wire = Wire("client")
    data = "x" * size
    sent, cpu_at_start, started = 0, time.process_time(), time.perf_counter()
    while sent % LOOK_EVERY or time.perf_counter() - started < seconds:
        transport.sendto(wire.encode(data, "command"))
        sent += 1
        if sent % LOOK_EVERY == 0:
            await asyncio.sleep(0)
    print_line(
        {
            "sent": sent,
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu_at_start,
            "peak_kib": peak_kib(),
        }
    )


def peak_kib():
    """Returns the peak memory of this process; see memory.rs of the crate `method`."""
    with open("/proc/self/status") as status:
        return next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")), 0)


def print_line(report):
    print(json.dumps(report), flush=True)


def main(arguments):
    verb, pairs = arguments[0], dict(zip(arguments[1::2], arguments[2::2]))
    size = min(max(int(pairs.get("--size", 64)), DIGITS), 1400)
    if verb in ("echo", "sink"):
        return serve(answers=verb == "echo")
    if verb == "latency":
        messages = min(int(pairs.get("--messages", 10_000)), MAX_MESSAGES)
        rate = float(pairs["--rate"]) if "--rate" in pairs else None
        return latency(pairs["--to"], messages, size, rate)
    if verb == "throughput":
        return throughput(pairs["--to"], min(float(pairs.get("--seconds", 2)), 60.0), size)
    sys.exit("expected echo, sink, latency or throughput")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
