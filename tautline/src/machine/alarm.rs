//! The sleep of one thread. Other threads can move its end without waking that thread. The driver's thread sleeps so while it
//! stands by.
//!
//! When a thread that has led leaves, something may be due before the driver's thread looks by itself. If the driver's thread had
//! to wake up only to choose a shorter sleep, it would take a core and its caches. On Linux, it sleeps until a timer of the kernel
//! (timerfd) ends: to move that timer takes one system call, and wakes nobody.
//!
//! Two things end a sleep: its time, and a ring. `at` and `rung` say what the timer must be set to. A thread that changes one of
//! them calls [`apply`](Alarm::apply) afterwards. That sets the timer, and then looks whether both are still the same. If not, it
//! sets the timer again. So in whatever order several threads call it, the last setting of the timer is what both say. All
//! accesses are sequentially consistent. `src/tests/shuttle/wakeups.rs` tries the schedules.

use std::time::{Duration, Instant};

use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// One thread sleeps with it. Any thread may move the end of that sleep, or ring.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// When the sleep ends, in nanoseconds since `epoch`.
    at: AtomicU64,
    epoch: Instant,
    /// A thread has rung, and the sleeper has not seen it.
    rung: AtomicBool,
    /// The thread sleeps, or is about to. It sets this before it reads `rung`; a thread that rings sets `rung` before it reads this. So
    /// one of them sees the other.
    asleep: AtomicBool,
    timer: Timer,
}

/// A sleep that only a ring ends.
const NEVER: u64 = u64::MAX;

impl Alarm {
    pub(crate) fn new() -> Self {
        let [rung, asleep] = [const { AtomicBool::new(false) }; 2];
        Self { at: AtomicU64::new(NEVER), epoch: Instant::now(), rung, asleep, timer: Timer::new() }
    }

    /// Says when the sleep ends; `None`: not before a ring. [`apply`](Self::apply) must follow. The caller holds a lock, so that the
    /// last call decides.
    pub(crate) fn plan(&self, at: Option<Instant>) {
        let nanos = |at: Instant| at.saturating_duration_since(self.epoch).as_nanos();
        let at = at.map_or(NEVER, |at| u64::try_from(nanos(at)).unwrap_or(NEVER));
        self.at.store(at, Ordering::SeqCst);
    }

    /// Sets the timer to what was planned. Costs a system call. The caller may have released its lock.
    pub(crate) fn apply(&self) {
        let mut wanted = self.wanted();
        loop {
            self.timer.set(match wanted {
                (true, _) => Some(self.epoch),
                (false, NEVER) => None,
                (false, at) => self.epoch.checked_add(Duration::from_nanos(at)),
            });
            // Another turn of this loop means that another thread has changed something.
            match self.wanted() {
                same if same == wanted => return,
                other => wanted = other,
            }
        }
    }

    fn wanted(&self) -> (bool, u64) {
        (self.rung.load(Ordering::SeqCst), self.at.load(Ordering::SeqCst))
    }

    /// Ends the present sleep, or the next one.
    pub(crate) fn ring(&self) {
        // An earlier ring that the sleeper has not seen yet ends the sleep already.
        if !self.rung.swap(true, Ordering::SeqCst) && self.asleep.load(Ordering::SeqCst) {
            self.apply();
        }
    }

    /// Sleeps until the planned time, or until a thread rings. May return early. What was planned has been applied.
    pub(crate) fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        if !self.rung.load(Ordering::SeqCst) {
            self.timer.wait();
        }
        self.asleep.store(false, Ordering::SeqCst);
        // A swap, not a store: only a read of the ring makes visible what the ringing thread did before.
        let _ = self.rung.swap(false, Ordering::SeqCst);
    }
}

#[cfg(all(target_os = "linux", not(shuttle)))]
use kernel::Timer;
#[cfg(not(all(target_os = "linux", not(shuttle))))]
use portable::Timer;

/// A timer of the kernel.
#[cfg(all(target_os = "linux", not(shuttle)))]
mod kernel {
    use std::os::fd::OwnedFd;
    use std::time::{Duration, Instant};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::portable;

    #[derive(Debug)]
    pub(super) enum Timer {
        Kernel(OwnedFd),
        /// The system refuses the calls.
        Portable(portable::Timer),
    }

    /// The shortest time for which the kernel sets a timer: zero would stop it.
    const AT_ONCE: Duration = Duration::from_nanos(1);

    impl Timer {
        pub(super) fn new() -> Self {
            let tried = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)
                .and_then(|timer| set(&timer, AT_ONCE).and_then(|()| wait(&timer)).map(|()| timer));
            tried.map_or_else(|_| Self::Portable(portable::Timer::new()), Self::Kernel)
        }

