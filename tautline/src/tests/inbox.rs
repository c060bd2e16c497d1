//! The inbox's rules, one by one; its races are in `src/tests/shuttle/inbox.rs`.

use crate::sync::Arc;
use crate::sync::{AtomicUsize, Ordering};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::fixtures::{arrival, number_of, numbered};
use crate::message::Message;
use crate::message::pool::Pool;
use crate::receiving::inbox::*;
use crate::receiving::waiting::{Keep, Limits, Stream};
use crate::{DropReason, InboxPolicy, MessageType, Priority};
use InboxPolicy::{DropNewest, DropOldest, Refuse};
use Priority::{Critical, High, Low, Normal};

const POLL: Option<Duration> = Some(Duration::ZERO);

/// Long enough to never pass in a test that works.
const LONG: Option<Duration> = Some(Duration::from_secs(60));

fn inbox(capacity: usize, policy: InboxPolicy) -> Arc<Inbox> {
    let inbox = Arc::new(Inbox::new(Arc::new(Pool::new())));
    inbox.open(capacity, policy);
    inbox
}

/// An inbox for three messages that were offered these, numbered from 0.
fn offered(policy: InboxPolicy, priorities: &[Priority]) -> Arc<Inbox> {
    let inbox = inbox(3, policy);
    for (number, &priority) in (0..).zip(priorities) {
        inbox.offer(&numbered(number, priority), arrival(), Limits::default());
    }
    assert_eq!(inbox.stats().offered(), priorities.len() as u64);
    inbox
}

/// The numbers of all messages that wait, in the order in which they are read.
fn read_all(inbox: &Inbox) -> Vec<u64> {
    std::iter::from_fn(|| inbox.receive(POLL).ok()).map(|message| number_of(&message)).collect()
}

