//! Watchdogs: when expected traffic stops, the user's failsafe runs.
//!
//! The driver leaves the time of each sign of life in a [feed](feed); a [thread](thread) of its own sleeps until the earliest
//! of them is overdue. It takes no lock that others hold, so neither a handler that hangs nor a hanging driver, which is
//! then the reason, keeps it from tripping. What registers and removes is in the [table](table), how many periods may be missed
//! in [periods](periods).

mod feed;
mod periods;
mod spec;
mod table;
mod thread;
mod watch;

pub use spec::{WatchError, WatchId, Watchdog, WatchdogChange, WatchdogEvent, Watched};
pub(crate) use table::{Watchdogs, Watches};
pub use watch::{WatchdogState, WatchdogStats};
