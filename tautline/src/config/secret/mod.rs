//! Secret keys: how they are made, written and read.
//!
//! Users and the program call it. It never shows a key, unless the user asks for its text with
//! [`SecretKey::reveal`]: a key is shown as its fingerprint. What it holds of a key is wiped from memory when it is dropped.

mod file;

use std::fmt;
use std::io;
use std::ops::Deref;
use std::str::FromStr;

use base64ct::{Base64, Encoding};
use tautline_proto::secure::Key;
use zeroize::Zeroizing;

pub use file::KeyFileError;

/// The number of characters of a key in base64, with the padding.
const CHARACTERS: usize = 44;

/// A key that two ends share: 32 secret bytes. Written, it is a line of base64.
///
/// `Debug` shows its [fingerprint](Self::fingerprint). The bytes are wiped from memory when the key is dropped.
///
/// ```
/// use tautline::SecretKey;
///
/// let key = SecretKey::generate()?;
/// let copied: SecretKey = key.reveal().parse()?;
/// assert_eq!(copied.fingerprint(), key.fingerprint());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Key);

impl SecretKey {
    /// Makes a new key from the system's randomness (getrandom(2) on Linux).
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; Key::LEN]);
        getrandom::fill(bytes.as_mut()).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self::from(*bytes))
    }

    /// Returns the fingerprint of the key: a hash of it, to tell keys apart. It is no secret: you can read it out over the phone.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }

    /// Returns the key as text: 44 characters of base64. Whoever sees it has the key. The text is wiped from memory when it
    /// is dropped.
    #[must_use]
    pub fn reveal(&self) -> impl Deref<Target = str> + use<> {
        let mut text = Zeroizing::new([0; CHARACTERS]);
        Base64::encode(self.0.bytes(), text.as_mut_slice()).expect("the text has room for 32 bytes");
        Revealed(text)
    }

    /// Reads a key from its text.
    fn read(text: &[u8]) -> Result<Self, SecretKeyError> {
        // It never grows, so no copy of a key stays behind.
        let mut bytes = Zeroizing::new(vec![0; text.len()]);
        let bytes = Base64::decode(text, &mut bytes).map_err(|_| SecretKeyError(Problem::NotBase64))?;
        let bytes: &[u8; Key::LEN] =
            bytes.try_into().map_err(|_| SecretKeyError(Problem::Length(bytes.len())))?;
        let differ = bytes.iter().fold(0, |differ, byte| differ | (byte ^ bytes[0]));
        if differ == 0 { Err(SecretKeyError(Problem::Placeholder)) } else { Ok(Self::from(*bytes)) }
    }
}

/// The text of a key.
struct Revealed(Zeroizing<[u8; CHARACTERS]>);

impl Deref for Revealed {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(self.0.as_slice()).expect("base64 is ASCII")
    }
}

impl FromStr for SecretKey {
    type Err = SecretKeyError;

    /// Reads a key as [`reveal`](Self::reveal) writes it. White space around it does not matter.
    fn from_str(text: &str) -> Result<Self, SecretKeyError> {
        Self::read(text.trim().as_bytes())
    }
}

impl From<[u8; Key::LEN]> for SecretKey {
    /// Takes the bytes of a key. They must be random: a password is no key.
    fn from(bytes: [u8; Key::LEN]) -> Self {
        Self(Key::from_bytes(bytes))
    }
}

impl From<SecretKey> for Key {
    fn from(key: SecretKey) -> Self {
        key.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.fingerprint())
    }
}

/// The text is no key. The message says why, and shows nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretKeyError(Problem);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    NotBase64,
    Length(usize),
    Placeholder,
}

impl fmt::Display for SecretKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Problem::NotBase64 => f.write_str("is not base64"),
            Problem::Length(1) => f.write_str("has 1 byte"),
            Problem::Length(bytes) => write!(f, "has {bytes} bytes"),
            Problem::Placeholder => f.write_str("has 32 equal bytes, which are no secret"),
        }?;
        f.write_str(
            ": expected a key of 32 bytes, that is 44 characters of base64, as `tautline keygen` makes it",
        )
    }
}

impl std::error::Error for SecretKeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_as_its_fingerprint_only() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse::<SecretKey>().expect("a key");
        // hashlib.blake2s(b"tautline key fingerprint" + bytes(range(32))).hexdigest()[:20]
        assert_eq!(key.fingerprint().to_string(), "bc06-d1ba-c7ec-3aa7-c42d");
        assert_eq!(format!("{key:?}"), "SecretKey(bc06-d1ba-c7ec-3aa7-c42d)");
        assert_eq!(&*key.reveal(), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        assert_eq!(" AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\r\n".parse(), Ok(key));
    }

    #[test]
    fn two_new_keys_differ() {
        let (one, another) = (SecretKey::generate().expect("random"), SecretKey::generate().expect("random"));
        assert_ne!(one, another);
        assert_ne!(one.fingerprint(), another.fingerprint());
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_and_not_repeated() {
        let expected =
            ": expected a key of 32 bytes, that is 44 characters of base64, as `tautline keygen` makes it";
        for (text, problem) in [
            ("correct horse battery staple", "is not base64"),
            ("AAAA", "has 3 bytes"),
            ("AA==", "has 1 byte"),
            ("", "has 0 bytes"),
            // The padding is part of it, also where the bytes are clear without it.
            ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "is not base64"),
            ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==", "has 31 bytes"),
            ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g", "has 33 bytes"),
            ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-=", "is not base64"),
            // The last character has two bits that belong to no byte: four texts would mean the same key.
            ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", "is not base64"),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "has 32 equal bytes, which are no secret"),
        ] {
            let error = text.parse::<SecretKey>().expect_err(text);
            assert_eq!(error.to_string(), format!("{problem}{expected}"));
        }
    }
}
