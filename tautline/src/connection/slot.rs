//! Holds the connection between two turns, and decides which thread turns it.
//!
//! It does not lock the connection during a turn: a turn takes the connection out and puts it back. So a handler inside the turn can
//! disconnect without waiting for itself.
//!
//! An interface with a driver's thread has two ways to turn (leader and followers; Schmidt et al., "Leader/Followers", 2000).
//! A thread that waits for a message leads while it waits: it reads the socket itself, so no other thread has to wake it. The
//! driver's thread stands by meanwhile, and also when it gives way to a reader that has not emptied the inbox
//! ([`giving_way`](crate::driver)). It turns again when something is due, or when no thread has waited for [`GRACE`]. A
//! thread that has led wakes nobody when it leaves, unless something is due before the driver's thread looks by itself. It has a
//! message to process, and on cold caches a system call would cost it more than everything else here. So the driver's thread
//! looks now and then whether callers still come.
//!
//! Only the state under the lock decides. `is_wanted` and the unparks are hints: a thread that is unparked looks again.
//! The next look of the driver's thread is noted under the lock. It comes at the latest when something is due, or at twice the
//! grace after a thread has led. So the driver's thread looks in time, whoever leads meanwhile.
//! `src/tests/shuttle/leading.rs` tries the schedules.

use std::time::{Duration, Instant};

use crate::driver::Turner;
use crate::machine::life::Life;
use crate::sync::thread::{self, Thread, ThreadId};
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering, PoisonError, has_passed, lock, park_until};

/// The driver's thread takes over a connection that no thread has turned for this time, and at the latest after twice this time.
/// So a loop of 500 Hz or more that receives in each cycle keeps the lead. A thread that waits for room gives a shorter grace.
pub(crate) const GRACE: Duration = Duration::from_millis(2);

/// How long the driver's thread goes on when a thread wants to lead, and messages have just come: it may have what it waits
/// for.
const HAND_OVER: Duration = Duration::from_micros(50);

/// What is turned.
pub(crate) trait Turns {
    /// Turns once, for the driver's thread: waits until something is due, and does it. Returns how much was read.
    fn turn(&mut self) -> usize;

    /// As [`turn`](Self::turn), but waits for at most `wait`.
    fn turn_for(&mut self, wait: Duration);

    /// Whether the last turn left datagrams to a reader, which will lead.
    fn gives_way(&self) -> bool;

    /// Turns once, for a thread that waits for a message: reads no further once there is one.
    fn lead(&mut self, wait: Option<Duration>);

    /// When the next turn must come, at the latest.
    fn next_deadline(&self) -> Option<Instant>;

    /// Whether the connection has ended.
    fn is_over(&self) -> bool;
}

impl Turns for Turner {
    fn turn(&mut self) -> usize {
        self.turn_on_thread()
    }

    fn turn_for(&mut self, wait: Duration) {
        self.turn_quietly(Some(wait));
    }

    fn gives_way(&self) -> bool {
        Self::gives_way(self)
    }

    fn lead(&mut self, wait: Option<Duration>) {
        Self::lead(self, wait);
    }

    fn next_deadline(&self) -> Option<Instant> {
        Self::next_deadline(self).map(|due| self.instant(due))
    }

    fn is_over(&self) -> bool {
        self.life.is_stopped()
    }
}

#[derive(Debug)]
pub(crate) struct Slot<T: Turns = Turner> {
    state: Mutex<SlotState<T>>,
    returned: Condvar,
    /// Whether callers or event loops that want to lead are waiting. Order: relaxed. The driver's thread reads it after each turn, and the
    /// thread that sets it ends that turn afterwards.
    is_wanted: AtomicBool,
}

#[derive(Debug)]
struct SlotState<T> {
    place: Place<T>,
    /// The callers that wait and want to lead.
    callers: Vec<Thread>,
    /// An event loop wants to lead. It watches the socket, so nobody has to unpark it.
    loop_wants: bool,
    /// The driver's thread, while it stands by.
    standby: Option<Standby>,
    /// When a caller that had to wait last left.
    left_at: Option<Instant>,
    /// When the driver's thread takes an idle connection over.
    due: Option<Due>,
    /// Counts the callers that have led.
    leads: u64,
    /// The grace of the caller that led last.
    grace: Duration,
    /// Counts the connections. What was taken out of an earlier one does not come back.
    openings: u64,
}

