//! The handlers' rules, one by one. No test waits by the clock: a limit passes when the test says so.

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::backlog::MAX_ABANDONED_WORKERS;
use super::*;
use crate::message::{Arrival, Message};
use crate::pool::Pool;
use crate::tests::{arrival, number_of, numbered, peer};
use crate::{DropReason, MessageRef, Priority};
use MessageType::{Command, Data, Status};

/// Long enough to never pass in a test that works.
const LONG: Duration = Duration::from_secs(60);

/// A time limit that has passed when the test says so, and not before.
const HOUR: Duration = Duration::from_secs(3600);

/// A registry with its driver's side. The reply handle is a number.
struct Rig {
    handlers: Arc<Handlers<u64>>,
    dispatcher: Dispatcher<u64>,
}

impl Rig {
    fn new() -> Self {
        let handlers = Arc::<Handlers<u64>>::default();
        Self { dispatcher: Dispatcher::new(Arc::clone(&handlers), Arc::new(Pool::new())), handlers }
    }

    fn with(selector: impl Into<Selector>, handler: impl Into<Handler<u64>>) -> Self {
        let rig = Self::new();
        assert!(!rig.handlers.register(selector.into(), handler.into()));
        rig
    }

    fn dispatch(&mut self, message: &MessageRef<'_>) -> bool {
        let number = match message.message_id {
            crate::Id::Number(number) => number,
            crate::Id::Text(_) => panic!("not made by `numbered`"),
        };
        self.dispatcher.dispatch(message, arrival(), || number)
    }

    fn send(&mut self, message_type: MessageType, number: u64) -> bool {
        self.dispatch(&MessageRef { message_type, ..numbered(number, Priority::Normal) })
    }

    /// The counts of the only handler.
    fn stats(&self) -> HandlerStats {
        let [(_, stats)] = self.handlers.stats()[..] else { panic!("not one handler") };
        stats
    }

    /// Looks at the counts until they are as wanted.
    fn until(&self, wanted: impl Fn(&HandlerStats) -> bool) -> HandlerStats {
        let give_up = Instant::now() + LONG;
        loop {
            let stats = self.handlers.totals();
            if wanted(&stats) {
                return stats;
            }
            assert!(Instant::now() < give_up, "still {stats:?}");
            thread::yield_now();
        }
    }

    /// Lets a handler's limit of an hour pass.
    fn pass_limit(&mut self) {
        let due = self.dispatcher.next_deadline().expect("something is at work");
        self.dispatcher.check_deadlines(due.max(Instant::now() + 2 * HOUR));
    }
}

/// A blocking handler that tells when it begins and ends when it is told to.
fn gated() -> (impl Fn(Message, u64) + Send + Sync + 'static, Receiver<u64>, Sender<()>) {
    let (begin, began) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let handler = move |message: Message, _| {
        begin.send(number_of(&message)).expect("the test lives");
        // The end of the test releases everyone.
        let _ = gate.lock().expect("never poisoned").recv();
    };
    (handler, began, release)
}

fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(LONG).expect("it comes")
}

#[test]
fn the_exact_channel_wins_over_every_channel() {
    let (sender, receiver) = mpsc::channel();
    let mut rig = Rig::new();
    for (name, selector) in [("any", Data.into()), ("seven", Selector::from((Data, 7)))] {
        let sender = sender.clone();
        rig.handlers.register(selector, Handler::inline(move |_, &reply| sender.send((name, reply)).unwrap()));
    }
    let on = |number, channel| MessageRef { channel, ..numbered(number, Priority::Normal) };
    assert!(rig.dispatch(&on(1, 7)));
    assert!(rig.dispatch(&on(2, 8)));
    assert!(!rig.send(Command, 3));
    assert!(rig.handlers.unregister(Data.into()));
    assert!(!rig.dispatch(&on(4, 8)));
    assert!(rig.dispatch(&on(5, 7)));
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [("seven", 1), ("any", 2), ("seven", 5)]);
}

