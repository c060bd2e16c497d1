//! What is the same on all systems but Linux.

use super::{RealtimePart, Refusal};

/// Never made here: only Linux can be kept from deep sleep by a program.
#[derive(Debug)]
pub(crate) enum Awake {}

/// Never made here.
#[derive(Debug)]
pub(crate) enum OtherPriority {}

pub(super) const fn set_aside(_: usize) -> Option<OtherPriority> {
    None
}

/// A new thread has the cores of the process, and not those of the thread that starts it.
pub(super) fn unrestricted() -> impl FnOnce() + Send + 'static {
    || {}
}

/// Why a part of the socket is not there.
pub(super) fn lacks(part: RealtimePart, _: String) -> Refusal {
    Refusal::new(
        format!("tautline asks for `{part}` on Linux only"),
        "nothing is wrong: the link runs without it",
    )
}

pub(super) const fn usable_buffer(reported: usize) -> usize {
    reported
}
