//! MessagePack: encodes with `rmp-serde`, and checks sent and received bytes with an own parser.

use tautline_proto::DropReason;

use super::nesting::{Nesting, Reader};

/// Appends a value. A struct becomes a map by field name, so that programs in other languages see the names.
#[cfg(feature = "msgpack")]
pub(super) fn encode<T: serde::Serialize + ?Sized>(
    out: &mut Vec<u8>,
    value: &T,
) -> Result<(), super::EncodeError> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value.serialize(&mut serializer).map_err(serde::ser::Error::custom)
}

/// Checks that `bytes` are exactly one MessagePack value without NaN and infinities.
///
/// Text must be UTF-8. Extension types pass, because their contents are plain bytes.
pub(super) fn check(bytes: &[u8], max_depth: usize) -> Result<(), DropReason> {
    let mut reader = Reader(bytes);
    let mut nesting = Nesting::new(max_depth);
    loop {
        if let Some(items) = item(&mut reader)? {
            nesting.enter(items)?;
            if items > 0 {
                continue;
            }
        }
        if nesting.item_done() {
            return if reader.0.is_empty() { Ok(()) } else { Err(DropReason::BadPayload) };
        }
    }
}

/// Reads one item: a whole scalar, or the head of an array or map. Returns the number of items in an array or map.
fn item(reader: &mut Reader<'_>) -> Result<Option<u32>, DropReason> {
    let marker = reader.byte()?;
    match marker {
        // Small integers, nil, false and true are a marker alone.
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Ok(None),
        0x80..=0x8f => items(u64::from(marker & 0x0f) * 2, reader),
        0x90..=0x9f => items(u64::from(marker & 0x0f), reader),
        0xa0..=0xbf => reader.text(usize::from(marker & 0x1f)).map(|()| None),
        0xc1 => Err(DropReason::BadPayload),
        0xc4..=0xc6 => bytes_of(reader, size(marker, 0xc4), 0),
        0xc7..=0xc9 => bytes_of(reader, size(marker, 0xc7), 1),
        0xca => float(f32::from_bits(low_half(reader.number(4)?)).is_finite()),
        0xcb => float(f64::from_bits(reader.number(8)?).is_finite()),
        0xcc..=0xcf => reader.take(size(marker, 0xcc)).map(|_| None),
        0xd0..=0xd3 => reader.take(size(marker, 0xd0)).map(|_| None),
        // Extensions: a type byte, then 1, 2, 4, 8 or 16 bytes.
        0xd4..=0xd8 => reader.take(1 + size(marker, 0xd4)).map(|_| None),
        0xd9..=0xdb => {
            let length = reader.length(size(marker, 0xd9))?;
            reader.text(length).map(|()| None)
        }
        0xdc | 0xdd => {
            let count = reader.number(size(marker, 0xdc) * 2)?;
            items(count, reader)
        }
        0xde | 0xdf => {
            let count = reader.number(size(marker, 0xde) * 2)?;
            items(count * 2, reader)
        }
    }
}

/// The size that a marker means. In each family of markers, the size doubles from one marker to the next.
fn size(marker: u8, first: u8) -> usize {
    1 << (marker - first)
}

/// Checks a count of items. Each item has at least one byte, so the rest of the payload bounds the count.
fn items(count: u64, reader: &Reader<'_>) -> Result<Option<u32>, DropReason> {
    let count = reader.fitting(count)?;
    u32::try_from(count).map(Some).map_err(|_| DropReason::BadPayload)
}

/// Reads a length of `size` bytes, then that number of bytes and `extra` more.
fn bytes_of(reader: &mut Reader<'_>, size: usize, extra: usize) -> Result<Option<u32>, DropReason> {
    let length = reader.length(size)?;
    reader.take(length + extra).map(|_| None)
}

fn float(is_finite: bool) -> Result<Option<u32>, DropReason> {
    if is_finite { Ok(None) } else { Err(DropReason::NotFinite) }
}

#[allow(clippy::cast_possible_truncation)] // only four bytes were read
fn low_half(number: u64) -> u32 {
    number as u32
}
