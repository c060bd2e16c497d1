//! The keys of one direction of a session: the sender's seals datagrams, the receiver's opens them. docs/protocol.md §11.3.

use core::fmt;

use zeroize::Zeroizing;

use super::aead::{Aead as _, Cipher, TAG_LEN};
use crate::snapshot::{Reader, Saved, Writer, saved};

/// How many datagrams a key seals at most. Then it refuses: the session needs new keys.
const MAX_SEALED: u64 = 1 << 24;

/// The secret of one direction. `None` in a rerun.
#[derive(Default)]
pub(crate) struct DirectionKey(Option<Zeroizing<[u8; 32]>>);

impl DirectionKey {
    pub(crate) fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        #[cfg(test)]
        made::note(&bytes);
        Self(Some(bytes))
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        self.0.as_ref().expect("it is no rerun")
    }

    fn cipher(&self) -> Option<Cipher> {
        self.0.as_ref().map(|bytes| Cipher::new(bytes))
    }
}

/// Seals the datagrams of one direction.
///
/// Invariant: a number is sealed once, because numbers rise. So no nonce is used twice.
pub(crate) struct SealKey {
    /// `None` in a rerun: there, a datagram is sealed by leaving it as it is.
    cipher: Option<Cipher>,
    /// One above the highest number that was sealed.
    unused_from: u64,
    sealed: u64,
    phase: bool,
}

/// Opens the datagrams of one direction. In a rerun it holds no key, and opens nothing: what was opened is in the record.
pub(crate) struct OpenKey(Option<Cipher>);

impl SealKey {
    /// `phase`: what the header says of the key, so that the receiver knows which of two to open with.
    pub(crate) fn new(key: &DirectionKey, phase: bool) -> Self {
        Self { cipher: key.cipher(), unused_from: 0, sealed: 0, phase }
    }

    #[inline]
    pub(crate) const fn phase(&self) -> bool {
        self.phase
    }

    /// Seals nothing any more.
    pub(crate) fn wear_out(&mut self) {
        self.sealed = MAX_SEALED;
    }

    /// Returns whether this many more datagrams may be sealed.
    #[inline]
    pub(crate) const fn has_left(&self, datagrams: u64) -> bool {
        self.sealed + datagrams <= MAX_SEALED
    }

    /// Encrypts what follows the first `clear` bytes of the datagram with this number, and returns the tag.
    ///
    /// # Panics
    ///
    /// If the number, or a higher one, was sealed before. To use a nonce twice would show the contents of both datagrams.
    #[inline]
    pub(crate) fn seal(&mut self, number: u64, datagram: &mut [u8], clear: usize) -> [u8; TAG_LEN] {
        assert!(number >= self.unused_from, "number {number} was sealed before");
        self.unused_from = number + 1;
        self.sealed += 1;
        let Some(cipher) = &self.cipher else { return [0; TAG_LEN] };
        let (clear, text) = datagram.split_at_mut(clear);
        cipher.seal(number, clear, text)
    }
}

impl OpenKey {
    pub(crate) fn new(key: &DirectionKey) -> Self {
        Self(key.cipher())
    }

    /// Decrypts in place what follows the first `clear` bytes of the datagram with this number, and checks all of it. Returns the
    /// length without the tag; `None` if anything was changed.
    #[inline]
    pub(crate) fn open(&self, number: u64, datagram: &mut [u8], clear: usize) -> Option<usize> {
        let (clear, text) = datagram.split_at_mut_checked(clear)?;
        Some(clear.len() + self.0.as_ref()?.open(number, clear, text)?)
    }
}

// Keys are never saved.
saved!(SealKey { unused_from, sealed, phase } else { cipher: None });

impl Saved for OpenKey {
    fn save(&self, _: &mut Writer) {}

    fn load(_: &mut Reader<'_>) -> Option<Self> {
        Some(Self(None))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenKey")
    }
}

/// The secrets that this thread has made: a test looks whether they are written anywhere.
#[cfg(test)]
pub(crate) mod made {
    extern crate std;

    use alloc::vec::Vec;
    use core::cell::RefCell;

    std::thread_local! {
        static SECRETS: RefCell<Vec<[u8; 32]>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note(secret: &[u8; 32]) {
        SECRETS.with_borrow_mut(|secrets| secrets.push(*secret));
    }

    pub(crate) fn secrets() -> Vec<[u8; 32]> {
        SECRETS.with_borrow(Vec::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DirectionKey {
        DirectionKey::new(Zeroizing::new([7; 32]))
    }

    #[test]
    fn a_datagram_opens_once_it_is_whole() {
        let (mut seal, open) = (SealKey::new(&key(), false), OpenKey::new(&key()));
        let mut datagram = alloc::vec![1; 40];
        let tag = seal.seal(9, &mut datagram, 16);
        datagram.extend_from_slice(&tag);
        assert_eq!(open.open(9, &mut datagram.clone(), 16), Some(40));
        assert_eq!(open.open(8, &mut datagram.clone(), 16), None);
        datagram[3] ^= 2;
        assert_eq!(open.open(9, &mut datagram, 16), None, "the header is sealed in clear");
        assert_eq!(open.open(9, &mut [0; 20], 16), None);
        assert_eq!(open.open(9, &mut [0; 10], 16), None);
    }

    #[test]
    #[should_panic(expected = "sealed before")]
    fn no_number_is_sealed_twice() {
        let mut seal = SealKey::new(&key(), false);
        seal.seal(9, &mut [0; 20], 16);
        seal.seal(9, &mut [0; 20], 16);
    }

    #[test]
    fn a_key_wears_out() {
        let mut seal = SealKey { sealed: MAX_SEALED - 1, ..SealKey::new(&key(), false) };
        assert!(seal.has_left(1) && !seal.has_left(2));
        seal.seal(3, &mut [0; 20], 16);
        assert!(!seal.has_left(1));
    }
}
