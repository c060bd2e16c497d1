//! Sealing and opening bytes: ChaCha20-Poly1305 (RFC 8439), by ring where it has code for the processor, else by portable code.
//! The nonce is 4 zero bytes and the number in little-endian order, as in Noise (revision 34, §12.3).

mod contract;
#[cfg(any(
    test,
    not(any(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")), windows))
))]
mod portable;
#[cfg(any(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")), windows))]
mod ring;

pub(crate) use contract::{Aead, TAG_LEN};
#[cfg(not(any(
    all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")),
    windows
)))]
pub(crate) use portable::Portable as Cipher;
#[cfg(any(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")), windows))]
pub(crate) use ring::Ring as Cipher;

#[cfg(test)]
mod tests;
