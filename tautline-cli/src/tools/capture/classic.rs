//! The classic format: a header of 24 bytes, then for each packet a header of 16 bytes and its bytes.

use std::io::Read;

use tautline::WallTime;

use super::{ByteOrder, LONGEST, Packet, read_bytes, read_whole};

/// The byte order, and how many nanoseconds the fraction of a time counts.
pub(super) type Format = (ByteOrder, u32);

/// The packets of a capture in the classic format.
#[derive(Debug)]
pub(crate) struct Packets<R> {
    reader: R,
    format: Format,
    link_type: u16,
}

/// Returns the format that the first four bytes show.
pub(super) fn format(magic: [u8; 4]) -> Option<Format> {
    const MICROSECONDS: u32 = 0xa1b2_c3d4;
    const NANOSECONDS: u32 = 0xa1b2_3c4d;
    for order in [ByteOrder::Little, ByteOrder::Big] {
        match order.u32(magic) {
            MICROSECONDS => return Some((order, 1_000)),
            NANOSECONDS => return Some((order, 1)),
            _ => {}
        }
    }
    None
}

impl<R: Read> Packets<R> {
    /// Reads the rest of the header.
    pub(super) fn begin(mut reader: R, format: Format) -> Result<Self, String> {
        let mut header = [0; 20];
        if !read_whole(&mut reader, &mut header).map_err(|error| error.to_string())? {
            return Err("it ends within its header".to_owned());
        }
        #[allow(clippy::cast_possible_truncation)] // the upper bits hold something else
        let link_type = format.0.u32_at(&header, 16) as u16;
        Ok(Self { reader, format, link_type })
    }

    pub(super) fn next(&mut self) -> Result<Option<Packet>, String> {
        let mut header = [0; 16];
        if !read_whole(&mut self.reader, &mut header).map_err(|error| error.to_string())? {
            return Ok(None);
        }
        let (order, unit) = self.format;
        let [seconds, fraction, length] = [0, 4, 8].map(|at| order.u32_at(&header, at));
        if length > LONGEST {
            return Err(format!("a packet of {length} bytes is longer than any: the capture is damaged"));
        }
        let Some(bytes) = read_bytes(&mut self.reader, length)? else { return Ok(None) };
        let at = i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * i64::from(unit);
        Ok(Some(Packet { at: WallTime::from_nanos(at), link_type: self.link_type, bytes }))
    }
}
