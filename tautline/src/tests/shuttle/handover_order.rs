//! The further promises of the hand-over (`handover.rs` tests that each job is written once): urgent jobs go first, a
//! full backlog makes senders help, exclusive access leaves no job behind, and the fast path overtakes no job of the same
//! thread.

use super::explore;
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread::{self, JoinHandle};

use crate::sending::handover::{Handed, Handover, MAX_BACKLOG, MAX_RUN, URGENT, Writer, Written};

/// The rank of ordinary jobs.
const NORMAL: usize = 1;

/// A job whose write waits at the gate.
const GATED: usize = usize::MAX;

/// As `GATED`, at the other gate.
const GATED_LATER: usize = GATED - 1;

/// A job that only fills the backlog.
const FILLING: usize = GATED - 2;

/// A gate in the writer: stops a thread until the test opens it, and tells the test that a thread has come.
#[derive(Default)]
struct Gate {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        while !state.1 {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn await_thread(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.0 {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

/// A writer that records the written jobs. Gated jobs wait at their gate.
#[derive(Clone, Default)]
struct Log {
    written: Arc<Mutex<Vec<usize>>>,
    gate: Arc<Gate>,
    later_gate: Arc<Gate>,
}

impl Log {
    fn written(&self) -> Vec<usize> {
        self.written.lock().unwrap().clone()
    }
}

impl Writer for Log {
    type Job = usize;
    type Outcome = ();

    fn write(&mut self, job: &mut usize) {
        match *job {
            GATED => self.gate.pass(),
            GATED_LATER => self.later_gate.pass(),
            _ => thread::yield_now(),
        }
        self.written.lock().unwrap().push(*job);
    }

    fn end_of_queue(&mut self) {}

    fn write_queued(&mut self, job: &mut usize, _: usize) -> Written {
        self.write(job);
        Written { count: 1, is_done: true }
    }

    fn is_wide(&self, _: &usize) -> bool {
        false
    }

    fn refuse(&mut self, _: &mut usize) {
        panic!("a job of one piece is not refused");
    }
}

type Shared = Arc<Handover<Log>>;

/// A hand-over, and a thread that holds its writer: it writes the gated job.
fn held() -> (Log, Shared, JoinHandle<bool>) {
    let log = Log::default();
    let handover = Arc::new(Handover::new(log.clone()));
    let holder = thread::spawn({
        let handover = Arc::clone(&handover);
        move || handover.submit(&mut { GATED }, NORMAL, || false).wake_driver
    });
    log.gate.await_thread();
    (log, handover, holder)
}

#[test]
fn higher_ranks_are_written_first_and_equal_ones_in_order() {
    explore(|| {
        let (log, handover, holder) = held();
        for (mut job, rank) in [(1, 1), (2, 0), (3, URGENT), (4, 1), (5, 2), (6, URGENT), (7, 0)] {
            let queued = Handed { outcome: None, wake_driver: false };
            assert_eq!(handover.submit(&mut job, rank, || false), queued);
        }
        log.gate.open();
        assert!(!holder.join().unwrap(), "no job is left to the driver");
        assert_eq!(log.written(), [GATED, 3, 6, 5, 1, 4, 2, 7]);
    });
}

#[test]
fn jobs_of_one_thread_and_rank_stay_in_order() {
    for rank in [0, NORMAL, URGENT] {
        explore(move || {
            let (log, handover, holder) = held();
            let sender = thread::spawn({
                let handover = Arc::clone(&handover);
                move || (1..=3).all(|mut job| !handover.submit(&mut job, rank, || false).wake_driver)
            });
            log.gate.open();
            holder.join().unwrap();
            assert!(sender.join().unwrap(), "no job is left to the driver");
            let mut written = log.written();
            written.retain(|&job| job != GATED);
            assert_eq!(written, [1, 2, 3]);
        });
    }
}

#[test]
fn the_writing_thread_takes_higher_ranks_first() {
    explore(|| {
        let (log, handover, holder) = held();
        handover.submit(&mut 1, 0, || false);
        handover.submit(&mut 2, 2, || false);
        let sender = thread::spawn({
            let handover = Arc::clone(&handover);
            move || handover.submit(&mut 3, NORMAL, || false).wake_driver
        });
        log.gate.open();
        let left = [holder, sender].map(|thread| thread.join().unwrap());
        assert_eq!(left, [false; 2], "no job is left to the driver");
        let written = log.written();
        let place = |job| written.iter().position(|&other| other == job).unwrap();
        assert!(place(2) < place(1) && place(2) < place(3), "{written:?}");
    });
}

/// Submits `count` jobs. Returns whether the driver must be woken.
fn fill(handover: &Shared, count: usize) -> bool {
    (0..count).filter(|_| handover.submit(&mut { FILLING }, NORMAL, || false).wake_driver).count() > 0
}

#[test]
fn an_urgent_job_is_written_even_by_a_thread_that_has_reached_its_bound() {
    // A thread reaches its bound as the first holder of the writer, or because more jobs of its rank wait than it may
    // write.
    for is_the_first in [true, false] {
        let scenario = move || {
            let (log, handover, holder) = held();
            let others = if is_the_first { 0 } else { MAX_RUN };
            fill(&handover, others + MAX_RUN - 1);
            handover.submit(&mut { GATED_LATER }, NORMAL, || false);
            fill(&handover, 1);
            log.gate.open();
            let writing = if is_the_first {
                holder
            } else {
                assert!(holder.join().unwrap(), "the other jobs are left");
                let handover = Arc::clone(&handover);
                thread::spawn(move || handover.submit(&mut 1, NORMAL, || false).wake_driver)
            };
            log.later_gate.await_thread();
            let queued = Handed { outcome: None, wake_driver: false };
            assert_eq!(handover.submit(&mut 2, URGENT, || false), queued);
            log.later_gate.open();
            assert!(writing.join().unwrap(), "the jobs that are not urgent are left");
            assert_eq!(log.written()[1 + others + MAX_RUN..], [2]);
        };
        shuttle::check_random(scenario, 100);
        shuttle::check_pct(scenario, 100, 3);
    }
}

#[test]
fn a_full_backlog_makes_senders_help() {
    let scenario = || {
        let (log, handover, holder) = held();
        // The last job that the first writer may write for other threads waits at the second gate.
        fill(&handover, MAX_RUN - 1);
        handover.submit(&mut { GATED_LATER }, NORMAL, || false);
        fill(&handover, MAX_BACKLOG - MAX_RUN - 1);
        // Two jobs of one thread. The backlog is full when it submits the second.
        handover.submit(&mut 1, NORMAL, || false);
        let helper = thread::spawn({
            let handover = Arc::clone(&handover);
            move || handover.submit(&mut 2, NORMAL, || false).wake_driver
        });
        log.gate.open();
        log.later_gate.await_thread();
        let filler = thread::spawn({
            let handover = Arc::clone(&handover);
            move || fill(&handover, MAX_RUN)
        });
        // Gives the filler time. The test cannot wait for a full backlog, because the helper may have submitted its job
        // first, and then the backlog is full earlier.
        (0..20 * MAX_RUN).for_each(|_| thread::yield_now());
        log.later_gate.open();
        let left = [holder, helper, filler].map(|thread| thread.join().unwrap());
        while left.contains(&true) && handover.flush() {}
        let mut written = log.written();
        assert_eq!(written.len(), 1 + MAX_BACKLOG + MAX_RUN + 1);
        written.retain(|&job| job <= 2);
        assert_eq!(written, [1, 2], "the second has not overtaken the first");
    };
    shuttle::check_random(scenario, 50);
    shuttle::check_pct(scenario, 50, 3);
}

#[test]
fn a_thread_with_exclusive_access_writes_the_jobs_that_came_meanwhile() {
    explore(|| {
        let log = Log::default();
        let handover = Arc::new(Handover::new(log.clone()));
        let senders: Vec<_> = (0..2)
            .map(|job| {
                let handover = Arc::clone(&handover);
                thread::spawn(move || assert!(!handover.submit(&mut { job }, NORMAL, || false).wake_driver))
            })
            .collect();
        handover.exclusively(|_| thread::yield_now());
        for sender in senders {
            sender.join().unwrap();
        }
        let mut written = log.written();
        written.sort_unstable();
        assert_eq!(written, [0, 1]);
    });
}

#[test]
fn waiting_jobs_are_written_before_exclusive_access() {
    explore(|| {
        let (log, handover, holder) = held();
        handover.submit(&mut 1, NORMAL, || false);
        let closer = thread::spawn({
            let (handover, log) = (Arc::clone(&handover), log.clone());
            move || handover.exclusively(move |_| log.written())
        });
        log.gate.open();
        holder.join().unwrap();
        assert_eq!(closer.join().unwrap(), [GATED, 1]);
    });
}

/// Sends the job on the fast path if that is free, and submits it otherwise. Odd jobs are parts of a stream. Returns whether the
/// driver must be woken.
fn send(handover: &Handover<Log>, mut job: usize) -> bool {
    let is_odd = job % 2 == 1;
    let streams = || is_odd;
    let write = |log: &mut Log| {
        log.write(&mut job);
        Some(())
    };
    match handover.at_once(streams, write) {
        Handed { outcome: Some(()), wake_driver } => wake_driver,
        Handed { outcome: None, wake_driver } => {
            handover.submit(&mut job, NORMAL, streams).wake_driver || wake_driver
        }
    }
}

#[test]
fn the_fast_path_overtakes_no_job_of_the_same_thread() {
    /// The jobs of a thread, and whether each tries the fast path first.
    type Jobs = [(usize, bool); 3];
    const ONE: Jobs = [(1, false), (2, true), (3, false)];
    const OTHERS: [Jobs; 2] =
        [[(11, false), (12, false), (13, false)], [(11, true), (12, false), (13, true)]];
    for other in OTHERS {
        explore(move || {
            let log = Log::default();
            let handover = Arc::new(Handover::new(log.clone()));
            let senders = [ONE, other].map(|jobs| {
                let handover = Arc::clone(&handover);
                let hand_in = move |(mut job, fast)| match fast {
                    true => send(&handover, job),
                    false => handover.submit(&mut job, NORMAL, || false).wake_driver,
                };
                thread::spawn(move || jobs.map(hand_in))
            });
            for sender in senders {
                assert_eq!(sender.join().unwrap(), [false; 3], "no job is left to the driver");
            }
            let written = log.written();
            let of = |jobs: Jobs| {
                written.iter().copied().filter(move |&job| jobs.iter().any(|&(own, _)| own == job))
            };
            assert!(of(ONE).eq([1, 2, 3]) && of(other).eq([11, 12, 13]), "{written:?}");
            assert_eq!(written.len(), 6);
        });
    }
}

#[test]
fn the_fast_path_writes_the_jobs_that_came_meanwhile() {
    // Also if the fast path gives up its job, and no other job is submitted after it.
    for gives in [Some(()), None] {
        explore(move || {
            let log = Log::default();
            let handover = Arc::new(Handover::new(log.clone()));
            let sender = thread::spawn({
                let handover = Arc::clone(&handover);
                move || handover.submit(&mut 1, NORMAL, || false).wake_driver
            });
            let handed = handover.at_once(
                || false,
                |_| {
                    thread::yield_now();
                    gives
                },
            );
            assert!(!handed.wake_driver && !sender.join().unwrap(), "no job is left to the driver");
            assert_eq!(log.written(), [1]);
        });
    }
}

#[test]
fn the_fast_path_wakes_the_driver_for_the_jobs_it_leaves() {
    let scenario = || {
        let log = Log::default();
        let handover = Arc::new(Handover::new(log.clone()));
        let (holds, filled) = (Arc::new(Gate::default()), MAX_RUN + 1);
        let holder = thread::spawn({
            let (handover, holds) = (Arc::clone(&handover), Arc::clone(&holds));
            move || {
                handover
                    .at_once(
                        || false,
                        |_| -> Option<()> {
                            holds.pass();
                            None
                        },
                    )
                    .wake_driver
            }
        });
        holds.await_thread();
        assert!(!fill(&handover, filled), "the holder of the writer writes them");
        holds.open();
        assert!(holder.join().unwrap(), "one job is left");
        assert_eq!(log.written().len(), MAX_RUN);
        assert!(!handover.flush());
        assert_eq!(log.written().len(), filled);
    };
    shuttle::check_random(scenario, 100);
    shuttle::check_pct(scenario, 100, 3);
}
