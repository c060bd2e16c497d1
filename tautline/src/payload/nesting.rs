//! The parts that the checks of both binary codecs share: the stack of open arrays and maps, and a reader of bytes.

use tautline_proto::DropReason;
use tautline_proto::json::JsonLimits;

/// How many items an open container still needs.
#[derive(Clone, Copy)]
enum Level {
    /// This number of items.
    Items(u32),
    /// Any number, until a break. `even` is true after an even number of items: then the last key of a map has its
    /// value.
    UntilBreak { is_map: bool, even: bool },
}

/// The containers around the next item.
///
/// An array of fixed size, so that no input makes a check recurse or allocate.
pub(super) struct Nesting {
    open: [Level; JsonLimits::MAX_DEPTH],
    depth: usize,
    max_depth: usize,
}

impl Nesting {
    pub(super) fn new(max_depth: usize) -> Self {
        let max_depth = max_depth.min(JsonLimits::MAX_DEPTH);
        Self { open: [Level::Items(0); JsonLimits::MAX_DEPTH], depth: 0, max_depth }
    }

    /// Enters a container of `items` items. An empty container is complete at once: call `item_done` next.
    pub(super) fn enter(&mut self, items: u32) -> Result<(), DropReason> {
        self.push(Level::Items(items))
    }

    /// Enters a container that a break ends.
    pub(super) fn enter_until_break(&mut self, is_map: bool) -> Result<(), DropReason> {
        self.push(Level::UntilBreak { is_map, even: true })
    }

    /// Leaves the innermost container at its break. A map must not end after a key.
    pub(super) fn leave_on_break(&mut self) -> Result<(), DropReason> {
        match self.innermost() {
            Some(Level::UntilBreak { is_map: false, .. } | Level::UntilBreak { even: true, .. }) => {
                self.depth -= 1;
                Ok(())
            }
            _ => Err(DropReason::BadPayload),
        }
    }

    /// Records a complete item, and the containers that it completes. Returns true if no container is open: then the
    /// whole value is complete.
    pub(super) fn item_done(&mut self) -> bool {
        while let Some(level) = self.innermost() {
            match level {
                Level::UntilBreak { even, .. } => {
                    *even = !*even;
                    return false;
                }
                Level::Items(left) if *left > 1 => {
                    *left -= 1;
                    return false;
                }
                Level::Items(_) => self.depth -= 1,
            }
        }
        true
    }

    fn push(&mut self, level: Level) -> Result<(), DropReason> {
        if self.depth == self.max_depth {
            return Err(DropReason::TooDeep);
        }
        self.open[self.depth] = level;
        self.depth += 1;
        Ok(())
    }

    fn innermost(&mut self) -> Option<&mut Level> {
        self.depth.checked_sub(1).map(|top| &mut self.open[top])
    }
}

/// Reads a payload; holds the bytes that were not read yet.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// Reads the next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DropReason> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DropReason::BadPayload)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DropReason> {
        self.take(1).map(|byte| byte[0])
    }

    /// Reads an unsigned number of `size` bytes (at most 8), in network byte order.
    pub(super) fn number(&mut self, size: usize) -> Result<u64, DropReason> {
        Ok(self.take(size)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Reads a length of `size` bytes. It must not exceed the rest of the payload.
    pub(super) fn length(&mut self, size: usize) -> Result<usize, DropReason> {
        let length = self.number(size)?;
        self.fitting(length)
    }

    /// Returns `length` if the rest of the payload has at least that many bytes.
    pub(super) fn fitting(&self, length: u64) -> Result<usize, DropReason> {
        usize::try_from(length).ok().filter(|length| *length <= self.0.len()).ok_or(DropReason::BadPayload)
    }

    /// Reads text of `length` bytes, which must be UTF-8.
    pub(super) fn text(&mut self, length: usize) -> Result<(), DropReason> {
        std::str::from_utf8(self.take(length)?).map(drop).map_err(|_| DropReason::BadPayload)
    }
}
