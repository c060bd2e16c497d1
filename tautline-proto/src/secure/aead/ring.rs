//! Sealing by ring, with the instructions of the processor.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::contract::{Aead, TAG_LEN, nonce};

pub(crate) struct Ring(LessSafeKey);

impl Aead for Ring {
    fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the cipher's keys have 32 bytes");
        Self(LessSafeKey::new(key))
    }

    #[inline]
    fn seal(&self, number: u64, clear: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce(number));
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(clear), text);
        let tag = tag.expect("no datagram is as long as the cipher's limit of 256 GiB");
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    #[inline]
    fn open(&self, number: u64, clear: &[u8], text: &mut [u8]) -> Option<usize> {
        let nonce = Nonce::assume_unique_for_key(nonce(number));
        self.0.open_in_place(nonce, Aad::from(clear), text).ok().map(|opened| opened.len())
    }
}
