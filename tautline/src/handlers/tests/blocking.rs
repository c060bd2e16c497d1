//! Tests of blocking handlers: isolation, order, bounds and time limits.

use super::*;

#[test]
fn a_panicking_blocking_handler_gets_the_next_message() {
    let handler = |message: Message, _| assert!(number_of(&message) != 1, "the first one fails");
    let mut rig = Rig::with(Data, Handler::blocking(handler));
    rig.send(Data, 1);
    rig.send(Data, 2);
    let stats = rig.until(|stats| stats.offered() == stats.handled + stats.panicked);
    assert_eq!((stats.handled, stats.panicked), (1, 1));
}

#[test]
fn a_blocked_handler_does_not_delay_other_handlers() {
    let (handler, began, release) = held_up();
    let mut rig = Rig::with(Data, Handler::blocking(handler));
    let (sender, received) = mpsc::channel();
    let other = move |_, reply| sender.send(reply).expect("the test lives");
    rig.handlers.register(Command.into(), Handler::blocking(other).into());
    rig.send(Data, 0);
    next(&began);
    for number in 0..1000 {
        assert!(rig.send(Command, number));
        assert_eq!(next(&received), number);
    }
    drop(release);
    rig.until(|stats| stats.handled == 1001);
}

#[test]
fn messages_of_one_peer_are_handled_in_order_whatever_the_concurrency() {
    let (sender, received) = mpsc::channel();
    let handler = move |_, reply: u64| {
        // Gives later messages a chance to overtake.
        for _ in 0..reply % 7 {
            thread::yield_now();
        }
        sender.send(reply).expect("the test lives");
    };
    let mut rig = Rig::with(Data, Handler::blocking(handler).concurrency(10).backlog(500));
    for number in 0..500 {
        rig.send(Data, number);
    }
    assert!((0..500).eq((0..500).map(|_| next(&received))));
}

#[test]
fn an_unordered_handler_handles_messages_of_one_peer_up_to_its_concurrency() {
    let (handler, began, release) = held_up();
    let mut rig = Rig::with(Data, Handler::blocking(handler).concurrency(3).unordered());
    for number in 0..5 {
        rig.send(Data, number);
    }
    let mut first: Vec<_> = (0..3).map(|_| next(&began)).collect();
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2]);
    let stats = rig.stats();
    assert_eq!((stats.running, stats.waiting), (3, 2));
    drop(release);
    rig.until(|stats| stats.handled == 5);
}

#[test]
fn an_ordered_handler_handles_one_message_of_a_peer_at_a_time() {
    let (handler, began, release) = held_up();
    let mut rig = Rig::with(Data, Handler::blocking(handler));
    rig.send(Data, 1);
    rig.send(Data, 2);
    next(&began);
    let stats = rig.stats();
    assert_eq!((stats.running, stats.waiting), (1, 1));
    drop(release);
    rig.until(|stats| stats.handled == 2);
}

#[test]
fn messages_of_different_peers_are_handled_at_once_and_in_order_for_each_peer() {
    let (handler, began, release) = held_up();
    let mut rig = Rig::with(Data, Handler::blocking(handler).concurrency(2));
    let peers = [peer(0), peer(1)];
    for (number, from) in (0..).zip([peers[0], peers[0], peers[1], peers[1]]) {
        let message = numbered(number, Priority::Normal).with_message_type(Data);
        rig.dispatcher.dispatch(&message, &Arrival { peer: from, ..arrival() }, None, |reply| {
            *reply = Some(number);
        });
    }
    let mut first = [next(&began), next(&began)];
    first.sort_unstable();
    assert_eq!(first, [0, 2]);
    assert_eq!((rig.stats().running, rig.stats().waiting), (2, 2));
    release.send(()).expect("the handlers wait");
    assert!([1, 3].contains(&next(&began)));
    drop(release);
    rig.until(|stats| stats.handled == 4);
}

#[test]
fn a_full_backlog_drops_and_counts_the_newest_message_but_no_critical_message() {
    let (handler, began, release) = held_up();
    let mut rig = Rig::with(Data, Handler::blocking(handler).backlog(3));
    rig.send(Data, 0);
    assert_eq!(next(&began), 0);
    for number in 1..=5 {
        rig.send(Data, number);
    }
    rig.dispatch(&numbered(9, Priority::Critical));
    let stats = rig.stats();
    assert_eq!((stats.waiting, stats.dropped.of(DropReason::BacklogFull), stats.offered()), (3, 3, 7));
    drop(release);
    assert_eq!([next(&began), next(&began), next(&began)], [9, 1, 2]);
    rig.until(|stats| stats.handled == 4);
}

#[test]
fn a_blocking_handler_past_its_limit_is_counted_and_the_next_message_of_its_peer_is_handled() {
    let (handler, began, release) = held_up();
    let mut rig = Rig::with(Data, Handler::blocking(handler).time_limit(HOUR).concurrency(1));
    rig.send(Data, 1);
    rig.send(Data, 2);
    assert_eq!(next(&began), 1);
    let due = rig.dispatcher.next_deadline().expect("a job is running");
    assert!(due <= Instant::now() + HOUR);
    rig.dispatcher.check_deadlines(due - Duration::from_secs(1800));
    assert_eq!(rig.stats().timed_out, 0);
    rig.pass_limit();
    assert_eq!(next(&began), 2);
    let stats = rig.stats();
    assert_eq!((stats.timed_out, stats.running, stats.overdue, stats.offered()), (1, 1, 1, 2));
    drop(release);
    let stats = rig.until(|stats| stats.overdue == 0 && stats.handled == 1);
    assert_eq!((stats.timed_out, stats.offered()), (1, 2));
}

#[test]
fn the_limit_also_holds_for_a_message_that_waited_first() {
    let (handler, began, _release) = held_up();
    let mut rig = Rig::with(Data, Handler::blocking(handler).time_limit(HOUR).concurrency(1));
    rig.send(Data, 1);
    rig.send(Data, 2);
    next(&began);
    rig.pass_limit();
    next(&began);
    rig.pass_limit();
    assert_eq!(rig.stats().timed_out, 2);
    assert_eq!(rig.dispatcher.next_deadline(), None);
}

#[test]
fn the_number_of_replaced_workers_is_bounded() {
    let (handler, began, release) = held_up();
    let mut rig = Rig::with(Data, Handler::blocking(handler).time_limit(HOUR).concurrency(1));
    let bound = MAX_REPLACED_WORKERS as u64;
    for number in 0..bound + 3 {
        rig.send(Data, number);
    }
    for number in 0..=bound {
        assert_eq!(next(&began), number);
        rig.pass_limit();
    }
    // One more call is overdue than workers may be replaced: this call keeps the only worker.
    let stats = rig.stats();
    assert_eq!((stats.timed_out, stats.overdue), (bound + 1, bound + 1));
    assert_eq!((stats.running, stats.waiting), (0, 2));
    drop(release);
    rig.until(|stats| stats.handled == 2 && stats.overdue == 0);
}
