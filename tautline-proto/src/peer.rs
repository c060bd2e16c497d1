//! Names for remote ends and for their lives.

use core::fmt;

/// One life of a peer as this interface knows it; never used again for another.
///
/// On the native wire a restarted peer is a new one; on the classic wire, where an address is all there
/// is, it keeps its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// A running number, so that no two peers of an interface share an id.
    serial: u32,
    /// Where the peer stands in the peer tables.
    slot: u32,
}

impl PeerId {
    pub(crate) const fn new(serial: u32, slot: u32) -> Self {
        Self { serial, slot }
    }

    pub(crate) const fn slot(self) -> usize {
        self.slot as usize
    }

    pub(crate) const fn slot_number(self) -> u32 {
        self.slot
    }

    /// An id that no interface gives out; for messages made by hand, in tests of other transports.
    #[must_use]
    pub const fn none() -> Self {
        Self { serial: 0, slot: u32::MAX }
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.serial)
    }
}

/// A session of the native wire: 64 random bits, new at every connect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// The session with these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits as they stand in the header.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
