//! The classic wire, which the Python module speaks: one message in each datagram, as JSON. docs/protocol.md §8.
//!
//! To write a datagram, call [`begin_message`], append the payload in the canonical form of [`json`], call
//! [`finish_message`], and call [`seal`] when the sequence number is known. Reading takes two steps too, [`open`] and
//! [`read_envelope`], because the first is enough to drop most bad datagrams.
//!
//! Every byte that is read here may come from an attacker. Nothing executable is decoded: a Python pickle is recognised,
//! counted as such and dropped.
//!
//! The endpoint calls this module. It may use `json` and the crate's root modules.
//!
//! ```
//! use tautline_proto::json::JsonLimits;
//! use tautline_proto::wire::classic::{self, ClassicFormat};
//! use tautline_proto::{ContentType, MessageRef, MessageType};
//!
//! let message = MessageRef::new(ContentType::Json, b"").with_message_type(MessageType::Command);
//! let format = ClassicFormat::default();
//! let mut datagram = Vec::new();
//! classic::begin_message(&mut datagram, format, &message);
//! datagram.extend_from_slice(b"[0.5, 2.0]");
//! classic::finish_message(&mut datagram);
//! classic::seal(&mut datagram, format, 7);
//!
//! let (sequence, envelope) = classic::open(&datagram, format)?;
//! let mut scratch = Vec::new();
//! let received = classic::read_envelope(envelope, &JsonLimits::default(), &mut scratch)?;
//! assert_eq!(sequence, Some(7));
//! assert_eq!(received.payload, b"[0.5, 2.0]");
//! # Ok::<(), tautline_proto::DropReason>(())
//! ```

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::drops::DropReason;
use crate::json::{self, Cursor, JsonFault, JsonLimits, RawValue};
use crate::message::{ContentType, Id, MessageRef, MessageType, Priority};
use crate::snapshot::saved;
use crate::time::Timestamp;

/// The length of the CRC and of the sequence number, in bytes.
const FIELD: usize = 4;

/// Which fields precede the envelope. Both ends must have the same settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicFormat {
    /// Whether there is a CRC-32 over everything that follows it. Default: true.
    pub use_crc: bool,
    /// Whether there is a sequence number, after the CRC if there is one. Default: true.
    pub use_sequence: bool,
}

impl Default for ClassicFormat {
    fn default() -> Self {
        Self { use_crc: true, use_sequence: true }
    }
}

impl ClassicFormat {
    /// Returns where the envelope begins, in bytes.
    #[must_use]
    pub const fn prefix_len(self) -> usize {
        FIELD * (self.use_crc as usize + self.use_sequence as usize)
    }
}

