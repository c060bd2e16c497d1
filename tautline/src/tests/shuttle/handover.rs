//! The hand-over sends each message exactly once, on every schedule.

use std::sync::{Arc, Mutex};

use shuttle::thread;

use super::explore;
use crate::sending::handover::{Handover, MAX_RUN, Writer, Written};

/// A writer that records the written jobs. The test reads them without the hand-over. A job of several numbers is written in
/// pieces of one.
struct Log(Arc<Mutex<Vec<usize>>>);

impl Writer for Log {
    type Job = Vec<usize>;
    type Outcome = ();

    fn write(&mut self, job: &mut Vec<usize>) {
        // Lets other threads run while this thread holds the writer.
        thread::yield_now();
        self.0.lock().expect("never poisoned").append(job);
    }

    fn end_of_queue(&mut self) {}

    fn write_queued(&mut self, job: &mut Vec<usize>, _: usize) -> Written {
        let mut piece: Vec<_> = job.drain(..1).collect();
        self.write(&mut piece);
        Written { count: 1, is_done: job.is_empty() }
    }

    fn is_wide(&self, job: &Vec<usize>) -> bool {
        job.len() > 1
    }

    fn refuse(&mut self, _: &mut Vec<usize>) {
        panic!("the backlog has room");
    }
}

/// The jobs of a sender are numbered from `sender * SENDER`.
const SENDER: usize = 1000;

/// Each sender submits its number of jobs. Then the driver writes the rest, if it was woken. Checks that all jobs were
/// written, and the jobs of each sender in order.
fn send_all(jobs: &[usize]) {
    let written = Arc::<Mutex<Vec<usize>>>::default();
    let handover = Arc::new(Handover::new(Log(Arc::clone(&written))));
    let senders: Vec<_> = (0..)
        .zip(jobs)
        .map(|(sender, &jobs)| {
            let handover = Arc::clone(&handover);
            thread::spawn(move || {
                let submit = |job| handover.submit(&mut vec![sender * SENDER + job], 1, || false).wake_driver;
                // Not `any`, because it would stop at the first wake-up.
                (0..jobs).filter(|&job| submit(job)).count()
            })
        })
        .collect();
    let woken: usize = senders.into_iter().map(|sender| sender.join().expect("no panic")).sum();
    while woken > 0 && handover.flush() {}
    let written = written.lock().expect("never poisoned");
    for (sender, &jobs) in (0..).zip(jobs) {
        let own = written.iter().filter(|&&job| job / SENDER == sender).map(|&job| job % SENDER);
        assert!(own.eq(0..jobs), "sender {sender} in {written:?}");
    }
}

#[test]
fn each_job_is_written_once_and_in_order() {
    explore(|| send_all(&[2, 2, 2]));
}

#[test]
fn jobs_that_no_sender_may_write_wake_the_driver() {
    // One sender pauses during its write, and the other sender goes on: more jobs wait than one thread may write.
    shuttle::check_pct(|| send_all(&[1, MAX_RUN + 6]), 300, 3);
}

#[test]
fn jobs_in_pieces_are_written_once_and_in_the_order_of_each_sender() {
    explore(|| {
        let written = Arc::<Mutex<Vec<usize>>>::default();
        let handover = Arc::new(Handover::new(Log(Arc::clone(&written))));
        let senders: Vec<_> = (0..2)
            .map(|sender| {
                let handover = Arc::clone(&handover);
                thread::spawn(move || {
                    let first = sender * SENDER;
                    let mut woken =
                        handover.submit(&mut vec![first, first + 1, first + 2], 1, || false).wake_driver;
                    woken |= handover.submit(&mut vec![first + 3], 1, || false).wake_driver;
                    woken
                })
            })
            .collect();
        let woken: Vec<bool> = senders.into_iter().map(|sender| sender.join().expect("no panic")).collect();
        if woken.contains(&true) {
            while handover.flush() {}
        }
        let written = written.lock().expect("never poisoned").clone();
        for sender in 0..2 {
            let of_sender: Vec<_> = written.iter().filter(|number| *number / SENDER == sender).collect();
            assert_eq!(of_sender.len(), 4, "{written:?}");
            assert!(of_sender.is_sorted(), "{written:?}");
        }
    });
}
