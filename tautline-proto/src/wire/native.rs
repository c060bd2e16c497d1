//! The native wire: datagrams of frames between a fixed header and a CRC-32. docs/protocol.md §2 to §5.
//!
//! Reading is in place and never allocates: [`parse`] checks a datagram as a whole, [`Frames`] walks it.
//! Writing appends to a buffer: a hole for the header, then frames, then [`seal`].

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use crate::drops::DropReason;
use crate::message::{ContentType, Id, MessageRef, MessageType, Priority};
use crate::peer::SessionId;
use crate::time::WallTime;

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
}

/// Flags of a message frame: which optional fields follow, in this order.
mod field {
    pub(super) const MESSAGE_ID: u8 = 0b0001;
    pub(super) const SOURCE: u8 = 0b0010;
    pub(super) const DESTINATION: u8 = 0b0100;
    pub(super) const CORRELATION_ID: u8 = 0b1000;
    pub(super) const ALL: u8 = 0b1111;
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
    let (Some(session), Some(sequence)) = (fields.u64(), fields.u32()) else { return Err(DropReason::TooShort) };
    let frames = Frames(fields.0);
    if !frames.clone().all_fit() {
        return Err(DropReason::Malformed);
    }
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

/// The frames of a datagram, one after the other.
#[derive(Clone, Debug)]
pub struct Frames<'a>(&'a [u8]);

impl<'a> Frames<'a> {
    /// Whether the lengths of all frames fit into the datagram.
    fn all_fit(mut self) -> bool {
        while self.next_raw().is_some() {}
        self.0.is_empty()
    }

    /// Type, flags and body of the next frame; padding ends the datagram. What does not fit stays unread.
    fn next_raw(&mut self) -> Option<(u8, u8, &'a [u8])> {
        match *self.0.first()? {
            frame_type::PADDING => {
                self.0 = &[];
                None
            }
            kind => {
                let mut rest = Reader(&self.0[1..]);
                let flags = rest.u8()?;
                let body_len = usize::from(rest.u16()?);
                let body = rest.bytes(body_len)?;
                self.0 = rest.0;
                Some((kind, flags, body))
            }
        }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let (kind, flags, body) = self.next_raw()?;
        let mut body_fields = Reader(body);
        Some(match kind {
            frame_type::MESSAGE => Frame::Message(MessageFrame { flags, body }),
            frame_type::HEARTBEAT => Heartbeat::read(body_fields).map_or(Frame::Unknown, Frame::Heartbeat),
            frame_type::CLOSE => Frame::Close,
            frame_type::HELLO => Frame::Hello,
            frame_type::TOKEN => Token::read(&mut body_fields).map_or(Frame::Unknown, Frame::Token),
            frame_type::ECHO => read_echo(body_fields).unwrap_or(Frame::Unknown),
            frame_type::ACCEPT => body_fields.name().map_or(Frame::Unknown, Frame::Accept),
            frame_type::UNKNOWN_SESSION => Frame::UnknownSession,
            frame_type::REFUSED => Frame::Refused,
            _ => Frame::Unknown,
        })
    }
}

/// One part of a datagram.
#[derive(Clone, Debug)]
pub enum Frame<'a> {
    /// A user's message, not yet decoded.
    Message(MessageFrame<'a>),
    /// A sign of life with time stamps.
    Heartbeat(Heartbeat),
    /// The sender ends the session.
    Close,
    /// A client asks for a token.
    Hello,
    /// The server's answer to a hello.
    Token(Token),
    /// The token comes back: creates the peer.
    Echo {
        /// The token as the server gave it.
        token: Token,
        /// The client's name.
        name: &'a str,
    },
    /// The server has created the peer; its name.
    Accept(&'a str),
    /// The server does not know the session.
    UnknownSession,
    /// The server knows the address but cannot take another peer.
    Refused,
    /// A type or a body that this build does not know; skipped.
    Unknown,
}

impl Frame<'_> {
    /// Whether the frame belongs to a datagram outside any session's numbering.
    #[must_use]
    pub const fn is_unnumbered(&self) -> bool {
        matches!(self, Self::Hello | Self::Token(_) | Self::UnknownSession | Self::Refused)
    }
}