        /// Lets the wait end at this time, and not at the time that was set before; `None`: it does not end.
        pub(super) fn set(&self, at: Option<Instant>) {
            match self {
                Self::Kernel(timer) => {
                    let left = |at: Instant| at.saturating_duration_since(Instant::now()).max(AT_ONCE);
                    // `new` has tried the call, so it does not fail.
                    let _ = set(timer, at.map_or(Duration::ZERO, left));
                }
                Self::Portable(timer) => timer.set(at),
            }
        }

        /// Waits for the time that is set. May return early.
        pub(super) fn wait(&self) {
            match self {
                Self::Kernel(timer) => drop(wait(timer)),
                Self::Portable(timer) => timer.wait(),
            }
        }
    }

    fn set(timer: &OwnedFd, left: Duration) -> rustix::io::Result<()> {
        let it_value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value }).map(drop)
    }

    fn wait(timer: &OwnedFd) -> rustix::io::Result<()> {
        rustix::io::read(timer, &mut [0; 8]).map(drop)
    }
}

/// A timer for systems without timerfd. If its end was moved to a later time, the sleeper wakes at the earlier one, and sleeps on.
mod portable {
    use std::time::Instant;

    use crate::sync::{Condvar, Mutex, lock, wait_until};

    #[derive(Debug)]
    pub(super) struct Timer {
        /// When the wait ends.
        at: Mutex<Option<Instant>>,
        moved: Condvar,
    }

    impl Timer {
        pub(super) fn new() -> Self {
            Self { at: Mutex::new(None), moved: Condvar::new() }
        }

        pub(super) fn set(&self, at: Option<Instant>) {
            let before = std::mem::replace(&mut *lock(&self.at), at);
            if at.is_some_and(|at| before.is_none_or(|before| at < before)) {
                self.moved.notify_one();
            }
        }

        pub(super) fn wait(&self) {
            let mut at = lock(&self.at);
            loop {
                let until = *at;
                let has_passed;
                (at, has_passed) = wait_until(&self.moved, at, until);
                // If the end was moved meanwhile, the sleep goes on.
                if has_passed && *at == until {
                    return;
                }
            }
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SOON: Duration = Duration::from_millis(20);
    /// Longer than anything here takes.
    const LONG: Duration = Duration::from_secs(20);

    /// An alarm of each kind that this system has.
    fn alarms() -> Vec<Alarm> {
        let alarms = vec![Alarm::new()];
        #[cfg(target_os = "linux")]
        let portable = Alarm { timer: Timer::Portable(portable::Timer::new()), ..Alarm::new() };
        #[cfg(target_os = "linux")]
        let alarms = alarms.into_iter().chain([portable]).collect();
        alarms
    }

    fn plan(alarm: &Alarm, at: Option<Instant>) {
        alarm.plan(at);
        alarm.apply();
    }

    /// Sleeps, also if a sleep returns early.
    fn sleep_until(alarm: &Alarm, at: Instant) {
        while Instant::now() < at {
            assert!(at.elapsed() < LONG);
            alarm.sleep();
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_has_a_timer() {
        assert!(matches!(Alarm::new().timer, Timer::Kernel(_)));
    }

    #[test]
    fn a_sleep_ends_at_its_time_and_not_before() {
        for alarm in alarms() {
            for _ in 0..3 {
                let at = Instant::now() + SOON;
                plan(&alarm, Some(at));
                alarm.sleep();
                assert!(Instant::now() >= at);
            }
        }
    }

    #[test]
    fn the_end_of_a_sleep_moves_both_ways() {
        for alarm in alarms().into_iter().map(Arc::new) {
            for [first, then] in [[Some(SOON), Some(5 * SOON)], [Some(LONG), Some(SOON)], [None, Some(SOON)]]
            {
                let began = Instant::now();
                plan(&alarm, first.map(|first| began + first));
                let sleeper = Arc::clone(&alarm);
                let at = began + then.expect("it ends");
                let asleep = std::thread::spawn(move || {
                    sleep_until(&sleeper, at);
                    Instant::now()
                });
                // Before the first end, unless this machine is busy: then both ends have passed, which is also right.
                plan(&alarm, Some(at));
                let woke = asleep.join().expect("no panic");
                assert!(woke >= at && woke < began + LONG);
            }
        }
    }

    #[test]
    fn a_ring_ends_the_present_sleep_or_the_next() {
        for alarm in alarms().into_iter().map(Arc::new) {
            plan(&alarm, None);
            alarm.ring();
            alarm.sleep();
            for _ in 0..50 {
                plan(&alarm, None);
                let sleeper = Arc::clone(&alarm);
                let asleep = std::thread::spawn(move || sleeper.sleep());
                alarm.ring();
                asleep.join().expect("no panic");
            }
        }
    }
}
