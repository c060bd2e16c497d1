//! Tests of the rules of the inbox. `src/tests/shuttle/inbox.rs` tests its races.

use crate::sync::Arc;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::fixtures::{arrival, number_of, numbered, peers};
use crate::message::pool::Pool;
use crate::message::{Arrival, Message};
use crate::receiving::inbox::*;
use crate::receiving::waiting::{Keep, Limits, Right, Stream};
use crate::{DropReason, InboxPolicy, MessageType, Priority};
use InboxPolicy::{DropNewest, DropOldest, Refuse};
use Priority::{Critical, High, Low, Normal};

const POLL: Option<Duration> = Some(Duration::ZERO);

/// A time-out that a passing test never reaches.
const LONG: Option<Duration> = Some(Duration::from_secs(60));

fn inbox(capacity: usize, policy: InboxPolicy) -> Arc<Inbox> {
    let inbox = Arc::new(Inbox::new(Arc::new(Pool::new()), Arc::default()));
    inbox.open(capacity, usize::MAX, policy);
    inbox
}

/// An inbox with room for three messages. Messages of these priorities were offered to it, numbered from 0.
fn offered(policy: InboxPolicy, priorities: &[Priority]) -> Arc<Inbox> {
    let inbox = inbox(3, policy);
    for (number, &priority) in (0..).zip(priorities) {
        inbox.offer(&numbered(number, priority), arrival(), Limits::default());
    }
    assert_eq!(inbox.stats().offered(), priorities.len() as u64);
    inbox
}

/// Reads all waiting messages. Returns their numbers in the order of reading.
fn read_all(inbox: &Inbox) -> Vec<u64> {
    std::iter::from_fn(|| inbox.receive(POLL).ok()).map(|message| number_of(&message)).collect()
}

fn offer(inbox: &Inbox, number: u64) {
    inbox.offer(&numbered(number, Normal), arrival(), Limits::default());
}

/// Takes up to `limit` waiting messages at once. Returns their numbers.
fn take(inbox: &Inbox, limit: usize) -> Vec<u64> {
    let mut messages = Vec::new();
    assert_eq!(inbox.take_waiting(&mut messages, limit), messages.len());
    messages.iter().map(number_of).collect()
}

#[test]
fn many_messages_are_taken_in_the_order_of_single_ones() {
    let inbox = offered(DropOldest, &[Low, Critical, Normal]);
    assert_eq!(take(&inbox, 2), [1, 2]);
    assert_eq!((take(&inbox, 9), take(&inbox, 9)), (vec![0], vec![]));
    assert_eq!((inbox.stats().taken, inbox.stats().waiting), (3, 0));
}

#[test]
fn more_messages_are_taken_than_under_one_hold_of_the_lock() {
    let inbox = inbox(5_000, DropOldest);
    for number in 0..1_500 {
        let limits = if number % 3 == 0 { expired() } else { Limits::default() };
        inbox.offer(&numbered(number, Normal), arrival(), limits);
    }
    let fresh: Vec<u64> = (0..1_500).filter(|number| number % 3 > 0).collect();
    let taken = take(&inbox, 700);
    assert!(taken == fresh[..taken.len()] && taken.len() <= 700, "{}", taken.len());
    assert_eq!(take(&inbox, usize::MAX), fresh[taken.len()..]);
    assert_eq!(inbox.stats().dropped.of(DropReason::Expired), 500);
}

/// Offers messages that a handler has too.
fn offer_handled(inbox: &Inbox, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let limits = Limits { is_handled: true, ..Limits::default() };
        inbox.offer(&numbered(number, Normal), arrival(), limits);
    }
}