fn read_echo(mut fields: Reader<'_>) -> Option<Frame<'_>> {
    let token = Token::read(&mut fields)?;
    Some(Frame::Echo { token, name: fields.name()? })
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
    fn read(fields: &mut Reader<'_>) -> Option<Self> {
        Some(Self { issued_ms: fields.u64()?, proof: fields.u64()? })
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.issued_ms.to_be_bytes());
        out.extend_from_slice(&self.proof.to_be_bytes());
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

impl Heartbeat {
    fn read(mut fields: Reader<'_>) -> Option<Self> {
        Some(Self {
            stamp: fields.u64()?,
            wall: WallTime::from_nanos(fields.u64()?.cast_signed()),
            echo: fields.u64()?,
            held: fields.u64()?,
        })
    }
}

/// A message frame whose lengths are right; its fields are decoded on demand.
#[derive(Clone, Copy, Debug)]
pub struct MessageFrame<'a> {
    flags: u8,
    body: &'a [u8],
}

impl<'a> MessageFrame<'a> {
    /// Decodes the message; `default_id` and `default_source` stand for fields that did not travel.
    ///
    /// # Errors
    ///
    /// `UnsupportedFlags` for features of a later build, `Malformed` for fields that break the rules.
    pub fn decode(self, default_id: u64, default_source: &'a str) -> Result<MessageRef<'a>, DropReason> {
        let mut fields = Reader(self.body);
        let delivery = self.body.first().map_or(0, |first| first >> 6);
        if self.flags & !field::ALL != 0 || delivery != 0 {
            return Err(DropReason::UnsupportedFlags);
        }
        self.read_fields(&mut fields, default_id, default_source).ok_or(DropReason::Malformed)
    }

    fn read_fields(
        self,
        fields: &mut Reader<'a>,
        default_id: u64,
        default_source: &'a str,
    ) -> Option<MessageRef<'a>> {
        let kind = fields.u8()?;
        let content_type = ContentType::from_wire(fields.u8()?)?;
        let channel = fields.u16()?;
        let timestamp = WallTime::from_nanos(fields.u64()?.cast_signed());
        let has = |flag: u8| self.flags & flag != 0;
        let message_id = if has(field::MESSAGE_ID) { fields.id()? } else { Id::Number(default_id) };
        let source = if has(field::SOURCE) { fields.text()? } else { default_source };
        let destination = if has(field::DESTINATION) { Some(fields.text()?) } else { None };
        let correlation_id = if has(field::CORRELATION_ID) { Some(fields.id()?) } else { None };
        Some(MessageRef {
            message_type: MessageType::from_wire(kind & 0x0f)?,
            // Priorities count from 1; on the wire they have two bits.
            priority: Priority::from_wire((kind >> 4 & 0b11) + 1)?,
            channel,
            timestamp,
            message_id,
            source: Cow::Borrowed(source),
            destination: destination.map(Cow::Borrowed),
            correlation_id,
            content_type,
            payload: fields.0,
        })
    }
}

/// The metadata of a message that is about to be sent; `None` where the default does not travel.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// What the message is for.
    pub message_type: MessageType,
    /// How urgent it is.
    pub priority: Priority,
    /// Tells streams of one type apart.
    pub channel: u16,
    /// When it was made.
    pub timestamp: WallTime,
    /// Its identity; by default it follows from session, sequence and frame (§4.2).
    pub message_id: Option<Id<'a>>,
    /// Who made it; by default the interface's name, which travelled in the handshake.
    pub source: Option<&'a str>,
    /// Whom it is meant for.
    pub destination: Option<&'a str>,
    /// The id of the message that it answers.
    pub correlation_id: Option<Id<'a>>,
    /// How the payload is encoded.
    pub content_type: ContentType,
}

/// A text that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadText {
    /// The field's name.
    pub field: &'static str,
    /// The text's length in bytes.
    pub len: usize,
}

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} has {} bytes; the native wire carries 1 to {MAX_TEXT}", self.field, self.len)
    }
}

impl core::error::Error for BadText {}

/// Begins a datagram: leaves the hole that [`seal`] fills.
pub fn begin_datagram(out: &mut Vec<u8>) {
    out.resize(out.len() + HEADER_LEN, 0);
}

/// Appends a message frame up to its payload, which the caller appends; then [`finish_message`].
///
/// # Errors
///
/// A text that does not fit its field; `out` is then to be thrown away.
pub fn begin_message(out: &mut Vec<u8>, head: &Head<'_>) -> Result<MessageStart, BadText> {
    let start = MessageStart(out.len());
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    let flags = flag(head.message_id.is_some(), field::MESSAGE_ID)
        | flag(head.source.is_some(), field::SOURCE)
        | flag(head.destination.is_some(), field::DESTINATION)
        | flag(head.correlation_id.is_some(), field::CORRELATION_ID);
    out.extend_from_slice(&[frame_type::MESSAGE, flags, 0, 0]);
    out.push(head.message_type.to_wire() | (head.priority.to_wire() - 1) << 4);
    out.push(head.content_type.to_wire());
    out.extend_from_slice(&head.channel.to_be_bytes());
    out.extend_from_slice(&head.timestamp.as_nanos().to_be_bytes());
    write_id(out, "message id", head.message_id.as_ref())?;
    write_text(out, "source", head.source)?;
    write_text(out, "destination", head.destination)?;
    write_id(out, "correlation id", head.correlation_id.as_ref())?;
    Ok(start)
}

/// Where a message frame begins.
#[derive(Clone, Copy, Debug)]
#[must_use = "finish_message needs it"]
pub struct MessageStart(usize);

/// Ends a message frame after its payload. Whether it fits the frame's 16-bit length.
#[must_use]
pub fn finish_message(out: &mut [u8], start: MessageStart) -> bool {
    let body_at = start.0 + FRAME_HEADER_LEN;
    let Ok(body_len) = u16::try_from(out.len() - body_at) else { return false };
    out[body_at - 2..body_at].copy_from_slice(&body_len.to_be_bytes());
    true
}

