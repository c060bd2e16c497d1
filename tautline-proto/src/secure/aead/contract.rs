//! What a cipher does.

/// The length of a tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// Seals and opens with one key.
pub(crate) trait Aead {
    fn new(key: &[u8; 32]) -> Self;

    /// Encrypts `text` in place. Returns the tag over it and over `clear`.
    fn seal(&self, number: u64, clear: &[u8], text: &mut [u8]) -> [u8; TAG_LEN];

    /// Decrypts `text` in place, which ends with the tag. Returns the length of what was sealed; `None` if anything was
    /// changed. `text` then holds nothing of use.
    fn open(&self, number: u64, clear: &[u8], text: &mut [u8]) -> Option<usize>;
}

/// The nonce of a number.
pub(super) fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}