#[test]
fn registering_replaces_and_unregistering_says_whether_one_was_there() {
    let mut rig = Rig::with(Data, Handler::inline(|_, _| {}));
    rig.send(Data, 1);
    assert!(rig.handlers.register(Data.into(), Handler::inline(|_, _| {})));
    rig.send(Data, 2);
    assert_eq!(rig.stats().handled, 1);
    assert_eq!(rig.handlers.totals().handled, 2);
    assert!(rig.handlers.unregister(Data.into()));
    assert!(!rig.handlers.unregister(Data.into()));
    assert_eq!(rig.handlers.totals().handled, 2);
}

#[test]
fn a_panicking_inline_handler_gets_the_next_message() {
    let mut calls = 0;
    let mut rig = Rig::with(
        Data,
        Handler::inline(move |_, _| {
            calls += 1;
            assert!(calls != 1, "the first one fails");
        }),
    );
    rig.send(Data, 1);
    rig.send(Data, 2);
    let stats = rig.stats();
    assert_eq!((stats.handled, stats.panicked, stats.offered()), (1, 1, 2));
}

#[test]
fn an_inline_handler_may_unregister_or_replace_itself() {
    let mut rig = Rig::new();
    let handlers = Arc::clone(&rig.handlers);
    let replacing = Handler::inline(move |_, _| {
        let again = Arc::clone(&handlers);
        let leaving = Handler::inline(move |_, _| assert!(again.unregister(Data.into())));
        assert!(handlers.register(Data.into(), leaving));
    });
    rig.handlers.register(Data.into(), replacing);
    assert!(rig.send(Data, 1));
    assert!(rig.send(Data, 2));
    assert!(!rig.send(Data, 3));
    let totals = rig.handlers.totals();
    assert_eq!((totals.handled, totals.panicked), (2, 0));
}

#[test]
fn an_inline_handler_is_not_called_from_inside_itself() {
    let mut rig = Rig::new();
    let mut inner = Dispatcher::new(Arc::clone(&rig.handlers), Arc::new(Pool::new()));
    let nested = move |message: &MessageRef<'_>, _: &u64| {
        assert!(inner.dispatch(message, arrival(), || 0));
    };
    rig.handlers.register(Data.into(), Handler::inline(nested));
    rig.send(Data, 1);
    let stats = rig.stats();
    assert_eq!((stats.handled, stats.dropped.of(DropReason::BacklogFull)), (1, 1));
}