/// Appends a control frame.
pub fn write_control(out: &mut Vec<u8>, frame: &Control<'_>) {
    match *frame {
        Control::Heartbeat(heartbeat) => {
            begin_control(out, frame_type::HEARTBEAT, 32);
            out.extend_from_slice(&heartbeat.stamp.to_be_bytes());
            out.extend_from_slice(&heartbeat.wall.as_nanos().to_be_bytes());
            out.extend_from_slice(&heartbeat.echo.to_be_bytes());
            out.extend_from_slice(&heartbeat.held.to_be_bytes());
        }
        Control::Close => begin_control(out, frame_type::CLOSE, 0),
        Control::Hello => {
            // Padded to the token that answers it: a forged source gets no more than was spent on it.
            begin_control(out, frame_type::HELLO, 0);
            out.resize(out.len() + TOKEN_LEN, frame_type::PADDING);
        }
        Control::Token(token) => {
            begin_control(out, frame_type::TOKEN, TOKEN_LEN);
            token.write(out);
        }
        Control::Echo { token, name } => {
            begin_control(out, frame_type::ECHO, TOKEN_LEN + 1 + name.len().min(MAX_NAME));
            token.write(out);
            write_name(out, name);
        }
        Control::Accept(name) => {
            begin_control(out, frame_type::ACCEPT, 1 + name.len().min(MAX_NAME));
            write_name(out, name);
        }
        Control::UnknownSession => begin_control(out, frame_type::UNKNOWN_SESSION, 0),
        Control::Refused => begin_control(out, frame_type::REFUSED, 0),
    }
}

const TOKEN_LEN: usize = 16;

/// The length of a datagram that says "unknown session" or "refused".
pub const NOTICE_LEN: usize = HEADER_LEN + FRAME_HEADER_LEN + TRAILER_LEN;

/// A control frame to be written.
#[derive(Clone, Copy, Debug)]
pub enum Control<'a> {
    /// See [`Frame::Heartbeat`].
    Heartbeat(Heartbeat),
    /// See [`Frame::Close`].
    Close,
    /// See [`Frame::Hello`].
    Hello,
    /// See [`Frame::Token`].
    Token(Token),
    /// See [`Frame::Echo`].
    Echo {
        /// The token as the server gave it.
        token: Token,
        /// The client's name.
        name: &'a str,
    },
    /// See [`Frame::Accept`].
    Accept(&'a str),
    /// See [`Frame::UnknownSession`].
    UnknownSession,
    /// See [`Frame::Refused`].
    Refused,
}

/// Fills the header's hole and appends the CRC: the datagram is ready.
pub fn seal(datagram: &mut Vec<u8>, header: Header) {
    datagram[..2].copy_from_slice(&MAGIC);
    datagram[2] = VERSION;
    datagram[3] = if header.from_server { FLAG_FROM_SERVER } else { 0 };
    datagram[4..12].copy_from_slice(&header.session.bits().to_be_bytes());
    datagram[12..16].copy_from_slice(&header.sequence.to_be_bytes());
    let crc = crc32fast::hash(datagram);
    datagram.extend_from_slice(&crc.to_be_bytes());
}

#[allow(clippy::cast_possible_truncation)] // control bodies are below 100 bytes
fn begin_control(out: &mut Vec<u8>, kind: u8, body_len: usize) {
    out.extend_from_slice(&[kind, 0, 0, body_len as u8]);
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    let name = &name.as_bytes()[..name.len().min(MAX_NAME)];
    #[allow(clippy::cast_possible_truncation)] // at most MAX_NAME
    out.push(name.len() as u8);
    out.extend_from_slice(name);
}

fn write_text(out: &mut Vec<u8>, field: &'static str, text: Option<&str>) -> Result<(), BadText> {
    let Some(text) = text else { return Ok(()) };
    let len = u8::try_from(text.len()).ok().filter(|&len| len > 0);
    out.push(len.ok_or(BadText { field, len: text.len() })?);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// An id is text with its length, or a zero and a number.
fn write_id(out: &mut Vec<u8>, field: &'static str, id: Option<&Id<'_>>) -> Result<(), BadText> {
    match id {
        None => {}
        Some(Id::Text(text)) => write_text(out, field, Some(text))?,
        Some(Id::Number(number)) => {
            out.push(0);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
    Ok(())
}

/// Reads fields off the front of a slice; `None` where it is too short.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.u8().filter(|&len| len > 0)?;
        core::str::from_utf8(self.bytes(len.into())?).ok()
    }

    /// Text of 0 to [`MAX_NAME`] bytes.
    fn name(&mut self) -> Option<&'a str> {
        let len = usize::from(self.u8()?);
        let name = core::str::from_utf8(self.bytes(len)?).ok()?;
        (len <= MAX_NAME).then_some(name)
    }

    fn id(&mut self) -> Option<Id<'a>> {
        match self.0.first()? {
            0 => {
                self.u8()?;
                self.u64().map(Id::Number)
            }
            _ => self.text().map(Id::from),
        }
    }
}
