//! The thread that trips watchdogs and calls failsafes. Only the failsafes themselves can hold it up.
//!
//! It takes no lock that another thread holds. A second thread publishes events and log lines, because they may run users'
//! code.

use crate::sync::thread::{self, Thread};
use crate::sync::{Arc, Weak};
use crate::sync::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::feed::Alarm;
use super::spec::WatchdogEvent;
use super::table::{List, Tell, Watchdogs};
use super::watch::Watch;
use crate::machine::clock::Clock;
use crate::machine::realtime::{WatchdogWishes, off_the_drivers_cores};
use crate::sync::park_until;

/// Watchdogs that are due within this time are looked at too. Most of them were fed meanwhile, and then need no wake-up of
/// their own. So watchdogs that do not trip wake the thread at most a thousand times a second, whatever their number.
const AHEAD: Duration = Duration::from_millis(1);

/// The two threads, while they run.
#[derive(Debug)]
pub(super) struct Running {
    alarm: Alarm,
    teller: Thread,
    signs: Arc<Signs>,
    /// Disconnected when the second thread has ended, which ends after the first.
    ended: Receiver<()>,
}

/// What other threads tell the thread. Order: set (release) before the thread is woken, read (acquire) by it.
#[derive(Debug, Default)]
struct Signs {
    stopped: AtomicBool,
    /// What the thread must ask of the machine. The thread takes it.
    wishes: ArcSwapOption<WatchdogWishes>,
    look_at_all: Arc<AtomicBool>,
}

impl Running {
    /// Starts both threads. `wishes`: what the watchdogs' thread asks of the machine.
    pub(super) fn start(
        watchdogs: &Arc<Watchdogs>,
        name: &str,
        wishes: Option<WatchdogWishes>,
    ) -> std::io::Result<Self> {
        let spawn = |name: String, run: Box<dyn FnOnce() + Send>| {
            // The system's thread names end at a zero byte. The threads must not share the driver's cores.
            let builder = thread::Builder::new().name(name.replace('\0', ""));
            builder.spawn(off_the_drivers_cores(run)).map(|handle| handle.thread().clone())
        };
        let wishes = ArcSwapOption::from(wishes.map(Arc::new));
        let signs = Arc::new(Signs { wishes, ..Signs::default() });
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let (weak, publish) = (Arc::downgrade(watchdogs), Arc::clone(&watchdogs.tell));
        let tells = Box::new(move || tell_all(&weak, &publish, &told, end));
        let teller = spawn(format!("tautline-{name}-events"), tells)?;
        let looks = Box::new({
            let (list, clock, signs) = (Arc::clone(&watchdogs.list), watchdogs.clock, Arc::clone(&signs));
            move || look_on(&list, clock, &signs, &tell)
        });
        let thread = spawn(format!("tautline-{name}-watchdog"), looks)?;
        let alarm = Alarm { thread, look_at_all: Arc::clone(&signs.look_at_all) };
        Ok(Self { alarm, teller, signs, ended })
    }

    pub(super) fn alarm(&self) -> Alarm {
        self.alarm.clone()
    }

    pub(super) fn wake(&self) {
        self.alarm.ring();
    }

    pub(super) fn schedule_anew(&self, wishes: WatchdogWishes) {
        self.signs.wishes.store(Some(Arc::new(wishes)));
        self.wake();
    }

    /// Trips the armed watchdogs and ends both threads. Waits for at most `patience`, and not for the calling thread.
    pub(super) fn stop(&self, patience: Duration) {
        self.signs.stopped.store(true, Ordering::Release);
        self.wake();
        let own = thread::current().id();
        if own != self.alarm.thread.id() && own != self.teller.id() {
            let waited = self.ended.recv_timeout(patience);
            debug_assert_ne!(waited, Ok(()), "nothing is ever sent");
            if waited == Err(RecvTimeoutError::Timeout) {
                tracing::warn!("a watchdog's closure has not returned; left to itself");
            }
        }
    }
}

fn look_on(current: &ArcSwap<List>, clock: Clock, signs: &Signs, tell: &Sender<WatchdogEvent>) {
    let mut list = current.load_full();
    // When to look at each watchdog again; `None`: its feed wakes this thread.
    let mut dues = Vec::new();
    loop {
        if let Some(wishes) = signs.wishes.swap(None) {
            wishes.ask();
        }
        let is_last = signs.stopped.load(Ordering::Acquire);
        // The second thread ends only after this, so sending cannot fail.
        let look = |watch: &Watch| watch.look(clock, is_last, &mut |event| _ = tell.send(event));
        let all = signs.look_at_all.swap(false, Ordering::Acquire);
        let former = std::mem::replace(&mut list, current.load_full());
        if all || is_last || !Arc::ptr_eq(&former, &list) {
            dues.clear();
            dues.extend(list.iter().map(|watch| look(watch)));
        } else {
            // With many watchdogs, some are due all the time. The feeds of the others are in the caches of other cores.
            let soon = clock.steady(Instant::now()).plus(AHEAD);
            let due = list.iter().zip(&mut dues).filter(|(_, due)| due.is_some_and(|due| due <= soon));
            due.for_each(|(watch, due)| *due = look(watch));
        }
        if is_last {
            return;
        }
        let next = dues.iter().copied().flatten().min();
        park_until(next.map(|due| clock.instant(due)));
    }
}

/// Publishes the events, and removes each watchdog that has tripped for the last time.
fn tell_all(watchdogs: &Weak<Watchdogs>, publish: &Tell, told: &Receiver<WatchdogEvent>, end: Sender<()>) {
    for event in told {
        let Some(watchdogs) = watchdogs.upgrade() else { break };
        publish(event);
        let of_event = |watch: &Watch| watch.id == event.watch && watch.watched == event.watched;
        let leaves = |watch: &Watch| of_event(watch) && watch.leaves.load(Ordering::SeqCst);
        if event.is_tripped() && watchdogs.list().iter().any(|watch| leaves(watch)) {
            watchdogs.retain(watchdogs.clock.steady(Instant::now()), |watch| !leaves(watch));
        }
    }
    drop(end);
}
