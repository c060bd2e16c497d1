//! The signals of Unix.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::tools::exit::Exit;

/// Signals that follow the first within this time ask for nothing more: timeout(1) sends its signal to the program, and then
/// to the program's group.
const TOGETHER: Duration = Duration::from_millis(100);

/// Sets `asked` with the first signal, and ends the program with a later one.
pub(super) fn watch(asked: &Arc<AtomicBool>) -> io::Result<()> {
    // nohup(1) lets the program live on when the terminal is closed.
    let hang_up = (!ignores(SIGHUP)).then_some(SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hang_up))?;
    let (flag, mut first) = (Arc::clone(asked), None);
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
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
}

/// Whether whoever started this process had it ignore a signal. Linux tells it in /proc.
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
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
