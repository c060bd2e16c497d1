//! The thread that trips: nothing that users or other threads do holds it up, but the failsafes themselves.
//!
//! It takes no lock that anyone else holds. Events and log lines, which may run users' code, are another thread's to
//! tell.

use crate::sync::thread::{self, Thread};
use crate::sync::{Arc, Weak};
use crate::sync::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::feed::Alarm;
use super::spec::{WatchdogChange, WatchdogEvent};
use super::watch::Watch;
use crate::connection::events::Event;
use crate::connection::shared::Shared;
use crate::machine::realtime::off_the_drivers_cores;
use crate::sync::park_until;

/// Those that are due so soon are looked at too: most have been fed meanwhile, and need no waking of their own. So, however many
/// there are, what trips nobody wakes the thread at most a thousand times a second.
const AHEAD: Duration = Duration::from_millis(1);

/// The two threads, while they run.
#[derive(Debug)]
pub(super) struct Running {
    alarm: Alarm,
    teller: Thread,
    signs: Arc<Signs>,
    /// Ends when the teller has, which ends after the thread.
    ended: Receiver<()>,
}

/// What others want of the thread. Order: set (release) before it is woken, read (acquire) by it.
#[derive(Debug, Default)]
struct Signs {
    stopped: AtomicBool,
    schedule_anew: AtomicBool,
    look_at_all: Arc<AtomicBool>,
}

impl Running {
    pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let name = shared.config().settings().map(|settings| settings.name).unwrap_or_default();
        let spawn = |name: String, run: Box<dyn FnOnce() + Send>| {
            // The system's names end at a zero. What it starts is not to share the driver's cores.
            let builder = thread::Builder::new().name(name.replace('\0', ""));
            builder.spawn(off_the_drivers_cores(run)).map(|handle| handle.thread().clone())
        };
        let signs = Arc::new(Signs { schedule_anew: AtomicBool::new(true), ..Signs::default() });
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let weak = Arc::downgrade(shared);
        let tells = Box::new(move || tell_all(&weak, &told, end));
        let teller = spawn(format!("tautline-{name}-events"), tells)?;
        let looks = Box::new({
            let (shared, signs) = (Arc::clone(shared), Arc::clone(&signs));
            move || look_on(&shared, &signs, &tell)
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

    pub(super) fn schedule_anew(&self) {
        self.signs.schedule_anew.store(true, Ordering::Release);
        self.wake();
    }

    /// Has what is armed trip, and ends both threads; waits for at most `patience`, and not for the calling thread.
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

fn look_on(shared: &Shared, signs: &Signs, tell: &Sender<WatchdogEvent>) {
    let mut list = shared.watchdogs.list();
    // When each of the list is to be looked at again; `None`: it will wake this thread.
    let mut dues = Vec::new();
    loop {
        if signs.schedule_anew.swap(false, Ordering::Acquire) {
            shared.ask_for_watchdog();
        }
        let is_last = signs.stopped.load(Ordering::Acquire);
        // The teller ends only after this.
        let look = |watch: &Watch| watch.look(shared.clock, is_last, &mut |event| _ = tell.send(event));
        let all = signs.look_at_all.swap(false, Ordering::Acquire);
        let former = std::mem::replace(&mut list, shared.watchdogs.list());
        if all || is_last || !Arc::ptr_eq(&former, &list) {
            dues.clear();
            dues.extend(list.iter().map(|watch| look(watch)));
        } else {
            // With many watchdogs some are due all the time, and the others' feeds are in other cores' caches.
            let soon = shared.steady_now().plus(AHEAD);
            let due = list.iter().zip(&mut dues).filter(|(_, due)| due.is_some_and(|due| due <= soon));
            due.for_each(|(watch, due)| *due = look(watch));
        }
        if is_last {
            return;
        }
        let next = dues.iter().copied().flatten().min();
        park_until(next.map(|due| shared.clock.instant(due)));
    }
}

/// Tells subscribers and the log, and takes away what has tripped for the last time.
fn tell_all(shared: &Weak<Shared>, told: &Receiver<WatchdogEvent>, end: Sender<()>) {
    for event in told {
        let Some(shared) = shared.upgrade() else { break };
        if let Some(left_out) = shared.log.allow(Instant::now()) {
            let WatchdogEvent { watched, .. } = event;
            match event.change {
                WatchdogChange::Tripped { late, missed } => {
                    tracing::warn!(%watched, ?late, missed, left_out, "watchdog tripped");
                }
                WatchdogChange::Recovered { after } => {
                    tracing::info!(%watched, ?after, left_out, "watchdog recovered");
                }
            }
        }
        shared.status.events.publish(&Event::Watchdog(event));
        let of_event = |watch: &Watch| watch.id == event.watch && watch.watched == event.watched;
        if event.is_tripped()
            && shared.watchdogs.list().iter().any(|w| of_event(w) && w.leaves.load(Ordering::SeqCst))
        {
            let now = shared.steady_now();
            shared.watchdogs.retain(now, |watch| !(of_event(watch) && watch.leaves.load(Ordering::SeqCst)));
        }
    }
    drop(end);
}
