//! The thread that trips watchdogs and calls failsafes. Only the failsafes themselves can hold it up.
//!
//! It takes no lock that another thread holds. A second thread publishes events and log lines, because they may run users'
//! code.

use crate::sync::thread::{self, Thread};
use crate::sync::{Arc, Weak};
use crate::sync::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tautline_proto::Instant as Steady;

use super::WatchdogEvent;
use super::feed::Alarm;
use super::list::{BUCKETS, List};
use super::table::{Tell, Watchdogs};
use super::watch::{Teller, Watch};
use crate::config::WatchdogState;
use crate::machine::clock::Clock;
use crate::machine::realtime::{WatchdogWishes, off_the_drivers_cores};
use crate::sync::park_until;

/// Watchdogs that are due within this time are looked at too. Most of them were fed meanwhile, and then need no wake-up of
/// their own. So watchdogs that do not trip wake the thread at most a thousand times a second, whatever their number.
const AHEAD: Duration = Duration::from_millis(1);

/// The most events that wait to be published. Beyond that they are left out: the failsafe has been called.
const MAX_EVENTS: usize = 1_024;

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
        let (tell, told) = mpsc::sync_channel(MAX_EVENTS);
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

    /// Wakes the thread after the list was changed.
    pub(super) fn look_at_the_list(&self) {
        self.alarm.thread.unpark();
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

/// When to look at each watchdog again; `None`: its feed wakes this thread.
struct Dues {
    fixed: Vec<Option<Steady>>,
    of_peers: [Vec<Option<Steady>>; BUCKETS],
}

impl Dues {
    /// Looks at all watchdogs that are new or, if `all`, at all.
    fn look_at_changed(
        &mut self,
        former: &List,
        list: &List,
        all: bool,
        mut look: impl FnMut(&Watch) -> Option<Steady>,
    ) {
        self.fixed.clear();
        self.fixed.extend(list.fixed().map(|watch| look(watch)));
        let buckets = former.of_peers.iter().zip(&list.of_peers).zip(&mut self.of_peers);
        for ((former, bucket), dues) in buckets {
            if all || !Arc::ptr_eq(former, bucket) {
                dues.clear();
                dues.extend(bucket.iter().map(|watch| look(watch)));
            }
        }
    }

    /// Looks at the watchdogs that are due.
    fn look_at_due(&mut self, list: &List, soon: Steady, mut look: impl FnMut(&Watch) -> Option<Steady>) {
        let of_peers =
            list.of_peers.iter().zip(&mut self.of_peers).flat_map(|(of, dues)| of.iter().zip(dues));
        let due = list.fixed().zip(&mut self.fixed).chain(of_peers);
        due.filter(|(_, due)| due.is_some_and(|due| due <= soon)).for_each(|(watch, due)| *due = look(watch));
    }

    fn next(&self) -> Option<Steady> {
        self.fixed.iter().chain(self.of_peers.iter().flatten()).copied().flatten().min()
    }
}

fn look_on(current: &ArcSwap<List>, clock: Clock, signs: &Signs, tell: &SyncSender<WatchdogEvent>) {
    let mut list = current.load_full();
    let mut dues = Dues { fixed: Vec::new(), of_peers: std::array::from_fn(|_| Vec::new()) };
    let mut is_first = true;
    loop {
        if let Some(wishes) = signs.wishes.swap(None) {
            wishes.ask();
        }
        let is_last = signs.stopped.load(Ordering::Acquire);
        let mut publish = |event| _ = tell.try_send(event);
        let mut teller = Teller { clock, tell: &mut publish };
        let look = |watch: &Watch| watch.look(is_last, &mut teller);
        let all =
            signs.look_at_all.swap(false, Ordering::Acquire) || is_last || std::mem::take(&mut is_first);
        let former = std::mem::replace(&mut list, current.load_full());
        if all || !Arc::ptr_eq(&former, &list) {
            dues.look_at_changed(&former, &list, all, look);
        } else {
            // With many watchdogs, some are due all the time. The feeds of the others are in the caches of other cores.
            dues.look_at_due(&list, clock.steady(Instant::now()).plus(AHEAD), look);
        }
        if is_last {
            return;
        }
        park_until(dues.next().map(|due| clock.instant(due)));
    }
}

/// Publishes the events, and removes the watchdogs of former peers that have tripped.
fn tell_all(watchdogs: &Weak<Watchdogs>, publish: &Tell, told: &Receiver<WatchdogEvent>, end: Sender<()>) {
    for event in told {
        let Some(watchdogs) = watchdogs.upgrade() else { break };
        publish(event);
        let leaves = |watch: &Watch| watch.leaves.load(Ordering::SeqCst) && watch.has_left();
        if event.state() == WatchdogState::Tripped && watchdogs.is_left() {
            watchdogs.retain(watchdogs.clock.steady(Instant::now()), |watch| !leaves(watch));
        }
    }
    drop(end);
}
