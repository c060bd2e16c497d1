//! Tests of handlers that are unregistered, replaced or closed, also from inside the handler itself.

use super::*;

#[test]
fn a_handler_may_unregister_itself_under_load() {
    let mut rig = Rig::new();
    let handlers = Arc::clone(&rig.handlers);
    let handler = move |message: Message, _| {
        if number_of(&message) == 100 {
            assert!(handlers.unregister(Data.into()));
        }
    };
    rig.handlers.register(Data.into(), Handler::blocking(handler).into());
    let mut sent = 0;
    while rig.send(Data, sent) {
        rig.send(Status, sent);
        sent += 1;
    }
    assert!(sent > 100);
    let stats = rig.until(|stats| stats.running == 0);
    assert_eq!((stats.handled, stats.panicked), (101, 0));
    assert_eq!((stats.dropped.total(), stats.offered()), (sent - 101, sent));
}

#[test]
fn the_waiting_messages_of_a_replaced_handler_are_dropped_and_counted() {
    let (handler, began, release) = held_up();
    let mut rig = Rig::with(Data, Handler::blocking(handler));
    for number in 0..4 {
        rig.send(Data, number);
    }
    next(&began);
    assert!(rig.handlers.register(Data.into(), Handler::inline(|_, _| {})));
    rig.send(Data, 9);
    let totals = rig.handlers.totals();
    assert_eq!((totals.dropped.of(DropReason::Closed), totals.running, totals.handled), (3, 1, 1));
    drop(release);
    rig.until(|stats| stats.handled == 2 && stats.running == 0);
    assert!(!rig.handlers.close(LONG) || rig.handlers.totals().offered() == 5);
}

#[test]
fn the_time_limit_of_an_unregistered_handler_is_still_checked() {
    let (handler, began, _release) = held_up();
    let mut rig = Rig::with(Data, Handler::blocking(handler).time_limit(HOUR));
    rig.send(Data, 1);
    next(&began);
    rig.handlers.unregister(Data.into());
    rig.pass_limit();
    assert_eq!(rig.handlers.totals().timed_out, 1);
}

#[test]
fn quiesce_drops_waiting_messages_and_keeps_the_handlers() {
    let (handler, began, release) = held_up();
    let mut rig = Rig::with(Data, Handler::blocking(handler));
    rig.send(Data, 1);
    rig.send(Data, 2);
    next(&began);
    assert!(!rig.handlers.quiesce(Duration::ZERO));
    drop(release);
    assert!(rig.handlers.quiesce(LONG));
    assert_eq!((rig.stats().handled, rig.stats().dropped.of(DropReason::Closed)), (1, 1));
    assert!(rig.send(Data, 3));
    rig.until(|stats| stats.handled == 2);
}

#[test]
fn close_does_not_wait_for_the_handler_that_calls_it() {
    let mut rig = Rig::new();
    let (sender, closed) = mpsc::channel();
    for (message_type, is_async) in [(Data, false), (Command, true)] {
        let (handlers, sender) = (Arc::clone(&rig.handlers), sender.clone());
        let close = move || sender.send(handlers.close(LONG)).expect("the test lives");
        let handler: Handler<u64> = if is_async {
            let close = Arc::new(close);
            Handler::asynchronous(move |_, _| {
                let close = Arc::clone(&close);
                async move { close() }
            })
            .into()
        } else {
            Handler::blocking(move |_, _| close()).into()
        };
        rig.handlers.register(message_type.into(), handler);
        rig.send(message_type, 1);
        assert!(next(&closed), "it waited for itself");
        rig.until(|stats| stats.running == 0);
    }
}

#[test]
fn close_cancels_async_handlers_that_outlast_the_bound() {
    let (begin, began) = mpsc::channel();
    let handler = move |_, reply| {
        begin.send(reply).expect("the test lives");
        pending()
    };
    let mut rig = Rig::with(Data, Handler::asynchronous(handler));
    rig.send(Data, 1);
    next(&began);
    assert!(!rig.handlers.close(Duration::ZERO));
    let stats = rig.until(|stats| stats.overdue == 0);
    assert_eq!((stats.dropped.of(DropReason::Closed), stats.offered()), (1, 1));
}

#[test]
fn workers_end_after_their_handler_was_unregistered() {
    // The last worker that ends drops the closure.
    let (dropped, drops) = mpsc::channel();
    let guard = Mutex::new(DropReporter(dropped));
    let mut rig = Rig::with(Data, Handler::blocking(move |_, _| _ = &guard).unordered());
    for number in 0..100 {
        rig.send(Data, number);
    }
    rig.until(|stats| stats.handled == 100);
    drop(rig);
    next(&drops);
}

#[test]
fn the_counts_of_unregistered_handlers_stay_exact_in_the_totals() {
    let mut rig = Rig::new();
    for number in 0..100 {
        rig.handlers.register(Data.into(), Handler::blocking(|_, _| {}).into());
        rig.send(Data, number);
    }
    rig.handlers.unregister(Data.into());
    rig.send(Data, 100);
    rig.until(|stats| stats.running == 0 && lock(&rig.handlers.registered).leaving.is_empty());
    let totals = rig.handlers.totals();
    assert_eq!((totals.offered(), totals.handled + totals.dropped.total()), (100, 100));
}
