//! The frame about who may send on a stream: claims and releases, their answers, and notices. docs/protocol.md §7.6.

use alloc::vec::Vec;

use super::reader::Reader;
use crate::message::{MessageType, StreamId};
use crate::snapshot::{Reader as Bytes, Saved, Writer, saved};

/// The length of the frame's body.
pub(super) const OWNERSHIP_LEN: usize = 12;

/// A frame about the owner of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// What is asked or said.
    pub act: OwnershipAct,
    /// The stream that it is about.
    pub stream: StreamId,
    /// The number of the claim or release, or of the one that is answered. The sender counts them from 1 in each session. 0 in a
    /// notice.
    pub number: u32,
    /// The low 32 bits of the number of the owner's period at the receiver of the stream, which rises with each new owner. 0 where
    /// it has no meaning.
    pub period: u32,
}

/// What a frame about the owner of a stream asks or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OwnershipAct {
    /// The sender wants to own the stream, whoever owns it now.
    Claim = 1,
    /// The sender no longer wants to own the stream.
    Release = 2,
    /// Answers a claim: the claimant owns the stream.
    Granted = 3,
    /// Answers a release: the sender of the release does not own the stream.
    Released = 4,
    /// Answers both: streams of this type and channel have no owners here, and every peer may send.
    Unowned = 5,
    /// Answers a claim: the claimant may not own the stream, or there is no room for one more stream.
    Refused = 6,
    /// A notice: another peer owns the stream, and messages of the notice's receiver are dropped.
    Denied = 7,
}

impl OwnershipAct {
    const ALL: [Self; 7] = [
        Self::Claim,
        Self::Release,
        Self::Granted,
        Self::Released,
        Self::Unowned,
        Self::Refused,
        Self::Denied,
    ];

    fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&act| act as u8 == number)
    }
}

impl Ownership {
    /// Returns `None` for an act or a type of a later version.
    pub(super) fn read(mut fields: Reader<'_>) -> Option<Self> {
        let [act, message_type] = fields.array()?;
        let message_type = MessageType::from_wire(message_type)?;
        let stream = StreamId { message_type, channel: fields.u16()? };
        let act = OwnershipAct::from_wire(act)?;
        Some(Self { act, stream, number: fields.u32()?, period: fields.u32()? })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.act as u8, self.stream.message_type.to_wire()]);
        out.extend_from_slice(&self.stream.channel.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.period.to_be_bytes());
    }
}

saved!(Ownership { act, stream, number, period });

impl Saved for OwnershipAct {
    fn save(&self, out: &mut Writer) {
        (*self as u8).save(out);
    }

    fn load(from: &mut Bytes<'_>) -> Option<Self> {
        u8::load(from).and_then(Self::from_wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(act: u8, message_type: u8) -> [u8; OWNERSHIP_LEN] {
        [act, message_type, 0, 3, 0, 0, 0, 9, 0, 0, 0, 4]
    }

    #[test]
    fn every_act_is_read_as_it_was_written() {
        for act in OwnershipAct::ALL {
            let frame = Ownership { act, stream: (MessageType::Status, 3).into(), number: 9, period: 4 };
            let mut out = Vec::new();
            frame.write(&mut out);
            assert_eq!(out, bytes(act as u8, 3));
            assert_eq!(Ownership::read(Reader(&out)), Some(frame));
        }
    }

    #[test]
    fn an_unknown_act_or_type_and_a_short_body_are_skipped_and_more_bytes_are_ignored() {
        for unknown in [bytes(0, 1), bytes(8, 1), bytes(1, 0), bytes(1, 8)] {
            assert_eq!(Ownership::read(Reader(&unknown)), None);
        }
        assert_eq!(Ownership::read(Reader(&bytes(1, 1)[..OWNERSHIP_LEN - 1])), None);
        let longer = [&bytes(1, 1)[..], &[0xff; 5]].concat();
        assert!(Ownership::read(Reader(&longer)).is_some());
    }
}
