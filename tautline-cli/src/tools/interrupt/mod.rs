//! Ctrl-C: the first one asks the program to end cleanly, a later one ends it at once. SIGTERM and a closed terminal (SIGHUP)
//! do the same; on Windows Ctrl-Break does.
//!
//! A subcommand installs this once it has something to end cleanly. Before that, for example while it connects, the
//! first Ctrl-C ends the program at once.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[cfg(unix)]
use unix::watch;
#[cfg(windows)]
use windows::watch;

use crate::tools::exit::Failure;

/// Every wait checks for an interrupt at least this often.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether the user (SIGINT), the system (SIGTERM) or the terminal (SIGHUP) asked the program to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Installs the signal handlers. From now on the first signal only asks the program to end.
    pub(crate) fn install() -> Result<Self, Failure> {
        let problem = |error: std::io::Error| Failure::failed(format!("cannot watch for Ctrl-C: {error}"));
        let asked = Arc::new(AtomicBool::new(false));
        watch(&asked).map_err(problem)?;
        Ok(Self(asked))
    }

    /// An interrupt that never comes, for tests.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
