//! CBOR (RFC 8949): `ciborium` to encode and decode, and a walker that checks what comes and goes.

use tautline_proto::DropReason;

use super::nesting::{Nesting, Reader};

/// Appends a value; structs are maps by field name.
#[cfg(feature = "cbor")]
pub(super) fn encode<T: serde::Serialize + ?Sized>(
    out: &mut Vec<u8>,
    value: &T,
) -> Result<(), super::EncodeError> {
    ciborium::into_writer(value, out).map_err(|error| match error {
        ciborium::ser::Error::Value(problem) => super::EncodeError::Value { problem },
        // Writing to a Vec does not fail; said for completeness.
        ciborium::ser::Error::Io(error) => super::EncodeError::Value { problem: error.to_string() },
    })
}

/// What a decoder says, as a sentence (ciborium's own Display is its Debug form).
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

/// The seven kinds of items beside the simple ones, by the first three bits.
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

/// The low five bits that stand for "until a break".
const INDEFINITE: u8 = 31;

/// Ends a container or string of indefinite length.
const BREAK: u8 = 0xff;

/// What an item's head says about what follows.
enum Item {
    /// Nothing: the item is complete.
    Complete,
    /// So many items.
    Items(u32),
    /// Items, or pairs of them, until a break.
    UntilBreak { is_map: bool },
    /// The end of the innermost container.
    Break,
}

/// Checks that `bytes` are one CBOR value, without NaN or infinity.
///
/// A tag counts as a level of nesting. Of the simple values only false, true, null and undefined pass: no
/// Rust type holds the others.
pub(super) fn check(bytes: &[u8], max_depth: usize) -> Result<(), DropReason> {
    let mut reader = Reader(bytes);
    let mut nesting = Nesting::new(max_depth);
    loop {
        match item(&mut reader)? {
            Item::Complete => {}
            Item::Items(items) => {
                nesting.enter(items)?;
                if items > 0 {
                    continue;
                }
            }
            Item::UntilBreak { is_map } => {
                nesting.enter_until_break(is_map)?;
                continue;
            }
            Item::Break => nesting.leave_on_break()?,
        }
        if nesting.item_done() {
            return if reader.0.is_empty() { Ok(()) } else { Err(DropReason::BadPayload) };
        }
    }
}

/// Reads one item: all of a scalar, string or break, or the head of an array, map or tag.
fn item(reader: &mut Reader<'_>) -> Result<Item, DropReason> {
    let head = reader.byte()?;
    let (major, info) = (head >> 5, head & 0x1f);
    match major {
        0 | NEGATIVE => argument(reader, info).map(|_| Item::Complete),
        BYTES | TEXT if info == INDEFINITE => chunks(reader, major).map(|()| Item::Complete),
        BYTES | TEXT => string(reader, major, info).map(|()| Item::Complete),
        ARRAY | MAP if info == INDEFINITE => Ok(Item::UntilBreak { is_map: major == MAP }),
        ARRAY => items(argument(reader, info)?, reader),
        MAP => items(argument(reader, info)?.saturating_mul(2), reader),
        TAG => argument(reader, info).map(|_| Item::Items(1)),
        _ => simple(reader, head),
    }
}

/// The number in a head: small ones in its low five bits, others in 1, 2, 4 or 8 bytes after it.
fn argument(reader: &mut Reader<'_>, info: u8) -> Result<u64, DropReason> {
    match info {
        0..=23 => Ok(u64::from(info)),
        24..=27 => reader.number(1 << (info - 24)),
        _ => Err(DropReason::BadPayload),
    }
}

/// A count of items; each is a byte at least, so the rest of the payload bounds it.
fn items(count: u64, reader: &Reader<'_>) -> Result<Item, DropReason> {
    let count = reader.fitting(count)?;
    u32::try_from(count).map(Item::Items).map_err(|_| DropReason::BadPayload)
}

/// Bytes or text of known length.
fn string(reader: &mut Reader<'_>, major: u8, info: u8) -> Result<(), DropReason> {
    let length = argument(reader, info)?;
    let length = reader.fitting(length)?;
    if major == TEXT { reader.text(length) } else { reader.take(length).map(drop) }
}

/// Bytes or text in chunks of known length and the same kind, up to a break.
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

/// Floats, the simple values, and the break.
fn simple(reader: &mut Reader<'_>, head: u8) -> Result<Item, DropReason> {
    let (exponent, bits) = match head {
        0xf4..=0xf7 => return Ok(Item::Complete),
        BREAK => return Ok(Item::Break),
        0xf9 => (0x1f << 10, reader.number(2)?),
        0xfa => (0xff << 23, reader.number(4)?),
        0xfb => (0x7ff << 52, reader.number(8)?),
        _ => return Err(DropReason::BadPayload),
    };
    // An exponent of ones alone is an infinity or NaN, whatever the width.
    if bits & exponent == exponent { Err(DropReason::NotFinite) } else { Ok(Item::Complete) }
}