#[derive(Debug)]
struct Standby {
    thread: Thread,
    /// When it looks by itself; `None`: not before a caller that leads now leaves.
    looks_at: Option<Instant>,
}

/// When the driver's thread takes a connection over, if nobody leads before.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// The driver's thread takes it over if it looks at this time or later.
    from: Instant,
    /// The driver's thread must look by this time.
    until: Instant,
}

#[derive(Debug)]
enum Place<T> {
    Empty,
    Idle(Box<T>),
    /// A thread turns. `awaited`: [`Slot::clear`] waits for it. Connecting and disconnecting never overlap, so no new
    /// connection is put in while a thread waits.
    Out {
        awaited: bool,
        by: Leader,
    },
}

/// The thread that turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    /// The interface is caller-driven.
    Owner,
    /// The driver's thread.
    Driver,
    /// A thread that waits for something.
    Caller(ThreadId),
}

impl<T: Turns> Default for Slot<T> {
    fn default() -> Self {
        let state = SlotState {
            place: Place::Empty,
            callers: Vec::new(),
            loop_wants: false,
            standby: None,
            left_at: None,
            due: None,
            leads: 0,
            grace: GRACE,
            openings: 0,
        };
        Self { state: Mutex::new(state), returned: Condvar::new(), is_wanted: AtomicBool::new(false) }
    }
}

impl<T: Turns> Slot<T> {
    /// Puts a new connection in.
    pub(crate) fn put(&self, turner: Box<T>) {
        let mut state = lock(&self.state);
        state.openings += 1;
        state.place = Place::Idle(turner);
    }

    /// Closes the connection. Waits for a turn that another thread is in.
    pub(crate) fn clear(&self) {
        let mut state = lock(&self.state);
        while let Place::Out { awaited, .. } = &mut state.place {
            *awaited = true;
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let old = std::mem::replace(&mut state.place, Place::Empty);
        (state.left_at, state.due) = (None, None);
        drop(state);
        drop(old);
    }

    /// Whether the calling thread turns it now, while it waits for something.
    pub(crate) fn is_led_by_caller(&self) -> bool {
        let by_caller = Leader::Caller(thread::current().id());
        matches!(lock(&self.state).place, Place::Out { by, .. } if by == by_caller)
    }

    /// Whether no thread turns.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(lock(&self.state).place, Place::Idle(_))
    }

