"""A client of the native wire, plain or secured, written from docs/protocol.md alone (the sections in the comments).

It shows that the page is enough to write the other end. It sends messages, reads the answers, and prints them as JSON:

    python3 client.py 127.0.0.1:9000 --key arm.key --count 10

It is no example of how to write a fast or a complete client.
"""

import argparse
import base64
import hashlib
import json
import os
import socket
import struct
import sys
import time
import zlib

import noise

MAGIC, VERSION = b"\xe7\x54", 1  # §2
FROM_SERVER, SEALED, KEY_PHASE = 0x01, 0x02, 0x04
HEADER = struct.Struct(">2sBB8sI")
MESSAGE, HEARTBEAT, CLOSE, HELLO, TOKEN, ECHO, ACCEPT = 1, 2, 3, 4, 5, 6, 7  # §3
SEALED_ECHO, SEALED_ACCEPT, REKEY, CHALLENGE = 13, 14, 15, 16
BEGIN, ANSWER = 2, 3  # §11.6
ASK, ANSWERED = b"\1", b"\2"  # §11.7
COMMAND, JSON = 1, 1  # §4.1
NORMAL = 1

TRIES, PATIENCE = 50, 0.1


def frame(kind, body=b"", flags=0):
    """§3."""
    return struct.pack(">BBH", kind, flags, len(body)) + body


def frames_of(data):
    """Yields type, flags and body of each frame (§3)."""
    at = 0
    while at < len(data) and data[at] != 0:
        kind, flags, length = struct.unpack_from(">BBH", data, at)
        at += 4
        if at + length > len(data):
            raise ValueError("malformed")
        yield kind, flags, data[at : at + length]
        at += length


def key_id(key):
    """§11."""
    return hashlib.blake2s(b"tautline key id" + key).digest()[:8]


def name_field(name):
    return bytes([len(name)]) + name


class Plain:
    """The datagrams of a plain link (§2)."""

    def __init__(self, session):
        self.session = session
        self.next_number = 0

    def unnumbered(self, frames):
        return self.with_crc(0, frames)

    def numbered(self, frames):
        number, self.next_number = self.next_number, self.next_number + 1
        return self.with_crc(number, frames)

    def with_crc(self, number, frames):
        data = HEADER.pack(MAGIC, VERSION, 0, self.session, number & 0xFFFFFFFF) + frames
        return data + zlib.crc32(data).to_bytes(4, "big")

    def open(self, datagram):
        """Returns the frames of a datagram of the server, or None if it is to be ignored (§5.6)."""
        if len(datagram) < HEADER.size + 4:
            return None
        magic, version, flags, session, _ = HEADER.unpack_from(datagram)
        checked, crc = datagram[:-4], datagram[-4:]
        if (magic, version, flags, session) != (MAGIC, VERSION, FROM_SERVER, self.session):
            return None
        if zlib.crc32(checked).to_bytes(4, "big") != crc:
            return None
        return checked[HEADER.size :]


class Sealed(Plain):
    """The datagrams of a secured link, once the server has accepted (§11.3)."""

    def __init__(self, session, to_server, to_client):
        super().__init__(session)
        self.to_server, self.phase = to_server, 0
        self.to_client = {0: to_client}  # by key phase: those before open what is still on its way
        self.seen = set()

    def change_keys(self, to_server, to_client):
        """§11.6. The numbers go on."""
        self.to_server, self.phase = to_server, KEY_PHASE - self.phase
        self.to_client[self.phase] = to_client

    def numbered(self, frames):
        number, self.next_number = self.next_number, self.next_number + 1
        header = HEADER.pack(MAGIC, VERSION, SEALED | self.phase, self.session, number & 0xFFFFFFFF)
        return header + noise.seal(self.to_server, number, frames, header)

    def open(self, datagram):
        if len(datagram) < HEADER.size + noise.TAG_LENGTH:
            return None
        magic, version, flags, session, number = HEADER.unpack_from(datagram)
        key = self.to_client.get(flags & KEY_PHASE)
        if (magic, version, flags & ~KEY_PHASE, session) != (MAGIC, VERSION, FROM_SERVER | SEALED, self.session) or not key:
            return None
        if number in self.seen:  # of a link with less than 2^32 datagrams
            return None
        try:
            frames = noise.open_sealed(key, number, datagram[HEADER.size :], datagram[: HEADER.size])
        except noise.Refused:
            return None
        self.seen.add(number)
        return frames