#[test]
fn a_destructor_that_panics_harms_nobody() {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let (inline, blocking) = (PanicsOnDrop, PanicsOnDrop);
    let mut rig = Rig::with(Data, Handler::inline(move |_, _| _ = &inline));
    rig.handlers.register(Command.into(), Handler::blocking(move |_, _| _ = &blocking).into());
    rig.send(Data, 1);
    rig.send(Command, 2);
    rig.until(|stats| stats.handled == 2);
    assert!(rig.handlers.unregister(Data.into()));
    assert!(rig.handlers.unregister(Command.into()));
    assert!(!rig.send(Data, 3));
    assert!(!rig.handlers.register(Data.into(), Handler::inline(|_, _| {})));
    assert!(rig.send(Data, 4));
    assert_eq!(rig.handlers.totals().handled, 3);
}

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
fn blocking_handler_does_not_block_the_others() {
    let (handler, began, release) = gated();
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
        // Gives later messages every chance to overtake.
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
fn unordered_handlers_work_on_as_many_messages_of_one_peer_as_allowed() {
    let (handler, began, release) = gated();
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
fn ordered_handlers_work_on_one_message_of_a_peer_at_a_time() {
    let (handler, began, release) = gated();
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
fn messages_of_different_peers_are_handled_at_once_each_peers_in_order() {
    let (handler, began, release) = gated();
    let mut rig = Rig::with(Data, Handler::blocking(handler).concurrency(2));
    let peers = [peer(0), peer(1)];
    for (number, from) in (0..).zip([peers[0], peers[0], peers[1], peers[1]]) {
        let message = MessageRef { message_type: Data, ..numbered(number, Priority::Normal) };
        rig.dispatcher.dispatch(&message, Arrival { peer: from, ..arrival() }, || number);
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
fn a_full_backlog_drops_the_newest_counted_and_never_a_critical_one() {
    let (handler, began, release) = gated();
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
fn past_its_limit_a_blocking_handler_is_counted_and_its_peer_goes_on() {
    let (handler, began, release) = gated();
    let mut rig = Rig::with(Data, Handler::blocking(handler).time_limit(HOUR).concurrency(1));
    rig.send(Data, 1);
    rig.send(Data, 2);
    assert_eq!(next(&began), 1);
    let due = rig.dispatcher.next_deadline().expect("one is at work");
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
fn the_limit_is_found_even_when_the_message_waited_first() {
    let (handler, began, _release) = gated();
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
fn abandoned_workers_are_bounded() {
    let (handler, began, release) = gated();
    let mut rig = Rig::with(Data, Handler::blocking(handler).time_limit(HOUR).concurrency(1));
    let bound = MAX_ABANDONED_WORKERS as u64;
    for number in 0..bound + 3 {
        rig.send(Data, number);
    }
    for number in 0..=bound {
        assert_eq!(next(&began), number);
        rig.pass_limit();
    }
    // One more is overdue than may be abandoned: it keeps the only worker.
    let stats = rig.stats();
    assert_eq!((stats.timed_out, stats.overdue), (bound + 1, bound + 1));
    assert_eq!((stats.running, stats.waiting), (0, 2));
    drop(release);
    rig.until(|stats| stats.handled == 2 && stats.overdue == 0);
}

#[test]
fn async_closures_run_on_a_worker_of_the_handler() {
    let (sender, received) = mpsc::channel();
    let handler = move |message: Message, reply| {
        let sender = sender.clone();
        async move {
            // Pending once: the wake-up must reach the worker.
            let mut polled = false;
            poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            sender.send((number_of(&message), reply)).expect("the test lives");
        }
    };
    let mut rig = Rig::with(Data, Handler::asynchronous(handler));
    for number in 0..100 {
        rig.send(Data, number);
        assert_eq!(next(&received), (number, number));
    }
    rig.until(|stats| stats.handled == 100);
}

/// Tells when it is dropped.
struct TellsDrop(Sender<()>);

impl Drop for TellsDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[test]
fn past_its_limit_an_async_handler_is_cancelled_and_its_worker_goes_on() {
    let (dropped, drops) = mpsc::channel();
    let (begin, began) = mpsc::channel();
    let handler = move |message: Message, _| {
        let (guard, begin) = (TellsDrop(dropped.clone()), begin.clone());
        async move {
            let _guard = guard;
            begin.send(number_of(&message)).expect("the test lives");
            pending::<()>().await;
        }
    };
    let mut rig = Rig::with(Data, Handler::asynchronous(handler).time_limit(HOUR).concurrency(1));
    for number in 0..50 {
        rig.send(Data, number);
        assert_eq!(next(&began), number);
        rig.pass_limit();
        next(&drops);
    }
    let stats = rig.until(|stats| stats.overdue == 0);
    assert_eq!((stats.timed_out, stats.handled, stats.offered()), (50, 0, 50));
}

#[test]
fn a_panic_in_a_future_is_counted_and_the_next_message_handled() {
    let handler = |message: Message, _| async move { assert!(number_of(&message) != 1, "the first one fails") };
    let mut rig = Rig::with(Data, Handler::asynchronous(handler));
    rig.send(Data, 1);
    rig.send(Data, 2);
    let stats = rig.until(|stats| stats.handled + stats.panicked == 2);
    assert_eq!(stats.panicked, 1);
}

/// An executor in the test's hands: what was spawned stands in a list.
#[derive(Clone, Default)]
struct Executor(Arc<Mutex<Vec<HandlerFuture>>>);

impl Executor {
    fn spawn(&self, future: HandlerFuture) {
        self.0.lock().expect("never poisoned").push(future);
    }

    fn tasks(&self) -> usize {
        self.0.lock().expect("never poisoned").len()
    }

    /// Polls every task once.
    fn turn(&self) {
        let tasks = std::mem::take(&mut *self.0.lock().expect("never poisoned"));
        let mut context = std::task::Context::from_waker(Waker::noop());
        for mut task in tasks {
            if task.as_mut().poll(&mut context).is_pending() {
                self.spawn(task);
            }
        }
    }
}

#[test]
fn a_spawner_gets_one_future_per_peer_at_a_time_in_order() {
    let (sender, received) = mpsc::channel();
    let executor = Executor::default();
    let spawner = executor.clone();
    let handler = move |_, reply| {
        let sender = sender.clone();
        async move { sender.send(reply).expect("the test lives") }
    };
    let handler = Handler::asynchronous(handler).spawner(move |future| spawner.spawn(future));
    let mut rig = Rig::with(Data, handler);
    for number in 0..3 {
        rig.send(Data, number);
    }
    assert_eq!(executor.tasks(), 1);
    for number in 0..3 {
        executor.turn();
        assert_eq!(received.try_recv(), Ok(number));
    }
    assert_eq!((rig.stats().handled, executor.tasks()), (3, 0));
}

#[test]
fn a_spawned_future_past_its_limit_is_dropped_by_its_executor() {
    let executor = Executor::default();
    let spawner = executor.clone();
    let (dropped, drops) = mpsc::channel();
    let handler = move |_, _| {
        let guard = TellsDrop(dropped.clone());
        async move {
            let _guard = guard;
            pending::<()>().await;
        }
    };
    let handler = Handler::asynchronous(handler).time_limit(HOUR).spawner(move |future| spawner.spawn(future));
    let mut rig = Rig::with(Data, handler);
    rig.send(Data, 1);
    executor.turn();
    rig.pass_limit();
    assert_eq!((rig.stats().timed_out, rig.stats().overdue), (1, 1));
    executor.turn();
    assert_eq!(drops.try_recv(), Ok(()));
    assert_eq!((rig.stats().overdue, executor.tasks()), (0, 0));
}

#[test]
fn a_future_that_its_executor_drops_is_counted_and_the_next_one_spawned() {
    let executor = Executor::default();
    let spawner = executor.clone();
    let handler = Handler::asynchronous(|_, _| pending()).spawner(move |future| spawner.spawn(future));
    let mut rig = Rig::with(Data, handler);
    rig.send(Data, 1);
    rig.send(Data, 2);
    let task = executor.0.lock().expect("never poisoned").pop();
    drop(task);
    let stats = rig.stats();
    assert_eq!((stats.dropped.of(DropReason::Closed), stats.running, stats.waiting), (1, 1, 0));
    assert_eq!(executor.tasks(), 1);
}

#[test]
fn a_spawner_that_panics_loses_the_message_counted() {
    let handler = Handler::asynchronous(|_, _| pending()).spawner(|_| panic!("no runtime here"));
    let mut rig = Rig::with(Data, handler);
    rig.send(Data, 1);
    let stats = rig.stats();
    assert_eq!((stats.dropped.of(DropReason::Closed), stats.offered()), (1, 1));
}

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
fn the_waiting_messages_of_a_replaced_handler_are_dropped_counted() {
    let (handler, began, release) = gated();
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
fn the_limit_of_a_replaced_handler_still_passes() {
    let (handler, began, _release) = gated();
    let mut rig = Rig::with(Data, Handler::blocking(handler).time_limit(HOUR));
    rig.send(Data, 1);
    next(&began);
    rig.handlers.unregister(Data.into());
    rig.pass_limit();
    assert_eq!(rig.handlers.totals().timed_out, 1);
}

#[test]
fn quiesce_drops_what_waits_and_keeps_the_handlers() {
    let (handler, began, release) = gated();
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
fn workers_end_when_their_handler_is_gone() {
    // The closure is dropped when the last worker has let go of it.
    let (dropped, drops) = mpsc::channel();
    let guard = Mutex::new(TellsDrop(dropped));
    let mut rig = Rig::with(Data, Handler::blocking(move |_, _| _ = &guard).unordered());
    for number in 0..100 {
        rig.send(Data, number);
    }
    rig.until(|stats| stats.handled == 100);
    drop(rig);
    next(&drops);
}

#[test]
fn the_counts_of_handlers_that_came_and_went_stay_exact_without_being_kept() {
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

#[test]
fn types_do_not_share_their_counts() {
    let mut rig = Rig::with(Data, Handler::inline(|_, _| {}));
    rig.handlers.register((Command, 0).into(), Handler::inline(|_, _| {}));
    rig.send(Data, 1);
    rig.send(Data, 2);
    rig.send(Command, 3);
    let stats: HashMap<_, _> = rig.handlers.stats().into_iter().collect();
    assert_eq!(stats[&Data.into()].handled, 2);
    assert_eq!(stats[&(Command, 0).into()].handled, 1);
}
