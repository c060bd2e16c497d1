//! What the two ends of a secured link tell each other in the sealed part of the handshake. docs/protocol.md §11.1.

use alloc::vec::Vec;

use super::control;
use super::layout::field_type;
use super::reader::Reader;
use crate::peer::SessionId;
use crate::rights::Rights;

/// What the two ends tell each other in the sealed part of the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Introduction<'a> {
    /// The name of the interface.
    pub(crate) name: &'a str,
    /// What the receiver of this may send (in an accept).
    pub(crate) rights: Option<Rights>,
    /// There is no room for the client (in an accept).
    pub(crate) is_refused: bool,
    /// The client's session before this one, which this one replaces (in an echo).
    pub(crate) former: Option<SessionId>,
}

impl<'a> Introduction<'a> {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        control::write_name(&mut out, control::clipped(self.name));
        let mut field = |kind: u8, value: &[u8]| {
            #[allow(clippy::cast_possible_truncation)] // at most 8
            out.extend_from_slice(&[kind, value.len() as u8]);
            out.extend_from_slice(value);
        };
        if let Some(rights) = self.rights {
            field(field_type::RIGHTS, &[rights.to_wire()]);
        }
        if self.is_refused {
            field(field_type::REFUSED, &[]);
        }
        if let Some(former) = self.former {
            field(field_type::FORMER_SESSION, &former.bits().to_be_bytes());
        }
        out
    }

    /// Returns `None` if a field reaches beyond the end. Unknown fields are skipped.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Reader(bytes);
        let mut read = Self { name: fields.name()?, ..Self::default() };
        while let Some(kind) = fields.u8() {
            let len = fields.u8()?;
            let mut value = Reader(fields.bytes(len.into())?);
            match kind {
                field_type::RIGHTS => read.rights = Some(Rights::from_wire(value.u8()?)),
                field_type::REFUSED => read.is_refused = true,
                field_type::FORMER_SESSION => read.former = Some(SessionId::from_bits(value.u64()?)),
                _ => {}
            }
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageType;

    #[test]
    fn an_introduction_is_read_as_it_was_written_and_unknown_fields_are_skipped() {
        let rights = Some(Rights::NONE.with(MessageType::Status));
        let former = Some(SessionId::from_bits(0x0102_0304_0506_0708));
        for whole in [
            Introduction { name: "arm", ..Introduction::default() },
            Introduction { name: "", rights, is_refused: true, former },
        ] {
            let mut bytes = whole.write();
            assert_eq!(Introduction::read(&bytes), Some(whole));
            bytes.extend_from_slice(&[200, 2, 0, 0]);
            assert_eq!(Introduction::read(&bytes), Some(whole));
            bytes.pop();
            assert_eq!(Introduction::read(&bytes), None);
        }
        assert_eq!(Introduction::read(&[]), None);
    }
}
