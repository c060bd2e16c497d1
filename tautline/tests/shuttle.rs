//! The races of the inbox, the pool and the transmit hand-over, on schedules that shuttle chooses.
//!
//! The same source files as in the library, over shuttle's locks and threads: each scenario runs some
//! thousand times, every time in another order. A lost wake-up shows as a deadlock. A failure prints the
//! schedule, and `shuttle::replay(scenario, "...")` runs exactly that one again.

#![allow(dead_code, unreachable_pub, unused_imports)] // these files are used in part here

use tautline::{
    ContentType, Delivery, DropReason, Drops, Id, InboxPolicy, MessageRef, MessageType, PeerId, Priority,
    WallTime,
};

#[path = "../src/handover.rs"]
mod handover;
#[path = "../src/inbox.rs"]
mod inbox;
#[path = "../src/lanes.rs"]
mod lanes;
#[path = "../src/message.rs"]
mod message;
#[path = "../src/pool.rs"]
mod pool;
#[path = "../src/waiting.rs"]
mod waiting;

#[path = "../src/tests/fixtures.rs"]
mod fixtures;

/// What `src/sync.rs` is in the library.
mod sync {
    use std::sync::{PoisonError, TryLockError};
    use std::time::Instant;

    use shuttle::rand::Rng;
    pub(crate) use shuttle::sync::atomic::{AtomicUsize, Ordering, fence};
    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};
    pub(crate) use shuttle::thread::{Thread, current};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        match mutex.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Time does not pass under shuttle: whether a deadline has passed is one more of its choices.
    pub(crate) fn park_until(deadline: Option<Instant>) -> bool {
        if deadline.is_none() {
            shuttle::thread::park();
        } else {
            shuttle::thread::yield_now();
        }
        deadline.is_none() || shuttle::rand::thread_rng().gen_bool(0.5)
    }
}

/// Schedules tried per scenario and scheduler.
const SCHEDULES: usize = 1500;

/// Tries a scenario: threads chosen at random, then threads preempted at few, well-chosen points.
fn explore(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(scenario.clone(), SCHEDULES);
    shuttle::check_pct(scenario, SCHEDULES, 3);
}

mod inbox_races {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::{Duration, Instant};

    use shuttle::future::block_on;
    use shuttle::thread::{self, JoinHandle};

    use super::InboxPolicy::{self, DropNewest, DropOldest, Refuse};
    use super::fixtures::{arrival, number_of, numbered};
    use super::inbox::{Inbox, ReceiveError};
    use super::pool::Pool;
    use super::waiting::{Keep, Limits, Stream};
    use super::{DropReason, MessageType, Priority, explore};

    const POLL: Option<Duration> = Some(Duration::ZERO);
    /// Any other time-out: shuttle says when it passes.
    const SOME: Option<Duration> = Some(Duration::from_secs(1));