/// Appends room for the fields of `format`, and the envelope up to the payload. The caller then appends the payload.
///
/// The message's payload, content type and channel are not used: the caller writes the payload as canonical JSON, and this
/// wire has no channels.
pub fn begin_message(out: &mut Vec<u8>, format: ClassicFormat, message: &MessageRef<'_>) {
    out.resize(out.len() + format.prefix_len(), 0);
    out.extend_from_slice(br#"{"metadata": {"message_id": "#);
    write_id(out, &message.message_id);
    out.extend_from_slice(br#", "timestamp": "#);
    match message.stamp() {
        Timestamp::WholeSeconds(seconds) => write_decimal(out, seconds),
        stamp => json::write_f64(out, stamp.as_secs_f64()),
    }
    out.extend_from_slice(br#", "message_type": "#);
    json::write_string(out, message.message_type.name());
    out.extend_from_slice(br#", "priority": "#);
    out.push(b'0' + message.priority.to_wire());
    out.extend_from_slice(br#", "source": "#);
    write_optional(out, message.source.as_ref(), |out, text| json::write_string(out, text));
    out.extend_from_slice(br#", "destination": "#);
    write_optional(out, message.destination.as_ref(), |out, text| json::write_string(out, text));
    out.extend_from_slice(br#", "correlation_id": "#);
    write_optional(out, message.correlation_id.as_ref(), write_id);
    out.extend_from_slice(br#"}, "data": "#);
}

/// Appends the end of the envelope, which follows the payload.
pub fn finish_message(out: &mut Vec<u8>) {
    out.push(b'}');
}

/// Fills in the sequence number and then the CRC, if `format` has them.
///
/// # Panics
///
/// If `datagram` is shorter than the fields. [`begin_message`] leaves room for them.
pub fn seal(datagram: &mut [u8], format: ClassicFormat, sequence: u32) {
    let (fields, _) = datagram.split_at_mut(format.prefix_len());
    if format.use_sequence {
        let at = fields.len() - FIELD;
        fields[at..].copy_from_slice(&sequence.to_be_bytes());
    }
    if format.use_crc {
        let (field, covered) = datagram.split_at_mut(FIELD);
        field.copy_from_slice(&crc32fast::hash(covered).to_be_bytes());
    }
}

/// Checks the length and the CRC. Returns the sequence number, if `format` has one, and the envelope.
///
/// # Errors
///
/// [`TooShort`](DropReason::TooShort) if nothing follows the fields, [`BadCrc`](DropReason::BadCrc) if the CRC is wrong.
pub fn open(datagram: &[u8], format: ClassicFormat) -> Result<(Option<u32>, &[u8]), DropReason> {
    if datagram.len() <= format.prefix_len() {
        return Err(DropReason::TooShort);
    }
    let mut rest = datagram;
    if format.use_crc {
        let (crc, covered) = split_field(rest)?;
        if crc != crc32fast::hash(covered) {
            return Err(DropReason::BadCrc);
        }
        rest = covered;
    }
    if !format.use_sequence {
        return Ok((None, rest));
    }
    let (sequence, envelope) = split_field(rest)?;
    Ok((Some(sequence), envelope))
}

fn split_field(bytes: &[u8]) -> Result<(u32, &[u8]), DropReason> {
    let (field, rest) = bytes.split_first_chunk::<FIELD>().ok_or(DropReason::TooShort)?;
    Ok((u32::from_be_bytes(*field), rest))
}

/// Returns the reason that names the settings in which the sender's format differs from `format`, if `datagram` can be read with
/// another format. For datagrams that cannot be read with `format`.
///
/// If `spares_place` is set, a format that puts the envelope in the same place is not considered. It has no CRC, so a damaged
/// datagram would look like it.
#[must_use]
#[cold]
pub fn unlike_settings(
    datagram: &[u8],
    format: ClassicFormat,
    limits: &JsonLimits,
    spares_place: bool,
) -> Option<DropReason> {
    // A CRC shows the format with certainty, so formats with a CRC come first.
    let all = [(true, true), (true, false), (false, true), (false, false)];
    let others = all.into_iter().map(|(use_crc, use_sequence)| ClassicFormat { use_crc, use_sequence });
    others.filter(|other| *other != format).find_map(|other| {
        let (_, envelope) = open(datagram, other).ok()?;
        let same_place = other.prefix_len() == format.prefix_len();
        if (same_place && spares_place) || envelope.first() != Some(&b'{') {
            return None;
        }
        let read = read_envelope(envelope, limits, &mut Vec::new()).map(drop);
        let differs = (other.use_crc != format.use_crc, other.use_sequence != format.use_sequence);
        let is_text = !matches!(read, Err(DropReason::Malformed | DropReason::NotUnicode));
        is_text.then_some(match differs {
            (true, false) => DropReason::OtherCrc,
            (false, _) => DropReason::OtherSequence,
            (true, true) => DropReason::OtherCrcAndSequence,
        })
    })
}

/// Returns whether `sequence` is the CRC of `envelope`: the sender writes a CRC, where this end expects a sequence number.
#[must_use]
pub fn is_crc(sequence: u32, envelope: &[u8]) -> bool {
    crc32fast::hash(envelope) == sequence
}

/// Reads an envelope. Returns the metadata, and the exact bytes of `data` as the payload.
///
/// Members may come in any order. Unknown keys are skipped. If a key is repeated, the last value counts. The `limits` apply to
/// every value, in the payload, in the metadata and under unknown keys. The channel of the message is 0, its content type JSON.
///
/// `scratch` is used only if the payload holds numbers that are not finite and `limits` let them be read as `null`: the payload
/// is then rewritten there.
///
/// # Errors
///
/// - [`Pickle`](DropReason::Pickle) for a Python pickle;
/// - [`TooDeep`](DropReason::TooDeep) and [`NotFinite`](DropReason::NotFinite) if a value breaks the `limits`;
/// - a reason that names the member, if one is missing or of a kind that it cannot have;
/// - [`NotUnicode`](DropReason::NotUnicode) if the text is not valid Unicode;
/// - [`Malformed`](DropReason::Malformed) if the text is not a JSON object.
pub fn read_envelope<'a>(
    envelope: &'a [u8],
    limits: &JsonLimits,
    scratch: &'a mut Vec<u8>,
) -> Result<MessageRef<'a>, DropReason> {
    if is_pickle(envelope) {
        return Err(DropReason::Pickle);
    }
    let (metadata, data) = split_envelope(envelope, limits).map_err(|fault| match fault {
        // Otherwise it is no text at all.
        JsonFault::NotUtf8 { .. } if envelope.first() == Some(&b'{') => DropReason::NotUnicode,
        fault => drop_reason(fault),
    })?;
    let metadata = metadata.ok_or(DropReason::BadMetadata)?;
    let data = data.ok_or(DropReason::NoData)?;
    let payload = if data.check.nonfinite {
        scratch.clear();
        json::normalize(data.text.as_bytes(), limits, scratch).map_err(drop_reason)?;
        scratch.as_slice()
    } else {
        data.text.as_bytes()
    };
    metadata.interpret(limits, payload)
}

fn drop_reason(fault: JsonFault) -> DropReason {
    match fault {
        JsonFault::Syntax { .. } | JsonFault::NotUtf8 { .. } => DropReason::Malformed,
        JsonFault::LoneSurrogate { .. } => DropReason::NotUnicode,
        JsonFault::TooDeep => DropReason::TooDeep,
        JsonFault::NotFinite => DropReason::NotFinite,
    }
}

/// Returns whether an envelope is a pickle and not damaged JSON, so that the drop is counted under the right reason.
///
/// From protocol 2 on, a pickle begins with a byte with which no JSON text begins. Older pickles are recognised by their last
/// byte together with the beginning of a dictionary, or of the name of a class or function, with which attacks begin.
fn is_pickle(envelope: &[u8]) -> bool {
    match envelope {
        [0x80, ..] | [b'(', b'd', .., b'.'] | [b'}', .., b'.'] => true,
        [b'c', .., b'.'] => envelope.contains(&b'\n'),
        _ => false,
    }
}

type Members<'a> = (Option<Metadata<'a>>, Option<RawValue<'a>>);

/// Finds the metadata and the payload.
fn split_envelope<'a>(envelope: &'a [u8], limits: &JsonLimits) -> Result<Members<'a>, JsonFault> {
    let (mut metadata, mut data) = (None, None);
    let mut cursor = Cursor::new(envelope)?;
    cursor.object(|cursor, key| {
        match &*key.decode() {
            "metadata" if cursor.is_at_object() => metadata = Some(Metadata::split(cursor, limits)?),
            "metadata" => {
                cursor.value(limits)?;
                metadata = None;
            }
            "data" => data = Some(cursor.value(limits)?),
            _ => _ = cursor.value(limits)?,
        }
        Ok(())
    })?;
    cursor.end()?;
    Ok((metadata, data))
}

/// The known members of the metadata, as JSON text. They are interpreted at the end, because only the last value of a repeated
/// key must be valid.
#[derive(Default)]
struct Metadata<'a> {
    message_id: Option<&'a str>,
    timestamp: Option<&'a str>,
    message_type: Option<&'a str>,
    priority: Option<&'a str>,
    source: Option<&'a str>,
    destination: Option<&'a str>,
    correlation_id: Option<&'a str>,
}

impl<'a> Metadata<'a> {
    fn split(cursor: &mut Cursor<'a>, limits: &JsonLimits) -> Result<Self, JsonFault> {
        let mut metadata = Self::default();
        cursor.object(|cursor, key| {
            let value = Some(cursor.value(limits)?.text);
            match &*key.decode() {
                "message_id" => metadata.message_id = value,
                "timestamp" => metadata.timestamp = value,
                "message_type" => metadata.message_type = value,
                "priority" => metadata.priority = value,
                "source" => metadata.source = value,
                "destination" => metadata.destination = value,
                "correlation_id" => metadata.correlation_id = value,
                _ => {}
            }
            Ok(())
        })?;
        Ok(metadata)
    }

    /// Returns the message, or the reason that names the first member that is missing or of the wrong kind.
    fn interpret(self, limits: &JsonLimits, payload: &'a [u8]) -> Result<MessageRef<'a>, DropReason> {
        let timestamp = self.timestamp.and_then(read_timestamp).ok_or(DropReason::BadTimestamp)?;
        let message_type = self.message_type.and_then(json::decode_string);
        let message_type = message_type.and_then(|name| MessageType::from_name(&name));
        let message = MessageRef {
            message_type: message_type.ok_or(DropReason::BadMessageType)?,
            priority: self.priority.and_then(read_priority).ok_or(DropReason::BadPriority)?,
            message_id: read_id(self.message_id.ok_or(DropReason::NoMessageId)?, limits)?,
            source: self.source.and_then(text_or_null).ok_or(DropReason::BadSource)?,
            destination: text_or_null(self.destination.unwrap_or(NULL)).ok_or(DropReason::BadDestination)?,
            correlation_id: Some(read_id(self.correlation_id.unwrap_or(NULL), limits)?)
                .filter(|id| *id != Id::Null),
            ..MessageRef::new(ContentType::Json, payload)
        };
        Ok(message.with_timestamp(timestamp))
    }
}

const NULL: &str = "null";

/// Returns the text of a string, or `None` inside for null. `None` for another kind of value.
#[allow(clippy::option_option)] // the outer `None` is the error of `Metadata::interpret`
fn text_or_null(json: &str) -> Option<Option<Cow<'_, str>>> {
    if json == NULL { Some(None) } else { json::decode_string(json).map(Some) }
}

/// Reads an id, which may be any value. A number that is not finite and that `limits` let be read as null is null.
fn read_id<'a>(json: &'a str, limits: &JsonLimits) -> Result<Id<'a>, DropReason> {
    if let Some(text) = json::decode_string(json) {
        return Ok(Id::Text(text));
    }
    if let Ok(number) = json.parse() {
        return Ok(Id::Number(number));
    }
    let mut canonical = Vec::new();
    json::normalize(json.as_bytes(), limits, &mut canonical).map_err(drop_reason)?;
    match String::from_utf8(canonical).map_err(|_| DropReason::Malformed)? {
        null if null == NULL => Ok(Id::Null),
        json => Ok(Id::Json(json.into_boxed_str())),
    }
}

/// Reads a time stamp: a finite float, or an integer of 64 bits.
fn read_timestamp(json: &str) -> Option<Timestamp> {
    if json.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return json.parse().ok().map(Timestamp::WholeSeconds);
    }
    let seconds = json.parse().ok().filter(|seconds: &f64| seconds.is_finite())?;
    Some(Timestamp::Seconds(seconds))
}

