"""A stand-in of the Python module, written from its documentation and its recorded datagrams alone.

It does what they say, on asyncio and the standard library: JSON envelope, number, CRC, one expected number, a queue, handlers.
It does not decode pickles.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
import zlib
from dataclasses import dataclass
from typing import Any, Callable


@dataclass
class Metadata:
    message_id: Any
    timestamp: float
    message_type: str
    priority: int = 2
    source: str | None = ""
    destination: str | None = None
    correlation_id: Any = None


class StandIn(asyncio.DatagramProtocol):
    """One end: a server (which cannot answer), or a client."""

    def __init__(self, name: str, use_crc: bool = True, use_sequence: bool = True) -> None:
        self.name, self.use_crc, self.use_sequence = name, use_crc, use_sequence
        self.sequence = self.expected = 0
        self.queue: asyncio.Queue[tuple[Any, Metadata]] = asyncio.Queue(maxsize=1000)
        self.handlers: dict[str, Callable[[Any, Metadata], Any]] = {}
        self.counts = dict.fromkeys(("messages_sent", "messages_received", "crc_errors", "sequence_errors"), 0)
        self.transport: asyncio.DatagramTransport | None = None

    async def connect(self, config: dict[str, Any]) -> bool:
        host, port = config["endpoint"].rsplit(":", 1)
        where = (host, int(port))
        loop = asyncio.get_running_loop()
        if config.get("server_mode"):
            await loop.create_datagram_endpoint(lambda: self, local_addr=where)
        else:
            await loop.create_datagram_endpoint(lambda: self, remote_addr=where)
        return True

    @property
    def address(self) -> str:
        assert self.transport is not None
        host, port = self.transport.get_extra_info("sockname")[:2]
        return f"{host}:{port}"

    async def disconnect(self) -> bool:
        if self.transport is not None:
            self.transport.close()
        return True

    def encode(self, data: Any, metadata: Metadata | None) -> bytes:
        if metadata is None:
            now = time.time()
            metadata = Metadata(f"udp_{int(now * 1e6)}", now, "data", 2, self.name)
        envelope = {
            "metadata": {
                "message_id": metadata.message_id,
                "timestamp": metadata.timestamp,
                "message_type": metadata.message_type,
                "priority": metadata.priority,
                "source": metadata.source,
                "destination": metadata.destination,
                "correlation_id": metadata.correlation_id,
            },
            "data": data,
        }
        datagram = json.dumps(envelope).encode()
        if self.use_sequence:
            datagram = struct.pack("!I", self.sequence) + datagram
            self.sequence += 1
        if self.use_crc:
            datagram = struct.pack("!I", zlib.crc32(datagram)) + datagram
        return datagram

    async def send(self, data: Any, metadata: Metadata | None = None) -> bool:
        assert self.transport is not None
        self.transport.sendto(self.encode(data, metadata))
        self.counts["messages_sent"] += 1
        return True

    async def receive(self, timeout: float | None = None) -> tuple[Any, Metadata] | None:
        try:
            return await asyncio.wait_for(self.queue.get(), timeout)
        except asyncio.TimeoutError:
            return None

    def register_message_handler(self, message_type: str, handler: Callable[[Any, Metadata], Any]) -> None:
        self.handlers[message_type] = handler

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.use_crc:
            if struct.unpack_from("!I", data)[0] != zlib.crc32(data[4:]):
                self.counts["crc_errors"] += 1
                return
            data = data[4:]
        if self.use_sequence:
            (number,) = struct.unpack_from("!I", data)
            if number != self.expected:
                self.counts["sequence_errors"] += 1
            self.expected = number + 1
            data = data[4:]
        envelope = json.loads(data)
        message = envelope["data"], Metadata(**envelope["metadata"])
        self.counts["messages_received"] += 1
        if not self.queue.full():
            self.queue.put_nowait(message)
        handler = self.handlers.get(message[1].message_type)
        if handler is not None:
            handler(*message)
