//! Watchdogs: when expected traffic stops, the user's failsafe runs.
//!
//! Called by `interface` and `connection` (register, arm, end) and by `driver` (feed). Uses `machine`, `config` and `sync`.
//!
//! The driver stores the time of expected traffic in a [feed](feed). A [thread](thread) of its own sleeps until the earliest
//! feed is overdue. The thread takes no lock that others hold: neither a handler nor a driver that hangs keeps a watchdog
//! from tripping. The list of watchdogs is in [table](table). [register](register) adds watchdogs, and [periods](periods)
//! counts the periods that may be missed.

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
