//! The hand-over sends each message exactly once, whatever the threads do.

use std::sync::{Arc, Mutex};

use shuttle::thread;

use super::explore;
use crate::sending::handover::{Handover, MAX_RUN, Writer};

/// Keeps what was written where the test sees it without asking the hand-over.
struct Log(Arc<Mutex<Vec<usize>>>);

impl Writer for Log {
    type Job = Vec<usize>;
    type Outcome = ();

    fn write(&mut self, job: &mut Vec<usize>) {
        // Lets others come while the writer is held.
        thread::yield_now();
        self.0.lock().expect("never poisoned").append(job);
    }

    fn end_of_queue(&mut self) {}

    fn write_queued(&mut self, job: &mut Vec<usize>) {
        self.write(job);
    }
}

/// Jobs per sender are numbered from `sender * SENDER`.
const SENDER: usize = 1000;

/// Each sender hands in its jobs, given how many; then the driver does what it was woken for. All jobs
/// must have been written by then, each sender's in order.
fn send_all(jobs: &[usize]) {
    let written = Arc::<Mutex<Vec<usize>>>::default();
    let handover = Arc::new(Handover::new(Log(Arc::clone(&written))));
    let senders: Vec<_> = (0..)
        .zip(jobs)
        .map(|(sender, &jobs)| {
            let handover = Arc::clone(&handover);
            thread::spawn(move || {
                let submit = |job| handover.submit(&mut vec![sender * SENDER + job], 1).wake_driver;
                // Not `any`, which would stop at the first.
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
fn every_job_is_written_once_and_in_order() {
    explore(|| send_all(&[2, 2, 2]));
}

#[test]
fn jobs_that_nobody_is_left_to_write_wake_the_driver() {
    // One sender stops in the middle of its write, the other one goes on: more waits than one may write.
    shuttle::check_pct(|| send_all(&[1, MAX_RUN + 6]), 300, 3);
}