#[test]
fn copies_of_what_handlers_have_are_not_kept_for_nobody() {
    let inbox = inbox(10, DropOldest);
    offer_handled(&inbox, 0..10_000);
    assert_eq!(inbox.stats().waiting, 10, "somebody may come");
    offer_handled(&inbox, 10_000..10_020);
    let stats = inbox.stats();
    assert_eq!(
        (stats.waiting, stats.dropped.of(DropReason::InboxFull), stats.offered()),
        (0, 10_020, 10_020)
    );
    // What no handler has is kept.
    offer(&inbox, 1);
    offer_handled(&inbox, 2..6);
    assert_eq!(read_all(&inbox), [1]);
    // Somebody reads.
    offer_handled(&inbox, 0..15);
    assert_eq!(read_all(&inbox), (5..15).collect::<Vec<_>>());
    assert_eq!((inbox.stats().taken, inbox.stats().offered()), (11, 10_040));
    inbox.close();
    inbox.open(10, usize::MAX, DropOldest);
    offer_handled(&inbox, 0..20_000);
    assert_eq!(read_all(&inbox), (19_990..20_000).collect::<Vec<_>>(), "a reader that paused");
}

#[test]
fn what_no_handler_has_and_what_a_policy_keeps_waits_for_the_first_reader() {
    let filled = inbox(10, DropOldest);
    filled.offer(&numbered(0, Critical), arrival(), Limits::default());
    offer_handled(&filled, 1..20_010);
    assert_eq!(read_all(&filled), std::iter::once(0).chain(20_001..20_010).collect::<Vec<_>>());
    for policy in [DropNewest, Refuse] {
        let inbox = inbox(10, policy);
        offer_handled(&inbox, 0..20_000);
        assert_eq!(inbox.receive(POLL).is_ok(), policy == DropNewest);
        assert_eq!(
            inbox.receive(POLL).map(|message| number_of(&message)).ok(),
            Some(u64::from(policy == DropNewest))
        );
    }
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

/// An async receive that waits in the line.
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
fn higher_priorities_are_read_first_and_equal_ones_in_order() {
    let inbox = inbox(10, DropOldest);
    for (number, priority) in (0..).zip([Low, Critical, Normal, Critical, High]) {
        inbox.offer(&numbered(number, priority), arrival(), Limits::default());
    }
    assert_eq!(read_all(&inbox), [1, 3, 4, 2, 0]);
}

#[test]
fn drop_oldest_drops_the_oldest_of_the_least_urgent_messages() {
    assert_eq!(read_all(&offered(DropOldest, &[Normal; 5])), [2, 3, 4]);
    assert_eq!(read_all(&offered(DropOldest, &[Low, Normal, Low, Normal])), [1, 3, 2]);
    assert_eq!(read_all(&offered(DropOldest, &[High, Normal, High, Critical])), [3, 0, 2]);
    assert_eq!(read_all(&offered(DropOldest, &[High, High, High, Low])), [0, 1, 2]);
}

#[test]
fn drop_newest_drops_the_arriving_message_unless_a_less_urgent_one_waits() {
    assert_eq!(read_all(&offered(DropNewest, &[Normal; 5])), [0, 1, 2]);
    assert_eq!(read_all(&offered(DropNewest, &[Low, Low, High, Normal])), [2, 3, 0]);
    assert_eq!(read_all(&offered(DropNewest, &[High, High, High, Low])), [0, 1, 2]);
}

#[test]
fn a_critical_message_is_kept_and_read_before_1000_low_ones() {
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
fn refuse_reports_an_overrun_once_and_then_receives_again() {
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
fn a_zero_time_out_polls_and_a_short_time_out_ends() {
    let inbox = inbox(3, DropOldest);
    assert_eq!(inbox.receive(POLL).expect_err("empty"), ReceiveError::TimedOut);
    let soon = Some(Duration::from_millis(1));
    assert_eq!(inbox.receive(soon).expect_err("empty"), ReceiveError::TimedOut);
    offer(&inbox, 1);
    assert_eq!(number_of(&inbox.receive(soon).expect("a message waits, and no other receiver")), 1);
}

#[test]
fn a_time_out_beyond_the_end_of_the_clock_waits_without_limit() {
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
fn with_capacity_0_the_inbox_is_off_and_counts_nothing() {
    let inbox = inbox(0, DropOldest);
    offer(&inbox, 1);
    assert_eq!(inbox.receive(None).expect_err("off"), ReceiveError::InboxOff);
    assert_eq!(inbox.stats(), InboxStats::default());
}

#[test]
fn a_closed_inbox_keeps_nothing_and_reports_not_connected() {
    let inbox = Arc::new(Inbox::new(Arc::new(Pool::new()), Arc::default()));
    offer(&inbox, 1);
    assert_eq!(inbox.receive(None).expect_err("never opened"), ReceiveError::NotConnected);
    inbox.open(3, usize::MAX, DropOldest);
    offer(&inbox, 2);
    inbox.close();
    offer(&inbox, 3);
    assert_eq!(inbox.receive(None).expect_err("closed"), ReceiveError::NotConnected);
    assert_eq!((inbox.stats().offered(), inbox.stats().dropped.of(DropReason::Closed)), (2, 2));
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
    // The thread may call `receive` after the close. Then it gets `NotConnected`.
    let error = blocked.join().expect("no panic");
    assert!(matches!(error, ReceiveError::Disconnected | ReceiveError::NotConnected), "{error:?}");
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    assert!(matches!(poll(&mut task, Waker::noop()), Poll::Ready(Err(ReceiveError::Disconnected))));
}

#[test]
fn a_receiver_that_waits_across_a_reconnect_gets_disconnected() {
    let inbox = inbox(3, DropOldest);
    let mut sleeper = waiting(&inbox);
    offer(&inbox, 1);
    inbox.close();
    inbox.open(3, usize::MAX, DropOldest);
    offer(&inbox, 2);
    assert!(matches!(poll(&mut sleeper, Waker::noop()), Poll::Ready(Err(ReceiveError::Disconnected))));
    assert_eq!(read_all(&inbox), [2]);
}

#[test]
fn waiting_receivers_are_served_in_order_of_arrival() {
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
fn a_poll_does_not_overtake_a_waiting_receiver() {
    let inbox = inbox(3, DropOldest);
    let mut first = waiting(&inbox);
    offer(&inbox, 1);
    assert_eq!(inbox.receive(POLL).expect_err("assigned to the waiting receiver"), ReceiveError::TimedOut);
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
fn a_task_with_a_new_waker_is_woken_by_the_new_one() {
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
fn the_message_of_a_cancelled_wait_returns_to_the_front() {
    let inbox = inbox(3, DropOldest);
    let waiter = waiting(&inbox);
    offer(&inbox, 1);
    offer(&inbox, 2);
    drop(waiter);
    assert_eq!(read_all(&inbox), [1, 2]);
}

#[test]
fn the_messages_of_several_cancelled_waits_return_in_order() {
    let inbox = inbox(3, DropOldest);
    let waiters: Vec<_> = (0..3).map(|_| waiting(&inbox)).collect();
    for number in 0..4 {
        offer(&inbox, number);
    }
    drop(waiters);
    assert_eq!(read_all(&inbox), [0, 1, 2, 3]);
}

#[test]
fn a_wait_cancelled_before_a_message_arrives_takes_nothing() {
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
fn an_urgent_message_is_read_before_an_assigned_one() {
    let inbox = inbox(3, DropOldest);
    let mut first = waiting(&inbox);
    inbox.offer(&numbered(1, Low), arrival(), Limits::default());
    inbox.offer(&numbered(2, Critical), arrival(), Limits::default());
    assert_eq!(ready_number(&mut first), 2);
    assert_eq!(read_all(&inbox), [1]);
}

#[test]
fn an_assigned_message_takes_no_room_in_the_inbox() {
    let inbox = inbox(1, DropOldest);
    let mut first = waiting(&inbox);
    offer(&inbox, 1);
    offer(&inbox, 2);
    assert_eq!(inbox.stats().waiting, 2);
    assert_eq!(ready_number(&mut first), 1);
    assert_eq!(read_all(&inbox), [2]);
}

/// The limits of a message whose stream has a history of `count`.
fn keep(count: usize) -> Limits {
    let stream = Stream { peer: arrival().peer, message_type: MessageType::Data, channel: 0 };
    Limits { keep: Some(Keep { stream, count }), ..Limits::default() }
}

fn expired() -> Limits {
    Limits { expires: Some(Instant::now()), ..Limits::default() }
}

fn dropped(inbox: &Inbox, reason: DropReason) -> u64 {
    inbox.stats().dropped.of(reason)
}

#[test]
fn only_the_newest_messages_of_a_stream_with_a_history_are_read() {
    let inbox = inbox(100, DropOldest);
    for number in 0..10 {
        inbox.offer(&numbered(number, Normal), arrival(), keep(3));
        offer(&inbox, 100 + number);
    }
    let numbers = read_all(&inbox);
    assert_eq!(numbers.iter().filter(|&&number| number < 100).collect::<Vec<_>>(), [&7, &8, &9]);
    assert_eq!(numbers.len(), 13, "all messages of the stream without a history");
    assert_eq!((dropped(&inbox, DropReason::Superseded), inbox.stats().offered()), (7, 20));
}

#[test]
fn a_full_inbox_accepts_a_message_that_replaces_another() {
    let inbox = inbox(2, DropOldest);
    offer(&inbox, 100);
    for number in 0..3 {
        inbox.offer(&numbered(number, Normal), arrival(), keep(1));
    }
    assert_eq!(dropped(&inbox, DropReason::InboxFull), 0);
    assert_eq!(read_all(&inbox), [100, 2]);
}

#[test]
fn an_assigned_message_that_was_not_collected_is_superseded_too() {
    let inbox = inbox(3, DropOldest);
    let mut slow = waiting(&inbox);
    for number in 0..3 {
        inbox.offer(&numbered(number, Normal), arrival(), keep(1));
    }
    assert_eq!(ready_number(&mut slow), 2);
    assert_eq!((dropped(&inbox, DropReason::Superseded), inbox.stats().waiting), (2, 0));
}

#[test]
fn a_cancelled_wait_does_not_bring_back_a_superseded_message() {
    let inbox = inbox(3, DropOldest);
    let slow = waiting(&inbox);
    inbox.offer(&numbered(0, Normal), arrival(), keep(1));
    inbox.offer(&numbered(1, Normal), arrival(), keep(1));
    drop(slow);
    assert_eq!(read_all(&inbox), [1]);
    assert_eq!((dropped(&inbox, DropReason::Superseded), inbox.stats().offered()), (1, 2));
}

#[test]
fn an_expired_message_is_not_read() {
    let inbox = inbox(10, DropOldest);
    let lasting = Limits { expires: Some(Instant::now() + Duration::from_secs(3_600)), ..Limits::default() };
    for (number, limits) in
        [(0, expired()), (1, lasting), (2, expired()), (3, Limits::default()), (4, expired())]
    {
        inbox.offer(&numbered(number, Normal), arrival(), limits);
    }
    assert_eq!(read_all(&inbox), [1, 3]);
    assert_eq!((dropped(&inbox, DropReason::Expired), inbox.stats().offered()), (3, 5));
}

#[test]
fn a_message_of_a_former_owner_is_not_read_whether_it_waits_or_is_assigned() {
    let inbox = inbox(10, DropOldest);
    let current = Arc::new(AtomicU64::new(1));
    let limits =
        |period| Limits { right: Some(Right::new(Arc::clone(&current), period)), ..Limits::default() };
    let mut slow = waiting(&inbox);
    inbox.offer(&numbered(0, Low), arrival(), limits(1));
    inbox.offer(&numbered(1, Low), arrival(), limits(1));
    current.store(2, Ordering::Release);
    inbox.offer(&numbered(2, High), arrival(), limits(2));
    assert_eq!(ready_number(&mut slow), 2, "the assigned message was the former owner's");
    inbox.offer(&numbered(3, Low), arrival(), limits(2));
    inbox.offer(&numbered(4, Low), arrival(), Limits::default());
    assert_eq!(read_all(&inbox), [3, 4]);
    assert_eq!((dropped(&inbox, DropReason::NotOwner), inbox.stats().offered()), (2, 5));
}

/// Starts a thread that waits for a message and returns its number.
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
fn a_receiver_woken_for_an_expired_message_waits_on() {
    let inbox = inbox(3, DropOldest);
    let mut task = waiting(&inbox);
    let blocked = blocked(&inbox);
    for number in 0..2 {
        inbox.offer(&numbered(number, Normal), arrival(), expired());
    }
    assert!(poll(&mut task, Waker::noop()).is_pending(), "its message has expired");
    offer(&inbox, 2);
    offer(&inbox, 3);
    let mut got = [Ok(ready_number(&mut task)), blocked.join().expect("no panic")];
    got.sort_by_key(|number| number.ok());
    assert_eq!(got, [Ok(2), Ok(3)]);
    assert_eq!((dropped(&inbox, DropReason::Expired), inbox.stats().offered()), (2, 4));
}

#[test]
fn a_wait_times_out_if_only_expired_messages_arrive() {
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
    // The task was in the line before the thread.
    assert_eq!(ready_number(&mut task), 1);
    assert_eq!(blocked.join().expect("no panic"), Ok(2));
}

#[test]
fn many_threads_receive_each_message_once() {
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

/// Offers a message of this peer, with so many bytes of payload.
fn offer_of(inbox: &Inbox, from: usize, number: u64, priority: Priority, bytes: usize) {
    let peers = peers::<4>();
    let arrival = Arrival { peer: peers[from], ..arrival() };
    let payload = vec![b'1'; bytes];
    let mut message = numbered(number, priority);
    message.payload = &payload;
    inbox.offer(&message, arrival, Limits::default());
}

/// Returns how many messages of each of these peers wait, and empties the inbox.
fn waiting_of<const N: usize>(inbox: &Inbox, wanted: [usize; N]) -> [usize; N] {
    let waiting: Vec<_> =
        std::iter::from_fn(|| inbox.receive(POLL).ok()).map(|message| message.peer()).collect();
    let peers = peers::<4>();
    wanted.map(|of| waiting.iter().filter(|from| **from == peers[of]).count())
}

#[test]
fn one_peers_flood_takes_no_more_than_its_share() {
    for policy in [DropOldest, DropNewest] {
        for urgent in [Low, Normal, Critical] {
            let inbox = inbox(100, policy);
            // The flood fills the queue first, and goes on between the messages of the others.
            for number in 0..1000 {
                offer_of(&inbox, 1, number, urgent, 8);
            }
            for number in 0..20 {
                offer_of(&inbox, 2, number, Normal, 8);
                offer_of(&inbox, 3, number, Low, 8);
                for more in 0..50 {
                    offer_of(&inbox, 1, more, urgent, 8);
                }
            }
            let stats = inbox.stats();
            assert_eq!((stats.waiting, stats.offered()), (100, 2040));
            assert_eq!(waiting_of(&inbox, [1, 2, 3]), [60, 20, 20], "{policy:?} {urgent:?}");
        }
    }
}

#[test]
fn peers_that_all_take_more_than_their_share_get_equal_shares() {
    let inbox = inbox(90, DropOldest);
    for number in 0..1000 {
        for from in 1..=3 {
            offer_of(&inbox, from, number, Normal, 8);
        }
    }
    assert_eq!(waiting_of(&inbox, [1, 2, 3]), [30, 30, 30]);
}

#[test]
fn the_inbox_is_bounded_in_bytes_and_large_messages_displace_none_of_others() {
    let inbox = Arc::new(Inbox::new(Arc::new(Pool::new()), Arc::default()));
    inbox.open(1000, 1 << 20, DropOldest);
    for number in 0..100 {
        offer_of(&inbox, 2, number, Normal, 100);
    }
    for number in 0..100 {
        offer_of(&inbox, 1, number, Critical, 60_000);
        assert!(inbox.stats().waiting_bytes <= 1 << 20);
    }
    let stats = inbox.stats();
    assert_eq!(stats.offered(), 200);
    let [large, small] = waiting_of(&inbox, [1, 2]);
    assert_eq!(small, 100);
    assert!((8..=17).contains(&large), "{large} large messages in 1 MiB");
    assert_eq!((inbox.stats().waiting_bytes, inbox.stats().offered()), (0, 200));
    // Several small ones make room for a large one of the same peer; a single one always has room.
    for number in 0..1000 {
        offer_of(&inbox, 1, number, Normal, 2000);
    }
    offer_of(&inbox, 1, 1000, Normal, 1_000_000);
    assert!(inbox.stats().waiting_bytes <= 1 << 20, "{:?}", inbox.stats());
    assert!(inbox.stats().waiting < 30, "{:?}", inbox.stats());
}
