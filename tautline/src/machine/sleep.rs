//! Sleeps until a point in time, as exactly as the system can.

use std::time::Instant;

#[cfg(target_os = "linux")]
use std::cell::Cell;

/// Sleeps until deadlines of the steady clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sleeper {
    /// The same moment on both clocks. On Linux they are one clock, but `Instant` does not show its numbers.
    #[cfg(target_os = "linux")]
    anchor: (Instant, rustix::time::Timespec),
}

impl Sleeper {
    pub(crate) fn new() -> Self {
        Self {
            // The kernel's time is read second. So a sleep ends some nanoseconds late, and never early.
            #[cfg(target_os = "linux")]
            anchor: (Instant::now(), rustix::time::clock_gettime(rustix::time::ClockId::Monotonic)),
        }
    }

    /// Sleeps until the deadline has passed.
    pub(crate) fn sleep_until(&self, deadline: Instant) {
        wake_exactly();
        while Instant::now() < deadline {
            self.sleep_once(deadline);
        }
    }

    /// One sleep. A signal may end it early.
    #[cfg(target_os = "linux")]
    fn sleep_once(&self, deadline: Instant) {
        use rustix::thread::clock_nanosleep_absolute;
        use rustix::time::{ClockId, Timespec};

        let (instant, kernel) = self.anchor;
        let after = deadline.saturating_duration_since(instant);
        let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
        let nanoseconds = kernel.tv_nsec + i64::from(after.subsec_nanos());
        let until = Timespec {
            tv_sec: kernel.tv_sec.saturating_add(seconds).saturating_add(nanoseconds / 1_000_000_000),
            tv_nsec: nanoseconds % 1_000_000_000,
        };
        // An absolute time: if the thread is preempted before it sleeps, it does not sleep longer for that.
        let _ = clock_nanosleep_absolute(ClockId::Monotonic, &until);
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unused_self)] // Linux needs it
    fn sleep_once(&self, deadline: Instant) {
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Lets waits of the calling thread end when they are due. By default Linux adds up to 50 us to each, the timer slack of
/// threads without real-time priority, to save wake-ups. The thread keeps this, and threads that it starts inherit it.
#[cfg(target_os = "linux")]
pub(crate) fn wake_exactly() {
    thread_local! {
        static DONE: Cell<bool> = const { Cell::new(false) };
    }
    if !DONE.replace(true) {
        // Best effort: without it, waits are a little later.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
}

/// There is no timer slack to set.
#[cfg(not(target_os = "linux"))]
pub(crate) fn wake_exactly() {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_sleep_never_ends_early() {
        let sleeper = Sleeper::new();
        let mut deadline = Instant::now();
        for _ in 0..50 {
            deadline += Duration::from_micros(300);
            sleeper.sleep_until(deadline);
            assert!(Instant::now() >= deadline);
        }
        sleeper.sleep_until(Instant::now());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_timer_slack_is_set_once_for_a_thread() {
        std::thread::spawn(|| {
            wake_exactly();
            assert_eq!(rustix::thread::current_timer_slack().expect("a number"), 1);
        })
        .join()
        .expect("no panic");
    }
}
