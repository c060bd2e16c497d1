"""Compares noise.py with a published test vector.

The vector is the one of this suite in https://github.com/haskell-cryptography/cacophony (vectors/cacophony.txt).
"""

import unittest

from noise import Handshake, Refused, open_sealed, seal

PROLOGUE = b"John Galt"
KEY = b"This is my Austrian perspective!"
CLIENT = bytes.fromhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a")
SERVER = bytes.fromhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b")
HASH = bytes.fromhex("b3e9c846d264120a4211e18307da91157a21e92e69b639c50f027f101db3e1a6")
FIRST = bytes.fromhex(
    "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
    "fda936bec35a8adfdff198386f7d5475880897edaaf7495314c99095a2e4d66a"
)
SECOND = bytes.fromhex(
    "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
    "4cd2a371993ba41ea11448024fca32766b169183c9e691a7a433279da7e729"
)
SEALED = [
    (b"F. A. Hayek", "bc44da303ae0beb08075fc4eb4e58235c67c2d1f53a4f2fff0bca7"),
    (b"Carl Menger", "416d1af83e9fa6966ce4e871156b131aa9bd7e9a1d6f8794f4872a"),
    (b"Jean-Baptiste Say", "8a7d81b77bcc6c072f2b807da066efba6b5fab9edf71a7faceb2c8454b0cfef608"),
    (b"Eugen B\xf6hm von Bawerk", "1e2ee010f72894824a25a867664ff298f2548a145dc4e9d27b1cad83f32fa7c54d69dc3279"),
]


class NoiseVector(unittest.TestCase):
    def test_both_ends_write_and_read_what_the_vector_says(self):
        client = Handshake(KEY, PROLOGUE, CLIENT)
        server = Handshake(KEY, PROLOGUE, SERVER)
        self.assertEqual(client.write_first(b"Ludwig von Mises"), FIRST)
        self.assertEqual(server.read_first(FIRST), b"Ludwig von Mises")
        self.assertEqual(server.write_second(b"Murray Rothbard"), SECOND)
        self.assertEqual(client.read_second(SECOND), b"Murray Rothbard")
        self.assertEqual((client.hash, server.hash), (HASH, HASH))
        keys = client.split()
        self.assertEqual(keys, server.split())
        for index, (plain, sealed) in enumerate(SEALED):
            key, number, sealed = keys[index % 2], index // 2, bytes.fromhex(sealed)
            self.assertEqual(seal(key, number, plain, b""), sealed)
            self.assertEqual(open_sealed(key, number, sealed, b""), plain)

    def test_another_key_or_a_changed_message_does_not_open(self):
        for key, first in [(bytes(32), FIRST), (KEY, FIRST[:-1] + b"?"), (KEY, b"?" + FIRST[1:])]:
            with self.assertRaises(Refused):
                Handshake(key, PROLOGUE, SERVER).read_first(first)
        with self.assertRaises(Refused):
            Handshake(KEY, b"another", SERVER).read_first(FIRST)


if __name__ == "__main__":
    unittest.main()
