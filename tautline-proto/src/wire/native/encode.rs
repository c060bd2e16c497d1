//! Writes message frames.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::layout::{FRAME_HEADER_LEN, MAX_TEXT, MESSAGE_FIXED_LEN, field, frame_type, numbers_len};
use crate::message::{ContentType, Delivery, Id, MessageType, Priority};
use crate::time::{Timestamp, WallTime};

/// The metadata of a message to send. A field that is `None` does not travel.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// What the message is for.
    pub message_type: MessageType,
    /// How urgent it is.
    pub priority: Priority,
    /// Separates streams of one type.
    pub channel: u16,
    /// When it was created.
    pub timestamp: WallTime,
    /// The number that travels in place of `timestamp` (classic).
    pub exact: Option<Timestamp>,
    /// Its id. By default it follows from the session, the sequence number and the frame (§4.2).
    pub message_id: Option<&'a Id<'a>>,
    /// Who created it. By default the name of the interface, which travelled in the handshake.
    pub source: Option<&'a str>,
    /// Whether it has a source at all. If not, null travels (classic); the native wire always has one.
    pub has_source: bool,
    /// Whom it is meant for.
    pub destination: Option<&'a str>,
    /// The id of the message that this message answers.
    pub correlation_id: Option<&'a Id<'a>>,
    /// What is done to make it arrive.
    pub delivery: Delivery,
    /// For how long after `timestamp` it is useful: 1 µs to about 71 minutes. A value outside becomes the nearer
    /// of the two.
    pub lifespan: Option<Duration>,
    /// How the payload is encoded.
    pub content_type: ContentType,
}

impl Default for Head<'_> {
    /// A best-effort data message of normal priority with a raw payload, time stamp 0 and no optional fields.
    fn default() -> Self {
        Self {
            message_type: MessageType::Data,
            priority: Priority::Normal,
            channel: 0,
            timestamp: WallTime::from_nanos(0),
            exact: None,
            message_id: None,
            source: None,
            has_source: true,
            destination: None,
            correlation_id: None,
            delivery: Delivery::BestEffort,
            lifespan: None,
            content_type: ContentType::Raw,
        }
    }
}

/// The shortest lifespan that can travel. The wire counts microseconds.
pub(super) const MIN_LIFESPAN: Duration = Duration::from_micros(1);
/// The longest lifespan that can travel: about 71 minutes.
pub(super) const MAX_LIFESPAN: Duration = Duration::from_micros(u32::MAX as u64);

/// The error for a text that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadText {
    /// The field's name.
    pub field: &'static str,
    /// The text's length in bytes.
    pub len: usize,
}

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the {} has {} bytes, but the native wire carries 1 to {MAX_TEXT} bytes",
            self.field, self.len
        )
    }
}

impl core::error::Error for BadText {}

/// Appends a message frame up to its payload. The caller appends the payload and calls [`finish_message`].
///
/// # Errors
///
/// A text does not fit its field. `out` then holds part of a frame.
#[inline(always)] // once for each message
pub fn begin_message(out: &mut Vec<u8>, head: &Head<'_>) -> Result<MessageStart, BadText> {
    let start = MessageStart(out.len());
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    let is_id = |id: Option<&Id<'_>>| id.is_some_and(|id| *id != Id::Null);
    let flags = flag(is_id(head.message_id), field::MESSAGE_ID)
        | flag(head.source.is_some(), field::SOURCE)
        | flag(head.destination.is_some(), field::DESTINATION)
        | flag(is_id(head.correlation_id), field::CORRELATION_ID)
        | flag(head.lifespan.is_some(), field::LIFESPAN);
    let kind =
        head.message_type.to_wire() | (head.priority.to_wire() - 1) << 4 | head.delivery.to_wire() << 6;
    let [channel, channel_low] = head.channel.to_be_bytes();
    // Bytes 2 and 3, the length of the body, are filled in at the end.
    let begin = [frame_type::MESSAGE, flags, 0, 0, kind, head.content_type.to_wire(), channel, channel_low];
    // Builds the fields as one number in a register. Single bytes in memory would be read back before all of them are stored.
    let fixed =
        u128::from(u64::from_be_bytes(begin)) << 64 | u128::from(head.timestamp.as_nanos().cast_unsigned());
    let fixed: [u8; FRAME_HEADER_LEN + MESSAGE_FIXED_LEN] = fixed.to_be_bytes();
    out.extend_from_slice(&fixed);
    // Leaves room for the delivery numbers, which are known when the message is sent.
    if head.delivery != Delivery::BestEffort {
        out.resize(out.len() + numbers_len(head.delivery), 0);
    }
    if flags != 0 {
        // Not the head itself, which then need not be in memory.
        let &Head { message_id, source, destination, correlation_id, lifespan, .. } = head;
        write_optional(out, message_id, source, destination, correlation_id, lifespan)?;
    }
    Ok(start)
}

#[inline]
#[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
fn write_optional(
    out: &mut Vec<u8>,
    message_id: Option<&Id<'_>>,
    source: Option<&str>,
    destination: Option<&str>,
    correlation_id: Option<&Id<'_>>,
    lifespan: Option<Duration>,
) -> Result<(), BadText> {
    write_id(out, "message id", message_id)?;
    for (field, text) in [("source", source), ("destination", destination)] {
        if let Some(text) = text {
            write_text(out, field, text)?;
        }
    }
    write_id(out, "correlation id", correlation_id)?;
    if let Some(lifespan) = lifespan {
        let micros = lifespan.clamp(MIN_LIFESPAN, MAX_LIFESPAN).as_nanos().div_ceil(1_000);
        #[allow(clippy::cast_possible_truncation)] // clamped
        out.extend_from_slice(&(micros as u32).to_be_bytes());
    }
    Ok(())
}

/// Where a message frame begins in its buffer.
#[derive(Clone, Copy, Debug)]
#[must_use = "finish_message needs it"]
pub struct MessageStart(usize);

/// Finishes a message frame after its payload. Returns whether the frame fits its 16-bit length.
#[must_use]
#[inline]
pub fn finish_message(out: &mut [u8], start: MessageStart) -> bool {
    let body_at = start.0 + FRAME_HEADER_LEN;
    let Ok(body_len) = u16::try_from(out.len() - body_at) else { return false };
    out[body_at - 2..body_at].copy_from_slice(&body_len.to_be_bytes());
    true
}

#[inline(never)]
fn write_text(out: &mut Vec<u8>, field: &'static str, text: &str) -> Result<(), BadText> {
    let len = u8::try_from(text.len()).ok().filter(|&len| len > 0);
    out.push(len.ok_or(BadText { field, len: text.len() })?);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Writes an id: a text with its length, or a zero and a number.
#[inline]
#[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
fn write_id(out: &mut Vec<u8>, field: &'static str, id: Option<&Id<'_>>) -> Result<(), BadText> {
    // Most ids are numbers. A `match` of all kinds would read a table of jumps.
    if let Some(Id::Number(number)) = id {
        out.push(0);
        out.extend_from_slice(&number.to_be_bytes());
        return Ok(());
    }
    match id {
        Some(Id::Text(text)) => write_text(out, field, text),
        Some(Id::Json(text)) => write_text(out, field, text),
        _ => Ok(()),
    }
}
