//! Writing: frames appended to a buffer.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::{
    Ack, FRAME_HEADER_LEN, Heartbeat, MAX_NAME, MAX_TEXT, MESSAGE_FIXED_LEN, TOKEN_LEN, Token, field,
    frame_type,
};
use crate::message::{ContentType, Delivery, Id, MessageType, Priority};
use crate::time::WallTime;

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
    pub message_id: Option<&'a Id<'a>>,
    /// Who made it; by default the interface's name, which travelled in the handshake.
    pub source: Option<&'a str>,
    /// Whom it is meant for.
    pub destination: Option<&'a str>,
    /// The id of the message that it answers.
    pub correlation_id: Option<&'a Id<'a>>,
    /// What is done for it to arrive.
    pub delivery: Delivery,
    /// For how long after `timestamp` it is worth anything: [`MIN_LIFESPAN`] to [`MAX_LIFESPAN`], anything beyond is
    /// taken as the nearer of the two.
    pub lifespan: Option<Duration>,
    /// How the payload is encoded.
    pub content_type: ContentType,
}

impl Default for Head<'_> {
    /// Raw data of normal priority, made in 1970, sent by best effort, without optional fields.
    fn default() -> Self {
        Self {
            message_type: MessageType::Data,
            priority: Priority::Normal,
            channel: 0,
            timestamp: WallTime::from_nanos(0),
            message_id: None,
            source: None,
            destination: None,
            correlation_id: None,
            delivery: Delivery::BestEffort,
            lifespan: None,
            content_type: ContentType::Raw,
        }
    }
}

/// The shortest lifespan that travels: the wire counts microseconds.
pub const MIN_LIFESPAN: Duration = Duration::from_micros(1);
/// The longest lifespan that travels: about 71 minutes.
pub const MAX_LIFESPAN: Duration = Duration::from_micros(u32::MAX as u64);

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

/// Appends a message frame up to its payload, which the caller appends; then [`finish_message`].
///
/// # Errors
///
/// A text that does not fit its field; `out` is then to be thrown away.
#[inline]
pub fn begin_message(out: &mut Vec<u8>, head: &Head<'_>) -> Result<MessageStart, BadText> {
    let start = MessageStart(out.len());
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    let flags = flag(head.message_id.is_some(), field::MESSAGE_ID)
        | flag(head.source.is_some(), field::SOURCE)
        | flag(head.destination.is_some(), field::DESTINATION)
        | flag(head.correlation_id.is_some(), field::CORRELATION_ID)
        | flag(head.lifespan.is_some(), field::LIFESPAN);
    let kind =
        head.message_type.to_wire() | (head.priority.to_wire() - 1) << 4 | head.delivery.to_wire() << 6;
    let [channel, channel_low] = head.channel.to_be_bytes();
    // The length of the body, bytes 2 and 3, is known at the end.
    let begin = [frame_type::MESSAGE, flags, 0, 0, kind, head.content_type.to_wire(), channel, channel_low];
    // As one number: put together from bytes in memory, it would be read again before they are all there.
    let fixed =
        u128::from(u64::from_be_bytes(begin)) << 64 | u128::from(head.timestamp.as_nanos().cast_unsigned());
    let fixed: [u8; FRAME_HEADER_LEN + MESSAGE_FIXED_LEN] = fixed.to_be_bytes();
    out.extend_from_slice(&fixed);
    // A hole for the numbers, which are known when it is sent.
    if head.delivery != Delivery::BestEffort {
        out.resize(out.len() + numbers_len(head.delivery), 0);
    }
    if flags != 0 {
        write_optional(out, head)?;
    }
    Ok(start)
}