/// Reads a priority: a number that equals 1, 2, 3 or 4. In Python `true` equals 1.
fn read_priority(json: &str) -> Option<Priority> {
    let number = if json == "true" { 1.0 } else { json.parse::<f64>().ok()? };
    Priority::ALL.iter().copied().find(|priority| f64::from(priority.to_wire()).to_bits() == number.to_bits())
}

fn write_id(out: &mut Vec<u8>, id: &Id<'_>) {
    match id {
        Id::Number(number) => write_decimal(out, number),
        Id::Text(text) => json::write_string(out, text),
        Id::Null => out.extend_from_slice(NULL.as_bytes()),
        Id::Json(json) => out.extend_from_slice(json.as_bytes()),
    }
}

/// Writes decimal digits without allocating.
fn write_decimal(out: &mut Vec<u8>, number: impl core::fmt::Display) {
    struct Ascii<'a>(&'a mut Vec<u8>);
    impl core::fmt::Write for Ascii<'_> {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    let _ = core::fmt::write(&mut Ascii(out), format_args!("{number}"));
}

fn write_optional<T>(out: &mut Vec<u8>, value: Option<&T>, write: impl Fn(&mut Vec<u8>, &T)) {
    match value {
        Some(value) => write(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests;

saved!(ClassicFormat { use_crc, use_sequence });
