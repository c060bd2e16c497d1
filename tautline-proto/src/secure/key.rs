//! One key, and what may be said of it in public.

use alloc::string::String;
use core::fmt;
use core::fmt::Write as _;

use blake2::{Blake2s256, Digest as _};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::primitives::MixedKey;
use crate::snapshot::{Reader, Saved, Writer};

/// A secret of 32 random bytes that both ends hold.
///
/// Nothing prints its bytes. They are wiped from memory when the key is dropped.
///
/// ```
/// use tautline_proto::secure::Key;
///
/// let key = Key::from_bytes([7; Key::LEN]);
/// assert_eq!(format!("{key:?}"), format!("Key({})", key.fingerprint()));
/// ```
#[derive(Clone)]
pub struct Key {
    bytes: Zeroizing<[u8; Key::LEN]>,
    /// What handshakes begin with.
    mixed: MixedKey,
}

/// Names a key on the wire without showing it: the first 8 bytes of BLAKE2s (RFC 7693) over `tautline key id` and the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KeyId::LEN]);

const ID_LABEL: &[u8] = b"tautline key id";
const FINGERPRINT_LABEL: &[u8] = b"tautline key fingerprint";

/// How many bytes of its hash a fingerprint shows.
const FINGERPRINT_LEN: usize = 10;

impl Key {
    /// The length of a key, in bytes.
    pub const LEN: usize = 32;

    /// Takes these bytes as a key. They must come from a source of randomness that nobody can predict.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self { mixed: MixedKey::new(&bytes), bytes }
    }

    /// Returns the bytes, to write them where only their owner reads.
    #[must_use]
    pub fn bytes(&self) -> &[u8; Self::LEN] {
        &self.bytes
    }

    pub(super) fn mixed(&self) -> &MixedKey {
        &self.mixed
    }

    /// Returns the name of the key on the wire.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let hash = self.hash(ID_LABEL);
        KeyId(core::array::from_fn(|index| hash[index]))
    }

    /// Returns a text that people can compare, for example over the phone: `1f2e-3d4c-5b6a-7988-9706`. It is a hash and tells
    /// nothing about the key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        for (index, byte) in self.hash(FINGERPRINT_LABEL)[..FINGERPRINT_LEN].iter().enumerate() {
            let dash = if index > 0 && index % 2 == 0 { "-" } else { "" };
            let _ = write!(text, "{dash}{byte:02x}");
        }
        text
    }

    fn hash(&self, label: &[u8]) -> [u8; 32] {
        Blake2s256::new().chain_update(label).chain_update(*self.bytes).finalize().into()
    }
}

impl PartialEq for Key {
    /// Takes the same time whatever the keys are.
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&*other.bytes).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    /// Shows the fingerprint and no byte of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.fingerprint())
    }
}

impl KeyId {
    /// The length of an id, in bytes.
    pub const LEN: usize = 8;

    /// Takes these bytes as an id.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes that travel.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        self.0
    }
}

impl Saved for KeyId {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Saved::load(from).map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn nothing_that_is_shown_holds_a_byte_of_the_key() {
        let bytes: [u8; 32] = core::array::from_fn(|index| 0xa0 + u8::try_from(index).unwrap());
        let key = Key::from_bytes(bytes);
        let shown = format!("{key:?} {:#?} {} {}", key.clone(), key.id(), key.fingerprint());
        // Three bytes in a row would be the key's; one or two may come from the hash.
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!((0..hex.len() - 6).all(|at| !shown.contains(&hex[at..at + 6])), "{shown}");
        assert_eq!(key.fingerprint().len(), 24);
    }

    #[test]
    fn keys_are_told_apart_by_id_and_fingerprint() {
        let [one, other] = [1, 2].map(|byte| Key::from_bytes([byte; 32]));
        assert_eq!(one, Key::from_bytes([1; 32]));
        assert_ne!(one, other);
        assert_ne!(one.id(), other.id());
        assert_ne!(one.fingerprint(), other.fingerprint());
        // The fingerprint is no part of the id, which everybody can read on the wire.
        assert!(!one.fingerprint().replace('-', "").contains(&format!("{}", one.id())[..8]));
    }
}
