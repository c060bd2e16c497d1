//! A pack whose datagrams have numbers.

use core::net::SocketAddr;

/// A pack that is ready to be sent.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SealedPack<'a> {
    /// The peer's address.
    pub to: SocketAddr,
    /// All datagrams, one after the other.
    pub bytes: &'a [u8],
    /// The size of each datagram, except for the last.
    pub size: usize,
    pub(super) messages: &'a [u16],
}

impl<'a> SealedPack<'a> {
    /// Returns the datagrams, each with the number of its messages.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = (&'a [u8], u64)> + use<'a> {
        self.bytes.chunks(self.size.max(1)).zip(self.messages.iter().map(|&count| u64::from(count)))
    }
}
