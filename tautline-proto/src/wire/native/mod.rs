//! The native wire: datagrams of frames between a fixed header and a CRC-32. docs/protocol.md §2 to §4.
//!
//! Reading is in place and never allocates: [`parse`] checks a datagram as a whole, [`Frames`] walks it.
//! Writing appends to a buffer: a hole for the header ([`begin_datagram`]), then frames, then [`seal`].

mod delivery;
mod frames;
mod pack;
mod reader;
#[cfg(test)]
mod tests;
mod write;

use alloc::vec::Vec;

pub use delivery::{Ack, DELIVERY_WINDOW, Fragment};
pub(crate) use delivery::{DeliveryNumbers, cut, parts, write_ack};
pub(crate) use frames::KIND_LEN;
pub use frames::{Frame, Frames, MessageFrame};
pub use pack::{MAX_DATAGRAMS, Pack, Place};
use reader::Reader;
pub(crate) use write::priority_of;
pub use write::{
    BadText, Control, Head, MAX_LIFESPAN, MIN_LIFESPAN, MessageStart, begin_message, finish_message,
    write_control,
};

use crate::drops::DropReason;
use crate::peer::SessionId;
use crate::time::{Instant, WallTime};

/// The first two bytes of every native datagram.
pub const MAGIC: [u8; 2] = [0xe7, 0x54];
/// The version of the wire that this build speaks.
pub const VERSION: u8 = 1;
/// Magic, version, flags, session, sequence.
pub const HEADER_LEN: usize = 16;
/// The CRC-32 that ends every datagram.
pub const TRAILER_LEN: usize = 4;
/// Type, flags, length.
pub const FRAME_HEADER_LEN: usize = 4;
/// The fixed fields of a message frame.
const MESSAGE_FIXED_LEN: usize = 12;
/// What a message without optional fields adds to its payload, alone in its datagram.
pub const MESSAGE_OVERHEAD: usize = HEADER_LEN + FRAME_HEADER_LEN + MESSAGE_FIXED_LEN + TRAILER_LEN;
/// The longest text of an id, a source or a destination, in bytes.
pub const MAX_TEXT: usize = 255;
/// The longest name of an interface, in bytes.
pub const MAX_NAME: usize = 64;

const _: () = assert!(MESSAGE_OVERHEAD <= 40, "the wire promises at most 40 bytes");

/// The longest UDP payload over IPv4.
pub const MAX_DATAGRAM: usize = 65_507;
/// The shortest message frame.
pub(crate) const MIN_MESSAGE_LEN: usize = FRAME_HEADER_LEN + MESSAGE_FIXED_LEN;
/// The fields of a token.
const TOKEN_LEN: usize = 16;
/// The length of a datagram that says "unknown session" or "refused".
pub const NOTICE_LEN: usize = HEADER_LEN + FRAME_HEADER_LEN + TRAILER_LEN;
/// The length of a hello, padded to that of the token that answers it.
pub const HELLO_LEN: usize = NOTICE_LEN + TOKEN_LEN;
/// What an echo adds to a datagram, at most.
pub const MAX_ECHO_LEN: usize = FRAME_HEADER_LEN + TOKEN_LEN + 1 + MAX_NAME;

/// Header flag: sent by the server of the session. A datagram that comes back to its sender is told by it.
const FLAG_FROM_SERVER: u8 = 0b0000_0001;

mod frame_type {
    pub(super) const PADDING: u8 = 0;
    pub(super) const MESSAGE: u8 = 1;
    pub(super) const HEARTBEAT: u8 = 2;
    pub(super) const CLOSE: u8 = 3;
    pub(super) const HELLO: u8 = 4;
    pub(super) const TOKEN: u8 = 5;
    pub(super) const ECHO: u8 = 6;
    pub(super) const ACCEPT: u8 = 7;
    pub(super) const UNKNOWN_SESSION: u8 = 8;
    pub(super) const REFUSED: u8 = 9;
    pub(super) const ACK: u8 = 10;
    pub(super) const FRAGMENT: u8 = 11;
    pub(super) const FORWARD: u8 = 12;
}

/// Flags of a message frame: which optional fields follow, in this order.
mod field {
    pub(super) const MESSAGE_ID: u8 = 0b0001;
    pub(super) const SOURCE: u8 = 0b0010;
    pub(super) const DESTINATION: u8 = 0b0100;
    pub(super) const CORRELATION_ID: u8 = 0b1000;
    pub(super) const LIFESPAN: u8 = 0b1_0000;
    pub(super) const ALL: u8 = 0b1_1111;
}

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
pub fn looks_native(datagram: &[u8]) -> bool {
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

fn fill_header(datagram: &mut [u8], header: Header) {
    datagram[..2].copy_from_slice(&MAGIC);
    datagram[2] = VERSION;
    datagram[3] = if header.from_server { FLAG_FROM_SERVER } else { 0 };
    datagram[4..12].copy_from_slice(&header.session.bits().to_be_bytes());
    datagram[12..16].copy_from_slice(&header.sequence.to_be_bytes());
}

/// Writes the CRC over everything before it into the datagram's last bytes.
fn fill_trailer(datagram: &mut [u8]) {
    let (checked, trailer) = datagram.split_at_mut(datagram.len() - TRAILER_LEN);
    trailer.copy_from_slice(&crc32fast::hash(checked).to_be_bytes());
}

/// Proof that a client receives at its address, without state at the server. docs/protocol.md §5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// When it was issued, on the server's steady clock, in milliseconds.
    pub issued_ms: u64,
    /// A keyed hash over address, session and time.
    pub proof: u64,
}

impl Token {
    /// When it was issued, on the server's steady clock.
    #[must_use]
    pub const fn issued(self) -> Instant {
        Instant::from_nanos(self.issued_ms.saturating_mul(1_000_000))
    }
}

/// A sign of life that lets its receiver measure. docs/protocol.md §7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// When it was sent, on the sender's steady clock (ns); never 0.
    pub stamp: u64,
    /// When it was sent, on the sender's wall clock.
    pub wall: WallTime,
    /// The `stamp` of the receiver's heartbeat that the sender got last; 0 for none.
    pub echo: u64,
    /// How long the sender held that echo (ns).
    pub held: u64,
}
