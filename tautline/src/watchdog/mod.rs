//! Watchdogs: when expected traffic stops, the user's failsafe runs; and with a latch, nothing of it passes until a reset.
//!
//! Called by `interface` and `connection` (register, arm, reset, end) and by `driver` (feed). Uses `machine`, `config` and
//! `sync`.
//!
//! The driver and a [thread](thread) of its own decide about each silence in a [feed](feed): one of them trips it, and the
//! thread tells. The thread takes no lock that others hold: neither a handler nor a driver that hangs keeps a watchdog from
//! tripping. [gaps](gaps) are the silences that the driver noticed, [notice](notice) says who was late. The list of watchdogs
//! is in [table](table). [register](register) adds watchdogs.

mod failsafe;
pub(crate) mod feed;
mod gaps;
mod list;
pub(crate) mod notice;
mod register;
mod spec;
mod table;
mod thread;
mod watch;

pub(crate) use list::{List, Sign, Watches};
pub(crate) use register::Surroundings;
pub use spec::{WatchError, Watchdog};
pub(crate) use table::{Tell, Watchdogs};
pub use watch::WatchdogStats;

use crate::config::{SilenceCause, WatchdogEvent};
