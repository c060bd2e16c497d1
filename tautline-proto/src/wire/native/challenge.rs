//! The frame with which a server of a secured link asks whether its client is at an address. docs/protocol.md §11.7.

use alloc::vec::Vec;

#[cfg(feature = "secure")]
use super::layout::frame_type;
use super::layout::{FRAME_HEADER_LEN, HEADER_LEN, TAG_LEN};
use super::reader::Reader;
use crate::snapshot::saved_variants;

/// What a frame about a peer's address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Challenge {
    /// A server sends this value to one address.
    Ask(u64),
    /// Its client sends the value back: what is sent to that address reaches it.
    Answer(u64),
}

/// The length of the frame's body.
pub(super) const CHALLENGE_LEN: usize = 9;

/// The length of a sealed datagram with this frame alone. No challenge answers a shorter one.
pub(crate) const CHALLENGE_DATAGRAM_LEN: usize = HEADER_LEN + FRAME_HEADER_LEN + CHALLENGE_LEN + TAG_LEN;

/// Returns whether a datagram that is not sealed yet begins with this frame.
#[cfg(feature = "secure")]
pub(crate) fn begins_with_challenge(datagram: &[u8], challenge: Challenge) -> bool {
    let body = datagram.get(HEADER_LEN + FRAME_HEADER_LEN..).unwrap_or_default();
    datagram.get(HEADER_LEN) == Some(&frame_type::CHALLENGE)
        && Challenge::read(Reader(body)) == Some(challenge)
}

saved_variants!(Challenge { 1 = Ask(value), 2 = Answer(value) });

impl Challenge {
    pub(super) fn read(mut fields: Reader<'_>) -> Option<Self> {
        let (act, value) = (fields.u8()?, fields.u64()?);
        match act {
            1 => Some(Self::Ask(value)),
            2 => Some(Self::Answer(value)),
            _ => None,
        }
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        let (act, value) = match self {
            Self::Ask(value) => (1, value),
            Self::Answer(value) => (2, value),
        };
        out.push(act);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_acts_are_read_as_they_were_written_and_others_are_skipped() {
        for challenge in [Challenge::Ask(7), Challenge::Answer(u64::MAX)] {
            let mut body = Vec::new();
            challenge.write(&mut body);
            assert_eq!((body.len(), Challenge::read(Reader(&body))), (CHALLENGE_LEN, Some(challenge)));
            assert_eq!(Challenge::read(Reader(&body[..8])), None);
            body[0] = 3;
            assert_eq!(Challenge::read(Reader(&body)), None);
        }
    }
}
