//! Reads fields from the front of a slice.

use super::layout::MAX_NAME;
use crate::message::Id;
use crate::time::WallTime;

/// Reads fields from the front of a slice. Each method returns `None` if the slice is too short.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a time stamp in nanoseconds since 1970.
    #[inline]
    pub(super) fn stamp(&mut self) -> Option<WallTime> {
        self.u64().map(|nanos| WallTime::from_nanos(nanos.cast_signed()))
    }

    #[inline(never)] // most messages have none
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let len = self.u8().filter(|&len| len > 0)?;
        core::str::from_utf8(self.bytes(len.into())?).ok()
    }

    /// Reads a text of 0 to [`MAX_NAME`] bytes.
    #[inline]
    pub(super) fn name(&mut self) -> Option<&'a str> {
        let len = usize::from(self.u8()?);
        let name = core::str::from_utf8(self.bytes(len)?).ok()?;
        (len <= MAX_NAME).then_some(name)
    }

    #[inline]
    pub(super) fn id(&mut self) -> Option<Id<'a>> {
        match self.0.first()? {
            0 => {
                self.u8()?;
                self.u64().map(Id::Number)
            }
            _ => self.text().map(Id::from),
        }
    }
}
