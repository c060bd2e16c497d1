//! A datagram as a whole: header, frames, CRC.

use alloc::vec::Vec;
use core::hint::cold_path;

use super::control::{Control, write_control};
use super::frames::Frames;
use super::layout::{FLAG_FROM_SERVER, FLAG_SEALED, FLAGS_AT, HEADER_LEN, MAGIC, TRAILER_LEN, VERSION};
use super::reader::Reader;
use crate::drops::DropReason;
use crate::peer::SessionId;

/// The fields of a datagram's header, except for magic and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The session that the datagram belongs to.
    pub session: SessionId,
    /// The low 32 bits of the datagram's number.
    pub sequence: u32,
    /// Whether the session's server sent the datagram.
    pub from_server: bool,
}

/// Checks a datagram as a whole: magic, version, flags, CRC and frame lengths. Returns its header and its frames.
///
/// # Errors
///
/// The reason to drop the datagram.
#[inline]
pub fn parse(datagram: &[u8]) -> Result<(Header, Frames<'_>), DropReason> {
    let Some(checked_len) = datagram.len().checked_sub(TRAILER_LEN).filter(|&len| len >= HEADER_LEN) else {
        cold_path();
        return Err(if datagram.starts_with(&MAGIC) {
            DropReason::TooShort
        } else {
            reason_without_magic(datagram)
        });
    };
    if !datagram.starts_with(&MAGIC) {
        cold_path();
        return Err(reason_without_magic(datagram));
    }
    if datagram[2] != VERSION {
        cold_path();
        return Err(DropReason::OtherVersion);
    }
    if datagram[FLAGS_AT] & FLAG_SEALED != 0 {
        cold_path();
        // It has no CRC.
        return Err(DropReason::Secured);
    }
    let (checked, trailer) = datagram.split_at(checked_len);
    if trailer != crc(checked).to_be_bytes() {
        cold_path();
        return Err(DropReason::BadCrc);
    }
    let flags = checked[3];
    if flags & !FLAG_FROM_SERVER != 0 {
        cold_path();
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

/// Reads magic, version and header of a datagram of at least [`HEADER_LEN`] bytes. Returns the header and all flags.
pub(super) fn read_header(datagram: &[u8]) -> Result<(Header, u8), DropReason> {
    if !datagram.starts_with(&MAGIC) {
        return Err(reason_without_magic(datagram));
    }
    if datagram[2] != VERSION {
        return Err(DropReason::OtherVersion);
    }
    let flags = datagram[FLAGS_AT];
    let mut fields = Reader(&datagram[4..]);
    let (Some(session), Some(sequence)) = (fields.u64(), fields.u32()) else {
        return Err(DropReason::TooShort);
    };
    let session = SessionId::from_bits(session);
    Ok((Header { session, sequence, from_server: flags & FLAG_FROM_SERVER != 0 }, flags))
}

/// Returns the header of a datagram whose CRC is right, whatever its frames and flags. [`parse`] says whether it is.
pub(crate) fn header_of(datagram: &[u8]) -> Option<Header> {
    if datagram.len() < HEADER_LEN {
        return None;
    }
    read_header(datagram).ok().map(|(header, _)| header)
}

/// Returns whether a datagram begins like a native datagram.
#[must_use]
pub fn looks_native(datagram: &[u8]) -> bool {
    datagram.starts_with(&MAGIC)
}

/// Returns the reason to drop a datagram without our magic. The classic wire's JSON begins at byte 0, 4 or 8.
#[cold]
fn reason_without_magic(datagram: &[u8]) -> DropReason {
    let classic = [0, 4, 8].iter().any(|&at| datagram.get(at..).is_some_and(|rest| rest.starts_with(b"{\"")));
    match datagram.len() {
        0 => DropReason::TooShort,
        _ if classic => DropReason::OtherWire,
        _ => DropReason::NotTautline,
    }
}

/// Begins a datagram: leaves room for the header, which [`seal`] fills.
#[inline]
pub fn begin_datagram(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; HEADER_LEN]);
}

/// Finishes a datagram: fills the header and appends the CRC.
#[inline]
#[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
pub fn seal(datagram: &mut Vec<u8>, header: Header) {
    fill_header(datagram, header);
    datagram.extend_from_slice(&[0; TRAILER_LEN]);
    fill_trailer(datagram);
}

/// Room for a datagram of a handshake, unless its names are long.
const USUAL_LEN: usize = 160;

/// Returns a datagram outside any session's numbering, which holds this frame alone.
pub(crate) fn unnumbered(session: SessionId, from_server: bool, control: &Control<'_>) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(USUAL_LEN);
    begin_datagram(&mut datagram);
    write_control(&mut datagram, control);
    seal(&mut datagram, Header { session, sequence: 0, from_server });
    datagram
}

#[inline]
pub(super) fn fill_header(datagram: &mut [u8], header: Header) {
    datagram[..2].copy_from_slice(&MAGIC);
    datagram[2] = VERSION;
    datagram[3] = if header.from_server { FLAG_FROM_SERVER } else { 0 };
    datagram[4..12].copy_from_slice(&header.session.bits().to_be_bytes());
    datagram[12..16].copy_from_slice(&header.sequence.to_be_bytes());
}

/// Fills the datagram's last bytes with the CRC over everything before them.
#[inline]
pub(super) fn fill_trailer(datagram: &mut [u8]) {
    let (checked, trailer) = datagram.split_at_mut(datagram.len() - TRAILER_LEN);
    trailer.copy_from_slice(&crc(checked).to_be_bytes());
}

/// Returns the CRC-32 of these bytes.
// As `crc32fast::hash`, but beside the functions that call it.
#[inline]
#[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
pub(in crate::wire) fn crc(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes);
    hasher.finalize()
}