fn offer(inbox: &Inbox, number: u64) {
    inbox.offer(&numbered(number, Normal), arrival(), Limits::default());
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll(future: &mut Receive, waker: &Waker) -> Poll<Result<Message, ReceiveError>> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// A receive that stands in the line.
fn waiting(inbox: &Arc<Inbox>) -> Receive {
    let mut receive = inbox.receive_async();
    assert!(poll(&mut receive, Waker::noop()).is_pending());
    receive
}

fn ready_number(future: &mut Receive) -> u64 {
    match poll(future, Waker::noop()) {
        Poll::Ready(Ok(message)) => number_of(&message),
        other => panic!("not a message: {other:?}"),
    }
}

#[test]
fn higher_priorities_are_read_first_and_equals_in_order() {
    let inbox = inbox(10, DropOldest);
    for (number, priority) in (0..).zip([Low, Critical, Normal, Critical, High]) {
        inbox.offer(&numbered(number, priority), arrival(), Limits::default());
    }
    assert_eq!(read_all(&inbox), [1, 3, 4, 2, 0]);
}

#[test]
fn drop_oldest_drops_the_oldest_of_the_lowest() {
    assert_eq!(read_all(&offered(DropOldest, &[Normal; 5])), [2, 3, 4]);
    assert_eq!(read_all(&offered(DropOldest, &[Low, Normal, Low, Normal])), [1, 3, 2]);
    assert_eq!(read_all(&offered(DropOldest, &[High, Normal, High, Critical])), [3, 0, 2]);
    assert_eq!(read_all(&offered(DropOldest, &[High, High, High, Low])), [0, 1, 2]);
}

#[test]
fn drop_newest_drops_the_arriving_one_unless_something_lower_waits() {
    assert_eq!(read_all(&offered(DropNewest, &[Normal; 5])), [0, 1, 2]);
    assert_eq!(read_all(&offered(DropNewest, &[Low, Low, High, Normal])), [2, 3, 0]);
    assert_eq!(read_all(&offered(DropNewest, &[High, High, High, Low])), [0, 1, 2]);
}

#[test]
fn critical_is_neither_dropped_nor_read_behind_1000_low() {
    for policy in [DropOldest, DropNewest, Refuse] {
        let inbox = inbox(1000, policy);
        for number in 0..1000 {
            inbox.offer(&numbered(number, Low), arrival(), Limits::default());
        }
        inbox.offer(&numbered(5000, Critical), arrival(), Limits::default());
        let first = inbox.receive(POLL).or_else(|_| inbox.receive(POLL)).expect("1000 wait");
        assert_eq!(number_of(&first), 5000);
        assert_eq!(inbox.stats().dropped.of(DropReason::InboxFull), 1);
    }
}

#[test]
fn refuse_reports_the_overrun_once_and_goes_on() {
    let inbox = offered(Refuse, &[Low, Normal, Normal, Normal, Low]);
    assert_eq!(inbox.receive(POLL).expect_err("two were refused"), ReceiveError::Overrun { refused: 2 });
    assert_eq!(read_all(&inbox), [1, 2, 3]);
    offer(&inbox, 9);
    assert_eq!(read_all(&inbox), [9]);
}

#[test]
fn every_message_is_accounted_for() {
    let inbox = offered(DropOldest, &[Normal; 10]);
    inbox.receive(POLL).expect("three wait");
    let stats = inbox.stats();
    assert_eq!((stats.taken, stats.waiting), (1, 2));
    assert_eq!(stats.dropped.of(DropReason::InboxFull), 7);
    inbox.close();
    let stats = inbox.stats();
    assert_eq!((stats.taken, stats.waiting, stats.offered()), (1, 0, 10));
    assert_eq!(stats.dropped.of(DropReason::Closed), 2);
}

#[test]
fn time_out_0_polls_and_a_short_one_ends() {
    let inbox = inbox(3, DropOldest);
    assert_eq!(inbox.receive(POLL).expect_err("empty"), ReceiveError::TimedOut);
    let soon = Some(Duration::from_millis(1));
    assert_eq!(inbox.receive(soon).expect_err("empty"), ReceiveError::TimedOut);
    offer(&inbox, 1);
    assert_eq!(number_of(&inbox.receive(soon).expect("one waits, and nobody else")), 1);
}

#[test]
fn a_time_out_beyond_the_clock_is_none() {
    let inbox = inbox(3, DropOldest);
    offer(&inbox, 1);
    assert!(inbox.receive(Some(Duration::MAX)).is_ok());
    let waiter = thread::spawn({
        let inbox = Arc::clone(&inbox);
        move || inbox.receive(Some(Duration::MAX)).map(|message| number_of(&message))
    });
    offer(&inbox, 2);
    assert_eq!(waiter.join().expect("no panic"), Ok(2));
}

#[test]
fn no_capacity_means_no_inbox_and_no_drops() {
    let inbox = inbox(0, DropOldest);
    offer(&inbox, 1);
    assert_eq!(inbox.receive(None).expect_err("off"), ReceiveError::InboxOff);
    assert_eq!(inbox.stats(), InboxStats::default());
}

#[test]
fn before_the_first_and_after_the_last_connection_there_is_nothing_to_receive() {
    let inbox = Arc::new(Inbox::new(Arc::new(Pool::new())));
    offer(&inbox, 1);
    assert_eq!(inbox.receive(None).expect_err("never opened"), ReceiveError::NotConnected);
    inbox.open(3, DropOldest);
    offer(&inbox, 2);
    inbox.close();
    assert_eq!(inbox.receive(None).expect_err("closed"), ReceiveError::NotConnected);
    assert_eq!(inbox.stats().offered(), 1);
}

#[test]
fn disconnect_wakes_waiting_receivers() {
    let inbox = inbox(3, DropOldest);
    let bell = Arc::new(Bell::default());
    let mut task = inbox.receive_async();
    assert!(poll(&mut task, &bell.clone().into()).is_pending());
    let blocked = thread::spawn({
        let inbox = Arc::clone(&inbox);
        move || inbox.receive(None).expect_err("closed")
    });
    inbox.close();
    // The thread may come after the close, and is told so.
    let told = blocked.join().expect("no panic");
    assert!(matches!(told, ReceiveError::Disconnected | ReceiveError::NotConnected), "{told:?}");
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    assert!(matches!(poll(&mut task, Waker::noop()), Poll::Ready(Err(ReceiveError::Disconnected))));
}

#[test]
fn one_who_slept_through_a_reconnect_learns_of_the_close() {
    let inbox = inbox(3, DropOldest);
    let mut sleeper = waiting(&inbox);
    offer(&inbox, 1);
    inbox.close();
    inbox.open(3, DropOldest);
    offer(&inbox, 2);
    assert!(matches!(poll(&mut sleeper, Waker::noop()), Poll::Ready(Err(ReceiveError::Disconnected))));
    assert_eq!(read_all(&inbox), [2]);
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let inbox = inbox(3, DropOldest);
    let mut waiters: Vec<_> = (0..3).map(|_| waiting(&inbox)).collect();
    for number in 0..3 {
        offer(&inbox, number);
    }
    assert_eq!(ready_number(&mut waiters[0]), 0);
    assert_eq!(ready_number(&mut waiters[1]), 1);
    assert_eq!(ready_number(&mut waiters[2]), 2);
}

#[test]
fn a_poll_does_not_overtake_one_who_waits() {
    let inbox = inbox(3, DropOldest);
    let mut first = waiting(&inbox);
    offer(&inbox, 1);
    assert_eq!(inbox.receive(POLL).expect_err("handed to another"), ReceiveError::TimedOut);
    assert_eq!(ready_number(&mut first), 1);
}

#[test]
fn only_the_first_in_line_is_woken() {
    let inbox = inbox(3, DropOldest);
    let bells: [Arc<Bell>; 2] = Default::default();
    let mut line = [inbox.receive_async(), inbox.receive_async()];
    for (receive, bell) in line.iter_mut().zip(&bells) {
        assert!(poll(receive, &bell.clone().into()).is_pending());
    }
    offer(&inbox, 1);
    assert_eq!(bells.each_ref().map(|bell| bell.0.load(Ordering::Relaxed)), [1, 0]);
}

#[test]
fn a_task_that_moved_is_woken_where_it_is_now() {
    let inbox = inbox(3, DropOldest);
    let bells: [Arc<Bell>; 2] = Default::default();
    let mut receive = pin!(inbox.receive_async());
    for bell in &bells {
        let waker = bell.clone().into();
        assert!(receive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    offer(&inbox, 1);
    assert_eq!(bells.each_ref().map(|bell| bell.0.load(Ordering::Relaxed)), [0, 1]);
}

#[test]
fn a_cancelled_wait_passes_its_message_to_the_next_in_line() {
    let inbox = inbox(3, DropOldest);
    let first = waiting(&inbox);
    let mut second = waiting(&inbox);
    offer(&inbox, 1);
    drop(first);
    assert_eq!(ready_number(&mut second), 1);
}

#[test]
fn a_cancelled_wait_leaves_its_message_at_the_front() {
    let inbox = inbox(3, DropOldest);
    let waiter = waiting(&inbox);
    offer(&inbox, 1);
    offer(&inbox, 2);
    drop(waiter);
    assert_eq!(read_all(&inbox), [1, 2]);
}

#[test]
fn several_cancelled_waits_leave_their_messages_in_order() {
    let inbox = inbox(3, DropOldest);
    let waiters: Vec<_> = (0..3).map(|_| waiting(&inbox)).collect();
    for number in 0..4 {
        offer(&inbox, number);
    }
    drop(waiters);
    assert_eq!(read_all(&inbox), [0, 1, 2, 3]);
}

#[test]
fn a_wait_that_is_cancelled_before_anything_came_takes_nothing() {
    let inbox = inbox(3, DropOldest);
    let first = waiting(&inbox);
    let mut second = waiting(&inbox);
    drop(first);
    offer(&inbox, 1);
    assert_eq!(ready_number(&mut second), 1);
    drop(inbox.receive_async());
    offer(&inbox, 2);
    assert_eq!(read_all(&inbox), [2]);
}

#[test]
fn something_urgent_is_read_before_what_was_handed_out() {
    let inbox = inbox(3, DropOldest);
    let mut first = waiting(&inbox);
    inbox.offer(&numbered(1, Low), arrival(), Limits::default());
    inbox.offer(&numbered(2, Critical), arrival(), Limits::default());
    assert_eq!(ready_number(&mut first), 2);
    assert_eq!(read_all(&inbox), [1]);
}

#[test]
fn what_was_handed_out_takes_no_room() {
    let inbox = inbox(1, DropOldest);
    let mut first = waiting(&inbox);
    offer(&inbox, 1);
    offer(&inbox, 2);
    assert_eq!(inbox.stats().waiting, 2);
    assert_eq!(ready_number(&mut first), 1);
    assert_eq!(read_all(&inbox), [2]);
}

/// Limits of a stream that keeps its newest `count`.
fn keep(count: usize) -> Limits {
    let stream = Stream { peer: arrival().peer, message_type: MessageType::Data, channel: 0 };
    Limits { expires: None, keep: Some(Keep { stream, count }) }
}

fn expired() -> Limits {
    Limits { expires: Some(Instant::now()), keep: None }
}

fn dropped(inbox: &Inbox, reason: DropReason) -> u64 {
    inbox.stats().dropped.of(reason)
}

#[test]
fn of_a_stream_that_keeps_its_newest_only_those_are_read() {
    let inbox = inbox(100, DropOldest);
    for number in 0..10 {
        inbox.offer(&numbered(number, Normal), arrival(), keep(3));
        offer(&inbox, 100 + number);
    }
    let numbers = read_all(&inbox);
    assert_eq!(numbers.iter().filter(|&&number| number < 100).collect::<Vec<_>>(), [&7, &8, &9]);
    assert_eq!(numbers.len(), 13, "of the other stream all");
    assert_eq!((dropped(&inbox, DropReason::Superseded), inbox.stats().offered()), (7, 20));
}

#[test]
fn a_full_inbox_has_room_for_what_replaces_another() {
    let inbox = inbox(2, DropOldest);
    offer(&inbox, 100);
    for number in 0..3 {
        inbox.offer(&numbered(number, Normal), arrival(), keep(1));
    }
    assert_eq!(dropped(&inbox, DropReason::InboxFull), 0);
    assert_eq!(read_all(&inbox), [100, 2]);
}

#[test]
fn what_was_handed_out_and_not_collected_is_replaced_too() {
    let inbox = inbox(3, DropOldest);
    let mut slow = waiting(&inbox);
    for number in 0..3 {
        inbox.offer(&numbered(number, Normal), arrival(), keep(1));
    }
    assert_eq!(ready_number(&mut slow), 2);
    assert_eq!((dropped(&inbox, DropReason::Superseded), inbox.stats().waiting), (2, 0));
}

#[test]
fn a_cancelled_wait_brings_nothing_back_that_was_replaced() {
    let inbox = inbox(3, DropOldest);
    let slow = waiting(&inbox);
    inbox.offer(&numbered(0, Normal), arrival(), keep(1));
    inbox.offer(&numbered(1, Normal), arrival(), keep(1));
    drop(slow);
    assert_eq!(read_all(&inbox), [1]);
    assert_eq!((dropped(&inbox, DropReason::Superseded), inbox.stats().offered()), (1, 2));
}

#[test]
fn what_has_outlived_its_lifespan_is_not_read() {
    let inbox = inbox(10, DropOldest);
    let lasting = Limits { expires: Some(Instant::now() + Duration::from_secs(3_600)), keep: None };
    for (number, limits) in
        [(0, expired()), (1, lasting), (2, expired()), (3, Limits::default()), (4, expired())]
    {
        inbox.offer(&numbered(number, Normal), arrival(), limits);
    }
    assert_eq!(read_all(&inbox), [1, 3]);
    assert_eq!((dropped(&inbox, DropReason::Expired), inbox.stats().offered()), (3, 5));
}

/// A thread that has started, to wait for a message and give its number.
fn blocked(inbox: &Arc<Inbox>) -> thread::JoinHandle<Result<u64, ReceiveError>> {
    let (entered, entering) = mpsc::channel();
    let inbox = Arc::clone(inbox);
    let blocked = thread::spawn(move || {
        entered.send(()).expect("the test waits");
        inbox.receive(LONG).map(|message| number_of(&message))
    });
    entering.recv().expect("the thread started");
    blocked
}

#[test]
fn one_who_was_woken_for_something_expired_waits_on() {
    let inbox = inbox(3, DropOldest);
    let mut task = waiting(&inbox);
    let blocked = blocked(&inbox);
    for number in 0..2 {
        inbox.offer(&numbered(number, Normal), arrival(), expired());
    }
    assert!(poll(&mut task, Waker::noop()).is_pending(), "it was handed the first");
    offer(&inbox, 2);
    offer(&inbox, 3);
    let mut got = [Ok(ready_number(&mut task)), blocked.join().expect("no panic")];
    got.sort_by_key(|number| number.ok());
    assert_eq!(got, [Ok(2), Ok(3)]);
    assert_eq!((dropped(&inbox, DropReason::Expired), inbox.stats().offered()), (2, 4));
}

#[test]
fn a_wait_ends_in_time_though_all_that_comes_has_expired() {
    let inbox = inbox(3, DropOldest);
    inbox.offer(&numbered(0, Normal), arrival(), expired());
    assert_eq!(inbox.receive(POLL).expect_err("expired"), ReceiveError::TimedOut);
    inbox.offer(&numbered(1, Normal), arrival(), expired());
    let soon = Some(Duration::from_millis(1));
    assert_eq!(inbox.receive(soon).expect_err("expired"), ReceiveError::TimedOut);
    assert_eq!((dropped(&inbox, DropReason::Expired), inbox.stats().waiting), (2, 0));
}

#[test]
fn threads_and_tasks_stand_in_one_line() {
    let inbox = inbox(3, DropOldest);
    let mut task = waiting(&inbox);
    let blocked = blocked(&inbox);
    offer(&inbox, 1);
    offer(&inbox, 2);
    // Whenever the thread comes, the task came before.
    assert_eq!(ready_number(&mut task), 1);
    assert_eq!(blocked.join().expect("no panic"), Ok(2));
}

#[test]
fn many_threads_share_the_messages_each_once() {
    const MESSAGES: u64 = 10_000;
    let inbox = inbox(1000, DropOldest);
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || {
                std::iter::from_fn(|| inbox.receive(LONG).ok()).map(|m| number_of(&m)).collect::<Vec<_>>()
            })
        })
        .collect();
    for number in 0..MESSAGES {
        while inbox.stats().waiting > 100 {
            thread::yield_now();
        }
        offer(&inbox, number);
    }
    while inbox.stats().waiting > 0 {
        thread::yield_now();
    }
    inbox.close();
    let mut numbers: Vec<_> =
        receivers.into_iter().flat_map(|receiver| receiver.join().expect("no panic")).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..MESSAGES));
}