fn write_optional(out: &mut Vec<u8>, head: &Head<'_>) -> Result<(), BadText> {
    write_id(out, "message id", head.message_id)?;
    write_text(out, "source", head.source)?;
    write_text(out, "destination", head.destination)?;
    write_id(out, "correlation id", head.correlation_id)?;
    if let Some(lifespan) = head.lifespan {
        let micros = lifespan.clamp(MIN_LIFESPAN, MAX_LIFESPAN).as_nanos().div_ceil(1_000);
        #[allow(clippy::cast_possible_truncation)] // clamped
        out.extend_from_slice(&(micros as u32).to_be_bytes());
    }
    Ok(())
}

/// How many bytes of a message's body hold its [`DeliveryNumbers`](super::DeliveryNumbers).
pub(super) const fn numbers_len(delivery: Delivery) -> usize {
    match delivery {
        Delivery::BestEffort => 0,
        Delivery::Reliable => 4,
        Delivery::Ordered => 6,
    }
}

/// A message's priority, by the first byte of its body.
pub(crate) fn priority_of(first: u8) -> Priority {
    Priority::from_wire((first >> 4 & 0b11) + 1).unwrap_or_default()
}

/// Where a message frame begins.
#[derive(Clone, Copy, Debug)]
#[must_use = "finish_message needs it"]
pub struct MessageStart(usize);

/// Ends a message frame after its payload. Whether it fits the frame's 16-bit length.
#[must_use]
#[inline]
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
            write_token(out, token);
        }
        Control::Echo { token, name } => {
            let name = clipped(name);
            begin_control(out, frame_type::ECHO, TOKEN_LEN + 1 + name.len());
            write_token(out, token);
            write_name(out, name);
        }
        Control::Accept(name) => {
            let name = clipped(name);
            begin_control(out, frame_type::ACCEPT, 1 + name.len());
            write_name(out, name);
        }
        Control::Ack(ack) => {
            begin_control(out, frame_type::ACK, 4 + ack.bitmap.len());
            out.extend_from_slice(&ack.base.to_be_bytes());
            out.extend_from_slice(ack.bitmap);
        }
        Control::Forward(base) => {
            begin_control(out, frame_type::FORWARD, 4);
            out.extend_from_slice(&base.to_be_bytes());
        }
        Control::UnknownSession => begin_control(out, frame_type::UNKNOWN_SESSION, 0),
        Control::Refused => begin_control(out, frame_type::REFUSED, 0),
    }
}

/// A control frame to be written.
#[derive(Clone, Copy, Debug)]
pub enum Control<'a> {
    /// See [`Frame::Heartbeat`](super::Frame::Heartbeat).
    Heartbeat(Heartbeat),
    /// See [`Frame::Close`](super::Frame::Close).
    Close,
    /// See [`Frame::Hello`](super::Frame::Hello).
    Hello,
    /// See [`Frame::Token`](super::Frame::Token).
    Token(Token),
    /// See [`Frame::Echo`](super::Frame::Echo).
    Echo {
        /// The token as the server gave it.
        token: Token,
        /// The client's name.
        name: &'a str,
    },
    /// See [`Frame::Accept`](super::Frame::Accept).
    Accept(&'a str),
    /// See [`Frame::Ack`](super::Frame::Ack).
    Ack(Ack<'a>),
    /// See [`Frame::Forward`](super::Frame::Forward).
    Forward(u32),
    /// See [`Frame::UnknownSession`](super::Frame::UnknownSession).
    UnknownSession,
    /// See [`Frame::Refused`](super::Frame::Refused).
    Refused,
}

fn write_token(out: &mut Vec<u8>, token: Token) {
    out.extend_from_slice(&token.issued_ms.to_be_bytes());
    out.extend_from_slice(&token.proof.to_be_bytes());
}

#[allow(clippy::cast_possible_truncation)] // control bodies are below 150 bytes
fn begin_control(out: &mut Vec<u8>, kind: u8, body_len: usize) {
    out.extend_from_slice(&[kind, 0, 0, body_len as u8]);
}

/// As much of a name as travels: a longer one is cut where a character ends, so that it stays text.
fn clipped(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    #[allow(clippy::cast_possible_truncation)] // clipped to MAX_NAME
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
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
