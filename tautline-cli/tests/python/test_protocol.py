"""Computes the golden datagrams of docs/protocol.md §11 anew, from the numbers on that page."""

import re
import unittest
from pathlib import Path

import client
import noise

PAGE = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
KEY = bytes(range(32))
SESSION = bytes.fromhex("9f7424ee8f05354b")


def golden(name):
    """The bytes of a golden datagram: the hexadecimal pairs between its offsets and its comments."""
    block = re.search(rf"golden: {name}\n(.*?)```", PAGE, re.DOTALL).group(1)
    rows = [re.match(r"[0-9a-f]{4} ((?: [0-9a-f]{2})+)", line).group(1) for line in block.splitlines()]
    return bytes.fromhex("".join(rows))


def number(name):
    return bytes.fromhex(re.search(rf"{name}\s+([0-9a-f]{{64}})", PAGE).group(1))


class Golden(unittest.TestCase):
    def setUp(self):
        echo = golden("sealed_echo")
        self.token = echo[20:36]
        self.prologue = echo[:3] + SESSION + self.token + client.key_id(KEY)
        self.handshake = noise.Handshake(KEY, self.prologue, number("client's ephemeral private key"))
        self.first = self.handshake.write_first(client.name_field(b"controller"))

    def test_the_echo_is_what_the_page_shows(self):
        plain = client.Plain(SESSION)
        echo = client.frame(client.SEALED_ECHO, self.token + client.key_id(KEY) + self.first)
        self.assertEqual(plain.unnumbered(echo), golden("sealed_echo"))

    def test_the_accept_opens_and_is_what_a_server_writes(self):
        accept = golden("sealed_accept")[20:-4]
        payload = self.handshake.read_second(accept)
        self.assertEqual(payload, client.name_field(b"plant") + bytes.fromhex("010106"))
        server = noise.Handshake(KEY, self.prologue, number("server's ephemeral private key"))
        server.read_first(self.first)
        self.assertEqual(server.write_second(payload), accept)
        keys = [number("client to server"), number("server to client")]
        self.assertEqual(self.handshake.split(), keys)
        self.assertEqual(server.split(), keys)

    def test_sealed_datagrams_are_what_the_page_shows(self):
        keys = number("client to server"), number("server to client")
        ours = client.Sealed(SESSION, *keys)
        heartbeat = golden("sealed_heartbeat")
        frames = noise.open_sealed(keys[0], 0, heartbeat[16:], heartbeat[:16])
        self.assertEqual(next(client.frames_of(frames))[0], client.HEARTBEAT)
        self.assertEqual(ours.numbered(frames), heartbeat)
        self.assertEqual(ours.numbered(golden("message")[16:-4]), golden("sealed_message"))
        theirs = ours.open(golden("sealed_message_from_the_server"))
        self.assertEqual([kind for kind, _, _ in client.frames_of(theirs)], [client.MESSAGE])
        self.assertIsNone(ours.open(golden("sealed_message_from_the_server")), "a second time")
        ((kind, _, challenge),) = client.frames_of(ours.open(golden("sealed_challenge")))
        self.assertEqual((kind, challenge[:1]), (client.CHALLENGE, client.ASK))
        ours.next_number = 3
        answer = client.frame(client.CHALLENGE, client.ANSWERED + challenge[1:])
        self.assertEqual(ours.numbered(answer), golden("sealed_answer"))


if __name__ == "__main__":
    unittest.main()
