//! Compares a rerun with the record.

use alloc::string::String;
use alloc::vec::Vec;

use crate::endpoint::config::{EndpointConfig, PayloadCheck};
use crate::endpoint::recorder::Kind;
use crate::ring::{Entry, RingSegment, entries};
use crate::snapshot::Writer;
use crate::time::{Instant, Now, WallTime};

/// How a rerun went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rerun {
    /// How many inputs were run again.
    pub inputs: u64,
    /// How many entries were not run again, because the record of an input before them is not whole. A record that was read while
    /// it was written may lack what its last input has drawn.
    pub left_out: u64,
    /// How many datagrams are among them.
    pub datagrams: u64,
    /// How many states were compared with the mark of the next segment, and were the same in every field.
    pub states: u64,
    /// The first output that was not the recorded one.
    pub difference: Option<Difference>,
    /// When the last input came. `None` if there is none, or if outputs are not compared.
    pub last: Option<Instant>,
    /// The latest time for the next call of the receiving half, as it was at the end of the record. `None` if it had nothing to
    /// do, if the record of its last input is not whole, and for the sending half.
    pub due: Option<Instant>,
    /// Segments that cannot be read, because their file is damaged or another version wrote it.
    pub unreadable: u64,
}

/// Where a rerun first differed from the record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The number of the input whose output differs, counted from the beginning of the record.
    pub input: u64,
    /// When it came.
    pub at: Instant,
    /// What the input was.
    pub what: String,
}

/// How to run a record again.
#[derive(Clone)]
#[non_exhaustive]
pub struct RerunSettings<'a> {
    /// The check of payloads, as the endpoint had it.
    pub check_payload: PayloadCheck,
    /// Changes the configuration. The outputs are then not compared.
    pub change: Option<&'a dyn Fn(&mut EndpointConfig)>,
}

impl core::fmt::Debug for RerunSettings<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RerunSettings").field("is_changed", &self.change.is_some()).finish_non_exhaustive()
    }
}

impl RerunSettings<'_> {
    /// Runs the record again as it was.
    #[must_use]
    pub fn unchanged(check_payload: PayloadCheck) -> Self {
        Self { check_payload, change: None }
    }
}

/// Compares what a half has become with the record.
pub(super) struct Comparison {
    pub(super) result: Rerun,
    is_compared: bool,
    /// The input whose outputs were not compared yet.
    last: (u64, Instant, String),
}

impl Comparison {
    pub(super) fn new(is_compared: bool) -> Self {
        Self { result: Rerun::default(), is_compared, last: Default::default() }
    }

    /// Compares the digest of all outputs until now.
    pub(super) fn digests(&mut self, ours: u64, recorded: u64) {
        if self.is_compared && ours != recorded && self.result.difference.is_none() {
            let (input, at, what) = core::mem::take(&mut self.last);
            self.result.difference = Some(Difference { input, at, what });
        }
    }

    /// Compares the whole state with the mark of the next segment.
    pub(super) fn states(&mut self, mark: &[u8], save: impl FnOnce(&mut Writer)) {
        if !self.is_compared || self.result.difference.is_some() {
            return;
        }
        if Writer::with_room_for(mark.len()).write(save).is_some_and(|ours| ours == mark) {
            self.result.states += 1;
        } else {
            let (input, at, what) = &self.last;
            let what = alloc::format!("the state after {what}");
            self.result.difference = Some(Difference { input: *input, at: *at, what });
        }
    }

    /// Notes the input that is run now.
    pub(super) fn begins(&mut self, entry: &Entry<'_>, what: impl FnOnce() -> String) {
        self.result.inputs += 1;
        if self.is_compared {
            let at = Instant::from_nanos(entry.time);
            self.result.last = Some(at);
            self.last = (self.result.inputs, at, what());
        }
    }
}

/// The entries of a segment behind its mark. `None` if it has none.
pub(super) fn after_mark(segment: &RingSegment) -> Option<(&[u8], Vec<Entry<'_>>)> {
    let mut entries = entries(segment);
    let mark = entries.next().filter(|entry| Kind::of(entry.kind) == Some(Kind::Mark))?;
    Some((mark.bytes, entries.collect()))
}

/// Both clocks at the time of an entry.
pub(super) fn now_of(entry: &Entry<'_>, shift: i64) -> Now {
    let wall = shift.wrapping_add(entry.time.cast_signed());
    Now { steady: Instant::from_nanos(entry.time), wall: WallTime::from_nanos(wall) }
}