class Client:
    def __init__(self, server, key=None, tries=TRIES, name=b"python"):
        self.tries = tries
        self.server = server
        self.move()
        self.name, self.key = name, key
        self.link = Plain(os.urandom(8))

    def move(self):
        """Sends from another address from now on."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(self.server)
        self.socket.settimeout(PATIENCE)

    def receive(self):
        """Returns the frames of the next datagram for us; none if none came in time."""
        try:
            frames = self.link.open(self.socket.recv(65536))
        except (socket.timeout, ConnectionRefusedError):
            return []
        found = list(frames_of(frames)) if frames is not None else []
        for kind, _, body in found:
            if kind == CHALLENGE and body[:1] == ASK:  # §11.7
                self.socket.send(self.link.numbered(frame(CHALLENGE, ANSWERED + body[1:9])))
        return found

    def until(self, wanted, datagram):
        """Sends a datagram until a frame of the wanted type comes, and returns its body."""
        for _ in range(self.tries):
            self.socket.send(datagram())
            for kind, flags, body in self.receive():
                if kind == wanted:
                    return body
        raise SystemExit("the server does not answer")

    def connect(self):
        """§5.1."""
        hello = self.link.unnumbered(frame(HELLO) + bytes(16))
        token = self.until(TOKEN, lambda: hello)[:16]
        if self.key is not None:
            return self.connect_secured(token)
        echo = frame(ECHO, token + name_field(self.name))
        self.until(ACCEPT, lambda: self.link.numbered(echo))

    def connect_secured(self, token):
        """§11.1 and §11.2."""
        session, name = self.link.session, key_id(self.key)
        prologue = MAGIC + bytes([VERSION]) + session + token + name
        handshake = noise.Handshake(self.key, prologue)
        first = handshake.write_first(name_field(self.name))
        echo = self.link.unnumbered(frame(SEALED_ECHO, token + name + first))
        second = self.until(SEALED_ACCEPT, lambda: echo)
        introduction = handshake.read_second(second)
        self.server_name = introduction[1 : 1 + introduction[0]]
        self.link, self.hash = Sealed(session, *handshake.split()), handshake.hash

    def renew_keys(self):
        """§11.6: agrees on new keys, while the session goes on."""
        name = key_id(self.key)
        handshake = noise.Handshake(self.key, self.hash + name)
        begin = frame(REKEY, bytes([BEGIN]) + name + handshake.write_first(name_field(b"")))
        answer = self.until(REKEY, lambda: self.link.numbered(begin))
        if answer[0] != ANSWER:
            raise SystemExit("the server does not answer")
        handshake.read_second(answer[1:])
        self.link.change_keys(*handshake.split())
        self.hash = handshake.hash

    def heartbeat(self):
        """§7.1."""
        self.socket.send(self.link.numbered(frame(HEARTBEAT, struct.pack(">QqQQ", time.monotonic_ns(), time.time_ns(), 0, 0))))

    def send(self, value):
        """Sends a command with a value as JSON (§4.1)."""
        head = struct.pack(">BBHq", NORMAL << 4 | COMMAND, JSON, 0, time.time_ns())
        self.socket.send(self.link.numbered(frame(MESSAGE, head + json.dumps(value).encode())))

    def values(self):
        """Returns the values of the messages in the next datagram."""
        return [json.loads(payload_of(flags, body)) for kind, flags, body in self.receive() if kind == MESSAGE]

    def ask(self, value):
        """Sends a value until it comes back."""
        for _ in range(self.tries):
            self.send(value)
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until:
                if value in self.values():
                    return value
        raise SystemExit("the server does not send back")

    def close(self):
        self.socket.send(self.link.numbered(frame(CLOSE)))


def payload_of(flags, body):
    """§4.1: the fixed fields, then the optional ones. For best-effort messages."""
    at = 12
    for flag in (0x01, 0x02, 0x04, 0x08):  # message id, source, destination, correlation id
        if flags & flag:
            at += 1 + (body[at] or 8)  # a text, or a zero and a number of 8 bytes
    if flags & 0x10:  # lifespan
        at += 4
    return body[at:]


def read_key(path):
    """The first key of a key file: a line of base64, among empty lines and comments."""
    with open(path, encoding="utf-8") as lines:
        texts = [line.strip() for line in lines]
    return base64.b64decode(next(text for text in texts if text and not text.startswith("#")), validate=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("--key")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--renew", type=int, default=0, help="renew the keys after each so many values")
    parser.add_argument("--move", type=int, default=0, help="take another address after each so many values")
    parser.add_argument("--tries", type=int, default=TRIES)
    options = parser.parse_args()
    host, port = options.server.rsplit(":", 1)
    client = Client((host, int(port)), read_key(options.key) if options.key else None, options.tries)
    client.connect()
    client.heartbeat()
    answers = []
    for number in range(options.count):
        answers.append(client.ask({"number": number}))
        if options.renew and number % options.renew == 0:
            client.renew_keys()
        if options.move and number % options.move == 0:
            client.move()
    client.close()
    json.dump({"answers": answers}, sys.stdout)


if __name__ == "__main__":
    main()
