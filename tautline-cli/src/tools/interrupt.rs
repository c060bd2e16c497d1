//! Ctrl-C: the first one asks the program to end cleanly, a later one ends it at once.
//!
//! A subcommand installs this once it has something to end cleanly. Before that, for example while it connects, the
//! first Ctrl-C ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::tools::exit::{Exit, Failure};

/// Every wait checks for an interrupt at least this often.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Signals that follow the first within this time ask for nothing more: timeout(1) sends its signal to the program, and then
/// to the program's group.
const TOGETHER: Duration = Duration::from_millis(100);

/// Whether the user (SIGINT) or the system (SIGTERM) asked the program to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Installs the signal handlers. From now on the first signal only asks the program to end.
    pub(crate) fn install() -> Result<Self, Failure> {
        let problem = |error: std::io::Error| Failure::failed(format!("cannot watch for Ctrl-C: {error}"));
        let asked = Arc::new(AtomicBool::new(false));
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(problem)?;
        let (flag, mut first) = (Arc::clone(&asked), None);
        let watch = move || {
            for _ in signals.forever() {
                flag.store(true, Ordering::Relaxed);
                let now = Instant::now();
                if is_repeated(*first.get_or_insert(now), now) {
                    // Not a clean end: whatever holds the program up may hold that up too.
                    signal_hook::low_level::exit(Exit::Interrupted as i32);
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(problem)?;
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

/// Whether a signal is a wish of its own, and not the first or a copy of it.
fn is_repeated(first: Instant, now: Instant) -> bool {
    now.saturating_duration_since(first) >= TOGETHER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_signal_is_a_second_one() {
        let first = Instant::now();
        assert!(!is_repeated(first, first) && !is_repeated(first, first + TOGETHER / 2));
        assert!(is_repeated(first, first + TOGETHER));
    }
}