    fn open(capacity: usize, policy: InboxPolicy) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::new(Arc::new(Pool::default())));
        inbox.open(capacity, policy);
        inbox
    }

    fn offer(inbox: &Inbox, number: u64) {
        inbox.offer(&numbered(number, Priority::Normal), arrival(), Limits::default());
    }

    /// Receives until the inbox is closed.
    fn reader(inbox: &Arc<Inbox>) -> JoinHandle<Vec<u64>> {
        let inbox = Arc::clone(inbox);
        thread::spawn(move || {
            std::iter::from_fn(|| inbox.receive(None).ok()).map(|message| number_of(&message)).collect()
        })
    }

    fn joined(readers: Vec<JoinHandle<Vec<u64>>>) -> Vec<u64> {
        let mut numbers: Vec<u64> =
            readers.into_iter().flat_map(|reader| reader.join().expect("no panic")).collect();
        numbers.sort_unstable();
        numbers
    }

    fn drain(inbox: &Inbox) -> Vec<u64> {
        std::iter::from_fn(|| inbox.receive(POLL).ok()).map(|message| number_of(&message)).collect()
    }

    #[test]
    fn a_close_in_between_loses_no_count() {
        explore(|| {
            let inbox = open(8, DropOldest);
            let readers = vec![reader(&inbox), reader(&inbox)];
            for number in 0..4 {
                offer(&inbox, number);
            }
            inbox.close();
            let taken = joined(readers);
            let stats = inbox.stats();
            assert_eq!(stats.taken, taken.len() as u64);
            assert_eq!((stats.waiting, stats.offered()), (0, 4));
            assert_eq!(stats.dropped.of(DropReason::Closed), 4 - stats.taken);
            assert!(taken.windows(2).all(|pair| pair[0] < pair[1]), "twice: {taken:?}");
        });
    }

    #[test]
    fn each_message_wakes_somebody() {
        explore(|| {
            let inbox = open(8, DropOldest);
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    let inbox = Arc::clone(&inbox);
                    thread::spawn(move || vec![number_of(&inbox.receive(None).expect("open"))])
                })
                .collect();
            for number in 0..3 {
                offer(&inbox, number);
            }
            assert_eq!(joined(readers), [0, 1, 2]);
        });
    }

    #[test]
    fn a_cancelled_wait_loses_neither_message_nor_wake_up() {
        explore(|| {
            let inbox = open(8, DropOldest);
            let mut given_up = inbox.receive_async();
            let pending = Pin::new(&mut given_up).poll(&mut Context::from_waker(Waker::noop()));
            assert!(pending.is_pending());
            let task = thread::spawn({
                let inbox = Arc::clone(&inbox);
                move || vec![number_of(&block_on(inbox.receive_async()).expect("open"))]
            });
            let canceller = thread::spawn(move || drop(given_up));
            // Handed to the one who is about to give up, or to the one who waits behind it.
            offer(&inbox, 7);
            assert_eq!(joined(vec![task]), [7]);
            canceller.join().expect("no panic");
            assert_eq!(inbox.stats().waiting, 0);
        });
    }

    #[test]
    fn a_wait_that_times_out_loses_nothing() {
        explore(|| {
            let inbox = open(8, DropOldest);
            let impatient: Vec<_> = (0..2)
                .map(|_| {
                    let inbox = Arc::clone(&inbox);
                    thread::spawn(move || match inbox.receive(SOME) {
                        Ok(message) => vec![number_of(&message)],
                        Err(ReceiveError::TimedOut) => vec![],
                        Err(other) => panic!("{other}"),
                    })
                })
                .collect();
            offer(&inbox, 0);
            offer(&inbox, 1);
            let mut numbers = joined(impatient);
            numbers.extend(drain(&inbox));
            numbers.sort_unstable();
            assert_eq!(numbers, [0, 1]);
        });
    }

    #[test]
    fn what_expires_or_is_replaced_takes_nobodys_wake_up_with_it() {
        explore(|| {
            let inbox = open(8, DropOldest);
            let readers = vec![reader(&inbox), reader(&inbox)];
            let stream = Stream { peer: arrival().peer, message_type: MessageType::Data, channel: 0 };
            let keep = Some(Keep { stream, count: 1 });
            for number in 0..4 {
                let expires = (number % 2 == 0).then(Instant::now);
                let limits = Limits { expires, keep };
                inbox.offer(&numbered(number, Priority::Normal), arrival(), limits);
            }
            while inbox.stats().waiting > 0 {
                thread::yield_now();
            }
            inbox.close();
            let taken = joined(readers);
            let stats = inbox.stats();
            assert!(taken == [3] || taken == [1, 3], "{taken:?}");
            assert_eq!((stats.taken, stats.waiting, stats.offered()), (taken.len() as u64, 0, 4));
            assert_eq!(stats.dropped.of(DropReason::Closed), 0);
        });
    }

    #[test]
    fn one_reader_reads_in_order_whatever_others_give_up() {
        explore(|| {
            let inbox = open(8, DropOldest);
            let quitter = thread::spawn({
                let inbox = Arc::clone(&inbox);
                move || {
                    let mut waits = [inbox.receive_async(), inbox.receive_async()];
                    let mut context = Context::from_waker(Waker::noop());
                    waits.each_mut().map(|wait| Pin::new(wait).poll(&mut context).is_pending())
                }
            });
            for number in 0..4 {
                offer(&inbox, number);
            }
            let pending = quitter.join().expect("no panic");
            let kept = drain(&inbox);
            assert_eq!(kept.len(), 2 + pending.iter().filter(|&&pending| pending).count());
            assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "out of order: {kept:?}");
        });
    }

    #[test]
    fn a_full_inbox_under_contention_counts_every_drop() {
        for policy in [DropOldest, DropNewest, Refuse] {
            explore(move || {
                let inbox = open(1, policy);
                let taker = thread::spawn({
                    let inbox = Arc::clone(&inbox);
                    move || {
                        let mut refused = 0;
                        let mut taken = 0;
                        loop {
                            match inbox.receive(None) {
                                Ok(_) => taken += 1,
                                Err(ReceiveError::Overrun { refused: more }) => refused += more,
                                Err(_) => return (taken, refused),
                            }
                        }
                    }
                });
                for number in 0..4 {
                    offer(&inbox, number);
                }
                inbox.close();
                let (taken, refused) = taker.join().expect("no panic");
                let stats = inbox.stats();
                assert_eq!((stats.taken, stats.waiting, stats.offered()), (taken, 0, 4));
                // The last ones may have been refused without anybody asking again.
                assert!(refused <= stats.dropped.of(DropReason::InboxFull));
            });
        }
    }

    #[test]
    fn who_waits_when_it_closes_hears_of_it_even_when_it_opens_again() {
        explore(|| {
            let inbox = open(8, DropOldest);
            let mut wait = inbox.receive_async();
            assert!(Pin::new(&mut wait).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let waiter = thread::spawn(move || block_on(wait).expect_err("closed meanwhile"));
            inbox.close();
            inbox.open(8, DropOldest);
            offer(&inbox, 1);
            assert_eq!(waiter.join().expect("no panic"), ReceiveError::Closed);
            assert_eq!(drain(&inbox), [1]);
        });
    }
}

mod pool_races {
    use std::sync::Arc;

    use shuttle::thread;

    use super::explore;
    use super::pool::Pool;

    #[test]
    fn no_buffer_is_in_two_hands() {
        explore(|| {
            let pool = Arc::new(Pool::default());
            pool.give(Vec::with_capacity(8));
            let users: Vec<_> = (0..3u8)
                .map(|user| {
                    let pool = Arc::clone(&pool);
                    thread::spawn(move || {
                        for _ in 0..2 {
                            let mut buffer = pool.take(8);
                            assert!(buffer.is_empty());
                            buffer.extend_from_slice(&[user; 8]);
                            thread::yield_now();
                            assert_eq!(buffer, [user; 8]);
                            pool.give(buffer);
                        }
                    })
                })
                .collect();
            for user in users {
                user.join().expect("no panic");
            }
            assert!((1..=3).contains(&pool.kept()));
        });
    }
}

mod handover_races {
    use std::sync::{Arc, Mutex};

    use shuttle::thread;

    use super::explore;
    use super::handover::{Handover, MAX_RUN, Writer};

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
}
