//! Keys, and what is done with them: the handshake's secrets, and the sealing of datagrams. docs/protocol.md §11.
//!
//! - `key` is one key, `keys` the keys that an endpoint accepts and the identities that hold them.
//! - `noise` is the handshake, built of `primitives` and of the generator `random`.
//! - `sealing` seals and opens datagrams with the cipher `aead`.
//!
//! The endpoint calls this module. Nothing here draws randomness or reads a clock: the caller passes a seed. No `Debug` and no
//! error shows a byte of a key, and every key is wiped from memory when it is dropped.

mod aead;
mod key;
mod keys;
mod noise;
mod primitives;
mod random;
mod sealing;

pub use key::{Key, KeyId};
pub use keys::{BadKeys, Identity, Keys};
pub(crate) use noise::{Asked, Begun, Split, begin, read_first};
pub(crate) use random::Random;
#[cfg(test)]
pub(crate) use sealing::made;
pub(crate) use sealing::{OpenKey, SealKey};
