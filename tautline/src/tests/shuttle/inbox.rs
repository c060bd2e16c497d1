//! The races of the inbox.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

use super::explore;
use crate::config::InboxPolicy::{self, DropNewest, DropOldest, Refuse};
use crate::message::pool::Pool;
use crate::receiving::inbox::{Inbox, ReceiveError};
use crate::receiving::waiting::{Keep, Limits, Stream};
use crate::tests::{arrival, number_of, numbered};
use tautline_proto::{DropReason, MessageType, Priority};

const POLL: Option<Duration> = Some(Duration::ZERO);
/// Any other time-out: shuttle chooses when it passes.
const SOME: Option<Duration> = Some(Duration::from_secs(1));

fn open(capacity: usize, policy: InboxPolicy) -> Arc<Inbox> {
    let inbox = Arc::new(Inbox::new(Arc::new(Pool::default()), Arc::default()));
    inbox.open(capacity, usize::MAX, policy);
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
fn a_close_during_traffic_loses_no_count() {
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
fn each_message_wakes_a_receiver() {
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
fn a_cancelled_wait_loses_no_message_and_no_wake_up() {
    explore(|| {
        let inbox = open(8, DropOldest);
        let mut cancelled = inbox.receive_async();
        let pending = Pin::new(&mut cancelled).poll(&mut Context::from_waker(Waker::noop()));
        assert!(pending.is_pending());
        let task = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || vec![number_of(&block_on(inbox.receive_async()).expect("open"))]
        });
        let canceller = thread::spawn(move || drop(cancelled));
        // The message is assigned to the receiver that is about to be cancelled, or to the receiver behind it.
        offer(&inbox, 7);
        assert_eq!(joined(vec![task]), [7]);
        canceller.join().expect("no panic");
        assert_eq!(inbox.stats().waiting, 0);
    });
}

#[test]
fn a_wait_that_times_out_loses_no_message() {
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
fn an_expired_or_superseded_message_costs_no_wake_up() {
    explore(|| {
        let inbox = open(8, DropOldest);
        let readers = vec![reader(&inbox), reader(&inbox)];
        let stream = Stream { peer: arrival().peer, message_type: MessageType::Data, channel: 0 };
        let keep = Some(Keep { stream, count: 1 });
        for number in 0..4 {
            let expires = (number % 2 == 0).then(Instant::now);
            let limits = Limits { expires, keep, ..Limits::default() };
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
fn a_reader_reads_in_order_while_other_waits_are_cancelled() {
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
            // The last refusals may not have been reported, if no receive came after them.
            assert!(refused <= stats.dropped.of(DropReason::InboxFull));
        });
    }
}

#[test]
fn a_waiting_task_learns_of_a_close_even_if_the_inbox_opens_again() {
    explore(|| {
        let inbox = open(8, DropOldest);
        let mut wait = inbox.receive_async();
        assert!(Pin::new(&mut wait).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let waiter = thread::spawn(move || block_on(wait).expect_err("closed meanwhile"));
        inbox.close();
        inbox.open(8, usize::MAX, DropOldest);
        offer(&inbox, 1);
        assert_eq!(waiter.join().expect("no panic"), ReceiveError::Disconnected);
        assert_eq!(drain(&inbox), [1]);
    });
}