    /// Runs `act` on the connection. Returns `None` if there is none, or if this is called from inside a turn.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut out = self.take_out(&mut lock(&self.state), Leader::Owner)?;
        out.turner.as_deref_mut().map(act)
    }

    fn take_out(&self, state: &mut SlotState<T>, by: Leader) -> Option<Out<'_, T>> {
        match std::mem::replace(&mut state.place, Place::Out { awaited: false, by }) {
            Place::Idle(turner) => {
                Some(Out { slot: self, turner: Some(turner), by, grace: GRACE, opening: state.openings })
            }
            other => {
                state.place = other;
                None
            }
        }
    }

    /// Waits until `is_ready`, leading if no other thread turns; else until this thread is unparked. Returns early at any
    /// time, and `false` if the deadline has passed. `wake_driver` ends the present turn.
    pub(crate) fn lead(
        &self,
        grace: Duration,
        deadline: Option<Instant>,
        is_ready: &mut dyn FnMut() -> bool,
        wake_driver: impl FnOnce(),
    ) -> bool {
        let me = thread::current();
        let mut state = lock(&self.state);
        if let Some(mut out) = self.take_out(&mut state, Leader::Caller(me.id())) {
            drop(state);
            out.grace = grace;
            return out.lead(deadline, is_ready);
        }
        let (wants, wakes) = match state.place {
            Place::Out { by: Leader::Driver, .. } => (state.has_waited_within(grace), true),
            Place::Out { by: Leader::Caller(_), .. } => (true, false),
            _ => (false, false),
        };
        if wants {
            state.callers.push(me.clone());
            self.tell_driver(&state);
        }
        drop(state);
        if wants && wakes {
            wake_driver();
        }
        let goes_on = park_until(deadline);
        let mut state = lock(&self.state);
        state.callers.retain(|caller| caller.id() != me.id());
        self.tell_driver(&state);
        state.left_at = Some(Instant::now());
        goes_on
    }

    /// An event loop begins to wait for messages. Returns whether it may lead: then it watches the socket, and
    /// [turns](Self::turn_now) when there is something to read. `wake_driver` ends the present turn.
    pub(crate) fn loop_waits(&self, wake_driver: impl FnOnce()) -> bool {
        let mut state = lock(&self.state);
        let (may_lead, wakes) = match state.place {
            Place::Out { by: Leader::Driver, .. } => (state.has_waited_within(GRACE), true),
            Place::Empty => (false, false),
            _ => (true, false),
        };
        if may_lead {
            state.loop_wants = true;
            self.tell_driver(&state);
        }
        drop(state);
        if may_lead && wakes {
            wake_driver();
        }
        may_lead
    }

    /// An event loop has stopped waiting. If it waits again soon, it may lead.
    pub(crate) fn loop_left(&self) {
        lock(&self.state).left_at = Some(Instant::now());
    }

    /// Turns once without waiting, for an event loop. Returns whether it did. If not, another thread turns, and reads what has come.
    pub(crate) fn turn_now(&self) -> bool {
        let me = Leader::Caller(thread::current().id());
        let Some(mut out) = self.take_out(&mut lock(&self.state), me) else { return false };
        if let Some(turner) = out.turner.as_deref_mut().filter(|turner| !turner.is_over()) {
            turner.lead(Some(Duration::ZERO));
        }
        true
    }

    /// Lets the driver's thread know whether others want to lead.
    fn tell_driver(&self, state: &SlotState<T>) {
        self.is_wanted.store(!state.callers.is_empty() || state.loop_wants, Ordering::Relaxed);
    }

    /// Turns until the connection ends, or stands by while callers lead. The driver's thread does nothing else.
    pub(crate) fn drive(&self, life: &Life) {
        while !life.is_stopped() {
            let out = self.take_out_to_drive();
            let gave_way = out.is_some_and(|mut out| out.turn_until_wanted());
            if !gave_way {
                // Whoever leads next serves this call.
                life.take_call();
            }
            self.stand_by(life);
        }
    }

    /// Takes the connection out for the driver's thread. An event loop that has not come for long must ask for the lead again.
    fn take_out_to_drive(&self) -> Option<Out<'_, T>> {
        let mut state = lock(&self.state);
        let out = self.take_out(&mut state, Leader::Driver)?;
        state.loop_wants &= state.has_waited_within(GRACE);
        self.tell_driver(&state);
        Some(out)
    }

    /// Waits until the driver's thread must turn.
    fn stand_by(&self, life: &Life) {
        let mut leads_seen = None;
        while !life.is_stopped() {
            let is_called = life.take_call();
            let mut state = lock(&self.state);
            let looks_at = match (&state.place, &state.standby) {
                (Place::Empty, _) => break,
                (Place::Idle(_), _) if is_called || state.due.is_none_or(|due| has_passed(due.from)) => break,
                (Place::Idle(_), _) => state.due.map(|due| due.until),
                // The thread that turns has heard the call too.
                (Place::Out { .. }, Some(standby)) if is_called => standby.looks_at,
                // The same thread has led since the last look, and may go on for long. It unparks this thread when it leaves.
                (Place::Out { .. }, _) if leads_seen.replace(state.leads) == Some(state.leads) => None,
                (Place::Out { .. }, _) => Some(Instant::now() + 2 * state.grace),
            };
            state.standby = Some(Standby { thread: thread::current(), looks_at });
            drop(state);
            park_until(looks_at);
        }
        lock(&self.state).standby = None;
    }
}

/// A connection that was taken out of its slot. It goes back also if the caller's code panics in the turn.
struct Out<'a, T: Turns> {
    slot: &'a Slot<T>,
    turner: Option<Box<T>>,
    by: Leader,
    /// For how long the driver's thread stands by afterwards.
    grace: Duration,
    opening: u64,
}

