//! The native wire: datagrams of frames between a fixed header and a CRC-32. docs/protocol.md §2 to §4.
//!
//! Reading works in place and never allocates: [`parse`] checks a datagram as a whole, and [`Frames`] walks over its frames.
//! Writing appends to a buffer: [`begin_datagram`] leaves room for the header, frames follow, and [`seal`] fills the header and
//! appends the CRC.
//!
//! - `layout` holds every length, offset and number of the wire.
//! - `datagram` is the header and the CRC, `pack` several datagrams that messages share, `cut` packs of fragments.
//! - `frames` reads the frames of a datagram: `decode` messages, `control` control frames, `fragment` fragments, `ownership` the
//!   frames about who may send on a stream.
//! - `sealed` is the header of datagrams that are encrypted, `introduction` what is sealed in the handshake of secured links.
//! - `rekey` is the frame about new keys of a session, `challenge` the one about the address of a peer that may have moved.
//! - `encode` writes messages. `delivery` holds the numbers of reliable messages.
//!
//! The endpoint calls this module. It may use the crate's root modules.

mod challenge;
mod control;
mod cut;
mod datagram;
mod decode;
mod delivery;
mod encode;
mod fragment;
mod frames;
mod introduction;
mod layout;
mod ownership;
mod pack;
mod reader;
mod rekey;
mod sealed;
#[cfg(test)]
mod tests;

pub use challenge::Challenge;
#[cfg(feature = "secure")]
pub(crate) use challenge::{CHALLENGE_DATAGRAM_LEN, begins_with_challenge};
pub(crate) use control::write_ack;
pub use control::{Ack, Control, Heartbeat, PathProbe, SealedEcho, Token, write_control};
pub(in crate::wire) use datagram::crc;
pub use datagram::{Header, begin_datagram, looks_native, parse, seal};
pub(crate) use datagram::{header_of, unnumbered};
pub use decode::MessageFrame;
pub(crate) use decode::{SendingClass, Stream};
pub(crate) use delivery::DeliveryNumbers;
pub use encode::{BadText, Head, MessageStart, begin_message, finish_message};
pub use fragment::Fragment;
pub(crate) use fragment::{fragment_count, fragments};
pub use frames::{Frame, Frames};
pub(crate) use introduction::Introduction;
pub use layout::{DELIVERY_WINDOW, HEADER_LEN, HELLO_LEN, MAX_NAME, MAX_TEXT, TRAILER_LEN};
pub(crate) use layout::{
    FORWARD_LEN, KIND_LEN, MAX_DATAGRAM, MAX_ECHO_LEN, MIN_MESSAGE_LEN, NOTICE_LEN, SEALED_EXTRA, ack_len,
};
pub use ownership::{Ownership, OwnershipAct};
pub use pack::{Pack, Packed};
pub use rekey::Rekey;
pub use sealed::{SealedHeader, is_sealed, parse_sealed};
pub(crate) use sealed::{fill_sealed_header, opened_frames};
