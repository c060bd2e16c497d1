//! Sealing in portable Rust, also for microcontrollers.

use chacha20poly1305::aead::{AeadInPlace as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Tag};

use super::contract::{Aead, TAG_LEN, nonce};

pub(crate) struct Portable(ChaCha20Poly1305);

impl Aead for Portable {
    fn new(key: &[u8; 32]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }

    fn seal(&self, number: u64, clear: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let sealed = self.0.encrypt_in_place_detached(&nonce(number).into(), clear, text);
        sealed.expect("no datagram is as long as the cipher's limit of 256 GiB").into()
    }

    fn open(&self, number: u64, clear: &[u8], text: &mut [u8]) -> Option<usize> {
        let (text, tag) = text.split_at_mut(text.len().checked_sub(TAG_LEN)?);
        let tag = Tag::from_slice(tag);
        self.0.decrypt_in_place_detached(&nonce(number).into(), clear, text, tag).ok()?;
        Some(text.len())
    }
}