impl<T: Turns> Out<'_, T> {
    /// When the driver's thread takes the connection over, if nobody leads before.
    #[inline(never)]
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    fn due(&self, turner: &T, now: Instant) -> Due {
        let from = now + self.grace;
        // Something may be due that was put off. It must not end the time that a reader has.
        if self.by == Leader::Driver && turner.gives_way() {
            return Due { from, until: from };
        }
        let until = from + self.grace;
        let due = turner.next_deadline().unwrap_or(until);
        Due { from: due.min(from), until: due.min(until) }
    }

    /// Turns until `is_ready` or the deadline. Returns whether the deadline is yet to come.
    fn lead(&mut self, deadline: Option<Instant>, is_ready: &mut dyn FnMut() -> bool) -> bool {
        let Some(turner) = self.turner.as_deref_mut() else { return true };
        while !is_ready() && !turner.is_over() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            turner.lead(left);
        }
        true
    }

    /// Turns until a caller wants to lead, a reader must have the lead, or the connection ends. Returns whether it is for a reader
    /// that may not want it yet.
    fn turn_until_wanted(&mut self) -> bool {
        let Some(turner) = self.turner.as_deref_mut() else { return false };
        let is_wanted = || self.slot.is_wanted.load(Ordering::Relaxed);
        while !turner.is_over() {
            let read = turner.turn();
            if turner.gives_way() {
                return true;
            }
            if !is_wanted() {
                continue;
            }
            if read > 0 {
                turner.turn_for(HAND_OVER);
            }
            if is_wanted() {
                break;
            }
        }
        false
    }
}

impl<T: Turns> Drop for Out<'_, T> {
    #[cfg_attr(target_os = "linux", allow(unsafe_code), unsafe(link_section = "tautline_usual"))]
    #[inline(never)]
    fn drop(&mut self) {
        // A connection that has ended is dropped here: its socket closes before a waiting thread is woken.
        let kept = self.turner.take().filter(|turner| !turner.is_over());
        let left = match (&kept, self.by) {
            (None, _) | (_, Leader::Owner) => None,
            (Some(turner), _) => {
                let now = Instant::now();
                Some((now, self.due(turner, now)))
            }
        };
        let mut state = lock(&self.slot.state);
        // If a new connection was put in, it stays: a handler disconnected, and another thread connected.
        let Place::Out { awaited, .. } = state.place else { return };
        if state.openings != self.opening {
            return;
        }
        state.place = kept.map_or(Place::Empty, Place::Idle);
        let woken = left.map(|(now, due)| state.put_back(now, due, self));
        drop(state);
        if let Some(woken) = woken {
            unpark(woken);
        }
        // A wake-up is a system call. A turn that no thread waits for does not need it.
        if awaited {
            self.slot.returned.notify_all();
        }
    }
}

impl<T: Turns> SlotState<T> {
    /// Whether callers come again and again. One that rarely waits would cost the driver's thread more than it gains.
    fn has_waited_within(&self, grace: Duration) -> bool {
        self.left_at.is_some_and(|at| at.elapsed() < grace)
    }

    /// Notes that a thread has stopped turning. Returns the threads to unpark: a caller that wants to lead, and the driver's
    /// thread if it would look too late.
    #[inline(never)] // keeps this code out of a caller's own loop
    fn put_back(&mut self, now: Instant, due: Due, out: &Out<'_, T>) -> [Option<Thread>; 2] {
        self.due = Some(due);
        if let Leader::Caller(_) = out.by {
            self.leads += 1;
            (self.left_at, self.grace) = (Some(now), out.grace);
        }
        let is_late = |standby: &&Standby| standby.looks_at.is_none_or(|at| due.until < at);
        let standby = self.standby.as_ref().filter(is_late).map(|standby| standby.thread.clone());
        [self.callers.first().cloned(), standby]
    }
}

#[inline(never)] // a caller's own loop has nobody to wake
fn unpark(threads: [Option<Thread>; 2]) {
    threads.into_iter().flatten().for_each(|thread| thread.unpark());
}
