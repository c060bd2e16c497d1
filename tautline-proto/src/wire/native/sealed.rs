//! The header of sealed datagrams. docs/protocol.md §11.3.
//!
//! This module knows where things stand. It does not encrypt: the endpoint does, between header and tag.

use super::datagram::{Header, fill_header, looks_native, read_header};
use super::frames::Frames;
use super::layout::{FLAG_FROM_SERVER, FLAG_KEY_PHASE, FLAG_SEALED, FLAGS_AT, HEADER_LEN, TAG_LEN};
use crate::drops::DropReason;

/// The header of a sealed datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedHeader {
    /// The fields that every datagram has.
    pub header: Header,
    /// Which of two keys that follow one another sealed it.
    pub phase: bool,
}

/// Returns whether a datagram of this wire says that it is sealed. Such a datagram has a tag and no CRC.
#[must_use]
#[inline]
pub fn is_sealed(datagram: &[u8]) -> bool {
    looks_native(datagram) && datagram.get(FLAGS_AT).is_some_and(|flags| flags & FLAG_SEALED != 0)
}

/// Reads the header of a sealed datagram. Nothing that it says is certain before the datagram has been opened.
///
/// # Errors
///
/// The reason to drop the datagram.
pub fn parse_sealed(datagram: &[u8]) -> Result<SealedHeader, DropReason> {
    if datagram.len() < HEADER_LEN + TAG_LEN {
        return Err(DropReason::TooShort);
    }
    let (header, flags) = read_header(datagram)?;
    if flags & !(FLAG_FROM_SERVER | FLAG_SEALED | FLAG_KEY_PHASE) != 0 {
        return Err(DropReason::UnsupportedFlags);
    }
    Ok(SealedHeader { header, phase: flags & FLAG_KEY_PHASE != 0 })
}

/// Fills the header of a datagram that is sealed next.
#[inline]
pub(crate) fn fill_sealed_header(datagram: &mut [u8], SealedHeader { header, phase }: SealedHeader) {
    fill_header(datagram, header);
    datagram[FLAGS_AT] |= FLAG_SEALED | if phase { FLAG_KEY_PHASE } else { 0 };
}

/// Returns the frames of a datagram that was opened.
pub(crate) fn opened_frames(opened: &[u8]) -> Result<Frames<'_>, DropReason> {
    opened.get(HEADER_LEN..).and_then(Frames::check).ok_or(DropReason::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::SessionId;

    const HEADER: Header = Header { session: SessionId::from_bits(7), sequence: 9, from_server: true };

    #[test]
    fn the_header_of_a_sealed_datagram_is_read_as_it_was_written() {
        for phase in [false, true] {
            let mut datagram = [0; HEADER_LEN + TAG_LEN];
            let sealed = SealedHeader { header: HEADER, phase };
            fill_sealed_header(&mut datagram, sealed);
            assert!(is_sealed(&datagram));
            assert_eq!(parse_sealed(&datagram), Ok(sealed));
            assert_eq!(parse_sealed(&datagram[1..]), Err(DropReason::TooShort));
            datagram[FLAGS_AT] |= 8;
            assert_eq!(parse_sealed(&datagram), Err(DropReason::UnsupportedFlags));
            datagram[2] += 1;
            assert_eq!(parse_sealed(&datagram), Err(DropReason::OtherVersion));
        }
    }
}
