//! CBOR (RFC 8949): encodes with `ciborium`, and checks sent and received bytes with an own parser.

use tautline_proto::DropReason;

use super::nesting::{Nesting, Reader};

/// Appends a value; a struct becomes a map by field name.
#[cfg(feature = "cbor")]
pub(super) fn encode<T: serde::Serialize + ?Sized>(
    out: &mut Vec<u8>,
    value: &T,
) -> Result<(), super::EncodeError> {
    ciborium::into_writer(value, out).map_err(|error| match error {
        ciborium::ser::Error::Value(problem) => super::EncodeError::Value { problem },
        // Writing to a Vec does not fail, but the match must be complete.
        ciborium::ser::Error::Io(error) => super::EncodeError::Value { problem: error.to_string() },
    })
}

/// Describes a decoding error in words, because ciborium's `Display` prints the `Debug` form.
#[cfg(feature = "cbor")]
pub(super) fn explain(error: &ciborium::de::Error<std::io::Error>) -> String {
    use ciborium::de::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::Syntax(offset) => format!("syntax error at byte {offset}"),
        Error::Semantic(Some(offset), problem) => format!("{problem} at byte {offset}"),
        Error::Semantic(None, problem) => problem.clone(),
        Error::RecursionLimitExceeded => "nested too deep".to_owned(),
    }
}

/// Major types (RFC 8949 §3.1): the first three bits of an item's head. Type 0 is an unsigned integer, type 7 is
/// simple.
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

/// The low five bits of a head that mean: until a break (RFC 8949 §3.2).
const INDEFINITE: u8 = 31;

/// The byte that ends a container or string of indefinite length.
const BREAK: u8 = 0xff;

/// What follows an item's head.
enum Following {
    /// Nothing: the item is complete.
    Complete,
    /// This number of items.
    Items(u32),
    /// Items, in a map pairs of items, until a break.
    UntilBreak { is_map: bool },
    /// The end of the innermost container.
    Break,
}

/// Checks that `bytes` are exactly one CBOR value without NaN and infinities.
///
/// A tag counts as a level of nesting. The only simple values that pass are false, true, null and undefined, because no
/// Rust type holds the others.
pub(super) fn check(bytes: &[u8], max_depth: usize) -> Result<(), DropReason> {
    let mut reader = Reader(bytes);
    let mut nesting = Nesting::new(max_depth);
    loop {
        match item(&mut reader)? {
            Following::Complete => {}
            Following::Items(items) => {
                nesting.enter(items)?;
                if items > 0 {
                    continue;
                }
            }
            Following::UntilBreak { is_map } => {
                nesting.enter_until_break(is_map)?;
                continue;
            }
            Following::Break => nesting.leave_on_break()?,
        }
        if nesting.item_done() {
            return if reader.0.is_empty() { Ok(()) } else { Err(DropReason::BadPayload) };
        }
    }
}

/// Reads one item: a whole scalar, string or break, or the head of an array, map or tag.
fn item(reader: &mut Reader<'_>) -> Result<Following, DropReason> {
    let head = reader.byte()?;
    let (major, info) = (head >> 5, head & 0x1f);
    match major {
        0 | NEGATIVE => argument(reader, info).map(|_| Following::Complete),
        BYTES | TEXT if info == INDEFINITE => chunks(reader, major).map(|()| Following::Complete),
        BYTES | TEXT => string(reader, major, info).map(|()| Following::Complete),
        ARRAY | MAP if info == INDEFINITE => Ok(Following::UntilBreak { is_map: major == MAP }),
        ARRAY => items(argument(reader, info)?, reader),
        MAP => items(argument(reader, info)?.saturating_mul(2), reader),
        TAG => argument(reader, info).map(|_| Following::Items(1)),
        _ => simple(reader, head),
    }
}

/// Reads the argument of a head. A small number is in its low five bits, a larger number in the 1, 2, 4 or 8 bytes
/// after it.
fn argument(reader: &mut Reader<'_>, info: u8) -> Result<u64, DropReason> {
    match info {
        0..=23 => Ok(u64::from(info)),
        24..=27 => reader.number(1 << (info - 24)),
        _ => Err(DropReason::BadPayload),
    }
}

/// Checks a count of items. Each item has at least one byte, so the rest of the payload bounds the count.
fn items(count: u64, reader: &Reader<'_>) -> Result<Following, DropReason> {
    let count = reader.fitting(count)?;
    u32::try_from(count).map(Following::Items).map_err(|_| DropReason::BadPayload)
}

/// Reads bytes or text of known length.
fn string(reader: &mut Reader<'_>, major: u8, info: u8) -> Result<(), DropReason> {
    let length = argument(reader, info)?;
    let length = reader.fitting(length)?;
    if major == TEXT { reader.text(length) } else { reader.take(length).map(drop) }
}

/// Reads bytes or text in chunks, up to a break. Each chunk has a known length and the same major type.
fn chunks(reader: &mut Reader<'_>, major: u8) -> Result<(), DropReason> {
    loop {
        let head = reader.byte()?;
        if head == BREAK {
            return Ok(());
        }
        if head >> 5 != major {
            return Err(DropReason::BadPayload);
        }
        string(reader, major, head & 0x1f)?;
    }
}

/// Reads a float, a simple value or the break.
fn simple(reader: &mut Reader<'_>, head: u8) -> Result<Following, DropReason> {
    let (exponent, bits) = match head {
        0xf4..=0xf7 => return Ok(Following::Complete),
        BREAK => return Ok(Following::Break),
        0xf9 => (0x1f << 10, reader.number(2)?),
        0xfa => (0xff << 23, reader.number(4)?),
        0xfb => (0x7ff << 52, reader.number(8)?),
        _ => return Err(DropReason::BadPayload),
    };
    // If all bits of the exponent are set, the float is an infinity or NaN, in every width.
    if bits & exponent == exponent { Err(DropReason::NotFinite) } else { Ok(Following::Complete) }
}
