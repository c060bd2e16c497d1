//! The frame with which two ends of a session agree on new keys. docs/protocol.md §11.6.

use alloc::vec::Vec;

use super::layout::KEY_ID_LEN;
use super::reader::Reader;
use crate::snapshot::saved_variants;

/// What a frame about new keys says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rekey {
    /// A server asks its client to begin.
    Ask,
    /// A client begins: the id of the key that it uses, and the first message of the Noise handshake.
    Begin([u8; KEY_ID_LEN], Vec<u8>),
    /// The server answers with the second message.
    Answer(Vec<u8>),
}

/// The longest message of the handshake that is read, in bytes.
const LONGEST: usize = 200;

impl Rekey {
    pub(super) fn read(mut fields: Reader<'_>) -> Option<Self> {
        let act = fields.u8()?;
        Some(match act {
            1 => Self::Ask,
            2 => Self::Begin(fields.array()?, noise(fields)?),
            3 => Self::Answer(noise(fields)?),
            _ => return None,
        })
    }

    pub(super) fn body_len(&self) -> usize {
        1 + match self {
            Self::Ask => 0,
            Self::Begin(_, noise) => KEY_ID_LEN + noise.len(),
            Self::Answer(noise) => noise.len(),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ask => out.push(1),
            Self::Begin(key, noise) => {
                out.push(2);
                out.extend_from_slice(key);
                out.extend_from_slice(noise);
            }
            Self::Answer(noise) => {
                out.push(3);
                out.extend_from_slice(noise);
            }
        }
    }
}

fn noise(fields: Reader<'_>) -> Option<Vec<u8>> {
    (fields.0.len() <= LONGEST).then(|| fields.0.into())
}

saved_variants!(Rekey { 0 = Ask, 1 = Begin(key, message), 2 = Answer(message) });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_is_read_as_it_was_written_and_others_are_skipped() {
        for rekey in [Rekey::Ask, Rekey::Begin([7; 8], [1; 49].into()), Rekey::Answer([2; 52].into())] {
            let mut body = Vec::new();
            rekey.write(&mut body);
            assert_eq!((body.len(), Rekey::read(Reader(&body))), (rekey.body_len(), Some(rekey)));
        }
        assert_eq!(Rekey::read(Reader(&[4])), None);
        assert_eq!(Rekey::read(Reader(&[2, 0, 0])), None);
        assert_eq!(Rekey::read(Reader(&[3; 202])), None);
    }
}
