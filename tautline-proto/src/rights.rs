//! Which types of messages a peer may send.

use core::fmt;

use crate::message::MessageType;
use crate::snapshot::{Reader, Saved, Writer};

/// A set of message types: what the holder of a key may send. Control frames of the protocol are not concerned.
///
/// ```
/// use tautline_proto::{MessageType, Rights};
///
/// let rights = Rights::NONE.with(MessageType::Status);
/// assert!(rights.allows(MessageType::Status) && !rights.allows(MessageType::Command));
/// assert_eq!(rights.to_string(), "status");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rights(u8);

impl Rights {
    /// Every type: `may = "command"`.
    pub const ALL: Self = Self::of_all();
    /// No type: `may = "observe"`.
    pub const NONE: Self = Self(0);

    /// Returns these rights, and this type too.
    #[must_use]
    pub const fn with(self, message_type: MessageType) -> Self {
        Self(self.0 | bit(message_type))
    }

    /// Returns what both rights allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns whether messages of this type may be sent.
    #[must_use]
    #[inline]
    pub const fn allows(self, message_type: MessageType) -> bool {
        self.0 & bit(message_type) != 0
    }

    /// Returns whether messages of every type may be sent.
    #[inline]
    pub(crate) const fn is_all(self) -> bool {
        self.0 == Self::ALL.0
    }

    /// Returns the types that may be sent, in the order of their numbers.
    pub fn types(self) -> impl Iterator<Item = MessageType> {
        MessageType::ALL.iter().copied().filter(move |&message_type| self.allows(message_type))
    }

    /// Returns the byte that travels: bit `n` stands for the type with number `n`.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        self.0
    }

    /// Reads the byte that travels. Bits of types that this build does not know are left out.
    #[must_use]
    pub const fn from_wire(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    const fn of_all() -> Self {
        let (mut rights, mut index) = (Self(0), 0);
        while index < MessageType::ALL.len() {
            rights = rights.with(MessageType::ALL[index]);
            index += 1;
        }
        rights
    }
}

/// The bit of a type is the one of its number on the wire.
const fn bit(message_type: MessageType) -> u8 {
    1 << message_type.to_wire()
}

impl Default for Rights {
    /// Every type.
    fn default() -> Self {
        Self::ALL
    }
}

impl FromIterator<MessageType> for Rights {
    fn from_iter<T: IntoIterator<Item = MessageType>>(types: T) -> Self {
        types.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.pad("everything");
        }
        if *self == Self::NONE {
            return f.pad("nothing");
        }
        for (index, message_type) in self.types().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{message_type}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

impl Saved for Rights {
    fn save(&self, out: &mut Writer) {
        self.0.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        u8::load(from).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn rights_are_what_was_put_in() {
        for &one in MessageType::ALL {
            let rights = Rights::NONE.with(one);
            assert_eq!(rights.types().collect::<alloc::vec::Vec<_>>(), [one]);
            assert!(Rights::ALL.allows(one) && !Rights::NONE.allows(one) && !rights.is_all());
        }
        assert!(MessageType::ALL.iter().copied().collect::<Rights>().is_all());
        let two = Rights::NONE.with(MessageType::Error).with(MessageType::Status);
        assert_eq!(two.to_string(), "status, error");
        assert_eq!([Rights::ALL, Rights::NONE].map(|rights| rights.to_string()), ["everything", "nothing"]);
    }
}
