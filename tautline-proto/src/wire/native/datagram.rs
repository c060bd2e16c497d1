//! A datagram as a whole: header, frames, CRC.

use alloc::vec::Vec;

use super::frames::Frames;
use super::layout::{FLAG_FROM_SERVER, HEADER_LEN, MAGIC, TRAILER_LEN, VERSION};
use super::reader::Reader;
use crate::drops::DropReason;
use crate::peer::SessionId;

/// The header of a datagram, without what is the same in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The session that the datagram belongs to.
    pub session: SessionId,
    /// The low 32 bits of the datagram's number.
    pub sequence: u32,
    /// Whether the session's server sent it.
    pub from_server: bool,
}

/// Checks a datagram as a whole (magic, version, flags, CRC, frame lengths) and gives its header and frames.
///
/// # Errors
///
/// The reason to drop it.
pub fn parse(datagram: &[u8]) -> Result<(Header, Frames<'_>), DropReason> {
    let Some(checked_len) = datagram.len().checked_sub(TRAILER_LEN).filter(|&len| len >= HEADER_LEN) else {
        return Err(if datagram.starts_with(&MAGIC) { DropReason::TooShort } else { stranger(datagram) });
    };
    if !datagram.starts_with(&MAGIC) {
        return Err(stranger(datagram));
    }
    if datagram[2] != VERSION {
        return Err(DropReason::OtherVersion);
    }
    let (checked, trailer) = datagram.split_at(checked_len);
    if trailer != crc32fast::hash(checked).to_be_bytes() {
        return Err(DropReason::BadCrc);
    }
    let flags = checked[3];
    if flags & !FLAG_FROM_SERVER != 0 {
        return Err(DropReason::UnsupportedFlags);
    }
    let mut fields = Reader(&checked[4..]);
    let (Some(session), Some(sequence)) = (fields.u64(), fields.u32()) else {
        return Err(DropReason::TooShort);
    };
    let frames = Frames::check(fields.0).ok_or(DropReason::Malformed)?;
    let session = SessionId::from_bits(session);
    Ok((Header { session, sequence, from_server: flags & FLAG_FROM_SERVER != 0 }, frames))
}

/// Whether a datagram opens as a native one.
#[must_use]
pub(crate) fn looks_native(datagram: &[u8]) -> bool {
    datagram.starts_with(&MAGIC)
}

/// A datagram without our magic: the classic wire's JSON opens at byte 0, 4 or 8.
fn stranger(datagram: &[u8]) -> DropReason {
    let classic = [0, 4, 8].iter().any(|&at| datagram.get(at..).is_some_and(|rest| rest.starts_with(b"{\"")));
    match datagram.len() {
        0 => DropReason::TooShort,
        _ if classic => DropReason::OtherWire,
        _ => DropReason::NotTautline,
    }
}

/// Begins a datagram: leaves the hole that [`seal`] fills.
#[inline]
pub fn begin_datagram(out: &mut Vec<u8>) {
    out.resize(out.len() + HEADER_LEN, 0);
}

/// Fills the header's hole and appends the CRC: the datagram is ready.
pub fn seal(datagram: &mut Vec<u8>, header: Header) {
    fill_header(datagram, header);
    datagram.extend_from_slice(&[0; TRAILER_LEN]);
    fill_trailer(datagram);
}

pub(super) fn fill_header(datagram: &mut [u8], header: Header) {
    datagram[..2].copy_from_slice(&MAGIC);
    datagram[2] = VERSION;
    datagram[3] = if header.from_server { FLAG_FROM_SERVER } else { 0 };
    datagram[4..12].copy_from_slice(&header.session.bits().to_be_bytes());
    datagram[12..16].copy_from_slice(&header.sequence.to_be_bytes());
}

/// Writes the CRC over everything before it into the datagram's last bytes.
pub(super) fn fill_trailer(datagram: &mut [u8]) {
    let (checked, trailer) = datagram.split_at_mut(datagram.len() - TRAILER_LEN);
    trailer.copy_from_slice(&crc32fast::hash(checked).to_be_bytes());
}
