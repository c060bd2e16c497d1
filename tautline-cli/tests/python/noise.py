"""Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s, written from the Noise Protocol Framework, revision 34.

https://noiseprotocol.org/noise.html; the names and the numbers of the sections are those of that document. Only the
primitives come from a library: X25519 and ChaCha20-Poly1305 from `cryptography`, BLAKE2s and HMAC from Python itself.
"""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

NAME = b"Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s"
PUBLIC_LENGTH = 32
TAG_LENGTH = 16


class Refused(Exception):
    """A message of the other end does not open: it has another key, or somebody changed the message."""


def blake2s(data):
    return hashlib.blake2s(data).digest()


def hkdf(chaining_key, material, outputs):
    """Section 4.3."""
    temporary = hmac.new(chaining_key, material, hashlib.blake2s).digest()
    result, last = [], b""
    for index in range(1, outputs + 1):
        last = hmac.new(temporary, last + bytes([index]), hashlib.blake2s).digest()
        result.append(last)
    return result


def nonce(number):
    """Section 12.3: 32 bits of zeros, then the number in 64 bits, the lowest byte first."""
    return bytes(4) + number.to_bytes(8, "little")


def seal(key, number, plain, associated):
    return ChaCha20Poly1305(key).encrypt(nonce(number), plain, associated)


def open_sealed(key, number, sealed, associated):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce(number), sealed, associated)
    except InvalidTag:
        raise Refused from None


class Handshake:
    """One end of a handshake: the CipherState and the SymmetricState of sections 5.1 and 5.2 in one.

    The pattern is:

        -> psk, e
        <- e, ee
    """

    def __init__(self, key, prologue, ephemeral=None):
        """`ephemeral`: 32 bytes instead of random ones, for test vectors."""
        self.hash = blake2s(NAME)  # longer than 32 bytes, so it is hashed and not padded
        self.chaining_key = self.hash
        self.cipher_key, self.number = None, 0
        self.key = key
        self.private = X25519PrivateKey.from_private_bytes(ephemeral or os.urandom(32))
        self.public = self.private.public_key().public_bytes_raw()
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.hash = blake2s(self.hash + data)

    def mix_key(self, material):
        self.chaining_key, self.cipher_key = hkdf(self.chaining_key, material, 2)
        self.number = 0

    def mix_psk(self):
        """MixKeyAndHash of section 9.2."""
        self.chaining_key, mixed, self.cipher_key = hkdf(self.chaining_key, self.key, 3)
        self.mix_hash(mixed)
        self.number = 0

    def mix_ephemeral(self, public):
        """A public key of a handshake with a shared key is mixed into the keys too (section 9.2)."""
        self.mix_hash(public)
        self.mix_key(public)

    def encrypt(self, plain):
        sealed = seal(self.cipher_key, self.number, plain, self.hash)
        self.number += 1
        self.mix_hash(sealed)
        return sealed

    def decrypt(self, sealed):
        plain = open_sealed(self.cipher_key, self.number, sealed, self.hash)
        self.number += 1
        self.mix_hash(sealed)
        return plain

    def write_first(self, payload):
        self.mix_psk()
        self.mix_ephemeral(self.public)
        return self.public + self.encrypt(payload)

    def read_first(self, message):
        self.mix_psk()
        self.remote = message[:PUBLIC_LENGTH]
        self.mix_ephemeral(self.remote)
        return self.decrypt(message[PUBLIC_LENGTH:])

    def write_second(self, payload):
        self.mix_ephemeral(self.public)
        self.mix_key(self.exchange(self.remote))
        return self.public + self.encrypt(payload)

    def read_second(self, message):
        remote = message[:PUBLIC_LENGTH]
        self.mix_ephemeral(remote)
        self.mix_key(self.exchange(remote))
        return self.decrypt(message[PUBLIC_LENGTH:])

    def exchange(self, public):
        return self.private.exchange(X25519PublicKey.from_public_bytes(public))

    def split(self):
        """Returns the key of the end that wrote the first message, and that of the other end (section 5.2)."""
        return hkdf(self.chaining_key, b"", 2)
