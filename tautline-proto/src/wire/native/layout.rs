//! Lengths, offsets and numbers of the native wire. docs/protocol.md §2 to §4.

use crate::message::Delivery;

/// The first two bytes of every native datagram.
pub(crate) const MAGIC: [u8; 2] = [0xe7, 0x54];
/// The version of the wire that this build speaks.
pub(crate) const VERSION: u8 = 1;
/// The length of the header: magic, version, flags, session, sequence.
pub const HEADER_LEN: usize = 16;
/// The length of the CRC-32 that ends every datagram.
pub const TRAILER_LEN: usize = 4;
/// The length of the tag that ends a sealed datagram, in place of the CRC.
pub(crate) const TAG_LEN: usize = 16;
/// How many bytes a sealed datagram is longer than a plain one with the same frames.
pub(crate) const SEALED_EXTRA: usize = TAG_LEN - TRAILER_LEN;
/// The length of a key's id.
pub(crate) const KEY_ID_LEN: usize = 8;
/// Where the flags stand.
pub(super) const FLAGS_AT: usize = 3;
/// The length of a frame's header: type, flags, length.
pub(crate) const FRAME_HEADER_LEN: usize = 4;
/// The length of the fixed fields of a message frame.
pub(super) const MESSAGE_FIXED_LEN: usize = 12;
/// How many bytes a message without optional fields adds to its payload, if it is alone in its datagram.
pub(crate) const MESSAGE_OVERHEAD: usize = HEADER_LEN + FRAME_HEADER_LEN + MESSAGE_FIXED_LEN + TRAILER_LEN;
/// The longest text of an id, a source or a destination, in bytes.
pub const MAX_TEXT: usize = 255;
/// The longest name of an interface, in bytes.
pub const MAX_NAME: usize = 64;

const _: () = assert!(MESSAGE_OVERHEAD <= 40, "the wire promises at most 40 bytes");

/// The longest UDP payload over IPv4, in bytes.
pub(crate) const MAX_DATAGRAM: usize = 65_507;
/// The length of the shortest message frame.
pub(crate) const MIN_MESSAGE_LEN: usize = FRAME_HEADER_LEN + MESSAGE_FIXED_LEN;
/// The length of a token.
pub(super) const TOKEN_LEN: usize = 16;
/// The length of an "unknown session" or "refused" datagram.
pub(crate) const NOTICE_LEN: usize = HEADER_LEN + FRAME_HEADER_LEN + TRAILER_LEN;
/// The length of a hello datagram, which is padded to the length of the token datagram that answers it.
pub const HELLO_LEN: usize = NOTICE_LEN + TOKEN_LEN;
/// How many bytes an echo adds to a datagram at most.
pub(crate) const MAX_ECHO_LEN: usize = FRAME_HEADER_LEN + TOKEN_LEN + 1 + MAX_NAME;

/// The length of a probe's body.
pub(super) const PATH_PROBE_LEN: usize = 12;
/// The flag of a path probe frame: its sender asks for an answer at once.
pub(super) const FLAG_ASKS: u8 = 0b0000_0001;

/// The length of a forward frame.
pub(crate) const FORWARD_LEN: usize = FRAME_HEADER_LEN + 4;

/// Returns the length of an acknowledgement frame with a bitmap of this many bytes.
pub(crate) const fn ack_len(bitmap_len: usize) -> usize {
    FRAME_HEADER_LEN + 4 + bitmap_len
}

/// Header flag: the session's server sent the datagram. It shows when a datagram has come back to its sender.
pub(super) const FLAG_FROM_SERVER: u8 = 0b0000_0001;
/// Header flag: the frames are encrypted, and a tag stands in place of the CRC.
pub(super) const FLAG_SEALED: u8 = 0b0000_0010;
/// Header flag of a sealed datagram: which of two keys that follow one another sealed it.
pub(super) const FLAG_KEY_PHASE: u8 = 0b0000_0100;

/// The flag of a token frame: the server takes secured clients only. A hint, because nobody has signed it.
pub(super) const FLAG_TOKEN_SECURED: u8 = 0b0000_0001;

/// The reason of a close: the key of the receiver is accepted no longer. A close without a reason says nothing.
pub(super) const CLOSED_KEY_REMOVED: u8 = 1;

pub(super) mod frame_type {
    pub(in crate::wire::native) const PADDING: u8 = 0;
    pub(in crate::wire::native) const MESSAGE: u8 = 1;
    pub(in crate::wire::native) const HEARTBEAT: u8 = 2;
    pub(in crate::wire::native) const CLOSE: u8 = 3;
    pub(in crate::wire::native) const HELLO: u8 = 4;
    pub(in crate::wire::native) const TOKEN: u8 = 5;
    pub(in crate::wire::native) const ECHO: u8 = 6;
    pub(in crate::wire::native) const ACCEPT: u8 = 7;
    pub(in crate::wire::native) const UNKNOWN_SESSION: u8 = 8;
    pub(in crate::wire::native) const REFUSED: u8 = 9;
    pub(in crate::wire::native) const ACK: u8 = 10;
    pub(in crate::wire::native) const FRAGMENT: u8 = 11;
    pub(in crate::wire::native) const FORWARD: u8 = 12;
    pub(in crate::wire::native) const SEALED_ECHO: u8 = 13;
    pub(in crate::wire::native) const SEALED_ACCEPT: u8 = 14;
    pub(in crate::wire::native) const REKEY: u8 = 15;
    pub(in crate::wire::native) const CHALLENGE: u8 = 16;
    pub(in crate::wire::native) const PATH_PROBE: u8 = 17;
    pub(in crate::wire::native) const OWNERSHIP: u8 = 18;
}

/// The flags of a message frame: which optional fields follow, in this order.
pub(super) mod field {
    pub(in crate::wire::native) const MESSAGE_ID: u8 = 0b0001;
    pub(in crate::wire::native) const SOURCE: u8 = 0b0010;
    pub(in crate::wire::native) const DESTINATION: u8 = 0b0100;
    pub(in crate::wire::native) const CORRELATION_ID: u8 = 0b1000;
    pub(in crate::wire::native) const LIFESPAN: u8 = 0b1_0000;
    pub(in crate::wire::native) const ALL: u8 = 0b1_1111;
}

/// The types of the fields behind the name in the sealed part of the handshake.
pub(super) mod field_type {
    pub(in crate::wire::native) const RIGHTS: u8 = 1;
    pub(in crate::wire::native) const REFUSED: u8 = 2;
    pub(in crate::wire::native) const FORMER_SESSION: u8 = 3;
}

/// How many delivery numbers may be in use, counted from the lowest that is not settled. It bounds the tables of both ends.
pub const DELIVERY_WINDOW: u64 = 1024;

/// How many bytes at the beginning of a message's body hold its type, priority, content type and channel.
pub(crate) const KIND_LEN: usize = 4;

/// Returns how many bytes of a message's body hold its [`DeliveryNumbers`](super::DeliveryNumbers).
pub(super) const fn numbers_len(delivery: Delivery) -> usize {
    match delivery {
        Delivery::BestEffort => 0,
        Delivery::Reliable => 4,
        Delivery::Ordered => 6,
    }
}
