//! Watchdogs: when expected traffic stops, the user's failsafe runs.
//!
//! The driver leaves the time of each sign of life in a [feed](feed); a [thread](thread) of its own sleeps until the earliest
//! of them is overdue. It takes no lock that others hold, so neither a handler that hangs nor a hanging driver, which is
//! then the reason, keeps it from tripping. The list of them is in [table](table), what is put on it in
//! [register](register), how many periods may be missed in [periods](periods).

pub(crate) mod feed;
pub(crate) mod periods;
mod register;
mod spec;
mod table;
mod thread;
mod watch;

pub(crate) use register::Surroundings;
pub use spec::{WatchError, WatchId, Watchdog, WatchdogChange, WatchdogEvent, Watched};
pub(crate) use table::{List, Tell, Watchdogs, Watches};
pub use watch::{WatchdogState, WatchdogStats};
