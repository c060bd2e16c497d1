//! The ids of peers and of sessions.

use crate::snapshot::{Reader, Saved, Writer, saved};
use core::fmt;

/// Identifies a peer of an interface. An id is never used again for another peer.
///
/// On the native wire, a peer that was restarted gets a new id. On the classic wire, a peer is known by its address alone and
/// keeps its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// A running number, so that no two peers of an interface have the same id.
    serial: u32,
    /// The peer's place in the peer tables.
    slot: u32,
}

impl PeerId {
    pub(crate) const fn new(serial: u32, slot: u32) -> Self {
        Self { serial, slot }
    }

    /// Returns its running number among the peers of its interface.
    #[must_use]
    pub const fn serial(self) -> u32 {
        self.serial
    }

    /// Returns the peer's place in tables of peers. When a peer is gone, another one may get its place.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    /// Returns the id in one word of a black box.
    pub(crate) const fn to_word(self) -> u64 {
        (self.serial as u64) << 32 | self.slot as u64
    }

    #[allow(clippy::cast_possible_truncation)] // the two halves
    pub(crate) const fn from_word(word: u64) -> Self {
        Self { serial: (word >> 32) as u32, slot: word as u32 }
    }

    pub(crate) const fn slot_number(self) -> u32 {
        self.slot
    }

    /// Returns an id that no peer has, for messages that are made by hand.
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

/// Identifies a session of the native wire: 64 random bits. Every connect draws new ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// Returns the session id with these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the bits as they travel in the header.
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

saved!(PeerId { serial, slot });

impl Saved for SessionId {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        u64::load(from).map(Self)
    }
}
